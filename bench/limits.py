#!/usr/bin/env python3
"""Whether `--up` and `--down` hold: bytes of content that viewers receive over a long time, beside what was allowed.

    bench/limits.py [--seconds 20] [--json FILE]

On loopback, where nothing else limits. `--up` is the seed's, `--down` the viewer's, from a seed and from nginx. The first two seconds, in which connections begin, do not count.
"""

import argparse
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from harness import programs, table
from harness.content import Content
from harness.net import Local
from harness.process import Process
from harness.programs import Nginx

RATES = [500_000, 5_000_000, 20_000_000]
WARM_UP = 2
HOST = Local("127.0.0.1")


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST.address, 0))
        return probe.getsockname()[1]


def common(folder):
    return ["--data", folder, "--listen", "127.0.0.1:0", "--allow-private", "--no-discovery", "--json"]


def received(viewer, end):
    """When, and how many bytes a viewer had received, at its last report before `end`."""
    last = None
    while (left := end - time.monotonic()) > 0:
        event = viewer.wait_for("progress", left + 2)
        last = time.monotonic(), event["from_peers"] + event["from_origin"]
    return last


def run(what, rate, viewers, seconds, folder):
    up, down = (rate, None) if what == "--up" else (None, rate)
    folder.mkdir(parents=True)
    port = free_port()
    # Enough that nobody is complete before the end.
    content = Content(folder, rate * (seconds + 10), programs.GROVE, "http://127.0.0.1:9/announce", f"http://127.0.0.1:{port}/content.bin")
    web = what == "--down, nginx"
    processes = []
    try:
        if web:
            source = Nginx(HOST, content, folder, port)
            time.sleep(0.5)
            more = []
        else:
            limit = ["--up", up] if up else []
            source = Process(HOST, [programs.GROVE, "seed", content.hybrid, "--from", content.folder, *common(folder / "seed"), *limit], folder / "seed.log")
            peer = source.wait_for("listening")["quic"][0]
            source.wait_for("seeding", 120)
            more = ["--no-origin", "--peer", peer]
        processes.append(source)
        limit = ["--down", down] if down else []
        all_viewers = []
        for i in range(viewers):
            argv = [programs.GROVE, "get", content.hybrid, "--no-ads", "--origin-policy", "fast", "-o", folder / f"result{i}", *common(folder / f"v{i}"), *more, *limit]
            all_viewers.append(Process(HOST, argv, folder / f"v{i}.log"))
        processes += all_viewers
        total = 0.0
        begin = time.monotonic() + WARM_UP
        starts = [received(viewer, begin) for viewer in all_viewers]
        for viewer, (start, before) in zip(all_viewers, starts):
            at, bytes_ = received(viewer, begin + seconds)
            total += (bytes_ - before) / (at - start)
    finally:
        for process in processes:
            process.stop()
    return {"limit": what, "viewers": viewers, "rate": rate / 1e6, "measured": total / 1e6, "share": total / rate}


COLUMNS = [("limit", "", ""), ("viewers", "viewers", ""), ("rate", "allowed, MB/s", ".1f"), ("measured", "measured", ".3f"), ("share", "of it", ".1%")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--json", default=programs.ROOT / "target/bench/limits.json")
    args = parser.parse_args()
    if not programs.GROVE.exists():
        sys.exit(f"bench: {programs.GROVE} is missing; `make build` makes it")
    work = Path(tempfile.mkdtemp(prefix="grove-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    cases = [("--up", 1), ("--down", 1), ("--down, nginx", 1)]
    try:
        rows = []
        for rate in RATES:
            for what, viewers in cases:
                rows.append(run(what, rate, viewers, args.seconds, work / f"{len(rows)}"))
                shutil.rmtree(work / f"{len(rows) - 1}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    table.show(f"limits over {args.seconds} s on loopback", COLUMNS, rows, [])
    table.write(args.json, rows=rows)
    wrong = [row for row in rows if not 0.95 <= row["share"] <= 1.05]
    sys.exit(f"bench: {len(wrong)} limits do not hold within 5 %" if wrong else 0)


main()
