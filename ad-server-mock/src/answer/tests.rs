//! The answers are well-formed, in the schema's order, and clean under an independent linter.

use std::sync::Arc;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::*;
use crate::catalog::{Advertiser, Campaign, Catalog, Creative, Flight, Frequency, Kind, Pacing, Targeting};
use crate::decide::{CreativeIndex, Snapshot};
use crate::money::Micros;

fn ad(id: &str) -> Decided {
    changed(id, |_| {})
}

/// An ad of a catalog that a test changes.
fn changed(id: &str, change: impl FnOnce(&mut Catalog)) -> Decided {
    let mut catalog = Catalog {
        advertisers: vec![Advertiser {
            id: "a".to_owned(),
            name: "Fish & <Chips>".to_owned(),
            domain: None,
            category: Some("IAB8".to_owned()),
            category_authority: "https://authority.example/\"list\"?a=1&b=2".to_owned(),
        }],
        campaigns: vec![Campaign {
            archived: false,
            id: "c".to_owned(),
            advertiser_id: "a".to_owned(),
            name: "c".to_owned(),
            budget: None,
            currency: "EUR".to_owned(),
        }],
        flights: vec![Flight {
            archived: false,
            id: "flight-1".to_owned(),
            campaign_id: "c".to_owned(),
            name: "f".to_owned(),
            paused: false,
            starts: None,
            ends: None,
            goal: None,
            cap: None,
            price: Micros(25_500),
            priority: 8,
            pacing: Pacing::Fast,
            kind: Kind::Spot,
            frequency: None,
            targeting: Targeting::default(),
        }],
        creatives: vec![Creative {
            info_hash: None,
            archived: false,
            id: "creative-1".to_owned(),
            flight_id: "flight-1".to_owned(),
            title: "Two ]]> \"for\" one".to_owned(),
            path: "/a.mp3".to_owned(),
            media_type: "audio/mpeg".to_owned(),
            width: 0,
            height: 0,
            duration: 3_725_040,
            size: 120_000,
            modified: 0,
            sha256: "ab".repeat(32),
            ad_registry: "ad-id.org".to_owned(),
            ad_id: "ABCD".to_owned(),
            weight: 1,
            bitrate: 128,
            click_through: Some("https://fish.example/?a=1&b=2".to_owned()),
            skip_after: Some(5_000),
            loudness: None,
            true_peak: None,
            tag: None,
        }],
        ..Catalog::default()
    };
    change(&mut catalog);
    Decided::new(id.to_owned(), Arc::new(Snapshot::new(catalog)), CreativeIndex(0))
}

fn document(base: &str, key: &Key, version: Version, pod: &[Decided], expires: i64) -> String {
    let blocked = ["IAB7".to_owned()];
    let context = Context {
        base,
        key,
        request_id: "r",
        expires,
        blocked: &blocked,
    };
    vast(context, version, pod)
}

/// Every element as its path, with what is in it; fails on anything that is not well-formed.
fn flatten(xml: &str) -> Vec<(String, String, String)> {
    let mut reader = Reader::from_str(xml);
    let (mut path, mut out) = (Vec::new(), Vec::<(String, String, String)>::new());
    // Index in `out` of each open element.
    let mut open = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(e) => {
                path.push(e.name().as_ref().to_owned());
                let attributes: Vec<_> = e
                    .attributes()
                    .map(|a| a.unwrap())
                    .map(|a| format!("{}={}", a.key.as_ref() as &str, a.value))
                    .collect();
                open.push(out.len());
                out.push((path.join("/"), attributes.join(" "), String::new()));
            }
            Event::End(_) => {
                path.pop();
                open.pop();
            }
            Event::Text(t) if !open.is_empty() => out[*open.last().unwrap()].2 += &t.xml10_content(),
            Event::CData(t) => out[*open.last().unwrap()].2 += &t.xml10_content(),
            Event::GeneralRef(r) => {
                out[*open.last().unwrap()].2 += match &*r.xml10_content() {
                    "amp" => "&",
                    "lt" => "<",
                    "gt" => ">",
                    "quot" => "\"",
                    other => panic!("&{other};"),
                };
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(path.is_empty());
    // The writer's indentation is not content.
    out.into_iter()
        .map(|(p, a, text)| (p, a, text.trim().to_owned()))
        .collect()
}

#[test]
fn elements_come_in_the_order_of_the_schema() {
    let key = Key::new(b"k");
    let xml = document(
        "http://ads.example",
        &key,
        Version::V42,
        &[ad("one"), ad("two")],
        3600,
    );
    let all = flatten(&xml);
    let under = |parent: &str| -> Vec<String> {
        let first = all.iter().position(|(p, ..)| p == parent).unwrap();
        let depth = parent.split('/').count() + 1;
        all[first + 1..]
            .iter()
            .take_while(|(p, ..)| p.starts_with(&format!("{parent}/")))
            .filter(|(p, ..)| p.split('/').count() == depth)
            .map(|(p, ..)| p.rsplit('/').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(all[0].1, "version=4.2 xmlns=http://www.iab.com/VAST");
    assert_eq!(all[1].1, "id=creative-1 sequence=1 adType=audio");
    let inline = "VAST/Ad/InLine";
    assert_eq!(
        under(inline),
        [
            "AdSystem",
            "Error",
            "Extensions",
            "Impression",
            "Pricing",
            "AdServingId",
            "AdTitle",
            "Advertiser",
            "Category",
            "Creatives",
            "Expires"
        ]
    );
    let linear = &format!("{inline}/Creatives/Creative/Linear");
    assert_eq!(
        under(linear),
        ["TrackingEvents", "Duration", "MediaFiles", "VideoClicks"]
    );
    assert_eq!(
        under(&format!("{linear}/VideoClicks")),
        ["ClickTracking", "ClickThrough"]
    );
    assert_eq!(
        under(&format!("{inline}/Creatives/Creative")),
        ["Linear", "UniversalAdId"]
    );
    let value = |name: &str| {
        let (_, attributes, content) = all.iter().find(|(p, ..)| p.ends_with(name)).unwrap();
        (attributes.as_str(), content.as_str())
    };
    assert_eq!(value("/AdTitle").1, "Two ]]> \"for\" one");
    assert_eq!(value("/Advertiser").1, "Fish & <Chips>");
    assert_eq!(value("/Pricing"), ("model=CPM currency=EUR", "25.500"));
    assert_eq!(value("/Duration").1, "01:02:05.040");
    assert_eq!(value("/Linear").0, "skipoffset=00:00:05.000");
    assert_eq!(
        value("/MediaFile").0,
        "delivery=progressive type=audio/mpeg bitrate=128 width=0 height=0 fileSize=120000"
    );
    assert_eq!(
        value("/MediaFile").1,
        format!("http://ads.example/creatives/{}", "ab".repeat(32))
    );
    assert_eq!(value("/ClickThrough").1, "https://fish.example/?a=1&b=2");
    assert_eq!(value("/UniversalAdId"), ("idRegistry=ad-id.org", "ABCD"));
    assert_eq!(value("/CreativeSha256").1, "ab".repeat(32));
    let not_used = value("/Extension/NotUsed").1;
    assert!(
        not_used.starts_with("http://ads.example/b/notUsed/one?"),
        "{not_used}"
    );
    let events: Vec<_> = all
        .iter()
        .filter(|(p, ..)| p.ends_with("/Tracking"))
        .take(10)
        .collect();
    assert_eq!(events[0].1, "event=start");
    assert_eq!(events[9].1, "event=skip");
    for (_, attributes, url) in events {
        let event = attributes.strip_prefix("event=").unwrap();
        assert!(is_event(event));
        assert!(
            url.starts_with(&format!(
                "http://ads.example/b/{event}/one?basis=%5BGROVE_BASIS%5D&ts=[TIMESTAMP]&f="
            )),
            "{url}"
        );
    }
}

#[test]
fn one_ad_has_no_sequence_and_none_gives_the_root_error() {
    let key = Key::new(b"k");
    let all = flatten(&document("http://a", &key, Version::V42, &[ad("one")], 60));
    assert_eq!(all[1].1, "id=creative-1 adType=audio");
    let all = flatten(&document("http://a", &key, Version::V42, &[], 60));
    assert_eq!(
        all.iter().map(|(p, ..)| p.as_str()).collect::<Vec<_>>(),
        ["VAST", "VAST/Error"]
    );
    assert!(
        all[1]
            .2
            .starts_with("http://a/b/noAd/r?ts=[TIMESTAMP]&code=[ERRORCODE]&s="),
        "{}",
        all[1].2
    );
}

/// What an independent linter has against a document, as it is written.
fn complaints(xml: &str) -> Vec<String> {
    vastlint_core::validate(xml)
        .issues
        .iter()
        // Information is advice: a mezzanine file for television, a list of categories by the IAB.
        .filter(|i| i.severity != vastlint_core::Severity::Info)
        .map(|i| format!("{:?} {} {}", i.severity, i.id, i.message))
        .collect()
}

fn pods() -> Vec<(&'static str, Vec<Decided>)> {
    let wrapper = |id| {
        changed(id, |c| {
            c.creatives[0].tag = Some("https://other.example/vast?cb=[CACHEBUSTING]".to_owned());
        })
    };
    let video = changed("video", |c| {
        let creative = &mut c.creatives[0];
        creative.media_type = "video/mp4".to_owned();
        (creative.width, creative.height, creative.skip_after) = (1280, 720, None);
        creative.click_through = None;
        c.flights[0].frequency = Some(Frequency {
            count: 2,
            millis: 86_400_000,
        });
        c.advertisers[0].category = None;
    });
    vec![
        ("one", vec![ad("one")]),
        ("a pod", vec![ad("one"), video, ad("three")]),
        ("a wrapper", vec![wrapper("w")]),
        ("a pod with a wrapper", vec![ad("one"), wrapper("w")]),
        ("no ad", vec![]),
    ]
}

#[test]
fn everything_is_clean_under_an_independent_linter() {
    let key = Key::new(b"k");
    for version in [Version::V2, Version::V3, Version::V42] {
        for (name, pod) in pods() {
            let xml = document("https://ads.example", &key, version, &pod, 3600);
            flatten(&xml);
            let found = complaints(&xml);
            assert!(found.is_empty(), "{} {name}: {found:#?}\n{xml}", version.as_str());
        }
    }
}

#[test]
fn breaks_are_clean_too_and_say_when_they_are() {
    let key = Key::new(b"k");
    for version in [Version::V3, Version::V42] {
        let context = Context {
            base: "https://ads.example",
            key: &key,
            request_id: "r",
            expires: 60,
            blocked: &[],
        };
        let breaks = [
            (Offset::Start, Source::Pod(context, vec![ad("one")])),
            (
                Offset::At(90_500),
                Source::Tag("https://ads.example/vast?show=s&break=2".to_owned()),
            ),
            (Offset::Percent(50), Source::Pod(context, vec![])),
            (Offset::End, Source::Pod(context, vec![ad("x"), ad("y")])),
        ];
        let xml = vmap(version, &breaks);
        let found = complaints(&xml);
        assert!(found.is_empty(), "{found:#?}\n{xml}");
        let all = flatten(&xml);
        let offsets: Vec<_> = all
            .iter()
            .filter(|(p, ..)| p == "vmap:VMAP/vmap:AdBreak")
            .map(|(_, a, _)| a.split(' ').next().unwrap())
            .collect();
        assert_eq!(
            offsets,
            [
                "timeOffset=start",
                "timeOffset=00:01:30.500",
                "timeOffset=50%",
                "timeOffset=end"
            ]
        );
    }
}

#[test]
fn offsets_are_read_as_people_write_them() {
    for (text, offset) in [
        ("start", Some(Offset::Start)),
        ("end", Some(Offset::End)),
        ("50%", Some(Offset::Percent(50))),
        ("90.5", Some(Offset::At(90_500))),
        ("1:30.5", Some(Offset::At(90_500))),
        ("01:00:00", Some(Offset::At(3_600_000))),
        ("101%", None),
        ("-1", None),
        ("1:2:3:4", None),
        ("x", None),
        ("", None),
    ] {
        assert_eq!(Offset::parse(text), offset, "{text}");
    }
}

#[test]
fn json_says_what_vast_says_and_the_hash() {
    let key = Key::new(b"k");
    let context = Context {
        base: "https://ads.example",
        key: &key,
        request_id: "r",
        expires: 60,
        blocked: &[],
    };
    let one = json(context, &[ad("one")]);
    let ad = &one["ads"][0];
    assert_eq!(ad["media_file"]["sha256"], "ab".repeat(32));
    assert_eq!(ad["duration"], 3725.04);
    let start = ad["tracking"]["start"][0].as_str().unwrap();
    assert!(
        start.starts_with("https://ads.example/b/start/one?basis=%5BGROVE_BASIS%5D&"),
        "{start}"
    );
    let proof = ad["proof"].as_str().unwrap();
    assert!(proof.starts_with("https://ads.example/proof/one?f="), "{proof}");
    let none = json(context, &[]);
    assert!(none["no_ad"].as_str().unwrap().contains("/b/noAd/r?"));
}

#[test]
fn our_client_reads_the_same_from_json_as_from_vast() {
    use ad_splicer::decide::vast::{Document, parse};
    let key = Key::new(b"k");
    let published = changed("one", |c| {
        c.creatives[0].info_hash = Some("cd".repeat(32));
        c.flights[0].frequency = Some(Frequency {
            count: 2,
            millis: 86_400_000,
        });
    });
    let wrapped = changed("two", |c| {
        c.creatives[0].tag = Some("https://other.example/?a=1&b=2".to_owned());
    });
    let read = |pod: &[Decided]| -> [Document; 2] {
        let context = || Context {
            base: "http://ads.example",
            key: &key,
            request_id: "r",
            expires: 3600,
            blocked: &[],
        };
        let mut both = [
            parse(&vast(context(), Version::V42, pod)).unwrap(),
            parse(&json(context(), pod).to_string()).unwrap(),
        ];
        for document in &mut both {
            document.version = None;
            for ad in &mut document.ads {
                // What JSON does not say: whose list a category is from.
                ad.categories.iter_mut().for_each(|c| c.authority = None);
                ad.linears[0].tracking.sort_by(|a, b| a.event.cmp(&b.event));
            }
        }
        both
    };
    for pod in [
        vec![],
        vec![published.clone()],
        vec![ad("one"), published.clone()],
    ] {
        let [vast, json] = read(&pod);
        assert_eq!(vast, json);
        assert_eq!(vast.ads.len(), pod.len());
    }
    let [document, _] = read(&[published]);
    let found = &document.ads[0];
    let file = format!("http://ads.example/creatives/{}.torrent", "ab".repeat(32));
    assert_eq!((found.torrent.as_ref(), found.caps.len()), (Some(&file), 1));
    // A wrapper has nothing to say about the ad behind it but in JSON.
    let [vast, json] = read(&[wrapped]);
    let reports = |document: &Document| {
        let ad = &document.ads[0];
        (
            ad.wrapper.as_ref().map(|w| w.uri.clone()),
            ad.impressions.clone(),
            ad.errors.clone(),
            ad.linears[0].tracking.clone(),
            ad.without_creative.clone(),
            ad.linears[0].click_tracking.clone(),
        )
    };
    assert_eq!(reports(&vast), reports(&json));
    assert!(vast.ads[0].wrapper.is_some());
}
