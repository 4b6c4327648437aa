"""A libtorrent client that the benches drive: seeds a file, or fetches it once `go` comes on standard input.

    libtorrent_peer.py seed|get TORRENT FOLDER ADDRESS:PORT [PEER:PORT...]

Prints `ready`, `complete`, and at its end `done` with what it uploaded, as JSON lines. Its settings are libtorrent's own, but for
local discovery and the DHT, which would leave the bench, and uTP, with which it is slower here: this is the best it does.
"""

import json
import signal
import sys
import time

import libtorrent as lt


def say(event, **values):
    print(json.dumps({"event": event, **values}), flush=True)


def main(role, torrent, folder, listen, *peers):
    session = lt.session({
        "listen_interfaces": listen,
        "enable_incoming_utp": False, "enable_outgoing_utp": False,
        "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        # The benches have more peers on one address than a home has.
        "allow_multiple_connections_per_ip": True,
        "alert_mask": lt.alert.category_t.status_notification,
    })
    options = lt.add_torrent_params()
    options.ti = lt.torrent_info(torrent)
    options.save_path = folder
    if role == "seed":
        options.flags |= lt.torrent_flags.seed_mode
    say("ready")
    if role == "get":
        sys.stdin.readline()
    options.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    handle = session.add_torrent(options)
    for peer in peers:
        host, port = peer.rsplit(":", 1)
        handle.connect_peer((host, int(port)))
    if role == "seed":
        say("seeding")
    running, complete = True, role == "seed"

    def end(*_):
        nonlocal running
        running = False

    signal.signal(signal.SIGINT, end)
    while running:
        session.wait_for_alert(200)
        for alert in session.pop_alerts():
            if isinstance(alert, lt.torrent_finished_alert) and not complete:
                complete = True
                say("complete")
    say("done", uploaded=handle.status().total_payload_upload, wasted=handle.status().total_redundant_bytes)


main(*sys.argv[1:])
