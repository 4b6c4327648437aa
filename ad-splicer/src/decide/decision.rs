//! What a decision is: the pod in playing order, what may stand in for an ad that fails, and what went wrong.
//!
//! Plain data that can be stored and read back (serde), so that an unexpired decision plays offline. URLs are kept with
//! their macros: they are filled when the event happens. Every URL here is http or https.

use std::{cmp::Reverse, ffi::OsStr, fmt, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{beacons::UnixMillis, timecode};

/// Most images that are tried for one ad: a plain card does as well.
const MOST_IMAGES: usize = 3;

/// What would play in a break, and what would be reported.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Decision {
    /// The `version` of the first document, as written; `None` when there was no document.
    pub version: Option<String>,
    /// The ads in playing order. Empty: the break stays empty, and `problems` says why.
    pub pod: Vec<Ad>,
    /// Stand-alone ads of the response, in order, each to replace one ad of the pod that fails.
    pub fallbacks: Vec<Ad>,
    /// Ads that are listed and not played: non-linear and companion-only ones, and those without a usable media file.
    pub not_played: Vec<Ad>,
    /// Everything that went wrong, in the order in which it did.
    pub problems: Vec<Problem>,
}

impl Decision {
    /// A decision without ads, for one reason.
    pub fn empty(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            ..Self::default()
        }
    }

    /// Why the break is empty: the text of the last problem; `None` while there are ads.
    pub fn reason(&self) -> Option<String> {
        if !self.pod.is_empty() {
            return None;
        }
        Some(self.problems.last().map_or_else(
            || "the ad server had no ad".to_owned(),
            |problem| problem.text.clone(),
        ))
    }

    /// The VAST error code that goes with [`Self::reason`].
    pub fn vast_error(&self) -> Option<VastCode> {
        if !self.pod.is_empty() {
            return None;
        }
        Some(
            self.problems
                .last()
                .map_or(VastCode::NO_AD, |problem| problem.code),
        )
    }

    /// The ad at `index` of the pod failed: notes the problem, and puts the next stand-alone ad in its place, or takes
    /// it out when there is none (VAST 4.2 §3.3.1). True when another ad stands there now.
    pub fn replace_failed(&mut self, index: usize, code: VastCode, text: impl Into<String>) -> bool {
        let Some(failed) = self.pod.get(index) else {
            return false;
        };
        self.problems.push(Problem {
            code,
            text: text.into(),
            error_urls: failed.errors.clone(),
            ad_id: failed.ad_id.clone(),
        });
        if self.fallbacks.is_empty() {
            self.pod.remove(index);
            return false;
        }
        let mut standing_in = self.fallbacks.remove(0);
        standing_in.sequence = self.pod[index].sequence;
        self.pod[index] = standing_in;
        true
    }

    /// Cuts the pod at its tail so that it fits (206 for each ad cut; VAST 4.2 §3.3.1). Ads without a duration count as
    /// nothing here: what they last is known once they are fetched.
    pub fn fit(&mut self, max_duration: Option<Duration>, max_ads: Option<u32>) {
        let mut total = Duration::ZERO;
        let mut keep = 0;
        for ad in &self.pod {
            total += ad.duration.unwrap_or_default();
            if max_duration.is_some_and(|most| total > most)
                || max_ads.is_some_and(|most| keep >= most as usize)
            {
                break;
            }
            keep += 1;
        }
        for ad in self.pod.split_off(keep) {
            self.problems.push(Problem {
                code: VastCode::POD_CUT,
                text: format!("{} does not fit the break", ad.name()),
                error_urls: ad.errors.clone(),
                ad_id: ad.ad_id.clone(),
            });
        }
    }

    /// Takes out what has expired at `now`, replacing it like ads that failed (VAST 4.2 §3.7, `Expires`).
    pub fn drop_expired(&mut self, now: UnixMillis) {
        self.fallbacks.retain(|ad| !ad.expired(now));
        let mut index = 0;
        while index < self.pod.len() {
            if self.pod[index].expired(now) {
                let text = format!("{} has expired", self.pod[index].name());
                if !self.replace_failed(index, VastCode::UNDEFINED, text) {
                    continue;
                }
            }
            index += 1;
        }
    }
}

/// One ad, as merged from its InLine and all wrappers above it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ad {
    /// `Ad@id`.
    pub ad_id: Option<String>,
    /// Place in the pod; `None` for a stand-alone ad.
    pub sequence: Option<u32>,
    /// `AdSystem`.
    pub ad_system: Option<String>,
    /// `AdTitle`.
    pub title: Option<String>,
    /// `Advertiser`.
    pub advertiser: Option<String>,
    /// `AdServingId` (VAST 4.1).
    pub ad_serving_id: Option<String>,
    /// `Creative@id` of the linear creative.
    pub creative_id: Option<String>,
    /// Every `UniversalAdId` of the creative: the element's text is the id.
    pub universal_ad_ids: Vec<UniversalAdId>,
    /// `Category` of the InLine.
    pub categories: Vec<Category>,
    /// What it is.
    pub kind: AdKind,
    /// `Duration` as declared.
    #[serde(with = "seconds")]
    pub duration: Option<Duration>,
    /// `Linear@skipoffset`.
    pub skip_offset: Option<Offset>,
    /// Usable media files, the chosen one first, then what to try instead.
    pub media_files: Vec<MediaFile>,
    /// Media files that can never be played, and why; a `Mezzanine` is not among them.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
    /// `Impression` URLs of the InLine and all wrappers; all fire together.
    pub impressions: Vec<String>,
    /// Linear tracking of the InLine and all wrappers.
    pub tracking: Vec<Tracking>,
    /// `Error` URLs of the InLine and all wrappers.
    pub errors: Vec<String>,
    /// `ClickThrough`, the InLine's or the nearest wrapper's.
    pub click_through: Option<String>,
    /// `ClickTracking` of the InLine and all wrappers.
    pub click_tracking: Vec<String>,
    /// `AdVerifications` of the InLine and all wrappers. None are run.
    pub verifications: Vec<Verification>,
    /// Companions of the InLine, or else of the nearest wrapper that has any.
    pub companions: Vec<Companion>,
    /// After this instant the ad may not be played (`Expires` counts from the request; the chain's earliest counts).
    pub expires_at: Option<UnixMillis>,
    /// What the response says that the media file's SHA-256 is (our extension `CreativeSha256`).
    #[serde(with = "hex_digest")]
    pub sha256: Option<[u8; 32]>,
    /// Where the metainfo of the media file is, by which it is fetched from other viewers too (our extension `CreativeTorrent`).
    #[serde(default)]
    pub torrent: Option<String>,
    /// Where the ad server takes an account of play (our extension `ProofUrl`).
    #[serde(default)]
    pub proof_url: Option<String>,
    /// How often this device shall present the creative at most (our extension `FrequencyCap`).
    #[serde(default)]
    pub caps: Vec<FrequencyCap>,
    /// The wrappers that led here, outermost first.
    pub chain: Vec<WrapperHop>,
}

/// At most so many presentations within so much time, counted on the device itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrequencyCap {
    /// Presentations.
    pub impressions: u32,
    /// The time that is looked back.
    pub within: Duration,
}

impl Ad {
    /// How to name it to a person: title, else id.
    pub fn name(&self) -> String {
        match (&self.title, &self.ad_id) {
            (Some(title), _) if !title.is_empty() => format!("ad \"{title}\""),
            (_, Some(id)) => format!("ad {id}"),
            _ => "an ad without a name".to_owned(),
        }
    }

    /// What a card says where there are no pictures: who advertises, or else the title. Of a title that is the name of the
    /// media file, as where a publisher named only that, it leaves out what tells the kind of file.
    pub fn card(&self) -> String {
        let said = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        if let Some(advertiser) = said(&self.advertiser) {
            return advertiser;
        }
        let Some(title) = said(&self.title) else {
            return self.name();
        };
        let kind = self
            .media_file()
            .and_then(|file| url::Url::parse(&file.url).ok())
            .and_then(|url| Path::new(url.path()).extension().map(OsStr::to_owned));
        match (Path::new(&title).file_stem(), Path::new(&title).extension(), kind) {
            (Some(stem), Some(own), Some(kind)) if own.eq_ignore_ascii_case(&kind) => {
                stem.to_string_lossy().into_owned()
            }
            _ => title,
        }
    }

    /// The chosen media file.
    pub fn media_file(&self) -> Option<&MediaFile> {
        self.media_files.first()
    }

    /// The companions that may be images, in the order in which they are tried: the largest first, those of one size as they
    /// are listed.
    pub fn images(&self) -> Vec<&Companion> {
        let images = self
            .companions
            .iter()
            .filter(|companion| companion.resource.is_some() && may_be_image(companion.mime.as_deref()));
        let mut images: Vec<&Companion> = images.collect();
        let pixels = |side: Option<u32>| u64::from(side.unwrap_or(0));
        images.sort_by_key(|image| Reverse(pixels(image.width) * pixels(image.height)));
        images.truncate(MOST_IMAGES);
        images
    }

    /// True when it may not be played any more.
    pub fn expired(&self, now: UnixMillis) -> bool {
        self.expires_at.is_some_and(|at| now >= at)
    }

    /// What tells it from other ads in beacons' keys: `AdServingId`, else `Ad@id` with the creative's.
    pub fn identity(&self) -> String {
        match &self.ad_serving_id {
            Some(id) if !id.is_empty() => id.clone(),
            _ => format!(
                "{}/{}/{}",
                self.ad_id.as_deref().unwrap_or_default(),
                self.creative_id.as_deref().unwrap_or_default(),
                self.media_file()
                    .map(|file| file.url.as_str())
                    .unwrap_or_default()
            ),
        }
    }
}

/// What an ad is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdKind {
    /// Plays in the break.
    #[default]
    Linear,
    /// Lies over content; listed, not played.
    NonLinear,
    /// Nothing but companions; listed, not played.
    CompanionOnly,
}

/// A registered creative id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UniversalAdId {
    /// `idRegistry`, `unknown` when missing.
    pub registry: String,
    /// The element's text (or `idValue` in VAST 4.0).
    pub id: String,
}

/// A category of the ad's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// `authority`, whose list the code is from.
    pub authority: Option<String>,
    /// The code.
    pub code: String,
}

/// One file of a creative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaFile {
    /// Where it is.
    pub url: String,
    /// MIME type, lower case.
    #[serde(rename = "type")]
    pub mime: String,
    /// RFC 4281 codec, as declared.
    pub codec: Option<String>,
    /// In pixels; 0 for audio.
    pub width: u32,
    /// In pixels; 0 for audio.
    pub height: u32,
    /// In kbit/s; the mean of `minBitrate` and `maxBitrate` when only these are given.
    pub bitrate: Option<u32>,
    /// `fileSize` in bytes.
    pub bytes: Option<u64>,
}

/// A media file that can never be played.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Where it is.
    pub url: String,
    /// Why, for people.
    pub reason: String,
}

/// A URL that an event fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracking {
    /// The event's name in VAST: `start`, `firstQuartile`, …
    pub event: String,
    /// For `progress`: when.
    pub offset: Option<Offset>,
    /// The URL.
    pub url: String,
}

/// A place in an ad: `HH:MM:SS(.mmm)` or `n%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offset {
    /// After so much of the ad.
    Time(Duration),
    /// After this part of the ad.
    Percent(crate::cues::Percent),
}

impl Offset {
    /// The place in an ad that lasts `duration`.
    pub fn resolve(self, duration: Duration) -> Duration {
        match self {
            Self::Time(time) => time,
            Self::Percent(percent) => percent.of(duration),
        }
    }

    /// Reads either form; `None` for anything else (a tracker with such an offset can never fire).
    pub fn parse(text: &str) -> Option<Self> {
        if text.trim().ends_with('%') {
            text.parse().ok().map(Self::Percent)
        } else {
            timecode::parse(text).ok().map(Self::Time)
        }
    }
}

/// A measurement script that the response asks for, and that is not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// `vendor`.
    pub vendor: Option<String>,
    /// Its resources' URLs.
    pub resources: Vec<String>,
    /// `verificationNotExecuted` URLs: fired with `[REASON]` 2 (not supported).
    pub not_executed: Vec<String>,
}

/// A companion of a linear ad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companion {
    /// `id`.
    pub id: Option<String>,
    /// In pixels.
    pub width: Option<u32>,
    /// In pixels.
    pub height: Option<u32>,
    /// URL of its static or iframe resource.
    pub resource: Option<String>,
    /// What is told of it: `creativeType`, and of an iframe that it is a page.
    #[serde(default)]
    pub mime: Option<String>,
    /// `CompanionClickThrough`.
    pub click_through: Option<String>,
}

/// Whether a companion of this type may be shown beside an ad that is only heard; many tell none.
pub(super) fn may_be_image(mime: Option<&str>) -> bool {
    mime.is_none_or(|mime| mime.is_empty() || mime.starts_with("image/"))
}

/// One wrapper on the way to an ad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrapperHop {
    /// `Ad@id` of the wrapper.
    pub ad_id: Option<String>,
    /// Its `AdSystem`.
    pub ad_system: Option<String>,
    /// Its `VASTAdTagURI`, with macros as written.
    pub uri: String,
}

/// Something that went wrong, and whom to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// VAST error code.
    pub code: VastCode,
    /// One sentence for people.
    pub text: String,
    /// `Error` URLs of every wrapper of the chain (and the InLine when there is one), with `[ERRORCODE]` unfilled.
    pub error_urls: Vec<String>,
    /// The ad that it is about, when it is about one.
    pub ad_id: Option<String>,
}

/// A VAST error code (VAST 4.2 §2.3.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VastCode(pub u16);

impl VastCode {
    /// The document is not XML.
    pub const XML: Self = Self(100);
    /// It is XML and not VAST.
    pub const SCHEMA: Self = Self(101);
    /// A version that is not understood.
    pub const VERSION: Self = Self(102);
    /// Not the kind of ad that was expected (trafficking).
    pub const TRAFFICKING: Self = Self(200);
    /// Non-linear where linear was expected.
    pub const LINEARITY: Self = Self(201);
    /// The duration is not as declared.
    pub const DURATION: Self = Self(202);
    /// A category that a wrapper blocks.
    pub const BLOCKED_CATEGORY: Self = Self(205);
    /// The break was cut short of this ad.
    pub const POD_CUT: Self = Self(206);
    /// A wrapper failed for no better reason.
    pub const WRAPPER: Self = Self(300);
    /// The document behind a wrapper or tag did not come in time, or could not be had.
    pub const WRAPPER_TIMEOUT: Self = Self(301);
    /// Too many wrappers, or a loop.
    pub const WRAPPER_LIMIT: Self = Self(302);
    /// No ad.
    pub const NO_AD: Self = Self(303);
    /// The ad was not ready within its time.
    pub const NOT_READY: Self = Self(304);
    /// A linear ad could not be shown.
    pub const LINEAR: Self = Self(400);
    /// The media file was not found or was refused.
    pub const MEDIA_NOT_FOUND: Self = Self(401);
    /// The media file did not come in time.
    pub const MEDIA_TIMEOUT: Self = Self(402);
    /// No media file that can be used.
    pub const MEDIA_UNSUPPORTED: Self = Self(403);
    /// The media file could not be decoded.
    pub const MEDIA_UNDECODABLE: Self = Self(405);
    /// Anything else.
    pub const UNDEFINED: Self = Self(900);
}

impl fmt::Display for VastCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Durations as seconds in JSON (the command line's contract), exact to the nanosecond for any ad.
#[expect(clippy::ref_option, reason = "serde calls it so")]
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration
            .map(|duration| duration.as_secs_f64())
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds: Option<f64> = Option::deserialize(deserializer)?;
        seconds
            .map(Duration::try_from_secs_f64)
            .transpose()
            .map_err(serde::de::Error::custom)
    }
}

/// Digests as hexadecimal.
#[expect(clippy::ref_option, reason = "serde calls it so")]
mod hex_digest {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        digest: &Option<[u8; 32]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        digest.map(hex::encode).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<[u8; 32]>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        let Some(text) = text else { return Ok(None) };
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).map_err(serde::de::Error::custom)?;
        Ok(Some(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ad(id: &str, seconds: u64) -> Ad {
        Ad {
            ad_id: Some(id.into()),
            duration: Some(Duration::from_secs(seconds)),
            ..Ad::default()
        }
    }

    fn ids(ads: &[Ad]) -> Vec<&str> {
        ads.iter().filter_map(|ad| ad.ad_id.as_deref()).collect()
    }

    #[test]
    fn rule_4_a_failed_ad_is_replaced_by_a_stand_alone_one_else_skipped() {
        let mut decision = Decision {
            pod: vec![ad("a", 5), ad("b", 5)],
            fallbacks: vec![ad("spare", 5)],
            ..Decision::default()
        };
        assert!(decision.replace_failed(0, VastCode::MEDIA_NOT_FOUND, "404"));
        assert_eq!(ids(&decision.pod), ["spare", "b"]);
        assert!(!decision.replace_failed(1, VastCode::MEDIA_UNDECODABLE, "rubbish"));
        assert_eq!(ids(&decision.pod), ["spare"]);
        assert_eq!(
            decision.problems.iter().map(|p| p.code.0).collect::<Vec<_>>(),
            [401, 405]
        );
    }

    #[test]
    fn rule_4_a_pod_is_cut_at_its_tail_206() {
        let mut decision = Decision {
            pod: vec![ad("a", 10), ad("b", 10), ad("c", 1)],
            ..Decision::default()
        };
        decision.fit(Some(Duration::from_secs(15)), None);
        assert_eq!(ids(&decision.pod), ["a"]);
        assert_eq!(
            decision.problems.iter().map(|p| p.code.0).collect::<Vec<_>>(),
            [206, 206]
        );
        let mut decision = Decision {
            pod: vec![ad("a", 10), ad("b", 10)],
            ..Decision::default()
        };
        decision.fit(None, Some(1));
        assert_eq!(ids(&decision.pod), ["a"]);
    }

    #[test]
    fn a_card_names_who_advertises_or_else_what() {
        let mut shown = ad("7", 5);
        assert_eq!(shown.card(), "ad 7");
        shown.title = Some("kettle.MP3".into());
        assert_eq!(
            shown.card(),
            "kettle.MP3",
            "of which nobody knows that it is a file"
        );
        shown.media_files = vec![MediaFile {
            url: "https://cdn.example/k/kettle.mp3?v=2".into(),
            mime: "audio/mpeg".into(),
            codec: None,
            width: 0,
            height: 0,
            bitrate: None,
            bytes: None,
        }];
        assert_eq!(shown.card(), "kettle");
        shown.title = Some("Tea at tea.example".into());
        assert_eq!(shown.card(), "Tea at tea.example");
        shown.advertiser = Some("Northern Kettle".into());
        assert_eq!(shown.card(), "Northern Kettle");
    }

    #[test]
    fn rule_7_an_expired_ad_is_not_played() {
        let mut old = ad("old", 5);
        old.expires_at = Some(UnixMillis(1_000));
        let mut decision = Decision {
            pod: vec![old.clone(), ad("b", 5)],
            ..Decision::default()
        };
        decision.drop_expired(UnixMillis(999));
        assert_eq!(ids(&decision.pod), ["old", "b"]);
        decision.drop_expired(UnixMillis(1_000));
        assert_eq!(ids(&decision.pod), ["b"]);
    }

    #[test]
    fn a_decision_can_be_stored_and_read_back() {
        let mut stored = ad("a", 8);
        stored.sha256 = Some([7; 32]);
        stored.skip_offset = Offset::parse("25%");
        let decision = Decision {
            pod: vec![stored],
            ..Decision::default()
        };
        let text = serde_json::to_string(&decision).expect("json");
        assert!(
            text.contains("\"duration\":8.0") && text.contains("0707"),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<Decision>(&text).expect("read back"),
            decision
        );
    }
}
