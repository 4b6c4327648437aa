//! However many ads there are, in one break or in many: what is decoded is as long as content and ads, within one frame, and each join is where it is said to be, as ffmpeg decodes it.

mod common;

use ad_splicer::splice::{At, Break};
use ad_splicer::time::ContentTime;
use common::{Fixture, ad, at, content, decode, rms_db};

/// Seconds of content.
const SECONDS: usize = 24;
/// Ads of a second each, which is a whole number of frames in none of the formats.
const ADS: usize = 10;

struct Format {
    name: &'static str,
    rate: usize,
    frame: usize,
    coding: &'static [&'static str],
}

const FORMATS: [Format; 5] = [
    Format {
        name: "44100.mp3",
        rate: 44_100,
        frame: 1152,
        coding: &["-c:a", "libmp3lame", "-b:a", "96k"],
    },
    // Nothing says where its last frame ends.
    Format {
        name: "48000.mp3",
        rate: 48_000,
        frame: 1152,
        coding: &["-c:a", "libmp3lame", "-b:a", "96k", "-write_xing", "0"],
    },
    Format {
        name: "24000.mp3",
        rate: 24_000,
        frame: 576,
        coding: &["-c:a", "libmp3lame", "-b:a", "64k"],
    },
    Format {
        name: "44100.aac",
        rate: 44_100,
        frame: 1024,
        coding: &["-c:a", "aac", "-b:a", "96k", "-aac_pns", "0"],
    },
    Format {
        name: "48000.m4a",
        rate: 48_000,
        frame: 1024,
        coding: &["-c:a", "aac", "-b:a", "96k", "-aac_pns", "0"],
    },
];

fn end(ads: Vec<ad_splicer::splice::Ad>) -> Break {
    Break {
        at: At::End,
        ..at(0, ads)
    }
}

/// That `heard` goes like `wanted` from a sample on, and not earlier or later.
fn judge_place(name: &str, heard: &[f32], start: usize, wanted: &[f32]) {
    let error = |shift: i64| {
        let heard = &heard[(start as i64 + shift) as usize..][..wanted.len()];
        rms_db(heard.iter().zip(wanted).map(|(a, b)| a - b))
    };
    let best = (-30..=30).min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap();
    assert_eq!(best, 0, "{name} stands {best} samples off");
    assert!(error(0) < -30.0, "{name} differs by {:.1} dB", error(0));
}

/// Gives how many ads were cut.
fn judge(fixture: &Fixture, format: &Format, name: &str, breaks: &[Break]) -> usize {
    let name = format!("{name}-{}", format.name);
    let (path, report) = fixture.splice(&name, breaks);
    let (before, after) = (decode(&fixture.content), decode(&path));
    let given = |ad: &ad_splicer::plan::AdIndex| breaks[ad.break_index].ads[ad.ad].pcm.samples().unwrap();
    let all: usize = report.ads.iter().map(|ad| given(&ad.index).len()).sum();
    assert_eq!(report.ads.len(), ADS, "{name}");
    let longer = after.len() as i64 - (before.len() + all) as i64;
    println!("{name}: {longer} samples longer than content and ads");
    assert!(
        longer.unsigned_abs() <= format.frame as u64,
        "{name}: {longer} samples longer"
    );

    let margin = format.rate / 100;
    let (mut cut, mut heard_until, mut content) = (0, 0, 0);
    for spliced in &report.ads {
        let start = fixture.sample_at(spliced.presentation);
        let cue = spliced.content.to_samples(format.rate as u32) as usize;
        // Content up to the cue, from after the bridge's own beginning.
        assert!(start >= heard_until, "{name}: {spliced:?}");
        if cue > content {
            let stretch = &before[content + format.rate / 4..cue];
            judge_place(
                &format!("{name}: content before {cue}"),
                &after,
                start - stretch.len(),
                stretch,
            );
            content = cue;
        } else {
            assert_eq!(start, heard_until, "{name}: ads of a break follow each other");
        }
        let lasts = fixture.samples(spliced.duration);
        let given = given(&spliced.index);
        assert!(
            lasts <= given.len() && given.len() < lasts + format.frame,
            "{name}: {spliced:?}"
        );
        cut += usize::from(lasts < given.len());
        judge_place(
            &format!("{name}: ad {}", spliced.id),
            &after,
            start + margin,
            &given[margin..lasts - margin],
        );
        heard_until = start + lasts;
    }
    let rest = &before[content..];
    if rest.len() > format.rate {
        // Whole frames after the last ad.
        let start = after.len() - rest.len();
        let rest = &rest[format.rate / 4..rest.len() - format.rate / 10];
        judge_place(
            &format!("{name}: content to the end"),
            &after,
            start + format.rate / 4,
            rest,
        );
    }
    cut
}

fn ads(rate: usize) -> Vec<ad_splicer::splice::Ad> {
    (0..ADS)
        .map(|i| ad(rate, 1, rate, 300.0 + 37.0 * i as f64))
        .collect()
}

#[test]
fn ten_breaks_are_no_longer_than_content_and_ads() {
    for format in &FORMATS {
        let pcm = content(format.rate, 1, SECONDS);
        let fixture = Fixture::of(format.name, format.rate, 1, &pcm, format.coding);
        let mut breaks: Vec<Break> = ads(format.rate)
            .into_iter()
            .enumerate()
            .map(|(i, ad)| at(2_013 + 2_100 * i as u64, vec![ad]))
            .collect();
        let cut = judge(&fixture, format, "ten", &breaks);
        assert!(cut > 0, "{}", format.name);
        // The last one after everything.
        let last = breaks.pop().unwrap();
        breaks.push(end(last.ads));
        judge(&fixture, format, "end", &breaks);
    }
}

#[test]
fn ten_ads_in_one_break_follow_each_other_and_so_do_ten_breaks_at_one_place() {
    for format in &FORMATS {
        let pcm = content(format.rate, 1, 8);
        let fixture = Fixture::of(format.name, format.rate, 1, &pcm, format.coding);
        let one = [at(3_017, ads(format.rate))];
        let many: Vec<Break> = ads(format.rate)
            .into_iter()
            .map(|ad| at(3_017, vec![ad]))
            .collect();
        assert_eq!(judge(&fixture, format, "one", &one), 0, "{}", format.name);
        let (path, _) = fixture.splice("many", &many);
        let one = std::fs::read(fixture.dir.path().join(format!("one-{}", format.name))).unwrap();
        assert!(one == std::fs::read(path).unwrap(), "{}", format.name);
    }
}

#[test]
fn breaks_at_one_place_are_one_break_in_flac_that_grows() {
    let fixture = Fixture::of(
        "content.flac",
        44_100,
        1,
        &content(44_100, 1, 8),
        &["-c:a", "flac"],
    );
    let content = std::fs::read(&fixture.content).unwrap();
    let options = ad_splicer::splice::Options {
        growing: true,
        ..Default::default()
    };
    let spliced = |breaks: &[Break]| {
        let mut bytes = Vec::new();
        ad_splicer::splice::splice(&content, breaks, &options, &mut bytes).unwrap();
        bytes
    };
    // Where a block begins, too.
    for sample in [3 * 44_100 + 17, 30 * 4_608] {
        let place = At::Time(ContentTime::from_samples(sample, 44_100));
        let break_of = |ads| Break {
            at: place,
            ..at(0, ads)
        };
        let pair = || [ad(44_100, 1, 44_100, 500.0), ad(44_100, 1, 50_000, 700.0)];
        let apart = pair().map(|ad| break_of(vec![ad]));
        assert!(
            spliced(&apart) == spliced(&[break_of(pair().to_vec())]),
            "{sample}"
        );
    }
}
