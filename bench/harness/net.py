"""Network namespaces with kernel-shaped links: hosts on one switch, or behind a router that holds the queue.

Everything is made below a prefix of this process and removed when the `with` block ends. Needs root, and no more of
the kernel than veth, bridge and tbf. Rates are bytes a second of IP packets.
"""

import os
import subprocess
import sys

BURST = 128 * 1024  # tbf cuts GSO packets that are larger than this


def ip(*args, **options):
    return subprocess.run(["ip", *map(str, args)], check=True, **options)


class Host:
    """A namespace with one address on interface `eth0`."""

    def __init__(self, namespace, address):
        self.namespace, self.address = namespace, address

    def command(self, argv):
        return ["ip", "netns", "exec", self.namespace, *map(str, argv)]

    def run(self, *argv):
        return subprocess.run(self.command(argv), check=True, capture_output=True, text=True).stdout

    def shape(self, rate, queue=0.2, device="eth0"):
        """What leaves by `device` passes at `rate`; more waits in a queue of so many seconds, then is dropped."""
        limit = max(int(rate * queue), 2 * BURST)
        self.run("tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", f"{rate * 8}bit", "burst", BURST, "limit", limit)

    def backlog(self, device="eth0"):
        """Bytes in the queue of `device` now."""
        import json

        (qdisc,) = json.loads(self.run("tc", "-j", "-s", "qdisc", "show", "dev", device))
        return qdisc["backlog"]

    def sent(self, device="eth0"):
        """Bytes that left by `device` so far, headers included."""
        return int(self.run("cat", f"/sys/class/net/{device}/statistics/tx_bytes"))


class Local:
    """This machine, with an address of its loopback."""

    def __init__(self, address):
        self.address = address

    def command(self, argv):
        return list(map(str, argv))


class Network:
    """The namespaces of one bench."""

    def __init__(self):
        if os.geteuid() != 0:
            sys.exit("bench: network namespaces need root")
        self.prefix = f"gb{os.getpid()}"
        self.namespaces = []
        self.switch = None
        self.next = 2

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for namespace in self.namespaces:
            subprocess.run(["ip", "netns", "del", namespace], check=False)

    def namespace(self, name):
        name = f"{self.prefix}-{name}"
        ip("netns", "add", name)
        self.namespaces.append(name)
        ip("-n", name, "link", "set", "lo", "up")
        return name

    def hub(self):
        """The switch, which is also the host at 10.77.0.1."""
        if self.switch is None:
            name = self.namespace("sw")
            ip("-n", name, "link", "add", "eth0", "type", "bridge")
            ip("-n", name, "addr", "add", "10.77.0.1/16", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            self.switch = Host(name, "10.77.0.1")
        return self.switch

    def host(self, name, uplink=None):
        """A host on the switch. What it sends is shaped to `uplink`; what it receives is not."""
        switch = self.hub().namespace
        namespace = self.namespace(name)
        address = f"10.77.{self.next // 250}.{self.next % 250}"
        self.next += 1
        port = f"p{self.next}"
        ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        ip("-n", switch, "link", "set", port, "master", "eth0", "up")
        ip("-n", namespace, "addr", "add", f"{address}/16", "dev", "eth0")
        ip("-n", namespace, "link", "set", "eth0", "up")
        host = Host(namespace, address)
        if uplink:
            host.shape(uplink)
        return host

    def uplinks(self):
        """Bytes that each host on the switch has sent so far, headers included, in the order of their making."""
        script = "for n in $(seq 3 %d); do cat /sys/class/net/p$n/statistics/rx_bytes; done" % self.next
        return list(map(int, self.hub().run("sh", "-c", script).split()))

    def link(self, left, left_device, left_address, right, right_device, right_address):
        """A cable between two namespaces, each end with an address of one /24."""
        ip("-n", left, "link", "add", left_device, "type", "veth", "peer", "name", right_device, "netns", right)
        for namespace, device, address in ((left, left_device, left_address), (right, right_device, right_address)):
            ip("-n", namespace, "addr", "add", f"{address}/24", "dev", device)
            ip("-n", namespace, "link", "set", device, "up")
