#!/usr/bin/env python3
"""Whether uploads stay in the background: a seed behind a router of 10 MB/s, alone, beside a TCP connection, and alone again.

    bench/background.py [--json FILE]

The queue is in the router's namespace (0.2 s, drop-tail), not in the sender's, where TCP would see it and hold back. Shares are of what the
line can carry, headers included. `normal` is the same seed with `--up` far above the line, which competes as others do.
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
    """A seed and a viewer with a router between them."""

    def __init__(self, net):
        seed, router, viewer = (net.namespace(n) for n in ("seed", "router", "viewer"))
        net.link(router, "wan", "10.78.1.1", seed, "eth0", "10.78.1.2")
        net.link(router, "lan", "10.78.2.1", viewer, "eth0", "10.78.2.2")
        self.router = Host(router, "10.78.1.1")
        self.seed, self.viewer = Host(seed, "10.78.1.2"), Host(viewer, "10.78.2.2")
        self.router.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        self.seed.run("ip", "route", "add", "default", "via", "10.78.1.1")
        self.viewer.run("ip", "route", "add", "default", "via", "10.78.2.1")
        self.router.shape(RATE, QUEUE, "lan")

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


def run(program, folder):
    folder.mkdir()
    with Network() as net:
        line = Line(net)
        content = Content(folder, 1 << 30, programs.GROVE, "http://127.0.0.1:9/announce", "http://127.0.0.1:9/content.bin")
        seed = program.seeder(line.seed, content, folder / "seed", folder / "seed.log")
        (folder / "viewer").mkdir()
        viewer = program.viewer(line.viewer, content, folder / "viewer", folder / "viewer.log", None, False, [line.seed])
        sink = source = None
        try:
            time.sleep(5)
            alone, queue = line.measure(12)
            sink = Process(line.viewer, [sys.executable, "-c", SINK, line.viewer.address], folder / "sink.log")
            sink.wait_for("listening")
            source = subprocess.Popen(line.seed.command([sys.executable, "-c", SOURCE, line.viewer.address, "24"]))
            time.sleep(4)
            before, begin = received(line.viewer), time.monotonic()
            both, _ = line.measure(16)
            tcp = (received(line.viewer) - before) / (time.monotonic() - begin) / RATE
            source.wait()
            time.sleep(3)
            again, _ = line.measure(6)
        finally:
            if source:
                source.kill()
            for process in (sink, viewer, seed):
                if process:
                    process.stop()
    # TCP's bytes are content; its headers are 66 of 1,514.
    return {"program": program.label, "alone": alone, "queue": queue, "tcp": tcp * 1514 / 1448 / both, "both": both, "again": again}


COLUMNS = [
    ("program", "", ""), ("alone", "alone: of the line", ".0%"), ("queue", "queue, ms", ".0f"), ("tcp", "beside TCP: TCP has", ".0%"),
    ("both", "of the line", ".0%"), ("again", "3 s after TCP", ".0%"),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", default=programs.ROOT / "target/bench/background.json")
    args = parser.parse_args()
    if not programs.GROVE.exists():
        sys.exit(f"bench: {programs.GROVE} is missing; `make build` makes it")
    work = Path(tempfile.mkdtemp(prefix="grove-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        rows = [run(Grove("thrifty", label="background"), work / "background"),
                run(Grove("thrifty", seed_up=1_000_000_000, label="normal"), work / "normal")]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    table.show(f"a seed behind a router of {RATE / 1e6:g} MB/s with a queue of {QUEUE * 1e3:g} ms", COLUMNS, rows, [str(programs.versions())])
    table.write(args.json, rows=rows, versions=programs.versions())


main()
