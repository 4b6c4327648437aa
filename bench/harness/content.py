"""The content that is delivered: a file of seeded noise, its metainfo for each program, and whether a copy is right."""

import hashlib
import random
import subprocess
from pathlib import Path


def bencode(value):
    match value:
        case int():
            return b"i%de" % value
        case bytes():
            return b"%d:%s" % (len(value), value)
        case str():
            return bencode(value.encode())
        case list():
            return b"l" + b"".join(map(bencode, value)) + b"e"
        case dict():
            return b"d" + b"".join(bencode(k) + bencode(value[k]) for k in sorted(value)) + b"e"
    raise TypeError(value)


def touch(folder, size):
    """Writes so many bytes and removes them again. A virtual machine gets its memory from the host page by page, when it is first used, which takes longer than writing it: whoever runs first would pay for all."""
    path, part = Path(folder) / "touched", bytes(1 << 20)
    with open(path, "wb") as file:
        for _ in range(0, size, len(part)):
            file.write(part)
    path.unlink()


class Content:
    """A file `content.bin` in a folder of its own, and two torrents of it beside the folder."""

    def __init__(self, folder, size, grove, tracker, web_seed, seed=20261125):
        self.folder = Path(folder) / "site"
        self.folder.mkdir(parents=True)
        self.path = self.folder / "content.bin"
        self.size, self.grove, self.tracker, self.web_seed = size, grove, tracker, web_seed
        rng, digest = random.Random(seed), hashlib.sha256()
        with open(self.path, "wb") as file:
            for start in range(0, size, 1 << 20):
                part = rng.randbytes(min(1 << 20, size - start))
                digest.update(part)
                file.write(part)
        self.sha256 = digest.hexdigest()
        self.hybrid = self._publish(Path(folder))
        # Both other programs get the older format, the cheaper one for them: SHA-1, and no tree.
        self.v1 = self._v1(Path(folder) / "v1.torrent", None)
        self.v1_web = self._v1(Path(folder) / "v1-web.torrent", web_seed)

    def _publish(self, folder):
        subprocess.run(
            [self.grove, "publish", self.path, "--origin", self.web_seed, "--tracker", self.tracker, "--out", folder,
             "--data", folder / "publisher"],
            check=True, capture_output=True,
        )
        return folder / "content.bin.torrent"

    def _v1(self, path, web_seed):
        piece = 256 << 10
        hashes = bytearray()
        with open(self.path, "rb") as file:
            while part := file.read(piece):
                hashes += hashlib.sha1(part).digest()
        info = {"length": self.size, "name": "content.bin", "piece length": piece, "pieces": bytes(hashes)}
        metainfo = {"announce": self.tracker, "info": info} | ({"url-list": [web_seed]} if web_seed else {})
        path.write_bytes(bencode(metainfo))
        return path

    def is_right(self, path):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
