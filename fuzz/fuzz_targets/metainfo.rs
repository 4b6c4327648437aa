//! `.torrent` files, info dictionaries from peers, magnet links, cue sheets' outsides: whatever parses can be used,
//! and written again.
#![no_main]

use engine::bencode::Value;
use engine::magnet::Magnet;
use engine::metainfo::{Builder, Metainfo};
use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for length in [1, 16_384, 65_536, 200_001] {
        let data = vec![7; length];
        let builder = Builder::new("ep1.mp3")
            .piece_length(65_536)
            .web_seed("https://example.org/ep1.mp3")
            .tracker("https://tracker.example.org/announce")
            .private(length == 1)
            .creation_date(1_700_000_000)
            .created_by("grove");
        let metainfo = builder.hash(data.as_slice(), length as u64, |_| {}).expect("a metainfo");
        seeds.push(metainfo.to_bytes().to_vec());
        seeds.push(metainfo.info_bytes().to_vec());
    }
    seeds.push(
        b"magnet:?xt=urn:btmh:1220aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa&dn=a&tr=http://t/a\
          &ws=http://w/a&xs=http://w/a.torrent&x.grove=192.0.2.1:4000"
            .to_vec(),
    );
    seeds
}

fn use_it(metainfo: &Metainfo) {
    let again = Metainfo::parse(metainfo.to_bytes()).expect("what was written can be read");
    assert_eq!(again.info_hash_v2(), metainfo.info_hash_v2());
    for (index, file) in metainfo.files().iter().enumerate() {
        assert!(file.path().iter().all(|part| !part.is_empty() && part != ".." && !part.contains('/')));
        for piece in [0, 1, u32::MAX] {
            let _ = metainfo.piece_tree(index, piece);
        }
        for seed in metainfo.web_seeds() {
            let _ = metainfo.web_seed_url(seed, index);
        }
    }
    if let Ok(verifier) = engine::verify::Verifier::new(metainfo) {
        assert!(verifier.layout().total_bytes() > 0);
        let _ = verifier.check_stored(0, &[0; 100]);
    }
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let _ = Value::parse(data);
    if let Ok(metainfo) = Metainfo::parse(data) {
        use_it(&metainfo);
        if let Some(sheet) = metainfo.cue_sheet() {
            let _ = engine::cue_sheet::SignedCueSheet::verify(sheet, &metainfo.info_hash_v2(), 1_700_000_000);
        }
    }
    if let Some(text) = std::str::from_utf8(data).ok().and_then(|t| t.parse::<Magnet>().ok()) {
        let again: Magnet = text.to_string().parse().expect("a link that was written can be read");
        assert_eq!(again.to_string(), text.to_string());
    }
});
