//! Splices Opus that is coded as speech and judges the results by libopus, as most players decode it.

mod common;

use std::f64::consts::TAU;
use std::path::Path;

use ad_splicer::splice::Break;
use common::{Fixture, ad, at, judge_bridged, pre_skip, worst_db};

const RATE: usize = 48_000;

/// A voice that sings vowels: pulses through three resonances that move, getting louder and softer.
fn voice(seconds: usize) -> Vec<f32> {
    let mut states = [[0.0_f64; 2]; 3];
    let mut phase = 0.0_f64;
    let mut out = Vec::with_capacity(seconds * RATE);
    for i in 0..seconds * RATE {
        let t = i as f64 / RATE as f64;
        phase += (125.0 + 22.0 * (TAU * 0.6 * t).sin()) / RATE as f64;
        let mut value = if phase >= 1.0 { 1.0 } else { 0.0 };
        phase = phase.fract();
        let open = 0.5 + 0.5 * (TAU * 1.7 * t).sin();
        let tones = [300.0 + 500.0 * open, 2_200.0 - 1_000.0 * open, 2_900.0];
        for (state, tone) in states.iter_mut().zip(tones) {
            let radius = (-TAU * 45.0 / RATE as f64).exp();
            let cosine = (TAU * tone / RATE as f64).cos();
            let next = value + 2.0 * radius * cosine * state[0] - radius * radius * state[1];
            *state = [next, state[0]];
            value = next * (1.0 - radius);
        }
        let loud = 0.55 + 0.45 * (TAU * 2.3 * t).sin();
        out.push((value * loud) as f32);
    }
    let peak = out.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    out.iter().map(|sample| sample * 0.6 / peak).collect()
}

/// What libopus decodes; ffmpeg's own decoder is another one.
fn decoded(path: &Path) -> Vec<f32> {
    let path = path.to_str().unwrap();
    let args = ["-v", "error", "-c:a", "libopus", "-i", path, "-f", "f32le", "-"];
    let (bytes, said) = common::run_both("ffmpeg", &args, None);
    assert_eq!(said, "", "ffmpeg decodes {path} without a word");
    let samples = bytes.chunks_exact(4);
    samples
        .map(|sample| f32::from_le_bytes(sample.try_into().unwrap()))
        .collect()
}

/// How far the seams of four breaks are from the original, in dB beside what coding the same second at 256 kbit/s is, and the worst of them in dBFS.
fn judged(name: &str, coding: &str, size: usize, channels: usize) -> (Vec<f64>, f64) {
    let options: Vec<&str> = ["-c:a", "libopus"].into_iter().chain(coding.split(' ')).collect();
    // In stereo it stands on the left.
    let sides = |sample: f32| [sample, 0.5 * sample].into_iter().take(channels);
    let voice: Vec<f32> = voice(24).into_iter().flat_map(sides).collect();
    let fixture = Fixture::of(&format!("content.{name}"), RATE, channels, &voice, &options);
    let original = decoded(&fixture.content);
    let plain = fixture.dir.path().join("plain.opus");
    let pcm: Vec<u8> = original.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let count = channels.to_string();
    let args = [
        "-v", "error", "-f", "f32le", "-ar", "48000", "-ac", &count, "-i", "-",
    ];
    let to = ["-c:a", "libopus", "-b:a", "256k", plain.to_str().unwrap()];
    common::run("ffmpeg", &[&args[..], &to].concat(), Some(&pcm));
    let plain = decoded(&plain);

    // Whole packets of ads, so that content goes on right behind them.
    let samples = RATE.div_ceil(size) * size;
    let cues = [3_217, 8_005, 12_850, 18_431];
    let breaks: Vec<Break> = cues
        .iter()
        .map(|cue| at(*cue, vec![ad(RATE, channels, samples, 300.0)]))
        .collect();
    let (path, report) = fixture.splice(&format!("spliced.{name}"), &breaks);
    if name == "opus" {
        judge_bridged(
            &fixture,
            &path,
            &report,
            &breaks,
            (size, pre_skip(&fixture), 11_520 / size),
        );
    }
    let spliced = decoded(&path);
    let (mut beyond, mut worst) = (Vec::new(), f64::MIN);
    for (i, cue) in cues.into_iter().enumerate() {
        let (cue, near) = (cue as usize * 48, RATE / 5);
        let start = fixture.sample_at(report.ads[i].presentation);
        assert_eq!(start, cue + i * samples);
        let off = |a: &[f32], b: &[f32], at: usize, other: usize, count: usize| {
            let part = |samples: &[f32], at: usize| samples[at * channels..(at + count) * channels].to_vec();
            worst_db(&part(a, at), &part(b, other), channels)
        };
        let entry = off(&original, &spliced, cue - near, start - near, near);
        let exit = off(&original, &spliced, cue, start + samples, near);
        let plain = off(&original, &plain, cue - near, cue - near, 2 * near);
        println!("{coding}, {cue}: {entry:.1} and {exit:.1} dBFS, coded at 256k {plain:.1}");
        beyond.extend([entry - plain, exit - plain]);
        worst = worst.max(entry).max(exit);
    }
    beyond.sort_by(f64::total_cmp);
    (beyond, worst)
}

/// From speech coding to music and back a decoder begins anew, which was up to -20 dBFS off for a tenth of a second. Packets of 60 ms leave less of a choice.
#[test]
fn seams_in_speech_are_about_as_good_as_a_plain_encode() {
    let usual = "-b:a 24k -application voip";
    let long = "-b:a 14k -application voip -frame_duration 60";
    let stereo = "-b:a 24k -application voip -frame_duration 60";
    for (name, coding, (size, channels), median, most) in [
        ("opus", usual, (960, 1), 3.0, -40.0),
        ("opus", long, (2_880, 1), 25.0, -30.0),
        ("opus", stereo, (2_880, 2), 25.0, -30.0),
        ("webm", usual, (960, 1), 3.0, -40.0),
    ] {
        let (beyond, worst) = judged(name, coding, size, channels);
        println!("{name}, {coding}: {beyond:.1?} dB beside 256k, at most {worst:.1} dBFS");
        assert!(beyond[4] < median && worst < most, "{name}, {coding}");
    }
}
