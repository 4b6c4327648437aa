//! Facts in cue sheets that are changed and signed again.

use std::path::Path;

use bt_bencode::Value;
use engine::cue_sheet::{CueSheet, SecretKey, SignedCueSheet};
use engine::metainfo::Metainfo;

/// A `.torrent` that was published from this folder, with other facts, signed by the same key.
pub fn with_facts(folder: &Path, torrent: &Path, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let metainfo = Metainfo::parse(&std::fs::read(torrent).expect("a .torrent")).expect("valid");
    let raw = metainfo.cue_sheet().expect("a cue sheet");
    let signed = SignedCueSheet::open(raw, &metainfo.info_hash_v2()).expect("a valid signature");
    let mut sheet: CueSheet = signed.sheet().clone();
    change(&mut sheet.facts);
    let key =
        SecretKey::load_or_create(&folder.join("publisher/publisher.key")).expect("the publisher's key");
    let signed = sheet.sign(&key, &metainfo.info_hash_v2()).expect("signed");
    let metainfo = metainfo.with_cue_sheet(Some(signed.raw())).expect("a .torrent");
    metainfo.to_bytes().to_vec()
}

/// An entry of a dictionary.
pub fn entry<'a>(facts: &'a mut Value, key: &str) -> &'a mut Value {
    let Value::Dict(entries) = facts else {
        panic!("facts are a dictionary")
    };
    entries
        .get_mut(key.as_bytes())
        .unwrap_or_else(|| panic!("no {key}"))
}
