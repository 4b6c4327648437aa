//! Our metainfo against libtorrent's, an independent implementation: for the same file, name and piece length
//! both info hashes, the SHA-1 pieces and the piece layers must be equal.

use std::path::Path;
use std::process::Command;

use engine::metainfo::{Builder, Listing, Metainfo};

const KIB: u64 = 1024;

/// Length, piece length, and the boundary that is hit.
const SIZES: &[(u64, u64, &str)] = &[
    (1, 64 * KIB, "one byte"),
    (16_383, 64 * KIB, "one byte short of a block"),
    (16_384, 64 * KIB, "one block"),
    (16_385, 64 * KIB, "one byte over a block"),
    (
        3 * 16_384,
        64 * KIB,
        "three blocks: a tree narrower than the piece",
    ),
    (64 * KIB, 64 * KIB, "one piece"),
    (
        64 * KIB + 1,
        64 * KIB,
        "one byte over a piece: the first piece layer",
    ),
    (7 * 32 * KIB, 64 * KIB, "three and a half pieces"),
    (5 * 64 * KIB, 64 * KIB, "five pieces"),
    (5 * 16 * KIB, 16 * KIB, "pieces of one block"),
    (9 * 128 * KIB + 5, 128 * KIB, "nine pieces of 128 KiB and a bit"),
    (
        33 * 256 * KIB - 1,
        256 * KIB,
        "thirty-three larger pieces, less a byte",
    ),
];

/// Writes a `.torrent` of each `FILE PIECE_LENGTH` in `argv` beside the file, made by libtorrent.
const MAKE: &str = r"
import os, sys
import libtorrent as lt
for path, piece_length in zip(sys.argv[1::2], sys.argv[2::2]):
    files = lt.file_storage()
    lt.add_files(files, path)
    torrent = lt.create_torrent(files, int(piece_length))
    lt.set_piece_hashes(torrent, os.path.dirname(path))
    with open(path + '.libtorrent', 'wb') as out:
        out.write(lt.bencode(torrent.generate()))
";

/// Writes a hybrid and a v2-only `.torrent` of the folder `argv[1]`.
const MAKE_FOLDER: &str = r"
import os, sys
import libtorrent as lt
folder = sys.argv[1]
for suffix, flags in (('.hybrid', 0), ('.v2', lt.create_torrent.v2_only)):
    files = lt.file_storage()
    lt.add_files(files, folder)
    torrent = lt.create_torrent(files, 16384, flags)
    lt.set_piece_hashes(torrent, os.path.dirname(folder))
    with open(folder + suffix, 'wb') as out:
        out.write(lt.bencode(torrent.generate()))
";

/// Prints v1 and v2 info hashes and the web seeds as libtorrent reads them.
const READ: &str = r"
import sys
import libtorrent as lt
for path in sys.argv[1:]:
    info = lt.torrent_info(path)
    hashes = info.info_hashes()
    seeds = ','.join(seed['url'] for seed in info.web_seeds())
    trackers = ','.join(tracker.url for tracker in info.trackers())
    print(hashes.v1, hashes.v2, info.total_size(), seeds, trackers)
";

fn python(script: &str, arguments: &[String]) -> String {
    let output = Command::new("/usr/bin/python3")
        .arg("-c")
        .arg(script)
        .args(arguments)
        .output();
    let output = output.expect("this test needs python3 with libtorrent: apt-get install python3-libtorrent");
    assert!(
        output.status.success(),
        "this test needs python3 with libtorrent (apt-get install python3-libtorrent):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

fn content(length: u64) -> Vec<u8> {
    (0..length)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

fn build(path: &Path, piece_length: u64) -> Metainfo {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    Builder::new(name)
        .piece_length(piece_length)
        .web_seed("http://127.0.0.1:9/media/a%20file")
        .tracker("http://127.0.0.1:9/announce")
        .hash_file(path, |_| ())
        .expect("a readable file")
}

fn make_program(path: &Path) {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path, permissions).expect("it is ours");
}

#[test]
fn hashes_and_layers_equal_libtorrents() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut arguments = Vec::new();
    for (index, &(length, piece_length, _)) in SIZES.iter().enumerate() {
        let path = folder.path().join(format!("file {index} ü.bin"));
        std::fs::write(&path, content(length)).expect("space on the disk");
        if index % 2 == 1 {
            make_program(&path);
        }
        arguments.extend([path.to_str().expect("UTF-8").to_owned(), piece_length.to_string()]);
    }
    python(MAKE, &arguments);

    let mut ours = Vec::new();
    for (pair, &(length, piece_length, why)) in arguments.chunks(2).zip(SIZES) {
        let theirs = std::fs::read(format!("{}.libtorrent", pair[0])).expect("written by libtorrent");
        let theirs = Metainfo::parse(&theirs).unwrap_or_else(|error| panic!("{length} ({why}): {error}"));
        let mine = build(Path::new(&pair[0]), piece_length);
        assert_eq!(
            String::from_utf8_lossy(mine.info_bytes()),
            String::from_utf8_lossy(theirs.info_bytes()),
            "{length} ({why})"
        );
        assert_eq!(mine.info_hash_v1(), theirs.info_hash_v1(), "{length} ({why})");
        assert_eq!(mine.info_hash_v2(), theirs.info_hash_v2(), "{length} ({why})");
        assert_eq!(mine.files(), theirs.files(), "{length} ({why}): roots and layers");
        assert_eq!(
            mine.piece_layer(0).map(<[_]>::len),
            Some(length.div_ceil(piece_length) as usize)
        );
        let path = format!("{}.torrent", pair[0]);
        std::fs::write(&path, mine.to_bytes()).expect("space on the disk");
        ours.push((path, mine));
    }

    // What stands in `info` besides is a part of the content's identity to it too.
    let path = folder.path().join("counted.bin");
    std::fs::write(&path, content(100_000)).expect("space on the disk");
    let counted = Builder::new("counted.bin")
        .web_seed("http://127.0.0.1:9/media/a%20file")
        .tracker("http://127.0.0.1:9/announce")
        .frame_index(Some(vec![1, 0xFF, 0]))
        .hash_file(&path, |_| ())
        .expect("a readable file");
    let path = path.with_extension("torrent");
    std::fs::write(&path, counted.to_bytes()).expect("space on the disk");
    ours.push((path.to_str().expect("UTF-8").to_owned(), counted));

    let paths: Vec<String> = ours.iter().map(|(path, _)| path.clone()).collect();
    let read = python(READ, &paths);
    assert_eq!(read.lines().count(), ours.len());
    for (line, (path, metainfo)) in read.lines().zip(&ours) {
        let expected = format!(
            "{} {} {} http://127.0.0.1:9/media/a%20file http://127.0.0.1:9/announce",
            hex::encode(metainfo.info_hash_v1().expect("a hybrid")),
            metainfo.info_hash_v2(),
            metainfo.length(),
        );
        assert_eq!(line, expected, "libtorrent reads {path}");
    }
}

#[test]
fn folders_by_libtorrent_are_read() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let folder = place.path().join("folder");
    std::fs::create_dir_all(folder.join("inner")).expect("a folder");
    let lengths = [
        ("a", 1),
        ("b", 16_384),
        ("empty", 0),
        ("inner/c", 50_000),
        ("z", 5),
    ];
    for (name, length) in lengths {
        std::fs::write(folder.join(name), content(length)).expect("space on the disk");
    }
    let folder = folder.to_str().expect("UTF-8").to_owned();
    python(MAKE_FOLDER, std::slice::from_ref(&folder));
    for (suffix, hybrid) in [(".hybrid", true), (".v2", false)] {
        let bytes = std::fs::read(folder.clone() + suffix).expect("written by libtorrent");
        let metainfo = Metainfo::parse(&bytes).unwrap_or_else(|error| panic!("{suffix}: {error}"));
        assert_eq!(metainfo.info_hash_v1().is_some(), hybrid);
        assert!(metainfo.has_piece_layers() && !metainfo.is_single_file());
        let found: Vec<_> = metainfo
            .files()
            .iter()
            .map(|file| (file.path().join("/"), file.length()))
            .collect();
        assert_eq!(found, lengths.map(|(name, length)| (name.to_owned(), length)));
        let read = python(READ, &[folder.clone() + suffix]);
        assert!(read.contains(&metainfo.info_hash_v2().to_string()), "{read}");
    }
}

/// Names, lengths, and the boundary that is hit; pieces are 16 KiB.
const FOLDERS: &[(&str, &[(&str, u64)])] = &[
    ("one file alone", &[("x", 5)]),
    (
        "files on and off boundaries",
        &[("a", 1), ("b", 16_384), ("c", 16_385), ("d", 3 * 16_384)],
    ),
    (
        "an empty file first, between and last",
        &[("0", 0), ("a", 70_000), ("m", 0), ("n", 7), ("z", 0)],
    ),
    (
        "folders sort by component, and bytes",
        &[
            ("a/b", 20_000),
            ("a-b", 3),
            ("a0/é", 17_000),
            ("a0/Z", 40_000),
            ("B/c/d/e", 1),
        ],
    ),
    (
        "equal files share a layer",
        &[("p", 50_000), ("q", 50_000), ("r", 1)],
    ),
    ("a last file that fills its piece", &[("a", 5), ("b", 32_768)]),
];

#[test]
fn folders_have_libtorrents_hashes() {
    for (index, (why, files)) in FOLDERS.iter().enumerate() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let folder = place.path().join(format!("folder {index} ü"));
        for &(name, length) in *files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
            std::fs::write(&path, content(length)).expect("space on the disk");
            if name.ends_with(['b', 'z']) {
                make_program(&path);
            }
        }
        let text = folder.to_str().expect("UTF-8").to_owned();
        python(MAKE_FOLDER, std::slice::from_ref(&text));
        let theirs = std::fs::read(text.clone() + ".hybrid").expect("written by libtorrent");
        let theirs = Metainfo::parse(&theirs).unwrap_or_else(|error| panic!("{why}: {error}"));
        let listing = Listing::of(&folder).expect("a readable folder");
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a name");
        let mut done = 0;
        let mine = Builder::new(name)
            .piece_length(16_384)
            .hash_folder(&folder, &listing, |bytes| done = bytes)
            .unwrap_or_else(|error| panic!("{why}: {error}"));
        assert_eq!(done, mine.length(), "{why}");
        assert_eq!(
            String::from_utf8_lossy(mine.info_bytes()),
            String::from_utf8_lossy(theirs.info_bytes()),
            "{why}"
        );
        assert_eq!(mine.info_hash_v1(), theirs.info_hash_v1(), "{why}");
        assert_eq!(mine.info_hash_v2(), theirs.info_hash_v2(), "{why}");
        assert_eq!(mine.files(), theirs.files(), "{why}: roots and layers");
        // The v2 half alone has the same files.
        let v2 = std::fs::read(text + ".v2").expect("written by libtorrent");
        let v2 = Metainfo::parse(&v2).unwrap_or_else(|error| panic!("{why}: {error}"));
        assert_eq!((v2.files(), v2.is_single_file()), (mine.files(), false), "{why}");
    }
}

#[test]
fn links_empty_folders_and_odd_names_are_told() {
    let place = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(place.path().join("a"), b"a").expect("space on the disk");
    let link = place.path().join("link");
    std::os::unix::fs::symlink("/etc/hostname", &link).expect("a link");
    let hollow = ["c", "b/d"].map(|name| place.path().join(name));
    for folder in &hollow {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    let listing = Listing::of(place.path()).expect("a readable folder");
    assert_eq!(listing.files, [(vec!["a".to_owned()], 1)]);
    assert_eq!(listing.left_out, [link]);
    assert_eq!(listing.empty, [hollow[1].clone(), hollow[0].clone()]);
    std::fs::write(place.path().join("line\nbreak"), b"a").expect("space on the disk");
    let error = Listing::of(place.path()).expect_err("a name that no torrent can have");
    assert!(error.to_string().contains("cannot be the name"), "{error}");
}
