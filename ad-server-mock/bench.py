#!/usr/bin/env python3
"""make bench-ads: decisions and beacons a second, on SQLite and PostgreSQL, beside a static nginx that answers the same bytes.

Everything runs on this machine, the load generator (wrk) too, so the processors are shared. 1,000 flights are active. A decision
is answered when it is synced, a beacon too. Every beacon is a new one. Give the program (ad-server-mock) as the argument.
"""

import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

SECONDS = 8
CONNECTIONS = 32
FLIGHTS = 1000
# Each gives ten events.
DECISIONS_FOR_BEACONS = 14000


def need(program, package):
    found = shutil.which(program) or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{program}"), reverse=True)), None)
    found = found or (os.path.exists(f"/usr/sbin/{program}") and f"/usr/sbin/{program}")
    if not found:
        sys.exit(f"bench-ads: {program} is missing\nhint: apt-get install {package}")
    return found


def as_user(command):
    """PostgreSQL does not run as root."""
    if os.getuid() == 0:
        return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
    return command


def campaigns(folder):
    os.makedirs(folder)
    lines = []
    for n in range(FLIGHTS):
        if n % 100 == 0:
            lines.append(f'[[advertiser]]\nid = "a{n}"\nname = "Advertiser {n}"')
        if n % 10 == 0:
            lines.append(f'[[advertiser.campaign]]\nid = "c{n}"\nbudget = 1000000')
        lines.append(
            f'[[advertiser.campaign.flight]]\nid = "f{n}"\nprice_per_thousand = 20\npriority = {1 + n % 16}\n'
            f"start = 2020-01-01\nend = 2099-12-31\ngoal = {10_000_000 + n}\n"
            f'[[advertiser.campaign.flight.creative]]\nid = "x{n}"\nfile = "x{n}.mp3"\nduration = 15\n'
            f'click_through = "https://advertiser.example/{n}"'
        )
        with open(f"{folder}/x{n}.mp3", "w") as file:
            file.write(str(n) * 100)
    with open(f"{folder}/ads.toml", "w") as file:
        file.write("\n".join(lines))
    return f"{folder}/ads.toml"


def wrk(url, script=None):
    command = [need("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", url]
    if script:
        command[1:1] = ["-s", script]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = float(re.search(r"Requests/sec:\s*([\d.]+)", said)[1])
    tail = re.search(r"99%\s*([\d.]+)(us|ms|s)", said)
    p99 = float(tail[1]) * {"us": 0.001, "ms": 1, "s": 1000}[tail[2]]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    errors = re.search(r"Socket errors: (.*)", said)
    return rate, p99, (int(bad[1]) if bad else 0), (errors[1] if errors else "")


def show(what, result):
    rate, p99, bad, errors = result
    trouble = (f"  {bad} refused" if bad else "") + (f"  {errors}" if errors else "")
    print(f"{what:<44} {rate:>9.0f} /s   99 % within {p99:6.2f} ms{trouble}", flush=True)


def beacons(base, folder):
    urls = []
    while len(urls) < DECISIONS_FOR_BEACONS * 10:
        answer = json.load(urllib.request.urlopen(f"{base}/decision?ads=20&break=b{len(urls)}"))
        for ad in answer["ads"]:
            for event in ["start", "firstQuartile", "midpoint", "thirdQuartile", "complete", "mute", "unmute", "pause", "resume"]:
                urls.append(ad["tracking"][event][0])
            urls.append(ad["impressions"][0])
    path = f"{folder}/beacons.txt"
    with open(path, "w") as file:
        for url in urls:
            url = url.replace("%5BGROVE_BASIS%5D", "played").replace("[TIMESTAMP]", "2026-01-01T00%3A00%3A00Z")
            file.write(url.removeprefix(base) + "\n")
    script = f"{folder}/beacons.lua"
    with open(script, "w") as file:
        file.write(
            "local next_line = io.lines(%s)\n"
            "request = function()\n"
            "  local path = next_line()\n"
            "  if not path then next_line = io.lines(%s); path = next_line() end\n"
            "  return wrk.format('GET', path)\n"
            "end\n" % (json.dumps(path), json.dumps(path))
        )
    return script, len(urls)


def decisions_script(folder):
    script = f"{folder}/decisions.lua"
    with open(script, "w") as file:
        file.write(
            "local n = 0\n"
            "request = function()\n"
            "  n = n + 1\n"
            "  return wrk.format('GET', '/vast?show=s' .. n % 50 .. '&episode=e' .. n % 200 .. '&break=1&max=30&ads=1&type=audio')\n"
            "end\n"
        )
    return script


def server(program, db, toml, name, folder):
    process = subprocess.Popen(
        [program, "serve", "--json", "--http", "127.0.0.1:0", "--db", db, "--load", toml, "--most-a-minute", "0"],
        stdout=subprocess.PIPE, text=True,
    )
    try:
        base = json.loads(process.stdout.readline())["url"]
        with urllib.request.urlopen(f"{base}/vast?ads=1&type=audio") as answer:
            document = answer.read()
        show(f"decisions, {name}", wrk(base, decisions_script(folder)))
        script, n = beacons(base, folder)
        result = wrk(base, script)
        show(f"beacons, {name}", result)
        if result[0] * SECONDS > n:
            print(f"  (only {n} of them were new ones)")
        return document
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def nginx(folder, document):
    os.makedirs(f"{folder}/www")
    with open(f"{folder}/www/vast.xml", "wb") as file:
        file.write(document)
    port = 18080
    with open(f"{folder}/nginx.conf", "w") as file:
        file.write(
            f"pid {folder}/nginx.pid; error_log stderr; daemon off; worker_processes 2; worker_rlimit_nofile 4096;\n"
            f"events {{ worker_connections 1024; }}\n"
            f"http {{ access_log off; keepalive_requests 10000000; client_body_temp_path {folder}; proxy_temp_path {folder};\n"
            f"fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n"
            f"server {{ listen 127.0.0.1:{port}; root {folder}/www;\n"
            f"location /vast {{ default_type application/xml; try_files /vast.xml =404; }}\n"
            f"location /b/ {{ return 204; }} }} }}\n"
        )
    process = subprocess.Popen([need("nginx", "nginx-light"), "-c", f"{folder}/nginx.conf", "-p", folder])
    try:
        base = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{base}/vast").read()
                break
            except OSError:
                time.sleep(0.05)
        show("the same document, static nginx", wrk(f"{base}/vast"))
        show("204 to the same beacons, static nginx", wrk(base, f"{folder}/beacons.lua"))
    finally:
        process.terminate()
        process.wait()


def postgres(folder):
    data = f"{folder}/postgres"
    os.makedirs(data)
    if os.getuid() == 0:
        shutil.chown(data, "nobody", "nogroup")
        os.chmod(folder, 0o755)
    initdb, server_program = need("initdb", "postgresql"), need("postgres", "postgresql")
    command = [initdb, "--auth=trust", "--username=grove", "--encoding=UTF8", "--locale=C", "-D", f"{data}/data"]
    subprocess.run(as_user(command), check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen(
        as_user([server_program, "-D", f"{data}/data", "-k", data, "-c", "listen_addresses=", "-c", "shared_buffers=256MB"]),
        stderr=subprocess.DEVNULL,
    )
    while subprocess.run([need("pg_isready", "postgresql"), "-q", "-U", "grove", "-h", data]).returncode:
        time.sleep(0.1)
    return process, f"postgres://grove@localhost/postgres?host={data}"


def main():
    program = os.path.abspath(sys.argv[1])
    wanted = sys.argv[2:] or ["sqlite", "postgres", "nginx"]
    need("wrk", "wrk")
    # The disk that counts is one that syncs: not /dev/shm.
    with tempfile.TemporaryDirectory(prefix="bench-ads-", dir="/tmp") as folder:
        toml = campaigns(f"{folder}/campaigns")
        print(f"{os.cpu_count()} processors, {FLIGHTS} active flights, {CONNECTIONS} connections, {SECONDS} s each", flush=True)
        document = b""
        if "sqlite" in wanted:
            document = server(program, f"{folder}/ads.db", toml, "SQLite", folder)
        if "postgres" in wanted:
            process, url = postgres(folder)
            try:
                document = server(program, url, toml, "PostgreSQL", folder)
            finally:
                process.send_signal(signal.SIGINT)
                process.wait()
        if "nginx" in wanted:
            nginx(folder, document)


if __name__ == "__main__":
    main()
