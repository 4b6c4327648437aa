//! What tests and benches of splices share: sound made from nothing, and ffmpeg as the judge.

#![allow(dead_code)]

pub(crate) mod origin;
pub(crate) mod sbr;
pub(crate) mod video;

use std::f32::consts::TAU;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ad_splicer::content::FileContent;
use ad_splicer::splice::{self, Ad, At, Break, Options, Report};
use ad_splicer::time::ContentTime;

/// Length of [`content`] in seconds.
pub(crate) const SECONDS: usize = 40;
/// In a pause, in a sine, in music; milliseconds of [`content`].
pub(crate) const PAUSE: u64 = 11_000;
pub(crate) const SINE: u64 = 16_300;
pub(crate) const MUSIC: u64 = 26_017;

/// Runs a program to its end; gives what it printed, standard output and standard error.
pub(crate) fn run_both(program: &str, args: &[&str], stdin: Option<&[u8]>) -> (Vec<u8>, String) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(if stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}\nhint: `make setup` installs it"));
    let feeder = child
        .stdin
        .take()
        .zip(stdin.map(<[u8]>::to_vec))
        .map(|(mut pipe, bytes)| std::thread::spawn(move || pipe.write_all(&bytes)));
    let out = child.wait_with_output().unwrap();
    if let Some(feeder) = feeder {
        // A program that has enough closes its end; its exit status says whether it is content.
        let _ = feeder.join().unwrap();
    }
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{program} {args:?}: {}\n{said}", out.status);
    (out.stdout, said)
}

pub(crate) fn run(program: &str, args: &[&str], stdin: Option<&[u8]>) -> Vec<u8> {
    run_both(program, args, stdin).0
}

/// A small generator of noise, the same on every run.
pub(crate) struct Noise(pub(crate) u32);

impl Noise {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / f32::from(1u16 << 15) / 256.0 - 1.0
    }
}

/// Music to 10 s, a pause to 12 s, a 220 Hz sine to 20 s, then music with bursts of noise.
pub(crate) fn content(rate: usize, channels: usize, seconds: usize) -> Vec<f32> {
    let mut noise = Noise(7);
    (0..seconds * rate)
        .flat_map(|i| {
            let t = i as f32 / rate as f32;
            let hiss = noise.next();
            let beat = (t * 2.0).fract();
            let music = |side: f32| {
                let chord: f32 = [196.0f32, 246.9, 293.7, 392.0, 784.0]
                    .iter()
                    .enumerate()
                    .map(|(n, f)| (TAU * f * t + side * n as f32 + 3.0 * (TAU * 0.2 * t).sin()).sin() * 0.08)
                    .sum();
                chord * (1.0 - 0.5 * beat) + hiss * 0.05 * (-beat * 30.0).exp()
            };
            let value = |side: f32| match t {
                _ if (10.0..12.0).contains(&t) => hiss * 1e-4,
                // In f64: the rounding of an f32 phase would be heard above 4 kHz.
                _ if (12.0..20.0).contains(&t) => {
                    0.3 * (std::f64::consts::TAU * 220.0 * i as f64 / rate as f64).sin() as f32
                }
                _ if t >= 20.0 && (t * 0.7).fract() < 0.1 => music(side) + 0.2 * hiss,
                _ => music(side),
            };
            (0..channels)
                .map(move |channel| value(channel as f32 * 0.8))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// An ad: a sine of `frequency` Hz with a slow swell.
pub(crate) fn ad(rate: usize, channels: usize, samples: usize, frequency: f64) -> Ad {
    let pcm: Vec<f32> = (0..samples)
        .flat_map(|i| {
            let t = i as f64 / rate as f64;
            let tau = std::f64::consts::TAU;
            let value = 0.3 * (tau * frequency * t + 1.0).sin() * (0.8 + 0.2 * (tau * 0.5 * t).sin());
            std::iter::repeat_n(value as f32, channels)
        })
        .collect();
    Ad {
        id: format!("tone {frequency}"),
        pcm: pcm.into(),
        picture: None,
    }
}

pub(crate) fn at(millis: u64, ads: Vec<Ad>) -> Break {
    Break {
        at: At::Time(ContentTime::from_millis(millis)),
        replace: Duration::ZERO,
        ads,
    }
}

/// Two ads in a pause, one in a sine, one in music.
pub(crate) fn mid_rolls(rate: usize, channels: usize) -> Vec<Break> {
    vec![
        at(
            PAUSE,
            vec![
                ad(rate, channels, 100_000, 500.0),
                ad(rate, channels, 55_555, 700.0),
            ],
        ),
        at(SINE, vec![ad(rate, channels, 90_001, 220.0)]),
        at(MUSIC, vec![ad(rate, channels, 3 * rate, 330.0)]),
    ]
}

/// An ad before everything and one after it.
pub(crate) fn ends(rate: usize, channels: usize) -> [Break; 2] {
    [At::Start, At::End].map(|at| Break {
        at,
        replace: Duration::ZERO,
        ads: vec![ad(rate, channels, rate + 11, 700.0)],
    })
}

/// Why these bytes cannot be spliced.
pub(crate) fn refusal(bytes: &[u8], breaks: &[Break]) -> splice::SpliceError {
    let content = bytes.to_vec();
    splice::splice(&content, breaks, &Options::default(), &mut std::io::sink()).unwrap_err()
}

pub(crate) const METADATA: &str = ";FFMETADATA1\ntitle=Episode\nartist=Somebody\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=11000\ntitle=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=11000\nEND=22000\ntitle=Two\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=22000\nEND=40000\ntitle=Three\n";

/// A file of [`content`], made by ffmpeg.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) rate: usize,
    pub(crate) channels: usize,
    pub(crate) content: PathBuf,
}

impl Fixture {
    /// `coding` are ffmpeg's arguments for the output.
    pub(crate) fn new(name: &str, rate: usize, channels: usize, coding: &[&str]) -> Self {
        Self::of(name, rate, channels, &content(rate, channels, SECONDS), coding)
    }

    pub(crate) fn of(name: &str, rate: usize, channels: usize, pcm: &[f32], coding: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        let metadata = dir.path().join("metadata");
        std::fs::write(&metadata, METADATA).unwrap();
        let pcm: Vec<u8> = pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let (rate_text, channels_text) = (rate.to_string(), channels.to_string());
        let mut args = vec![
            "-v",
            "error",
            "-y",
            "-f",
            "f32le",
            "-ar",
            &rate_text,
            "-ac",
            &channels_text,
            "-i",
            "-",
        ];
        // Further inputs come before what is said about the output.
        let pairs = coding.chunks(2).take_while(|pair| pair[0] == "-i").count();
        let (inputs, coding) = coding.split_at(pairs * 2);
        args.extend(["-i", metadata.to_str().unwrap()]);
        args.extend(inputs);
        args.extend(["-map_metadata", "1", "-map_chapters", "1"]);
        args.extend(coding);
        args.push(path.to_str().unwrap());
        run("ffmpeg", &args, Some(&pcm));
        Self {
            dir,
            rate,
            channels,
            content: path,
        }
    }

    /// Splices into a file of this name.
    pub(crate) fn splice(&self, name: &str, breaks: &[Break]) -> (PathBuf, Report) {
        let content = FileContent::open(&self.content).unwrap();
        let path = self.dir.path().join(name);
        let mut bytes = Vec::new();
        let report = splice::splice(&content, breaks, &Options::default(), &mut bytes).unwrap();
        assert_eq!(report.bytes, bytes.len() as u64);
        std::fs::write(&path, &bytes).unwrap();
        (path, report)
    }

    pub(crate) fn samples(&self, duration: Duration) -> usize {
        (duration.as_secs_f64() * self.rate as f64).round() as usize
    }

    pub(crate) fn sample_at(&self, time: ad_splicer::time::PresentationTime) -> usize {
        time.to_samples(self.rate as u32) as usize
    }
}

/// What ffmpeg decodes of the audio, interleaved.
pub(crate) fn decode(path: &Path) -> Vec<f32> {
    let path = path.to_str().unwrap();
    let args = [
        "-v",
        "error",
        "-xerror",
        "-i",
        path,
        "-map",
        "0:a",
        "-f",
        "f32le",
        "-c:a",
        "pcm_f32le",
        "-",
    ];
    let (bytes, said) = run_both("ffmpeg", &args, None);
    assert_eq!(said, "", "ffmpeg decodes {path} without a word");
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// One line of framemd5 for each packet of a stream (`0:a`, `0:v`): its fields.
pub(crate) fn packets(path: &Path, stream: &str) -> Vec<Packet> {
    let path = path.to_str().unwrap();
    let args = [
        "-v", "error", "-i", path, "-map", stream, "-c", "copy", "-copyts", "-f", "framemd5", "-",
    ];
    let text = String::from_utf8(run("ffmpeg", &args, None)).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            Packet {
                dts: fields[1].parse().unwrap(),
                pts: fields[2].parse().unwrap(),
                size: fields[4].parse().unwrap(),
                hash: fields[5].to_owned(),
            }
        })
        .collect()
}

/// A packet as framemd5 lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) dts: i64,
    pub(crate) pts: i64,
    pub(crate) size: usize,
    pub(crate) hash: String,
}

pub(crate) fn hashes(path: &Path, stream: &str) -> Vec<String> {
    packets(path, stream)
        .into_iter()
        .map(|packet| packet.hash)
        .collect()
}

/// What ffprobe says, as JSON.
pub(crate) fn probe(path: &Path) -> serde_json::Value {
    let path = path.to_str().unwrap();
    let args = [
        "-v",
        "error",
        "-show_chapters",
        "-show_format",
        "-show_streams",
        "-of",
        "json",
        path,
    ];
    serde_json::from_slice(&run("ffprobe", &args, None)).unwrap()
}

/// The chapters that ffprobe finds: title, beginning and end in seconds.
pub(crate) fn chapters(path: &Path) -> Vec<(String, f64, f64)> {
    let json = probe(path);
    let seconds = |chapter: &serde_json::Value, key: &str| chapter[key].as_str().unwrap().parse().unwrap();
    let all = json["chapters"].as_array().unwrap().iter();
    all.map(|chapter| {
        (
            chapter["tags"]["title"].as_str().unwrap_or_default().to_owned(),
            seconds(chapter, "start_time"),
            seconds(chapter, "end_time"),
        )
    })
    .collect()
}

/// Integrated loudness of some samples in LUFS, by ffmpeg.
pub(crate) fn loudness(pcm: &[f32], rate: usize, channels: usize) -> f64 {
    let bytes: Vec<u8> = pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let (rate, channels) = (rate.to_string(), channels.to_string());
    let args = [
        "-nostats", "-f", "f32le", "-ar", &rate, "-ac", &channels, "-i", "-", "-af", "ebur128", "-f", "null",
        "-",
    ];
    let (_, said) = run_both("ffmpeg", &args, Some(&bytes));
    let last = said.rsplit("I:").next().unwrap();
    last.split("LUFS").next().unwrap().trim().parse().unwrap()
}

pub(crate) fn rms_db(samples: impl Iterator<Item = f32>) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for sample in samples {
        sum += f64::from(sample).powi(2);
        count += 1;
    }
    10.0 * (sum / f64::from(count.max(1))).max(1e-20).log10()
}

/// The worst block of 576 samples of the difference, in dB of full scale.
pub(crate) fn worst_db(a: &[f32], b: &[f32], channels: usize) -> f64 {
    a.chunks(576 * channels)
        .zip(b.chunks(576 * channels))
        .map(|(a, b)| rms_db(a.iter().zip(b).map(|(a, b)| a - b)))
        .fold(-200.0, f64::max)
}

/// Loudest 10 ms above 4 kHz of one channel, in dB of full scale.
pub(crate) fn above_4k(samples: &[f32], rate: usize) -> f64 {
    const TAPS: usize = 511;
    let middle = (TAPS / 2) as f64;
    let cutoff = 4_000.0 / rate as f64;
    let taps: Vec<f64> = (0..TAPS)
        .map(|i| {
            let x = i as f64 - middle;
            let low = if x == 0.0 {
                2.0 * cutoff
            } else {
                (std::f64::consts::TAU * cutoff * x).sin() / (std::f64::consts::PI * x)
            };
            let phase = std::f64::consts::TAU * i as f64 / (TAPS - 1) as f64;
            let window = 0.42 - 0.5 * phase.cos() + 0.08 * (2.0 * phase).cos();
            (if x == 0.0 { 1.0 } else { 0.0 }) - low * window
        })
        .collect();
    let high: Vec<f32> = samples
        .windows(TAPS)
        .map(|window| {
            window
                .iter()
                .zip(&taps)
                .map(|(s, t)| f64::from(*s) * t)
                .sum::<f64>() as f32
        })
        .collect();
    high.chunks(rate / 100)
        .map(|chunk| rms_db(chunk.iter().copied()))
        .fold(-200.0, f64::max)
}

/// One channel of interleaved samples.
pub(crate) fn left(pcm: &[f32], channels: usize) -> Vec<f32> {
    pcm.iter().copied().step_by(channels).collect()
}

/// The error at a seam, as ffmpeg decodes it: the worst block of 576 samples, in dB of full scale.
#[derive(Clone, Debug)]
pub(crate) struct SeamError {
    pub(crate) kind: splice::SeamKind,
    pub(crate) break_index: usize,
    pub(crate) db: f64,
}

/// That an ad is where it is said to be, to the sample: `heard` begins there. `fade` samples at its ends are not compared.
pub(crate) fn judge_ad(name: &str, heard: &[f32], given: &[f32], fade: usize, channels: usize) {
    let error = |shift: i64| {
        let from = (fade as i64 + shift * channels as i64) as usize;
        let got = &heard[from..][..given.len() - 2 * fade];
        rms_db(got.iter().zip(&given[fade..]).map(|(a, b)| a - b))
    };
    let best = (-3..=3).min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap();
    assert_eq!(best, 0, "{name} begins {best} samples off");
    // At 64 kb/s and less what differs is the coding's noise.
    assert!(error(0) < -40.0, "{name} differs by {:.1} dB", error(0));
}

/// What is true of every splice of AAC and Opus: packets outside the bridges are the content's own, ads are where they are said to be, the length is right. `size` is a packet's samples, `skip` how many decoded
/// samples come before content time 0, `settle` how many packets after a seam samples may differ from the original's. Gives the errors at the seams.
pub(crate) fn judge_bridged(
    fixture: &Fixture,
    path: &Path,
    report: &Report,
    breaks: &[Break],
    (size, skip, settle): (usize, usize, usize),
) -> Vec<SeamError> {
    let channels = fixture.channels;
    let (before, after) = (decode(&fixture.content), decode(path));
    let (old, new) = (hashes(&fixture.content, "0:a"), hashes(path, "0:a"));
    let name = path.file_name().unwrap().to_str().unwrap();
    let longer = (after.len() / channels).abs_diff(fixture.samples(report.duration));
    assert!(
        longer < size,
        "{name}: {longer} samples longer or shorter than reported"
    );

    for spliced in &report.ads {
        let given = &breaks[spliced.index.break_index].ads[spliced.index.ad].pcm;
        let given = given.samples().unwrap();
        let start = fixture.sample_at(spliced.presentation);
        let fade = fixture.rate / 100;
        // Less than a packet of it may be left out.
        let lasts = fixture.samples(spliced.duration) * channels;
        assert!(given.len() - lasts < size * channels, "{name}: {spliced:?}");
        judge_ad(
            &format!("{name}: ad {}", spliced.id),
            &after[start * channels..],
            &given[..lasts],
            fade * channels,
            channels,
        );
    }

    // From seam to seam: packets of the result that are content, with how much later they play.
    let mut stretches = Vec::new();
    let mut exit = (report.ads.first().is_none_or(|ad| ad.presentation.as_nanos() > 0)).then_some((0, 0_i64));
    for seam in &report.seams {
        let sample = fixture.sample_at(seam.presentation) + skip;
        assert_eq!(sample % size, 0, "{name}: {seam:?} is on the grid");
        assert!(seam.frames <= 8, "{name}: {seam:?}");
        match seam.kind {
            splice::SeamKind::Entry => {
                let (first, shift) = exit.take().unwrap();
                stretches.push((first, sample / size, shift, Some(seam)));
            }
            splice::SeamKind::Exit => {
                let frame = sample / size;
                // Steady sound repeats itself: the place that the ads before it make likely.
                let earlier = report.ads.iter().filter(|ad| ad.presentation < seam.presentation);
                let ads: usize = earlier.map(|ad| fixture.samples(ad.duration)).sum();
                let place = (0..=old.len() - 8)
                    .filter(|place| old[*place..place + 8] == new[frame..frame + 8])
                    .min_by_key(|place| (place + ads / size).abs_diff(frame))
                    .unwrap_or_else(|| panic!("{name}: content goes on after packet {frame}"));
                exit = Some((frame, (frame as i64 - place as i64) * size as i64));
            }
        }
    }
    if let Some((first, shift)) = exit {
        stretches.push((first, new.len(), shift, None));
    }
    let mut errors = Vec::new();
    for (i, (first, end, shift, seam)) in stretches.iter().enumerate() {
        let place = (*first as i64 - shift / size as i64) as usize;
        assert!(
            new[*first..*end] == old[place..place + (end - first)],
            "{name}: packets {first}..{end}"
        );
        let sample = |packet: usize| (packet * size).saturating_sub(skip);
        let from = if *first == 0 { 0 } else { sample(first + settle) };
        let to = sample(*end).min(after.len() / channels);
        let there = (from as i64 - shift) as usize;
        let stretch = &before[there * channels..][..(to - from) * channels];
        if settle == 1 {
            assert!(
                after[from * channels..to * channels] == *stretch,
                "{name}: samples {from}..{to}"
            );
        } else {
            let rest = worst_db(&after[from * channels..to * channels], stretch, channels);
            assert!(
                rest < -70.0,
                "{name}: samples {from}..{to} differ by {rest:.1} dB"
            );
        }
        if *first > 0 {
            let end = sample(*first);
            let mut previous = report
                .seams
                .iter()
                .filter(|seam| seam.kind == splice::SeamKind::Exit);
            let seam = previous
                .rfind(|seam| fixture.sample_at(seam.presentation) == end)
                .unwrap();
            // In AAC the content may go on from any packet after the cue.
            let start = if settle == 1 {
                sample(first + 1 - seam.frames as usize)
            } else {
                end
            };
            let original = &before[(start as i64 - shift) as usize * channels..];
            errors.push(SeamError {
                kind: seam.kind,
                break_index: seam.break_index,
                db: worst_db(
                    &after[start * channels..(end + settle * size) * channels],
                    original,
                    channels,
                ),
            });
        }
        if let Some(seam) = seam {
            let original = &before[(to as i64 - shift) as usize * channels..];
            // Up to the cue.
            let cue = report
                .ads
                .iter()
                .find(|ad| ad.index.break_index == seam.break_index)
                .unwrap();
            let cue = fixture.sample_at(cue.presentation);
            errors.push(SeamError {
                kind: seam.kind,
                break_index: seam.break_index,
                db: worst_db(&after[to * channels..cue * channels], original, channels),
            });
        }
        let _ = i;
    }
    for error in &errors {
        println!("{name}: {error:?}");
    }
    errors
}

/// A thousand random ranges of the rendition are those of the file that was made of it.
pub(crate) fn random_ranges(fixture: &Fixture, file: &Path, breaks: &[Break]) {
    random_ranges_of(&fixture.content, file, breaks);
}

/// The same for any content.
pub(crate) fn random_ranges_of(content: &Path, file: &Path, breaks: &[Break]) {
    let content = FileContent::open(content).unwrap();
    let options = Options::default();
    let rendition = splice::prepare(&content, breaks, &options).unwrap();
    let whole = std::fs::read(file).unwrap();
    assert_eq!(rendition.len(), whole.len() as u64);
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    println!("seed {seed}");
    let mut noise = Noise(seed);
    for _ in 0..1_000 {
        let start = (f64::from(noise.next().abs()) * whole.len() as f64) as usize;
        let end = whole
            .len()
            .min(start + (f64::from(noise.next().abs()) * 300_000.0) as usize);
        let mut got = vec![0; end - start];
        let mut done = 0;
        while done < got.len() {
            let count = rendition
                .read_at(
                    &content,
                    (start + done) as u64,
                    &mut got[done..],
                    options.read_deadline,
                )
                .unwrap();
            assert!(count > 0, "{start}..{end} ends at {done}");
            done += count;
        }
        assert!(got == whole[start..end], "{start}..{end}");
    }
}

/// Where each page of an Ogg file is.
pub(crate) fn ogg_pages(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut at, mut found) = (0, Vec::new());
    while at < bytes.len() {
        assert_eq!(&bytes[at..at + 4], b"OggS");
        let count = usize::from(bytes[at + 26]);
        let body: usize = bytes[at + 27..at + 27 + count]
            .iter()
            .map(|value| usize::from(*value))
            .sum();
        found.push(at..at + 27 + count + body);
        at += 27 + count + body;
    }
    found
}

/// The streams of a chain of Ogg, each as a file in a folder.
pub(crate) fn ogg_streams(folder: &Path, path: &Path) -> Vec<PathBuf> {
    let bytes = std::fs::read(path).unwrap();
    let mut starts: Vec<usize> = ogg_pages(&bytes)
        .into_iter()
        .filter(|page| bytes[page.start + 5] & 2 != 0)
        .map(|page| page.start)
        .collect();
    starts.push(bytes.len());
    let mut serials = std::collections::HashSet::new();
    starts
        .windows(2)
        .enumerate()
        .map(|(i, pair)| {
            let bytes = &bytes[pair[0]..pair[1]];
            assert!(
                serials.insert(bytes[14..18].to_vec()),
                "streams have numbers of their own"
            );
            let pages = ogg_pages(bytes);
            for (number, page) in pages.iter().enumerate() {
                let sequence = &bytes[page.start + 18..page.start + 22];
                assert_eq!(sequence, (number as u32).to_le_bytes(), "pages are numbered");
                assert_eq!(bytes[page.start + 5] & 4 != 0, number + 1 == pages.len());
            }
            let path = folder.join(format!("stream-{i}.ogg"));
            std::fs::write(&path, bytes).unwrap();
            path
        })
        .collect()
}

/// Decoded samples before content time 0, as the head of an Opus stream says, in whatever it is contained.
pub(crate) fn pre_skip(fixture: &Fixture) -> usize {
    let bytes = std::fs::read(&fixture.content).unwrap();
    let head = bytes.windows(8).position(|bytes| bytes == b"OpusHead").unwrap();
    usize::from(u16::from_le_bytes([bytes[head + 10], bytes[head + 11]]))
}
