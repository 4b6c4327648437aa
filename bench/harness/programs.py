"""The programs that are compared, each as: how it seeds, how it fetches, what it says when it is complete, what it uploaded."""

import os
import queue
import sys
import time
from pathlib import Path

from .process import Process

ROOT = Path(__file__).resolve().parents[2]
GROVE = Path(os.environ.get("GROVE") or Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "grove")
# A Python that has libtorrent: Debian's, or a virtual environment with a newer one.
LIBTORRENT_PYTHON = os.environ.get("LIBTORRENT_PYTHON", "/usr/bin/python3")
PORT = 7700


class Program:
    """One way of delivering. `seeder` and `viewer` give processes; a viewer begins at `go`."""

    label = ""

    def go(self, process):
        """Lets a viewer that is ready begin. Those that begin when they are started need nothing."""

    def next_complete(self, events, until, missing, folder):
        """When the next viewer is complete, and which; ends the bench when none is until then, or when one ends."""
        while True:
            try:
                at, viewer, event = events.get(timeout=max(until - time.monotonic(), 0.001))
            except queue.Empty:
                raise SystemExit(f"bench: {missing} viewers of {self.label} are not complete, see {folder}") from None
            if event["event"] == "ended":
                raise SystemExit(f"bench: a viewer ended, see {viewer.log.name}")
            if self.is_complete(event):
                return at, viewer

    def is_complete(self, event):
        return event["event"] == "complete"

    def uploaded(self, process):
        """Bytes of content that a stopped process says it uploaded; `None` when it does not say."""
        while not process.events.empty():
            _, _, event = process.events.get()
            if event.get("event") == "done":
                return event.get("uploaded")
        return None


class Grove(Program):
    def __init__(self, policy, up=None, seed_up=None, label=None):
        self.policy, self.up, self.seed_up = policy, up, seed_up
        self.label = label or f"grove {policy}" + (f" --up {up / 1e6:g}M" if up else "")

    def _common(self, host, folder, up):
        limit = ["--up", int(up)] if up else []
        # Neither looks for peers beside the tracker; libtorrent is told so too.
        return ["--data", folder, "--listen", f"{host.address}:{PORT}", "--no-discovery", "--allow-private", "--json", *limit]

    def seeder(self, host, content, folder, log):
        process = Process(host, [GROVE, "seed", content.hybrid, "--from", content.folder, *self._common(host, folder, self.seed_up)], log)
        process.wait_for("seeding")
        return process

    def viewer(self, host, content, folder, log, events, web, peers=()):
        argv = [GROVE, "get", content.hybrid, "--no-ads", "-o", Path(folder) / "result", "--seed-for", "1h",
                "--origin-policy", self.policy, *([] if web else ["--no-origin"]),
                *[a for p in peers for a in ("--peer", f"{p.address}:{PORT}")],
                *self._common(host, folder, self.up)]
        return Process(host, argv, log, events)

    def result(self, folder):
        return Path(folder) / "result"


class Libtorrent(Program):
    label = "libtorrent"

    def _argv(self, role, torrent, folder, host, peers=()):
        script = Path(__file__).resolve().parents[1] / "libtorrent_peer.py"
        return [LIBTORRENT_PYTHON, script, role, torrent, folder, f"{host.address}:{PORT}", *[f"{p.address}:{PORT}" for p in peers]]

    def seeder(self, host, content, folder, log):
        process = Process(host, self._argv("seed", content.v1, content.folder, host), log)
        process.wait_for("seeding")
        return process

    def viewer(self, host, content, folder, log, events, web, peers=()):
        torrent = content.v1_web if web else content.v1
        return Process(host, self._argv("get", torrent, folder, host, peers), log, events)

    def go(self, process):
        process.forget_cpu()
        process.say("go")

    def result(self, folder):
        return Path(folder) / "content.bin"


class Aria2(Program):
    label = "aria2"

    def _argv(self, torrent, folder, host, *more):
        return ["aria2c", "--enable-dht=false", "--bt-enable-lpd=false", "--seed-ratio=0", "--file-allocation=none", "--summary-interval=0",
                f"--listen-port={PORT}", f"--interface={host.address}", f"--dir={folder}", "--no-conf=true", *more, torrent]

    def seeder(self, host, content, folder, log):
        return Process(host, self._argv(content.v1, content.folder, host, "--bt-seed-unverified=true"), log)

    def viewer(self, host, content, folder, log, events, web, peers=()):
        # It says that it is complete by running a program.
        hook = Path(folder) / "complete.sh"
        hook.write_text('#!/bin/sh\nprintf \'\\n{"event":"complete"}\\n\'\n')
        hook.chmod(0o755)
        torrent = content.v1_web if web else content.v1
        return Process(host, self._argv(torrent, folder, host, f"--on-bt-download-complete={hook}"), log, events)

    def result(self, folder):
        return Path(folder) / "content.bin"


NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log {folder}/access.log combined buffer=64k flush=1s; sendfile on; keepalive_requests 100000;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen {address}:{port}; root {root}; }}
}}
"""


class Nginx:
    """The web seed."""

    def __init__(self, host, content, folder, port=80):
        self.folder = Path(folder)
        config = self.folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, address=host.address, port=port, root=content.folder))
        self.process = Process(host, ["/usr/sbin/nginx", "-c", config, "-e", self.folder / "error.log"], self.folder / "nginx.log")

    def stop(self):
        self.process.stop()

    def uploaded(self):
        """Bytes of answers, from its log; after `stop`."""
        with open(self.folder / "access.log") as log:
            return sum(int(line.split('"')[2].split()[1]) for line in log)


def versions():
    import subprocess

    def first(*argv):
        return subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=True).stdout.splitlines()[0]

    return {
        "grove": first(GROVE, "--version"),
        "libtorrent": first(LIBTORRENT_PYTHON, "-c", "import libtorrent; print(libtorrent.__version__)"),
        "aria2": first("aria2c", "--version"),
        "python": sys.version.split()[0],
        "kernel": os.uname().release,
    }
