#!/usr/bin/env python3
"""Whether `--up` and `--down` hold: bytes of content that viewers receive over a long time, beside what was allowed.

    bench/limits.py [--seconds 20] [--json FILE]

On loopback, where nothing else limits. `--up` is the seed's, to one viewer and to four at once; what those give each other does not count. `--down` is the viewer's, from a seed,
from nginx and from both. The first two seconds, in which connections begin, do not count. Exits with status 1 when a limit does not hold within `TOLERANCE`.
"""

import argparse
import shutil
import socket
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import programs, table
from harness.content import Content
from harness.net import Local
from harness.process import Process
from harness.programs import Nginx

RATES = [500_000, 5_000_000, 20_000_000]
# What is limited, where it comes from, and how many viewers there are.
CASES = [("--up", ["seed"], 1), ("--up", ["seed"], 4), ("--down", ["seed"], 1), ("--down", ["nginx"], 1), ("--down", ["seed", "nginx"], 1)]
TOLERANCE = 0.05
WARM_UP = 2
HOST = Local("127.0.0.1")


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST.address, 0))
        return probe.getsockname()[1]


def common(folder):
    return ["--data", folder, "--listen", "127.0.0.1:0", "--allow-private", "--no-discovery", "--json"]


def received(viewer, end):
    """When, and how many bytes a viewer had received and not passed on, at its last report before `end`."""
    last = None
    while (left := end - time.monotonic()) > 0:
        event = viewer.wait_for("progress", left + 2)
        last = time.monotonic(), event["from_peers"] + event["from_origin"] - event["uploaded"]
    return last


def measure(viewer, begin, end):
    """Bytes a second between two times."""
    start, before = received(viewer, begin)
    at, bytes_ = received(viewer, end)
    return (bytes_ - before) / (at - start)


def run(limit, sources, viewers, rate, seconds, folder):
    folder.mkdir(parents=True)
    port = free_port()
    # Enough that nobody is complete before the end.
    content = Content(folder, rate * (seconds + 10), programs.GROVE, "http://127.0.0.1:9/announce", f"http://127.0.0.1:{port}/content.bin")
    allowed = {"--up": [], "--down": []}
    allowed[limit] = [limit, rate]
    processes, more = [], []
    try:
        if "nginx" in sources:
            processes.append(Nginx(HOST, content, folder, port))
            time.sleep(0.5)
        else:
            more.append("--no-origin")
        if "seed" in sources:
            seed = Process(HOST, [programs.GROVE, "seed", content.hybrid, "--from", content.folder, *common(folder / "seed"), *allowed["--up"]], folder / "seed.log")
            processes.append(seed)
            more += ["--peer", seed.wait_for("listening")["quic"][0]]
            seed.wait_for("seeding", 120)
        all_viewers = []
        for i in range(viewers):
            argv = [programs.GROVE, "get", content.hybrid, "--no-ads", "--origin-policy", "fast", "-o", folder / f"result{i}", *common(folder / f"v{i}"), *more, *allowed["--down"]]
            all_viewers.append(Process(HOST, argv, folder / f"v{i}.log"))
        processes += all_viewers
        begin = time.monotonic() + WARM_UP
        with ThreadPoolExecutor(viewers) as all_at_once:
            total = sum(all_at_once.map(lambda viewer: measure(viewer, begin, begin + seconds), all_viewers))
    finally:
        for process in processes:
            process.stop()
    return {"limit": limit, "sources": " and ".join(sources), "viewers": viewers, "rate": rate / 1e6, "measured": total / 1e6, "share": total / rate}


COLUMNS = [("limit", "", ""), ("sources", "from", ""), ("viewers", "viewers", ""), ("rate", "allowed, MB/s", ".1f"), ("measured", "measured", ".3f"), ("share", "of it", ".1%")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--json", default=programs.ROOT / "target/bench/limits.json")
    args = parser.parse_args()
    if not programs.GROVE.exists():
        sys.exit(f"bench: {programs.GROVE} is missing; `make build` makes it")
    work = Path(tempfile.mkdtemp(prefix="grove-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        rows = []
        for rate in RATES:
            for case in CASES:
                rows.append(run(*case, rate, args.seconds, work / f"{len(rows)}"))
                shutil.rmtree(work / f"{len(rows) - 1}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    table.show(f"limits over {args.seconds} s on loopback", COLUMNS, rows, [])
    table.write(args.json, rows=rows)
    wrong = [row for row in rows if abs(row["share"] - 1) > TOLERANCE]
    sys.exit(f"bench: {len(wrong)} limits do not hold within {TOLERANCE:.0%}" if wrong else 0)


main()
