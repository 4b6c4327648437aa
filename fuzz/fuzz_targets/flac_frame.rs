//! FLAC: a frame's header and samples.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// A frame of 16 samples of two channels: what is in its subframes follows.
fn frame(channels: u8, subframes: &[u8]) -> Vec<u8> {
    let mut out = vec![0xFF, 0xF8, 0x69, channels << 4 | 0x08, 0, 15, 0];
    out.extend(subframes);
    out.extend([0, 0]);
    out
}

fn seeds() -> Vec<Vec<u8>> {
    // Constant subframes; verbatim ones; fixed prediction of the second order with Rice coded residuals.
    let constant = [0x00, 0x12, 0x34];
    let verbatim: Vec<u8> = std::iter::once(0x02).chain(0..32).collect();
    let fixed = [[0x14].as_slice(), &[0, 1, 0, 2, 0x00], &[0xFF; 12]].concat();
    vec![
        frame(1, &[constant, constant].concat()),
        frame(1, &[&verbatim[..], &verbatim].concat()),
        frame(10, &[&constant[..], &fixed].concat()),
        frame(0, &fixed),
    ]
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| ad_splicer::frames::fuzzing::flac_frame(data));
