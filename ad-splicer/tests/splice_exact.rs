//! Splices WAV and FLAC, whose samples outside the ads must stay as they are, and judges the results by ffmpeg, `flac -t` and mutagen.

mod common;

use std::path::Path;
use std::time::Duration;

use ad_splicer::content::{Content as _, FileContent};
use ad_splicer::splice::{self, At, Break, Codec, Options, Report, SpliceError};
use common::{Fixture, MUSIC, Noise, PAUSE, SINE, ad, at, chapters, content, decode, left, run};

/// Every content sample of the result, in order, with the ads and pads taken out.
fn without_ads(fixture: &Fixture, after: &[f32], report: &Report, breaks: &[Break], grid: usize) -> Vec<f32> {
    let channels = fixture.channels;
    let mut out = Vec::new();
    let mut position = 0;
    let mut shift = 0_i64;
    let mut ads = report.ads.iter().peekable();
    while let Some(first) = ads.next() {
        let start = fixture.sample_at(first.presentation);
        out.extend(&after[position * channels..start * channels]);
        let index = first.index.break_index;
        let mut end = start + fixture.samples(first.duration);
        while let Some(next) = ads.next_if(|next| next.index.break_index == index) {
            end += fixture.samples(next.duration);
        }
        let replaced = fixture.samples(breaks[index].replace);
        shift += (end - start) as i64 - replaced as i64;
        // Back onto the grid, unless nothing follows.
        if end < after.len() / channels {
            let pad = (-shift).rem_euclid(grid as i64);
            shift += pad;
            end += pad as usize;
        }
        position = end;
    }
    out.extend(&after[position * channels..]);
    out
}

/// The original's samples without those that were replaced.
fn kept(fixture: &Fixture, before: &[f32], breaks: &[Break]) -> Vec<f32> {
    let channels = fixture.channels;
    let mut out = before.to_vec();
    let mut spans: Vec<_> = breaks
        .iter()
        .filter(|b| !b.replace.is_zero())
        .map(|b| match b.at {
            At::Time(time) => {
                let start = time.to_samples(fixture.rate as u32) as usize;
                start * channels..(start + fixture.samples(b.replace)) * channels
            }
            _ => panic!("only times are replaced here"),
        })
        .collect();
    spans.sort_by_key(|span| std::cmp::Reverse(span.start));
    for span in spans {
        out.drain(span);
    }
    out
}

fn breaks(rate: usize, channels: usize) -> Vec<Break> {
    let ends = |at| Break {
        at,
        replace: Duration::ZERO,
        ads: vec![ad(rate, channels, rate / 2 + 3, 700.0)],
    };
    vec![
        ends(At::Start),
        at(
            PAUSE,
            vec![
                ad(rate, channels, 50_001, 500.0),
                ad(rate, channels, 22_222, 600.0),
            ],
        ),
        at(SINE, vec![ad(rate, channels, 30_001, 220.0)]),
        // Within a block of the one before.
        at(SINE + 20, vec![ad(rate, channels, 10_001, 330.0)]),
        Break {
            replace: Duration::from_millis(3_210),
            ..at(MUSIC, vec![ad(rate, channels, 40_000, 330.0)])
        },
        ends(At::End),
    ]
}

/// Splices and compares every sample; gives the result's path and report.
fn exact(fixture: &Fixture, name: &str, grid: usize) -> (std::path::PathBuf, Report) {
    let breaks = breaks(fixture.rate, fixture.channels);
    let (path, report) = fixture.splice(name, &breaks);
    let (before, after) = (decode(&fixture.content), decode(&path));
    assert_eq!(
        after.len() / fixture.channels,
        fixture.samples(report.duration),
        "{name}"
    );
    assert_eq!(report.ads.len(), 7, "{name}");
    assert!(
        without_ads(fixture, &after, &report, &breaks, grid) == kept(fixture, &before, &breaks),
        "{name}: content samples differ"
    );
    for spliced in &report.ads {
        let given = &breaks[spliced.index.break_index].ads[spliced.index.ad].pcm;
        let given = given.samples().unwrap();
        let from = fixture.sample_at(spliced.presentation) * fixture.channels;
        // Past the fades nothing but the coding's steps differ.
        let fade = fixture.rate / 200 * fixture.channels + fixture.channels;
        let middle = fade..given.len() - fade;
        let most = after[from..][middle.clone()]
            .iter()
            .zip(&given[middle])
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(most <= 1.0 / 127.0, "{name}: {spliced:?} is off by {most}");
    }
    (path, report)
}

fn mutagen(path: &Path) -> String {
    let script = "import mutagen,sys; f=mutagen.File(sys.argv[1]); print(type(f).__name__, round(f.info.length,3), sorted(f.tags.keys()) if f.tags else [])";
    String::from_utf8(run(
        "/usr/bin/python3",
        &["-c", script, path.to_str().unwrap()],
        None,
    ))
    .unwrap()
}

#[test]
fn wav_of_every_kind() {
    for (name, channels, coding) in [
        ("i16.wav", 2, &["-c:a", "pcm_s16le"][..]),
        ("i24.wav", 2, &["-c:a", "pcm_s24le"]),
        ("u8.wav", 1, &["-c:a", "pcm_u8"]),
        ("f32.wav", 2, &["-c:a", "pcm_f32le"]),
        ("rf64.wav", 1, &["-c:a", "pcm_s16le", "-rf64", "always"]),
    ] {
        let fixture = Fixture::new(name, 44_100, channels, coding);
        let (path, report) = exact(&fixture, &format!("out-{name}"), 1);
        assert!(report.seams.is_empty());
        let json = common::probe(&path);
        assert_eq!(json["format"]["tags"]["title"], "Episode", "{name}");
        let format = splice::probe(&FileContent::open(&path).unwrap(), &Options::default()).unwrap();
        assert_eq!(format.codec, Codec::Wav);
        // Mutagen knows no RF64.
        assert!(name == "rf64.wav" || mutagen(&path).starts_with("WAVE"), "{name}");
    }
}

#[test]
fn flac_with_fixed_and_variable_blocks() {
    for (name, rate, channels, coding) in [
        ("i16.flac", 44_100, 2, &["-c:a", "flac"][..]),
        ("mono.flac", 48_000, 1, &["-c:a", "flac", "-frame_size", "1000"]),
        (
            "i24.flac",
            44_100,
            2,
            &["-c:a", "flac", "-sample_fmt", "s32", "-bits_per_raw_sample", "24"],
        ),
    ] {
        let marks = [
            "CHAPTER000=00:00:00.000",
            "CHAPTER000NAME=One",
            "CHAPTER001=00:00:11.000",
            "CHAPTER001NAME=Two",
            "CHAPTER002=00:00:22.000",
            "CHAPTER002NAME=Three",
        ];
        let mut coding = coding.to_vec();
        coding.extend(marks.iter().flat_map(|mark| ["-metadata", mark]));
        let fixture = Fixture::new(name, rate, channels, &coding);
        let (path, report) = exact(&fixture, &format!("out-{name}"), 1);
        // The MD5 of STREAMINFO, every CRC, and the numbers of samples.
        run("flac", &["-t", "-s", "-w", path.to_str().unwrap()], None);
        let said = mutagen(&path);
        assert!(said.starts_with("FLAC") && said.contains("title"), "{said}");
        let times: Vec<(String, f64, f64)> = chapters(&path);
        assert_eq!(times.len(), 3, "{name}");
        for (found, reported) in times.iter().zip(&report.chapters) {
            assert_eq!(found.0, reported.title);
            assert!(
                (found.1 - reported.start.as_secs_f64()).abs() < 0.002,
                "{times:?}"
            );
        }
        // The second begins at the cue in the pause: after its ads.
        let cue = &report.ads[2];
        let end = cue.presentation.saturating_add(cue.duration).as_secs_f64();
        assert!((-0.002..0.002).contains(&(times[1].1 - end)), "{times:?} {end}");
    }
}

/// Whether its cue sheet is of a CD, where its tracks begin and their numbers, and how long the file is, by its frames and its tags.
const CUE_SHEET: &str = "
import sys, json, mutagen.flac
f = mutagen.flac.FLAC(sys.argv[1])
tracks = [[t.start_offset, t.track_number] for t in f.cuesheet.tracks]
print(json.dumps([f.cuesheet.compact_disc, tracks, f.info.total_samples, f['length'][0]]))
";

#[test]
fn flac_numbered_by_samples_and_with_a_seek_table() {
    let fixture = Fixture::new("plain.wav", 44_100, 2, &["-c:a", "pcm_s16le"]);
    let coded = fixture.dir.path().join("coded.flac");
    let tracks = fixture.dir.path().join("tracks.cue");
    let listed = "FILE \"x\" WAVE\nTRACK 01 AUDIO\nINDEX 01 00:00:00\nTRACK 02 AUDIO\nINDEX 01 00:11:00\n";
    std::fs::write(&tracks, listed).unwrap();
    let millis = decode(&fixture.content).len() as u64 / 2 * 1_000 / 44_100;
    let args = [
        "-s",
        "-f",
        "-8",
        "-S",
        "1s",
        &format!("--cuesheet={}", tracks.display()),
        &format!("--tag=LENGTH={millis}"),
        "-o",
        coded.to_str().unwrap(),
        fixture.content.to_str().unwrap(),
    ];
    run("flac", &args, None);
    let fixture = Fixture {
        content: coded,
        ..fixture
    };
    let (path, report) = exact(&fixture, "seek.flac", 1);
    run("flac", &["-t", "-s", "-w", path.to_str().unwrap()], None);
    let sheet = |path: &Path| -> serde_json::Value {
        let args = ["-c", CUE_SHEET, path.to_str().unwrap()];
        serde_json::from_slice(&run("/usr/bin/python3", &args, None)).unwrap()
    };
    assert_eq!(sheet(&fixture.content)[0], true);
    // The second track is from the cue in the pause on: after its ads.
    let ad = &report.ads[2];
    let second = fixture.sample_at(ad.presentation) + fixture.samples(ad.duration);
    let first = fixture.samples(report.ads[0].duration);
    let samples = fixture.samples(report.duration);
    assert_eq!(
        sheet(&path),
        serde_json::json!([
            false,
            [[first, 1], [second, 2], [samples, 255]],
            samples,
            report.duration.as_millis().to_string(),
        ])
    );
    // Seek points name frames as they are: a decoder that trusts them finds the right samples.
    let whole = decode(&path);
    for second in [1.5, 12.0, 17.0, 30.0] {
        let text = format!("{second}");
        let args = [
            "-v",
            "error",
            "-ss",
            &text,
            "-i",
            path.to_str().unwrap(),
            "-frames:a",
            "3",
            "-f",
            "f32le",
            "-",
        ];
        let part = run("ffmpeg", &args, None);
        let part: Vec<f32> = part
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        let from = (second * 44_100.0) as usize * 2;
        assert!(whole[from..from + part.len()] == part[..], "from {second} s");
    }
    let listed = String::from_utf8(run(
        "metaflac",
        &["--list", "--block-type=SEEKTABLE", path.to_str().unwrap()],
        None,
    ))
    .unwrap();
    assert!(listed.matches("sample_number=").count() > 30, "{listed}");
}

#[test]
fn flac_that_does_not_say_how_long_it_is_is_counted() {
    let fixture = Fixture::of(
        "unsaid.flac",
        44_100,
        2,
        &content(44_100, 2, 20),
        &["-sample_fmt", "s16"],
    );
    let mut file = std::fs::read(&fixture.content).unwrap();
    // The number of samples in STREAMINFO, as a writer leaves it that cannot go back.
    file[21] &= 0xF0;
    file[22..26].fill(0);
    let format = splice::probe_length(&file, &Options::default()).unwrap();
    assert_eq!(format.duration.as_millis(), 20_000);
}

#[test]
fn a_sine_goes_into_an_ad_without_a_click() {
    for name in ["sine.wav", "sine.flac"] {
        let fixture = Fixture::new(
            name,
            44_100,
            2,
            &["-sample_fmt", if name == "sine.wav" { "s16" } else { "s32" }],
        );
        let breaks = [at(SINE, vec![ad(44_100, 2, 90_001, 220.0)])];
        let (path, report) = fixture.splice("out", &breaks);
        let decoded = left(&decode(&path), 2);
        let cue = fixture.sample_at(report.ads[0].presentation);
        let energy = common::above_4k(&decoded[cue - 15_000..cue + 90_001 + 15_000], 44_100);
        println!("{name}: above 4 kHz {energy:.1} dBFS");
        // 16 bits have a floor of about -98.
        assert!(energy < -95.0, "{name}: {energy:.1} dBFS");
    }
}

#[test]
fn facts_and_damage() {
    let pcm = content(44_100, 2, 40);
    for (name, codec) in [("facts.wav", "wav"), ("facts.flac", "flac")] {
        let fixture = Fixture::of(name, 44_100, 2, &pcm, &["-sample_fmt", "s16"]);
        let file = FileContent::open(&fixture.content).unwrap();
        let cues = [9_000, MUSIC].map(|time| At::Time(ad_splicer::time::ContentTime::from_millis(time)));
        let facts = ad_splicer::facts::survey(&file, &cues).unwrap();
        assert_eq!((facts.format.as_str(), facts.samples), (codec, 40 * 44_100));
        assert!(facts.cues[0].silence.unwrap().abs_diff(11 * 44_100) < 2_000);
        let ours = f64::from(facts.cues[1].loudness.unwrap()) / 100.0;
        let theirs = common::loudness(&decode(&fixture.content), 44_100, 2);
        assert!((ours - theirs).abs() < 0.2, "{ours} {theirs}");

        let mut whole = vec![0; file.len() as usize];
        file.read_exact_at(0, &mut whole, Duration::ZERO).unwrap();
        let breaks = [at(PAUSE, vec![ad(44_100, 2, 20_000, 500.0)])];
        let attempt =
            |bytes: Vec<u8>| splice::splice(&bytes, &breaks, &Options::default(), &mut std::io::sink());
        assert!(matches!(
            attempt(whole[..whole.len() - 5_000].to_vec()),
            Err(SpliceError::Truncated { .. })
        ));
        let seed = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
        println!("seed {seed}");
        let mut noise = Noise(seed);
        for _ in 0..6 {
            let mut bytes = whole.clone();
            for _ in 0..20 {
                let at = f64::from(noise.next() + 1.0) / 2.0 * 30_000.0;
                bytes[at as usize] = (noise.next() * 128.0) as i8 as u8;
            }
            let _ = attempt(bytes);
        }
    }
}
