//! Splices real LAME streams and judges the result from outside: ffmpeg decodes and lists packets, ffprobe reads chapters, mp3val checks the structure.
//!
//! Fixtures are made here: synthetic sound, encoded by ffmpeg's LAME so that the stream has an information frame with delay and padding.

use std::f32::consts::TAU;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ad_splicer::content::FileContent;
use ad_splicer::splice::{self, Ad, At, Break, Options, Report, SeamKind, SpliceError};
use ad_splicer::time::ContentTime;

/// Decoded samples that a frame touches after its own.
const OVERLAP: usize = 1056;
const SECONDS: usize = 40;
/// In a pause, in a sine, in music.
const PAUSE: u64 = 11_000;
const SINE: u64 = 16_300;
const MUSIC: u64 = 26_017;

fn run(program: &str, args: &[&str], stdin: Option<&[u8]>) -> Vec<u8> {
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
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}\nhint: apt-get install ffmpeg mp3val"));
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
    assert!(
        out.status.success(),
        "{program} {args:?}: {}\n{}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    out.stdout
}

/// A small generator of noise, the same on every run.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / f32::from(1u16 << 15) / 256.0 - 1.0
    }
}

/// Music to 10 s, a pause to 12 s, a 220 Hz sine to 20 s, then music with bursts of noise.
fn content(rate: usize, channels: usize) -> Vec<f32> {
    let mut noise = Noise(7);
    (0..SECONDS * rate)
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
fn ad(rate: usize, channels: usize, samples: usize, frequency: f64) -> Ad {
    let pcm: Vec<f32> = (0..samples)
        .flat_map(|i| {
            // In f64: the rounding of an f32 phase would be heard above 4 kHz.
            let (t, tau) = (i as f64 / rate as f64, std::f64::consts::TAU);
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

fn at(millis: u64, ads: Vec<Ad>) -> Break {
    Break {
        at: At::Time(ContentTime::from_millis(millis)),
        replace: Duration::ZERO,
        ads,
    }
}

const METADATA: &str = ";FFMETADATA1\ntitle=Episode\nTLEN=40000\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=11000\ntitle=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=11000\nEND=22000\ntitle=Two\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=22000\nEND=40000\ntitle=Three\n";

struct Fixture {
    dir: tempfile::TempDir,
    rate: usize,
    channels: usize,
    content: PathBuf,
    /// Decoded samples before content sample 0.
    skip: usize,
}

impl Fixture {
    fn new(rate: usize, channels: usize, coding: &[&str]) -> Self {
        Self::of(&content(rate, channels), rate, channels, coding)
    }

    fn of(pcm: &[f32], rate: usize, channels: usize, coding: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let content_path = dir.path().join("content.mp3");
        let metadata = dir.path().join("metadata");
        std::fs::write(&metadata, METADATA).unwrap();
        let pcm: Vec<u8> = pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let (rate_text, channels_text) = (rate.to_string(), channels.to_string());
        let mut args = vec![
            "-v",
            "error",
            "-f",
            "f32le",
            "-ar",
            &rate_text,
            "-ac",
            &channels_text,
            "-i",
            "-",
            "-i",
            metadata.to_str().unwrap(),
            "-map_metadata",
            "1",
            "-map_chapters",
            "1",
            "-id3v2_version",
            "3",
            "-write_id3v1",
            "1",
            "-c:a",
            "libmp3lame",
        ];
        args.extend(coding);
        args.push(content_path.to_str().unwrap());
        run("ffmpeg", &args, Some(&pcm));
        Self {
            dir,
            rate,
            channels,
            content: content_path,
            skip: if coding.contains(&"-write_xing") { 0 } else { 1105 },
        }
    }

    fn splice(&self, name: &str, breaks: &[Break]) -> (PathBuf, Report) {
        let content = FileContent::open(&self.content).unwrap();
        let path = self.dir.path().join(name);
        let mut bytes = Vec::new();
        let report = splice::splice(&content, breaks, &Options::default(), &mut bytes).unwrap();
        assert_eq!(report.bytes, bytes.len() as u64);
        std::fs::write(&path, &bytes).unwrap();
        (path, report)
    }

    fn decode(path: &Path) -> Vec<f32> {
        let bytes = run(
            "ffmpeg",
            &[
                "-v",
                "error",
                "-xerror",
                "-i",
                path.to_str().unwrap(),
                "-map",
                "0:a",
                "-f",
                "f32le",
                "-c:a",
                "pcm_f32le",
                "-",
            ],
            None,
        );
        bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    /// One hash for each frame.
    fn packets(path: &Path) -> Vec<String> {
        let text = run(
            "ffmpeg",
            &[
                "-v",
                "error",
                "-i",
                path.to_str().unwrap(),
                "-map",
                "0:a",
                "-c",
                "copy",
                "-f",
                "framemd5",
                "-",
            ],
            None,
        );
        String::from_utf8(text)
            .unwrap()
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit(',').next().unwrap().trim().to_owned())
            .collect()
    }
}

fn rms_db(samples: impl Iterator<Item = f32>) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for sample in samples {
        sum += f64::from(sample).powi(2);
        count += 1;
    }
    10.0 * (sum / f64::from(count.max(1))).max(1e-20).log10()
}

/// The worst block of 576 samples of the difference, in dB of full scale.
fn worst_db(a: &[f32], b: &[f32], channels: usize) -> f64 {
    a.chunks(576 * channels)
        .zip(b.chunks(576 * channels))
        .map(|(a, b)| rms_db(a.iter().zip(b).map(|(a, b)| a - b)))
        .fold(-200.0, f64::max)
}

/// Loudest 10 ms above 4 kHz of one channel, in dB of full scale.
fn above_4k(samples: &[f32], rate: usize) -> f64 {
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

/// What is true of every splice. Prints the seams; gives the decoded result.
fn judge(fixture: &Fixture, name: &str, path: &Path, report: &Report, breaks: &[Break]) -> Vec<f32> {
    let (rate, channels) = (fixture.rate, fixture.channels);
    let size = if rate >= 32_000 { 1152 } else { 576 };
    let (before, after) = (Fixture::decode(&fixture.content), Fixture::decode(path));
    let samples = |duration: Duration| (duration.as_secs_f64() * rate as f64).round() as usize;
    // A stream that does not declare its padding ends with a whole frame.
    let rounded = after.len() / channels - samples(report.duration);
    let allowed = if fixture.skip == 0 { size as usize } else { 1 };
    assert!(
        rounded < allowed,
        "{name}: {rounded} samples longer than reported"
    );
    let given = |ad: &ad_splicer::splice::SplicedAd| {
        breaks[ad.index.break_index].ads[ad.index.ad].pcm.len() / channels
    };
    let ad_samples: usize = report.ads.iter().map(given).sum();
    let replaced: usize = breaks
        .iter()
        .filter(|b| !b.ads.is_empty())
        .map(|b| samples(b.replace))
        .sum();
    let plain = (before.len() / channels + ad_samples - replaced) as i64;
    let longer = (after.len() / channels) as i64 - plain;
    assert!(
        (0..size).contains(&longer),
        "{name}: {longer} samples longer than content and ads"
    );

    // Each ad is where it is said to be, to the sample.
    for spliced in &report.ads {
        let ad = &breaks[spliced.index.break_index].ads[spliced.index.ad];
        let mut pcm = ad.pcm.samples().unwrap().into_owned();
        // Less than a frame of it may be left out.
        let lasts = samples(spliced.duration) * channels;
        assert!(
            pcm.len() - lasts < size as usize * channels,
            "{name}: {spliced:?}"
        );
        pcm.truncate(lasts);
        let start = samples(Duration::from_nanos(spliced.presentation.as_nanos()));
        let fade = rate / 100;
        let error = |shift: i64| {
            let from = ((start + fade) as i64 + shift) as usize * channels;
            let got = &after[from..][..pcm.len() - 2 * fade * channels];
            rms_db(got.iter().zip(&pcm[fade * channels..]).map(|(a, b)| a - b))
        };
        let best = (-3..=3).min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap();
        assert_eq!(best, 0, "{name}: ad {} begins {best} samples off", spliced.id);
        // At 64 kb/s and less what differs is the coding's noise.
        assert!(
            error(0) < -40.0,
            "{name}: ad {} differs by {:.1} dB",
            spliced.id,
            error(0)
        );
    }

    // Content is untouched between an exit and the next entry, in packets and in samples.
    let (old, new) = (Fixture::packets(&fixture.content), Fixture::packets(path));
    let skip = fixture.skip;
    let mut exits: Vec<(usize, i64)> = vec![(0, 0)];
    let mut entries = Vec::new();
    for seam in &report.seams {
        let sample = samples(Duration::from_nanos(seam.presentation.as_nanos()));
        let frame = (sample + skip) / size as usize;
        assert_eq!(
            (sample + skip) % size as usize,
            0,
            "{name}: seams are on the frame grid"
        );
        assert!(seam.frames <= 8, "{name}: {seam:?}");
        match seam.kind {
            SeamKind::Entry => entries.push(frame),
            SeamKind::Exit => {
                // How much later content plays from here on.
                let shift: i64 = report
                    .ads
                    .iter()
                    .filter(|ad| ad.presentation < seam.presentation)
                    .map(|ad| samples(ad.duration) as i64)
                    .sum::<i64>()
                    - breaks
                        .iter()
                        .zip(0..)
                        .filter(|(b, i)| *i <= seam.break_index && !b.ads.is_empty())
                        .map(|(b, _)| samples(b.replace) as i64)
                        .sum::<i64>();
                exits.push((frame, shift));
            }
        }
    }
    entries.push(new.len());
    let starts_in_bridge = report
        .ads
        .first()
        .is_some_and(|ad| ad.presentation.as_nanos() == 0);
    if starts_in_bridge {
        exits.remove(0);
    }
    let ends_in_bridge = report
        .seams
        .last()
        .is_some_and(|seam| seam.kind == SeamKind::Entry);
    for (i, ((exit, _), entry)) in exits.iter().zip(&entries).enumerate() {
        if ends_in_bridge && i + 1 == entries.len() {
            continue;
        }
        // The exit frame itself is repacked.
        let first = if *exit == 0 { 0 } else { exit + 1 };
        let place = old
            .windows(8)
            .position(|window| window == &new[first..first + 8])
            .unwrap_or_else(|| panic!("{name}: content goes on after frame {first}"));
        assert_eq!(
            new[first..*entry],
            old[place..place + (entry - first)],
            "{name}: packets {first}..{entry}"
        );
        let offset = (first as i64 - place as i64) * size;
        let from = if *exit == 0 {
            0
        } else {
            exit * size as usize + OVERLAP - skip
        };
        let to = (entry * size as usize)
            .saturating_sub(skip)
            .min(after.len() / channels);
        let there = (from as i64 - offset) as usize;
        assert!(
            after[from * channels..to * channels] == before[there * channels..][..(to - from) * channels],
            "{name}: samples {from}..{to}"
        );
        // The error around the seams at both ends of this stretch of content, as heard from outside.
        if *exit > 0 {
            let start = exit * size as usize - skip;
            let there = (start as i64 - offset) as usize;
            let error = worst_db(
                &after[start * channels..from * channels],
                &before[there * channels..],
                channels,
            );
            println!(
                "{name}: exit at {:.3} s, error {error:.1} dB",
                start as f64 / rate as f64
            );
        }
        if *entry < new.len() {
            let there = (to as i64 - offset) as usize;
            let error = worst_db(
                &after[to * channels..(to + OVERLAP) * channels],
                &before[there * channels..],
                channels,
            );
            println!(
                "{name}: entry at {:.3} s, error {error:.1} dB",
                to as f64 / rate as f64
            );
        }
    }
    for seam in &report.seams {
        println!("{name}: {seam:?}");
    }
    let verdict = String::from_utf8(run("mp3val", &[path.to_str().unwrap()], None)).unwrap();
    assert!(
        !verdict.contains("WARNING") && !verdict.contains("PROBLEM"),
        "{name}: {verdict}"
    );
    after
}

fn seams_are_good(name: &str, report: &Report, limits: &[(usize, f64)]) {
    for seam in &report.seams {
        if let Some((_, limit)) = limits.iter().find(|(index, _)| *index == seam.break_index) {
            assert!(
                seam.error_db <= *limit,
                "{name}: {seam:?} is worse than {limit} dB"
            );
        }
    }
}

#[test]
fn mid_rolls_in_a_constant_bit_rate() {
    let fixture = Fixture::new(44_100, 2, &["-b:a", "128k"]);
    let breaks = [
        at(
            PAUSE,
            vec![ad(44_100, 2, 100_000, 500.0), ad(44_100, 2, 55_555, 700.0)],
        ),
        at(SINE, vec![ad(44_100, 2, 90_001, 220.0)]),
        at(MUSIC, vec![ad(44_100, 2, 132_300, 330.0)]),
    ];
    let (path, report) = fixture.splice("cbr.mp3", &breaks);
    judge(&fixture, "cbr", &path, &report, &breaks);
    seams_are_good("cbr", &report, &[(0, -55.0), (1, -45.0), (2, -45.0)]);
    assert_eq!(report.seams.len(), 6);

    // Chapters move by what was spliced in before them; the one at the cue begins after the ads.
    let text = run(
        "ffprobe",
        &[
            "-v",
            "error",
            "-show_chapters",
            "-show_entries",
            "format=duration:format_tags",
            "-of",
            "json",
            path.to_str().unwrap(),
        ],
        None,
    );
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let times: Vec<(f64, f64)> = json["chapters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|chapter| {
            let seconds = |key: &str| chapter[key].as_str().unwrap().parse::<f64>().unwrap();
            (seconds("start_time"), seconds("end_time"))
        })
        .collect();
    let grid = |samples: usize| samples.div_ceil(1152) as f64 * 1152.0 / 44_100.0;
    // What is rounded does not add up.
    let (first, second, third) = (
        grid(155_555),
        grid(155_555 + 90_001),
        grid(155_555 + 90_001 + 132_300),
    );
    let expected = [
        (0.0, 11.0 + first),
        (11.0 + first, 22.0 + second),
        (22.0 + second, 40.0 + third),
    ];
    assert_eq!(times.len(), 3);
    for ((start, end), (want_start, want_end)) in times.iter().zip(expected) {
        assert!(
            (start - want_start).abs() < 0.002 && (end - want_end).abs() < 0.002,
            "{times:?}, {expected:?}"
        );
    }
    let chapters: Vec<&str> = report
        .chapters
        .iter()
        .map(|chapter| chapter.title.as_str())
        .collect();
    assert_eq!(chapters, ["One", "Two", "Three"]);
    assert_eq!(json["format"]["tags"]["title"], "Episode");
    let duration: f64 = json["format"]["duration"].as_str().unwrap().parse().unwrap();
    assert!(
        (duration - report.duration.as_secs_f64()).abs() < 0.06,
        "{duration} {:?}",
        report.duration
    );

    // The same again is the same bytes; any range of it can be read.
    let content = FileContent::open(&fixture.content).unwrap();
    let rendition = splice::prepare(&content, &breaks, &Options::default()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut out = Vec::new();
    rendition
        .write_to(&content, &mut out, &Options::default())
        .unwrap();
    assert!(out == bytes);
    let mut offset = 0;
    let mut buffer = [0; 9_999];
    while let count @ 1.. = rendition
        .read_at(&content, offset, &mut buffer, Duration::ZERO)
        .unwrap()
    {
        assert!(buffer[..count] == bytes[offset as usize..][..count]);
        offset += count as u64;
    }
    assert_eq!(offset, rendition.len());
    assert_eq!(bytes[bytes.len() - 128..][..3], *b"TAG");
}

#[test]
fn content_without_short_blocks_is_joined_where_there_are_attacks() {
    for (channels, rate) in [(2, 44_100), (1, 44_100), (2, 32_000)] {
        // A string is plucked forty times a second: wherever LAME may begin and end, it would use short blocks, which Shine has not.
        let pcm: Vec<f32> = (0..12 * rate)
            .flat_map(|i| {
                let since = (i as f32 * 40.0 / rate as f32).fract() * rate as f32 / 40.0;
                let tones = [0.011, 0.05, 0.13, 0.31].map(|f| (TAU * f * since).sin());
                let value = 0.05 * tones.iter().sum::<f32>() * (-300.0 * since / rate as f32).exp();
                [value, 0.8 * value].into_iter().take(channels)
            })
            .collect();
        let fixture = Fixture::of(&pcm, rate, channels, &["-c:a", "libshine", "-b:a", "128k"]);
        let tone = || vec![ad(rate, channels, rate / 2, 500.0)];
        let (path, report) = fixture.splice("shine.mp3", &[at(3_000, tone()), at(7_013, tone())]);
        assert_eq!(report.seams.len(), 4);
        for seam in &report.seams {
            println!("{channels} channels at {rate} Hz: {seam:?}");
        }
        seams_are_good("long blocks", &report, &[(0, -55.0), (1, -55.0)]);
        // What hides the attacks from LAME is not heard, where the ad has begun and it still goes on.
        let decoded = Fixture::decode(&path);
        let begun = report.ads[0].presentation.to_samples(rate as u32) as usize + 300;
        let heard = decoded[begun * channels..].iter().take(1_500 * channels);
        let heard = heard.step_by(channels);
        let heard: Vec<f32> = heard.copied().collect();
        let high = rms_db(
            heard
                .windows(3)
                .map(|three| (three[2] - 2.0 * three[1] + three[0]) / 4.0),
        );
        println!("at half of the sample rate: {high:.1} dBFS");
        assert!(high < -55.0, "{high:.1} dBFS");
    }
}

#[test]
fn sine_meets_sine_without_a_click() {
    // At this bit rate the content itself has next to nothing above 4 kHz, which would hide a click.
    let fixture = Fixture::new(44_100, 2, &["-b:a", "256k"]);
    let breaks = [at(SINE, vec![ad(44_100, 2, 90_001, 220.0)])];
    let (path, report) = fixture.splice("click.mp3", &breaks);
    let decoded: Vec<f32> = judge(&fixture, "click", &path, &report, &breaks)
        .into_iter()
        .step_by(2)
        .collect();
    let ad = &report.ads[0];
    let cue = ad.presentation.to_samples(44_100) as usize;
    let end = ad.presentation.saturating_add(ad.duration).to_samples(44_100) as usize;
    let energy = above_4k(&decoded[cue - 15_000..end + 15_000], 44_100);
    println!("click: above 4 kHz from the entry to the exit: {energy:.1} dBFS");
    assert!(energy <= -95.0, "{energy:.1} dBFS");
    // A cut without fades would be heard by this test.
    let mut cut = decoded[cue - 15_000..cue + 15_000].to_vec();
    cut.copy_within(15_000..29_000, 14_900);
    assert!(above_4k(&cut, 44_100) > -80.0);
}

#[test]
fn pre_roll_post_roll_and_cues_close_together() {
    let fixture = Fixture::new(44_100, 2, &["-b:a", "128k"]);
    let breaks = [
        Break {
            at: At::Start,
            replace: Duration::ZERO,
            ads: vec![ad(44_100, 2, 44_100, 500.0)],
        },
        at(26_000, vec![ad(44_100, 2, 44_000, 600.0)]),
        at(26_100, vec![ad(44_100, 2, 43_000, 800.0)]),
        at(30_000, vec![]),
        Break {
            at: At::End,
            replace: Duration::ZERO,
            ads: vec![ad(44_100, 2, 50_001, 900.0)],
        },
    ];
    let (path, report) = fixture.splice("ends.mp3", &breaks);
    judge(&fixture, "ends", &path, &report, &breaks);
    assert_eq!(report.seams.len(), 4);
    assert_eq!(
        report
            .ads
            .iter()
            .map(|ad| ad.index.break_index)
            .collect::<Vec<_>>(),
        [0, 1, 2, 4]
    );
    assert_eq!(report.ads[0].presentation.as_nanos(), 0);
}

#[test]
fn a_span_is_replaced() {
    let fixture = Fixture::new(44_100, 2, &["-b:a", "192k"]);
    let breaks = [Break {
        replace: Duration::from_secs(8),
        ..at(12_000, vec![ad(44_100, 2, 132_300, 440.0)])
    }];
    let (path, report) = fixture.splice("replaced.mp3", &breaks);
    judge(&fixture, "replaced", &path, &report, &breaks);
    assert!(report.duration < Duration::from_secs(36));
}

#[test]
fn a_break_that_does_not_fit_leaves_the_others() {
    let fixture = Fixture::new(44_100, 2, &["-b:a", "128k"]);
    let content = FileContent::open(&fixture.content).unwrap();
    let short = || vec![ad(44_100, 2, 44_100, 500.0)];
    let breaks = [
        at(90_000, short()),
        Break {
            replace: Duration::from_secs(8),
            ..at(12_000, short())
        },
        // Within what the one before it replaces.
        at(14_000, short()),
        // At the place where the other begins: it follows that.
        at(12_000, short()),
        at(30_000, short()),
    ];
    let (rendition, left_out) = splice::prepare_what_fits(&content, &breaks, &Options::default()).unwrap();
    let mut left_out: Vec<_> = left_out
        .into_iter()
        .map(|(index, error)| (index, matches!(error, SpliceError::Plan(_))))
        .collect();
    left_out.sort_unstable();
    assert_eq!(left_out, [(0, true), (2, true)]);
    let order: Vec<_> = rendition
        .report()
        .ads
        .iter()
        .map(|ad| ad.index.break_index)
        .collect();
    assert_eq!(order, [1, 3, 4]);
    let path = fixture.dir.path().join("fits.mp3");
    let mut bytes = Vec::new();
    rendition
        .write_to(&content, &mut bytes, &Options::default())
        .unwrap();
    std::fs::write(&path, bytes).unwrap();
    let mut spliced = breaks.clone();
    spliced[0].ads.clear();
    spliced[2].ads.clear();
    judge(&fixture, "fits", &path, rendition.report(), &spliced);
    // Where no break is at fault there is nothing to leave out.
    assert!(splice::prepare_what_fits(&b"RIFF".to_vec(), &breaks, &Options::default()).is_err());
}

#[test]
fn variable_bit_rate_mono_and_low_rates() {
    for (name, rate, channels, coding) in [
        ("vbr", 44_100, 2, &["-q:a", "4"][..]),
        ("bare", 44_100, 2, &["-b:a", "128k", "-write_xing", "0"]),
        ("mono", 44_100, 1, &["-b:a", "64k"]),
        ("48k", 48_000, 2, &["-b:a", "320k"]),
        ("lsf", 22_050, 2, &["-b:a", "64k"]),
        ("lsf mono", 24_000, 1, &["-b:a", "32k"]),
    ] {
        let fixture = Fixture::new(rate, channels, coding);
        let breaks = [
            at(PAUSE, vec![ad(rate, channels, 3 * rate + 11, 500.0)]),
            at(MUSIC, vec![ad(rate, channels, 2 * rate, 330.0)]),
            Break {
                at: At::End,
                replace: Duration::ZERO,
                ads: vec![ad(rate, channels, rate, 440.0)],
            },
        ];
        let (path, report) = fixture.splice("out.mp3", &breaks);
        judge(&fixture, name, &path, &report, &breaks);
    }
}

#[test]
fn without_ads_the_content_stays_as_it_is() {
    let fixture = Fixture::new(44_100, 2, &["-b:a", "128k"]);
    let (path, report) = fixture.splice("same.mp3", &[at(PAUSE, vec![])]);
    assert!(std::fs::read(path).unwrap() == std::fs::read(&fixture.content).unwrap());
    assert!(report.ads.is_empty());
    assert_eq!(report.duration, Duration::from_secs(SECONDS as u64));
    let format = splice::probe(&FileContent::open(&fixture.content).unwrap(), &Options::default()).unwrap();
    assert_eq!((format.sample_rate, format.channels), (44_100, 2));
}

#[test]
fn what_is_not_whole_is_an_error() {
    let fixture = Fixture::new(44_100, 2, &["-b:a", "128k"]);
    let whole = std::fs::read(&fixture.content).unwrap();
    let breaks = [at(PAUSE, vec![ad(44_100, 2, 44_100, 500.0)])];
    let attempt = |bytes: Vec<u8>| {
        splice::splice(&bytes, &breaks, &Options::default(), &mut std::io::sink()).unwrap_err()
    };
    assert!(matches!(
        attempt(whole[..300_001].to_vec()),
        SpliceError::Truncated { .. }
    ));
    let mut hole = whole.clone();
    hole[200_000..201_000].fill(0);
    assert!(matches!(attempt(hole), SpliceError::Corrupt { .. }));
    assert!(matches!(
        attempt(b"<html>".repeat(1_000)),
        SpliceError::NotAudio(_)
    ));
    assert!(matches!(attempt(Vec::new()), SpliceError::NotAudio(_)));
    let late = [at(90_000, vec![ad(44_100, 2, 44_100, 500.0)])];
    let error = splice::splice(&whole, &late, &Options::default(), &mut std::io::sink()).unwrap_err();
    assert!(matches!(error, SpliceError::Plan(_)), "{error}");
}

#[test]
fn a_survey_finds_frames_pauses_and_loudness() {
    let fixture = Fixture::new(44_100, 2, &["-b:a", "128k"]);
    let content = FileContent::open(&fixture.content).unwrap();
    let facts = ad_splicer::facts::survey(
        &content,
        &[
            At::Time(ContentTime::from_millis(9_000)),
            At::Time(ContentTime::from_millis(MUSIC)),
            At::End,
        ],
    )
    .unwrap();
    assert_eq!(
        (facts.sample_rate, facts.channels, facts.samples, facts.bit_rate),
        (44_100, 2, 40 * 44_100, 128_000)
    );
    assert_eq!(facts.frames as usize, Fixture::packets(&fixture.content).len());
    let bytes = std::fs::read(&fixture.content).unwrap();
    for cue in &facts.cues {
        assert_eq!(bytes[cue.offset as usize], 0xFF);
        assert!(cue.frame < facts.frames);
    }
    let near = &facts.cues[0];
    assert_eq!(near.frame, (9 * 44_100 + 1105) / 1152);
    // The pause is from 10 to 12 s.
    assert!(near.silence.unwrap().abs_diff(11 * 44_100) < 2_000, "{near:?}");
    assert!(
        near.silence_samples.unwrap().abs_diff(2 * 44_100) < 4_000,
        "{near:?}"
    );
    assert_eq!(facts.cues[1].silence, None);
    // As ffmpeg measures it, over all 40 s.
    let out = Command::new("ffmpeg")
        .args([
            "-nostats",
            "-i",
            fixture.content.to_str().unwrap(),
            "-af",
            "ebur128",
            "-f",
            "null",
            "-",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    let whole: f64 = text
        .rsplit("I:")
        .next()
        .unwrap()
        .split("LUFS")
        .next()
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let ours = f64::from(facts.cues[1].loudness.unwrap()) / 100.0;
    assert!((ours - whole).abs() < 0.2, "{ours} {whole}");
    // Integers and text only, so that it can be written as bencode and read back.
    let json = serde_json::to_value(&facts).unwrap();
    assert_eq!(
        serde_json::from_value::<ad_splicer::facts::Facts>(json).unwrap(),
        facts
    );
}

#[test]
fn the_smallest_content_takes_ads_at_both_ends() {
    let fixture = Fixture::new(44_100, 2, &["-b:a", "128k", "-t", "0.03"]);
    let breaks = [At::Start, At::Fraction(0.5), At::End].map(|at| Break {
        at,
        replace: Duration::ZERO,
        ads: vec![ad(44_100, 2, 30_000, 500.0)],
    });
    let (path, report) = fixture.splice("small.mp3", &breaks);
    judge(&fixture, "small", &path, &report, &breaks);
    assert_eq!((report.ads.len(), report.seams.len()), (3, 0));
}

#[test]
fn damaged_frames_are_an_error_or_a_splice_but_never_a_panic() {
    let fixture = Fixture::new(44_100, 2, &["-b:a", "128k", "-t", "3"]);
    let whole = std::fs::read(&fixture.content).unwrap();
    let breaks = [At::Start, At::Fraction(0.5), At::End].map(|at| Break {
        at,
        replace: Duration::ZERO,
        ads: vec![ad(44_100, 2, 10_000, 500.0)],
    });
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    println!("seed {seed}");
    let mut noise = Noise(seed);
    let mut spliced = 0;
    for _ in 0..20 {
        let mut bytes = whole.clone();
        for _ in 0..40 {
            let at = (f64::from(noise.next() + 1.0) / 2.0 * bytes.len() as f64) as usize;
            let last = bytes.len() - 1;
            bytes[at.min(last)] = (noise.next() * 128.0) as i8 as u8;
        }
        let mut out = Vec::new();
        if let Ok(report) = splice::splice(&bytes, &breaks, &Options::default(), &mut out) {
            spliced += 1;
            assert_eq!(report.bytes, out.len() as u64);
        }
    }
    println!("{spliced} of 20 damaged files were spliced");
}
