//! `grove splice` with video: local files, no network.

mod common;

use std::path::{Path, PathBuf};

use common::grove;
use common::tools::printed;

/// What ffmpeg or ffprobe prints, as text.
fn tool(program: &str, args: &[&str]) -> String {
    String::from_utf8(printed(program, args)).expect("text")
}

/// The hash of each packet of pictures.
fn pictures(path: &Path) -> Vec<String> {
    let path = path.to_str().expect("a name");
    let said = tool(
        "ffmpeg",
        &["-i", path, "-map", "0:v", "-c", "copy", "-f", "framemd5", "-"],
    );
    let lines = said.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit(',').next().unwrap_or_default().trim().to_owned())
        .collect()
}

/// A video file of test pictures and sound.
fn made(folder: &Path, name: &str, picture: &str, sound: &str, coding: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound];
    let coded = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-c:a", "aac"];
    tool(
        "ffmpeg",
        &[&inputs, &coded[..], coding, &[path.to_str().expect("a name")]].concat(),
    );
    path
}

/// Pictures that take more bits than there are, so that the coder has to choose.
#[test]
fn a_video_ad_has_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let coding = ["-preset", "ultrafast"];
    for (name, seconds) in [("content.mp4", 4), ("ad.mp4", 2)] {
        let picture = format!("testsrc2=s=640x360:r=25:d={seconds},noise=alls=20:allf=t");
        let sound = format!("sine=f=300:r=48000:d={seconds}");
        made(folder.path(), name, &picture, &sound, &coding);
    }
    let spliced = || {
        grove(
            folder.path(),
            ["splice", "content.mp4", "--ad", "end=ad.mp4", "-o", "out.mp4"],
        )
        .run()
        .expect(0);
        std::fs::read(folder.path().join("out.mp4")).expect("a file")
    };
    let first = spliced();
    for _ in 0..2 {
        assert!(spliced() == first, "the bytes are others");
    }
}

#[test]
fn a_video_ad_goes_between_the_pictures_of_video_which_stay_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = |name, picture, sound, coding| made(folder.path(), name, picture, sound, coding);
    let group = ["-bf", "3", "-g", "50", "-keyint_min", "50", "-sc_threshold", "0"];
    let content = made(
        "content.mp4",
        "testsrc2=s=320x180:r=25:d=8",
        "sine=f=300:r=48000:d=8",
        &group,
    );
    // Another shape, rate and sound: it is fitted.
    made(
        "ad.mp4",
        "testsrc=s=240x240:r=30:d=3",
        "sine=f=800:r=44100:d=3",
        &[],
    );
    let finished = grove(
        folder.path(),
        [
            "splice",
            "content.mp4",
            "--ad",
            "4=ad.mp4",
            "-o",
            "out.mp4",
            "--json",
        ],
    )
    .run()
    .expect(0);
    let ad = finished.event("complete")["ads"][0].clone();
    assert!(
        (ad["start"].as_f64().expect("a start") - 4.0).abs() < 0.001,
        "{ad}"
    );

    let out = folder.path().join("out.mp4");
    let (before, after) = (pictures(&content), pictures(&out));
    let count = after.len() - before.len();
    assert_eq!(
        (&after[..100], &after[100 + count..]),
        (&before[..100], &before[100..])
    );
    assert_eq!(count, 75, "three seconds at the content's 25 pictures a second");
    let path = out.to_str().expect("a name");
    tool("ffmpeg", &["-xerror", "-i", path, "-f", "null", "-"]);
    // The ad is square: bars stand beside it.
    let pixels = tool(
        "ffmpeg",
        &[
            "-ss",
            "5",
            "-i",
            path,
            "-frames:v",
            "1",
            "-vf",
            "crop=40:180:0:0,signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=-",
            "-f",
            "null",
            "-",
        ],
    );
    let bar: f64 = pixels
        .rsplit('=')
        .next()
        .and_then(|value| value.trim().parse().ok())
        .expect("a brightness");
    assert!(bar < 20.0, "the bar has a brightness of {bar}");

    // Between key frames one group is coded again. Motion JPEG has its colours beside other pixels.
    let jpeg = [
        content.to_str().expect("a name"),
        "-c:v",
        "mjpeg",
        "-c:a",
        "pcm_s16le",
        "-t",
        "2",
    ];
    let avi = folder.path().join("ad.avi");
    tool(
        "ffmpeg",
        &[&["-i"], &jpeg[..], &[avi.to_str().expect("a name")]].concat(),
    );
    grove(
        folder.path(),
        [
            "splice",
            "content.mp4",
            "--ad",
            "5=ad.avi",
            "--ad",
            "7=ad.mp4",
            "-o",
            "jpeg.mp4",
        ],
    )
    .run()
    .expect(0);
    let jpeg = folder.path().join("jpeg.mp4");
    tool(
        "ffmpeg",
        &["-xerror", "-i", jpeg.to_str().expect("a name"), "-f", "null", "-"],
    );

    // An ad that is only heard gets a card.
    tool(
        "ffmpeg",
        &[
            "-f",
            "lavfi",
            "-i",
            "sine=f=500:d=2",
            folder.path().join("Acme.wav").to_str().expect("a name"),
        ],
    );
    let finished = grove(
        folder.path(),
        [
            "splice",
            "content.mp4",
            "--ad",
            "5=Acme.wav",
            "-o",
            "card.mp4",
            "--json",
        ],
    )
    .run()
    .expect(0);
    let ad = finished.event("complete")["ads"][0].clone();
    assert!((ad["cue"].as_f64().expect("a cue") - 5.0).abs() < 0.001, "{ad}");
    let card = pictures(&folder.path().join("card.mp4"));
    assert_eq!(
        (&card[..100], &card[card.len() - 50..]),
        (&before[..100], &before[150..])
    );
    tool(
        "ffmpeg",
        &[
            "-xerror",
            "-i",
            folder.path().join("card.mp4").to_str().expect("a name"),
            "-f",
            "null",
            "-",
        ],
    );
}

#[test]
fn a_video_ad_goes_into_webm_and_so_do_sound_and_pictures_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let vp9 = [
        "-c:v",
        "libvpx-vp9",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-g",
        "50",
    ];
    let coding = [&vp9[..], &["-c:a", "libopus"]].concat();
    let content = made(
        path,
        "content.webm",
        "testsrc2=s=160x90:r=25:d=8",
        "sine=f=300:r=48000:d=8",
        &coding,
    );
    made(
        path,
        "ad.mp4",
        "testsrc=s=120x120:r=30:d=2",
        "sine=f=800:r=44100:d=2",
        &[],
    );
    let alone = |name: &str, input: &str| {
        let file = path.join(name);
        tool(
            "ffmpeg",
            &["-f", "lavfi", "-i", input, file.to_str().expect("a name")],
        );
    };
    alone("silent.webm", "testsrc2=s=160x90:r=25:d=1");
    alone("Acme.wav", "sine=f=500:d=2");
    let ads = ["--ad", "2=ad.mp4", "--ad", "4=silent.webm", "--ad", "6=Acme.wav"];
    let args = [
        &["splice", "content.webm"][..],
        &ads,
        &["-o", "out.webm", "--json"],
    ]
    .concat();
    let finished = grove(path, args).run().expect(0);
    let ads = finished.event("complete")["ads"].clone();
    assert_eq!(ads.as_array().map(Vec::len), Some(3), "{ads}");

    let out = path.join("out.webm");
    let (before, after) = (pictures(&content), pictures(&out));
    // Two seconds and one at the content's rate, and a card that changes once a second.
    let (first, second, card) = (50 + 50, 50 + 25, 2);
    assert_eq!(after.len(), before.len() + first - 50 + second - 50 + card);
    assert_eq!(&after[..50], &before[..50]);
    assert_eq!(&after[first..first + 50], &before[50..100]);
    assert_eq!(&after[first + second..first + second + 50], &before[100..150]);
    assert_eq!(&after[first + second + 50 + card..], &before[150..]);
    let out = out.to_str().expect("a name");
    tool("ffmpeg", &["-xerror", "-i", out, "-f", "null", "-"]);
}

#[test]
fn chapters_of_mp4_and_matroska_are_marks() {
    let folder = tempfile::tempdir().expect("a folder");
    let chapters = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1500\ntitle=Intro\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=1500\nEND=3000\ntitle=Ad break\n";
    let list = folder.path().join("chapters.txt");
    std::fs::write(&list, chapters).expect("a list");
    let list = list.to_str().expect("a name");
    // MP4 has Nero's list, QuickTime a track of titles.
    let in_mp4 = ["content.m4a", "content.mov"].map(|name| (name, "aac"));
    let in_matroska = ["content.webm", "content.mka"].map(|name| (name, "libopus"));
    for (name, coding) in in_mp4.into_iter().chain(in_matroska) {
        let path = folder.path().join(name);
        tool(
            "ffmpeg",
            &[
                "-f",
                "lavfi",
                "-i",
                "sine=d=3",
                "-i",
                list,
                "-map_chapters",
                "1",
                "-c:a",
                coding,
                path.to_str().expect("a name"),
            ],
        );
        let listed = grove(folder.path(), ["cues", name, "--json"]).run().expect(0);
        let value: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("one JSON object");
        assert_eq!(value["cues"], 1, "{value}");
        assert_eq!(
            (&value["marks"][0]["title"], &value["marks"][1]["seconds"]),
            (&"Intro".into(), &1.5.into()),
            "{value}"
        );
    }
}

/// Whatever keeps the child from working in silence shows only after some seconds: it may say a little, not much.
#[test]
fn a_video_ad_may_be_long() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    made(
        path,
        "content.mp4",
        "testsrc2=s=160x90:r=25:d=4",
        "sine=f=300:d=4",
        &[],
    );
    made(
        path,
        "ad.mp4",
        "testsrc=s=160x90:r=30:d=30",
        "sine=f=800:d=30",
        &[],
    );
    let args = [
        "splice",
        "content.mp4",
        "--ad",
        "2=ad.mp4",
        "-o",
        "out.mp4",
        "--json",
    ];
    let finished = grove(path, args).run().expect(0);
    let ad = &finished.event("complete")["ads"][0];
    let duration = ad["duration"].as_f64().expect("a duration");
    assert!((duration - 30.0).abs() < 0.1, "{ad}");
}

#[test]
fn what_cannot_be_spliced_leaves_the_file_that_was_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let whole = made(
        path,
        "whole.mp4",
        "testsrc2=s=160x90:r=25:d=4",
        "sine=f=300:d=4",
        &[],
    );
    // Its sound begins late: nothing can be put before both.
    let (whole, late) = (whole.to_str().expect("a name"), path.join("content.mp4"));
    let inputs = ["-i", whole, "-itsoffset", "1", "-i", whole];
    let kept = [
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-c",
        "copy",
        late.to_str().expect("a name"),
    ];
    tool("ffmpeg", &[&inputs[..], &kept[..]].concat());
    std::fs::write(path.join("out.mp4"), "before").expect("a file");
    let args = ["splice", "content.mp4", "--ad", "0=whole.mp4", "-o", "out.mp4"];
    let published = [
        "publish",
        "content.mp4",
        "--origin",
        "http://127.0.0.1:9/",
        "--out",
        "site",
        "--cue",
    ];
    let publish = |cue: &str| grove(path, published).arg(cue).run();
    for refused in [grove(path, args).run(), publish("start"), publish("0")] {
        refused
            .expect(2)
            .says("no ads can be put into content.mp4 at 0:00.000: the content's ")
            .says("sound begins more than half a second after its pictures");
    }
    assert_eq!(std::fs::read(path.join("out.mp4")).expect("it"), b"before");
    assert!(!path.join("site").exists());
    publish("2").expect(0);
}

/// The times that a filter of ffmpeg prints behind these words.
fn told(path: &Path, filter: [&str; 2], words: &str) -> Vec<f64> {
    let path = path.to_str().expect("a name");
    let input = ["-hide_banner", "-nostdin", "-i", path];
    let ended = std::process::Command::new("ffmpeg")
        .args(input.iter().chain(&filter).chain(&["-f", "null", "-"]))
        .output()
        .expect("ffmpeg runs");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    let times = said.split(words).skip(1).map(|rest| {
        let number = rest.split(|c: char| c != '.' && !c.is_ascii_digit()).next();
        number.and_then(|number| number.parse().ok()).expect("a time")
    });
    times.collect()
}

/// What follows pictures that outlast the sound is heard when it is seen.
#[test]
fn an_ad_at_the_end_waits_for_the_last_picture() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let flashing = "color=black:s=160x90:r=25:d=2,drawbox=color=white:t=fill:enable='gte(t,1)'";
    let beeping = "aevalsrc='0.5*sin(6283*t)*gte(t,1)':s=48000:d=2";
    made(path, "ad.mp4", flashing, beeping, &[]);
    for silent in ["2.5", "2.95"] {
        let sound = format!("aevalsrc=0:s=48000:d={silent}");
        let dark = "color=black:s=160x90:r=25:d=3";
        made(path, &format!("{silent}.mp4"), dark, &sound, &[]);
        let content = format!("{silent}.mp4");
        let words = ["splice", &content, "--ad", "end=ad.mp4", "-o", "out.mp4"];
        grove(path, words).run().expect(0);
        let out = path.join("out.mp4");
        let flashes = told(&out, ["-vf", "blackdetect=d=0.5:pix_th=0.3"], "black_end:");
        let beeps = told(&out, ["-af", "silencedetect=n=-30dB:d=0.5"], "silence_end: ");
        let is_there = |times: &[f64]| times.len() == 1 && (times[0] - 4.0).abs() < 0.03;
        assert!(is_there(&flashes), "{silent}: {flashes:?}");
        assert!(is_there(&beeps), "{silent}: {beeps:?}");
    }
}
