//! Conditioning with real children: this test program starts itself again, so it has a `main` of its own.
//!
//! Every creative is made here, by ffmpeg, in a temporary folder. Run one test by giving a part of its name.

mod children;
#[path = "common/edits.rs"]
mod edits;

use std::path::Path;
use std::time::Duration;

use ad_splicer::conditioning::{ConditionError, Conditioner, Limits, Standing};
use ad_splicer::content::FileContent;
use ad_splicer::creatives::{Creative, FetchLimits, Profile};
use ad_splicer::loudness;
use ad_splicer::splice;

use children::{Bench, ffmpeg, text};
use futures_util::stream;

const STEREO: Profile = Profile {
    sample_rate: 44_100,
    channels: 2,
};

const MONO: Profile = Profile {
    channels: 1,
    ..STEREO
};

const TESTS: &[(&str, fn())] = &[
    (
        "every_format_keeps_its_length_and_place",
        every_format_keeps_its_length_and_place,
    ),
    ("ads_land_on_the_target", ads_land_on_the_target),
    ("what_is_no_audio_is_named", what_is_no_audio_is_named),
    (
        "a_truncated_file_gives_what_is_there",
        a_truncated_file_gives_what_is_there,
    ),
    ("a_bomb_is_cut_off", a_bomb_is_cut_off),
    ("limits_stop_the_child", limits_stop_the_child),
    (
        "the_second_time_comes_from_the_cache",
        the_second_time_comes_from_the_cache,
    ),
    ("giving_up_leaves_nothing_behind", giving_up_leaves_nothing_behind),
    (
        "something_stands_for_what_a_creative_has_not",
        something_stands_for_what_a_creative_has_not,
    ),
    (
        "sound_and_pictures_begin_as_far_apart_as_they_did",
        sound_and_pictures_begin_as_far_apart_as_they_did,
    ),
    (
        "where_an_edit_list_pauses_there_is_silence",
        where_an_edit_list_pauses_there_is_silence,
    ),
];

fn main() -> std::process::ExitCode {
    children::main(TESTS)
}

/// Integrated loudness and true peak as ffmpeg measures them.
fn ffmpeg_measures(path: &Path) -> (f64, f64) {
    let result = std::process::Command::new("ffmpeg")
        .args(["-hide_banner", "-nostdin", "-i"])
        .arg(path)
        .args(["-af", "ebur128=peak=true", "-f", "null", "-"])
        .output()
        .expect("ffmpeg is needed: apt-get install ffmpeg");
    let said = String::from_utf8_lossy(&result.stderr);
    let summary = said.rsplit("Summary:").next().expect("a summary").to_owned();
    let number = |name: &str| {
        let line = summary.lines().find(|l| l.trim_start().starts_with(name));
        let value = line
            .and_then(|l| l.split_whitespace().nth(1))
            .map(str::parse::<f64>);
        value
            .and_then(Result::ok)
            .unwrap_or_else(|| panic!("no {name} in {said}"))
    };
    (number("I:"), number("Peak:"))
}

fn write_wav(path: &Path, samples: &[f32], profile: Profile) {
    let raw = path.with_extension("f32");
    let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    std::fs::write(&raw, bytes).expect("a writable folder");
    let (rate, channels) = (profile.sample_rate.to_string(), profile.channels.to_string());
    let format = ["-f", "f32le", "-ar", &rate, "-ac", &channels, "-i", text(&raw)];
    ffmpeg(&[&format[..], &["-c:a", "pcm_f32le"]].concat(), path);
}

/// Two seconds of a rising tone that starts and stops, so that a shift of a sample can be seen.
const BURSTS: &str = "aevalsrc=exprs='0.4*sin(2*PI*(300*t+900*t*t))*gt(mod(t,0.25),0.1)':s=44100:d=2";

/// At which shift `a` looks most like `b`, and how alike they are then (0 to 1).
fn shift(a: &[f32], b: &[f32]) -> (i64, f64) {
    let score = |shift: i64, step: usize| {
        let (mut dot, mut aa, mut bb) = (0.0_f64, 0.0_f64, 0.0_f64);
        for (i, y) in b.iter().enumerate().step_by(step) {
            let at = i as i64 + shift;
            let x = usize::try_from(at)
                .ok()
                .and_then(|at| a.get(at))
                .copied()
                .unwrap_or(0.0);
            dot += f64::from(x) * f64::from(*y);
            aa += f64::from(x) * f64::from(x);
            bb += f64::from(*y) * f64::from(*y);
        }
        dot / (aa * bb).sqrt().max(1e-12)
    };
    let best = (-3000..=3000)
        .map(|s| (s, score(s, 7)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .expect("a range that is not empty")
        .0;
    (best, score(best, 1))
}

fn samples_of(creative: &Creative) -> Vec<f32> {
    creative.pcm(1.0).samples().expect("samples").into_owned()
}

fn every_format_keeps_its_length_and_place() {
    let bench = Bench::new();
    let wav = bench.make("bursts.wav", &["-f", "lavfi", "-i", BURSTS]);
    let reference = bench.condition(&wav, MONO).expect("WAV");
    assert_eq!(reference.samples, 88_200);
    let reference = samples_of(&reference);
    // Name, ffmpeg's options, and by how many samples length and place may be off. Streams of AAC and MP3 without a LAME
    // tag keep both delays.
    let cases: &[(&str, &[&str], u64, i64)] = &[
        ("lame.mp3", &["-b:a", "128k"], 0, 0),
        ("vbr.mp3", &["-q:a", "4"], 0, 0),
        (
            "untagged.mp3",
            &["-b:a", "128k", "-write_xing", "0", "-id3v2_version", "0"],
            2304,
            1105,
        ),
        ("tagged.mp3", &["-b:a", "192k", "-metadata", "title=Ad"], 0, 0),
        ("aac.m4a", &["-b:a", "128k"], 0, 0),
        ("48k.m4a", &["-b:a", "128k", "-ar", "48000"], 1, 1),
        ("faststart.m4a", &["-b:a", "128k", "-movflags", "faststart"], 0, 0),
        (
            "seen.mp4",
            &["-f", "lavfi", "-i", "testsrc2=s=64x64:d=2", "-c:a", "aac"],
            0,
            0,
        ),
        ("stream.aac", &["-b:a", "128k"], 2048, 1024),
        ("vorbis.ogg", &["-c:a", "libvorbis"], 1024, 0),
        ("opus.ogg", &["-c:a", "libopus", "-ar", "48000"], 1024, 1),
        ("flac.flac", &[], 0, 0),
        ("48k.wav", &["-ar", "48000"], 2, 1),
    ];
    for (name, options, off, moved) in cases {
        let input = [&["-i", text(&wav)], *options].concat();
        let creative = bench
            .condition(&bench.make(name, &input), MONO)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let (shift, alike) = shift(&samples_of(&creative), &reference);
        println!(
            "  {name}: {} samples, shifted by {shift}, alike {alike:.4}",
            creative.samples
        );
        assert!(
            creative.samples.abs_diff(88_200) <= *off,
            "{name}: {} samples",
            creative.samples
        );
        assert!(shift.abs() <= *moved, "{name}: shifted by {shift}");
        assert!(alike > 0.98, "{name}: only {alike} alike");
    }
}

fn ads_land_on_the_target() {
    let bench = Bench::new();
    // Speech is the hardest: high peaks over a low loudness.
    let speech = bench.path("speech.wav");
    let words = "This hour is brought to you by the corner bakery. Fresh bread from six in the morning, \
                 every day of the week, and coffee that is worth the walk. Come in, sit down, stay a while.";
    let status = std::process::Command::new("espeak-ng")
        .args(["-v", "en", "-w"])
        .arg(&speech)
        .arg(words)
        .status()
        .expect("espeak-ng is needed: apt-get install espeak-ng");
    assert!(status.success());
    let cases: &[(&str, f64, &[&str])] = &[
        ("a.mp3", -10.0, &["-ac", "2", "-b:a", "128k"]),
        ("b.wav", -16.0, &["-ar", "48000", "-ac", "1"]),
        ("c.m4a", -20.0, &["-ac", "2", "-b:a", "128k"]),
        ("d.ogg", -28.0, &["-ac", "2", "-c:a", "libvorbis"]),
    ];
    for (name, level, options) in cases {
        let filter = format!("loudnorm=I={level}:TP=-0.3:LRA=7,aresample=44100");
        let input = [&["-i", text(&speech), "-af", &filter], *options].concat();
        let path = bench.make(name, &input);
        let began = std::time::Instant::now();
        let creative = bench
            .condition(&path, STEREO)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let took = began.elapsed();
        for target in [-14.0, -16.0, -19.0, -24.0] {
            let began = std::time::Instant::now();
            let (pcm, applied) =
                loudness::conditioned(&creative, target, loudness::CEILING).expect("samples");
            let samples = pcm.samples().expect("samples");
            let fitted = began.elapsed();
            let wav = bench.path(&format!("{name}{target}.wav"));
            write_wav(&wav, &samples, STEREO);
            let (loud, peak) = ffmpeg_measures(&wav);
            let coded = ["128k", "256k"].map(|rate| {
                let mp3 = wav.with_extension(format!("{rate}.mp3"));
                ffmpeg(&["-i", text(&wav), "-b:a", rate], &mp3);
                ffmpeg_measures(&mp3)
            });
            println!(
                "  {name} ({:.1} s, {:.1} LUFS, {:.1} dBTP) to {target}: gain {:.2}, limited {:.2}, short {:.2}; \
                 ffmpeg {loud:.1} LUFS {peak:.1} dBTP, as MP3 {coded:?}; decoded in {:.2} s, fitted in {:.2} s",
                creative.duration().as_secs_f64(),
                creative.loudness.expect("speech"),
                creative.true_peak,
                applied.gain_db,
                applied.limited_db,
                applied.shortfall_lu,
                took.as_secs_f64(),
                fitted.as_secs_f64(),
            );
            assert!(
                (loud + applied.shortfall_lu - target).abs() <= 0.5,
                "{name} to {target}: {loud} LUFS, {applied:?}"
            );
            assert!(
                applied.limited_db <= loudness::MAX_LIMITING + 0.01,
                "{name}: {applied:?}"
            );
            assert!(
                peak <= loudness::CEILING + 0.11,
                "{name} to {target}: {peak} dBTP"
            );
            for (_, peak) in coded {
                assert!(
                    peak <= loudness::MAX_TRUE_PEAK,
                    "{name} to {target}: {peak} dBTP as MP3"
                );
            }
        }
    }
}

fn what_is_no_audio_is_named() {
    let bench = Bench::new();
    let rubbish = (0..50_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("rubbish", rubbish),
        ("zeros", vec![0; 100_000]),
        ("text", b"<html><body>404 Not Found</body></html>".to_vec()),
        ("one byte", vec![0xff]),
        ("a WAV header alone", wav_header()),
    ];
    for (name, bytes) in cases {
        let path = bench.path(name);
        std::fs::write(&path, bytes).expect("a writable folder");
        let error = bench.condition(&path, STEREO).expect_err(name);
        println!("  {name}: {error}");
        assert!(
            matches!(
                error,
                ConditionError::Undecodable { .. }
                    | ConditionError::Unsupported { .. }
                    | ConditionError::NoAudio { .. }
            ),
            "{name}: {error}"
        );
        assert_eq!(error.vast_code(), 405, "{name}");
    }
    let options = ["-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-c:v", "mpeg4", "-an"];
    let video = bench.make("video.mp4", &options);
    let error = bench.condition(&video, STEREO).expect_err("video without audio");
    println!("  video only: {error}");
    assert_eq!(error.vast_code(), 405);
}

/// In video: silence for sound, and an image, or else a card, for pictures. Sound that cannot be decoded is no silence.
fn something_stands_for_what_a_creative_has_not() {
    let bench = Bench::new();
    let pictures = ["-f", "lavfi", "-i", "testsrc=d=2:s=320x180:r=25"];
    let sound = ["-f", "lavfi", "-i", "sine=d=2:r=44100"];
    let coding = ["-c:v", "libx264", "-pix_fmt", "yuv420p"];
    let both = [&pictures[..], &sound, &coding].concat();
    let content = bench.make("content.mp4", &[&both[..], &["-c:a", "aac"]].concat());
    let unknown = bench.make("unknown.mkv", &[&both[..], &["-c:a", "tta"]].concat());
    let mute = bench.make("mute.mp4", &[&pictures[..], &coding].concat());
    let heard = bench.make("heard.wav", &sound);
    let red = ["-f", "lavfi", "-i", "color=red:s=60x100:d=1", "-frames:v", "1"];
    let images = [
        bench.make("red.png", &red),
        bench.make("red.jpg", &red),
        bench.path("none"),
    ];
    std::fs::write(&images[2], "<html>").expect("a writable folder");

    let content = FileContent::open(&content).expect("content");
    let options = splice::Options::default();
    let format = splice::probe(&content, &options).expect("video").picture;
    let import = |path: &Path| bench.cache.import(path, FetchLimits::default()).expect("a file");
    let condition = |path: &Path, images: &[&Path]| {
        let standing = Standing {
            images: stream::iter(images.iter().map(|image| import(image))),
            name: "Acme",
        };
        let original = import(path);
        let conditioned = bench
            .conditioner
            .condition_for(&bench.cache, &original, (MONO, format), standing);
        bench.runtime.block_on(conditioned)
    };

    let (silence, picture) = condition(&mute, &[]).expect("a video ad without sound");
    assert_eq!(
        (silence.samples, picture.expect("pictures").count()),
        (88_200, 50)
    );
    assert!(samples_of(&silence).iter().all(|sample| *sample == 0.0));
    let error = condition(&unknown, &[]).expect_err("sound that cannot be decoded");
    assert!(matches!(error, ConditionError::Unsupported { .. }), "{error}");

    let [png, jpeg, none] = &images;
    let shown: [(&[&Path], bool); 4] = [
        (&[png], true),
        (&[jpeg], true),
        (&[none], false),
        // One that cannot be decoded makes room for the next.
        (&[none, png], true),
    ];
    for (images, is_shown) in shown {
        let (creative, picture) = condition(&heard, images).expect("an ad that is only heard");
        let ad = splice::Ad {
            id: "ad".into(),
            pcm: creative.pcm(1.0),
            picture,
        };
        let breaks = [splice::Break {
            at: splice::At::Start,
            replace: Duration::ZERO,
            ads: vec![ad],
        }];
        let out = bench.path("out.mp4");
        let mut file = std::fs::File::create(&out).expect("a writable folder");
        splice::splice(&content, &breaks, &options, &mut file).expect("spliced");
        // The middle of the picture, and its left edge: the image keeps its shape.
        for (crop, red) in [("crop=8:8:156:86", is_shown), ("crop=8:8:20:86", false)] {
            let filter = format!("{crop},scale=1:1,format=rgb24");
            let raw = ["-vf", &filter, "-frames:v", "1", "-f", "rawvideo"];
            let pixel = bench.path("pixel");
            ffmpeg(&[&["-ss", "1", "-i", text(&out)][..], &raw].concat(), &pixel);
            let pixel = std::fs::read(&pixel).expect("a pixel");
            let is_red = pixel[0] > 150 && pixel[1] < 60 && pixel[2] < 60;
            assert_eq!(is_red, red, "{images:?} {crop}: {pixel:?}");
        }
    }
}

/// When pictures flash, and when sound begins after silence, in seconds.
fn flashes_and_beeps(bench: &Bench, file: &Path) -> (Vec<f64>, Vec<f64>) {
    let (told, heard) = (bench.path("flashes"), bench.path("beeps.f32"));
    let bright = "signalstats,metadata=select:key=lavfi.signalstats.YAVG:value=200:function=greater";
    let filter = format!("{bright},metadata=print:file={}", text(&told));
    let seen = ["-copyts", "-i", text(file), "-an", "-vf", &filter, "-f", "null"];
    ffmpeg(&seen, Path::new("-"));
    let told = std::fs::read_to_string(&told).expect("what the filter wrote");
    let times = told.lines().filter_map(|line| line.split("pts_time:").nth(1));
    let flashes = times.map(|time| time.trim().parse().expect("a time")).collect();
    let raw = ["-i", text(file), "-vn", "-ac", "1", "-ar", "48000", "-f", "f32le"];
    ffmpeg(&raw, &heard);
    let bytes = std::fs::read(&heard).expect("what ffmpeg heard");
    let samples: Vec<f32> = bytes
        .as_chunks()
        .0
        .iter()
        .copied()
        .map(f32::from_le_bytes)
        .collect();
    let loud = |i: usize| samples[i].abs() > 0.1;
    let begins = (0..samples.len()).filter(|i| loud(*i) && !(i.saturating_sub(4_800)..*i).any(loud));
    (flashes, begins.map(|i| i as f64 / 48_000.0).collect())
}

/// A creative whose sound or pictures begin later is heard and seen as its file says, from what begins first on.
fn sound_and_pictures_begin_as_far_apart_as_they_did() {
    let bench = Bench::new();
    let dark = ["-f", "lavfi", "-i", "color=black:d=2:s=160x90:r=25"];
    let silent = ["-f", "lavfi", "-i", "anullsrc=r=48000:cl=mono", "-shortest"];
    let h264 = [
        "-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2", "-c:a", "aac",
    ];
    let content = bench.make("content.mp4", &[&dark[..], &silent, &h264].concat());
    let content = FileContent::open(&content).expect("content");
    let options = splice::Options::default();
    let format = splice::probe(&content, &options).expect("video").picture;
    let profile = Profile {
        sample_rate: 48_000,
        channels: 1,
    };

    let flashing = "color=black:d=3:s=160x90:r=25,drawbox=color=white:t=fill:enable='lt(mod(t+0.5,1),0.04)'";
    let beeping = "aevalsrc='0.5*sin(6283*t)*lt(mod(t+0.5,1),0.04)':s=48000:d=3";
    let (flashing, beeping) = (["-f", "lavfi", "-i", flashing], ["-f", "lavfi", "-i", beeping]);
    let with = |sound| [&h264[..6], &["-c:a", sound]].concat();
    // Whether it is told exactly how both stand to each other.
    let codings = [
        ("mp4", true, with("aac")),
        ("mp3.mp4", false, with("libmp3lame")),
        ("mkv", true, with("pcm_s16le")),
        ("ts", false, with("mp2")),
        (
            "webm",
            false,
            vec!["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"],
        ),
    ];
    for (ending, is_exact, coding) in codings {
        for (later, seconds) in [("sound", 0.0), ("sound", 0.476), ("pictures", 0.476)] {
            let shift = ["-itsoffset", &seconds.to_string()];
            let (before, between): (&[&str], &[&str]) = match later {
                "sound" => (&[], &shift),
                _ => (&shift, &[]),
            };
            let mapped = ["-map", "0:v", "-map", "1:a"];
            let made = [before, &flashing, between, &beeping, &mapped, &coding[..]].concat();
            let creative = bench.make(&format!("{later}-{seconds}.{ending}"), &made);
            let original = bench
                .cache
                .import(&creative, FetchLimits::default())
                .expect("a file");
            let standing = Standing {
                images: stream::empty(),
                name: "Acme",
            };
            let conditioned =
                bench
                    .conditioner
                    .condition_for(&bench.cache, &original, (profile, format), standing);
            let (creative, picture) = bench.runtime.block_on(conditioned).expect("conditioned");
            let breaks = [splice::Break {
                at: splice::At::Start,
                replace: Duration::ZERO,
                ads: vec![splice::Ad {
                    id: "ad".into(),
                    pcm: creative.pcm(1.0),
                    picture,
                }],
            }];
            let out = bench.path("out.mp4");
            let mut file = std::fs::File::create(&out).expect("a writable folder");
            splice::splice(&content, &breaks, &options, &mut file).expect("spliced");
            let (flashes, beeps) = flashes_and_beeps(&bench, &out);
            println!("  {ending}, {later} {seconds} s later: {flashes:?} {beeps:?}");
            assert_eq!((flashes.len(), beeps.len()), (3, 3), "{ending}");
            // It flashes in the first picture after a beep begins.
            let apart = if later == "sound" { seconds } else { -seconds } - 0.02;
            for i in 0..3 {
                // Pictures stand in steps of 40 ms from what begins first on; where priming is not told, that is sound.
                let most = if is_exact && later == "sound" {
                    0.001
                } else {
                    0.021
                };
                let now = beeps[i] - flashes[i];
                assert!((now - apart).abs() < most, "{ending}: {now} s apart, not {apart}");
            }
            let begins = flashes[0].min(beeps[0]);
            assert!((0.46..0.53).contains(&begins), "{ending}: it begins at {begins}");
        }
    }
}

fn where_an_edit_list_pauses_there_is_silence() {
    const SECOND: usize = 44_100;
    let bench = Bench::new();
    let tone = "aevalsrc='0.3*sin(2000*t)+0.2*sin(9000*t*t)':s=44100:d=3";
    let made = bench.make(
        "tone.m4a",
        &["-f", "lavfi", "-i", tone, "-c:a", "aac", "-ac", "1"],
    );
    let made = std::fs::read(made).expect("a readable file");
    // After 1,024 samples of priming; milliseconds of what is heard, or of nothing.
    let heard = |name: &str, edits: &[(u32, i32)]| {
        let path = bench.path(name);
        std::fs::write(&path, edits::with_edits(made.clone(), edits)).expect("a writable folder");
        let creative = bench.condition(&path, MONO).expect(name);
        creative.pcm(1.0).samples().expect("samples").into_owned()
    };
    let plain = heard("plain.m4a", &[(2_000, 1_024)]);
    assert_eq!(plain.len(), 2 * SECOND);
    let paused = heard(
        "paused.m4a",
        &[
            (1_000, 1_024),
            (500, -1),
            (250, 1_024 + 44_100),
            (100, -1),
            (750, 1_024 + 55_125),
        ],
    );
    let expected = [
        &plain[..SECOND],
        &vec![0.0; SECOND / 2],
        &plain[SECOND..SECOND + SECOND / 4],
        &vec![0.0; SECOND / 10],
        &plain[SECOND + SECOND / 4..],
    ]
    .concat();
    assert_eq!(paused.len(), expected.len());
    let other = (0..expected.len()).find(|at| (paused[*at] - expected[*at]).abs() > 1e-6);
    assert_eq!(other, None);
}

fn wav_header() -> Vec<u8> {
    let mut header = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0".to_vec();
    header.extend(44_100_u32.to_le_bytes());
    header.extend(176_400_u32.to_le_bytes());
    header.extend(b"\x04\0\x10\0data\0\0\0\0");
    header
}

fn a_truncated_file_gives_what_is_there() {
    let bench = Bench::new();
    let cases = [
        ("t.mp3", ["-b:a", "128k"]),
        ("t.m4a", ["-b:a", "128k"]),
        ("t.ogg", ["-c:a", "libvorbis"]),
    ];
    for (name, options) in cases {
        let input = [&["-f", "lavfi", "-i", BURSTS][..], &options[..]].concat();
        let path = bench.make(name, &input);
        let bytes = std::fs::read(&path).expect("a readable file");
        for part in [10, 50, 90] {
            let began = std::time::Instant::now();
            let cut = bench.path(&format!("{part}-{name}"));
            std::fs::write(&cut, &bytes[..bytes.len() * part / 100]).expect("a writable folder");
            match bench.condition(&cut, STEREO) {
                Ok(creative) => {
                    println!("  {part} % of {name}: {} samples", creative.samples);
                    assert!(
                        creative.samples <= 90_112,
                        "{part} % of {name}: {}",
                        creative.samples
                    );
                }
                Err(error) => {
                    println!("  {part} % of {name}: {error}");
                    assert_eq!(error.vast_code(), 405, "{part} % of {name}: {error}");
                    let stuck = matches!(error, ConditionError::TimedOut { .. });
                    assert!(!stuck, "{part} % of {name} took {:?}", began.elapsed());
                }
            }
        }
    }
}

fn a_bomb_is_cut_off() {
    let bench = Bench::with_limits(Limits {
        duration: Duration::from_secs(60),
        ..Limits::default()
    });
    // Three hours of silence in a few hundred kilobytes.
    let silence = ["-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "10800"];
    let bomb = bench.make("bomb.flac", &silence);
    let error = bench.condition(&bomb, STEREO).expect_err("three hours");
    assert!(matches!(error, ConditionError::TooLong { .. }), "{error}");
    assert_eq!(error.vast_code(), 405);
    assert_eq!(parts(bench.cache.dir()), 0);
}

fn limits_stop_the_child() {
    let usual = Limits::default();
    let cases = [
        (
            "wall",
            Limits {
                wall: Duration::from_millis(5),
                ..usual
            },
        ),
        (
            "memory",
            Limits {
                memory: 1 << 20,
                ..usual
            },
        ),
    ];
    for (name, limits) in cases {
        let bench = Bench::with_limits(limits);
        let ad = bench.make("ad.mp3", &["-f", "lavfi", "-i", BURSTS, "-b:a", "128k"]);
        let began = std::time::Instant::now();
        let error = bench.condition(&ad, STEREO).expect_err(name);
        println!("  {name}: {error}");
        let named = match name {
            "wall" => matches!(error, ConditionError::TimedOut { .. }),
            // Which part finds no memory first decides how it ends.
            _ => !matches!(
                error,
                ConditionError::TimedOut { .. } | ConditionError::NoAudio { .. }
            ),
        };
        assert!(named, "{name}: {error:?}");
        assert!(began.elapsed() < usual.wall, "{name} took {:?}", began.elapsed());
        assert_eq!(parts(bench.cache.dir()), 0, "{name} left something behind");
    }
    // Ten minutes of eight channels at 192 kHz take several seconds of processor time, though the file is small.
    let bench = Bench::with_limits(Limits {
        cpu: Duration::from_secs(1),
        ..usual
    });
    let silence = ["-f", "lavfi", "-i", "anullsrc=r=192000:cl=7.1", "-t", "590"];
    let long = bench.make("long.flac", &silence);
    let error = bench.condition(&long, STEREO).expect_err("too much work");
    println!("  processor: {error}");
    assert!(matches!(error, ConditionError::Crashed { .. }), "{error}");
}

fn the_second_time_comes_from_the_cache() {
    let bench = Bench::new();
    let ad = bench.make("ad.mp3", &["-f", "lavfi", "-i", BURSTS, "-b:a", "128k"]);
    let first = bench.condition(&ad, STEREO).expect("an ad");
    let original = bench
        .cache
        .import(&ad, FetchLimits::default())
        .expect("a readable file");
    // A program that does not exist cannot decode: only the cache can answer.
    let nobody = Conditioner::new("/nonexistent/program".into());
    let second = bench
        .runtime
        .block_on(nobody.condition(&bench.cache, &original, STEREO))
        .expect("from the cache");
    assert_eq!(samples_of(&first), samples_of(&second));
    assert_eq!((first.samples, first.loudness), (second.samples, second.loudness));
    let other = bench
        .runtime
        .block_on(nobody.condition(&bench.cache, &original, MONO));
    assert!(
        matches!(other, Err(ConditionError::Io { .. })),
        "another profile is another job"
    );
}

fn giving_up_leaves_nothing_behind() {
    let bench = Bench::new();
    let ad = bench.make("ad.mp3", &["-f", "lavfi", "-i", BURSTS, "-b:a", "128k"]);
    let original = bench
        .cache
        .import(&ad, FetchLimits::default())
        .expect("a readable file");
    bench.runtime.block_on(async {
        let job = bench.conditioner.condition(&bench.cache, &original, STEREO);
        tokio::select! {
            biased;
            _ = job => panic!("no child is done before it was waited for"),
            () = std::future::ready(()) => {}
        }
    });
    assert_eq!(parts(bench.cache.dir()), 0);
}

/// Files that are being written.
fn parts(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir).expect("the cache's folder");
    names
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("part-"))
        .count()
}
