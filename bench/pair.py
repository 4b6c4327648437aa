#!/usr/bin/env python3
"""One viewer fetches 1 GiB from one seed, and from four, as fast as the machine can, beside libtorrent.

    bench/pair.py [--only LABEL]... [--mib N] [--json FILE]

Between network namespaces packets have 1,500 bytes, as on the internet; on loopback each program may find larger ones. CPU is user and
system time per 10⁹ bytes, of the viewer and of all seeds. All of it runs on the cores of one machine, so cores are what bounds the rate.
"""

import argparse
import queue
import shutil
import sys
import tempfile
import time
from pathlib import Path

from harness import programs, table
from harness.content import Content, touch
from harness.goals import Goals
from harness.net import Local, Network
from harness.programs import Grove, Libtorrent, Program

TIMEOUT = 120


def hosts(net, place, count):
    if place == "loopback":
        return [Local(f"127.0.0.{i + 2}") for i in range(count)]
    return [net.host(f"h{i}") for i in range(count)]


def run(program, place, sources, size, folder):
    folder.mkdir()
    with Network() as net:
        viewer_host, *seed_hosts = hosts(net, place, sources + 1)
        # Nobody answers at the tracker and the web seed: peers are named.
        content = Content(folder, size, programs.GROVE, "http://127.0.0.1:9/announce", "http://127.0.0.1:9/content.bin")
        touch(folder, (sources + 2) * size)
        seeds, viewer, events = [], None, queue.Queue()
        try:
            for i, host in enumerate(seed_hosts):
                seeds.append(program.seeder(host, content, folder / f"seed{i}", folder / f"seed{i}.log"))
                seeds[-1].forget_cpu()
            data = folder / "viewer"
            data.mkdir()
            start = time.monotonic()
            viewer = program.viewer(viewer_host, content, data, folder / "viewer.log", events, False, seed_hosts)
            if type(program).go is not Program.go:
                assert events.get(timeout=30)[2]["event"] == "ready"
                start = time.monotonic()
                program.go(viewer)
            at, _ = program.next_complete(events, start + TIMEOUT, 1, folder)
            viewer_cpu, seed_cpu, memory = viewer.cpu(), sum(s.cpu() for s in seeds), viewer.rss()
        finally:
            for process in [viewer, *seeds]:
                if process:
                    process.stop()
        if not content.is_right(program.result(data)):
            raise SystemExit(f"bench: the file of {program.label} is wrong, see {folder}")
    return {
        "program": program.label, "place": place, "sources": sources, "seconds": at - start, "rate": size / (at - start) / 1e6,
        "viewer_cpu": viewer_cpu / (size / 1e9), "seed_cpu": seed_cpu / (size / 1e9), "rss_mb": memory / 1e6,
    }


COLUMNS = [
    ("program", "", ""), ("place", "over", ""), ("sources", "seeds", ""), ("seconds", "seconds", ".2f"), ("rate", "MB/s", ".0f"),
    ("ratio", "÷ libtorrent", ".2f"), ("viewer_cpu", "viewer CPU-s/GB", ".2f"), ("seed_cpu", "seeds CPU-s/GB", ".2f"), ("rss_mb", "RSS MB", ".0f"),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", help="run only what has this in its label, e.g. 'grove' or 'loopback'")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--json", default=programs.ROOT / "target/bench/pair.json")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the runs, with logs")
    args = parser.parse_args()
    if not programs.GROVE.exists():
        sys.exit(f"bench: {programs.GROVE} is missing; `make build` makes it")
    cases = [(program, place, sources) for place in ("MTU 1500", "loopback") for sources in (1, 4)
             for program in (Libtorrent(), Grove("thrifty", label="grove"))]
    if args.only:
        cases = [(p, place, n) for p, place, n in cases if any(o in f"{p.label} over {place} from {n}" for o in args.only)]
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    work = Path(tempfile.mkdtemp(prefix="grove-bench-", dir=base))
    rows = []
    try:
        for number, (program, place, sources) in enumerate(cases):
            rows.append(run(program, place, sources, args.mib << 20, work / str(number)))
            peer = next((r for r in rows if (r["program"], r["place"], r["sources"]) == ("libtorrent", place, sources)), None)
            rows[-1]["ratio"] = rows[-1]["rate"] / peer["rate"] if peer else None
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
            if not args.keep:
                shutil.rmtree(work / str(number))
    finally:
        if not args.keep:
            shutil.rmtree(work, ignore_errors=True)
    notes = ["every file was compared with the original", str(programs.versions())]
    table.show(f"{args.mib} MiB to one viewer, unlimited", COLUMNS, rows, notes)
    table.write(args.json, rows=rows, versions=programs.versions())
    goals = Goals()
    for row in rows:
        if row["program"] == "grove" and row["ratio"]:
            name = f"{row['place']}, {row['sources']} seed{'s' if row['sources'] > 1 else ''}"
            goals.at_least(f"{name}: rate ÷ libtorrent's", row["ratio"], 1.3 if row["place"] == "loopback" else 1)
    goals.close()


main()
