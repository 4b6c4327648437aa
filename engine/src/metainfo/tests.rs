//! Tables and properties of parsing and building. Agreement with libtorrent is in `engine/tests`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::merkle::tests::INTERESTING_SIZES;
use crate::merkle::{hash_block, root};

const PIECE: u64 = 65_536;

type Check = fn(&MetainfoError) -> bool;

fn content(length: u64) -> Vec<u8> {
    (0..length).map(|i| (i % 253) as u8).collect()
}

fn build(length: u64) -> Metainfo {
    let content = content(length);
    Builder::new("a.mp3")
        .tracker("http://t.example/announce")
        .web_seed("http://o.example/a.mp3")
        .hash(&content[..], length, |_| ())
        .expect("metainfo")
}

/// The top level and `info` of a valid hybrid, to be broken.
fn parts() -> (BTreeMap<Vec<u8>, Encode>, BTreeMap<Vec<u8>, Encode>) {
    let metainfo = build(3 * PIECE + 1);
    let entries = |bytes: &[u8]| {
        let value = bencode::Value::parse(bytes).expect("our own");
        let entries = value.dictionary().expect("a dictionary").iter();
        let owned = entries.map(|(key, value)| (key.to_vec(), Encode::Raw(value.raw.to_vec())));
        owned.collect::<BTreeMap<_, _>>()
    };
    (entries(metainfo.to_bytes()), entries(metainfo.info_bytes()))
}

fn parse_with_info(info: BTreeMap<Vec<u8>, Encode>) -> Result<Metainfo, MetainfoError> {
    let (mut top, _) = parts();
    top.insert(b"info".to_vec(), Encode::Dictionary(info));
    Metainfo::parse(&Encode::Dictionary(top).to_bytes())
}

fn leaf(length: i64, root: &[u8]) -> Encode {
    let root = Encode::Bytes(root.to_vec());
    let file = Encode::dictionary([("length", Encode::Integer(length)), ("pieces root", root)]);
    Encode::dictionary([("", file)])
}

/// Version 2 metainfo without layers, of this `file tree`.
fn v2_of(tree: Encode, piece_length: i64) -> Result<Metainfo, MetainfoError> {
    let info = Encode::dictionary([
        ("file tree", tree),
        ("meta version", Encode::Integer(2)),
        ("name", Encode::text("folder")),
        ("piece length", Encode::Integer(piece_length)),
    ]);
    Metainfo::parse(&Encode::dictionary([("info", info)]).to_bytes())
}

#[test]
fn a_built_file_has_what_was_asked_and_nothing_else() {
    for &(length, why) in INTERESTING_SIZES {
        let metainfo = build(length);
        assert_eq!((metainfo.name(), metainfo.length()), ("a.mp3", length), "{why}");
        assert!(metainfo.is_single_file() && metainfo.has_piece_layers() && !metainfo.private());
        let leaves: Vec<Hash> = content(length).chunks(BLOCK).map(hash_block).collect();
        assert_eq!(metainfo.files()[0].pieces_root(), root(&leaves), "{why}");
        let pieces = length.div_ceil(PIECE) as u32;
        assert_eq!(
            metainfo.piece_layer(0).map(<[Hash]>::len),
            Some(pieces as usize),
            "{why}"
        );
        let mut leaves = leaves.as_slice();
        for piece in 0..pieces {
            let mut tree = metainfo.piece_tree(0, piece).expect("a piece");
            let (own, rest) = leaves.split_at(tree.shape().blocks() as usize);
            tree.insert(0..own.len() as u32, own, &[])
                .expect("the leaves lead to the layer");
            leaves = rest;
        }
        assert!(
            leaves.is_empty() && metainfo.piece_tree(0, pieces).is_none(),
            "{why}"
        );
        assert!(metainfo.piece_tree(1, 0).is_none());

        let info = bencode::Value::parse(metainfo.info_bytes()).expect("our own");
        let keys = info.dictionary().expect("a dictionary").iter();
        let keys: Vec<_> = keys.map(|(key, _)| String::from_utf8_lossy(key)).collect();
        assert_eq!(
            keys,
            [
                "file tree",
                "length",
                "meta version",
                "name",
                "piece length",
                "pieces"
            ]
        );
        assert_eq!(build(length), metainfo, "the same again");
    }
}

#[test]
fn the_builder_says_what_it_cannot_do() {
    let build = |name: &str, bytes: &[u8], length| Builder::new(name).hash(bytes, length, |_| ());
    assert!(matches!(build("a", b"", 0), Err(BuildError::Empty(name)) if name == "a"));
    assert!(matches!(build("..", b"x", 1), Err(BuildError::Name(_))));
    assert!(matches!(build("a/b", b"x", 1), Err(BuildError::Name(_))));
    assert!(matches!(
        build("a", b"xy", 1),
        Err(BuildError::Changed {
            expected: 1,
            found: 2,
            ..
        })
    ));
    assert!(matches!(
        build("a", b"x", 2),
        Err(BuildError::Changed {
            expected: 2,
            found: 1,
            ..
        })
    ));
    for wrong in [0, 1, 8192, 16_385, 49_152, 1 << 30] {
        let built = Builder::new("a").piece_length(wrong).hash(&b"x"[..], 1, |_| ());
        assert!(matches!(built, Err(BuildError::PieceLength(length)) if length == wrong));
    }
    let missing = Builder::new("a").hash_file(std::path::Path::new("/nowhere/at all"), |_| ());
    assert!(matches!(missing, Err(BuildError::Read { .. })));
}

#[test]
fn piece_lengths_follow_the_size() {
    let mib = 1 << 20;
    let table = [
        (1, 65_536),
        (256 * mib, 65_536),
        (256 * mib + 1, 131_072),
        (512 * mib, 131_072),
        (4096 * mib, mib),
        (u64::MAX, MAX_PIECE_LENGTH),
    ];
    for (length, expected) in table {
        assert_eq!(piece_length_for(length), expected, "{length}");
    }
}

#[test]
fn progress_ends_at_the_length() {
    let mut told = Vec::new();
    let content = content(3 << 20);
    Builder::new("a")
        .hash(&content[..], 3 << 20, |done| told.push(done))
        .expect("metainfo");
    assert!(
        told.is_sorted() && told.len() >= 3 && told.last() == Some(&(3 << 20)),
        "{told:?}"
    );
}

#[test]
fn other_sources_leave_the_info_hashes_as_they_are() {
    let plain = build(3 * PIECE + 1);
    let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (trackers, seeds) in [
        (
            &["http://t.example/announce"][..],
            &["http://s.example/a.bin"][..],
        ),
        (
            &["http://t.example/1", "udp://t.example:1"],
            &["http://s.example/1", "http://s.example/2"],
        ),
        (&[], &[]),
    ] {
        let other = plain
            .with_sources(&texts(trackers), &texts(seeds))
            .expect("still valid");
        let tiers: Vec<Vec<String>> = trackers.iter().map(|one| vec![(*one).to_owned()]).collect();
        assert_eq!(other.trackers(), tiers);
        assert_eq!(other.web_seeds(), texts(seeds));
        assert_eq!(other.info_bytes(), plain.info_bytes());
        assert_eq!(other.piece_layer(0), plain.piece_layer(0));
    }
}

#[test]
fn the_cue_sheet_is_outside_of_the_info_hash() {
    let plain = build(3 * PIECE + 1);
    assert_eq!(plain.cue_sheet(), None);
    let with = plain.with_cue_sheet(Some(b"d4:vmap1:xe")).expect("still valid");
    assert_eq!(with.cue_sheet(), Some(&b"d4:vmap1:xe"[..]));
    assert_eq!(with.info_bytes(), plain.info_bytes());
    assert_eq!(
        (with.info_hash_v1(), with.info_hash_v2()),
        (plain.info_hash_v1(), plain.info_hash_v2())
    );
    assert_eq!(with.with_cue_sheet(None).expect("still valid"), plain);
    assert!(matches!(
        plain.with_cue_sheet(Some(b"d")),
        Err(MetainfoError::Bencoding(_))
    ));
}

#[test]
fn metainfo_from_peers_needs_layers_that_fit() {
    let whole = build(3 * PIECE + 1);
    let root = whole.files()[0].pieces_root();
    let layer = whole.piece_layer(0).expect("known").to_vec();
    let bare = Metainfo::from_info(whole.info_bytes(), &[], whole.trackers(), whole.web_seeds());
    let bare = bare.expect("layers may come later");
    assert!(!bare.has_piece_layers() && bare.piece_tree(0, 0).is_none());
    assert_eq!(bare.info_hash_v2(), whole.info_hash_v2());
    assert_eq!(
        bare.with_piece_layers(&[(root, layer.clone())])
            .expect("they fit"),
        whole
    );
    let mut wrong = layer.clone();
    wrong[1].0[5] ^= 1;
    for (root, layer) in [(root, wrong), (root, layer[1..].to_vec()), (Hash([1; 32]), layer)] {
        let refused = bare.with_piece_layers(&[(root, layer)]);
        assert!(matches!(refused, Err(MetainfoError::PieceLayer { .. })));
    }
}

#[test]
fn sources_are_read_as_hints() {
    let read = |entries: &[(&str, Encode)]| {
        let (mut top, _) = parts();
        for key in ["announce", "url-list"] {
            top.remove(key.as_bytes());
        }
        top.extend(
            entries
                .iter()
                .map(|(key, value)| (key.as_bytes().to_vec(), value.clone())),
        );
        let metainfo = Metainfo::parse(&Encode::Dictionary(top).to_bytes()).expect("hints never break it");
        (metainfo.trackers().to_vec(), metainfo.web_seeds().to_vec())
    };
    let (text, list) = (Encode::text, Encode::List);
    assert_eq!(read(&[]), (vec![], vec![]));
    assert_eq!(
        read(&[("announce", text("a")), ("url-list", text("w"))]),
        (vec![vec!["a".into()]], vec!["w".into()])
    );
    assert_eq!(
        read(&[("announce", Encode::Integer(1)), ("url-list", text(""))]),
        (vec![], vec![])
    );
    let tiers = list(vec![
        list(vec![text("b"), text("")]),
        text("x"),
        list(vec![]),
        list(vec![text("c")]),
    ]);
    let (trackers, _) = read(&[("announce", text("a")), ("announce-list", tiers)]);
    assert_eq!(trackers, [["b"], ["c"]], "tiers count instead of `announce`");
    let many: Vec<Encode> = (0..20).map(|i| text(&format!("u{}", i / 2))).collect();
    let (trackers, seeds) = read(&[
        ("announce-list", list(vec![list(many.clone())])),
        ("url-list", list(many)),
    ]);
    assert_eq!((trackers[0].len(), seeds.len()), (MAX_SOURCES, MAX_SOURCES));
    assert_eq!(seeds[1], "u1", "each once");
}

#[test]
fn web_seed_urls_follow_bep_19() {
    let single = Builder::new("a b?.mp3")
        .hash(&b"x"[..], 1, |_| ())
        .expect("metainfo");
    assert_eq!(
        single.web_seed_url("http://o/f.mp3?k=1", 0).as_deref(),
        Some("http://o/f.mp3?k=1")
    );
    assert_eq!(
        single.web_seed_url("http://o/dir/", 0).as_deref(),
        Some("http://o/dir/a%20b%3F.mp3")
    );
    assert_eq!(single.web_seed_url("http://o/", 1), None);
    let tree = Encode::dictionary([
        ("ä", Encode::dictionary([("x", leaf(1, &[1; 32]))])),
        ("b", leaf(1, &[2; 32])),
    ]);
    let several = v2_of(tree, 16_384).expect("valid");
    assert!(!several.is_single_file());
    assert_eq!(
        several.web_seed_url("http://o", 0).as_deref(),
        Some("http://o/folder/b")
    );
    assert_eq!(
        several.web_seed_url("http://o/", 1).as_deref(),
        Some("http://o/folder/%C3%A4/x")
    );
}

#[test]
fn broken_file_trees_are_named() {
    let root = [1; 32];
    let one = |name: &str, entry: Encode| Encode::dictionary([(name, entry)]);
    let attr = |attr: &str| {
        let path = Encode::List(vec![Encode::text("there")]);
        let entry = [
            ("attr", Encode::text(attr)),
            ("length", Encode::Integer(0)),
            ("symlink path", path),
        ];
        one("", Encode::dictionary(entry))
    };
    assert!(v2_of(one("a", leaf(1, &root)), 16_384).is_ok());
    let with_link = Encode::dictionary([("a", leaf(1, &root)), ("link", attr("l"))]);
    assert_eq!(
        v2_of(with_link, 16_384).map(|metainfo| (metainfo.files().len(), metainfo.links())),
        Ok((1, 1))
    );
    let mut program = leaf(1, &root);
    let Encode::Dictionary(folder) = &mut program else {
        unreachable!()
    };
    let Some(Encode::Dictionary(entry)) = folder.values_mut().next() else {
        unreachable!()
    };
    entry.insert(b"attr".to_vec(), Encode::text("hx"));
    let programs = Encode::dictionary([("a", leaf(1, &root)), ("program", program)]);
    let programs = v2_of(programs, 16_384).unwrap();
    let programs: Vec<bool> = programs.files().iter().map(File::is_executable).collect();
    assert_eq!(programs, [false, true]);
    let with_empty = Encode::dictionary([("a", leaf(1, &root)), ("empty", leaf(0, &[]))]);
    assert_eq!(
        v2_of(with_empty, 16_384).map(|metainfo| metainfo.has_piece_layers()),
        Ok(true)
    );

    let mut table: Vec<(Encode, i64, Check)> = Vec::new();
    for name in [
        "",
        ".",
        "..",
        "/",
        "a/b",
        "../a",
        "a\\b",
        "a\0b",
        "a\nb",
        &"x".repeat(256),
    ] {
        table.push((one(name, leaf(1, &root)), 16_384, |e| {
            matches!(e, MetainfoError::UnsafeName(_) | MetainfoError::FileTree(_))
        }));
        let inside = one(
            "folder",
            Encode::dictionary([("ok", leaf(1, &root)), (name, leaf(1, &root))]),
        );
        table.push((inside, 16_384, |e| {
            matches!(e, MetainfoError::UnsafeName(_) | MetainfoError::FileTree(_))
        }));
    }
    let both = one(
        "a",
        Encode::dictionary([("", Encode::dictionary([])), ("b", leaf(1, &root))]),
    );
    table.extend::<Vec<(Encode, i64, Check)>>(vec![
        (Encode::Integer(1), 16_384, |e| {
            matches!(e, MetainfoError::FileTree(_))
        }),
        (one("a", Encode::Integer(1)), 16_384, |e| {
            matches!(e, MetainfoError::FileTree(_))
        }),
        (one("a", one("", Encode::Integer(1))), 16_384, |e| {
            matches!(e, MetainfoError::FileTree(_))
        }),
        (both, 16_384, |e| matches!(e, MetainfoError::FileTree(_))),
        (Encode::dictionary([]), 16_384, |e| {
            matches!(e, MetainfoError::Empty)
        }),
        (one("a", leaf(0, &[])), 16_384, |e| {
            matches!(e, MetainfoError::Empty)
        }),
        (one("a", attr("l")), 16_384, |e| matches!(e, MetainfoError::Empty)),
        (one("a", attr("p")), 16_384, |e| {
            matches!(e, MetainfoError::File { .. })
        }),
        (one("a", leaf(-1, &root)), 16_384, |e| {
            matches!(e, MetainfoError::FileLength { length: -1, .. })
        }),
        (one("a", leaf(1 << 44, &root)), 16_384, |e| {
            matches!(e, MetainfoError::FileLength { .. })
        }),
        (one("a", leaf((1 << 44) - 1, &root)), 16_384, |e| {
            matches!(e, MetainfoError::TooManyPieces(_))
        }),
        (one("a", leaf(1, &[0; 32])), 16_384, |e| {
            matches!(e, MetainfoError::PiecesRoot(_))
        }),
        (one("a", leaf(1, &[1; 20])), 16_384, |e| {
            matches!(e, MetainfoError::PiecesRoot(_))
        }),
        (one("a", leaf(1, &root)), 8192, |e| {
            matches!(e, MetainfoError::PieceLength(8192))
        }),
        (one("a", leaf(1, &root)), 16_385, |e| {
            matches!(e, MetainfoError::PieceLength(_))
        }),
        (one("a", leaf(1, &root)), 0, |e| {
            matches!(e, MetainfoError::PieceLength(0))
        }),
        (one("a", leaf(1, &root)), -16_384, |e| {
            matches!(e, MetainfoError::PieceLength(_))
        }),
        (one("a", leaf(1, &root)), 1 << 30, |e| {
            matches!(e, MetainfoError::PieceLength(_))
        }),
    ]);
    for (index, (tree, piece_length, expected)) in table.into_iter().enumerate() {
        let error = v2_of(tree, piece_length).expect_err(&format!("row {index}"));
        assert!(expected(&error), "row {index}: {error:?}");
    }
}

#[test]
fn the_two_halves_of_a_hybrid_must_agree() {
    let inconsistent: Check = |e| matches!(e, MetainfoError::Inconsistent(_));
    let integer = Encode::Integer;
    let table: Vec<(&str, Option<Encode>, Check)> = vec![
        ("length", Some(integer(5)), inconsistent),
        ("length", None, inconsistent),
        ("files", Some(Encode::List(vec![])), inconsistent),
        ("name", Some(Encode::text("b.mp3")), inconsistent),
        ("name", None, |e| matches!(e, MetainfoError::Missing("name"))),
        ("name", Some(integer(1)), |e| {
            matches!(e, MetainfoError::Invalid { key: "name", .. })
        }),
        ("pieces", None, |e| matches!(e, MetainfoError::Missing("pieces"))),
        ("pieces", Some(Encode::Bytes(vec![0; 60])), |e| {
            matches!(e, MetainfoError::Invalid { key: "pieces", .. })
        }),
        ("meta version", Some(integer(3)), |e| {
            matches!(e, MetainfoError::UnknownVersion(3))
        }),
        ("meta version", None, |e| {
            matches!(e, MetainfoError::Missing("meta version"))
        }),
        ("file tree", None, |e| {
            matches!(e, MetainfoError::Missing("file tree"))
        }),
        ("piece length", None, |e| {
            matches!(e, MetainfoError::Missing("piece length"))
        }),
        ("piece length", Some(integer(131_072)), |e| {
            matches!(
                e,
                MetainfoError::Invalid { .. } | MetainfoError::PieceLayer { .. }
            )
        }),
    ];
    for (key, value, expected) in table {
        let (_, mut info) = parts();
        match value.clone() {
            Some(value) => info.insert(key.as_bytes().to_vec(), value),
            None => info.remove(key.as_bytes()),
        };
        let error = parse_with_info(info).expect_err(key);
        assert!(expected(&error), "{key} {value:?}: {error:?}");
    }
    let (_, mut v1) = parts();
    v1.remove(b"file tree".as_slice());
    v1.remove(b"meta version".as_slice());
    assert_eq!(parse_with_info(v1), Err(MetainfoError::V1Only));
}

#[test]
fn lists_of_version_1_need_the_same_files_and_exact_pads() {
    let names = Encode::dictionary([("a", leaf(10, &[1; 32])), ("b", leaf(20, &[2; 32]))]);
    let entry = |name: &str, length: i64, attr: &str| {
        let path = Encode::List(vec![Encode::text(name)]);
        let mut entry = vec![("length", Encode::Integer(length)), ("path", path)];
        if !attr.is_empty() {
            entry.push(("attr", Encode::text(attr)));
        }
        Encode::dictionary(entry)
    };
    let pad = 16_384 - 10;
    // The list, and whether it says the same.
    let table = [
        (
            vec![entry("a", 10, ""), entry("p", pad, "p"), entry("b", 20, "")],
            true,
        ),
        (
            vec![
                entry("a", 10, "x"),
                entry("p", pad, "p"),
                entry("b", 20, ""),
                entry("p", 16_364, "p"),
            ],
            true,
        ),
        (vec![entry("a", 10, ""), entry("b", 20, "")], false),
        (
            vec![
                entry("a", 10, ""),
                entry("p", pad + 16_384, "p"),
                entry("b", 20, ""),
            ],
            false,
        ),
        (
            vec![entry("a", 10, ""), entry("p", pad - 1, "p"), entry("b", 20, "")],
            false,
        ),
        (
            vec![entry("b", 20, ""), entry("p", 16_364, "p"), entry("a", 10, "")],
            false,
        ),
        (
            vec![entry("a", 11, ""), entry("p", pad - 1, "p"), entry("b", 20, "")],
            false,
        ),
        (vec![entry("a", 10, ""), entry("p", pad, "p")], false),
        (vec![], false),
    ];
    for (index, (files, agrees)) in table.into_iter().enumerate() {
        let info = Encode::dictionary([
            ("file tree", names.clone()),
            ("files", Encode::List(files)),
            ("meta version", Encode::Integer(2)),
            ("name", Encode::text("folder")),
            ("piece length", Encode::Integer(16_384)),
            ("pieces", Encode::Bytes(vec![0; 40])),
        ]);
        let parsed = Metainfo::parse(&Encode::dictionary([("info", info)]).to_bytes());
        match parsed {
            Ok(metainfo) => assert!(agrees && metainfo.info_hash_v1().is_some(), "row {index}"),
            Err(error) => assert!(
                !agrees && matches!(error, MetainfoError::Inconsistent(_)),
                "row {index}: {error}"
            ),
        }
    }
}

#[test]
fn what_is_no_metainfo_is_said_in_one_sentence() {
    let table: [(&[u8], &str); 6] = [
        (b"", "not valid bencoding: the data ends too early"),
        (b"<html>", "not valid bencoding: unexpected byte 0x3c at byte 0"),
        (b"le", "`metainfo` is not a dictionary"),
        (b"de", "`info` is missing"),
        (b"d4:infoi1ee", "`info` is not a dictionary"),
        (
            b"d4:infodee",
            "this is a version 1 torrent only: it has no SHA-256 hashes to verify with",
        ),
    ];
    for (bytes, expected) in table {
        assert_eq!(Metainfo::parse(bytes).expect_err(expected).to_string(), expected);
    }
}

#[test]
fn an_index_of_frames_is_a_part_of_the_identity_and_a_cue_sheet_is_not() {
    let content = content(100_000);
    let built = |index: Option<&[u8]>| {
        let builder = Builder::new("a.mp3").frame_index(index.map(<[u8]>::to_vec));
        builder.hash(&content[..], 100_000, |_| ()).expect("metainfo")
    };
    let (plain, one, other) = (built(None), built(Some(&[1, 2])), built(Some(&[1, 3])));
    assert_eq!(
        (plain.frame_index(), one.frame_index()),
        (None, Some(&[1, 2][..]))
    );
    assert_ne!(plain.info_hash_v2(), one.info_hash_v2());
    assert_ne!(one.info_hash_v2(), other.info_hash_v2());
    let moved = one.with_cue_sheet(Some(b"d1:ai1ee")).expect("metainfo");
    assert_eq!(
        (moved.info_hash_v2(), moved.frame_index()),
        (one.info_hash_v2(), one.frame_index())
    );
    let layers = [(one.files()[0].pieces_root(), one.piece_layer(0).unwrap().to_vec())];
    let gathered = Metainfo::from_info(one.info_bytes(), &layers, &[], &[]).expect("metainfo");
    assert_eq!(
        (gathered.info_hash_v2(), gathered.frame_index()),
        (one.info_hash_v2(), one.frame_index())
    );

    // Whatever others have under that name is no index.
    let (_, mut info) = parts();
    info.insert(b"frame index".to_vec(), Encode::Integer(3));
    assert_eq!(parse_with_info(info).expect("metainfo").frame_index(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_built_reads_back(
        length in 1u64..300_000, piece_shift in 14u32..18, private: bool,
        name in "[a-zA-Zäß .-]{1,20}x", seeds in 0usize..3, trackers in 0usize..3,
    ) {
        let content = content(length);
        let mut builder = Builder::new(name.as_str()).piece_length(1 << piece_shift).private(private);
        let url = |kind: &str, i| format!("http://{kind}{i}.example/");
        builder = (0..seeds).fold(builder, |builder, i| builder.web_seed(url("w", i)));
        builder = (0..trackers).fold(builder, |builder, i| builder.tracker(url("t", i)));
        let metainfo = builder.creation_date(7).created_by("Grove").hash(&content[..], length, |_| ()).unwrap();
        prop_assert_eq!(Metainfo::parse(metainfo.to_bytes()), Ok(metainfo.clone()));
        prop_assert_eq!((metainfo.name(), metainfo.length()), (name.as_str(), length));
        prop_assert_eq!((metainfo.private(), metainfo.piece_length()), (private, 1 << piece_shift));
        let expected: Vec<String> = (0..seeds).map(|i| url("w", i)).collect();
        prop_assert_eq!(metainfo.web_seeds(), expected);
        let expected: Vec<Vec<String>> = (0..trackers).map(|i| vec![url("t", i)]).collect();
        prop_assert_eq!(metainfo.trackers(), expected);
        prop_assert_eq!((metainfo.creation_date(), metainfo.created_by()), (Some(7), Some("Grove")));
    }

    /// Whatever is done to a byte, the parser neither panics nor believes a layer that does not lead to its root.
    #[test]
    fn damage_is_refused_or_harmless(at: prop::sample::Index, byte: u8) {
        let metainfo = build(3 * PIECE + 1);
        let mut bytes = metainfo.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(found) = Metainfo::parse(&bytes) {
            let file = &found.files()[0];
            if let Some(layer) = file.piece_layer() {
                prop_assert_eq!(crate::merkle::root_over(layer, 2, layer.len().next_power_of_two()), file.pieces_root());
            }
        }
    }
}

#[test]
fn what_is_too_large_to_be_taken_is_refused_before_it_is_hashed() {
    let listing = |parts: &[usize]| Listing {
        files: (0..MAX_FILES)
            .map(|n| (parts.iter().map(|&len| format!("{n:0len$}")).collect(), 1))
            .collect(),
        ..Listing::default()
    };
    let nowhere = std::path::Path::new("/nowhere/at all");
    let hash = |parts: &[usize]| Builder::new("a").hash_folder(nowhere, &listing(parts), |_| ());
    let many = [255; 3];
    assert!(matches!(
        hash(&many),
        Err(BuildError::Metainfo(MetainfoError::Bencoding(
            bencode::Error::TooLarge { .. }
        )))
    ));
    let deep = [5; 16];
    assert!(matches!(
        hash(&deep),
        Err(BuildError::Metainfo(MetainfoError::Bencoding(
            bencode::Error::TooMany { .. }
        )))
    ));
    let usual = [5, 40];
    assert!(
        matches!(hash(&usual), Err(BuildError::Read { .. })),
        "as many as may be"
    );
    let pieces = Builder::new("a")
        .piece_length(BLOCK as u64)
        .hash(&b""[..], 1 << 40, |_| ());
    assert!(matches!(pieces, Err(BuildError::Metainfo(_))));
}

#[test]
fn all_that_is_fetched_as_metainfo_is_read() {
    let small = Builder::new("a")
        .hash(&b"content"[..], 7, |_| ())
        .expect("metainfo");
    let mut long = b"d7:comment20000000:".to_vec();
    long.resize(long.len() + 20_000_000, b'a');
    long.extend_from_slice(&small.to_bytes()[1..]);
    let read = Metainfo::parse(&long).expect("20 MB are not too much");
    assert_eq!(read.info_hash_v2(), small.info_hash_v2());
}
