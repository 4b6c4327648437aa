//! Splices MP3 of free format and judges the results by mpg123 (through GStreamer), since ffmpeg decodes none.
//!
//! No encoder that is at hand writes free format: frames of a named bit rate get headers that do not tell it, or are made longer when nothing points back over their ends.

mod common;

use std::path::{Path, PathBuf};

use ad_splicer::frames::mp3::Header;
use ad_splicer::splice::Report;
use common::{Fixture, ends, mid_rolls, refusal, run};

/// Decoded samples before content sample 0.
const SKIP: usize = 1105;

/// A fixture whose frames do not tell their bit rate and are `longer` bytes longer.
fn free(rate: usize, channels: usize, coding: &[&str], longer: usize) -> Fixture {
    let coding = [&["-id3v2_version", "0", "-c:a", "libmp3lame"], coding].concat();
    let fixture = Fixture::new("content.mp3", rate, channels, &coding);
    let bytes = std::fs::read(&fixture.content).unwrap();
    let (mut rest, mut out, mut last) = (&bytes[..], Vec::new(), &bytes[..]);
    while let Ok(header) = Header::of(rest) {
        let (frame, tail) = rest.split_at(header.frame_len());
        last = frame;
        let begin = out.len();
        out.extend_from_slice(frame);
        out[begin + 2] &= 0x0F;
        out.resize(out.len() + longer, 0);
        rest = tail;
    }
    assert!(rest.is_empty(), "{} bytes are no frames", rest.len());
    // ffmpeg's information frame says nothing of how channels are joined; those of encoders do.
    out[3] = last[3];
    std::fs::write(&fixture.content, out).unwrap();
    fixture
}

/// What mpg123 decodes, the information frame and the encoder's delay left out.
fn decode(path: &Path) -> Vec<f32> {
    let location = format!("location={}", path.display());
    let args = [
        "-q",
        "filesrc",
        &location,
        "!",
        "mpegaudioparse",
        "!",
        "mpg123audiodec",
        "!",
        "audioconvert",
        "!",
        "audio/x-raw,format=F32LE",
        "!",
        "fdsink",
    ];
    let bytes = run("gst-launch-1.0", &args, None);
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// The frames of a file, those of free format all as long as `like` is, but for padding.
fn frames(path: &Path, like: Header) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let (mut rest, mut out) = (&bytes[..], Vec::new());
    while let Ok(header) = like.of_next(rest) {
        let (frame, tail) = rest.split_at(header.frame_len());
        out.push(frame.to_vec());
        rest = tail;
    }
    assert!(rest.is_empty(), "{} bytes are no frames", rest.len());
    out
}

/// Content before, between and after the breaks is what it was, to the byte and to the sample; ads are where they are said to be.
fn judge(fixture: &Fixture, path: &Path, report: &Report, like: Header) {
    let channels = fixture.channels;
    let size = like.samples() as usize;
    let (before, after) = (decode(&fixture.content), decode(path));
    let content = frames(&fixture.content, like);
    let spliced = frames(path, like);
    assert_eq!(
        after.len(),
        (spliced.len() - 1) * size * channels,
        "no frame is lost"
    );
    for frame in spliced[1..].iter().filter(|frame| !content.contains(frame)) {
        assert!(
            !Header::of_whole(frame).unwrap().is_free(),
            "what is not content tells its bit rate"
        );
    }

    for seam in &report.seams {
        assert!(seam.frames <= 8, "{seam:?}");
    }
    // Each frame of content is where it belongs: as many frames later as the breaks before it take.
    let at_frame = |samples: u64| (samples as usize + SKIP) / size;
    let mut shifts = vec![(0, 0)];
    for (i, ad) in report.ads.iter().enumerate() {
        let is_last = report
            .ads
            .get(i + 1)
            .is_none_or(|next| next.index.break_index != ad.index.break_index);
        if is_last {
            let cue = at_frame(ad.content.to_samples(fixture.rate as u32));
            let over = fixture.sample_at(ad.presentation) + fixture.samples(ad.duration);
            let shift = over - ad.content.to_samples(fixture.rate as u32) as usize;
            shifts.push((cue, shift.div_ceil(size)));
        }
    }
    let mut kept = vec![1];
    for (at, frame) in content.iter().enumerate().skip(1) {
        let shift = shifts
            .iter()
            .rev()
            .find(|(cue, _)| at > *cue + 1 || *cue == 0)
            .unwrap()
            .1;
        if spliced.get(at + shift) == Some(frame) {
            // Where the frames before it are content too, what it decodes to is what it was.
            if at > 4 && kept.ends_with(&[at - 4, at - 3, at - 2, at - 1]) {
                let (from, to) = ((at - 1) * size * channels, (at + shift - 1) * size * channels);
                let apart = before[from..]
                    .iter()
                    .zip(&after[to..])
                    .take(size * channels)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max);
                // mpg123 rounds otherwise at other places of a stream.
                assert!(apart < 1e-6, "content frame {at} is {apart} off");
            }
            kept.push(at);
        }
    }
    let bridged = content.len() - kept.len();
    println!("{bridged} frames were coded again");
    assert!(
        bridged <= report.seams.len() * 9,
        "{bridged} frames of content were coded again"
    );

    for ad in &report.ads {
        let from = (fixture.sample_at(ad.presentation) + SKIP) * channels;
        let len = fixture.samples(ad.duration) * channels;
        let level = (after[from..from + len]
            .iter()
            .map(|s| f64::from(*s).powi(2))
            .sum::<f64>()
            / len as f64)
            .sqrt();
        assert!((0.1..0.3).contains(&level), "ad {} has a level of {level}", ad.id);
    }
}

#[test]
fn frames_that_do_not_tell_their_bit_rate() {
    for (rate, channels, coding, longer) in [
        // Reservoirs reach over the frames' ends.
        (44_100, 2, &["-b:a", "192k"][..], 0),
        // 855 bytes, a length that has no name.
        (44_100, 2, &["-b:a", "256k", "-reservoir", "0"], 20),
        (48_000, 1, &["-b:a", "320k"], 0),
        (22_050, 2, &["-b:a", "80k"], 0),
    ] {
        let fixture = free(rate, channels, coding, longer);
        let bytes = std::fs::read(&fixture.content).unwrap();
        let len = (64..1442)
            .find(|at| bytes[*at..].starts_with(&bytes[..2]) && bytes[at + 2] & 0xFC == bytes[2] & 0xFC)
            .unwrap();
        let like = Header::of_free(*bytes.first_chunk().unwrap(), len).unwrap();
        let at_ends = ("ends.mp3", Vec::from(ends(rate, channels)));
        for (name, breaks) in [("mid.mp3", mid_rolls(rate, channels))]
            .into_iter()
            .chain((longer > 0).then_some(at_ends))
        {
            let (path, report): (PathBuf, Report) = fixture.splice(name, &breaks);
            for seam in &report.seams {
                println!("{rate} Hz, {coding:?}, {seam:?}");
            }
            judge(&fixture, &path, &report, like);
            assert!(
                report.seams.iter().all(|seam| seam.error_db < -40.0),
                "{:?}",
                report.seams
            );
        }
    }
}

#[test]
fn more_bits_than_any_name_are_refused() {
    let mut frame = vec![0; 1_200];
    frame[..4].copy_from_slice(&[0xFF, 0xFB, 0x00, 0x64]);
    let error = refusal(&frame.repeat(10), &mid_rolls(44_100, 2));
    assert!(error.to_string().contains("free format"), "{error}");
}
