//! Metainfo files that others wrote: our verdict on each must be theirs.
//!
//! Runs under `make conformance` only (feature `conformance`). The environment variable `CONFORMANCE` names the
//! folder; `torrent-v2/EXPECTED.tsv` in it lists file, verdict, and what libtorrent's tests say of it.

use std::path::PathBuf;

use engine::metainfo::Metainfo;

#[test]
fn every_file_is_judged_as_expected() {
    let folder = std::env::var_os("CONFORMANCE").expect(
        "the environment variable CONFORMANCE must name the folder of inputs: make conformance CONFORMANCE=FOLDER",
    );
    let folder = PathBuf::from(folder).join("torrent-v2");
    let list = folder.join("EXPECTED.tsv");
    let list = std::fs::read_to_string(&list)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", list.display()));
    let mut judged = 0;
    let mut wrong = Vec::new();
    for line in list.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        let mut columns = line.split('\t');
        let (Some(name), Some(verdict)) = (columns.next(), columns.next()) else {
            panic!("not a line of EXPECTED.tsv: {line:?}");
        };
        let notes = columns.next().unwrap_or_default();
        let path = folder.join(name);
        let bytes =
            std::fs::read(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        let parsed = Metainfo::parse(&bytes);
        match &parsed {
            Ok(metainfo) => println!(
                "{name}: accepted, {} in {} files",
                metainfo.info_hash_v2(),
                metainfo.files().len()
            ),
            Err(error) => println!("{name}: {error}"),
        }
        match (verdict, &parsed) {
            ("accept", Ok(metainfo)) => wrong.extend(disagreements(name, notes, metainfo)),
            ("reject", Err(_)) => {}
            ("accept", Err(error)) => wrong.push(format!("{name} was refused: {error}; expected: {notes}")),
            ("reject", Ok(_)) => wrong.push(format!("{name} was accepted; expected: {notes}")),
            _ => panic!("{name}: unknown verdict {verdict:?}"),
        }
        judged += 1;
    }
    assert!(judged > 0, "EXPECTED.tsv lists nothing");
    assert!(
        wrong.is_empty(),
        "{} of {judged} files were judged wrongly:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Compares what the notes of an accepted file state: kind, sizes, root, info hash.
fn disagreements(name: &str, notes: &str, metainfo: &Metainfo) -> Vec<String> {
    let mut wrong = Vec::new();
    for note in notes.split(';').map(str::trim) {
        let first = &metainfo.files()[0];
        let found = match note.split_once(' ') {
            Some(("root", root)) => first.pieces_root().to_string() == root,
            Some(("v2", rest)) if rest.starts_with("infohash ") => {
                rest.ends_with(&metainfo.info_hash_v2().to_string())
            }
            Some(("v2", "only")) => metainfo.info_hash_v1().is_none(),
            Some(("has", "v1 and v2")) => metainfo.info_hash_v1().is_some(),
            Some((count, "files")) => count.parse() == Ok(files_and_pads(metainfo)),
            Some((_, rest)) if rest.ends_with(" B") => {
                note.ends_with(&format!("{} {} B", first.path().join("/"), first.length()))
            }
            None if note == "hybrid" => metainfo.info_hash_v1().is_some(),
            Some(("accepted,", _)) => !metainfo.has_piece_layers(),
            Some(("merkle", _)) => metainfo.has_piece_layers(),
            _ => true, // words for people
        };
        if !found {
            wrong.push(format!("{name}: {note:?} does not hold of {metainfo:?}"));
        }
    }
    wrong
}

/// Files as libtorrent counts them: it lays out a pad of its own after each file that ends within a piece.
fn files_and_pads(metainfo: &Metainfo) -> usize {
    let files = metainfo.files();
    files.len()
        + files
            .iter()
            .filter(|file| file.length() % metainfo.piece_length() != 0)
            .count()
}
