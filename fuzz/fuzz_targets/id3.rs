//! ID3v2 tags: chapters are read and moved, and an edited tag is still a tag.
#![no_main]

use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    let frame = |id: &[u8], body: &[u8]| {
        let mut frame = id.to_vec();
        frame.extend((body.len() as u32).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(body);
        frame
    };
    let mut chapter = b"one\0".to_vec();
    chapter.extend([0, 0, 0, 1, 0, 0, 9, 9]);
    chapter.extend([0xFF; 8]);
    chapter.extend(frame(b"TIT2", b"\x03Ad"));
    let body = [
        frame(b"CHAP", &chapter),
        frame(b"TLEN", b"\x0012345"),
        frame(b"MLLT", &[0; 12]),
        frame(b"APIC", &[0xFF; 40]),
    ]
    .concat();
    [3_u8, 4, 2]
        .into_iter()
        .flat_map(|version| [0_u8, 0x80, 0x40, 0x10].map(|flags| (version, flags)))
        .map(|(version, flags)| {
            let size = body.len() as u32;
            let mut tag = vec![b'I', b'D', b'3', version, 0, flags];
            tag.extend([21, 14, 7, 0].map(|shift| (size >> shift) as u8 & 0x7F));
            tag.extend(&body);
            tag
        })
        .collect()
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| ad_splicer::frames::fuzzing::id3v2(data));
