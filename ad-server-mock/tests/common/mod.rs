//! A client of the ad server, as small as tests need: asks, reads VAST, fetches, reports.
#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ad_server_mock::clock::ManualClock;
use ad_server_mock::report::{Report, Row};
use ad_server_mock::store::tokens::Role;
use ad_server_mock::traffic::rate::Limits;
use ad_server_mock::{Config, Running, serve};
use quick_xml::Reader;
use quick_xml::events::Event;

/// Where viewers are to find others who have a creative. Nobody is there.
pub(crate) const TRACKER: &str = "http://tracker.example/announce";
/// 2026-06-15 00:00 UTC.
pub(crate) const NOW: i64 = 1_781_481_600_000;

/// What a test needs of one ad of an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ad {
    pub(crate) serving_id: String,
    pub(crate) sequence: Option<String>,
    pub(crate) creative: String,
    pub(crate) sha256: String,
    pub(crate) media: String,
    pub(crate) media_type: String,
    pub(crate) duration: String,
    /// Every URL to report to: impression, error, click, and the tracking events.
    pub(crate) beacons: Vec<(String, String)>,
}

impl Ad {
    /// The URL of an event, its basis and time filled in.
    pub(crate) fn beacon(&self, event: &str, basis: &str) -> String {
        let (_, url) = self
            .beacons
            .iter()
            .find(|(e, _)| e == event)
            .unwrap_or_else(|| panic!("no {event}"));
        fill(url, basis)
    }
}

pub(crate) fn fill(url: &str, basis: &str) -> String {
    url.replace("%5BGROVE_BASIS%5D", basis)
        .replace("[TIMESTAMP]", "2026-06-15T00%3A00%3A00.000Z")
        .replace("[ERRORCODE]", "405")
}

/// The ads of an answer, and the URLs of its root `Error`.
pub(crate) fn parse(xml: &str) -> (Vec<Ad>, Vec<String>) {
    let mut reader = Reader::from_str(xml);
    let (mut ads, mut errors): (Vec<Ad>, Vec<String>) = (Vec::new(), Vec::new());
    let mut path: Vec<String> = Vec::new();
    let mut event_name = String::new();
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(e) => {
                let attribute = |name: &str| {
                    e.try_get_attribute(name)
                        .expect("well-formed attributes")
                        .map(|a| a.value.to_string())
                };
                let name = e.name().as_ref().to_string();
                match name.as_str() {
                    "Ad" => ads.push(Ad {
                        sequence: attribute("sequence"),
                        ..Ad::default()
                    }),
                    "Creative" => ads.last_mut().unwrap().creative = attribute("id").unwrap(),
                    "MediaFile" => ads.last_mut().unwrap().media_type = attribute("type").unwrap(),
                    "Tracking" => event_name = attribute("event").unwrap(),
                    _ => {}
                }
                path.push(name);
            }
            Event::End(_) => {
                path.pop();
            }
            Event::CData(t) => {
                let url = t.xml10_content().to_string();
                match (path.last().unwrap().as_str(), ads.last_mut()) {
                    ("Error", None) => errors.push(url),
                    ("Error", Some(ad)) => ad.beacons.push(("error".into(), url)),
                    ("Impression", Some(ad)) => ad.beacons.push(("impression".into(), url)),
                    ("ClickTracking", Some(ad)) => ad.beacons.push(("click".into(), url)),
                    ("Tracking", Some(ad)) => ad.beacons.push((event_name.clone(), url)),
                    ("NotUsed", Some(ad)) => ad.beacons.push(("notUsed".into(), url)),
                    ("MediaFile", Some(ad)) => ad.media = url,
                    _ => {}
                }
            }
            Event::Text(t) => {
                let text = t.xml10_content();
                match (path.last().map(String::as_str), ads.last_mut()) {
                    (Some("AdServingId"), Some(ad)) => ad.serving_id = text.to_string(),
                    (Some("CreativeSha256"), Some(ad)) => ad.sha256 = text.to_string(),
                    (Some("Duration"), Some(ad)) => ad.duration = text.to_string(),
                    _ => {}
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    (ads, errors)
}

/// An HTTP client for loopback.
pub(crate) fn client() -> reqwest::Client {
    // Another test of this process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A running server in a folder of its own, with a clock that stands still.
pub(crate) struct Setup {
    pub(crate) server: Running,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) http: reqwest::Client,
    /// Of an admin.
    pub(crate) token: String,
}

impl Setup {
    /// `toml` may name `a.mp3`, `b.wav`, `c.ogg`, `d.m4a`, which exist.
    pub(crate) async fn new(toml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, size) in [
            ("a.mp3", 200_000),
            ("b.wav", 90_000),
            ("c.ogg", 70_001),
            ("d.m4a", 1),
        ] {
            let bytes: Vec<u8> = (0..size)
                .map(|i: u32| (i.wrapping_mul(31) >> 3) as u8 ^ name.as_bytes()[0])
                .collect();
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        write(&dir.path().join("ads.toml"), toml);
        let clock = Arc::new(ManualClock::new(NOW));
        let server = start(dir.path(), clock.clone()).await;
        let s = Self {
            server,
            clock,
            dir,
            http: client(),
            token: "the admin's".to_owned(),
        };
        s.token(&s.token, Role::Admin, None).await;
        s
    }

    /// Makes a token.
    pub(crate) async fn token(&self, token: &str, role: Role, scope: Option<&str>) {
        let db = self.server.ads().db();
        db.add_token(token, role.as_str(), role, scope, NOW)
            .await
            .unwrap();
    }

    /// Stops the server and starts another on the same database.
    pub(crate) async fn restart(self) -> Self {
        let Self {
            server,
            clock,
            dir,
            http,
            token,
        } = self;
        server.stop().await.unwrap();
        let server = start(dir.path(), clock.clone()).await;
        Self {
            server,
            clock,
            dir,
            http,
            token,
        }
    }

    pub(crate) async fn vast(&self, query: &str) -> (Vec<Ad>, Vec<String>) {
        let url = format!("{}/vast?{query}", self.server.url());
        let answer = self.http.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        parse(&answer.text().await.unwrap())
    }

    pub(crate) async fn status(&self, url: &str) -> u16 {
        self.http.get(url).send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn report(&self) -> Report {
        let url = format!("{}/report", self.server.url());
        assert_eq!(self.status(&url).await, 401, "not without a token");
        let answer = self.http.get(url).bearer_auth(&self.token).send().await.unwrap();
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
        let report = answer.json().await.unwrap();
        assert_eq!(
            self.server.report().await.unwrap(),
            report,
            "over HTTP as in the process"
        );
        report
    }
}

async fn start(dir: &Path, clock: Arc<ManualClock>) -> Running {
    let db = dir.join("ads.db").to_str().unwrap().to_owned();
    serve(Config {
        load: vec![dir.join("ads.toml")],
        clock,
        program: Some(env!("CARGO_BIN_EXE_ad-server-mock").into()),
        // The clock stands still and all come from one address.
        rate: Limits::NONE,
        trackers: vec![TRACKER.parse().unwrap()],
        ..Config::new(db)
    })
    .await
    .unwrap()
}

pub(crate) fn write(path: &PathBuf, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// The row of a creative.
pub(crate) fn row<'a>(report: &'a Report, creative: &str) -> &'a Row {
    report
        .rows
        .iter()
        .find(|r| r.creative == creative)
        .unwrap_or_else(|| panic!("no row of {creative}"))
}

/// A file with one advertiser, campaign, flight and creative for each of `creatives` (id, file), with `flight` added to
/// each flight and `campaign` to each campaign.
pub(crate) fn toml(creatives: &[(&str, &str)], campaign: &str, flight: &str) -> String {
    let tables = creatives.iter().map(|(id, file)| {
        format!(
            "[[advertiser]]\nid = \"{id}\"\nname = \"{id}\"\n\
             [[advertiser.campaign]]\nid = \"{id}\"\n{campaign}\n\
             [[advertiser.campaign.flight]]\nid = \"{id}\"\nprice_per_thousand = 20\n{flight}\n\
             [[advertiser.campaign.flight.creative]]\nid = \"{id}\"\nfile = \"{file}\"\nduration = 10\n\
             click_through = \"https://{id}.example/?a=1&b=2\"\n"
        )
    });
    tables.collect::<Vec<_>>().concat()
}

/// Seconds of a 440 Hz sine at a quarter of full scale, as a WAV file.
pub(crate) fn wav(seconds: u32) -> Vec<u8> {
    let rate = 44_100_u32;
    let samples: Vec<i16> = (0..rate * seconds)
        .map(|n| ((f64::from(n) / f64::from(rate) * 440.0 * std::f64::consts::TAU).sin() * 8192.0) as i16)
        .collect();
    let bytes = samples.len() as u32 * 2;
    let mut out = b"RIFF".to_vec();
    out.extend((36 + bytes).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    out.extend(rate.to_le_bytes());
    out.extend((rate * 2).to_le_bytes());
    out.extend(b"\x02\0\x10\0data");
    out.extend(bytes.to_le_bytes());
    out.extend(samples.into_iter().flat_map(i16::to_le_bytes));
    out
}
