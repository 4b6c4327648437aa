//! `grove splice` with content that is coded again as a whole first: local files, no network.

mod common;

use std::path::Path;

use common::grove;
use common::tools::printed;

/// Six seconds with a beep at 1 s and at 5 s, with a title and a chapter.
fn made(path: &Path, rate: &str, coding: &[&str]) {
    let sound = format!("aevalsrc='0.5*sin(4000*t)*lt(mod(t+3,4),0.2)':s={rate}:d=6");
    let about = path.with_extension("txt");
    let text =
        ";FFMETADATA1\ntitle=Episode\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=3000\nEND=6000\ntitle=Second half\n";
    std::fs::write(&about, text).expect("a list");
    let input = ["-f", "lavfi", "-i", &sound, "-i", about.to_str().expect("a name")];
    let mapped = ["-map", "0:a", "-map_metadata", "1", "-map_chapters", "1"];
    printed(
        "ffmpeg",
        &[&input[..], &mapped, coding, &[path.to_str().expect("a name")]].concat(),
    );
}

/// Samples of one channel at 48 kHz.
fn decoded(path: &Path) -> Vec<f32> {
    let form = ["-ac", "1", "-ar", "48000", "-f", "f32le", "-"];
    printed(
        "ffmpeg",
        &[&["-i", path.to_str().expect("a name")][..], &form].concat(),
    )
    .chunks_exact(4)
    .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four")))
    .collect()
}

/// When it is loud after a tenth of a second of silence, in seconds.
fn beeps(sound: &[f32]) -> Vec<f64> {
    let loud = |sample: &f32| sample.abs() > 0.1;
    (4800..sound.len())
        .filter(|i| loud(&sound[*i]) && !sound[i - 4800..*i].iter().any(loud))
        .map(|i| i as f64 / 48_000.0)
        .collect()
}

#[test]
fn he_aac_and_vorbis_in_webm_are_coded_again_after_that_was_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let he = path.join("he.m4a");
    made(&he, "24000", &["-c:a", "aac", "-b:a", "64k"]);
    // AAC at half of the rate that SBR, which is announced, would have it at.
    let mut bytes = std::fs::read(&he).expect("a file");
    let at = bytes
        .windows(3)
        .position(|three| three == [0x56, 0xE5, 0])
        .expect("no SBR announced");
    bytes[at + 2] = 0x80 | 3 << 3;
    std::fs::write(&he, bytes).expect("a file");
    made(&path.join("vorbis.webm"), "48000", &["-c:a", "libvorbis"]);
    printed(
        "ffmpeg",
        &[
            "-f",
            "lavfi",
            "-i",
            "anullsrc=d=2",
            path.join("ad.wav").to_str().expect("a name"),
        ],
    );

    for (name, out, words, codec) in [
        (
            "he.m4a",
            "out.m4a",
            "note: HE-AAC (AAC with SBR) cannot be cut without coding it again: the whole content is encoded as AAC-LC",
            "aac,LC,48000",
        ),
        (
            "vorbis.webm",
            "out.webm",
            "note: Vorbis in WebM cannot be cut without coding it again: the whole content is encoded as Opus",
            "opus,unknown,48000",
        ),
    ] {
        let before = beeps(&decoded(&path.join(name)));
        assert_eq!(before.len(), 2, "{name}: {before:?}");
        grove(path, ["splice", name, "--ad", "3=ad.wav", "-o", out])
            .run()
            .expect(0)
            .says(words);
        let result = path.join(out);
        let sound = decoded(&result);
        assert!(
            (sound.len() as f64 / 48_000.0 - 8.0).abs() < 0.05,
            "{name}: {}",
            sound.len()
        );
        let after = beeps(&sound);
        assert_eq!(after.len(), 2, "{name}: {after:?}");
        for (was, is) in [(before[0], after[0]), (before[1] + 2.0, after[1])] {
            assert!((was - is).abs() < 0.022, "{name}: {was} s became {is} s");
        }
        let shown = [
            "-show_entries",
            "stream=codec_name,profile,sample_rate",
            "-of",
            "csv=p=0",
        ];
        let file = [result.to_str().expect("a name")];
        let said = String::from_utf8(printed("ffprobe", &[&shown[..], &file].concat())).expect("text");
        assert_eq!(said.trim(), codec, "{name}");
        if codec.starts_with("opus") {
            // What the muxer keeps of tags is its own matter.
            continue;
        }
        let about = [
            "-show_chapters",
            "-show_entries",
            "format_tags=title",
            "-of",
            "json",
        ];
        let about = printed("ffprobe", &[&about[..], &file].concat());
        let about: serde_json::Value = serde_json::from_slice(&about).expect("JSON");
        assert_eq!(about["format"]["tags"]["title"], "Episode", "{name}: {about}");
        // The chapter began at the cue: it is after the ad.
        let chapter = about["chapters"]
            .as_array()
            .and_then(|all| all.last())
            .expect("a chapter");
        assert_eq!(chapter["tags"]["title"], "Second half", "{name}: {about}");
        assert!(
            chapter["start_time"]
                .as_str()
                .is_some_and(|start| start.starts_with("5.0")),
            "{name}: {about}"
        );
    }
}

/// The pictures of a file, each by its hash.
fn pictures(path: &Path) -> Vec<String> {
    let form = ["-map", "0:v", "-c", "copy", "-f", "framemd5", "-"];
    let list = printed(
        "ffmpeg",
        &[&["-i", path.to_str().expect("a name")][..], &form].concat(),
    );
    let list = String::from_utf8(list).expect("text");
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit(", ").next().map(str::to_owned))
        .collect()
}

#[test]
fn beside_pictures_the_sound_alone_is_coded_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let sources =
        "-f lavfi -i testsrc2=s=160x90:r=25:d=6 -f lavfi -i sine=r=24000:d=6 -g 25 -pix_fmt yuv420p";
    let made = |name: &str, coding: &str| {
        let all = sources.split(' ').chain(coding.split(' '));
        let file = path.join(name);
        printed(
            "ffmpeg",
            &all.chain([file.to_str().expect("a name")]).collect::<Vec<_>>(),
        );
        file
    };
    let he = made("he.mp4", "-c:v libx264 -preset ultrafast -c:a aac");
    let mut bytes = std::fs::read(&he).expect("a file");
    let at = bytes.windows(3).position(|three| three == [0x56, 0xE5, 0]);
    bytes[at.expect("where SBR would be announced") + 2] = 0x80 | 3 << 3;
    std::fs::write(&he, bytes).expect("a file");
    made(
        "vorbis.webm",
        "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libvorbis",
    );
    let ad = path.join("ad.wav");
    printed(
        "ffmpeg",
        &["-f", "lavfi", "-i", "anullsrc=d=2", ad.to_str().expect("a name")],
    );
    for (name, out, words) in [
        (
            "he.mp4",
            "out.mp4",
            "note: HE-AAC (AAC with SBR) cannot be cut without coding it again: all of its sound is encoded as AAC-LC, and its pictures stay",
        ),
        (
            "vorbis.webm",
            "out.webm",
            "note: Vorbis in WebM cannot be cut without coding it again: all of its sound is encoded as Opus, and its pictures stay",
        ),
    ] {
        grove(path, ["splice", name, "--ad", "3=ad.wav", "-o", out])
            .run()
            .expect(0)
            .says(words);
        let (before, after) = (pictures(&path.join(name)), pictures(&path.join(out)));
        // The ad has a card between them; at most the group of pictures around the cue is coded again.
        assert!(after.len() > before.len(), "{name}");
        let kept = before.iter().filter(|hash| after.contains(hash)).count();
        assert!(kept + 25 >= before.len(), "{name}: {kept} of {}", before.len());
    }
}
