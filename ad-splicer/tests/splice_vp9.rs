//! Splices VP9 and Opus in WebM and judges the results by ffmpeg.

mod common;

use std::path::Path;
use std::time::Duration;

use ad_splicer::pauses;
use ad_splicer::splice::{self, Ad, At, Break, Codec, Options, notes, preview};
use ad_splicer::time::ContentTime;
use common::video::{Video, alike, chapter_at_cue, judge, last_picture_comes_back, seen};
use common::{ad, at, decode, packets, rms_db};

const TEST_PICTURES: &str = "testsrc2=s=160x90";
const NOISE: &str = "anoisesrc=c=pink:a=0.3:seed=7:r=48000";
/// A group of 25 pictures.
const GROUPS: &[&str] = &["-g", "25", "-keyint_min", "25"];

/// Ten seconds of these pictures and this sound.
fn made(name: &str, pictures: &str, sound: &str, coding: &[&str]) -> Video {
    lasting((10, 10), name, pictures, sound, coding)
}

/// So many seconds of these pictures, and of this sound.
fn lasting((seen, heard): (u32, u32), name: &str, pictures: &str, sound: &str, coding: &[&str]) -> Video {
    let dir = tempfile::tempdir().unwrap();
    let content = dir.path().join(name);
    let [seen, heard] = [seen, heard].map(|seconds| seconds.to_string());
    let lasts = |seconds| ["-t", seconds, "-f", "lavfi", "-i"];
    let inputs = [
        &["-v", "error"],
        &lasts(&seen)[..],
        &[pictures],
        &lasts(&heard),
        &[sound],
    ]
    .concat();
    let coded = [
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libvpx-vp9",
        "-deadline",
        "realtime",
    ];
    let fast = ["-cpu-used", "8", "-b:v", "300k", "-c:a", "libopus", "-b:a", "96k"];
    let args = [&inputs, &coded[..], &fast, coding, &[content.to_str().unwrap()]].concat();
    common::run("ffmpeg", &args, None);
    Video {
        dir,
        content,
        sound: 48_000,
        ticks: 1000.0,
    }
}

fn usual() -> Video {
    made("content.webm", &format!("{TEST_PICTURES}:r=25"), NOISE, GROUPS)
}

/// How many pictures of the content are not in the result as they were.
fn replaced(video: &Video, path: &Path) -> usize {
    let (before, after) = (packets(&video.content, "0:v"), packets(path, "0:v"));
    let gone = before
        .iter()
        .filter(|one| !after.iter().any(|other| other.hash == one.hash));
    gone.count()
}

#[test]
fn breaks_at_key_frames_leave_every_packet_of_pictures_as_it_was() {
    for (name, rate, coding) in [
        ("content.webm", "25", GROUPS),
        // Hidden frames, which later pictures refer to.
        (
            "hidden.webm",
            "30",
            &[
                "-deadline",
                "good",
                "-auto-alt-ref",
                "1",
                "-lag-in-frames",
                "16",
                "-g",
                "30",
            ],
        ),
        // As recorders write it: nobody knows how long the segment and its clusters are, which begin anywhere.
        (
            "live.mkv",
            "30000/1001",
            &[
                "-g",
                "30",
                "-live",
                "1",
                "-cluster_time_limit",
                "1700",
                "-frame_duration",
                "60",
            ],
        ),
        (
            "short.webm",
            "24",
            &["-g", "24", "-frame_duration", "2.5", "-ac", "2"],
        ),
    ] {
        let video = made(name, &format!("{TEST_PICTURES}:r={rate}"), NOISE, coding);
        let format = splice::probe(&video.content(), &Options::default()).unwrap();
        assert_eq!(format.codec, Codec::WebmVp9);
        let channels = usize::from(format.channels);
        let sound = |mut ad: Ad| {
            let once = ad.pcm.samples().unwrap().into_owned();
            let twice: Vec<f32> = once.iter().flat_map(|sample| vec![*sample; channels]).collect();
            ad.pcm = twice.into();
            ad
        };
        let breaks = [at(4004, vec![sound(video.ad(96_077)), sound(video.ad(48_001))])];
        let (path, report) = video.splice(&breaks).unwrap();
        judge(&video, &path, &report, 0);
        let cue = report.ads[0].content.as_secs_f64();
        // ffmpeg has pictures begin 7 ms after the sound.
        assert!((cue - 4.007).abs() < 0.005, "{name}: {:?}", report.ads);
    }
}

#[test]
fn a_cue_between_key_frames_is_hit_to_the_picture_and_costs_one_group() {
    let video = usual();
    let two = [at(4520, vec![video.ad(48_000)]), at(4720, vec![video.ad(24_000)])];
    let replace = Break {
        replace: Duration::from_millis(1480),
        ..at(2200, vec![video.ad(48_000)])
    };
    for (breaks, recoded, left_out, cues) in [
        (two.to_vec(), 25, 0, vec![4.52, 4.72]),
        (vec![replace], 50, 37, vec![2.2]),
    ] {
        let (path, report) = video.splice(&breaks).unwrap();
        for (ad, cue) in report.ads.iter().zip(&cues) {
            assert!((ad.content.as_secs_f64() - cue - 0.007).abs() < 0.001, "{ad:?}");
        }
        judge(&video, &path, &report, recoded);
        // Every picture of the content is seen, in its order, and only the ads between.
        let (before, after) = (seen(&video.content), seen(&path));
        let first = (cues[0] * 25.0_f64).round() as usize;
        for i in 0..first {
            assert!(alike(&before[i], &after[i]), "picture {i}");
        }
        let (resumes, behind) = (first + left_out, after.len() + left_out - before.len());
        assert!(
            !alike(&before[resumes], &after[first]),
            "the ad begins at the cue"
        );
        let last = (*cues.last().unwrap() * 25.0_f64).round() as usize + left_out;
        for i in last..before.len() {
            assert!(
                alike(&before[i], &after[i + behind - left_out]),
                "picture {i} after the last ad"
            );
        }
        common::random_ranges_of(&video.content, &path, &breaks);
    }
}

/// A flash of a picture and a beep every second.
fn flashing() -> Video {
    made(
        "content.webm",
        "testsrc2=s=160x90:r=25,drawbox=color=white:t=fill:enable='lt(mod(t+0.5,1),0.04)'",
        "aevalsrc='0.5*sin(6283*t)*lt(mod(t+0.5,1),0.04)':s=48000",
        GROUPS,
    )
}

/// When pictures flash, and when sound begins after silence, in seconds.
fn flashes_and_beeps(path: &Path) -> (Vec<f64>, Vec<f64>) {
    let file = path.to_str().unwrap();
    let bright = "signalstats,metadata=select:key=lavfi.signalstats.YAVG:value=200:function=greater,metadata=print:file=-";
    let args = [
        "-v", "error", "-copyts", "-i", file, "-an", "-vf", bright, "-f", "null", "-",
    ];
    let text = String::from_utf8(common::run("ffmpeg", &args, None)).unwrap();
    let times = text.lines().filter_map(|line| line.split("pts_time:").nth(1));
    let flashes = times.map(|time| time.trim().parse().unwrap()).collect();
    let quiet = common::decode(path);
    let beeps = (4800..quiet.len())
        .filter(|i| quiet[*i].abs() > 0.1 && quiet[i - 4800..*i].iter().all(|before| before.abs() <= 0.1));
    (flashes, beeps.map(|i| i as f64 / 48_000.0).collect())
}

#[test]
fn pictures_stay_with_the_sound_over_ten_breaks() {
    let video = flashing();
    let silent = |samples: usize| Ad {
        pcm: vec![0.0; samples].into(),
        ..video.ad(samples)
    };
    let mut breaks: Vec<Break> = (1..=8)
        .map(|second| at(second * 1000, vec![silent(20_000 + 1_111 * second as usize)]))
        .collect();
    for place in [At::Start, At::End] {
        breaks.push(Break {
            at: place,
            replace: Duration::ZERO,
            ads: vec![silent(30_001)],
        });
    }
    let (path, report) = video.splice(&breaks).unwrap();
    assert_eq!(report.ads.len(), 10);
    assert_eq!(replaced(&video, &path), 0);
    let (flashes, beeps) = flashes_and_beeps(&video.content);
    let (flashes_after, beeps_after) = flashes_and_beeps(&path);
    assert_eq!((flashes.len(), beeps.len()), (10, 10));
    assert_eq!(
        (flashes_after.len(), beeps_after.len()),
        (10, 10),
        "{flashes_after:?} {beeps_after:?}"
    );
    for i in 0..10 {
        let (was, is) = (flashes[i] - beeps[i], flashes_after[i] - beeps_after[i]);
        assert!((was - is).abs() < 0.001, "{was} became {is} at the flash {i}");
    }
    // Sound lasts as long as was promised, to the sample.
    let heard = common::decode(&path).len() as f64 / 48_000.0;
    assert!(
        (heard - report.duration.as_secs_f64()).abs() < 1e-4,
        "{heard} {:?}",
        report.duration
    );
    common::random_ranges_of(&video.content, &path, &breaks);
}

#[test]
fn an_ad_without_pictures_holds_the_one_before_it_and_previews_are_cut() {
    let video = usual();
    let (path, report) = video
        .splice(&[at(5000, vec![ad(48_000, 1, 48_000, 500.0)])])
        .unwrap();
    judge(&video, &path, &report, 0);
    assert_eq!(packets(&path, "0:v").len(), packets(&video.content, "0:v").len());

    let mut breaks = vec![at(4520, vec![video.ad(48_000)])];
    let around = Duration::from_millis(1500);
    breaks.extend(preview::cuts(&video.content(), &breaks, around, &Options::default()).unwrap());
    let (path, report) = video.splice(&breaks).unwrap();
    assert!((report.duration.as_secs_f64() - 4.0).abs() < 0.15, "{report:?}");
    judge(&video, &path, &report, replaced(&video, &path));
}

#[test]
fn cues_snap_to_key_frames_and_what_is_costly_or_refused_is_said() {
    let video = usual();
    let cue = [At::Time(ContentTime::from_millis(4400))];
    let tolerance = Duration::from_millis(500);
    let near = pauses::snap(&video.content(), &cue, tolerance, &Options::default()).unwrap()[0].unwrap();
    assert_eq!((near.to, near.pause), (ContentTime::from_millis(4007), None));
    let usual = notes::recoded(&video.content(), &cue, &Options::default());
    assert_eq!(usual.unwrap(), [None]);

    for (name, coding, words) in [
        ("vp8.webm", &["-c:v", "libvpx"][..], "only VP9"),
        ("high.webm", &["-pix_fmt", "yuv444p"], "profile is 1"),
        ("h264.mkv", &["-c:v", "libx264"], "only VP9"),
        (
            "two.mkv",
            &["-map", "0", "-map", "1", "-map", "1"],
            "more than one track",
        ),
    ] {
        let coding = [coding, &["-t", "1"]].concat();
        let video = made(name, &format!("{TEST_PICTURES}:r=25"), NOISE, &coding);
        let error = splice::probe(&video.content(), &Options::default()).unwrap_err();
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
}

#[test]
fn a_chapter_that_begins_at_the_cue_begins_behind_the_ads() {
    // ffmpeg has pictures begin 7 ms after the sound, and later by as much when it copies them.
    chapter_at_cue(usual(), 4_040, 4.054);
}

/// Ads at the end are seen and heard once pictures that outlast the sound are over.
#[test]
fn ads_at_the_end_wait_for_pictures_that_outlast_the_sound() {
    let large = [GROUPS, &["-b:v", "3M"]].concat();
    let [small, large] =
        [("", GROUPS), (",scale=320:180,noise=alls=40:allf=t", &large)].map(|(more, coding)| {
            let pictures = format!("{TEST_PICTURES}:r=25{more}");
            lasting((10, 8), "content.webm", &pictures, NOISE, coding)
        });
    // Of the large one its beginning, its end and what is around the breaks are looked at.
    assert!(std::fs::metadata(&large.content).unwrap().len() > 2 << 20);
    for video in [small, large] {
        let last = Break {
            at: At::End,
            ..at(0, vec![video.ad(48_000)])
        };
        for breaks in [
            vec![last.clone()],
            vec![at(4_000, vec![video.ad(48_000)]), last.clone(), last],
        ] {
            let (path, report) = video.splice(&breaks).unwrap();
            assert_eq!(report.ads.len(), breaks.len());
            let first = report
                .ads
                .iter()
                .find(|ad| ad.content.as_secs_f64() > 7.0)
                .unwrap();
            let begins = first.presentation.as_secs_f64();
            // ffmpeg has pictures begin 7 ms after the sound.
            let due = 10.007 + if breaks.len() == 1 { 0.0 } else { 1.0 };
            assert!((begins - due).abs() < 0.022, "at {begins} s, not {due}");
            let heard = decode(&path);
            let level = |from: f64, to: f64| {
                rms_db(
                    heard[(from * 48e3) as usize..(to * 48e3) as usize]
                        .iter()
                        .copied(),
                )
            };
            let levels = [
                level(begins - 1.9, begins - 0.03),
                level(begins + 0.1, begins + 0.9),
            ];
            assert!(levels[0] < -60.0 && levels[1] > -30.0, "{levels:?} dB");
            let seen = packets(&path, "0:v");
            let mut seen = seen.iter().map(|packet| packet.pts as f64 / video.ticks);
            let ad = seen.find(|at| *at > begins - 0.035).unwrap();
            assert!((ad - begins).abs() < 0.002, "seen at {ad}, heard at {begins}");
            let (_, said) = common::run_both(
                "ffmpeg",
                &["-v", "warning", "-i", path.to_str().unwrap(), "-f", "null", "-"],
                None,
            );
            assert_eq!(said, "");
        }
    }
}

#[test]
fn the_last_picture_of_a_shorter_video_comes_back_behind_ads() {
    let pictures = format!("{TEST_PICTURES}:r=25");
    let video = lasting((6, 10), "content.webm", &pictures, NOISE, GROUPS);
    last_picture_comes_back(&video, video.ticks);
}
