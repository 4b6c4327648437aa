//! Ogg: pages and packets, and what Opus and Vorbis say of themselves.
#![no_main]

use libfuzzer_sys::fuzz_target;

fn page(flags: u8, sequence: u8, position: i64, lacing: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = b"OggS\0".to_vec();
    out.push(flags);
    out.extend(position.to_le_bytes());
    out.extend([7, 0, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0]);
    out.push(lacing.len() as u8);
    out.extend(lacing);
    out.extend(body);
    out
}

/// Headers of Vorbis of which the last is all modes, and four packets of a mode of long blocks: no codebooks are read.
fn vorbis() -> Vec<u8> {
    let identification = b"\x01vorbis\0\0\0\0\x02\x44\xAC\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xB8\x01";
    let mut bits = vec![true; 40];
    let mut put = |value: u32, count: usize| bits.extend((0..count).map(|i| value >> i & 1 == 1));
    put(1, 6);
    for mode in [0, 1] {
        put(mode, 1);
        put(0, 32);
        put(mode, 8);
    }
    put(1, 1);
    let mut setup = b"\x05vorbis".to_vec();
    setup.extend(bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |value, bit| value << 1 | u8::from(*bit))));
    let headers = [&b"\x03vorbis\0\0\0\0\0\0\0\0\x01"[..], &setup].concat();
    let lacing = [16, setup.len() as u8];
    [
        page(2, 0, 0, &[30], identification),
        page(0, 1, 0, &lacing, &headers),
        page(4, 2, 3 * 1024, &[2, 2, 2, 2], &[2; 8]),
    ]
    .concat()
}

fn seeds() -> Vec<Vec<u8>> {
    let opus = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0".to_vec();
    let audio = |flags, sequence, position| page(flags, sequence, position, &[255, 45, 40], &[0xFC; 340]);
    let divided = [
        page(0, 2, -1, &[255], &[0xFC; 255]),
        page(5, 3, 2 * 960, &[10, 3], &[0xFC; 13]),
    ]
    .concat();
    vec![
        [
            page(2, 0, 0, &[19], &opus),
            page(0, 1, 0, &[8], b"OpusTags"),
            audio(0, 2, 2 * 960),
            audio(4, 3, 4 * 960),
        ]
        .concat(),
        [page(2, 0, 0, &[19], &opus), page(0, 1, 0, &[8], b"OpusTags"), divided].concat(),
        vorbis(),
    ]
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| ad_splicer::frames::fuzzing::ogg(data));
