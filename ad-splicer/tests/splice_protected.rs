//! Splices streams whose frames carry checksums: CRC-protected MP3, and ADTS with CRCs. No encoder that is at hand writes them, so they are put into frames that have room.

mod common;

use ad_splicer::frames::mp3::Header;
use common::{Fixture, decode, judge_bridged, mid_rolls, run, run_both};

/// Layer III's checksum of a frame: half of its header, and its side information (ISO/IEC 11172-3 §2.4.3.1).
fn checksum(frame: &[u8], side: &[u8]) -> [u8; 2] {
    let crc = frame[2..4].iter().chain(side).fold(0xFFFF_u16, |crc, byte| {
        (0..8).rev().fold(crc, |crc, bit| {
            let carry = crc >> 15 ^ u16::from(byte >> bit & 1);
            crc << 1 ^ if carry == 1 { 0x8005 } else { 0 }
        })
    });
    crc.to_be_bytes()
}

/// The frames of an MP3 file without tags.
fn frames(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut frames) = (bytes, Vec::new());
    while let Ok(header) = Header::of(rest) {
        let (frame, tail) = rest.split_at(header.frame_len());
        frames.push(frame);
        rest = tail;
    }
    assert!(rest.is_empty(), "{} bytes are no frames", rest.len());
    frames
}

#[test]
fn protected_frames_of_mp3() {
    let coding = [
        "-id3v2_version",
        "0",
        "-c:a",
        "libmp3lame",
        "-b:a",
        "256k",
        "-reservoir",
        "0",
    ];
    let fixture = Fixture::new("content.mp3", 44_100, 1, &coding);
    let plain = std::fs::read(&fixture.content).unwrap();
    let mut content = Vec::new();
    for (i, frame) in frames(&plain).into_iter().enumerate() {
        let header = Header::of(frame).unwrap();
        if i == 0 {
            // The information frame.
            content.extend_from_slice(frame);
            continue;
        }
        // Nothing points back over a frame's end, so that it can be made longer: there is room for a checksum.
        let head = [frame[0], frame[1] & !1, frame[2] & 0x0F | 0xE0, frame[3]];
        let longer = Header::parse(head).unwrap();
        let (side, data) = frame[4..].split_at(header.side_info_len());
        let begin = content.len();
        content.extend(head);
        content.extend(checksum(&head, side));
        content.extend_from_slice(side);
        content.extend_from_slice(data);
        assert!(content.len() <= begin + longer.frame_len());
        content.resize(begin + longer.frame_len(), 0);
    }
    std::fs::write(&fixture.content, &content).unwrap();

    let breaks = mid_rolls(44_100, 1);
    let (path, report) = fixture.splice("result.mp3", &breaks);
    let result = std::fs::read(&path).unwrap();
    let result = frames(&result);
    let mut is_protected = 0;
    for frame in &result {
        let header = Header::of(frame).unwrap();
        if header.has_crc() {
            is_protected += 1;
            assert_eq!(
                frame[4..6],
                checksum(frame, &frame[6..6 + header.side_info_len()])
            );
        }
    }
    let content = frames(&content);
    let kept = content.iter().filter(|frame| result.contains(frame)).count();
    assert!(
        is_protected >= kept && content.len() - kept <= report.seams.len() * 9,
        "{kept} of {} frames are kept",
        content.len()
    );

    let text = path.to_str().unwrap();
    let args = [
        "-v",
        "warning",
        "-xerror",
        "-err_detect",
        "crccheck+explode",
        "-i",
        text,
        "-f",
        "null",
        "-",
    ];
    assert_eq!(
        run_both("ffmpeg", &args, None).1,
        "",
        "ffmpeg finds every checksum right"
    );
    let said = String::from_utf8(run("mp3val", &["-si", text], None)).unwrap();
    let mut warnings = said.lines().filter(|line| line.contains("WARNING"));
    assert!(
        warnings.all(|line| line.ends_with("No supported tags in the file")),
        "{said}"
    );
    let (before, after) = (decode(&fixture.content), decode(&path));
    let untouched = fixture.sample_at(report.ads[0].presentation) - 12 * 1152;
    assert!(before[..untouched] == after[..untouched]);
    assert!(
        report.seams.iter().all(|seam| seam.error_db < -40.0),
        "{:?}",
        report.seams
    );
}

#[test]
fn adts_with_checksums() {
    let coding = ["-c:a", "aac", "-b:a", "128k", "-aac_pns", "0"];
    let fixture = Fixture::new("content.aac", 44_100, 2, &coding);
    let plain = std::fs::read(&fixture.content).unwrap();
    let (mut rest, mut content) = (&plain[..], Vec::new());
    while let [0xFF, _, _, high, middle, low, ..] = rest {
        let len = usize::from(high & 3) << 11 | usize::from(*middle) << 3 | usize::from(low >> 5);
        let (frame, tail) = rest.split_at(len);
        let longer = len + 2;
        content.extend([
            0xFF,
            frame[1] & !1,
            frame[2],
            frame[3] & !3 | (longer >> 11) as u8,
        ]);
        content.extend([
            (longer >> 3) as u8,
            (longer << 5) as u8 | frame[5] & 0x1F,
            frame[6],
        ]);
        // Decoders leave out the checksum, and so do we.
        content.extend([0, 0]);
        content.extend_from_slice(&frame[7..]);
        rest = tail;
    }
    assert!(rest.is_empty());
    std::fs::write(&fixture.content, &content).unwrap();
    let breaks = mid_rolls(44_100, 2);
    let (path, report) = fixture.splice("result.aac", &breaks);
    let errors = judge_bridged(&fixture, &path, &report, &breaks, (1024, 0, 1));
    assert_eq!(errors.len(), 6);
    assert!(errors.iter().all(|error| error.db < -40.0), "{errors:?}");
}
