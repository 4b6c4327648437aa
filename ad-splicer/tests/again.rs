//! Video of which one track is coded again as a whole before ads are put in: the other track stays as it is, bit for bit, and both stay together. This program starts itself again as the child that codes, so it
//! has a `main` of its own.

mod children;
mod common;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ad_splicer::again::{self, Again};
use ad_splicer::content::{Content, FileContent};
use ad_splicer::splice::{self, At, Options, SpliceError, notes};
use ad_splicer::time::ContentTime;

use children::{Bench, ffmpeg, text};
use common::sbr::{SBR, extended, frames};
use common::{hashes, run};

const TESTS: &[(&str, fn())] = &[
    (
        "he_aac_beside_pictures_becomes_aac_lc",
        he_aac_beside_pictures_becomes_aac_lc,
    ),
    (
        "vorbis_beside_pictures_becomes_opus",
        vorbis_beside_pictures_becomes_opus,
    ),
    (
        "pictures_without_key_frames_are_coded_again",
        pictures_without_key_frames_are_coded_again,
    ),
];

fn main() -> std::process::ExitCode {
    children::main(TESTS)
}

/// Pictures of 25 a second with key frames a second apart, and B-frames between them.
const PICTURES: &str = "testsrc2=s=160x90:r=25:d=6";
/// A beep each second.
const BEEPS: &str = "aevalsrc='0.5*sin(4000*t)*lt(mod(t+0.3,1),0.2)+0.02*sin(500*t)'";

/// Codes what has to be, as `grove splice` does; the file is what comes out.
fn coded(bench: &Bench, path: &Path, expected: Again) -> Result<PathBuf, SpliceError> {
    let content: Arc<dyn Content> = Arc::new(FileContent::open(path).expect("a file"));
    if expected == Again::Pictures {
        return coded_of(bench, path, content, expected);
    }
    let found = notes::again(content.as_ref(), &Options::default());
    assert_eq!(found, Some(expected), "{}", path.display());
    coded_of(bench, path, content, expected)
}

fn coded_of(
    bench: &Bench,
    path: &Path,
    content: Arc<dyn Content>,
    expected: Again,
) -> Result<PathBuf, SpliceError> {
    let target = expected.target(content.as_ref())?;
    let part = tempfile::tempfile().expect("a file");
    let input = if again::part(expected, content.as_ref(), &part)? {
        part
    } else {
        File::open(path).expect("a file")
    };
    let coded = tempfile::tempfile().expect("a file");
    let coding = bench.conditioner.code_again(&input, "content", target, &coded);
    bench.runtime.block_on(coding).expect("it is coded");
    let content = again::finish(coded, expected, target, content)?;
    let out = path
        .with_file_name("again")
        .with_extension(path.extension().expect("one"));
    let mut bytes = vec![0; content.len() as usize];
    content
        .read_exact_at(0, &mut bytes, Options::default().read_deadline)
        .expect("it is there");
    std::fs::write(&out, bytes).expect("a file");
    Ok(out)
}

/// Sound from the beginning of the presentation on, whenever it begins: one channel of 48 kHz.
fn heard(path: &Path) -> Vec<f32> {
    let args = [
        "-v",
        "error",
        "-copyts",
        "-i",
        text(path),
        "-af",
        "aresample=48000:async=1:min_hard_comp=0.0001:first_pts=0",
    ];
    let form = ["-ac", "1", "-f", "f32le", "-"];
    run("ffmpeg", &[&args[..], &form].concat(), None)
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four")))
        .collect()
}

/// How many samples later the second is, at most 480 either way: where they are most alike.
fn later(before: &[f32], after: &[f32]) -> i64 {
    let from = 48_000;
    let alike = |shift: i64| {
        let both = before[from..from + 3 * 48_000]
            .iter()
            .zip(&after[(from as i64 + shift) as usize..]);
        both.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    };
    (-480..=480)
        .max_by(|a, b| alike(*a).total_cmp(&alike(*b)))
        .expect("some")
}

/// The pictures are those that they were, and the sound is heard when it was, to 48 samples: a millisecond.
fn judge(name: &str, before: &Path, after: &Path, codec: &str) {
    assert_eq!(hashes(before, "0:v"), hashes(after, "0:v"), "{name}");
    let times = |path: &Path| {
        let shown = [
            "-show_entries",
            "packet=pts_time,dts_time,flags",
            "-of",
            "csv=p=0",
        ];
        let args = [
            &["-v", "error", "-select_streams", "v:0"][..],
            &shown,
            &[text(path)],
        ]
        .concat();
        String::from_utf8(run("ffprobe", &args, None)).expect("text")
    };
    assert_eq!(times(before), times(after), "{name}");
    let (was, is) = (heard(before), heard(after));
    assert!(
        was.len().abs_diff(is.len()) < 4800,
        "{name}: {} became {}",
        was.len(),
        is.len()
    );
    let moved = later(&was, &is);
    assert!(moved.abs() < 48, "{name}: the sound moved by {moved} samples");
    let shown = [
        "-select_streams",
        "a:0",
        "-show_entries",
        "stream=codec_name,profile",
        "-of",
        "csv=p=0",
    ];
    let args = [&["-v", "error"][..], &shown, &[text(after)]].concat();
    let said = String::from_utf8(run("ffprobe", &args, None)).expect("text");
    assert_eq!(said.trim(), codec, "{name}");
    // Ads can be put in now.
    let content = FileContent::open(after).expect("a file");
    let format = splice::probe(&content, &Options::default()).expect("a format");
    assert!(format.picture.is_some());
    assert_eq!(notes::again(&content, &Options::default()), None, "{name}");
    let (rate, channels) = (format.sample_rate as usize, usize::from(format.channels));
    let breaks = [common::at(3_000, vec![common::ad(rate, channels, rate, 700.0)])];
    let mut out = Vec::new();
    let report = splice::splice(&content, &breaks, &Options::default(), &mut out).expect("a splice");
    assert_eq!(report.ads.len(), 1, "{name}");
    let spliced = after
        .with_file_name("spliced")
        .with_extension(after.extension().expect("one"));
    std::fs::write(&spliced, out).expect("a file");
    // The ad holds a picture. Where sound begins later, the cue is between key frames, and a second of pictures is coded again.
    let (was, is) = (hashes(before, "0:v"), hashes(&spliced, "0:v"));
    assert_eq!(was.len(), is.len(), "{name}");
    let kept = was.iter().zip(&is).filter(|(was, is)| was == is).count();
    assert!(kept + 25 >= was.len(), "{name}: {kept} of {}", was.len());
    let (whole, said) = common::run_both(
        "ffmpeg",
        &[
            "-v",
            "warning",
            "-xerror",
            "-i",
            text(&spliced),
            "-enc_time_base",
            "-1",
            "-f",
            "null",
            "-",
        ],
        None,
    );
    assert!(whole.is_empty() && said.is_empty(), "{name}: {said}");
}

fn he_aac_beside_pictures_becomes_aac_lc() {
    let bench = Bench::new();
    let path = |name: &str| bench.path(name);
    let plain = path("plain.aac");
    let sound = format!("{BEEPS}:s=24000:d=6");
    ffmpeg(
        &["-f", "lavfi", "-i", &sound, "-c:a", "aac", "-b:a", "64k"],
        &plain,
    );
    let implicit = path("implicit.aac");
    let stream = std::fs::read(&plain).expect("a file");
    std::fs::write(&implicit, extended(&stream, SBR)).expect("a file");
    let pictures = path("pictures.mp4");
    let coding = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-bf",
        "2",
        "-g",
        "25",
        "-pix_fmt",
        "yuv420p",
    ];
    ffmpeg(
        &[&["-f", "lavfi", "-i", PICTURES][..], &coding].concat(),
        &pictures,
    );

    // In order, sound that begins later, fragments, and sound that begins with a part that is not heard.
    for (name, before_sound, muxing) in [
        ("plain.mp4", &[][..], &[][..]),
        ("late.mp4", &["-itsoffset", "0.3"], &[]),
        // The first fragment's sound is not as long as the time up to the next.
        ("fragments.mp4", &[], &["-movflags", "frag_keyframe+empty_moov"]),
        (
            "faststart.mp4",
            &[],
            &["-movflags", "faststart", "-video_track_timescale", "90000"],
        ),
    ] {
        let file = path(name);
        let whole = path("plain.mp4");
        // ffmpeg writes no description of what comes from ADTS into fragments.
        let sound = if name == "fragments.mp4" {
            &whole
        } else {
            &implicit
        };
        let inputs = [&["-i", text(&pictures)][..], before_sound, &["-i", text(sound)]].concat();
        ffmpeg(
            &[&inputs[..], &["-map", "0:v", "-map", "1:a", "-c", "copy"], muxing].concat(),
            &file,
        );
        let after = coded(&bench, &file, Again::HeAacBeside).expect("it is coded again");
        judge(name, &file, &after, "aac,LC");
    }

    // A packet that cannot be decoded would have everything behind it be heard early.
    let mut bytes = std::fs::read(path("plain.mp4")).expect("a file");
    let stream = std::fs::read(&implicit).expect("a file");
    let (_, packet) = frames(&stream)[50];
    let at = bytes.windows(packet.len()).position(|bytes| bytes == packet);
    let at = at.expect("the packet is there");
    bytes[at..at + packet.len()].fill(0xFF);
    let file = path("damaged.mp4");
    std::fs::write(&file, &bytes).expect("a file");
    let refused = coded(&bench, &file, Again::HeAacBeside).expect_err("a packet is missing");
    assert!(
        refused
            .to_string()
            .contains("not all of its packets can be decoded"),
        "{refused}"
    );

    // SBR that is announced.
    let file = path("announced.mp4");
    let inputs = ["-i", text(&pictures), "-f", "lavfi", "-i", &sound];
    let muxing = [
        "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", "-b:a", "64k",
    ];
    ffmpeg(&[&inputs[..], &muxing].concat(), &file);
    let mut bytes = std::fs::read(&file).expect("a file");
    let announced = bytes.windows(3).position(|three| three == [0x56, 0xE5, 0]);
    bytes[announced.expect("where it is announced") + 2] = 0x80 | 3 << 3;
    std::fs::write(&file, &bytes).expect("a file");
    let after = coded(&bench, &file, Again::HeAacBeside).expect("it is coded again");
    judge("announced.mp4", &file, &after, "aac,LC");
}

fn vorbis_beside_pictures_becomes_opus() {
    let bench = Bench::new();
    let coding = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25 -pix_fmt yuv420p -c:a libvorbis";
    for (name, rate, before_sound, channels) in [
        ("vorbis.webm", 48_000, &[][..], "1"),
        ("late.webm", 44_100, &["-itsoffset", "0.3"], "2"),
        ("low.mkv", 22_050, &[], "1"),
    ] {
        let file = bench.path(name);
        let sound = format!("{BEEPS}:s={rate}:d=6");
        let inputs = [
            &["-f", "lavfi", "-i", PICTURES][..],
            before_sound,
            &["-f", "lavfi", "-i", &sound],
        ]
        .concat();
        let coding: Vec<&str> = coding.split(' ').chain(["-ac", channels]).collect();
        ffmpeg(&[inputs, coding].concat(), &file);
        let after = coded(&bench, &file, Again::WebmVorbisBeside).expect("it is coded again");
        judge(name, &file, &after, "opus,unknown");
    }
}

/// How much is still seen of the difference to the original: the mean of squares of it, as ffmpeg has it.
fn psnr(before: &Path, after: &Path) -> f64 {
    let args = [
        "-v",
        "info",
        "-i",
        text(after),
        "-i",
        text(before),
        "-lavfi",
        "[0:v][1:v]psnr",
        "-f",
        "null",
        "-",
    ];
    let (_, said) = common::run_both("ffmpeg", &args, None);
    let value = said
        .rsplit("average:")
        .next()
        .and_then(|rest| rest.split(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("{said}"))
}

fn pictures_without_key_frames_are_coded_again() {
    let bench = Bench::new();
    let sound = format!("{BEEPS}:s=48000:d=6");
    // Pictures that do not all last as long, and some of H.264 that are shown in another order than they are decoded in.
    let varied = "select='not(eq(mod(n,7),3))'";
    for (name, coding) in [
        (
            "far.mp4",
            "-c:v libx264 -preset ultrafast -bf 2 -g 1000 -pix_fmt yuv420p -c:a aac",
        ),
        (
            "far.webm",
            "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 1000 -pix_fmt yuv420p -c:a libopus",
        ),
    ] {
        let file = bench.path(name);
        let inputs = [
            "-f", "lavfi", "-i", PICTURES, "-f", "lavfi", "-i", &sound, "-vf", varied,
        ];
        let coding: Vec<&str> = ["-fps_mode", "passthrough"]
            .into_iter()
            .chain(coding.split(' '))
            .collect();
        ffmpeg(&[&inputs[..], &coding].concat(), &file);
        let content = FileContent::open(&file).expect("a file");
        let options = Options::default();
        let cues = [At::Time(ContentTime::from_millis(3_000))];
        let found = |most| notes::pictures_again(&content, &cues, most, &options);
        // Small groups are coded again by themselves.
        assert_eq!(found(notes::MOST_RECODED), None, "{name}");
        assert_eq!(found(10_000), Some(Again::Pictures), "{name}");
        let at_start = notes::pictures_again(&content, &[At::Start], 10_000, &options);
        assert_eq!(at_start, None, "{name}");

        let after = coded(&bench, &file, Again::Pictures).expect("they are coded again");
        assert_eq!(hashes(&file, "0:a"), hashes(&after, "0:a"), "{name}");
        let shown = |path: &Path, what: &str| {
            let shown = [
                "-select_streams",
                what,
                "-show_entries",
                "frame=pts_time",
                "-of",
                "csv=p=0",
            ];
            let args = [&["-v", "error"][..], &shown, &[text(path)]].concat();
            let text = String::from_utf8(run("ffprobe", &args, None)).expect("text");
            let times = text.lines().map(|line| line.trim_end_matches(',').to_owned());
            times.filter(|time| !time.is_empty()).collect::<Vec<_>>()
        };
        for what in ["v:0", "a:0"] {
            assert_eq!(shown(&file, what), shown(&after, what), "{name}");
        }
        assert!(psnr(&file, &after) > 32.0, "{name}: {}", psnr(&file, &after));
        let keys = [
            "-select_streams",
            "v:0",
            "-skip_frame",
            "nokey",
            "-show_entries",
            "frame=pts_time",
        ];
        let args = [&["-v", "error"][..], &keys, &["-of", "csv=p=0", text(&after)]].concat();
        let keys = String::from_utf8(run("ffprobe", &args, None)).expect("text");
        assert!(keys.lines().count() >= 3, "{name}: key frames at {keys}");
        let again = FileContent::open(&after).expect("a file");
        let breaks = [common::at(3_000, vec![common::ad(48_000, 1, 48_000, 700.0)])];
        let report = splice::splice(&again, &breaks, &options, &mut std::io::sink()).expect("a splice");
        assert_eq!(report.ads.len(), 1, "{name}");
    }
}
