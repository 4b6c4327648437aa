//! Splices ADTS whose frames carry checksums. No encoder that is at hand writes them, so they are put into frames that have none.

mod common;

use common::{Fixture, judge_bridged, mid_rolls};

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
