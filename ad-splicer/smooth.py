"""A part of make bench-splice: how smoothly Chromium plays through a join, beside the same seconds of the content without ads on the same machine.

Each file is played at its own speed, without a window. With each picture that is shown, the page notes how many were dropped so far; what counts is what fell
into the two seconds before and after each join, and the `waiting` events there. A machine that is busy drops pictures of the content, too: its own count stands beside.
"""

import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse

# Seconds around a join that count.
AROUND = 2.0
PAGE = """<!doctype html><body><script>
const play = source => new Promise(done => {
    const media = document.createElement('video'), pictures = [], waiting = [];
    let playing = false;
    const look = (now, picture) => {
        const quality = media.getVideoPlaybackQuality();
        pictures.push([picture.mediaTime, quality.droppedVideoFrames, quality.totalVideoFrames]);
        media.requestVideoFrameCallback(look);
    };
    const end = how => {
        media.remove();
        done({ how, pictures, waiting, error: media.error && media.error.message });
    };
    media.muted = true;
    media.addEventListener('playing', () => playing = true);
    media.addEventListener('waiting', () => playing && waiting.push(media.currentTime));
    media.addEventListener('ended', () => end('ended'));
    media.addEventListener('error', () => end('error'));
    media.requestVideoFrameCallback(look);
    media.src = source;
    document.body.append(media);
    media.play().catch(why => media.error || end(String(why)));
});
(async () => {
    const all = [];
    for (const source of location.search.slice(1).split('&')) all.push(await play(decodeURIComponent(source)));
    await fetch('/report', { method: 'POST', body: JSON.stringify(all) });
})();
</script>"""


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        path = urllib.parse.urlparse(self.path).path.lstrip("/")
        if not path:
            body, kind = PAGE.encode(), "text/html"
            part = range(len(body))
        elif path not in self.server.names:
            self.send_error(404)
            return
        else:
            with open(os.path.join(self.server.folder, path), "rb") as file:
                body = file.read()
            kind = "video/webm" if path.endswith(".webm") else "video/mp4"
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            part = range(int(first), int(last) + 1 if last else len(body))
        ranged = "Range" in self.headers
        self.send_response(206 if ranged else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if ranged:
            self.send_header("Content-Range", f"bytes {part.start}-{part.stop - 1}/{len(body)}")
        self.end_headers()
        try:
            self.wfile.write(body[part.start : part.stop])
        except OSError:
            # The browser has enough.
            pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.server.report = json.loads(body)
        self.server.told.set()


def played(folder, names, patience):
    """What Chromium says of each of these files."""
    if not shutil.which("chromium"):
        sys.exit("bench-splice: chromium is missing\nhint: apt-get install chromium")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.folder, server.names, server.told = folder, names, threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    query = "&".join(urllib.parse.quote(f"/{name}", safe="") for name in names)
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--autoplay-policy=no-user-gesture-required"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        url = f"http://127.0.0.1:{server.server_port}/?{query}"
        browser = subprocess.Popen(["chromium", *flags, "--remote-debugging-port=0", f"--user-data-dir={profile}", url], **quiet)
        try:
            if not server.told.wait(patience):
                sys.exit(f"bench-splice: Chromium did not say within {patience:.0f} s how it played {', '.join(names)}")
        finally:
            browser.kill()
            browser.wait()
            server.shutdown()
    return server.report


def around(report, joins):
    """Pictures that were dropped, of how many, and `waiting` events, around these times."""
    dropped = total = 0
    for join in joins:
        near = [picture for picture in report["pictures"] if abs(picture[0] - join) <= AROUND]
        if near:
            dropped += near[-1][1] - near[0][1]
            total += near[-1][2] - near[0][2]
    return dropped, total, sum(any(abs(time - join) <= AROUND for join in joins) for time in report["waiting"])


def smooth(work, files):
    """`files`: a name for each row, the content, its cue, the result, and where its ad begins and ends. Files are in the folder `work`. Gives of each row its own counts and the result's."""
    names = []
    for _, content, _, result, _ in files:
        names += [content, result]
    reports = played(work, names, 60 + 60 * len(names))
    rows = []
    for (row, content, cue, result, joins), i in zip(files, range(0, len(names), 2)):
        for name, report in zip((content, result), reports[i : i + 2]):
            if report["how"] != "ended":
                sys.exit(f"bench-splice: Chromium did not play {name} to its end: {report['how']} {report['error']}")
        # As many seconds of the content, both times around the cue.
        rows.append((row, around(reports[i], [cue] * len(joins)), around(reports[i + 1], joins)))
    return rows
