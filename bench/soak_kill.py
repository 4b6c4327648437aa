#!/usr/bin/env python3
"""SIGKILLs at random instants of a real download, from a seed and a web server on loopback.

    bench/soak_kill.py [--kills 100] [--seed N]

A viewer is killed, at an instant between its start and some seconds later, and started again on the same folder, until it ends by itself. Its file
must then be right, with nothing left beside it; so must whatever stands under the final name at any other time. What it has when it starts again may be at most 2 s or 8 MiB
less than the most that any life said before, and a quarter of that on average. A finished viewer makes room for another with an empty folder, until so many were killed; the last one may end.
About half of the lives fetch more than a kill may cost; when fewer than a tenth do, nothing is proved, and that fails too.
"""

import argparse
import queue
import random
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from harness import programs
from harness.content import Content
from harness.net import Local
from harness.process import Process
from harness.programs import Nginx

SIZE = 48 << 20
# Bytes a second: some kills fall before anything has come, some at the end, most in between.
RATE = 4_000_000
LONGEST = 5
LOSS = max(8 << 20, 2 * RATE)


def free_port(host):
    with socket.socket() as probe:
        probe.bind((host.address, 0))
        return probe.getsockname()[1]


class Soak:
    """A seed and a web server, and viewers of one folder after another."""

    def __init__(self, work, rng):
        self.work, self.rng, self.host = work, rng, Local("127.0.0.1")
        port = free_port(self.host)
        self.content = Content(work, SIZE, programs.GROVE, "http://127.0.0.1:9/announce", f"http://127.0.0.1:{port}/content.bin")
        self.web = Nginx(self.host, self.content, work, port)
        self.seed = Process(
            self.host,
            [programs.GROVE, "seed", self.content.hybrid, "--from", self.content.folder, "--data", work / "seed", *self.common(), "--up", RATE // 2],
            work / "seed.log",
        )
        self.peer = self.seed.wait_for("listening")["quic"][0]
        self.seed.wait_for("seeding")
        self.folder, self.round, self.most = None, 0, 0
        # What all lives said that they fetched, and how many fetched more than a kill may cost.
        self.fetched, self.telling = 0, 0
        self.next_folder()

    def common(self):
        return ["--listen", "127.0.0.1:0", "--allow-private", "--no-discovery", "--json"]

    def next_folder(self):
        if self.folder:
            shutil.rmtree(self.folder)
        self.round += 1
        self.most = 0
        self.folder = self.work / f"viewer{self.round}"
        self.folder.mkdir()

    def viewer(self):
        argv = [programs.GROVE, "get", self.content.hybrid, "--no-ads", "--peer", self.peer, "--down", RATE, "-o", self.folder / "result",
                "--data", self.folder / "data", *self.common()]
        return Process(self.host, argv, self.work / "viewer.log")

    def check(self):
        """What stands under the final name is whole, or nothing is."""
        result = self.folder / "result"
        if result.exists() and not self.content.is_right(result):
            sys.exit(f"soak: {result} is wrong")
        return result.exists()

    def live(self, seconds):
        """One life of a viewer, at most so long. Whether it was killed."""
        viewer, end, first, had = self.viewer(), time.monotonic() + seconds, None, 0
        while (left := end - time.monotonic()) > 0:
            try:
                _, _, event = viewer.events.get(timeout=left)
            except queue.Empty:
                break
            if event["event"] == "progress":
                had = event["have_bytes"]
                if first is None and had + LOSS < self.most:
                    sys.exit(f"soak: of {self.most} bytes {had} are left after a kill, see {self.work}")
                first, self.most = had if first is None else first, max(self.most, had)
            if event["event"] == "ended":
                status = viewer.popen.wait()
                viewer.stop()
                if status != 0:
                    sys.exit(f"soak: a viewer ended with status {status}, see {viewer.log.name}")
                if not self.check():
                    sys.exit("soak: a viewer ended without a file")
                if left := [path.name for path in self.folder.iterdir() if path.name not in ("result", "data")]:
                    sys.exit(f"soak: killed viewers have left {left}")
                return False
        viewer.popen.kill()
        viewer.popen.wait()
        viewer.stop()
        self.check()
        fetched = had - (first or 0)
        self.fetched, self.telling = self.fetched + fetched, self.telling + (fetched > LOSS)
        return True

    def stop(self):
        self.seed.stop()
        self.web.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    args = parser.parse_args()
    if not programs.GROVE.exists():
        sys.exit(f"soak: {programs.GROVE} is missing; `make build` makes it")
    print(f"seed {args.seed}", flush=True)
    work = Path(tempfile.mkdtemp(prefix="grove-soak-"))
    soak = Soak(work, random.Random(args.seed))
    kills = 0
    try:
        while kills < args.kills:
            if soak.live(soak.rng.uniform(0, LONGEST)):
                kills += 1
                print(f"kill {kills}: in folder {soak.round}, {soak.most / SIZE:.0%} were there", flush=True)
            else:
                soak.next_folder()
        if soak.live(120):
            sys.exit("soak: the last viewer does not end")
        # The last of each download was not killed, so that less than its whole was fetched by those that were.
        if (lost := soak.fetched - soak.round * SIZE) > kills * LOSS / 4:
            sys.exit(f"soak: {kills} kills have cost at least {lost} bytes, see {work}")
        if soak.telling < kills // 10:
            sys.exit(f"soak: only {soak.telling} lives fetched more than a kill may cost: this machine is too slow for it")
    finally:
        soak.stop()
    shutil.rmtree(work)
    print(f"{kills} kills in {soak.round} downloads, each of which ended in the right file; {soak.telling} lives fetched more than a kill may cost")


main()
