//! VAST documents: what one says ([`parse()`]), and the smallest one that carries a creative ([`inline_for_creative`]).
//!
//! Parsing is of one document; following wrappers and merging is [`super::resolve`]'s. Lenient where real documents need
//! it: order of elements, undeclared prefixes, missing CDATA, blanks around URLs, missing required elements, trackers
//! to `about:blank` (dropped here, so that they are never sent).

mod json;
mod parse;
mod write;

use std::time::Duration;

pub(crate) use parse::is_json;
pub use parse::{VastError, parse, parse_bytes};
pub use write::inline_for_creative;

use super::decision::{
    Category, Companion, FrequencyCap, Offset, Tracking, UniversalAdId, VastCode, Verification,
};

/// One parsed document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// `VAST@version` as written.
    pub version: Option<String>,
    /// The root's `Error` URLs: for a response without ads.
    pub errors: Vec<String>,
    /// In document order.
    pub ads: Vec<AdElement>,
}

/// One `Ad`: the InLine's or Wrapper's content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdElement {
    /// `id`.
    pub id: Option<String>,
    /// `sequence`; `None` for a stand-alone ad.
    pub sequence: Option<u32>,
    /// `AdSystem`.
    pub ad_system: Option<String>,
    /// `AdTitle`.
    pub title: Option<String>,
    /// `Advertiser`.
    pub advertiser: Option<String>,
    /// `AdServingId`.
    pub ad_serving_id: Option<String>,
    /// `Category`.
    pub categories: Vec<Category>,
    /// `Expires`.
    pub expires: Option<Duration>,
    /// `Impression` URLs.
    pub impressions: Vec<String>,
    /// `Error` URLs.
    pub errors: Vec<String>,
    /// Tracking that belongs to no creative: `ViewableImpression`, and our extension's `NotUsed`.
    pub without_creative: Vec<Tracking>,
    /// Linear creatives, by `sequence`.
    pub linears: Vec<Linear>,
    /// How many non-linear ads there are.
    pub non_linears: usize,
    /// Every companion.
    pub companions: Vec<Companion>,
    /// `AdVerifications`.
    pub verifications: Vec<Verification>,
    /// Our extension's `CreativeSha256`.
    pub sha256: Option<[u8; 32]>,
    /// Our extension's `CreativeTorrent`.
    pub torrent: Option<String>,
    /// Our extension's `ProofUrl`.
    pub proof_url: Option<String>,
    /// Our extension's `FrequencyCap`s.
    pub caps: Vec<FrequencyCap>,
    /// `Some` for a Wrapper.
    pub wrapper: Option<Wrapper>,
    /// What makes it unusable.
    pub fault: Option<(VastCode, String)>,
}

/// What a Wrapper says about following it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapper {
    /// `VASTAdTagURI`.
    pub uri: String,
    /// `followAdditionalWrappers`, true by default.
    pub follow_additional: bool,
    /// `allowMultipleAds`, false by default.
    pub allow_multiple: bool,
    /// `fallbackOnNoAd`; the text has no default, we take true.
    pub fallback_on_no_ad: bool,
    /// `BlockedAdCategories`.
    pub blocked: Vec<Category>,
}

/// One `Linear` creative.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Linear {
    /// `Creative@id`.
    pub creative_id: Option<String>,
    /// `UniversalAdId`s of the creative.
    pub universal_ad_ids: Vec<UniversalAdId>,
    /// `Duration`.
    pub duration: Option<Duration>,
    /// `skipoffset`.
    pub skip_offset: Option<Offset>,
    /// `MediaFile`s in document order; `Mezzanine` and interactive files are not among them.
    pub media_files: Vec<MediaFileElement>,
    /// `Mezzanine` files seen (never played).
    pub mezzanines: usize,
    /// `Tracking`.
    pub tracking: Vec<Tracking>,
    /// `ClickThrough`.
    pub click_through: Option<String>,
    /// `ClickTracking`.
    pub click_tracking: Vec<String>,
}

/// One `MediaFile` as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MediaFileElement {
    /// Its URL.
    pub url: String,
    /// `type`, lower case, without parameters.
    pub mime: Option<String>,
    /// `delivery` is `streaming`.
    pub streaming: bool,
    /// `apiFramework`.
    pub api_framework: Option<String>,
    /// `codec`.
    pub codec: Option<String>,
    /// `width`, 0 when missing.
    pub width: u32,
    /// `height`, 0 when missing.
    pub height: u32,
    /// `bitrate` in kbit/s, else the mean of `minBitrate` and `maxBitrate`.
    pub bitrate: Option<u32>,
    /// `fileSize` in bytes.
    pub bytes: Option<u64>,
}

/// A URL that may be requested: http or https, at most 8 KiB, no blanks inside; a missing scheme (`//host/…`) is https.
/// `None` for anything else, `about:blank` among it.
pub fn usable_url(text: &str) -> Option<String> {
    let text = text.trim();
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    let url = if text.starts_with("//") {
        format!("https:{text}")
    } else if lower.starts_with("http://") || lower.starts_with("https://") {
        text.to_owned()
    } else {
        return None;
    };
    // Line breaks inside CDATA are layout; a blank inside is a mistake that browsers encode.
    let url: String = url
        .chars()
        .filter(|c| !matches!(c, '\n' | '\r' | '\t'))
        .collect::<String>()
        .replace(' ', "%20");
    (url.len() <= 8_192).then_some(url)
}
