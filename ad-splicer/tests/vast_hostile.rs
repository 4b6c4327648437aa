//! Documents that strangers wrote to do harm, or that broke on their way: each gets a bounded, named error or a reading, never a panic,
//! and the verdict of an independent reader (`vastlint-core`) on what is no document at all is the same.

use std::time::{Duration, Instant};

use ad_splicer::beacons::UnixMillis;
use ad_splicer::decide::document::{self, MOST_BYTES, Read};
use ad_splicer::decide::resolve::{MOST_DOCUMENTS, MOST_WRAPPERS, Resolver};
use ad_splicer::decide::{MediaPreference, vast};
use proptest::prelude::*;
use vastlint_core::{DocumentType, InputStatus, validate};

const SOUND: &str = "<MediaFile type='audio/mpeg' delivery='progressive' width='0' height='0'><![CDATA[http://m.example/a.mp3]]></MediaFile>";

fn document_with(body: &str) -> String {
    format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<VAST version='3.0'><Ad id='1'><InLine><AdSystem>Hand</AdSystem>\
         <AdTitle>Tea</AdTitle><Impression><![CDATA[http://i.example/]]></Impression><Creatives><Creative><Linear>\
         <Duration>00:00:08</Duration><MediaFiles>{body}</MediaFiles></Linear></Creative></Creatives></InLine></Ad></VAST>"
    )
}

fn code(bytes: &[u8]) -> Option<u16> {
    document::read(bytes).err().map(|error| error.code().0)
}

#[test]
fn entity_bombs_are_not_expanded() {
    let entities: Vec<String> = (1..30)
        .map(|n| format!("<!ENTITY l{n} '{}'>", format!("&l{};", n - 1).repeat(10)))
        .collect();
    let entities = entities.concat();
    let bomb = format!(
        "<!DOCTYPE lolz [<!ENTITY l0 'lol'>{entities}]><VAST version='3.0'><Ad id='1'><InLine>\
         <AdTitle>&l29;</AdTitle></InLine></Ad></VAST>"
    );
    let external = "<!DOCTYPE v [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><VAST version='3.0'><Ad><InLine>\
                    <AdTitle>&x;</AdTitle></InLine></Ad></VAST>";
    for (text, title) in [(bomb.as_str(), "&l29;"), (external, "&x;")] {
        let read = vast::parse(text).expect("it is read");
        assert_eq!(read.ads[0].title.as_deref(), Some(title), "as it is written");
    }
}

#[test]
fn depth_size_and_number_are_bounded_and_named() {
    let deep = "<VAST version='3.0'>".to_owned() + &"<a>".repeat(100_000);
    let wide = format!("<VAST version='3.0'>{}</VAST>", "<a/>".repeat(30_000));
    let large = document_with(&" ".repeat(MOST_BYTES));
    for (text, said) in [
        (deep, "64 deep"),
        (wide, "20000 elements"),
        (large, "longer than 1048576 bytes"),
    ] {
        let began = Instant::now();
        let error = document::read(text.as_bytes()).expect_err(said);
        assert_eq!(error.code().0, 100, "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{said}: {:?}",
            began.elapsed()
        );
    }
    // A hundred megabytes are refused by their length.
    assert_eq!(code(&vec![b'<'; 100_000_000]), Some(100));
}

#[test]
fn encodings_are_read_or_named() {
    let text = document_with(SOUND).replace("Tea", "Th\u{e9}");
    let units = |text: &str| {
        text.replace("UTF-8", "UTF-16")
            .encode_utf16()
            .collect::<Vec<u16>>()
    };
    let little: Vec<u8> = units(&text).iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let big: Vec<u8> = units(&text).iter().flat_map(|unit| unit.to_be_bytes()).collect();
    let latin: Vec<u8> = text
        .replace("UTF-8", "ISO-8859-1")
        .chars()
        .map(|c| u8::try_from(u32::from(c)).expect("Latin-1"))
        .collect();
    for bytes in [
        text.as_bytes().to_vec(),
        [b"\xEF\xBB\xBF".to_vec(), text.as_bytes().to_vec()].concat(),
        [vec![0xFF, 0xFE], little.clone()].concat(),
        [vec![0xFE, 0xFF], big.clone()].concat(),
        little.clone(),
        big,
        latin.clone(),
    ] {
        let read = vast::parse_bytes(&bytes).expect("it is read");
        assert_eq!(read.ads[0].title.as_deref(), Some("Th\u{e9}"));
    }
    // Latin-1 bytes under another name, UTF-16 that is cut within a pair, UTF-32.
    let lying = String::from_utf8_lossy(&latin).into_owned();
    assert!(lying.contains('\u{fffd}'));
    let start = latin
        .iter()
        .position(|&byte| byte == b'I')
        .expect("the declaration");
    let mut undeclared = latin.clone();
    undeclared.splice(start..start + 10, *b"UTF-8");
    let mut surrogate = vec![0xFF, 0xFE];
    surrogate.extend([0x00, 0xD8]);
    let utf32: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    for bytes in [undeclared, surrogate, utf32] {
        assert_eq!(code(&bytes), Some(100));
    }
}

/// What the `n`th document, which is at a URL, leads to.
type Next = fn(&str, usize) -> Vec<String>;

#[test]
fn wrapper_loops_and_floods_end() {
    let wrapper = |to: &str| {
        format!("<Ad><Wrapper allowMultipleAds='1'><VASTAdTagURI>{to}</VASTAdTagURI></Wrapper></Ad>")
    };
    // Each document leads to itself, to its neighbour, to ever new ones: as many as there may be.
    let strategies: [(&str, Next, usize); 3] = [
        ("itself", |url, _| vec![url.to_owned()], 1),
        (
            "a pair",
            |_, n| vec![format!("http://w.example/{}", (n + 1) % 2)],
            3,
        ),
        (
            "ever new ones",
            |_, n| (0..60).map(|m| format!("http://w.example/{n}/{m}")).collect(),
            MOST_DOCUMENTS,
        ),
    ];
    for (what, next, most) in strategies {
        let mut resolver =
            Resolver::from_tag("http://w.example/0", MediaPreference::default(), UnixMillis(0));
        let mut fetched = 0;
        while let Some(request) = resolver.poll_fetch() {
            let ads: String = next(&request.url, fetched)
                .iter()
                .map(|url| wrapper(url))
                .collect();
            fetched += 1;
            assert!(fetched <= MOST_DOCUMENTS, "{what}");
            let text = format!("<VAST version='4.2'>{ads}</VAST>");
            resolver.handle_document(request.id, Ok(text.as_bytes()));
        }
        assert!(fetched <= most.max(MOST_WRAPPERS), "{what}: {fetched}");
        let decision = resolver.finish();
        assert!(decision.pod.is_empty());
        assert!(
            decision.problems.iter().all(|problem| problem.code.0 == 302),
            "{what}: {:?}",
            decision.problems
        );
    }
}

#[test]
fn an_independent_reader_agrees_on_what_is_no_document_and_what_is_of_no_known_version() {
    let whole = document_with(SOUND);
    let mut texts: Vec<String> = (0..whole.len())
        .step_by(7)
        .map(|end| whole[..end].to_owned())
        .collect();
    texts.extend(
        [
            "rubbish",
            "",
            "<VAST version='3.0'><Ad></VAST>",
            "<VAST version='3.0'></VAST></VAST>",
        ]
        .map(str::to_owned),
    );
    texts.push(whole.clone());
    for text in &texts {
        let theirs = validate(text).input_status == InputStatus::Malformed;
        let ours = code(text.as_bytes()) == Some(100);
        assert_eq!(ours, theirs, "{text}");
    }
    for version in ["2.0", "3.0", "4.0", "4.1", "4.2", "4.3", "1.0", "5.0", "x"] {
        let text = whole.replace("version='3.0'", &format!("version='{version}'"));
        let theirs = validate(&text);
        let ours = vast::parse(&text);
        assert_eq!(
            ours.is_ok(),
            theirs.input_status == InputStatus::Supported,
            "{version}"
        );
        if let Ok(ours) = ours {
            let best = theirs.version.best().map(vastlint_core::VastVersion::as_str);
            assert_eq!(ours.version.as_deref(), best);
        }
    }
    assert_eq!(validate("<html/>").input_status, InputStatus::Unsupported);
    assert_eq!(code(b"<html/>"), Some(101));
    let vmap = "<vmap:VMAP xmlns:vmap='http://www.iab.net/videosuite/vmap' version='1.0'/>";
    assert_eq!(validate(vmap).document_type, DocumentType::Vmap);
    assert!(matches!(document::read(vmap.as_bytes()), Ok(Read::Vmap(..))));
}

#[test]
fn what_the_publisher_writes_for_a_creative_is_clean_to_an_independent_reader() {
    let text = vast::inline_for_creative(
        "https://m.example/a.mp3",
        Duration::from_millis(8_500),
        Some([7; 32]),
        "Tea & \"cakes\"",
        "audio/mpeg",
    );
    let verdict = validate(&text);
    assert!(verdict.summary.is_valid(), "{text}\n{:#?}", verdict.issues);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_document_that_broke_on_its_way_is_read_or_named(
        edits in proptest::collection::vec((any::<usize>(), any::<u8>(), 0_u8..3), 1..12)
    ) {
        let mut bytes = document_with(SOUND).into_bytes();
        for (at, byte, what) in edits {
            let at = at % bytes.len();
            match what {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        match document::read(&bytes) {
            Ok(Read::Vast(text)) => {
                let mut resolver = Resolver::from_inline(&text, MediaPreference::default(), UnixMillis(0));
                prop_assert!(resolver.poll_fetch().is_none());
                let decision = resolver.finish();
                prop_assert!(decision.pod.len() <= 1);
            }
            Ok(Read::Vmap(..)) => {}
            Err(error) => prop_assert!((100..=102).contains(&error.code().0)),
        }
    }
}
