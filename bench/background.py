#!/usr/bin/env python3
"""Whether uploads stay in the background: a seed behind a router of 10 MB/s, alone, beside a TCP connection, and alone again; the same over
a long way; and how two such seeds share the line when one comes later.

    bench/background.py [--json FILE]

The queue is in the router's namespace (0.2 s, drop-tail), not in the sender's, where TCP would see it and hold back. Shares are of what the
line can carry, headers included; TCP's is of what the same connection has when it is alone. `normal` is the same seed with `--up` far above the line, which competes as others do. Whoever comes late
measures a way whose queue is never empty, and would take all of the line if it took that for the length of the way.

Exits with status 1 when something in the background misses a goal (`GOALS`) by more than `TOLERANCE`.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import programs, table
from harness.content import Content
from harness.net import Host, Network
from harness.process import Process
from harness.programs import Grove

RATE = 10_000_000
QUEUE = 0.2
FAR = 0.1
# Of each figure the least and the most: shares, and milliseconds of queue near the 60 that LEDBAT++ aims for.
GOALS = {"alone": (0.85, 1.1), "queue": (30, 90), "tcp": (0.95, 1.1), "again": (0.85, 1.1)}
LATE_GOALS = {"late": (0.3, 0.7), "both": (0.85, 1.1), "queue": (0, 120)}
# What a measurement of some seconds on a machine with other work may differ by, as a part of the goal.
TOLERANCE = 0.03
SINK = """
import socket, sys
s = socket.create_server((sys.argv[1], 9000)); print('{"event":"listening"}', flush=True)
c, _ = s.accept()
while c.recv(1 << 20): pass
"""
SOURCE = """
import socket, sys, time
s = socket.socket(); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic"); s.connect((sys.argv[1], 9000)); end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end: s.send(bytes(65536))
"""


class Line:
    """Two seeds and a viewer, which has two addresses, with a router between them."""

    def __init__(self, net, delay=0):
        seed, late, router, viewer = (net.namespace(n) for n in ("seed", "late", "router", "viewer"))
        net.link(router, "wan", "10.78.1.1", seed, "eth0", "10.78.1.2")
        net.link(router, "wan2", "10.78.3.1", late, "eth0", "10.78.3.2")
        net.link(router, "lan", "10.78.2.1", viewer, "eth0", "10.78.2.2")
        self.router = Host(router, "10.78.1.1")
        self.seed, self.late = Host(seed, "10.78.1.2"), Host(late, "10.78.3.2")
        self.viewer, self.second = Host(viewer, "10.78.2.2"), Host(viewer, "10.78.2.3")
        self.viewer.run("ip", "addr", "add", "10.78.2.3/24", "dev", "eth0")
        self.router.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        for host, gateway in ((self.seed, "10.78.1.1"), (self.late, "10.78.3.1"), (self.viewer, "10.78.2.1")):
            host.run("ip", "route", "add", "default", "via", gateway)
        self.router.shape(RATE, QUEUE, "lan")
        self.delay = delay

    def lengthen(self, log):
        """What comes back from the viewer takes `delay` longer; the process that does it, or nothing."""
        if not self.delay:
            return None
        process = Process(self.router, [sys.executable, Path(__file__).parent / "harness/delay.py", "far", self.delay], log)
        process.wait_for("up")
        for device in ("all", "default", "far"):
            self.router.run("sysctl", "-q", "-w", f"net.ipv4.conf.{device}.rp_filter=0")
        self.router.run("ip", "route", "add", "default", "dev", "far", "table", "100")
        self.router.run("ip", "rule", "add", "iif", "lan", "lookup", "100")
        return process

    def beside_tcp(self, log):
        """What a TCP connection from the seed has of the line beside whatever else there is, and what is used altogether."""
        sink = Process(self.viewer, [sys.executable, "-c", SINK, self.viewer.address], log)
        source = None
        try:
            sink.wait_for("listening")
            source = subprocess.Popen(self.seed.command([sys.executable, "-c", SOURCE, self.viewer.address, "24"]))
            time.sleep(4)
            before, begin = received(self.viewer), time.monotonic()
            both, _ = self.measure(16)
            tcp = (received(self.viewer) - before) / (time.monotonic() - begin) / RATE
            source.wait()
        finally:
            if source:
                source.kill()
            sink.stop()
        return tcp, both

    def came(self):
        """Bytes that came to the router so far from each seed."""
        return [int(self.router.run("cat", f"/sys/class/net/{device}/statistics/rx_bytes")) for device in ("wan", "wan2")]

    def measure(self, seconds):
        """The share of the line that is used over this time, and the median of the queue in milliseconds."""
        queues, begin, start = [], self.router.sent("lan"), time.monotonic()
        while time.monotonic() < start + seconds:
            queues.append(self.router.backlog("lan") / RATE * 1e3)
            time.sleep(0.05)
        share = (self.router.sent("lan") - begin) / (time.monotonic() - start) / RATE
        return share, statistics.median(queues)


def received(host):
    """Bytes that TCP has delivered to a host, from its own counters."""
    lines = host.run("ss", "-tinH", "sport", "=", ":9000").split()
    return sum(int(word.split(":")[1]) for word in lines if word.startswith("bytes_received:"))


def run(program, folder, delay=0):
    folder.mkdir()
    with Network() as net:
        line = Line(net, delay)
        content = Content(folder, 1 << 30, programs.GROVE, "http://127.0.0.1:9/announce", "http://127.0.0.1:9/content.bin")
        far = line.lengthen(folder / "far.log")
        seed = program.seeder(line.seed, content, folder / "seed", folder / "seed.log")
        (folder / "viewer").mkdir()
        viewer = program.viewer(line.viewer, content, folder / "viewer", folder / "viewer.log", None, False, [line.seed])
        try:
            time.sleep(5)
            alone, queue = line.measure(12)
            tcp, both = line.beside_tcp(folder / "sink.log")
            time.sleep(3)
            again, _ = line.measure(6)
            viewer.stop()
            tcp_alone, _ = line.beside_tcp(folder / "sink-alone.log")
        finally:
            for process in (viewer, seed, far):
                if process:
                    process.stop()
    return {"program": program.label, "alone": alone, "queue": queue, "tcp": tcp / tcp_alone, "both": both, "again": again}


def share(program, folder):
    """Two seeds behind one router, the second a while after the first: what each has of the line from then on."""
    folder.mkdir()
    with Network() as net:
        line, processes = Line(net), []
        pairs = [("first", line.seed, line.viewer), ("late", line.late, line.second)]
        contents = [Content(folder / name, 768 << 20, programs.GROVE, "http://127.0.0.1:9/announce", "http://127.0.0.1:9/content.bin", number)
                    for number, (name, _, _) in enumerate(pairs)]
        try:
            for (name, seed, viewer), content in zip(pairs, contents):
                own = folder / name
                processes.append(program.seeder(seed, content, own / "seed", own / "seed.log"))
                (own / "viewer").mkdir()
                processes.append(program.viewer(viewer, content, own / "viewer", own / "viewer.log", None, False, [seed]))
                time.sleep(10)
            before = line.came()
            both, queue = line.measure(30)
            first, late = (after - once for after, once in zip(line.came(), before))
        finally:
            for process in reversed(processes):
                process.stop()
    return {"program": program.label, "late": late / (first + late), "both": both, "queue": queue}


COLUMNS = [
    ("program", "", ""), ("alone", "alone: of the line", ".0%"), ("queue", "queue, ms", ".0f"), ("tcp", "beside TCP: of what TCP has alone", ".0%"),
    ("both", "of the line", ".0%"), ("again", "3 s after TCP", ".0%"),
]
LATE = [("program", "", ""), ("late", "who came late has", ".0%"), ("both", "both: of the line", ".0%"), ("queue", "queue, ms", ".0f")]


def missed(row, goals):
    """What of a row is outside of its goals, in words."""
    return [f"{row['program']}: {key} is {row[key]:.3g}, and should be from {least:g} to {most:g}"
            for key, (least, most) in goals.items() if not least * (1 - TOLERANCE) <= row[key] <= most * (1 + TOLERANCE)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", default=programs.ROOT / "target/bench/background.json")
    args = parser.parse_args()
    if not programs.GROVE.exists():
        sys.exit(f"bench: {programs.GROVE} is missing; `make build` makes it")
    work = Path(tempfile.mkdtemp(prefix="grove-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        background = [run(Grove("thrifty", label="background"), work / "background"),
                      run(Grove("thrifty", label=f"background, {FAR * 1e3:g} ms away"), work / "far", FAR)]
        rows = [*background, run(Grove("thrifty", seed_up=1_000_000_000, label="normal"), work / "normal")]
        shares = [share(Grove("thrifty", label="background"), work / "late")]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    table.show(f"a seed behind a router of {RATE / 1e6:g} MB/s with a queue of {QUEUE * 1e3:g} ms", COLUMNS, rows, [])
    table.show("two such seeds behind the same router, the second 10 s after the first", LATE, shares, [str(programs.versions())])
    table.write(args.json, rows=rows, shares=shares, versions=programs.versions())
    wrong = [why for row in background for why in missed(row, GOALS)] + [why for row in shares for why in missed(row, LATE_GOALS)]
    sys.exit("\n".join(f"bench: {why}" for why in wrong) if wrong else 0)


main()
