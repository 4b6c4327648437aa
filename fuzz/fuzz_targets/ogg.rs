//! Ogg: pages and packets, and what Opus says of itself.
#![no_main]

use libfuzzer_sys::fuzz_target;

fn page(flags: u8, sequence: u8, lacing: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = b"OggS\0".to_vec();
    out.push(flags);
    out.extend([9, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0]);
    out.push(lacing.len() as u8);
    out.extend(lacing);
    out.extend(body);
    out
}

fn seeds() -> Vec<Vec<u8>> {
    let opus = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0".to_vec();
    let sound = [vec![0xFC; 300], vec![0; 40]].concat();
    let audio = |sequence| page(0, sequence, &[255, 45, 40], &sound);
    let divided = [
        page(0, 2, &[255], &[0xFC; 255]),
        page(1, 3, &[10, 3], &[0xFC; 13]),
    ]
    .concat();
    vec![
        [
            page(2, 0, &[19], &opus),
            page(0, 1, &[8], b"OpusTags"),
            audio(2),
            audio(3),
        ]
        .concat(),
        [page(2, 0, &[19], &opus), page(0, 1, &[8], b"OpusTags"), divided].concat(),
    ]
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| ad_splicer::frames::fuzzing::ogg(data));
