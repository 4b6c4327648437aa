#!/usr/bin/env python3
"""make bench-splice: how fast ads are spliced in, beside cp and ffmpeg in the same run, and what is heard of it.

Quality is measured on what ffmpeg decodes, never by our own decoder: the seam error is the RMS difference to the original in the
worst block of 576 samples within half a second of a cue, clicks are what is above 4 kHz around breaks in a sine of 220 Hz, loudness is ffmpeg's
ebur128 on the ad's interval against the 60 seconds around the cue; where there are pictures, how sound and pictures stand to each other
is told by the packets that stayed as they were; Chromium tells what it drops around joins of video (smooth.py). A spectrogram of one join of each format is left in the folder.

Each goal is named beside what was reached; the exit status is 1 when one was missed.

Give the program (grove), the fixtures' folder, and a folder to work in. `--only speed|quality|browser` does a part, `--formats mp3 opus` some formats.
"""

import argparse
import array
import glob
import json
import math
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

# What is imported leaves nothing beside the sources.
sys.dont_write_bytecode = True
from smooth import smooth

BLOCK = 576
FLOOR = -200.0
# Content times in seconds: half of them in the fixture's music, see fixtures/make_fixtures.py for what is where.
CUES = [8.0, 16.5, 25.0, 33.5, 42.54, 51.0, 59.5, 68.0, 79.2, 86.0, 94.5, 103.0, 111.5, 120.0, 128.5, 137.0, 145.5, 154.0, 162.5, 173.4, 182.0]
# AAC without noise substitution: what stands for noise there is a decoder's own noise, which is another one (up to -31 dBFS) whenever decoding begins elsewhere.
FORMATS = [
    ("mp3", ["-c:a", "libmp3lame", "-b:a", "128k"], ["-c:a", "libmp3lame", "-b:a", "256k"]),
    ("aac", ["-c:a", "aac", "-b:a", "128k", "-aac_pns", "0"], ["-c:a", "aac", "-b:a", "256k"]),
    ("flac", ["-c:a", "flac"], None),
    ("wav", ["-c:a", "pcm_s16le"], None),
    ("m4a", ["-c:a", "aac", "-b:a", "128k", "-aac_pns", "0"], ["-c:a", "aac", "-b:a", "256k"]),
    ("opus", ["-c:a", "libopus", "-b:a", "96k"], ["-c:a", "libopus", "-b:a", "192k"]),
    ("ogg", ["-c:a", "libvorbis", "-b:a", "128k"], ["-c:a", "libvorbis", "-b:a", "256k"]),
    ("webm", ["-c:a", "libopus", "-b:a", "96k"], ["-c:a", "libopus", "-b:a", "192k"]),
    ("mp4", ["-c:a", "aac", "-b:a", "128k", "-aac_pns", "0"], ["-c:a", "aac", "-b:a", "256k"]),
    ("vp9.webm", ["-c:a", "libopus", "-b:a", "96k"], ["-c:a", "libopus", "-b:a", "192k"]),
]
# What is seen in the formats that have pictures: no two alike, an IDR picture (or key frame) every two seconds.
PICTURES = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25,noise=alls=12:allf=t", "-map", "0:a", "-map", "1:v", "-shortest", "-b:v", "300k", "-g", "50", "-keyint_min", "50", "-pix_fmt", "yuv420p"]
PICTURES_CODED = {
    "mp4": ["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-sc_threshold", "0"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
}
# Below this level around a cue it lies in a pause.
PAUSE = -50.0


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if done.returncode != 0:
        sys.exit(f"bench-splice: {' '.join(command)}\n{done.stderr.decode(errors='replace')[-2000:]}")
    return done


def ffmpeg(*args):
    if not shutil.which("ffmpeg"):
        sys.exit("bench-splice: ffmpeg is missing\nhint: apt-get install ffmpeg")
    return run(["ffmpeg", "-nostdin", "-y", "-v", "error", *args])


def timed(command):
    """Seconds and peak memory in MB."""
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"bench-splice: {' '.join(command)}\n{said.decode(errors='replace')[-2000:]}")
    return time.monotonic() - began, usage.ru_maxrss / 1024


def peak(command):
    """Peak memory in MB of a command without its children: all that is resident, and of it what is no file's."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    most = [0, 0]
    while child.poll() is None:
        try:
            with open(f"/proc/{child.pid}/status") as status:
                said = dict(line.split(":", 1) for line in status)
            found = [int(said[name].split()[0]) / 1024 for name in ("VmHWM", "RssAnon")]
            most = [max(pair) for pair in zip(most, found)]
        except (OSError, KeyError):
            pass  # It is just ending.
        time.sleep(0.002)
    if child.returncode != 0:
        sys.exit(f"bench-splice: {' '.join(command)}\n{child.stderr.read().decode(errors='replace')[-2000:]}")
    return most


def said_by(path):
    """What is in a file that may be gone."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def children(pid):
    tasks = glob.glob(f"/proc/{pid}/task/*/children")
    return [int(other) for task in tasks for other in said_by(task).split()]


def conditions(pid):
    """Whether this process conditions a creative; others code bridges, as long as the command runs."""
    return b"condition-a-creative" in said_by(f"/proc/{pid}/cmdline")


def first_byte(command):
    """Seconds from when the last creative was conditioned (its child has ended) until the first byte is on standard output."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    conditioned = time.monotonic()
    while not select.select([child.stdout], [], [], 0.001)[0]:
        if any(conditions(other) for other in children(child.pid)):
            conditioned = time.monotonic()
    took = time.monotonic() - conditioned
    while child.stdout.read(1 << 20):
        pass
    if child.wait() != 0:
        sys.exit(f"bench-splice: {' '.join(command)} failed")
    return took


def race(grove, work, content, creative, ready, cues, length):
    """Splices `creative` into `content` at each of the cues, beside cp and ffmpeg, which concatenates `ready` at the same places. The best of three runs, before which the creative was made ready once; but the first byte and the memory are those of runs that do so themselves."""
    ending = os.path.splitext(content)[1]
    ads = [word for cue in cues for word in ("--ad", f"{cue}={creative}")]
    with open(f"{work}/list.txt", "w") as names:
        edges = [0, *cues, length]
        for start, end in zip(edges, edges[1:]):
            part = f"{work}/part-{start}{ending}"
            ffmpeg("-ss", str(start), "-to", str(end), "-i", content, "-map", "0", "-c", "copy", part)
            names.write(f"file '{os.path.abspath(part)}'\n")
            if end != length:
                names.write(f"file '{os.path.abspath(ready)}'\n")
    ready_before = f"{work}/data{ending}"
    shutil.rmtree(ready_before, ignore_errors=True)
    command = [grove, "splice", content, *ads, "-o", f"{work}/out{ending}", "--json", "--data", ready_before]
    at_first = json.loads(run(command).stdout)["seconds"]
    rows = []
    for _ in range(3):
        copy, joined, out = (f"{work}/{name}{ending}" for name in ("copy", "concat", "out"))
        for file in (copy, joined, out):
            if os.path.exists(file):
                os.unlink(file)
        cp, _ = timed(["cp", content, copy])
        began = time.monotonic()
        with open(copy, "rb") as file:
            os.fsync(file.fileno())
        synced = cp + time.monotonic() - began
        concat, _ = timed(["ffmpeg", "-nostdin", "-y", "-v", "error", "-f", "concat", "-safe", "0", "-i", f"{work}/list.txt", "-c", "copy", joined])
        began = time.monotonic()
        done = run(command)
        whole = time.monotonic() - began
        anew = [grove, "splice", content, *ads, "--data"]
        with tempfile.TemporaryDirectory(dir=work) as data:
            first = first_byte([*anew, data, "-o", "-"])
        with tempfile.TemporaryDirectory(dir=work) as data:
            memory = peak([*anew, data, "-o", f"{work}/out{ending}"])
        rows.append((json.loads(done.stdout)["seconds"], whole, cp, synced, concat, first, *memory))
    spliced, whole, cp, synced, concat, first, resident, anonymous = (min(column) for column in zip(*rows))
    name = os.path.basename(content)
    print(f"  splice {spliced:.2f} s ({at_first:.2f} s at first, when its ads are coded; with starting: {whole:.2f} s); cp {cp:.3f} s; cp and fsync, as splice does where it replaces a file, {synced:.3f} s; ffmpeg concat -c copy {concat:.2f} s")
    goal(f"{name}: memory without what codes in its children, in MB ({anonymous:.0f} of it no file's)", resident, 64)
    goal(f"{name}: first byte after the creatives are there, in s", first, 0.05)
    return spliced, cp, concat


def speed(grove, fixtures, work):
    """An hour of MP3, and ten minutes and two hours of video, each with three breaks. Conditioning is apart: creatives are fetched and conditioned long before."""
    hour = f"{work}/hour.mp3"
    if not os.path.exists(hour):
        print("making an hour of MP3 (once)", flush=True)
        ffmpeg("-stream_loop", "-1", "-i", f"{fixtures}/episode.mp3", "-t", "3600", "-map", "0:a", "-c:a", "libmp3lame", "-b:a", "128k", "-compression_level", "7", f"{work}/making.mp3")
        os.rename(f"{work}/making.mp3", hour)
    creative = f"{fixtures}/kettle.mp3"
    ffmpeg("-i", creative, "-ac", "2", "-ar", "44100", "-c:a", "libmp3lame", "-b:a", "128k", f"{work}/ad.mp3")
    cues = [600, 1800, 3000]
    print(f"\n60-minute MP3, {os.path.getsize(hour) / 1e6:.1f} MB, {len(cues)} breaks, best of three")
    spliced, cp, concat = race(grove, work, hour, creative, f"{work}/ad.mp3", cues, 3600)
    goal("hour.mp3: splicing it, in s (3 × cp and 0.06 s a seam)", spliced, 3 * cp + 0.06 * 2 * len(cues))
    goal("hour.mp3: splicing it, in s (0.4 × ffmpeg)", spliced, 0.4 * concat)

    creative = f"{work}/ad.mp4"
    moving(creative, "1280x720", 15, 15, "2700k")
    conditioning(grove, work, creative)
    for minutes, size, rate in [(10, "1280x720", "2700k"), (120, "320x180", "200k")]:
        content = f"{work}/{minutes}-minutes.mp4"
        if not os.path.exists(content):
            print(f"making {minutes} minutes of video (once)", flush=True)
            moving(f"{work}/making.mp4", size, 20, 60 * minutes, rate)
            os.rename(f"{work}/making.mp4", content)
        cues = [minutes * 12, minutes * 30, minutes * 48]
        print(f"\n{minutes}-minute MP4, {size}, {os.path.getsize(content) / 1e6:.1f} MB, {len(cues)} breaks at IDR pictures, best of three")
        spliced, cp, concat = race(grove, work, content, creative, creative, cues, 60 * minutes)
        goal(f"{minutes}-minutes.mp4: splicing it, in s (2 × cp)", spliced, 2 * cp)
        goal(f"{minutes}-minutes.mp4: splicing it, in s (0.5 × ffmpeg)", spliced, 0.5 * concat)


def conditioning(grove, work, creative):
    """A video creative of 15 s made ready for content of its size, beside ffmpeg, which codes it once. The best of three."""
    content = f"{work}/short.mp4"
    ffmpeg("-i", creative, "-t", "4", "-c", "copy", content)
    rows = []
    for _ in range(3):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir=work) as data:
            done = run([grove, "splice", content, "--ad", f"2={creative}", "-o", f"{work}/short-out.mp4", "--json", "--data", data])
        ours = time.monotonic() - began - json.loads(done.stdout)["seconds"]
        theirs, _ = timed(["ffmpeg", "-nostdin", "-y", "-v", "error", "-i", creative, "-c:v", "libx264", "-preset", "veryfast", "-c:a", "aac", f"{work}/theirs.mp4"])
        rows.append((ours, theirs))
    ours, theirs = (min(column) for column in zip(*rows))
    print("\na video creative of 15 s, 1280x720, best of three")
    goal("conditioning it, in s (1.2 × ffmpeg -preset veryfast)", ours, 1.2 * theirs)


def moving(path, size, seconds, length, rate):
    """Video with an IDR picture every two seconds, whose pictures come again after some seconds."""
    part = f"{path}.part.mp4"
    source = f"testsrc2=s={size}:r=25:d={seconds},noise=alls=12:allf=t"
    coding = ["-c:v", "libx264", "-preset", "veryfast", "-b:v", rate, "-bf", "3", "-g", "50", "-keyint_min", "50", "-sc_threshold", "0", "-pix_fmt", "yuv420p"]
    ffmpeg("-f", "lavfi", "-i", source, *coding, part)
    sound = f"anoisesrc=c=pink:a=0.3:seed=7:r=48000:d={length}"
    ffmpeg("-stream_loop", "-1", "-i", part, "-f", "lavfi", "-i", sound, "-map", "0:v", "-map", "1:a", "-t", str(length), "-c:v", "copy", "-c:a", "aac", "-b:a", "128k", "-ac", "2", path)
    os.remove(part)


def decoded(path, *filters):
    """Interleaved stereo samples at 44,100 Hz."""
    raw, source = None, ["-i", path, "-map", "0:a"]
    if path.endswith(".ogg"):
        # ffmpeg 5 laps the first block of a chained Vorbis stream over the last of the stream before, where RFC 5215 and libvorbis begin anew.
        raw, source = run(["sox", path, "-t", "f32", "-"]).stdout, ["-f", "f32le", "-ac", "2", "-ar", "44100", "-i", "-"]
    command = ["ffmpeg", "-y", "-v", "error", *source, *filters, "-f", "f32le", "-ac", "2", "-ar", "44100", "-"]
    return array.array("f", run(command, input=raw or b"").stdout)


def middle(values):
    return sorted(values)[len(values) // 2]


def goal(what, value, most):
    """Says whether something is at most what it should be; what is not is said again at the end."""
    met = value <= most
    print(f"  {what}: {value:.2f}; the goal is {most:g}{'' if met else ': MISSED'}", flush=True)
    if not met:
        missed.append(f"{what}: {value:.2f} instead of {most:g}")


missed = []


def db(power):
    return 10 * math.log10(power) if power > 0 else FLOOR


def worst(a, b):
    """RMS of the difference in the worst block, in dB of full scale."""
    power, count = 0.0, 2 * BLOCK
    for at in range(0, min(len(a), len(b)) - count + 1, count):
        power = max(power, sum((x - y) ** 2 for x, y in zip(a[at : at + count], b[at : at + count])) / count)
    return db(power)


def aligned(out, near, wanted, reach):
    """Where in `out`, from sample `near` on, the samples `wanted` stand best."""
    exact = out[2 * near : 2 * (near + reach + 64) + len(wanted)].tobytes().find(wanted.tobytes())
    if exact >= 0 and exact % 8 == 0:
        return near + exact // 8
    probe = wanted[:1600:2]
    best = min(range(reach), key=lambda shift: sum((x - y) ** 2 for x, y in zip(out[2 * (near + shift) : 2 * (near + shift) + 1600 : 2], probe)))
    return near + best


def loudness(path, start, length):
    said = run(["ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-i", path, "-ss", f"{start:.6f}", "-t", f"{length:.6f}", "-map", "0:a", "-af", "ebur128=peak=true", "-f", "null", "-"]).stderr.decode()
    end = said[said.rindex("Summary:") :]
    return float(re.search(r"I:\s+(\S+) LUFS", end)[1]), float(re.search(r"Peak:\s+(\S+) dBFS", end)[1])


def make(source, coding, path):
    """Content of what is heard in `source`."""
    coded = PICTURES_CODED.get(os.path.basename(path).split(".", 1)[1])
    seen = [*PICTURES, *coded] if coded else []
    ffmpeg("-i", source, *seen, "-map_metadata", "-1", *coding, path)


def packets(path):
    """When each packet of pictures and of sound is presented, in seconds, by its hash; those that come more than once are left out."""
    streams = []
    for kind in "va":
        lines = ffmpeg("-i", path, "-map", f"0:{kind}", "-c", "copy", "-f", "framemd5", "-").stdout.decode().splitlines()
        scale = next(int(line.split()[2].split("/")[0]) / int(line.split()[2].split("/")[1]) for line in lines if line.startswith("#tb 0:"))
        found, twice = {}, set()
        for line in lines:
            if line.startswith("#"):
                continue
            shown, key = (line.split(",")[field].strip() for field in (2, 5))
            if key in found:
                twice.add(key)
            found[key] = int(shown) * scale
        streams.append({key: time for key, time in found.items() if key not in twice})
    return streams


def apart(content, out):
    """By how much pictures and sound of the content stand otherwise to each other in the result than in the content: for each packet of pictures, its content time and milliseconds."""
    (seen, heard), (seen_now, heard_now) = packets(content), packets(out)
    sound = sorted((time, heard_now[key] - time) for key, time in heard.items() if key in heard_now)
    rows, at = [], 0
    for time, now in sorted((time, seen_now[key]) for key, time in seen.items() if key in seen_now):
        while at + 1 < len(sound) and sound[at + 1][0] <= time:
            at += 1
        # Around a cue the nearest sound that stayed may belong to the other side of it.
        near = [shift for _, shift in sound[max(0, at - 30) : at + 31]]
        rows.append((time, min((abs(now - time - shift) for shift in near), default=math.inf) * 1000))
    return rows


def splice(grove, content, ads, out):
    """The report, or why not."""
    words = [word for cue, creative in ads for word in ("--ad", f"{cue}={creative}")]
    done = subprocess.run([grove, "splice", content, *words, "-o", out, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        return None, done.stderr.decode(errors="replace").splitlines()[0]
    return json.loads(done.stdout), None


def quality(grove, fixtures, work, only):
    creatives = [f"{fixtures}/{name}" for name in ("kettle.mp3", "boots.wav", "bank.m4a", "library.ogg")]
    ads = [(cue, creatives[i % len(creatives)]) for i, cue in enumerate(CUES)]
    source = f"{work}/episode.wav"
    # Not loud enough to clip, whatever a coding does to it.
    ffmpeg("-i", f"{fixtures}/episode.mp3", "-map", "0:a", "-af", "volume=-1dB", "-ar", "44100", "-ac", "2", source)
    sine = f"{work}/sine.wav"
    ffmpeg("-f", "lavfi", "-i", "aevalsrc=0.3*sin(2*PI*220*t)|0.3*sin(2*PI*220*t):s=44100:d=40", sine)
    low = f"{work}/low.wav"
    ffmpeg("-f", "lavfi", "-i", "aevalsrc=0.3*sin(2*PI*300*t):s=44100:d=6", "-af", "afade=d=0.5,afade=t=out:st=5.5:d=0.5", low)
    for name, coding, plain in FORMATS:
        if only and name not in only:
            continue
        content, out = f"{work}/content.{name}", f"{work}/spliced.{name}"
        make(source, coding, content)
        report, why = splice(grove, content, ads, out)
        if report is None:
            missed.append(f"{name}: not spliced: {why}")
            print(f"\n{missed[-1]}", flush=True)
            continue
        if len(report["ads"]) != len(CUES):
            sys.exit(f"bench-splice: {name} got {len(report['ads'])} ads")
        original, spliced = decoded(content), decoded(out)
        coded = None
        if plain:
            ffmpeg("-i", content, *plain, f"{work}/plain.{name}")
            coded = decoded(f"{work}/plain.{name}")
            # Coding again may add priming that nothing declares: as much everywhere, and told best where sound does not repeat itself.
            places = [round(cue * 44100) - 22050 for cue in CUES]
            shifts = [aligned(coded, place, original[2 * place :][:88200], 2400) - place for place in places]
            shifted = max(set(shifts), key=shifts.count)
        print(f"\n{name}: cue, level there, seam error at the entry and the exit (worst block within 0.5 s), a plain encode's at the same place, ad against its reference, true peak")
        table = []
        for ad in report["ads"]:
            cue, start = round(ad["cue"] * 44100), round(ad["start"] * 44100)
            length = round(ad["duration"] * 44100)
            half = 22050
            before = original[2 * (cue - half) : 2 * cue]
            level = db(sum(x * x for x in before[-8820:]) / 8820)
            entry = worst(before, spliced[2 * (start - half) : 2 * start])
            after = original[2 * cue : 2 * (cue + 10 * half)]
            # The content goes on within a frame; a second later nothing of the seam is left. Seconds are compared, since there may be digital silence.
            resume = aligned(spliced, start + length + 2 * half, after[4 * half :], 4700) - 2 * half
            exit_ = worst(after[: 2 * half], spliced[2 * resume : 2 * (resume + half)])
            reference = None
            if coded:
                near = cue - half + shifted
                reference = worst(original[2 * (cue - half) : 2 * (cue + half)], coded[2 * near : 2 * (near + 2 * half)])
            target = min(max(loudness(content, max(0, cue / 44100 - 30), 60)[0], -24), -14)
            got, peak = loudness(out, start / 44100, length / 44100)
            table.append((cue / 44100, level, entry, exit_, reference, got - target, peak, ad["gain_db"], ad["limited_db"]))
            shown = "" if reference is None else f"{reference:8.1f}"
            print(f"  {cue / 44100:7.2f}  {level:6.1f}  {entry:7.1f}  {exit_:7.1f}  {shown:>8}  {got - target:+5.2f} LU  {peak:5.1f} dBFS", flush=True)
        pauses = [max(row[2:4]) for row in table if row[1] < PAUSE]
        music = [row for row in table if row[1] >= PAUSE]
        goal(f"{name}: seams at the {len(pauses)} cues in pauses, median, in dBFS", middle(pauses), -60)
        if coded:
            beyond = [max(row[2:4]) - row[4] for row in music]
            goal(f"{name}: seams at the {len(music)} cues in sound beyond a plain encode's, median, in dB (the worst is {max(beyond):+.1f})", middle(beyond), 3)
        else:
            goal(f"{name}: seams at the {len(music)} cues in sound, worst, in dBFS", max(max(row[2:4]) for row in music), FLOOR)
        goal(f"{name}: loudness beside its reference, worst, in LU", max(abs(row[5]) for row in table), 0.5)
        goal(f"{name}: true peak, in dBTP", max(row[6] for row in table), -1)
        if name in PICTURES_CODED:
            offsets = apart(content, out)
            kept = [max((off for time, off in offsets if start <= time < end), default=math.nan) for start, end in zip(CUES, [*CUES[1:], math.inf])]
            print(f"  {len(offsets)} pictures stayed; sound and pictures stand apart otherwise than in the content, after each cue, in ms: {' '.join(f'{off:.3f}' for off in kept)}")
            goal(f"{name}: sound and pictures apart otherwise than in the content, most, in ms", max(off for _, off in offsets), 1)
        picture = f"{work}/{name}.png"
        first = report["ads"][8]
        ffmpeg("-i", out, "-lavfi", f"atrim={first['start'] - 2:.3f}:{first['start'] + 2:.3f},showspectrumpic=s=1000x512:mode=combined:legend=0:scale=log:win_func=blackman:drange=110:stop=16000", picture)
        content, out = f"{work}/coded-sine.{name}", f"{work}/clicks.{name}"
        make(sine, coding, content)
        report, why = splice(grove, content, [(cue, low) for cue in (9.3, 17.7, 28.1)], out)
        above = ["-af", ",".join(["highpass=f=4000:p=2"] * 4)]
        high = decoded(out, *above)
        own = decoded(content, *above)[2 * 441 * 100 :][: 2 * 441 * 500]
        floor = max(db(sum(x * x for x in own[at : at + 882]) / 882) for at in range(0, len(own), 882))
        loudest = FLOOR
        for ad in report["ads"]:
            start, end = round((ad["start"] - 0.3) * 44100), round((ad["start"] + ad["duration"] + 0.3) * 44100)
            for at in range(start, end, 441):
                loudest = max(loudest, db(sum(x * x for x in high[2 * at : 2 * (at + 441)]) / 882))
        goal(f"{name}: click on the sine above 4 kHz, in dBFS (the sine itself, as coded, has {floor:.1f})", loudest, -95)
        print(f"  picture {picture}", flush=True)


def smoothness(grove, work):
    """What Chromium drops around the joins of video, and how often it waits there, beside the content itself."""
    files = []
    ad = f"{work}/smooth-ad.mp4"
    h264 = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-c:a", "aac", "-b:a", "128k"]
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=1280x720:r=25:d=5", "-f", "lavfi", "-i", "sine=f=500:r=48000:d=5", *h264, "-pix_fmt", "yuv420p", ad)
    vp9 = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M", "-c:a", "libopus"]
    for ending, coding in (("mp4", h264), ("webm", vp9)):
        content = f"smooth.{ending}"
        sources = ["-f", "lavfi", "-i", "testsrc2=s=1280x720:r=25:d=12,noise=alls=8:allf=t", "-f", "lavfi", "-i", "sine=f=220:r=48000:d=12"]
        ffmpeg(*sources, *coding, "-g", "50", "-keyint_min", "50", "-pix_fmt", "yuv420p", f"{work}/{content}")
        for where, cue in (("at a key frame", 6.0), ("between key frames", 6.52)):
            result = f"smooth-{cue}.{ending}"
            report, why = splice(grove, f"{work}/{content}", [(cue, ad)], f"{work}/{result}")
            if why:
                sys.exit(f"bench-splice: {result}: {why}")
            start = report["ads"][0]["start"]
            files.append((f"{ending}, {where}", content, cue, result, [start, start + report["ads"][0]["duration"]]))
    print("\nChromium, 1280x720, two seconds around both joins, beside as much of the content around the cue")
    for row, own, ours in smooth(work, files):
        print(f"  {row}: {ours[0]} of {ours[1]} pictures dropped, {ours[2]} waits; the content's own: {own[0]} of {own[1]}, {own[2]} waits")
        # A second's play on a machine that others use too.
        goal(f"{row}: pictures dropped around the joins", ours[0], own[0] + 2)
        goal(f"{row}: waits around the joins", ours[2], own[2])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("grove")
    parser.add_argument("fixtures")
    parser.add_argument("work")
    parser.add_argument("--only", choices=["speed", "quality", "browser"])
    parser.add_argument("--formats", nargs="*", choices=[name for name, _, _ in FORMATS], help="of quality: all, when none is named")
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    # Nothing that the person has is read or written.
    os.environ["XDG_DATA_HOME"] = os.path.abspath(f"{args.work}/share")
    if args.only in (None, "speed"):
        speed(args.grove, args.fixtures, args.work)
    if args.only in (None, "quality"):
        quality(args.grove, args.fixtures, args.work, args.formats)
    if args.only in (None, "browser"):
        smoothness(args.grove, args.work)
    if missed:
        sys.exit("\nbench-splice: goals that were missed:\n  " + "\n  ".join(missed))


main()
