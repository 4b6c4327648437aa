//! What a TOML file may say, and what each mistake is called.

use sha2::{Digest as _, Sha256};

use super::*;
use crate::catalog::{Frequency, Kind, Pacing, Separation, Share};
use crate::clock::DAY;
use crate::money::Micros;

const GOOD: &str = r#"
[[advertiser]]
id = "aurora"
name = "Aurora & Co"
category = "IAB8"
[[advertiser.campaign]]
id = "spring"
budget = 500
[[advertiser.campaign.flight]]
id = "one"
start = 2026-01-01
end = 2026-01-31
goal = 1000
price_per_thousand = 25.5
[[advertiser.campaign.flight.creative]]
id = "a"
file = "a.mp3"
duration = 8
"#;

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.mp3"), vec![7; 128_000]).unwrap();
    dir
}

fn read_text(dir: &Path, text: &str) -> Result<Catalog, LoadError> {
    let path = dir.join("ads.toml");
    std::fs::write(&path, text).unwrap();
    read(&path)
}

#[test]
fn a_good_file_is_read_whole() {
    let dir = folder();
    let catalog = read_text(dir.path(), GOOD).unwrap();
    assert_eq!(catalog.advertisers[0].name, "Aurora & Co");
    assert_eq!(catalog.campaigns[0].budget, Some(Micros(500_000_000)));
    assert_eq!(catalog.campaigns[0].name, "spring");
    let flight = &catalog.flights[0];
    assert_eq!(
        (flight.starts, flight.ends),
        (Some(20_454 * DAY), Some(20_485 * DAY))
    );
    assert_eq!(
        (flight.price, flight.priority, flight.pacing),
        (Micros(25_500), 8, Pacing::Even)
    );
    let creative = &catalog.creatives[0];
    assert_eq!(
        (creative.duration, creative.size, creative.bitrate),
        (8000, 128_000, 128)
    );
    assert_eq!(creative.media_type, "audio/mpeg");
    assert_eq!(creative.sha256, hex::encode(Sha256::digest(vec![7; 128_000])));
    assert_eq!(
        (creative.ad_registry.as_str(), &creative.ad_id),
        (OWN_REGISTRY, &creative.sha256)
    );
}

#[test]
fn publishers_targeting_frequency_and_tags_are_read() {
    let dir = folder();
    let more =
        GOOD.replace(
            "goal = 1000",
            "goal = 1000\npacing = \"daily\"\nkind = \"sponsorship\"\nfrequency = { count = 3, hours = 24 }\n\
             targeting = { shows = [\"s\"], countries = [\"ES\", \"PT\"] }",
        )
        .replace(
            "file = \"a.mp3\"",
            "tag = \"https://x.example/v?a=[CACHEBUSTING]&b=1\"",
        ) + "[[publisher]]\nid = \"p\"\nname = \"P\"\nshare = 70.5\n\
           [[publisher.show]]\nid = \"s\"\nblocked = [\"IAB8\"]\nseparation = \"download\"\n";
    let catalog = read_text(dir.path(), &more).unwrap();
    let flight = &catalog.flights[0];
    assert_eq!((flight.pacing, flight.kind), (Pacing::Daily, Kind::Sponsorship));
    assert_eq!(
        flight.frequency,
        Some(Frequency {
            count: 3,
            millis: DAY
        })
    );
    assert_eq!(flight.targeting.countries, ["ES", "PT"]);
    assert_eq!(
        catalog.creatives[0].tag.as_deref(),
        Some("https://x.example/v?a=[CACHEBUSTING]&b=1")
    );
    assert_eq!(catalog.publishers[0].share, Share(7_050));
    let show = &catalog.shows[0];
    assert_eq!(
        (show.id.as_str(), show.publisher_id.as_str(), show.title.as_str()),
        ("s", "p", "s")
    );
    assert_eq!(
        (show.blocked.as_slice(), show.separation),
        (&["IAB8".to_owned()][..], Separation::Download)
    );
}

#[test]
fn refusals_name_the_line_and_the_field() {
    // What is replaced, by what, and the line and words that must be in the message.
    let table = [
        ("id = \"a\"", "id = \"a/b\"", 16, "letters, digits"),
        ("id = \"a\"", "id = \"a\"\ncolour = 1", 17, "colour"),
        ("file = \"a.mp3\"", "file = \"b.mp3\"", 17, "cannot read"),
        ("file = \"a.mp3\"", "file = \"a.xyz\"", 17, "media_type"),
        ("duration = 8", "duration = 0", 18, "duration"),
        ("duration = 8", "duration = \"8\"", 18, "a number"),
        ("duration = 8", "", 15, "duration"),
        ("budget = 500", "budget = -1", 8, "budget"),
        ("end = 2026-01-31", "end = 2025-01-31", 12, "end"),
        ("end = 2026-01-31", "pacing = \"even\"", 12, "start and end"),
        (
            "end = 2026-01-31",
            "pacing = \"daily\"",
            12,
            "start, end and goal",
        ),
        ("goal = 1000", "kind = \"poem\"", 13, "sponsorship"),
        ("goal = 1000", "frequency = { count = 0, hours = 1 }", 13, "count"),
        (
            "goal = 1000",
            "targeting = { planets = [\"Mars\"] }",
            13,
            "planets",
        ),
        (
            "file = \"a.mp3\"",
            "file = \"a.mp3\"\ntag = \"https://x.example/\"",
            16,
            "not both",
        ),
        ("file = \"a.mp3\"", "tag = \"ftp://x.example/\"", 17, "http"),
        ("goal = 1000", "goal = 0", 13, "goal"),
        ("goal = 1000", "priority = 17", 13, "priority"),
        (
            "price_per_thousand = 25.5",
            "price_per_thousand = 0.0001",
            14,
            "decimals",
        ),
        ("name = \"Aurora & Co\"", "name = \"\"", 4, "name"),
        ("[[advertiser]]", "[[advertiser", 2, ""),
        (
            "duration = 8",
            "duration = 8\nclick_through = \"javascript:alert(1)\"",
            19,
            "click_through",
        ),
    ];
    let dir = folder();
    for (from, to, line, words) in table {
        let error = read_text(dir.path(), &GOOD.replace(from, to)).expect_err(to);
        let LoadError::Bad {
            line: found, reason, ..
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!(*found, line, "{to}: {error}");
        assert!(reason.contains(words), "{to}: {error}");
    }
    for (text, words) in [
        ("share = 101", "per cent"),
        ("share = 70.001", "decimals"),
        (
            "share = 70\n[[publisher.show]]\nid = \"s\"\nseparation = \"x\"",
            "download",
        ),
    ] {
        let text = format!("{GOOD}[[publisher]]\nid = \"p\"\nname = \"P\"\n{text}\n");
        let error = read_text(dir.path(), &text).expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
    }
    let twice = format!("{GOOD}[[advertiser.campaign]]\nid = \"spring\"\n");
    assert!(
        read_text(dir.path(), &twice)
            .unwrap_err()
            .to_string()
            .contains("another campaign")
    );
    assert!(matches!(
        read(&dir.path().join("none.toml")),
        Err(LoadError::Read { .. })
    ));
}
