//! The IAB's VAST samples, resolved without a network. What is expected was read off the documents by hand.
//!
//! `CONFORMANCE=FOLDER cargo test -p ad-splicer --features conformance --test conformance_vast`

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use ad_splicer::{
    cues::{AdSource, CuePoint, CueSource, Position},
    decide::{
        Ad, AdKind, Context, DEADLINE, Decision, Fetch, FetchError, MediaPreference, Offset, decide_break,
        vast,
    },
    time::ContentTime,
};

const MEDIA: &str = "https://iab-publicfiles.s3.amazonaws.com/vast/VAST-4.0-Short-Intro";
const REPOSITORY: &str = "https://raw.githubusercontent.com/InteractiveAdvertisingBureau/VAST_Samples/master";

fn folder() -> PathBuf {
    let folder = std::env::var_os("CONFORMANCE").expect(
        "CONFORMANCE is not set: it names the folder of conformance inputs (make conformance CONFORMANCE=FOLDER)",
    );
    // Cargo runs tests in the package's folder; a relative path is meant from the workspace's.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let vast = workspace.join(folder).join("vast");
    assert!(
        vast.is_dir(),
        "CONFORMANCE: there is no folder {}",
        vast.display()
    );
    vast
}

fn read(name: &str) -> String {
    let path = folder().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()))
}

/// Answers the URLs that it knows, and remembers what it was asked.
struct Fixtures {
    documents: HashMap<String, String>,
    asked: Mutex<Vec<String>>,
}

impl Fetch for Fixtures {
    async fn fetch(&self, url: &str, _: Duration) -> Result<Vec<u8>, FetchError> {
        self.asked.lock().expect("not poisoned").push(url.to_owned());
        let document = self.documents.get(url).ok_or(FetchError::Status(404))?;
        Ok(document.clone().into_bytes())
    }
}

const PICTURE: MediaPreference = MediaPreference::Video {
    width: 1_280,
    height: 720,
};
const SOUND: MediaPreference = MediaPreference::Audio { bitrate: 192 };

/// Resolves a sample; its wrappers lead to the sample of the same version. Gives what was asked for, too.
async fn resolve(name: &str, media: MediaPreference) -> (Decision, Vec<String>) {
    let documents = HashMap::from([
        (companion_uri("3.0"), read("v3.0/Inline_Companion_Tag-test.xml")),
        // The 4.0 samples are not here; the 4.2 document of the same name stands in.
        (companion_uri("4.0"), read("v4.2/Inline_Companion_Tag-test.xml")),
        (companion_uri("4.2"), read("v4.2/Inline_Companion_Tag-test.xml")),
    ]);
    let fixtures = Fixtures {
        documents,
        asked: Mutex::default(),
    };
    let mut cue = CuePoint::new("sample", Position::Start, CueSource::Vmap);
    cue.ads = Some(AdSource::Inline(read(name)));
    let context = Context {
        media,
        ..Context::default()
    };
    let decision = decide_break(&fixtures, &cue, ContentTime::ZERO, 0, &context, DEADLINE).await;
    (decision, fixtures.asked.into_inner().expect("not poisoned"))
}

fn companion_uri(version: &str) -> String {
    format!("{REPOSITORY}/VAST%20{version}%20Samples/Inline_Companion_Tag-test.xml")
}

fn events(ad: &Ad) -> Vec<(&str, &str)> {
    ad.tracking
        .iter()
        .map(|tracking| (tracking.event.as_str(), tracking.url.as_str()))
        .collect()
}

/// One linear InLine ad of the 3.0 samples.
struct Three {
    name: &'static str,
    id: &'static str,
    title: &'static str,
    click_through: Option<&'static str>,
    click_tracking: &'static [&'static str],
}

const THREES: &[Three] = &[
    Three {
        name: "v3.0/Event_Tracking-test.xml",
        id: "20001",
        title: "iabtechlab video ad",
        click_through: Some("https://iabtechlab.com"),
        click_tracking: &[],
    },
    Three {
        name: "v3.0/Inline_Companion_Tag-test.xml",
        id: "20004",
        title: "VAST 4.0 Pilot - Scenario 5",
        click_through: None,
        click_tracking: &["https://iabtechlab.com"],
    },
    Three {
        name: "v3.0/Inline_Linear_Tag-test.xml",
        id: "20001",
        title: "iabtechlab video ad",
        click_through: None,
        click_tracking: &["https://iabtechlab.com"],
    },
    Three {
        name: "v3.0/No_Wrapper_Tag-test.xml",
        id: "20001",
        title: "iabtechlab video ad",
        click_through: Some("https://iabtechlab.com"),
        click_tracking: &[],
    },
    Three {
        name: "v3.0/Video_Clicks_and_click_tracking-Inline-test.xml",
        id: "20009",
        title: "iabtechlab video ad",
        click_through: Some("https://iabtechlab.com"),
        click_tracking: &["http://example.com/trackingurl/clickTracking"],
    },
];

#[tokio::test]
async fn linear_ads_of_version_3_0() {
    for expected in THREES {
        let name = expected.name;
        let (decision, asked) = resolve(name, SOUND).await;
        assert_eq!(decision.version.as_deref(), Some("3.0"), "{name}");
        assert!(
            decision.problems.is_empty() && asked.is_empty(),
            "{name}: {:?}",
            decision.problems
        );
        assert_eq!((decision.pod.len(), decision.fallbacks.len()), (1, 0), "{name}");
        let ad = &decision.pod[0];
        assert_eq!(ad.ad_id.as_deref(), Some(expected.id), "{name}");
        assert_eq!(ad.title.as_deref(), Some(expected.title), "{name}");
        assert_eq!(
            (ad.sequence, ad.skip_offset, ad.ad_serving_id.as_deref()),
            (None, None, None),
            "{name}"
        );
        assert_eq!(ad.ad_system.as_deref(), Some("iabtechlab"), "{name}");
        assert_eq!(ad.creative_id.as_deref(), Some("5480"), "{name}");
        assert_eq!(ad.duration, Some(Duration::from_secs(16)), "{name}");
        assert_eq!(ad.impressions, ["http://example.com/track/impression"], "{name}");
        assert_eq!(ad.errors, ["http://example.com/error"], "{name}");
        assert_eq!(
            events(ad),
            [
                ("start", "http://example.com/tracking/start"),
                ("firstQuartile", "http://example.com/tracking/firstQuartile"),
                ("midpoint", "http://example.com/tracking/midpoint"),
                ("thirdQuartile", "http://example.com/tracking/thirdQuartile"),
                ("complete", "http://example.com/tracking/complete"),
                ("progress", "http://example.com/tracking/progress-10"),
            ],
            "{name}"
        );
        assert_eq!(
            ad.tracking[5].offset,
            Some(Offset::Time(Duration::from_secs(10))),
            "{name}"
        );
        assert_eq!(ad.click_through.as_deref(), expected.click_through, "{name}");
        assert_eq!(ad.click_tracking, expected.click_tracking, "{name}");
        assert_eq!(ad.media_files.len(), 1, "{name}");
        let file = &ad.media_files[0];
        assert_eq!(file.url, format!("{MEDIA}.mp4"), "{name}");
        assert_eq!(
            (file.mime.as_str(), file.width, file.height),
            ("video/mp4", 400, 300),
            "{name}"
        );
        assert_eq!((file.bitrate, file.codec.as_deref()), (Some(500), None), "{name}");
    }
}

/// One linear InLine ad of the 4.2 samples.
struct Four {
    name: &'static str,
    id: &'static str,
    sequence: Option<u32>,
    title: &'static str,
    serving_id: &'static str,
    advertiser: Option<&'static str>,
    creative_id: &'static str,
    universal_ad_ids: &'static [(&'static str, &'static str)],
    categories: &'static [&'static str],
    click_tracking: &'static [&'static str],
}

const FOUR: Four = Four {
    name: "",
    id: "20001",
    sequence: None,
    title: "iabtechlab video ad",
    serving_id: "a532d16d-4d7f-4440-bd29-2ec0e693fc80",
    advertiser: None,
    creative_id: "5480",
    universal_ad_ids: &[("Ad-ID", "8465")],
    categories: &[],
    click_tracking: &[],
};

const FOURS: &[Four] = &[
    Four {
        name: "v4.2/Ad_Verification-test.xml",
        sequence: Some(1),
        advertiser: Some("IAB Sample Company"),
        ..FOUR
    },
    Four {
        name: "v4.2/Category-test.xml",
        id: "20008",
        sequence: Some(1),
        serving_id: "a532d16d-4d7f-4440-bd29-2ec0e693fc82",
        universal_ad_ids: &[("Ad-ID", "8465"), ("FOO-ID", "6666465")],
        categories: &["American Cuisine", "Guitar", "Vegan"],
        ..FOUR
    },
    Four {
        name: "v4.2/Closed_Caption_Test.xml",
        sequence: Some(1),
        serving_id: "a532d16d-4d7f-4440-bd29-2ec0e693fc83",
        ..FOUR
    },
    Four {
        name: "v4.2/Event_Tracking-test.xml",
        ..FOUR
    },
    Four {
        name: "v4.2/IconClickFallbacks.xml",
        sequence: Some(1),
        ..FOUR
    },
    Four {
        name: "v4.2/Inline_Companion_Tag-test.xml",
        id: "20004",
        title: "VAST 4.0 Pilot - Scenario 5",
        creative_id: "5481",
        universal_ad_ids: &[("Ad-ID", "8466")],
        ..FOUR
    },
    Four {
        name: "v4.2/Inline_Linear_Tag-test.xml",
        sequence: Some(1),
        universal_ad_ids: &[("Ad-ID", "8465"), ("Foo-ID", "4444323")],
        ..FOUR
    },
    Four {
        name: "v4.2/Inline_Simple.xml",
        title: "Inline Simple Ad",
        serving_id: "a532d16d-4d7f-4440-bd29-2ec05553fc80",
        advertiser: Some("IAB Sample Company"),
        categories: &["AD CONTENT description category"],
        ..FOUR
    },
    Four {
        name: "v4.2/No_Wrapper_Tag-test.xml",
        universal_ad_ids: &[("Ad-ID", "8465"), ("Ad-ID2", "AA8465")],
        ..FOUR
    },
    Four {
        name: "v4.2/Ready_to_serve_Media_Files_check-test.xml",
        id: "20007",
        ..FOUR
    },
    Four {
        name: "v4.2/Universal_Ad_ID-multi-test.xml",
        id: "20011",
        serving_id: "a532d16d-4d7f-4440-bd29-2ec0e693fc81",
        universal_ad_ids: &[("Ad-ID", "8465"), ("FooId", "9999"), ("BarId", "ADSe9999")],
        categories: &["AD CONTENT description category"],
        ..FOUR
    },
    Four {
        name: "v4.2/Video_Clicks_and_click_tracking-Inline-test.xml",
        id: "20009",
        serving_id: "a532d16d-4d7f-4440-bd29-2ec0e693fc89",
        categories: &["AD CONTENT description category"],
        click_tracking: &["http://myTrackingURL/clickTracking"],
        ..FOUR
    },
];

/// Tracking as in every linear ad of the 4.2 samples.
const EVENTS: [(&str, &str); 6] = [
    ("start", "https://example.com/tracking/start"),
    ("progress", "http://example.com/tracking/progress-10"),
    ("firstQuartile", "https://example.com/tracking/firstQuartile"),
    ("midpoint", "https://example.com/tracking/midpoint"),
    ("thirdQuartile", "https://example.com/tracking/thirdQuartile"),
    ("complete", "https://example.com/tracking/complete"),
];

#[tokio::test]
async fn linear_ads_of_version_4_2() {
    for expected in FOURS {
        let name = expected.name;
        let (decision, asked) = resolve(name, PICTURE).await;
        assert_eq!(decision.version.as_deref(), Some("4.2"), "{name}");
        assert!(
            decision.problems.is_empty() && asked.is_empty(),
            "{name}: {:?}",
            decision.problems
        );
        assert_eq!((decision.pod.len(), decision.fallbacks.len()), (1, 0), "{name}");
        let ad = &decision.pod[0];
        assert_eq!(ad.ad_id.as_deref(), Some(expected.id), "{name}");
        assert_eq!(ad.sequence, expected.sequence, "{name}");
        assert_eq!(ad.title.as_deref(), Some(expected.title), "{name}");
        assert_eq!(ad.ad_serving_id.as_deref(), Some(expected.serving_id), "{name}");
        assert_eq!(ad.advertiser.as_deref(), expected.advertiser, "{name}");
        assert_eq!(ad.creative_id.as_deref(), Some(expected.creative_id), "{name}");
        let ids: Vec<_> = ad
            .universal_ad_ids
            .iter()
            .map(|id| (id.registry.as_str(), id.id.as_str()))
            .collect();
        assert_eq!(ids, expected.universal_ad_ids, "{name}");
        assert_eq!(
            ad.categories.iter().map(|c| c.code.as_str()).collect::<Vec<_>>(),
            expected.categories,
            "{name}"
        );
        assert_eq!(ad.duration, Some(Duration::from_secs(16)), "{name}");
        assert_eq!(ad.impressions, ["https://example.com/track/impression"], "{name}");
        assert_eq!(ad.errors, ["https://example.com/error"], "{name}");
        assert_eq!(events(ad), EVENTS, "{name}");
        assert_eq!(
            ad.click_through.as_deref(),
            Some("https://iabtechlab.com"),
            "{name}"
        );
        assert_eq!(ad.click_tracking, expected.click_tracking, "{name}");
        // The first of these is the chosen one.
        let files: Vec<_> = ad
            .media_files
            .iter()
            .map(|f| (f.url.as_str(), f.width, f.bitrate))
            .collect();
        let [large, middle, small] =
            ["", "-mid-resolution", "-low-resolution"].map(|size| format!("{MEDIA}{size}.mp4"));
        assert_eq!(
            files,
            [
                (large.as_str(), 1_280, Some(2_000)),
                (&middle, 854, Some(1_000)),
                (&small, 640, Some(600))
            ],
            "{name}"
        );
        assert!(
            ad.media_files
                .iter()
                .all(|f| f.mime == "video/mp4" && f.codec.as_deref() == Some("H.264")),
            "{name}"
        );
        // A podcast throws the picture away, so the smallest will do.
        let (heard, _) = resolve(name, SOUND).await;
        assert_eq!(
            heard.pod[0].media_file().map(|f| f.url.as_str()),
            Some(small.as_str()),
            "{name}"
        );
    }
}

#[tokio::test]
async fn verifications_are_listed_and_not_run() {
    let (decision, _) = resolve("v4.2/Ad_Verification-test.xml", SOUND).await;
    let resources: Vec<_> = decision.pod[0]
        .verifications
        .iter()
        .flat_map(|v| v.resources.iter())
        .collect();
    assert_eq!(
        resources,
        [
            "https://verificationcompany1.com/verification_script1.js",
            "https://verificationcompany.com/untrusted.js"
        ]
    );
    assert!(
        decision.pod[0]
            .verifications
            .iter()
            .all(|verification| verification.not_executed.is_empty())
    );
}

#[tokio::test]
async fn non_linear_ads_are_listed_and_not_played() {
    for (name, title, scheme) in [
        ("v3.0/Inline_Non-Linear_Tag-test.xml", "NonLinear Image", "http"),
        (
            "v4.2/Inline_Non-Linear_Tag-test.xml",
            "VAST 4.0 Pilot - Scenario 5",
            "https",
        ),
    ] {
        let (decision, _) = resolve(name, SOUND).await;
        assert!(decision.pod.is_empty() && decision.fallbacks.is_empty(), "{name}");
        assert_eq!(decision.vast_error().map(|code| code.0), Some(201), "{name}");
        assert_eq!(decision.not_played.len(), 1, "{name}");
        let ad = &decision.not_played[0];
        assert_eq!(
            (ad.kind, ad.ad_id.as_deref(), ad.title.as_deref()),
            (AdKind::NonLinear, Some("20005"), Some(title))
        );
        assert_eq!(
            ad.impressions,
            [format!("{scheme}://example.com/track/impression")],
            "{name}"
        );
        assert_eq!(
            decision.problems[0].error_urls,
            [format!("{scheme}://example.com/error")],
            "{name}"
        );
    }
}

#[tokio::test]
async fn companions_of_a_linear_ad_are_listed() {
    for (name, size) in [
        ("v3.0/Inline_Companion_Tag-test.xml", (300, 250)),
        ("v4.2/Inline_Companion_Tag-test.xml", (100, 150)),
    ] {
        let (decision, _) = resolve(name, SOUND).await;
        let companions = &decision.pod[0].companions;
        assert_eq!(companions.len(), 1, "{name}");
        assert_eq!(
            (companions[0].width, companions[0].height),
            (Some(size.0), Some(size.1)),
            "{name}"
        );
        assert_eq!(
            companions[0].resource.as_deref(),
            Some("https://www.iab.com/wp-content/uploads/2014/09/iab-tech-lab-6-644x290.png"),
            "{name}"
        );
        assert_eq!(
            companions[0].click_through.as_deref(),
            Some("https://iabtechlab.com"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn wrappers_are_followed_and_merged() {
    // 3.0: no attributes, so one stand-alone ad is allowed, which is what is behind it.
    let (decision, asked) = resolve("v3.0/Wrapper_Tag-test.xml", SOUND).await;
    assert_eq!(asked, [companion_uri("3.0")]);
    assert!(decision.problems.is_empty(), "{:?}", decision.problems);
    let ad = &decision.pod[0];
    assert_eq!(
        (ad.ad_id.as_deref(), ad.title.as_deref()),
        (Some("20004"), Some("VAST 4.0 Pilot - Scenario 5"))
    );
    assert_eq!(ad.impressions, ["http://example.com/track/impression"; 2]);
    assert_eq!(ad.errors, ["http://example.com/error"; 2]);
    assert_eq!(ad.companions.len(), 1, "the InLine's own companion wins");
    assert_eq!(ad.companions[0].width, Some(300));
    assert_eq!(ad.chain.len(), 1);
    assert_eq!(
        (ad.chain[0].ad_id.as_deref(), ad.chain[0].uri.clone()),
        (Some("20011"), companion_uri("3.0"))
    );

    let (decision, asked) = resolve("v4.2/Wrapper_Tag-test.xml", SOUND).await;
    assert_eq!(asked, [companion_uri("4.2")]);
    let ad = &decision.pod[0];
    assert_eq!((ad.ad_id.as_deref(), ad.sequence), (Some("20004"), Some(1)));
    assert_eq!(ad.impressions, ["https://example.com/track/impression"; 2]);
    assert_eq!(events(ad), EVENTS);

    let (decision, asked) = resolve("v4.2/Viewable_Impression-test.xml", SOUND).await;
    assert_eq!(asked, [companion_uri("4.0")]);
    let ad = &decision.pod[0];
    let viewed =
        "https://search.iabtechlab.com/error?errcode=102&imprid=s5-ea2f7f298e28c0c98374491aec3dfeb1&ts=1243";
    let mut expected = EVENTS.to_vec();
    expected.extend([
        ("viewable", viewed),
        ("notViewable", viewed),
        ("viewUndetermined", viewed),
    ]);
    expected.extend([
        ("start", "http://example.com/tracking/start"),
        ("progress", "http://example.com/tracking/progress-10"),
    ]);
    assert_eq!(events(ad), expected);
    assert_eq!(ad.chain[0].ad_id.as_deref(), Some("20010"));
}

#[test]
fn every_sample_in_the_folder_is_vast_with_an_ad() {
    let mut count = 0;
    for version in std::fs::read_dir(folder()).expect("folder") {
        let version = version.expect("entry").path();
        if !version.is_dir() {
            continue;
        }
        for sample in std::fs::read_dir(&version).expect("folder") {
            let path = sample.expect("entry").path();
            let document = vast::parse_bytes(&std::fs::read(&path).expect("sample"))
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(!document.ads.is_empty(), "{}", path.display());
            assert!(
                document.ads.iter().all(|ad| ad.fault.is_none()),
                "{}",
                path.display()
            );
            // An independent reader sees the same version, and nothing in it that is not a document.
            let text = std::fs::read_to_string(&path).expect("sample");
            let theirs = vastlint_core::validate(&text);
            assert_eq!(
                theirs.input_status,
                vastlint_core::InputStatus::Supported,
                "{}",
                path.display()
            );
            let version = theirs.version.best().map(vastlint_core::VastVersion::as_str);
            assert_eq!(document.version.as_deref(), version, "{}", path.display());
            // What it finds missing in an ad, ours has not read either.
            let lacks = |rule: &str| theirs.issues.iter().any(|issue| issue.id.ends_with(rule));
            for (rule, read) in [
                ("-adsystem", document.ads.iter().all(|ad| ad.ad_system.is_some())),
                (
                    "-impression",
                    document.ads.iter().all(|ad| !ad.impressions.is_empty()),
                ),
                (
                    "inline-adtitle",
                    document
                        .ads
                        .iter()
                        .all(|ad| ad.wrapper.is_some() || ad.title.is_some()),
                ),
            ] {
                assert_eq!(
                    !lacks(rule),
                    read,
                    "{rule} of {}: {:#?}",
                    path.display(),
                    theirs.issues
                );
            }
            count += 1;
        }
    }
    assert!(count >= THREES.len() + FOURS.len() + 5, "only {count} samples");
}
