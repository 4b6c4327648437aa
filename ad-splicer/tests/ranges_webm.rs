//! Long WebM is laid out from its cues and the clusters around the breaks, and a range of it needs that range and the beginning of its cluster.

mod common;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ad_splicer::content::Content;
use ad_splicer::play::Growing;
use ad_splicer::splice::{self, Ad, At, Break, Options};
use ad_splicer::time::ContentTime;
use common::origin::{BLOCK, Origin, a_thousand_ranges, whole};
use common::video::{Video, judge};
use common::{ad, packets};

const MIB: usize = 1 << 20;
const CUES: [u8; 4] = [0x1C, 0x53, 0xBB, 0x6B];

/// Ten minutes of noise.
fn sound() -> &'static [u8] {
    static SOUND: LazyLock<Vec<u8>> = LazyLock::new(made_sound);
    &SOUND
}

fn made_sound() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("content.webm");
    let noise = "anoisesrc=c=pink:a=0.2:seed=7:r=48000:d=600";
    let input = ["-v", "error", "-f", "lavfi", "-i", noise, "-ac", "2"];
    let coding = ["-c:a", "libopus", "-b:a", "96k", "-compression_level", "0"];
    let path = path.to_str().unwrap();
    common::run("ffmpeg", &[&input[..], &coding, &[path]].concat(), None);
    std::fs::read(path).unwrap()
}

/// Ten seconds of video with a key picture every second, for three minutes.
fn video() -> Video {
    static VIDEO: LazyLock<Vec<u8>> = LazyLock::new(made_video);
    let dir = tempfile::tempdir().unwrap();
    let content = dir.path().join("content.webm");
    std::fs::write(&content, &*VIDEO).unwrap();
    Video {
        dir,
        content,
        sound: 48_000,
        ticks: 1000.0,
    }
}

fn made_video() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("part.webm");
    let content = dir.path().join("content.webm");
    let (part, path) = (part.to_str().unwrap(), content.to_str().unwrap());
    let lasts = ["-t", "10", "-f", "lavfi", "-i"];
    let pictures = "testsrc2=s=160x90:r=25,noise=alls=40:allf=t";
    let vp9 = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"];
    let coded = [
        "-pix_fmt",
        "yuv420p",
        "-b:v",
        "400k",
        "-g",
        "25",
        "-keyint_min",
        "25",
    ];
    let args = [&["-v", "error"], &lasts[..], &[pictures], &vp9, &coded, &[part]].concat();
    common::run("ffmpeg", &args, None);
    let looped = [
        "-v",
        "error",
        "-stream_loop",
        "17",
        "-i",
        part,
        "-f",
        "lavfi",
        "-i",
    ];
    let noise = ["anoisesrc=c=pink:a=0.3:seed=7:r=48000:d=180"];
    let both = [
        "-t", "180", "-c:v", "copy", "-c:a", "libopus", "-b:a", "64k", path,
    ];
    common::run("ffmpeg", &[&looped[..], &noise, &both].concat(), None);
    std::fs::read(content).unwrap()
}

fn given(at: At, ad: Ad) -> Break {
    Break {
        at,
        replace: Duration::ZERO,
        ads: vec![ad],
    }
}

fn time(millis: u64) -> At {
    At::Time(ContentTime::from_millis(millis))
}

/// Those of sound: among them one before the times that take another byte, and one with a minute of content in its place.
fn breaks() -> Vec<Break> {
    let tone = || ad(48_000, 2, 200_000, 400.0);
    let mut breaks: Vec<Break> = [20_007, 300_000, 302_300, 499_003]
        .map(|millis| given(time(millis), tone()))
        .to_vec();
    breaks[3].replace = Duration::from_secs(60);
    breaks.extend([given(At::Start, tone()), given(At::End, tone())]);
    breaks
}

/// Where the cues are.
fn cues_of(bytes: &[u8]) -> usize {
    bytes.windows(4).rposition(|id| id == CUES).unwrap()
}

/// The same without cues: their element is one that nobody knows.
fn without_cues(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = cues_of(&bytes);
    bytes[at + 3] ^= 1;
    bytes
}

/// The same with one position among the cues a byte off: of the last cue before a time.
fn with_false_cue(bytes: &[u8], millis: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut last = None;
    let points =
        (cues_of(&bytes)..bytes.len() - 16).filter(|at| bytes[*at] == 0xBB && bytes[*at + 2] == 0xB3);
    for at in points {
        let len = usize::from(bytes[at + 3] & 0x7F);
        let time = bytes[at + 4..at + 4 + len]
            .iter()
            .fold(0, |time, byte| time << 8 | u64::from(*byte));
        if time <= millis {
            let within = bytes[at..].iter().position(|byte| *byte == 0xF1).unwrap();
            last = Some(at + within + 1 + usize::from(bytes[at + within + 1] & 0x7F));
        }
    }
    bytes[last.unwrap()] ^= 1;
    bytes
}

/// Lays out from a part, and gives the whole result, which is the one that comes of reading all.
fn laid_out(what: &str, bytes: &[u8], breaks: &[Break], most: usize) -> Vec<u8> {
    let origin = Origin::new(bytes.to_vec());
    let rendition = splice::prepare(&origin, breaks, &Options::default()).unwrap();
    let fetched = origin.fetched();
    println!("{what}: laid out from {fetched} bytes of {}", bytes.len());
    assert!(fetched <= most, "{what}: {fetched} bytes to lay out");
    let all = whole(&rendition, &origin);

    let thorough = Origin::new(without_cues(bytes));
    let other = splice::prepare(&thorough, breaks, &Options::default()).unwrap();
    assert!(thorough.fetched() >= bytes.len() - BLOCK as usize);
    assert_eq!(rendition.report(), other.report());
    let same = whole(&other, &thorough);
    let differs = all.iter().zip(&same).position(|(a, b)| a != b);
    assert_eq!((differs, all.len()), (None, same.len()), "{what}");

    origin.fetched();
    // The beginning of the cluster in which a range begins, and of one in which it ends.
    a_thousand_ranges(&rendition, &origin, &all, 2 * BLOCK as usize);
    all
}

#[test]
fn ten_minutes_of_sound_are_laid_out_from_the_clusters_around_the_cues() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = sound();
    let content = dir.path().join("content.webm");
    std::fs::write(&content, bytes).unwrap();
    let all = laid_out("sound", bytes, &breaks(), 2 * MIB);

    // ffmpeg finds each packet where the one before it ends.
    let path = dir.path().join("result.webm");
    std::fs::write(&path, &all).unwrap();
    let listed = packets(&path, "0:a");
    assert!(
        listed
            .windows(2)
            .all(|pair| (19..=21).contains(&(pair[1].pts - pair[0].pts))),
        "there is a gap in the sound"
    );
    let kept: std::collections::HashSet<String> = listed.into_iter().map(|packet| packet.hash).collect();
    let content = packets(&content, "0:a");
    let gone = content
        .iter()
        .filter(|packet| !kept.contains(&packet.hash))
        .count();
    assert!(
        gone <= 3_000 + 7 * 16,
        "{gone} packets of the content are not there"
    );
}

#[test]
fn cues_that_are_not_so_at_a_break_are_as_none() {
    let bytes = sound();
    let breaks = [
        given(time(100_000), ad(48_000, 2, 48_000, 400.0)),
        given(time(400_000), ad(48_000, 2, 48_000, 500.0)),
    ];
    let thorough = without_cues(bytes);
    let due = splice::prepare(&thorough, &breaks, &Options::default()).unwrap();
    let due = whole(&due, &thorough);
    for (millis, at_break) in [(100_000, true), (400_000, true), (250_000, false)] {
        let origin = Origin::new(with_false_cue(bytes, millis));
        let rendition = splice::prepare(&origin, &breaks, &Options::default()).unwrap();
        let read_through = origin.fetched() >= bytes.len() - BLOCK as usize;
        assert_eq!(read_through, at_break, "a false cue at {millis} ms");
        let all = whole(&rendition, &origin);
        if at_break {
            assert!(all == due, "a false cue at {millis} ms");
        } else {
            // Elsewhere only the list of cues tells what the content's did.
            let differ = all.iter().zip(&due).filter(|(a, b)| a != b).count();
            assert_eq!((all.len(), differ), (due.len(), 1));
        }
    }
}

/// The same with no length of any cluster.
fn with_endless_clusters(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut count = 0;
    for at in 0..bytes.len() - 16 {
        let len = bytes[at + 4].leading_zeros() as usize + 1;
        if bytes[at..at + 4] == [0x1F, 0x43, 0xB6, 0x75] && len <= 8 && bytes[at + 4 + len] == 0xE7 {
            bytes[at + 4..at + 4 + len].fill(0xFF);
            bytes[at + 4] = 0xFF >> (len - 1);
            count += 1;
        }
    }
    assert!(count > 50, "{count} clusters");
    bytes
}

/// The same sound in clusters of a tenth of a second, with those of their cues whose number and time in milliseconds are wanted.
fn with_few_cues(bytes: &[u8], wanted: impl Fn(usize, u64) -> bool) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("content.webm");
    let copied = [
        "-v",
        "error",
        "-i",
        "-",
        "-c",
        "copy",
        "-cluster_time_limit",
        "100",
    ];
    let args = [&copied[..], &[path.to_str().unwrap()]].concat();
    common::run("ffmpeg", &args, Some(bytes));
    let mut bytes = std::fs::read(path).unwrap();
    let points =
        (cues_of(&bytes)..bytes.len() - 16).filter(|at| bytes[*at] == 0xBB && bytes[*at + 2] == 0xB3);
    let points: Vec<usize> = points.collect();
    assert!(points.len() > 4_000, "{} cues", points.len());
    for (number, at) in points.into_iter().enumerate() {
        let len = usize::from(bytes[at + 3] & 0x7F);
        let time = &bytes[at + 4..at + 4 + len];
        let time = time.iter().fold(0, |time, byte| time << 8 | u64::from(*byte));
        if !wanted(number, time) {
            // An element that stands for nothing.
            bytes[at] = 0xEC;
        }
    }
    bytes
}

/// Where a read could not get from a cue to the cluster it is in, or could not change its time, all is read before anything is given.
#[test]
fn clusters_that_cannot_be_passed_unseen_are_read_through() {
    let breaks = [
        given(time(100_000), ad(48_000, 2, 48_000, 400.0)),
        given(time(400_000), ad(48_000, 2, 48_000, 500.0)),
    ];
    for (what, bytes) in [
        ("endless clusters", with_endless_clusters(sound())),
        ("few cues", with_few_cues(sound(), |number, _| number % 300 == 0)),
        (
            "no cues for a while",
            with_few_cues(sound(), |_, time| !(150_000..250_000).contains(&time)),
        ),
    ] {
        let thorough = without_cues(&bytes);
        let due = splice::prepare(&thorough, &breaks, &Options::default()).unwrap();
        let origin = Origin::new(bytes.clone());
        let rendition = splice::prepare(&origin, &breaks, &Options::default()).unwrap();
        assert!(origin.fetched() >= bytes.len() - BLOCK as usize, "{what}");
        assert!(
            whole(&rendition, &origin) == whole(&due, &thorough),
            "{what}: they differ"
        );
    }
    // A cue for each of such clusters is enough.
    let bytes = with_few_cues(sound(), |_, _| true);
    laid_out("short clusters", &bytes, &breaks, 2 * MIB);
}

#[test]
fn three_minutes_of_video_are_laid_out_from_the_clusters_around_the_cues() {
    let video = video();
    let bytes = std::fs::read(&video.content).unwrap();
    let replaced = Break {
        replace: Duration::from_millis(30_200),
        ..given(time(120_040), video.ad(48_000))
    };
    // At a key picture, between two, with content in its place, and at the end.
    let breaks = [
        given(time(30_007), video.ad(96_077)),
        given(time(80_480), video.ad(48_000)),
        replaced,
        given(At::End, video.ad(24_000)),
    ];
    let all = laid_out("video", &bytes, &breaks, bytes.len() / 2);
    let path = video.dir.path().join("result.webm");
    std::fs::write(&path, &all).unwrap();

    let (path, report) = video.splice(&breaks[..1]).unwrap();
    judge(&video, &path, &report, 0);
}

/// A second break comes to what is played, and the bytes up to it stay: those between the first one and it were not looked at before.
#[test]
fn what_is_played_grows_by_one_break_after_the_other() {
    let video = video();
    let dir = tempfile::tempdir().unwrap();
    let of_sound = [150_000, 400_000].map(|millis| given(time(millis), ad(48_000, 2, 48_000, 400.0)));
    let of_video = [40_007, 130_007].map(|millis| given(time(millis), video.ad(48_000)));
    for (what, bytes, breaks) in [
        ("sound", sound().to_vec(), of_sound),
        ("video", std::fs::read(&video.content).unwrap(), of_video),
    ] {
        let options = Options {
            growing: true,
            ..Options::default()
        };
        let content: Arc<dyn Content> = Arc::new(bytes);
        let stage = |count: usize| splice::prepare(content.as_ref(), &breaks[..count], &options).unwrap();
        let all = stage(2);
        let places = all.points().to_vec();
        let growing = Growing::new(content.clone(), stage(0));
        let mut view = Vec::new();
        let mut read_to = |growing: &Growing, sample: i64| {
            let from = view.len();
            let until = places.partition_point(|place| place.sample < sample);
            let until = places.get(until).map_or(growing.len(), |place| place.offset);
            view.resize(until as usize, 0);
            let deadline = Duration::from_secs(1);
            growing
                .read_exact_at(from as u64, &mut view[from..], deadline)
                .unwrap();
        };
        let seconds = |at: At| match at {
            At::Time(time) => time.to_samples(48_000) as i64,
            _ => 0,
        };
        read_to(&growing, seconds(breaks[0].at) - 10 * 48_000);
        growing.replace(stage(1)).expect(what);
        read_to(&growing, seconds(breaks[1].at) - 10 * 48_000);
        growing.replace(stage(2)).expect(what);
        read_to(&growing, i64::MAX);
        assert!(view == whole(&all, content.as_ref()), "{what} differs");

        // It plays as the file does.
        let file = splice::prepare(content.as_ref(), &breaks, &Options::default()).unwrap();
        assert_eq!(file.report().duration, all.report().duration);
        let [played, written] = [
            ("played.webm", &view),
            ("file.webm", &whole(&file, content.as_ref())),
        ]
        .map(|(name, bytes)| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            common::hashes(&path, "0:a")
        });
        assert!(played == written && played.len() > 1_000, "{what}: other packets");
    }
}
