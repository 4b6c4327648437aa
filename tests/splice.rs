//! `grove splice`: local files, no network.

mod common;

use std::path::Path;

use common::tools::{ask, generate, loudness};
use common::{Finished, PATIENCE, cue, episode, fixtures, grove, sha256};

/// GStreamer's plugin registry is made by whoever is first, and its order changes when it is read again: neither may matter.
#[test]
fn creatives_decode_with_a_fresh_plugin_registry_and_with_the_one_it_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let results = ["first.mp3", "second.mp3", "third.mp3"].map(|result| {
        let mut command = grove(folder.path(), ["splice"])
            .arg(episode())
            .env("XDG_CACHE_HOME", folder.path().join("cache"))
            // Each makes its own creatives ready.
            .arg("--data")
            .arg(folder.path().join(result).with_extension("data"))
            .arg("-o")
            .arg(result);
        for (at, creative) in [
            (20, "kettle.mp3"),
            (60, "boots.wav"),
            (100, "bank.m4a"),
            (140, "library.ogg"),
        ] {
            command = command
                .arg("--ad")
                .arg(format!("{at}={}", fixtures().join(creative).display()));
        }
        command.run().expect(0);
        sha256(&folder.path().join(result))
    });
    assert!(
        folder.path().join("cache").exists(),
        "the registry was elsewhere, so that nothing was tested"
    );
    assert_eq!(results[0], results[1]);
    assert_eq!(results[1], results[2]);
}

#[test]
fn names_need_not_be_unicode() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let (creative, out) = (
        OsStr::from_bytes(b"ad-\xff.wav"),
        OsStr::from_bytes(b"out-\xff.wav"),
    );
    let boots = fixtures().join("boots.wav");
    std::fs::copy(&boots, folder.path().join(creative)).expect("space on the disk");
    let argument = |time: &[u8]| [OsStr::from_bytes(time), creative].join(OsStr::new("="));
    let spliced = grove(folder.path(), ["splice", "--json", "-o"])
        .arg(out)
        .arg(&boots)
        .arg("--ad")
        .arg(argument(b"1"))
        .run()
        .expect(0);
    assert_eq!(spliced.event("complete")["path"], "out-\u{fffd}.wav");
    let with = std::fs::metadata(folder.path().join(out)).expect("a result");
    assert!(with.len() > std::fs::metadata(&boots).expect("content").len());
    grove(folder.path(), ["splice", "-o", "out.wav"])
        .arg(&boots)
        .arg("--ad")
        .arg(argument(b"\xff"))
        .run()
        .expect(2)
        .says("is not a time");
    // Viewers would be told its name in a URL.
    grove(folder.path(), ["publish", "--origin", "http://127.0.0.1:9/"])
        .arg(&boots)
        .arg("--ad")
        .arg(argument(b"1"))
        .run()
        .expect(2)
        .says("its name is no UTF-8");
}

#[test]
fn a_creative_of_which_much_is_missing_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let bank = fixtures().join("bank.m4a").display().to_string();
    let splice = |creative: &str| {
        grove(folder.path(), ["splice", "-o", "result.mp3"])
            .arg(episode())
            .arg(format!("--ad=20={creative}"))
            .run()
            .expect(0)
    };
    for (ending, coding) in [
        ("m4a", "-c copy -movflags +faststart"),
        ("mp3", "-c:a libmp3lame"),
        ("flac", "-c:a flac"),
        ("wav", "-c:a pcm_s16le"),
        ("webm", "-c:a libopus"),
    ] {
        let (whole, part) = (format!("whole.{ending}"), format!("part.{ending}"));
        let to = path(&whole);
        let given = ["-v", "error", "-i", &bank].into_iter();
        let args: Vec<&str> = given.chain(coding.split(' ')).chain([&to[..]]).collect();
        ask("ffmpeg", "ffmpeg", &args);
        let bytes = std::fs::read(&to).expect("the creative");
        std::fs::write(path(&part), &bytes[..bytes.len() / 2]).expect("a part of it");
        splice(&part).says(&format!("note: {part} says it lasts "));
        let said = splice(&whole).stderr;
        assert!(!said.contains("says it lasts"), "{said}");
    }
    // Ogg tells at its end alone how long it is.
    for (ending, coding) in [("ogg", "-c:a libvorbis"), ("opus", "-c:a libopus")] {
        let (whole, part) = (format!("whole.{ending}"), format!("part.{ending}"));
        let sound = "aevalsrc=0.2*sin(3000*t):s=48000:d=4".to_owned();
        generate(&folder.path().join(&whole), &[sound], coding);
        let bytes = std::fs::read(folder.path().join(&whole)).expect("the creative");
        std::fs::write(path(&part), &bytes[..bytes.len() / 2]).expect("a part of it");
        splice(&part).says(&format!(
            "note: {part} ends within a page of Ogg: it is not whole, and "
        ));
        let said = splice(&whole).stderr;
        assert!(!said.contains("of Ogg"), "{said}");
    }
    // Who publishes one is told, too.
    std::fs::copy(episode(), path("episode.mp3")).expect("the episode");
    for part in ["part.webm", "part.ogg"] {
        let args = [
            "publish",
            "episode.mp3",
            "--origin",
            "http://127.0.0.1:9/",
            "--out",
            "site",
        ];
        let ad = format!("--ad=20={part}");
        let published = grove(folder.path(), args).arg(ad).run().expect(0);
        assert!(
            published.stderr.contains(&format!("note: {part} ")),
            "{}",
            published.stderr
        );
    }
}

/// Both sides of the ad are each other's opposite, so that nothing of it is left in mono; and one is longer than its break takes.
#[test]
fn an_ad_of_which_nothing_is_heard_is_said_and_one_that_is_too_long_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mono = "sine=f=300:r=48000:d=4".to_owned();
    generate(&folder.path().join("content.mp3"), &[mono], "-ac 1 -b:a 64k");
    let opposite = "aevalsrc='0.3*sin(3000*t)|-0.3*sin(3000*t)':s=48000:d=2".to_owned();
    generate(&folder.path().join("ad.wav"), &[opposite], "");
    let splice = |ad: &str| {
        grove(
            folder.path(),
            ["splice", "content.mp3", "--ad", ad, "-o", "out.mp3"],
        )
        .run()
    };
    splice("1=ad.wav").expect(0).says("ad.wav is silent in mono");
    splice("1,max=1=ad.wav")
        .expect(2)
        .says("its break takes 0:01.000 at most");
}

/// Ads are not made as quiet as whispers, nor as loud as shouting.
#[test]
fn content_that_is_quieter_or_louder_than_ads_are_made_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, noise) in [
        ("quiet.wav", "c=pink:a=0.05"),
        ("usual.wav", "c=pink:a=0.4"),
        ("loud.wav", "c=white:a=0.8"),
    ] {
        let sound = format!("anoisesrc={noise}:seed=3:r=48000:d=12");
        generate(&folder.path().join(name), &[sound], "-ac 2");
    }
    let ad = fixtures().join("boots.wav").display().to_string();
    let said = |content: &str, ad: String| {
        let args = ["splice", content, "-o", "out.wav", &ad, &ad];
        let spliced = grove(folder.path(), args).run().expect(0).stderr;
        let args = [
            "publish",
            content,
            "--origin",
            "http://127.0.0.1:9/",
            "--out",
            "site",
            &ad,
        ];
        let published = grove(folder.path(), args).run().expect(0).stderr;
        [spliced, published].map(|said| said.matches("as loud as if it had").count())
    };
    assert_eq!(said("quiet.wav", format!("--ad=5={ad}")), [1, 1]);
    assert_eq!(said("loud.wav", format!("--ad=5={ad}")), [1, 1]);
    assert_eq!(said("usual.wav", format!("--ad=5={ad}")), [0, 0]);
    assert_eq!(said("quiet.wav", format!("--ad=5,loudness=-20={ad}")), [0, 0]);
}

#[test]
fn what_was_made_ready_and_coded_once_is_used_again() {
    // By a child, and by the command itself.
    for (ending, coding) in [("m4a", "-c:a aac -b:a 96k"), ("mp3", "-c:a libmp3lame -b:a 128k")] {
        is_used_again(ending, coding);
    }
}

fn is_used_again(ending: &str, coding: &str) {
    let content = format!("content.{ending}");
    let folder = tempfile::tempdir().expect("a folder");
    generate(
        &folder.path().join(&content),
        &["anoisesrc=c=pink:a=0.2:d=20:seed=3:r=44100".to_owned()],
        coding,
    );
    let creatives = folder.path().join("data/creatives");
    let files = || -> Vec<(std::ffi::OsString, std::time::SystemTime)> {
        let entries = std::fs::read_dir(&creatives).expect("the folder").flatten();
        let used = |entry: &std::fs::DirEntry| entry.metadata().expect("a file").modified().expect("a time");
        let mut files: Vec<_> = entries.map(|entry| (entry.file_name(), used(&entry))).collect();
        files.sort();
        files
    };
    let splice = |name: &str, at: u32| {
        let out = &format!("{name}.{ending}");
        let ad = format!("--ad={at}={}", fixtures().join("kettle.mp3").display());
        let args = ["splice", &content, "--data", "data", &ad, "-o", out];
        grove(folder.path(), args).run().expect(0);
        sha256(&folder.path().join(out))
    };
    let is_coded = |name: &std::ffi::OsString| name.to_string_lossy().contains(".coded-");
    let first = splice("first", 7);
    let made = files();
    let coded = made.iter().filter(|(name, _)| is_coded(name)).count();
    assert!(coded > 0, "{made:?}");
    assert_eq!(splice("again", 7), first);
    let used = files();
    assert!(
        used.iter()
            .map(|(name, _)| name)
            .eq(made.iter().map(|(name, _)| name))
    );
    for ((name, before), (_, after)) in made.iter().zip(&used).filter(|((name, _), _)| is_coded(name)) {
        assert!(before < after, "{} was not used again", name.display());
    }
    // Elsewhere the same ad begins elsewhere within a packet.
    splice("elsewhere", 8);
    let all = files().into_iter().filter(|(name, _)| is_coded(name)).count();
    assert!(all > coded, "{all} results");
}

#[test]
fn who_interrupts_it_finds_nothing_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let scratch = tempfile::tempdir().expect("a folder");
    let left = || std::fs::read_dir(scratch.path()).expect("the folder").count();
    let ads = [
        (20, "kettle.mp3"),
        (60, "boots.wav"),
        (100, "bank.m4a"),
        (140, "library.ogg"),
    ];
    let ads = ads.map(|(at, creative)| format!("--ad={at}={}", fixtures().join(creative).display()));
    let running = grove(folder.path(), ["splice", "-o", "result.mp3"])
        .args(ads)
        .arg(episode())
        .env("TMPDIR", scratch.path())
        // Where nothing can be kept for the next time.
        .env("XDG_DATA_HOME", "/dev/null")
        .start();
    let begin = std::time::Instant::now();
    while left() == 0 {
        assert!(begin.elapsed() < PATIENCE, "nothing was made ready");
        std::thread::yield_now();
    }
    let (status, _) = running.interrupt();
    // It may have been done just before.
    assert!(matches!(status, Some(130 | 0)), "{status:?}");
    assert_eq!(left(), 0, "in the folder for temporary files");
}

#[test]
fn who_interrupts_the_writing_of_it_finds_nothing_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let inputs = ["testsrc2=s=1280x720:r=25:d=60", "sine=300:d=60"].map(str::to_owned);
    // All pictures are coded again for a cue among them, since only the first is a key frame.
    let coding = "-c:v libx264 -preset ultrafast -g 9999 -sc_threshold 0 -c:a aac";
    generate(&folder.path().join("content.mp4"), &inputs, coding);
    let beside = || {
        let entries = std::fs::read_dir(folder.path()).expect("the folder").flatten();
        let names = entries.map(|entry| entry.file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with(".grove-"))
            .count()
    };
    let ad = format!("--ad=15={}", fixtures().join("boots.wav").display());
    let running = grove(folder.path(), ["splice", "content.mp4", "-o", "out.mp4", &ad]).start();
    let begin = std::time::Instant::now();
    while beside() == 0 {
        assert!(begin.elapsed() < PATIENCE, "nothing was written");
        std::thread::yield_now();
    }
    let (status, said) = running.end();
    assert_eq!(status, Some(130), "{said}");
    assert_eq!(beside(), 0, "{said}");
    assert!(!folder.path().join("out.mp4").exists(), "{said}");
}

#[test]
fn what_a_killed_one_leaves_the_next_one_removes() {
    let folder = tempfile::tempdir().expect("a folder");
    let scratch = tempfile::tempdir().expect("a folder");
    let left = || std::fs::read_dir(scratch.path()).expect("the folder").count();
    let splice = || {
        let ad = format!("--ad=20={}", fixtures().join("bank.m4a").display());
        grove(folder.path(), ["splice", "-o", "result.mp3"])
            .arg(ad)
            .arg(episode())
            .env("TMPDIR", scratch.path())
            .env("XDG_DATA_HOME", "/dev/null")
    };
    let begin = std::time::Instant::now();
    // It may be done just before.
    while left() == 0 {
        let running = splice().start();
        while left() == 0 && begin.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        running.kill();
        assert!(begin.elapsed() < PATIENCE, "nothing was left behind");
    }
    splice().run().expect(0);
    assert_eq!(left(), 0, "in the folder for temporary files");
}

/// Whoever opens a pipe waits for somebody to write into it.
#[test]
fn what_is_no_file_is_called_by_what_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe.mp3");
    ask("mkfifo", "coreutils", [&pipe]);
    let ad = format!("--ad=1={}", fixtures().join("boots.wav").display());
    for (content, says) in [
        ("pipe.mp3", "cannot read pipe.mp3: it is a pipe, not a file"),
        ("/dev/null", "cannot read /dev/null: it is a device, not a file"),
    ] {
        let args = ["splice", content, "-o", "out.mp3", &ad];
        grove(folder.path(), args).run().expect(2).says(says);
    }
    let args = ["splice", "-o", "out.mp3", "--ad=1=pipe.mp3"];
    let splice = grove(folder.path(), args).arg(episode());
    splice.run().expect(2).says("it is a pipe, not a file");
    let args = ["publish", "pipe.mp3", "--origin", "http://127.0.0.1:9/"];
    grove(folder.path(), args)
        .run()
        .expect(2)
        .says("it is a pipe, not a file");
}

#[test]
fn a_file_is_never_overwritten_by_its_own_result() {
    let folder = tempfile::tempdir().expect("a folder");
    let mine = folder.path().join("mine.mp3");
    std::fs::copy(episode(), &mine).expect("the episode");
    grove(folder.path(), ["splice", "mine.mp3", "-o", "./mine.mp3", "--ad"])
        .arg(format!(
            "{}={}",
            cue("pause"),
            fixtures().join("boots.wav").display()
        ))
        .run()
        .expect(2)
        .says("overwritten");
    assert_eq!(sha256(&mine), sha256(&episode()));
    // Nor is an ad, under whatever name.
    let boots = fixtures().join("boots.wav");
    std::fs::copy(&boots, folder.path().join("ad.wav")).expect("the creative");
    std::fs::hard_link(folder.path().join("ad.wav"), folder.path().join("other.mp3")).expect("a link");
    for output in ["ad.wav", "./other.mp3"] {
        grove(folder.path(), ["splice", "mine.mp3", "-o", output])
            .arg(format!("--ad=10={}", fixtures().join("kettle.mp3").display()))
            .arg("--ad=20=ad.wav")
            .run()
            .expect(2)
            .says("ad.wav would be overwritten");
    }
    assert_eq!(sha256(&folder.path().join("ad.wav")), sha256(&boots));
}

/// What ffmpeg makes of four seconds that are loud and sixteen that are silent: the first frames are far longer than others.
fn loud_then_silent(path: &Path, coding: &str) {
    let made = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i"])
        .arg("anoisesrc=c=pink:a=0.5:seed=3:r=44100:d=4,apad=whole_dur=20")
        .args(coding.split(' '))
        // In the middle of a file a tag would end it.
        .args(["-id3v2_version", "0"])
        .arg(path)
        .status();
    assert!(made.expect("ffmpeg runs (`make setup` installs it)").success());
}

/// `grove publish` of a file with a cue at so many seconds.
fn publish(folder: &Path, name: &str, cue: u32) -> Finished {
    let args = [
        "publish",
        name,
        "--origin",
        "http://127.0.0.1:9/",
        "--out",
        "site",
    ];
    grove(folder, args).args(["--cue", &cue.to_string()]).run()
}

/// Files whose beginning says nothing of their length, or something wrong.
#[test]
fn a_cue_is_refused_only_when_the_frames_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    loud_then_silent(&at.join("vbr.mp3"), "-c:a libmp3lame -q:a 5 -write_xing 0");
    loud_then_silent(&at.join("xing.mp3"), "-c:a libmp3lame -q:a 5");
    loud_then_silent(&at.join("info.mp3"), "-c:a libmp3lame -b:a 96k");
    loud_then_silent(&at.join("sound.aac"), "-c:a aac -b:a 96k");
    let read = |name: &str| std::fs::read(at.join(name)).expect("what ffmpeg wrote");
    // The information frame of the first says half of it.
    for (one, both) in [("xing.mp3", "two-xing.mp3"), ("info.mp3", "two-info.mp3")] {
        std::fs::write(at.join(both), read(one).repeat(2)).expect("room");
    }
    let ad = fixtures().join("kettle.mp3");
    for (name, within, beyond, lasts) in [
        ("vbr.mp3", 19, 25, "0:20."),
        ("two-xing.mp3", 39, 45, "0:40."),
        ("two-info.mp3", 39, 45, "0:40."),
        ("sound.aac", 19, 25, "0:20."),
    ] {
        let splice = |cue: u32| {
            grove(at, ["splice", name, "-o", "out"])
                .arg(format!("--ad={cue}={}", ad.display()))
                .run()
        };
        let publish = |cue: u32| publish(at, name, cue);
        println!("{name}");
        splice(within).expect(0);
        publish(within).expect(0);
        for refused in [splice(beyond), publish(beyond)] {
            refused
                .expect(2)
                .says("after the end")
                .says(&format!("which lasts {lasts}"));
        }
    }
}

#[test]
fn an_incomplete_last_frame_is_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    loud_then_silent(&at.join("vbr.mp3"), "-c:a libmp3lame -q:a 5 -write_xing 0");
    loud_then_silent(&at.join("sound.aac"), "-c:a aac -b:a 96k");
    let ad = fixtures().join("kettle.mp3");
    for name in ["vbr.mp3", "sound.aac"] {
        let whole = std::fs::read(at.join(name)).expect("what ffmpeg wrote");
        // Nearly all of it, and one byte of a frame more than that.
        std::fs::write(at.join(name), &whole[..whole.len() - 5]).expect("room");
        let spliced = grove(at, ["splice", name, "-o"])
            .arg(format!("out-{name}"))
            .arg(format!("--ad=10={}", ad.display()))
            .run()
            .expect(0)
            .says("note: the content ends within a frame: its last ");
        println!("{}", spliced.stderr);
        publish(at, name, 10).expect(0).says("ends within a frame");
        // What is made of it ends with a whole frame.
        let again = grove(at, ["splice", &format!("out-{name}"), "-o", "again"])
            .arg(format!("--ad=12={}", ad.display()))
            .run()
            .expect(0);
        assert!(!again.stderr.contains("ends within"), "{}", again.stderr);
    }
}

/// Content that is wrong is bad input, wherever it is found to be.
#[test]
fn content_that_is_wrong_is_bad_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    loud_then_silent(&at.join("good.mp3"), "-c:a libmp3lame -b:a 96k");
    loud_then_silent(&at.join("other.mp3"), "-c:a libmp3lame -b:a 96k -ar 48000");
    loud_then_silent(&at.join("good.opus"), "-c:a libopus");
    loud_then_silent(&at.join("good.ogg"), "-c:a libvorbis");
    loud_then_silent(&at.join("good.flac"), "-c:a flac");
    let read = |name: &str| std::fs::read(at.join(name)).expect("what ffmpeg wrote");
    let (good, other, opus) = (read("good.mp3"), read("other.mp3"), read("good.opus"));
    let half = |bytes: &[u8]| bytes[..bytes.len() * 6 / 10].to_vec();
    let mut garbage = good.clone();
    let middle = garbage.len() / 2;
    garbage[middle..middle + 2000].fill(0x55);
    for (name, bytes) in [
        ("cut.mp3", half(&good)),
        ("cut.opus", half(&opus)),
        ("cut.ogg", half(&read("good.ogg"))),
        ("cut.flac", half(&read("good.flac"))),
        ("rate.mp3", [good.clone(), other].concat()),
        ("chain.opus", opus.repeat(2)),
        ("garbage.mp3", garbage),
    ] {
        std::fs::write(at.join(name), bytes).expect("room");
        println!("{name}");
        // In the middle: only there is the garbage found.
        grove(at, ["splice", name, "-o", "out"])
            .arg(format!("--ad=10={}", fixtures().join("kettle.mp3").display()))
            .run()
            .expect(2);
        assert!(!at.join("out").exists());
    }
    // What cannot be written is no bad input.
    grove(at, ["splice", "good.mp3", "-o", "good.mp3/out"])
        .arg(format!("--ad=10={}", fixtures().join("kettle.mp3").display()))
        .run()
        .expect(1);
}

/// Files of which not all is there, as an interrupted download leaves them.
#[test]
fn what_ends_early_is_said_to_be_not_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let ad = format!("--ad=1={}", fixtures().join("kettle.mp3").display());
    let of = "of at least";
    for (name, coding, told) in [
        ("cbr.mp3", "-map 0:a -c:a libmp3lame -b:a 128k", of),
        ("late.m4a", "-map 0:a -c:a aac", of),
        ("early.m4a", "-map 0:a -c:a aac -movflags +faststart", of),
        ("opus.opus", "-map 0:a -c:a libopus", "within what begins at byte"),
        (
            "vorbis.ogg",
            "-map 0:a -c:a libvorbis",
            "within what begins at byte",
        ),
        ("flac.flac", "-map 0:a -c:a flac", "it ends after"),
        ("pcm.wav", "-map 0:a", of),
        ("video.mp4", "-c:v libx264 -c:a aac -movflags +faststart", of),
        (
            "video.webm",
            "-c:v libvpx-vp9 -deadline realtime -c:a libopus",
            of,
        ),
    ] {
        let whole = folder.path().join(name);
        let sound = "anoisesrc=c=pink:a=0.2:seed=3:r=48000:d=5";
        let made = std::process::Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", sound])
            .args(["-f", "lavfi", "-i", "testsrc2=s=128x72:r=25:d=5"])
            .args(coding.split(' '))
            .arg(&whole)
            .status();
        assert!(made.expect("ffmpeg runs (`make setup` installs it)").success());
        let whole = std::fs::read(whole).expect("what ffmpeg wrote");
        for percent in [50, 99] {
            let len = whole.len() * percent / 100;
            let cut = format!("cut-{percent}-{name}");
            std::fs::write(folder.path().join(&cut), &whole[..len]).expect("room");
            let spliced = grove(folder.path(), ["splice", &cut, &ad, "-o", "out"]).run();
            let said = format!("is not whole: it ends after {len} ");
            assert!(
                spliced.stderr.contains(&said) && spliced.stderr.contains(told),
                "{cut}: {}",
                spliced.stderr
            );
            spliced.expect(2);
            assert!(!folder.path().join("out").exists());
        }
    }
}

#[test]
fn a_reader_that_has_had_enough_ends_it_quietly() {
    let folder = tempfile::tempdir().expect("a folder");
    let (content, ad) = (episode(), fixtures().join("kettle.mp3"));
    let finished = grove(folder.path(), ["splice"])
        .arg(&content)
        .args(["--ad", &format!("20={}", ad.display()), "-o", "-"])
        .through([
            "bash",
            "-c",
            "\"$@\" | head -c 1000; exit ${PIPESTATUS[0]}",
            "bash",
        ])
        .run()
        .expect(141);
    assert_eq!(finished.stdout.len(), 1000);
    assert!(!finished.stderr.contains("error"), "{}", finished.stderr);
}

#[test]
fn a_break_is_as_loud_as_is_said_and_a_shortfall_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    // Hardly to be heard: what twenty decibels of gain do for its peaks, six of limiting cannot take back.
    let args = "-v error -i IN -t 4 -af volume=-34dB,apulsator=hz=2:amount=1 quiet.wav";
    let kettle = fixtures().join("kettle.mp3");
    let status = std::process::Command::new("ffmpeg")
        .args(args.split(' ').map(|word| {
            if word == "IN" {
                kettle.as_os_str()
            } else {
                word.as_ref()
            }
        }))
        .current_dir(folder.path())
        .status()
        .expect("ffmpeg runs (`make setup` installs it)");
    assert!(status.success());
    let of = |option: &str, creative: &Path| format!("{option}={}", creative.display());
    let quiet = folder.path().join("quiet.wav");
    let finished = grove(folder.path(), ["splice", "--json", "-o", "out.mp3"])
        .arg(episode())
        .args(["--ad", &of("20,loudness=-22", &kettle)])
        .args(["--ad", &of("60,loudness=as-is", &kettle)])
        .args(["--ad", &of("100,loudness=-6", &quiet)])
        .run()
        .expect(0);
    let complete = finished.event("complete");
    let ads = complete["ads"].as_array().expect("ads");
    let number = |ad: &serde_json::Value, name: &str| ad[name].as_f64().expect("a number");
    let out = folder.path().join("out.mp3");
    let heard = |ad| loudness(&out, number(ad, "start"), number(ad, "duration"));
    assert!(
        (heard(&ads[0]) + 22.0).abs() <= 0.5,
        "{} LUFS: {}",
        heard(&ads[0]),
        ads[0]
    );
    let own = loudness(&kettle, 0.0, number(&ads[1], "duration"));
    assert!(
        (heard(&ads[1]) - own).abs() <= 0.5,
        "{} LUFS of {own}: {}",
        heard(&ads[1]),
        ads[1]
    );
    let short = number(&ads[2], "shortfall_lu");
    assert!(short > 0.5, "{}", ads[2]);
    assert!(
        (heard(&ads[2]) + short + 6.0).abs() <= 0.5,
        "{} LUFS: {}",
        heard(&ads[2]),
        ads[2]
    );
    assert_eq!(ads[0]["shortfall_lu"], 0.0, "{}", ads[0]);
}

/// Whole seconds of a file, by ffprobe.
fn seconds(path: &std::path::Path) -> f64 {
    let said = std::process::Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_entries",
            "format=duration",
            "-of",
            "csv=p=0",
        ])
        .arg(path)
        .output()
        .expect("ffprobe runs (`make setup` installs it)");
    String::from_utf8_lossy(&said.stdout)
        .trim()
        .parse()
        .expect("a duration")
}

#[test]
fn a_preview_holds_only_what_is_around_the_breaks_and_says_where_cues_went() {
    let folder = tempfile::tempdir().expect("a folder");
    let off = cue("pause") - 0.4;
    let creative = fixtures().join("boots.wav");
    let finished = grove(
        folder.path(),
        ["splice", "-o", "part.mp3", "--preview=4", "--json"],
    )
    .args(["--snap", "0.75", "--ad"])
    .arg(format!("{off}={}", creative.display()))
    .arg(episode())
    .run()
    .expect(0)
    .says("into a pause");
    let complete = finished.event("complete");
    let (snapped, ad) = (&complete["snapped"][0], &complete["ads"][0]);
    let distance = snapped["distance"].as_f64().expect("a distance");
    assert!(distance.abs() > 0.0 && distance.abs() <= 0.75, "{complete}");
    assert!(
        (snapped["from"].as_f64().expect("a time") + distance - ad["cue"].as_f64().expect("a cue")).abs()
            < 1e-3
    );
    let expected = 2.0 * 4.0 + ad["duration"].as_f64().expect("a duration") + 2.0 * 0.05;
    let found = seconds(&folder.path().join("part.mp3"));
    assert!(
        (found - expected).abs() < 0.2,
        "{found} s, and {expected} s were expected"
    );
    assert!(seconds(&episode()) > found + 60.0);
}

#[test]
fn breaks_that_are_moved_into_one_pause_play_in_the_order_of_their_times_and_that_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let make = |name: &str, source: &str| {
        let made = std::process::Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", source])
            .arg(folder.path().join(name))
            .status()
            .expect("ffmpeg runs (`make setup` installs it)");
        assert!(made.success(), "{name}");
    };
    make(
        "content.wav",
        "anoisesrc=d=30:a=0.1:r=24000:seed=1,volume=0:enable='between(t,12,13)'",
    );
    for (name, length) in [("one.wav", 0.6), ("two.wav", 0.8), ("three.wav", 1.0)] {
        make(name, &format!("sine=600:r=24000:d={length}"));
    }
    let finished = grove(folder.path(), ["splice", "content.wav", "--snap", "2", "--json"])
        .args([
            "--ad",
            "13=three.wav",
            "--ad",
            "12=one.wav",
            "--ad",
            "12.2=two.wav",
        ])
        .args(["-o", "together.wav"])
        .run()
        .expect(0)
        .says("3 breaks are one at 0:12.");
    let ads = finished.event("complete")["ads"].clone();
    let lengths: Vec<f64> = (0..3).filter_map(|n| ads[n]["duration"].as_f64()).collect();
    assert_eq!(lengths, [0.6, 0.8, 1.0], "{ads}");
    assert_eq!(ads[0]["cue"], ads[2]["cue"], "{ads}");
}

/// An Ogg file with Opus of ten seconds of noise and tones, and a creative of a second and a half.
fn opus(folder: &Path) {
    let make = |name: &str, source: &str, coding: &[&str]| {
        let made = std::process::Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", source])
            .args(coding)
            .arg(folder.join(name))
            .status()
            .expect("ffmpeg runs (`make setup` installs it)");
        assert!(made.success(), "{name}");
    };
    make(
        "content.opus",
        "aevalsrc=0.2*sin(2*PI*(200+90*t)*t)*(0.6+0.4*sin(9*t))|0.2*sin(2*PI*(900-40*t)*t):s=48000:d=20",
        &["-c:a", "libopus", "-b:a", "96k"],
    );
    make("ad.wav", "sine=600:r=44100:d=1.5", &["-ac", "2"]);
}

/// The packets of a file as ffmpeg copies them: a hash for each.
fn packets(path: &Path) -> Vec<String> {
    let said = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:a", "-c", "copy", "-f", "framemd5", "-"])
        .output()
        .expect("ffmpeg runs");
    String::from_utf8(said.stdout)
        .expect("text")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.rsplit(',').next()?.trim().to_owned()))
        .collect()
}

/// How many samples of each channel ffmpeg decodes.
fn decoded_samples(path: &Path) -> usize {
    let said = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args(["-f", "f32le", "-ac", "1", "-"])
        .output()
        .expect("ffmpeg runs");
    assert!(
        said.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    said.stdout.len() / 4
}

#[test]
fn opus_goes_through_the_command() {
    /// Samples in a packet.
    const PACKET: usize = 960;
    let folder = tempfile::tempdir().expect("a folder");
    opus(folder.path());
    let complete = grove(folder.path(), ["splice", "content.opus", "--json"])
        .args(["--ad", "5.3=ad.wav", "--ad", "12=ad.wav", "-o", "out.opus"])
        .run()
        .expect(0)
        .event("complete");
    let ads = complete["ads"].as_array().expect("a list of ads");
    let (content, out) = (folder.path().join("content.opus"), folder.path().join("out.opus"));
    let samples =
        |seconds: &serde_json::Value| (seconds.as_f64().expect("seconds") * 48_000.0).round() as usize;
    assert_eq!(
        ads.iter().map(|ad| samples(&ad["cue"])).collect::<Vec<_>>(),
        [254_400, 576_000]
    );
    // What is added moves the content by whole packets.
    let added: Vec<usize> = ads
        .iter()
        .map(|ad| samples(&ad["duration"]).div_ceil(PACKET) * PACKET)
        .collect();
    let total: usize = added.iter().sum();
    assert_eq!(decoded_samples(&out), decoded_samples(&content) + total);

    // ffmpeg skips 312 samples before content time 0, so a cue at sample `s` is in packet `(s + 312) / 960`.
    let (original, spliced) = (packets(&content), packets(&out));
    assert_eq!(spliced.len(), original.len() + total / PACKET);
    let mut shift = 0;
    let mut from = 0;
    for (ad, added) in ads.iter().zip(&added) {
        let cue = (samples(&ad["cue"]) + 312) / PACKET;
        assert_eq!(original[from..cue - 8], spliced[from + shift..cue - 8 + shift]);
        shift += added / PACKET;
        from = cue + 8;
    }
    assert_eq!(original[from..], spliced[from + shift..]);

    grove(folder.path(), ["splice", "content.opus", "--preview=2"])
        .args(["--ad", "12=ad.wav", "-o", "part.opus"])
        .run()
        .expect(0);
    let (found, expected) = (
        seconds(&folder.path().join("part.opus")),
        2.0 * 2.0 + 1.5 + 2.0 * 0.05,
    );
    assert!(
        (found - expected).abs() < 0.1,
        "{found} s, and {expected} s were expected"
    );
}

/// The same of each stream of a chain of Ogg, which ffmpeg decodes one by one alone; of anything else, of the whole.
fn decoded_streams(path: &Path) -> Vec<usize> {
    let bytes = std::fs::read(path).expect("the file");
    let mut begin: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(b"OggS\0\x02"))
        .collect();
    if begin.len() < 2 {
        return vec![decoded_samples(path)];
    }
    begin.push(bytes.len());
    let streams = begin.windows(2).map(|pair| {
        let stream = path.with_file_name("stream.ogg");
        std::fs::write(&stream, &bytes[pair[0]..pair[1]]).expect("room");
        decoded_samples(&stream)
    });
    streams.collect()
}

/// Whatever the format: ads at one place that replace the same content follow each other in the order given, and it is replaced once.
#[test]
fn several_ads_take_the_place_of_one_span() {
    /// Samples a second.
    const RATE: usize = 48_000;
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let sound = "anoisesrc=c=pink:a=0.2:seed=5:r=48000:d=12".to_owned();
    let pictures = "testsrc2=s=160x90:r=25:d=12".to_owned();
    for (name, hertz, lasts) in [("first.wav", 500, 1.5), ("second.wav", 1_500, 1.25)] {
        let source = format!("aevalsrc=0.2*sin({hertz}*2*PI*t):s=48000:d={lasts}");
        generate(&at.join(name), &[source], "");
    }
    for (ending, frame, coding) in [
        ("mp3", 1_152, "-c:a libmp3lame -b:a 96k"),
        ("aac", 1_024, "-c:a aac -b:a 96k"),
        ("m4a", 1_024, "-c:a aac -b:a 96k"),
        ("opus", 960, "-c:a libopus -b:a 96k"),
        ("weba", 960, "-f webm -c:a libopus -b:a 96k"),
        ("ogg", 1, "-c:a libvorbis -b:a 96k"),
        ("flac", 1, "-c:a flac"),
        ("wav", 1, "-c:a pcm_s16le"),
        (
            "mp4",
            1_024,
            "-c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p -c:a aac",
        ),
        (
            "webm",
            960,
            "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25 -b:v 300k -c:a libopus",
        ),
    ] {
        let (content, out) = (format!("content.{ending}"), format!("out.{ending}"));
        let inputs = [sound.clone(), pictures.clone()];
        let is_seen = coding.contains("-c:v");
        generate(&at.join(&content), &inputs[..=usize::from(is_seen)], coding);
        let spliced = |args: &[&str]| {
            grove(at, ["splice", &content, "-o", &out, "--json"])
                .args(args.iter().copied())
                .run()
        };
        let ads = [
            "--ad",
            "4+3=first.wav",
            "--ad",
            "0:04+0:03=second.wav",
            "--ad",
            "4=first.wav",
        ];
        let complete = spliced(&ads).expect(0).event("complete");
        let number = |ad: usize, what: &str| complete["ads"][ad][what].as_f64().expect("a number");
        let titles = [0, 1, 2].map(|ad| complete["ads"][ad]["title"].clone());
        assert_eq!(titles, ["first.wav", "second.wav", "first.wav"], "{complete}");
        for ad in [1, 2] {
            let ends = number(ad - 1, "start") + number(ad - 1, "duration");
            assert!((number(ad, "start") - ends).abs() < 1e-4, "{complete}");
        }
        let (was, is) = (
            decoded_samples(&at.join(&content)),
            decoded_streams(&at.join(&out)).iter().sum::<usize>(),
        );
        let longer = is as f64 - (was as f64 + (1.5 + 1.25 + 1.5 - 3.0) * RATE as f64);
        println!("{ending}: {longer} samples longer than content and ads");
        // Pictures are cut where they are: at one end of the span, and at the other.
        let most = if is_seen { RATE / 25 } else { 0 } + frame;
        assert!(longer.abs() <= most as f64, "{ending}: {longer}");
    }
    // What is not the same is refused, whichever comes first.
    for (ads, says) in [
        (
            ["4+3=first.wav", "4+5=second.wav"],
            "one cue point at 0:04.000 replaces the content up to 0:07.000, and another one up to 0:09.000",
        ),
        (
            ["4+3=first.wav", "5+2=second.wav"],
            "the cue point at 0:05.000 is within what the one at 0:04.000 replaces, up to 0:07.000",
        ),
    ] {
        grove(
            at,
            [
                "splice",
                "content.wav",
                "-o",
                "not.wav",
                "--ad",
                ads[0],
                "--ad",
                ads[1],
            ],
        )
        .run()
        .expect(2)
        .says(says);
    }
}
