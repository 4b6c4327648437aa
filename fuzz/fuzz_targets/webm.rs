//! WebM: the head of a file, clusters, blocks with and without lacing, chapters and tags.
#![no_main]

use libfuzzer_sys::fuzz_target;

fn element(id: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = id.to_vec();
    out.extend((body.len() as u32 | 0x1000_0000).to_be_bytes());
    out.extend(body);
    out
}

fn seeds() -> Vec<Vec<u8>> {
    let head = element(&[0x1A, 0x45, 0xDF, 0xA3], &[&element(&[0x42, 0x82], &[b"webm"])]);
    let info = element(
        &[0x15, 0x49, 0xA9, 0x66],
        &[
            &element(&[0x2A, 0xD7, 0xB1], &[&[0x0F, 0x42, 0x40]]),
            &element(&[0x44, 0x89], &[&40.0_f64.to_be_bytes()]),
        ],
    );
    let opus = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
    let track = |number: u8, kind: u8, codec: &[u8], private: &[u8]| {
        element(
            &[0xAE],
            &[
                &element(&[0xD7], &[&[number]]),
                &element(&[0x83], &[&[kind]]),
                &element(&[0x86], &[codec]),
                &element(&[0x56, 0xAA], &[&[0x63, 0x2E, 0xA0]]),
                &element(&[0x63, 0xA2], &[private]),
            ],
        )
    };
    let tracks = element(
        &[0x16, 0x54, 0xAE, 0x6B],
        &[&track(1, 2, b"A_OPUS", opus), &track(2, 1, b"V_VP9", &[])],
    );
    let display = element(&[0x80], &[&element(&[0x85], &[b"One"])]);
    let atom = element(&[0xB6], &[&element(&[0x91], &[&[0]]), &display]);
    let chapters = element(&[0x10, 0x43, 0xA7, 0x70], &[&element(&[0x45, 0xB9], &[&atom])]);
    let duration = element(
        &[0x67, 0xC8],
        &[&element(&[0x45, 0xA3], &[b"DURATION"]), &element(&[0x44, 0x87], &[b"00:00:00.04"])],
    );
    let tags = element(&[0x12, 0x54, 0xC3, 0x67], &[&element(&[0x73, 0x73], &[&duration])]);
    let group = element(
        &[0xA0],
        &[
            &element(&[0xA1], &[&[0x81, 0, 40, 0, 0xFC, 1]]),
            &element(&[0x75, 0xA2], &[&[0x0F, 0x42, 0x40]]),
        ],
    );
    let cluster = element(
        &[0x1F, 0x43, 0xB6, 0x75],
        &[
            &element(&[0xE7], &[&[0]]),
            &element(&[0xA3], &[&[0x81, 0, 0, 0x80, 0xFC, 0, 0]]),
            &element(&[0xA3], &[&[0x82, 0, 0, 0x80, 0x83, 0x49]]),
            &element(&[0xA3], &[&[0x81, 0, 20, 0x86, 1, 0x82, 0xFC, 1, 0xFC, 2, 3]]),
            &element(&[0xA3], &[&[0x81, 0, 20, 0x82, 1, 2, 0xFC, 1, 0xFC, 2, 3]]),
            &group,
        ],
    );
    let segment = [info, tracks, chapters, cluster.clone(), tags].concat();
    let unknown = [
        &[0x18, 0x53, 0x80, 0x67, 0xFF][..],
        &segment,
        &[0x1F, 0x43, 0xB6, 0x75, 0xFF],
        &cluster[8..],
    ]
    .concat();
    vec![
        [head.clone(), element(&[0x18, 0x53, 0x80, 0x67], &[&segment])].concat(),
        [head, unknown].concat(),
    ]
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| ad_splicer::frames::fuzzing::webm(data));
