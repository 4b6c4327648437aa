#!/usr/bin/env python3
"""A long way: every packet that is routed into a device comes out of it again a fixed time later.

    delay.py DEVICE SECONDS

Makes the tunnel device DEVICE in its own network namespace. Needs root, and no more of the kernel than tun.
"""

import collections
import fcntl
import os
import select
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def main():
    device, delay = sys.argv[1], float(sys.argv[2])
    tunnel = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tunnel, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", device, "up", "txqueuelen", "10000"], check=True)
    print('{"event":"up"}', flush=True)
    waiting = collections.deque()
    while True:
        pause = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
        if select.select([tunnel], [], [], pause)[0]:
            try:
                while True:
                    packet = os.read(tunnel, 65536)
                    waiting.append((time.monotonic() + delay, packet))
            except BlockingIOError:
                pass
        while waiting and waiting[0][0] <= time.monotonic():
            os.write(tunnel, waiting.popleft()[1])


main()
