//! WAV, FLAC and ADTS as files: what comes before, between and after the sound.
#![no_main]

use libfuzzer_sys::fuzz_target;

fn chunk(id: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut out = id.to_vec();
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

fn wav(riff: &[u8; 4], chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = chunks.concat();
    let mut out = riff.to_vec();
    out.extend((body.len() as u32 + 4).to_le_bytes());
    out.extend(b"WAVE");
    out.extend(body);
    out
}

fn seeds() -> Vec<Vec<u8>> {
    let format = chunk(
        b"fmt ",
        &[1, 0, 2, 0, 0x44, 0xAC, 0, 0, 0x10, 0xB1, 2, 0, 4, 0, 16, 0],
    );
    let long = chunk(
        b"ds64",
        &[[0; 8], [16, 0, 0, 0, 0, 0, 0, 0], [4, 0, 0, 0, 0, 0, 0, 0]].concat(),
    );
    let cue = chunk(
        b"cue ",
        &[
            vec![1, 0, 0, 0],
            vec![1, 0, 0, 0, 2, 0, 0, 0],
            b"data".to_vec(),
            vec![0; 12],
        ]
        .concat(),
    );
    let samples = chunk(b"data", &[7; 16]);
    let mut flac = b"fLaC\x80\0\0\x22".to_vec();
    flac.extend([
        0, 16, 0, 16, 0, 0, 0, 0, 0, 0, 0x0A, 0xC4, 0x42, 0xF0, 0, 0, 0, 16,
    ]);
    flac.extend([0; 16]);
    // A frame of constant subframes, with its checksums.
    flac.extend([
        0xFF, 0xF8, 0x69, 0x18, 0, 15, 0x92, 0, 0x12, 0x34, 0, 0x12, 0x34, 0x57, 0xC4,
    ]);
    let adts = [0xFF, 0xF1, 0x50, 0x80, 0x01, 0x3F, 0xFC, 0x21, 0x10].repeat(4);
    vec![
        wav(b"RIFF", &[format.clone(), cue.clone(), samples.clone()]),
        wav(b"RF64", &[long, format, samples, cue]),
        flac,
        adts,
    ]
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| ad_splicer::frames::fuzzing::sound(data));
