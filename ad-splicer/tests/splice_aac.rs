//! Splices AAC-LC and judges the results by ffmpeg.

mod common;

use ad_splicer::splice::{self, Options, SpliceError};
use common::{Fixture, SINE, ad, at, decode, ends, judge_bridged, left, loudness, mid_rolls};

#[test]
fn adts() {
    for (rate, channels, coding) in [
        (44_100, 2, &["-c:a", "aac", "-b:a", "128k", "-aac_pns", "0"][..]),
        (48_000, 1, &["-c:a", "aac", "-b:a", "64k", "-aac_pns", "0"]),
    ] {
        let fixture = Fixture::new("content.aac", rate, channels, coding);
        let breaks = mid_rolls(rate, channels);
        let (path, report) = fixture.splice("mid.aac", &breaks);
        let errors = judge_bridged(&fixture, &path, &report, &breaks, (1024, 0, 1));
        assert_eq!(errors.len(), 6);
        for error in errors {
            let limit = if error.break_index == 0 { -60.0 } else { -40.0 };
            assert!(error.db < limit, "{error:?}");
        }
        let breaks = ends(rate, channels);
        let (path, report) = fixture.splice("ends.aac", &breaks);
        judge_bridged(&fixture, &path, &report, &breaks, (1024, 0, 1));
        assert_eq!(report.seams.len(), 2);
    }
}

/// A rate that AAC has and nobody makes ads for.
#[test]
fn sound_of_a_rate_that_no_ad_can_have_is_refused() {
    for name in ["content.aac", "content.m4a", "content.wav"] {
        let fixture = Fixture::new(name, 7_350, 1, &[]);
        let content = std::fs::read(&fixture.content).unwrap();
        let error = splice::probe(&content, &Options::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the content has 7350 samples a second, and ads can be put into sound of 8000 to 192000",
            "{name}"
        );
        assert!(matches!(error, SpliceError::Unsupported(_)));
    }
}

#[test]
fn ads_take_256_kbit_in_stereo_and_where_they_are_can_be_sought() {
    let coding = ["-c:a", "aac", "-b:a", "128k", "-aac_pns", "0"];
    let fixture = Fixture::new("content.aac", 44_100, 2, &coding);
    let breaks = [at(common::MUSIC, vec![ad(44_100, 2, 10 * 44_100, 500.0)])];
    let (path, report) = fixture.splice("ten.aac", &breaks);
    judge_bridged(&fixture, &path, &report, &breaks, (1024, 0, 1));
    let len = |path| std::fs::metadata(path).unwrap().len();
    let more = len(&path) - len(&fixture.content);
    println!("{more} bytes for ten seconds");
    // With up to 20 packets on both sides that are as long as can be.
    assert!(more < 10 * 256_000 / 8 + 40 * 1_600, "{more} bytes");

    let content = std::fs::read(&fixture.content).unwrap();
    let rendition = splice::prepare(&content, &breaks, &Options::default()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut before = None;
    for point in rendition.points() {
        let header = &whole[point.offset as usize..][..2];
        assert!(header[0] == 0xFF && header[1] & 0xF6 == 0xF0, "{point:?}");
        assert!(before.is_none_or(|before| before < point.sample), "{point:?}");
        before = Some(point.sample);
    }
    let within = |point: &&splice::SeekPoint| (27 * 44_100..35 * 44_100).contains(&point.sample);
    assert!(rendition.points().iter().filter(within).count() > 7);
}

#[test]
fn a_span_is_replaced() {
    let coding = ["-c:a", "aac", "-b:a", "128k", "-aac_pns", "0"];
    let fixture = Fixture::new("content.aac", 44_100, 2, &coding);
    let mut breaks = mid_rolls(44_100, 2);
    breaks[2].replace = std::time::Duration::from_millis(2_345);
    let (path, report) = fixture.splice("replaced.aac", &breaks);
    let errors = judge_bridged(&fixture, &path, &report, &breaks, (1024, 0, 1));
    assert_eq!(errors.len(), 6);
    assert!(errors.iter().all(|error| error.db < -40.0), "{errors:?}");
}

#[test]
fn a_sine_goes_into_an_ad_without_a_click_and_ads_are_as_loud_as_they_were() {
    let coding = ["-c:a", "aac", "-b:a", "256k", "-aac_pns", "0"];
    let fixture = Fixture::new("content.aac", 44_100, 2, &coding);
    let breaks = [at(SINE, vec![ad(44_100, 2, 90_001, 220.0)])];
    let (path, report) = fixture.splice("click.aac", &breaks);
    let decoded = decode(&path);
    let cue = fixture.sample_at(report.ads[0].presentation);
    let energy = common::above_4k(&left(&decoded, 2)[cue - 15_000..cue + 90_001 + 15_000], 44_100);
    println!("above 4 kHz {energy:.1} dBFS");
    assert!(energy < -95.0, "{energy:.1} dBFS");
    let (given, got) = (
        loudness(&breaks[0].ads[0].pcm.samples().unwrap(), 44_100, 2),
        loudness(&decoded[cue * 2..(cue + 90_001) * 2], 44_100, 2),
    );
    assert!((given - got).abs() <= 0.5, "{given} LUFS became {got}");
}

#[test]
fn a_sine_resumes_out_of_silence_without_a_click() {
    let coding = ["-c:a", "aac", "-b:a", "128k"];
    let fixture = Fixture::new("content.aac", 44_100, 2, &coding);
    let mut quiet = ad(44_100, 2, 90_001, 300.0);
    let count = quiet.pcm.len();
    let faded: Vec<f32> = quiet
        .pcm
        .samples()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(i, sample)| sample * ((count - 1 - i) as f32 / 44_100.0).min(1.0))
        .collect();
    quiet.pcm = faded.into();
    for cue in [SINE, SINE + 211, SINE + 1_007, SINE + 1_500, SINE + 2_003] {
        let (path, report) = fixture.splice("resume.aac", &[at(cue, vec![quiet.clone()])]);
        let cue = fixture.sample_at(report.ads[0].presentation);
        let around = cue + 60_000..cue + 90_001 + 20_000;
        let energy = common::above_4k(&left(&decode(&path), 2)[around], 44_100);
        println!("above 4 kHz {energy:.1} dBFS");
        assert!(energy < -95.0, "{energy:.1} dBFS");
    }
}

#[test]
fn what_cannot_be_spliced_says_so() {
    let fixture = Fixture::new("content.aac", 44_100, 2, &["-c:a", "aac", "-t", "3"]);
    let whole = std::fs::read(&fixture.content).unwrap();
    let breaks = [at(1_000, vec![ad(44_100, 2, 20_000, 500.0)])];
    let attempt = |bytes: &[u8]| common::refusal(bytes, &breaks);
    // A last frame that is incomplete is as if it were not there.
    let (mut cut, mut without) = (Vec::new(), Vec::new());
    let of_cut = splice::splice(
        &whole[..whole.len() - 9].to_vec(),
        &breaks,
        &Options::default(),
        &mut cut,
    )
    .unwrap();
    let last = {
        let mut at = 0;
        loop {
            let header = &whole[at..at + 6];
            let len =
                usize::from(header[3] & 3) << 11 | usize::from(header[4]) << 3 | usize::from(header[5]) >> 5;
            if at + len >= whole.len() {
                break at;
            }
            at += len;
        }
    };
    splice::splice(
        &whole[..last].to_vec(),
        &breaks,
        &Options::default(),
        &mut without,
    )
    .unwrap();
    assert!(cut == without, "{of_cut:?}");
    let mut hole = whole.clone();
    hole[20_000..21_000].fill(0);
    assert!(matches!(attempt(&hole), SpliceError::Corrupt { .. }));
}

/// What was coded with few bits decodes to samples louder than full scale, which libav makes softer where nobody keeps it from that.
#[test]
fn seams_are_as_they_should_be_where_content_is_louder_than_full_scale() {
    let millis = [3_210, 7_777, common::MUSIC];
    for (rate, channels) in [(16_000, 1), (22_050, 1), (24_000, 2), (32_000, 1), (44_100, 1)] {
        let pcm = common::content(rate, channels, common::SECONDS);
        let loud: Vec<f32> = pcm.iter().map(|sample| (sample * 3.0).clamp(-1.0, 1.0)).collect();
        let bits = (rate * channels * 3 / 2).to_string();
        let coding = ["-c:a", "aac", "-aac_pns", "0", "-b:a", &bits];
        let fixture = Fixture::of("content.aac", rate, channels, &loud, &coding);
        let content = decode(&fixture.content);
        let breaks = millis.map(|millis| at(millis, vec![ad(rate, channels, rate, 500.0)]));
        let (path, report) = fixture.splice("loud.aac", &breaks);
        let errors = judge_bridged(&fixture, &path, &report, &breaks, (1024, 0, 1));
        for (error, millis) in errors.iter().zip(millis.iter().flat_map(|millis| [millis; 2])) {
            let around = |millis: u64| rate * millis as usize / 1000 * channels;
            let loudest = content[around(millis - 300)..around(millis + 300)].iter();
            let peak = loudest.fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
            println!("{rate} Hz, {channels} channels, {millis} ms: peak {peak:.2}, {error:?}");
            assert!(error.db < -35.0, "{error:?}");
        }
    }
}
