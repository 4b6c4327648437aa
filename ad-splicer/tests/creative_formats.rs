//! Creatives in every format that ads are delivered in, put into a small video: by real children, judged by ffmpeg.
//!
//! This program starts itself again, so it has a `main` of its own. Run one test by giving a part of its name.

mod children;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ad_splicer::conditioning::{ConditionError, Standing};
use ad_splicer::content::FileContent;
use ad_splicer::creatives::{Creative, FetchLimits, Profile};
use ad_splicer::picture::{Colour, Picture};
use ad_splicer::splice::{self, SpliceError, StreamFormat};

use children::{Bench, ffmpeg, text};
use futures_util::stream;

const TESTS: &[(&str, fn())] = &[
    ("every_kind_of_file_is_decoded", every_kind_of_file_is_decoded),
    ("every_kind_of_sound_is_decoded", every_kind_of_sound_is_decoded),
    ("aiff_is_decoded_every_time", aiff_is_decoded_every_time),
    (
        "what_a_demuxer_says_is_told_every_time",
        what_a_demuxer_says_is_told_every_time,
    ),
    ("half_pictures_become_whole_ones", half_pictures_become_whole_ones),
    ("colours_beyond_ads_are_refused", colours_beyond_ads_are_refused),
    ("pixels_keep_their_shape", pixels_keep_their_shape),
    ("hdr_content_is_refused", hdr_content_is_refused),
    (
        "colours_that_the_file_tells_count",
        colours_that_the_file_tells_count,
    ),
    (
        "ads_stand_upright_in_turned_content",
        ads_stand_upright_in_turned_content,
    ),
    (
        "colours_are_told_as_the_content_tells_them",
        colours_are_told_as_the_content_tells_them,
    ),
    ("what_is_turned_is_shown_upright", what_is_turned_is_shown_upright),
    ("short_sound_ends_in_silence", short_sound_ends_in_silence),
    ("sound_that_stops_stays_in_step", sound_that_stops_stays_in_step),
    (
        "pictures_go_on_while_sound_stops",
        pictures_go_on_while_sound_stops,
    ),
    (
        "an_ad_before_pictures_that_begin_later_is_in_step",
        an_ad_before_pictures_that_begin_later_is_in_step,
    ),
    (
        "pictures_that_change_their_size_are_fitted",
        pictures_that_change_their_size_are_fitted,
    ),
    (
        "a_format_that_is_not_taken_is_named",
        a_format_that_is_not_taken_is_named,
    ),
];

fn main() -> std::process::ExitCode {
    children::main(TESTS)
}

const MONO: Profile = Profile {
    sample_rate: 44_100,
    channels: 1,
};

/// A second of pictures, and of sound.
const PICTURES: [&str; 4] = ["-f", "lavfi", "-i", "testsrc2=d=1:s=160x90:r=25"];
const SOUND: [&str; 4] = ["-f", "lavfi", "-i", "sine=d=1:r=44100"];
const H264: [&str; 4] = ["-c:v", "libx264", "-pix_fmt", "yuv420p"];
const VP9: [&str; 8] = [
    "-pix_fmt",
    "yuv420p",
    "-c:v",
    "libvpx-vp9",
    "-deadline",
    "realtime",
    "-cpu-used",
    "8",
];

/// Video that ads go into, and what conditions them for it.
struct Show {
    bench: Bench,
    content: PathBuf,
}

impl Show {
    fn new() -> Self {
        Self::coded(&[])
    }

    /// Video that was coded with these options too.
    fn coded(more: &[&str]) -> Self {
        Self::of("mp4", &[&H264[..], more, &["-c:a", "aac"]].concat())
    }

    /// Video in WebM that was coded with these options too.
    fn webm(more: &[&str]) -> Self {
        Self::of("webm", &[&VP9[..], more, &["-c:a", "libopus"]].concat())
    }

    fn of(ending: &str, coding: &[&str]) -> Self {
        let bench = Bench::new();
        let input = [&PICTURES[..], &SOUND, coding].concat();
        let content = bench.make(&format!("content.{ending}"), &input);
        Self { bench, content }
    }

    /// What ads must be like, or why none can be put in.
    fn probe(&self) -> Result<StreamFormat, SpliceError> {
        let content = FileContent::open(&self.content).expect("content");
        splice::probe(&content, &splice::Options::default())
    }

    fn condition(&self, creative: &Path) -> Result<(Creative, Arc<Picture>), ConditionError> {
        let bench = &self.bench;
        let probed = self.probe().expect("video");
        let profile = Profile {
            sample_rate: probed.sample_rate,
            channels: probed.channels,
        };
        let original = bench
            .cache
            .import(creative, FetchLimits::default())
            .expect("a file");
        let standing = Standing {
            images: stream::empty(),
            name: "Acme",
        };
        let job =
            bench
                .conditioner
                .condition_for(&bench.cache, &original, (profile, probed.picture), standing);
        let (sound, picture) = bench.runtime.block_on(job)?;
        Ok((sound, picture.expect("pictures")))
    }

    /// The content with a creative before it.
    fn with(&self, creative: &Path) -> PathBuf {
        let (sound, picture) = self.condition(creative).unwrap_or_else(|e| panic!("{e}"));
        let breaks = [splice::Break {
            at: splice::At::Start,
            replace: Duration::ZERO,
            ads: vec![splice::Ad {
                id: "ad".into(),
                pcm: sound.pcm(1.0),
                picture: Some(picture),
            }],
        }];
        let content = FileContent::open(&self.content).expect("content");
        let out = self
            .content
            .with_file_name("out")
            .with_extension(self.content.extension().expect("one"));
        let mut file = std::fs::File::create(&out).expect("a writable folder");
        splice::splice(&content, &breaks, &splice::Options::default(), &mut file).expect("spliced");
        out
    }
}

/// Mean red, green and blue of a part of the picture at a time.
fn colour(video: &Path, at: &str, crop: &str) -> [u8; 3] {
    let filter = format!("crop={crop},scale=1:1:flags=area,format=rgb24");
    let raw = ["-vf", &filter, "-frames:v", "1", "-f", "rawvideo"];
    let pixel = video.with_extension("pixel");
    ffmpeg(&[&["-ss", at, "-i", text(video)][..], &raw].concat(), &pixel);
    let pixel = std::fs::read(&pixel).expect("a pixel");
    pixel.try_into().expect("three bytes")
}

fn every_kind_of_file_is_decoded() {
    let show = Show::new();
    // The file's name, how it is coded, and by how many samples and pictures its length may be off: containers without
    // edit lists keep what their coders put before and after.
    let cases: &[(&str, &str, u64)] = &[
        ("h264-aac.ts", "-c:v libx264 -pix_fmt yuv420p -c:a aac", 3000),
        ("mpeg2-ac3.ts", "-c:v mpeg2video -c:a ac3", 3000),
        ("mpeg2-mp2.mpg", "-c:v mpeg2video -c:a mp2", 3000),
        ("flv1-mp3.flv", "-c:v flv -c:a libmp3lame", 3000),
        ("mpeg4-mp3.avi", "-c:v mpeg4 -c:a libmp3lame", 3000),
        ("mjpeg-pcm.avi", "-c:v mjpeg -c:a pcm_s16le", 100),
        ("wmv2-wmav2.wmv", "-c:v wmv2 -c:a wmav2", 6000),
        ("h264-eac3.mkv", "-c:v libx264 -pix_fmt yuv420p -c:a eac3", 3000),
        ("prores-pcm.mov", "-c:v prores_ks -c:a pcm_s24le", 100),
        ("theora-vorbis.ogg", "-c:v libtheora -c:a libvorbis", 3000),
    ];
    for (name, coding, off) in cases {
        let coding: Vec<&str> = coding.split(' ').collect();
        let creative = show.bench.make(name, &[&PICTURES[..], &SOUND, &coding].concat());
        let (sound, picture) = show
            .condition(&creative)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        println!(
            "  {name}: {} samples, {} pictures",
            sound.samples,
            picture.count()
        );
        assert!(
            sound.samples.abs_diff(44_100) <= *off,
            "{name}: {}",
            sound.samples
        );
        assert!(
            (23..=27).contains(&picture.count()),
            "{name}: {}",
            picture.count()
        );
        assert!(sound.loudness.is_some_and(|loud| loud > -40.0), "{name}");
    }
}

fn every_kind_of_sound_is_decoded() {
    let bench = Bench::new();
    for (name, coding) in [
        ("ms.wav", "adpcm_ms"),
        ("ima.wav", "adpcm_ima_wav"),
        ("mu.au", "pcm_mulaw"),
        ("sound.ac3", "ac3"),
        ("sound.wma", "wmav2"),
    ] {
        let creative = bench.make(name, &[&SOUND[..], &["-c:a", coding]].concat());
        let sound = bench
            .condition(&creative, MONO)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        println!("  {name}: {} samples", sound.samples);
        assert!(
            sound.samples.abs_diff(44_100) <= 6000,
            "{name}: {}",
            sound.samples
        );
        assert!(sound.loudness.is_some_and(|loud| loud > -40.0), "{name}");
    }
}

/// Threads of the decoder that run in another order would have lost it, about every second time.
fn aiff_is_decoded_every_time() {
    let bench = Bench::new();
    for (name, coding) in [
        ("sixteen.aiff", "-c:a pcm_s16be"),
        ("more.aif", "-c:a pcm_s24be -ar 8000 -ac 1"),
    ] {
        let coding: Vec<&str> = coding.split(' ').collect();
        let creative = bench.make(name, &[&SOUND[..], &coding].concat());
        // Of other rates, so that each is decoded anew.
        for sample_rate in (22_050..22_055).chain(44_100..44_105) {
            let profile = Profile {
                sample_rate,
                channels: 1,
            };
            let sound = bench
                .condition(&creative, profile)
                .unwrap_or_else(|e| panic!("{name} at {sample_rate} Hz: {e}"));
            assert!(sound.samples.abs_diff(sample_rate.into()) <= 20, "{name}");
        }
    }
}

/// decodebin hides errors that come while it connects.
fn what_a_demuxer_says_is_told_every_time() {
    let bench = Bench::new();
    let whole = bench.make("whole.mp4", &[&SOUND[..], &["-c:a", "aac"]].concat());
    let bytes = std::fs::read(&whole).expect("what ffmpeg made");
    let tables = bytes.windows(4).position(|name| name == b"moov").expect("tables");
    let cut = bench.path("cut.mp4");
    std::fs::write(&cut, &bytes[..tables - 4]).expect("room");
    for _ in 0..8 {
        let error = bench.condition(&cut, MONO).expect_err("no tables");
        println!("  {error}");
        assert!(matches!(error, ConditionError::Undecodable { .. }), "{error:?}");
        assert!(!error.to_string().contains("without a word"), "{error}");
    }
}

fn half_pictures_become_whole_ones() {
    let show = Show::new();
    let moving = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=d=1:s=160x96:r=50,interlace=scan=tff",
    ];
    for (name, coding) in [
        ("field.mp4", "-c:v libx264 -pix_fmt yuv420p -flags +ilme+ildct"),
        ("field.mpg", "-c:v mpeg2video -flags +ilme+ildct"),
        ("field.mov", "-c:v prores_ks -flags +ilme+ildct -top 1"),
    ] {
        let coding: Vec<&str> = coding.split(' ').collect();
        let creative = show.bench.make(name, &[&moving[..], &coding].concat());
        let (_, picture) = show
            .condition(&creative)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(
            (24..=27).contains(&picture.count()),
            "{name}: {}",
            picture.count()
        );
    }
    // Television's size, whose decoded lines are padded: red beside green.
    let halves = "color=red:d=1:s=360x576:r=50[a];color=0x00ff00:d=1:s=360x576:r=50[b];[a][b]hstack,interlace=scan=tff";
    let stored = ["-f", "lavfi", "-i", halves];
    let coding = ["-c:v", "mpeg2video", "-flags", "+ilme+ildct"];
    let creative = show
        .bench
        .make("television.mpg", &[&stored[..], &coding].concat());
    let out = show.with(&creative);
    let (left, right) = (
        colour(&out, "0.5", "40:60:30:15"),
        colour(&out, "0.5", "40:60:90:15"),
    );
    assert!(left[0] > 180 && left[1] < 60, "left {left:?}");
    assert!(right[1] > 180 && right[0] < 60, "right {right:?}");
}

/// Refused by name: PQ and HLG. Wide colours without HDR are taken, and come out as they were.
fn colours_beyond_ads_are_refused() {
    let show = Show::new();
    let red = ["-f", "lavfi", "-i", "color=0xC02020:d=1:s=160x90:r=25"];
    let make = |name: &str, transfer: &str| {
        let tags = format!("colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc:log-level=none");
        let coding = ["-vf", "scale=out_color_matrix=bt2020", "-pix_fmt", "yuv420p10le"];
        let coder = ["-c:v", "libx265", "-x265-params", &tags];
        show.bench.make(name, &[&red[..], &coding, &coder].concat())
    };
    for (transfer, named) in [("smpte2084", "HDR (PQ)"), ("arib-std-b67", "HDR (HLG)")] {
        let creative = make(&format!("{transfer}.mp4"), transfer);
        let error = show.condition(&creative).expect_err(transfer);
        println!("  {error}");
        assert!(matches!(error, ConditionError::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains(named), "{error}");
        assert_eq!(error.vast_code(), 405);
    }
    let wide = make("wide.mp4", "bt2020-10");
    show.condition(&wide).expect("wide colours without HDR");
}

/// An MP4 file that says that its pictures are to be turned clockwise, so that the left of what is stored is above.
fn quarter_turned(mut mp4: Vec<u8>) -> Vec<u8> {
    let tkhd = mp4
        .windows(4)
        .position(|bytes| bytes == b"tkhd")
        .expect("a track");
    // After the kind: version and flags, and 36 bytes of times, numbers, layer and volume.
    let matrix: [i32; 9] = [0, 1 << 16, 0, -1 << 16, 0, 0, 90 << 16, 0, 1 << 30];
    for (i, value) in matrix.into_iter().enumerate() {
        let at = tkhd + 4 + 40 + 4 * i;
        mp4[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    mp4
}

/// A creative as telephones make it: it says by how much it has to be turned.
fn what_is_turned_is_shown_upright() {
    let show = Show::new();
    // Upright it is high, and red above green.
    let stored = [
        "-f",
        "lavfi",
        "-i",
        "color=red:d=1:s=80x90:r=25[a];color=0x00ff00:d=1:s=80x90:r=25[b];[a][b]hstack",
    ];
    let plain = show.bench.make("plain.mp4", &[&stored[..], &H264].concat());
    let turned = show.bench.path("turned.mp4");
    std::fs::write(&turned, quarter_turned(std::fs::read(&plain).expect("a file")))
        .expect("a writable folder");
    let out = show.with(&turned);
    let (above, below, left) = (
        colour(&out, "0.5", "8:8:76:20"),
        colour(&out, "0.5", "8:8:76:62"),
        colour(&out, "0.5", "8:8:20:20"),
    );
    assert!(above[0] > 150 && above[1] < 80, "above {above:?}");
    assert!(below[1] > 150 && below[0] < 80, "below {below:?}");
    assert!(left.iter().all(|value| *value < 40), "bars beside it {left:?}");
}

/// Content as telephones make it: its ads are fitted into it as it is seen.
fn ads_stand_upright_in_turned_content() {
    let show = Show::new();
    let content = std::fs::read(&show.content).expect("content");
    std::fs::write(&show.content, quarter_turned(content)).expect("a writable folder");
    let red_above_green = "color=red:d=1:s=160x45:r=25[a];color=0x00ff00:d=1:s=160x45:r=25[b];[a][b]vstack";
    let stored = ["-f", "lavfi", "-i", red_above_green];
    let creative = show.bench.make("plain.mp4", &[&stored[..], &H264].concat());
    // It is seen 90 wide and 160 high, and the ad in it from 55 to 105.
    let out = show.with(&creative);
    let (above, below, bars) = (
        colour(&out, "0.5", "8:8:41:62"),
        colour(&out, "0.5", "8:8:41:90"),
        colour(&out, "0.5", "8:8:41:20"),
    );
    assert!(above[0] > 150 && above[1] < 80, "above {above:?}");
    assert!(below[1] > 150 && below[0] < 80, "below {below:?}");
    assert!(bars.iter().all(|value| *value < 40), "bars above it {bars:?}");
}

/// Red at an instant of the ad, or a bar beside it.
#[track_caller]
fn is_red(video: &Path, crop: &str, due: bool) {
    let colour = colour(video, "0.5", crop);
    let is = colour[0] > 150 && colour[1] < 80;
    assert!(
        is == due && (is || colour.iter().all(|value| *value < 40)),
        "{crop}: {colour:?}"
    );
}

/// Pixels that are twice as wide as they are high, in content, in an ad, and in both.
fn pixels_keep_their_shape() {
    let wide = ["-vf", "setsar=2"];
    // Told by the file, and not as the pictures tell it.
    let by_file = [&wide[..], &["-bsf:v", "h264_metadata=sample_aspect_ratio=1/1"]].concat();
    let red = ["-f", "lavfi", "-i", "color=red:d=1:s=160x90:r=25"];
    let (above, left, middle) = ("8:8:76:4", "8:8:8:41", "8:8:76:41");
    for (content, creative, bars) in [
        (&wide[..], &[][..], Some(left)),
        (&by_file, &[], Some(left)),
        (&[], &wide, Some(above)),
        (&wide, &wide, None),
    ] {
        let show = Show::coded(content);
        let creative = show.bench.make("ad.mp4", &[&red[..], &H264, creative].concat());
        let out = show.with(&creative);
        is_red(&out, middle, true);
        for crop in [above, left] {
            is_red(&out, crop, bars != Some(crop));
        }
    }
}

/// How ffmpeg is told of colours.
fn colour_options([primaries, transfer, matrix]: [&str; 3]) -> [&str; 6] {
    [
        "-color_primaries",
        primaries,
        "-color_trc",
        transfer,
        "-colorspace",
        matrix,
    ]
}

const PQ: [&str; 3] = ["bt2020", "smpte2084", "bt2020nc"];
const HLG: [&str; 3] = ["bt2020", "arib-std-b67", "bt2020nc"];

/// What pictures of H.264 tell of their colours is taken away; what the file tells of them stays.
const UNTOLD: [&str; 2] = [
    "-bsf:v",
    "h264_metadata=colour_primaries=2:transfer_characteristics=2:matrix_coefficients=2",
];

fn hdr_content_is_refused() {
    for told in [PQ, HLG].map(colour_options) {
        for show in [
            Show::coded(&told),
            Show::coded(&[&told[..], &UNTOLD].concat()),
            Show::webm(&told),
        ] {
            let error = show.probe().expect_err("HDR").to_string();
            assert!(error.contains("its colours are HDR"), "{told:?}: {error}");
        }
    }
}

fn colours_that_the_file_tells_count() {
    // So small a picture is taken for BT.601 where nothing is told.
    let told = colour_options(["bt709"; 3]);
    let colour = |show: &Show| show.probe().expect("video").picture.expect("pictures").colour;
    assert_eq!(colour(&Show::new()), Colour::Bt601);
    assert_eq!(colour(&Show::coded(&told)), Colour::Bt709);
    assert_eq!(
        colour(&Show::coded(&[&told[..], &UNTOLD].concat())),
        Colour::Bt709
    );
}

/// The colours that every one of the 50 pictures of content and ad tells.
fn colours_told(show: &Show) -> String {
    let creative = show.bench.make("ad.mp4", &[&PICTURES[..], &H264].concat());
    let out = show.with(&creative);
    let probed = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v", "-of", "csv=p=0"])
        .args([
            "-show_entries",
            "frame=color_space,color_primaries,color_transfer",
        ])
        .arg(&out)
        .output()
        .expect("ffprobe is needed: apt-get install ffmpeg");
    let told = String::from_utf8_lossy(&probed.stdout).into_owned();
    let lines = told.lines().map(|line| line.trim_end_matches(','));
    let mut lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 50, "{told}");
    lines.dedup();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].to_owned()
}

fn colours_are_told_as_the_content_tells_them() {
    for [primaries, transfer, matrix] in [
        ["bt2020", "bt2020-10", "bt2020nc"],
        ["bt470bg", "bt470bg", "smpte170m"],
        ["bt709", "bt709", "bt709"],
    ] {
        let tags = format!("colorprim={primaries}:transfer={transfer}:colormatrix={matrix}");
        colours_told(&Show::coded(&["-x264-params", &tags]));
    }
    // VP9 has several numbers for the colours of BT.601, which mean the same.
    for told in [["bt470bg", "gamma28", "bt470bg"], ["bt709"; 3]] {
        let found = colours_told(&Show::webm(&colour_options(told)));
        assert!(found.starts_with(told[2]), "{told:?}: {found}");
    }
}

fn short_sound_ends_in_silence() {
    let show = Show::new();
    let pictures = ["-f", "lavfi", "-i", "testsrc2=d=2:s=160x90:r=25"];
    let coding = [&H264[..], &["-c:a", "aac"]].concat();
    let creative = show
        .bench
        .make("short.mp4", &[&pictures[..], &SOUND, &coding].concat());
    let (sound, picture) = show.condition(&creative).expect("an ad");
    assert_eq!((sound.samples, picture.count()), (88_200, 50));
    let pcm = sound.pcm(1.0);
    let pcm = pcm.samples().expect("samples");
    let loudest = |part: &[f32]| part.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    assert!(loudest(&pcm[..44_100]) > 0.05);
    assert!(pcm[48_000..].iter().all(|sample| *sample == 0.0));
    // In content without pictures it is as long as its sound.
    let alone = show.bench.condition(&creative, MONO).expect("its sound");
    assert!(alone.samples < 48_000, "{}", alone.samples);
}

fn a_format_that_is_not_taken_is_named() {
    let show = Show::new();
    let cases: &[(&str, &str, &str)] = &[
        ("sound.wv", "-c:a wavpack", "Wavpack"),
        ("sound.tta", "-c:a tta", "TTA"),
        ("sound.mkv", "-c:a tta", "TTA"),
        ("sound.rm", "-c:a ac3 -strict -2", "Realmedia"),
    ];
    for (name, coding, named) in cases {
        let coding: Vec<&str> = coding.split(' ').collect();
        let creative = show.bench.make(name, &[&SOUND[..], &coding].concat());
        let error = show.bench.condition(&creative, MONO).expect_err(name);
        println!("  {name}: {error}");
        assert!(
            matches!(error, ConditionError::Unsupported { .. }),
            "{name}: {error:?}"
        );
        assert!(error.to_string().contains(named), "{name}: {error}");
        assert!(!error.to_string().contains("install"), "{name}: {error}");
        assert_eq!(error.vast_code(), 405);
    }
    // Pictures that cannot be decoded are not left out.
    let pictures = ["-c:v", "snow", "-strict", "-2", "-c:a", "aac"];
    let creative = show
        .bench
        .make("pictures.avi", &[&PICTURES[..], &SOUND, &pictures].concat());
    let error = show.condition(&creative).expect_err("pictures in Snow");
    println!("  {error}");
    assert!(matches!(error, ConditionError::Unsupported { .. }), "{error:?}");
}

/// Two seconds that are heard, and half a second of silence.
const HEARD: [&str; 4] = [
    "-f",
    "lavfi",
    "-i",
    "aevalsrc=sin(880*PI*t)*lt(t\\,2)/2:d=2.5:s=44100",
];
/// What leaves out the packets of sound of half a second.
const HOLE: &str = "noise=drop=between((pts-startpts)*tb\\,0.5\\,1)";

/// The loudest sample between two times.
fn loudest(pcm: &[f32], from: f64, to: f64) -> f32 {
    let part = &pcm[(from * 44_100.0) as usize..(to * 44_100.0) as usize];
    part.iter().fold(0.0, |most, value| value.abs().max(most))
}

/// Packets that are missing.
fn sound_that_stops_stays_in_step() {
    let bench = Bench::new();
    let creatives = [
        ("hole.mp4", "aac"),
        ("hole.mkv", "pcm_s16le"),
        ("hole.webm", "libopus"),
        ("hole.flv", "libmp3lame"),
    ]
    .map(|(name, coding)| {
        let whole = bench.make(
            &format!("whole-{name}"),
            &[&HEARD[..], &["-c:a", coding]].concat(),
        );
        bench.make(name, &["-i", text(&whole), "-c", "copy", "-bsf:a", HOLE])
    });
    for creative in creatives {
        let name = creative.file_name().expect("a name").display();
        let sound = bench
            .condition(&creative, MONO)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let pcm = sound.pcm(1.0);
        let pcm = pcm.samples().expect("samples");
        let found = [(0.05, 0.4), (0.58, 0.95), (1.08, 1.4)].map(|(from, to)| loudest(&pcm, from, to));
        println!("  {name}: {} samples, {found:?}", sound.samples);
        let off = sound.samples as f64 / 44_100.0 - 2.5;
        assert!(off.abs() < 0.07, "{name}: {off} s too long");
        assert!(
            found[0] > 0.3 && found[1] < 0.01 && found[2] > 0.3,
            "{name}: {found:?}"
        );
        let end = [(1.6, 1.95), (2.08, 2.4)].map(|(from, to)| loudest(&pcm, from, to));
        assert!(end[0] > 0.3 && end[1] < 0.01, "{name}: {end:?}");
    }
}

/// The pictures turn blue when a creative's sound ends, which has a hole before.
fn pictures_go_on_while_sound_stops() {
    let show = Show::new();
    let turning = "color=red:d=2:s=160x90:r=25[a];color=blue:d=0.5:s=160x90:r=25[b];[a][b]concat";
    let pictures = ["-f", "lavfi", "-i", turning];
    let coding = [&H264[..], &["-c:a", "aac"]].concat();
    for ending in ["ts", "mp4"] {
        let whole = show.bench.make(
            &format!("whole.{ending}"),
            &[&pictures[..], &HEARD, &coding].concat(),
        );
        let hole = ["-i", text(&whole), "-c", "copy", "-bsf:a", HOLE];
        let creative = show.bench.make(&format!("hole.{ending}"), &hole);
        let out = show.with(&creative);
        let raw = out.with_extension("f32");
        let mono = ["-ac", "1", "-ar", "44100", "-f", "f32le"];
        ffmpeg(&[&["-i", text(&out)][..], &mono].concat(), &raw);
        let pcm = std::fs::read(&raw).expect("samples");
        let pcm: Vec<f32> = pcm
            .chunks_exact(4)
            .map(|sample| f32::from_le_bytes(sample.try_into().expect("four")))
            .collect();
        for (at, heard, red) in [
            (0.2, true, true),
            (0.75, false, true),
            (1.2, true, true),
            (1.85, true, true),
            (2.2, false, false),
        ] {
            let [r, _, b] = colour(&out, &at.to_string(), "80:40:40:20");
            assert_eq!((r > 150, b > 150), (red, !red), "{ending} at {at} s: {r} {b}");
            let loud = loudest(&pcm, at, at + 0.1);
            assert_eq!(loud > 0.1, heard, "{ending} at {at} s: {loud}");
        }
    }
}

/// The content's sound begins at once, its pictures 0.4 s later; the ad's turn blue in the middle.
fn an_ad_before_pictures_that_begin_later_is_in_step() {
    let mut show = Show::new();
    let now = text(&show.content).to_owned();
    let late = ["-itsoffset", "0.4", "-i", &now, "-i", &now];
    let copied = ["-map", "0:v", "-map", "1:a", "-c", "copy"];
    // Coded anew, the first picture would be there from the beginning.
    show.content = show.bench.make("late.mp4", &[&late[..], &copied].concat());
    let red = "color=red:d=0.48:s=160x90:r=25[a];color=blue:d=0.52:s=160x90:r=25[b];[a][b]concat";
    let turning = ["-f", "lavfi", "-i", red];
    let coding = [&H264[..], &["-c:a", "aac"]].concat();
    let creative = show
        .bench
        .make("ad.mp4", &[&turning[..], &SOUND, &coding].concat());
    let out = show.with(&creative);
    for (at, red) in [
        ("0", true),
        ("0.2", true),
        ("0.40", true),
        ("0.52", false),
        ("0.8", false),
    ] {
        let [r, _, b] = colour(&out, at, "80:40:40:20");
        assert_eq!((r > 150, b > 150), (red, !red), "at {at} s: {r} {b}");
    }
}

/// As streams do that go over to another rendition.
fn pictures_that_change_their_size_are_fitted() {
    let show = Show::new();
    let parts = [("red", "320x180"), ("blue", "180x320")].map(|(colour, size)| {
        let pictures = format!("color={colour}:d=1:s={size}:r=25");
        let input = ["-f", "lavfi", "-i", &pictures];
        show.bench.make(
            &format!("{colour}.ts"),
            &[&input[..], &SOUND, &H264, &["-c:a", "aac"]].concat(),
        )
    });
    let both = format!("concat:{}|{}", text(&parts[0]), text(&parts[1]));
    for name in ["both.ts", "both.mp4", "both.mkv"] {
        let creative = show.bench.make(name, &["-i", &both, "-c", "copy"]);
        let out = show.with(&creative);
        let middle = ["0.5", "1.5"].map(|at| colour(&out, at, "8:8:76:41"));
        assert!(middle[0][0] > 150 && middle[1][2] > 150, "{name}: {middle:?}");
        // The second stands upright, with bars beside it.
        let beside = ["0.5", "1.5"].map(|at| colour(&out, at, "8:8:8:41"));
        assert!(
            beside[0][0] > 150 && beside[1].iter().all(|part| *part < 40),
            "{name}: {beside:?}"
        );
    }
}
