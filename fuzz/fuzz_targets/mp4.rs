//! MP4: boxes, sample tables, fragments, chapters, and the parameter sets of H.264.
#![no_main]

use libfuzzer_sys::fuzz_target;

fn atom(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = (body.len() as u32 + 8).to_be_bytes().to_vec();
    out.extend(kind);
    out.extend(body);
    out
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn track(number: u32, handler: &[u8; 4], entry: &[u8]) -> Vec<u8> {
    let stbl = atom(
        b"stbl",
        &[
            &atom(b"stsd", &[&words(&[0, 1]), entry]),
            &atom(b"stts", &[&words(&[0, 1, 2, 1024])]),
            &atom(b"ctts", &[&words(&[0, 1, 2, 1024])]),
            &atom(b"stss", &[&words(&[0, 1, 1])]),
            &atom(b"stsc", &[&words(&[0, 1, 1, 2, 1])]),
            &atom(b"stsz", &[&words(&[0, 0, 2, 4, 4])]),
            &atom(b"stco", &[&words(&[0, 1, 24])]),
        ],
    );
    let mdia = atom(
        b"mdia",
        &[
            &atom(b"mdhd", &[&words(&[0, 0, 0, 48_000, 2048, 0])]),
            &atom(b"hdlr", &[&words(&[0, 0]), handler, &words(&[0, 0, 0, 0])]),
            &atom(b"minf", &[&stbl]),
        ],
    );
    let elst = atom(b"elst", &[&words(&[0, 1, 43, 1024, 0x1_0000])]);
    let tkhd = atom(b"tkhd", &[&words(&[7, 0, 0, number, 0, 43])]);
    let tref = atom(b"tref", &[&atom(b"chap", &[&words(&[3])])]);
    atom(b"trak", &[&tkhd, &tref, &atom(b"edts", &[&elst]), &mdia])
}

fn seeds() -> Vec<Vec<u8>> {
    let sets: &[u8] = &[
        1, 0x64, 0, 12, 0xFF, 0xE1, 0, 26, 0x67, 0x64, 0x00, 0x0c, 0xac, 0xd9, 0x41, 0x41, 0x9f, 0x9f, 0x01, 0x10,
        0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x42, 0x99, 0x60, 1, 0, 6, 0x68, 0xeb,
        0xe3, 0xcb, 0x22, 0xc0, 0xFD, 0xF8, 0xF8, 0,
    ];
    let avc1 = atom(b"avc1", &[&[0; 78], &atom(b"avcC", &[sets])]);
    let esds: &[u8] = &[
        0, 0, 0, 0, 3, 25, 0, 1, 0, 4, 17, 0x40, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 2, 0x11, 0x88,
    ];
    let mp4a = atom(b"mp4a", &[&[0; 28], &atom(b"esds", &[esds])]);
    let moov = |extra: &[u8]| {
        let tracks = [
            track(1, b"vide", &avc1),
            track(2, b"soun", &mp4a),
            track(3, b"text", &atom(b"text", &[])),
        ];
        let mvhd = atom(b"mvhd", &[&words(&[0, 0, 0, 1000, 43])]);
        atom(b"moov", &[&mvhd, &tracks.concat(), extra])
    };
    let ftyp = atom(b"ftyp", &[b"isom\0\0\0\0"]);
    let mdat = atom(b"mdat", &[&[0, 2, b'A', b'd', 0, 2, b'O', b'k']]);
    let trex = atom(b"mvex", &[&atom(b"trex", &[&words(&[0, 2, 1, 1024, 4, 0])])]);
    let traf = atom(
        b"traf",
        &[
            &atom(b"tfhd", &[&words(&[0x2_0000, 2])]),
            &atom(b"tfdt", &[&words(&[0, 2048])]),
            &atom(b"trun", &[&words(&[0x201, 1, 8, 4])]),
        ],
    );
    vec![
        [&ftyp[..], &mdat, &moov(&[])].concat(),
        [&ftyp[..], &mdat, &moov(&trex), &atom(b"moof", &[&traf])].concat(),
    ]
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| ad_splicer::frames::fuzzing::mp4(data));
