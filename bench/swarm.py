#!/usr/bin/env python3
"""A flash crowd: ten viewers fetch 128 MiB at once, from a seed or from a web server, and from each other.

    bench/swarm.py [--only LABEL]... [--viewers N] [--mib N] [--json FILE]

Uplinks are shaped by the kernel in network namespaces: the seed's to 20 MB/s, each viewer's to 10 MB/s. The bound is what no protocol can
beat: max(F/seed, N·F/(seed + Σ viewers)); T(1) is what none can that takes one copy of the seed: max(F/seed, (N − 1)·F/Σ viewers). Copies are bytes of content that left the seed ÷ the size of the file (those of aria2 are
counted on the wire, headers included). CPU is the viewers' user and system time until the last one is complete, per 10⁹ bytes downloaded.
"""

import argparse
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from harness import programs, table
from harness.content import Content, touch
from harness.goals import Goals
from harness.net import Network
from harness.process import Process
from harness.programs import Aria2, Grove, Libtorrent, Nginx

SEED, VIEWER = 20_000_000, 10_000_000
# What of a shaped line content can have without a queue: QUIC's and IP's headers take 4 %, and a little more drains it.
CONTENT = 0.94
TIMEOUT = 120


def bounds(count, size):
    """Seconds that nobody can beat, and that nobody can who takes one copy of the seed."""
    return max(size / SEED, count * size / (SEED + count * VIEWER)), max(size / SEED, (count - 1) * size / (count * VIEWER))


def announced(hub, tracker):
    """Whether the tracker knows somebody."""
    answer = subprocess.run(hub.command(["curl", "-s", f"{tracker}/metrics"]), capture_output=True, check=False).stdout
    return b"\ngrove_tracker_peers 0\n" not in answer and b"\ngrove_tracker_peers " in answer


def trace(net, stop, every=0.5):
    """Prints how much of each uplink is used: the seed's, then the viewers' least, mean and most."""
    begin, last = time.monotonic(), net.uplinks()
    at = begin
    while not stop.wait(every):
        now, new = time.monotonic(), net.uplinks()
        seed, *viewers = [(b - a) / (now - at) for a, b in zip(last, new)]
        shares = [v / VIEWER for v in viewers]
        print(f"  {now - begin:5.1f} s: seed {seed / SEED:4.0%}, viewers {min(shares):4.0%} {sum(shares) / len(shares):4.0%} {max(shares):4.0%}", flush=True)
        at, last = now, new


def run(program, web, count, size, folder, traced):
    folder.mkdir()
    with Network() as net:
        hub = net.hub()
        origin = net.host("seed", SEED)
        hosts = [net.host(f"v{i}", VIEWER) for i in range(count)]
        address = f"http://{hub.address}:6969"
        content = Content(folder, size, programs.GROVE, f"{address}/announce", f"http://{origin.address}/content.bin")
        touch(folder, (count + 2) * size)
        tracker = Process(hub, [programs.GROVE, "tracker", "--http", f"{hub.address}:6969", "--json"], folder / "tracker.log")
        tracker.wait_for("listening")
        viewers, events, seed = [], queue.Queue(), None
        try:
            if web:
                seed = Nginx(origin, content, folder)
                time.sleep(0.5)
            else:
                seed = program.seeder(origin, content, folder / "seed", folder / "seed.log")
                end = time.monotonic() + 20
                while not announced(hub, address):
                    if time.monotonic() > end:
                        raise SystemExit("bench: the seed did not announce itself")
                    time.sleep(0.1)
            before = origin.sent()
            waiting = type(program).go is not programs.Program.go
            start = time.monotonic()
            for i, host in enumerate(hosts):
                data = folder / f"v{i}"
                data.mkdir()
                viewers.append(program.viewer(host, content, data, folder / f"v{i}.log", events, web))
            if waiting:
                for _ in viewers:
                    assert events.get(timeout=30)[2]["event"] == "ready"
                start = time.monotonic()
                for viewer in viewers:
                    program.go(viewer)
            done, times = threading.Event(), {}
            if traced:
                threading.Thread(target=trace, args=(net, done), daemon=True).start()
            while len(times) < count:
                at, viewer = program.next_complete(events, start + TIMEOUT, count - len(times), folder)
                times[viewer] = at - start
            done.set()
            cpu = sum(v.cpu() for v in viewers)
            memory = max(v.rss() for v in viewers)
            wire = origin.sent() - before
        finally:
            for viewer in viewers:
                viewer.stop()
            if seed:
                seed.stop()
            tracker.stop()
        uploaded = seed.uploaded() if web else program.uploaded(seed)
        wrong = [i for i in range(count) if not content.is_right(program.result(folder / f"v{i}"))]
        if wrong:
            raise SystemExit(f"bench: the files of viewers {wrong} of {program.label} are wrong, see {folder}")
    bound, one_copy = bounds(count, size)
    return {
        "program": program.label, "source": "nginx" if web else "seed",
        "seconds": max(times.values()), "first": min(times.values()), "ratio": max(times.values()) / bound, "one_copy": max(times.values()) / one_copy,
        "copies": (uploaded if uploaded is not None else wire) / size, "wire_copies": wire / size,
        "cpu_per_gb": cpu / (count * size / 1e9), "rss_mb": memory / 1e6,
    }


def judge(rows):
    """The goals; of programs that are told their lines, since the others have to find them."""
    goals = Goals()
    for row in rows:
        if not row["program"].startswith("grove") or "--up" not in row["program"]:
            continue
        name = f"{row['program']} from {row['source']}"
        if "thrifty" in name:
            goals.at_most(f"{name}: time ÷ T(1)", row["one_copy"], 1.12)
            goals.at_most(f"{name}: copies", row["copies"], 1.12)
        else:
            goals.at_most(f"{name}: time ÷ bound", row["ratio"], 1.12)
        goals.at_most(f"{name}: memory of a viewer in MB", row["rss_mb"], 60)
        for peer in rows:
            if (peer["program"], peer["source"]) == ("libtorrent", row["source"]):
                goals.at_most(f"{name}: CPU ÷ libtorrent's", row["cpu_per_gb"] / peer["cpu_per_gb"], 1)
    return goals


COLUMNS = [
    ("program", "", ""), ("source", "from", ""), ("seconds", "seconds", ".2f"), ("ratio", "÷ bound", ".2f"), ("one_copy", "÷ T(1)", ".2f"), ("copies", "copies", ".2f"),
    ("cpu_per_gb", "CPU-s/GB", ".1f"), ("rss_mb", "RSS MB", ".0f"),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", help="run only what has this in its label, e.g. 'grove fast' or 'seed'")
    parser.add_argument("--viewers", type=int, default=10)
    parser.add_argument("--mib", type=int, default=128)
    parser.add_argument("--json", default=programs.ROOT / "target/bench/swarm.json")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the runs, with logs")
    parser.add_argument("--trace", action="store_true", help="print the use of the uplinks twice a second")
    args = parser.parse_args()
    if not programs.GROVE.exists():
        sys.exit(f"bench: {programs.GROVE} is missing; `make build` makes it")
    limits = {"up": int(VIEWER * CONTENT), "seed_up": int(SEED * CONTENT)}
    cases = [(program, web) for web in (False, True)
             for program in (Grove("fast", **limits), Grove("thrifty", **limits), Grove("fast"), Grove("thrifty"), Libtorrent(), Aria2())]
    if args.only:
        cases = [(p, web) for p, web in cases if any(o in f"{p.label} from {'nginx' if web else 'seed'}" for o in args.only)]
    size = args.mib << 20
    # Files stay in memory where that is possible: the disk takes no part.
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    work = Path(tempfile.mkdtemp(prefix="grove-bench-", dir=base))
    rows = []
    try:
        for number, (program, web) in enumerate(cases):
            rows.append(run(program, web, args.viewers, size, work / str(number), args.trace))
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
            if not args.keep:
                shutil.rmtree(work / str(number))
    finally:
        if not args.keep:
            shutil.rmtree(work, ignore_errors=True)
    bound, one_copy = bounds(args.viewers, size)
    table.show(
        f"{args.viewers} viewers at once, {args.mib} MiB, seed {SEED / 1e6:g} MB/s, viewers {VIEWER / 1e6:g} MB/s up; bound {bound:.2f} s, T(1) {one_copy:.2f} s",
        COLUMNS, rows, ["every file was compared with the original", str(programs.versions())],
    )
    table.write(args.json, bound=bound, one_copy=one_copy, rows=rows, versions=programs.versions())
    judge(rows).close()


main()
