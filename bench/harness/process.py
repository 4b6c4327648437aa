"""A program under measurement: its JSON lines as they come, its CPU time, its largest memory."""

import json
import os
import queue
import subprocess
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")


class Process:
    """One process in a host's namespace. Its standard output is lines; those that are JSON objects are events."""

    def __init__(self, host, argv, log, events=None, env=None):
        self.log = open(log, "wb")
        argv = [str(a) for a in argv]
        environment = {**os.environ, **(env or {})}
        self.popen = subprocess.Popen(
            host.command(argv),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=environment,
        )
        self.name = os.path.basename(argv[0])
        self.events = events or queue.Queue()
        self.base_cpu = 0.0
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.popen.stdout:
            self.log.write(line)
            self.log.flush()
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                self.events.put((time.monotonic(), self, event))
        self.events.put((time.monotonic(), self, {"event": "ended"}))

    def say(self, line):
        self.popen.stdin.write(f"{line}\n".encode())
        self.popen.stdin.flush()

    def cpu(self):
        """Seconds of user and system time since the start, or since `forget_cpu`."""
        try:
            with open(f"/proc/{self.popen.pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            return 0.0
        # utime, stime, and those of children that were waited for.
        return sum(map(int, fields[11:15])) / TICK - self.base_cpu

    def forget_cpu(self):
        self.base_cpu += self.cpu()

    def rss(self):
        """The largest resident memory so far, in bytes."""
        with open(f"/proc/{self.popen.pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0

    def wait_for(self, name, seconds=60):
        """The next event of this name. For processes with a queue of their own."""
        end = time.monotonic() + seconds
        while True:
            try:
                _, _, event = self.events.get(timeout=max(end - time.monotonic(), 0.001))
            except queue.Empty:
                raise SystemExit(f"bench: {self.name} did not say {name!r} in {seconds} s, see {self.log.name}") from None
            if event.get("event") == name:
                return event
            if event.get("event") == "ended":
                raise SystemExit(f"bench: {self.name} ended before {name!r}, see {self.log.name}")

    def stop(self):
        """Ends it as Ctrl-C does, and waits."""
        if self.popen.poll() is None:
            self.popen.send_signal(2)
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        self.reader.join(5)
        self.popen.stdin.close()
        self.log.close()
