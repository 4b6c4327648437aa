//! How loud ads are in spliced files of every format, measured by ffmpeg where they are in the result.

mod common;

use std::path::Path;
use std::process::Command;

use common::gateway::Scene;
use common::tools::{ask, generate, loudness, true_peak};
use common::{fixtures, grove};

/// Pink noise for 20 s, whose loudness is the same everywhere, and pictures where the format has any.
fn content(folder: &Path, name: &str, volume_db: i32, coding: &str) {
    let noise = format!(
        "anoisesrc=c=pink:a=0.5:seed=3:r=48000:d=20,volume={volume_db}dB,aformat=channel_layouts=stereo"
    );
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-f", "lavfi", "-i", &noise]);
    if coding.contains("-c:v") {
        command.args(["-f", "lavfi", "-i", "testsrc2=s=128x72:r=10:d=20", "-g", "10"]);
    }
    let status = command
        .args(coding.split(' '))
        .arg(name)
        .current_dir(folder)
        .status()
        .expect("ffmpeg runs (`make setup` installs it)");
    assert!(status.success(), "{name}");
}

/// Two plucked strings (after Karplus and Strong) for five seconds, in both channels: of all sounds that were tried the one to whose peaks AAC adds most.
fn pluck(path: &Path) {
    let rate = 44_100_u32;
    let mut state = 9_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut strings = [82.4, 164.8]
        .map(|hertz| -> Vec<f32> { (0..(rate as f32 / hertz) as usize).map(|_| noise()).collect() });
    let samples = (0..rate as usize * 5).flat_map(|i| {
        let value: f32 = strings
            .iter_mut()
            .map(|string| {
                let (at, next) = (i % string.len(), (i + 1) % string.len());
                let value = string[at];
                string[at] = 0.498 * (value + string[next]);
                value
            })
            .sum();
        [(value * 10_000.0) as i16; 2]
    });
    let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + data.len() as u32).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x02\0");
    wav.extend(rate.to_le_bytes());
    wav.extend((rate * 4).to_le_bytes());
    wav.extend(b"\x04\0\x10\0data");
    wav.extend((data.len() as u32).to_le_bytes());
    wav.extend(data);
    std::fs::write(path, wav).expect("space on the disk");
}

/// Ads are within half a LU of the content around them where a gain and 6 dB of limiting reach that, and say by how much they fall short where not; their true peaks stay below -1 dBTP.
fn ads_are_as_loud_as_the_content_around_them(formats: &[(&str, &str)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let string = folder.path().join("string.wav");
    pluck(&string);
    for (format, coding) in formats {
        // So loud that peaks of ads come near to the ceiling.
        let volume = 5;
        let (from, to) = (format!("content.{format}"), format!("out.{format}"));
        let _ = std::fs::remove_file(folder.path().join(&from));
        content(folder.path(), &from, volume, coding);
        let reference = loudness(&folder.path().join(&from), 0.0, 20.0).clamp(-24.0, -14.0);
        let finished = grove(folder.path(), ["splice", &from, "--json", "-o", &to])
            .arg("--ad")
            .arg(format!("5={}", fixtures().join("kettle.mp3").display()))
            .arg("--ad")
            .arg(format!("10={}", string.display()))
            .arg("--ad")
            .arg(format!("15={}", fixtures().join("boots.wav").display()))
            .run()
            .expect(0);
        // ffmpeg counts the time of chained Vorbis anew with each stream, but not that of what it decoded.
        let out = folder.path().join("decoded.wav");
        let (to, decoded) = (folder.path().join(&to), out.to_str().expect("a path"));
        let args = [
            "-v",
            "error",
            "-y",
            "-i",
            to.to_str().expect("a path"),
            "-map",
            "0:a",
            "-c:a",
            "pcm_f32le",
            decoded,
        ];
        let status = Command::new("ffmpeg").args(args).status().expect("ffmpeg runs");
        assert!(status.success(), "{format}");
        let complete = finished.event("complete");
        let ads = complete["ads"].as_array().expect("ads");
        assert_eq!(ads.len(), 3, "{complete}");
        for ad in ads {
            let number = |name: &str| ad[name].as_f64().expect("a number");
            let (start, duration) = (number("start"), number("duration"));
            let (is, peak) = (loudness(&out, start, duration), true_peak(&out, start, duration));
            let due = reference - number("shortfall_lu");
            println!(
                "{format} {volume} dB: {is} LUFS, {due} due, {peak} dBTP, limited by {}",
                ad["limited_db"]
            );
            assert!((is - due).abs() <= 0.5, "{format}: {is} LUFS, {due} due: {ad}");
            assert!(peak <= -1.0, "{format}: a true peak of {peak} dBTP: {ad}");
        }
    }
}

#[test]
fn in_mp3_and_aac() {
    ads_are_as_loud_as_the_content_around_them(&[
        ("mp3", "-c:a libmp3lame -b:a 128k"),
        ("aac", "-c:a aac -b:a 128k"),
        ("m4a", "-c:a aac -b:a 128k"),
    ]);
}

#[test]
fn in_opus_and_vorbis() {
    ads_are_as_loud_as_the_content_around_them(&[
        ("opus", "-c:a libopus -b:a 96k"),
        ("ogg", "-c:a libvorbis -q:a 4"),
    ]);
}

#[test]
fn in_flac_and_wav() {
    ads_are_as_loud_as_the_content_around_them(&[("flac", "-c:a flac"), ("wav", "-c:a pcm_s16le")]);
}

#[test]
fn in_video() {
    ads_are_as_loud_as_the_content_around_them(&[
        ("mp4", "-c:v libx264 -c:a aac -b:a 128k"),
        (
            "webm",
            "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus",
        ),
    ]);
}

/// What a publisher asks for counts with every viewer: a target for all ads, and a read that stays as it was mixed.
#[test]
fn as_the_publisher_says() {
    let scene = Scene::new();
    for name in ["kettle.mp3", "boots.wav"] {
        std::fs::copy(fixtures().join(name), scene.web().join(name)).expect("space on the disk");
    }
    scene.sound("e.mp3", 20, "-c:a libmp3lame -b:a 128k");
    let target = -22.0;
    let ads = ["5=web/kettle.mp3", "15,loudness=as-is=web/boots.wav"];
    let args = ["--loudness", "-22", "--ad", ads[0], "--ad", ads[1]];
    scene.publish("e.mp3", &args);
    let folder = scene.folder.path();
    let inspect = || {
        let url = scene.server.url("e.mp3");
        grove(folder, ["inspect", &url, "--allow-private", "--data", "looked"])
    };
    let seen = inspect().arg("--json").run().expect(0).event("inspected");
    let cues = seen["cue_sheet"]["cues"].as_array().expect("cues");
    let asked: Vec<_> = cues.iter().map(|cue| &cue["loudness"]).collect();
    assert_eq!(asked, ["-22.00", "as-is"]);
    let text = String::from_utf8(inspect().run().expect(0).stdout).expect("text");
    for said in ["ads at -22.00 LUFS", "ads as loud as they are"] {
        assert!(text.contains(said), "{text}");
    }
    let finished = grove(folder, ["get", &scene.server.url("e.mp3"), "--allow-private"])
        .args(["--json", "--data", "viewer", "--freeze", "60", "-o", "out.mp3"])
        .run()
        .expect(0);
    let complete = finished.event("complete");
    let spliced = complete["ads"].as_array().expect("ads");
    assert_eq!(spliced.len(), 2, "{complete}");
    for (ad, asked) in spliced.iter().zip([Some(target), None]) {
        let number = |name: &str| ad[name].as_f64().expect("a number");
        let duration = number("duration");
        let due = asked.unwrap_or_else(|| loudness(&fixtures().join("boots.wav"), 0.0, duration));
        assert!(
            (due - target).abs() > 1.0 || asked.is_some(),
            "{due} LUFS tells nothing"
        );
        let is = loudness(&folder.join("out.mp3"), number("start"), duration);
        println!("{is} LUFS, {due} due");
        assert!((is - due).abs() <= 0.5, "{is} LUFS, {due} due: {ad}");
    }
}

/// Bursts of white noise whose samples are distributed after Laplace, 48 kHz.
const BURSTS: &str =
    "aevalsrc=0.15*lt(mod(t\\,0.4)\\,0.2)*sgn(random(1)-0.5)*log(1/(random(2)+0.0001)):d=8:s=48000";
/// A saw whose loudness goes up and down.
const SAW: &str = "aevalsrc=0.9*(2*mod(110*t\\,1)-1)*(0.6+0.4*sin(4*PI*t)):d=8:s=48000";
/// White noise that was clipped.
const HISS: &str =
    "anoisesrc=c=white:d=8:a=1:seed=4:r=48000,volume=18dB,asoftclip=type=hard:threshold=0.7,aresample=22050";
/// A square wave.
const SQUARE: &str = "aevalsrc=0.9*sgn(sin(440*2*PI*t)):d=8:s=48000";
/// Brown noise, of which most was clipped.
const CLIPPED: &str = "anoisesrc=c=brown:d=8:a=1:seed=4:r=48000,volume=18dB,asoftclip=type=hard:threshold=0.7,volume=0.97,aformat=channel_layouts=stereo";

/// To sounds like these coding adds several dB: they are coded again until it adds no more than may be.
fn no_peak_is_above_the_limit(content: &str, inputs: &[&str], coding: &str, ads: &[(&str, f64)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let inputs: Vec<String> = inputs.iter().map(|input| (*input).to_owned()).collect();
    generate(&folder.path().join(content), &inputs, coding);
    for (sound, target) in ads {
        let ad = folder.path().join("ad.wav");
        let _ = std::fs::remove_file(&ad);
        generate(&ad, &[(*sound).to_owned()], "-c:a pcm_s16le");
        let splice = |to: &str| {
            let ad = format!("10,loudness={target}=ad.wav");
            let command = grove(folder.path(), ["splice", content, "--ad", &ad, "-o", to]);
            let json = (to != "-").then_some("--json");
            command.args(json).run().expect(0)
        };
        let to = format!("out-{content}");
        let finished = splice(&to);
        let complete = finished.event("complete");
        let ad = &complete["ads"][0];
        let number = |name: &str| ad[name].as_f64().expect("a number");
        let (start, duration) = (number("start") + 0.1, number("duration") - 0.2);
        let out = folder.path().join(&to);
        // Of all of it, since the content is quiet: audio that is cut out begins with a step, which is a peak of its own.
        let (is, peak) = (loudness(&out, start, duration), true_peak(&out, 0.0, 60.0));
        let due = target - number("shortfall_lu");
        println!("{content} at {target}: {is} LUFS, {due} due, {peak} dBTP: {ad}");
        assert!(
            peak <= -1.0,
            "{content}: a true peak of {peak} dBTP at {target}: {ad}"
        );
        assert!((is - due).abs() <= 0.5, "{content}: {is} LUFS, {due} due: {ad}");
        assert!(number("limited_db") <= 6.01, "{content}: {ad}");
        // What goes to stdout is made while it is written.
        let made = std::fs::read(&out).expect("a file");
        assert!(splice("-").stdout == made, "{content}: other bytes on stdout");
    }
}

#[test]
fn what_aac_adds_to_peaks_is_taken_off() {
    let ads = [(SAW, -14.0), (SAW, -12.0), (CLIPPED, -8.0)];
    no_peak_is_above_the_limit("mono.m4a", &["sine=300:d=24"], "-c:a aac -b:a 96k", &ads);
    let ads = [(SAW, -8.0), (SAW, -10.0), (CLIPPED, -8.0)];
    no_peak_is_above_the_limit("stereo.m4a", &["sine=300:d=24"], "-ac 2 -c:a aac -b:a 128k", &ads);
    let inputs = ["sine=300:d=24", "testsrc2=s=128x72:r=10:d=24"];
    let coding = "-c:v libx264 -g 10 -c:a aac -b:a 96k";
    no_peak_is_above_the_limit("mono.mp4", &inputs, coding, &[(SQUARE, -5.0)]);
}

#[test]
fn what_mp3_adds_to_peaks_is_taken_off() {
    let coding = "-ar 22050 -c:a libmp3lame -b:a 64k";
    no_peak_is_above_the_limit("22.mp3", &["sine=300:d=24"], coding, &[(HISS, -5.0)]);
    let coding = "-ar 8000 -c:a libmp3lame -b:a 24k";
    no_peak_is_above_the_limit("8.mp3", &["sine=300:d=24"], coding, &[(BURSTS, -12.0)]);
}

/// An ad that is shorter than what loudness is gated by is as loud as it is throughout.
#[test]
fn what_is_too_short_to_be_gated_is_as_loud_as_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let content = folder.path().join("content.mp3");
    generate(
        &content,
        &["sine=300:d=24".into()],
        "-ac 2 -c:a libmp3lame -b:a 128k",
    );
    let gains = [0.35, 0.05, 0.45].map(|seconds| {
        let ad = folder.path().join("ad.wav");
        let _ = std::fs::remove_file(&ad);
        let tone = format!("aevalsrc=0.99*sin(5600*t):d={seconds}:s=44100,aformat=channel_layouts=stereo");
        generate(&ad, &[tone], "-c:a pcm_s16le");
        let finished = grove(
            folder.path(),
            ["splice", "content.mp3", "--json", "-o", "out.mp3"],
        )
        .args(["--ad", "10,loudness=-20=ad.wav"])
        .run()
        .expect(0);
        let complete = finished.event("complete");
        let ad = &complete["ads"][0];
        let number = |name: &str| ad[name].as_f64().expect("a number");
        assert!(number("shortfall_lu") < 0.01, "{ad}");
        // Without its fades, and so often that there is enough to be gated.
        let (start, duration) = (number("start") + 0.01, number("duration") - 0.02);
        let filter = format!("atrim=start={start}:duration={duration},aloop=loop=60:size=44100");
        let (out, looped) = (folder.path().join("out.mp3"), folder.path().join("looped.wav"));
        let [from, to] = [&out, &looped].map(|path| path.to_str().expect("a path"));
        let args = [
            "-v",
            "error",
            "-y",
            "-i",
            from,
            "-af",
            &filter,
            "-c:a",
            "pcm_f32le",
            to,
        ];
        ask("ffmpeg", "ffmpeg", args);
        let is = loudness(&looped, 0.0, 60.0);
        println!("{seconds} s: {is} LUFS: {ad}");
        assert!((is + 20.0).abs() <= 0.5, "{seconds} s: {is} LUFS: {ad}");
        number("gain_db")
    });
    assert!(
        gains.iter().all(|gain| (gain - gains[2]).abs() < 0.5),
        "{gains:?}"
    );
}
