//! MP3 files: the index of frames, as it is found and as it is given, tags, rewriting frames so that they stand alone, and breaks.
#![no_main]

use ad_splicer::content::Content;
use ad_splicer::frame_index::FrameIndex;
use ad_splicer::frames::fuzzing::laid_out;
use ad_splicer::frames::mp3::{Index, find_head, hand_over, repack, reservoir};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

/// Ten frames of silence: 128 kbit/s at 44.1 kHz, stereo, after a small tag.
fn seeds() -> Vec<Vec<u8>> {
    let frames = |header: [u8; 4], length: usize| {
        let mut all = Vec::new();
        for _ in 0..10 {
            all.extend(header);
            all.resize(all.len() + length - 4, 0);
        }
        all
    };
    let plain = frames([0xFF, 0xFB, 0x90, 0x00], 417);
    let mut tagged = b"ID3\x04\0\0\0\0\0\x0Aabcdefghij".to_vec();
    tagged.extend(&plain);
    tagged.extend(b"TAG");
    tagged.resize(tagged.len() + 125, 0);
    let mut xing = plain.clone();
    xing[36..40].copy_from_slice(b"Xing");
    xing[43] = 0x0F;
    xing[47] = 9;
    xing[156..160].copy_from_slice(b"LAME");
    let mono = frames([0xFF, 0xF3, 0x84, 0xC0], 192);
    vec![plain, tagged, xing, mono]
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let content = data.to_vec();
    let deadline = Duration::from_secs(1);
    let _ = find_head(&content, deadline);
    if let Some(index) = FrameIndex::parse(data) {
        assert_eq!(FrameIndex::parse(&index.to_bytes()), Some(index));
    }
    let Ok(index) = Index::scan(&content, deadline) else { return };
    let frames = index.frames();
    assert!(frames > 0 && index.samples() > 0);
    assert!(index.offset(frames).expect("it was scanned") <= Content::len(&content));
    let _ = (index.skip(), index.constant_bit_rate(), index.gapless());
    let read = index.read(0..frames.min(12)).expect("what was scanned can be read");
    let parts: Vec<&[u8]> = read.iter().map(Vec::as_slice).collect();
    for at in 0..parts.len() {
        if let Ok(bytes) = reservoir(&parts, at) {
            let _ = hand_over(parts[at], &bytes);
        }
        if let Ok(frame) = repack(&parts, at) {
            assert!(frame.len() >= 4);
        }
    }
    laid_out(&content);
});
