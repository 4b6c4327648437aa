//! What a conditioning child says are the pictures of an ad.
#![no_main]

use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    let sets: &[u8] = &[
        1, 0x64, 0, 12, 0xFF, 0xE1, 0, 26, 0x67, 0x64, 0x00, 0x0c, 0xac, 0xd9, 0x41, 0x41, 0x9f, 0x9f, 0x01,
        0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x42, 0x99, 0x60, 1, 0, 6,
        0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xFD, 0xF8, 0xF8, 0,
    ];
    let written = |parts: &[&[u8]]| -> Vec<u8> {
        let prefixed = |part: &&[u8]| [&(part.len() as u32).to_be_bytes(), *part].concat();
        parts.iter().flat_map(prefixed).collect()
    };
    let (first, next): (&[u8], &[u8]) = (&[0, 0, 0, 2, 0x65, 7], &[0, 0, 0, 2, 0x41, 7]);
    // A key frame of VP9, 320x180, and one that is not.
    let key: &[u8] = &[0x82, 0x49, 0x83, 0x42, 0x00, 0x13, 0xF0, 0x0B, 0x30, 0, 0];
    vec![written(&[sets, first, next]), written(&[key, &[0x86, 0, 0, 0]])]
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| ad_splicer::frames::fuzzing::pictures(data));
