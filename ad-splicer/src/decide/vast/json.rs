//! The JSON decision of Grove ad servers (`/decision`), read into the same [`Document`] as VAST, so that everything after
//! it is the same. What is not understood is left aside, as in VAST. Not for other servers' JSON: there is no standard.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::parse::{MOST_ADS, MOST_URLS, VastError};
use super::{AdElement, Document, Linear, MediaFileElement, Wrapper, usable_url};
use crate::decide::decision::{Category, FrequencyCap, Offset, Tracking, UniversalAdId};
use crate::one_line::one_line;

#[derive(Debug, Deserialize)]
struct Answer {
    version: u32,
    expires_in: Option<u64>,
    no_ad: Option<String>,
    ads: Vec<Decided>,
}

/// One ad of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Decided {
    ad_serving_id: Option<String>,
    sequence: Option<u32>,
    creative_id: Option<String>,
    title: Option<String>,
    advertiser: Option<String>,
    category: Option<String>,
    universal_ad_ids: Vec<UniversalAdId>,
    duration: Option<f64>,
    skip_offset: Option<f64>,
    click_through: Option<String>,
    media_file: Option<MediaFile>,
    wrapper: Option<String>,
    impressions: Vec<String>,
    errors: Vec<String>,
    click_tracking: Vec<String>,
    tracking: BTreeMap<String, Vec<String>>,
    proof: Option<String>,
    frequency_cap: Option<Cap>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MediaFile {
    url: String,
    r#type: Option<String>,
    width: u32,
    height: u32,
    bitrate: Option<u32>,
    size: Option<u64>,
    sha256: Option<String>,
    torrent: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Cap {
    impressions: u32,
    seconds: u32,
}

/// Parses a decision.
pub(super) fn parse(text: &str) -> Result<Document, VastError> {
    let answer: Answer = serde_json::from_str(text).map_err(|error| VastError::Json(error.to_string()))?;
    if answer.version != 1 {
        return Err(VastError::Version(format!("JSON {}", answer.version)));
    }
    let expires = answer.expires_in.map(Duration::from_secs);
    let many = answer.ads.len() > 1;
    let ads = answer.ads.into_iter().take(MOST_ADS);
    Ok(Document {
        version: Some("JSON 1".to_owned()),
        errors: answer.no_ad.as_deref().and_then(usable_url).into_iter().collect(),
        ads: ads.map(|ad| element(ad, expires, many)).collect(),
    })
}

fn urls(all: &[String]) -> Vec<String> {
    all.iter()
        .take(MOST_URLS)
        .filter_map(|url| usable_url(url))
        .collect()
}

/// Seconds that can be a time in an ad.
fn seconds(value: Option<f64>) -> Option<Duration> {
    value.and_then(|s| Duration::try_from_secs_f64(s).ok())
}

fn element(ad: Decided, expires: Option<Duration>, many: bool) -> AdElement {
    let file = ad.media_file.unwrap_or_default();
    let media = usable_url(&file.url).map(|url| MediaFileElement {
        url,
        mime: file.r#type.map(|kind| kind.to_ascii_lowercase()),
        width: file.width,
        height: file.height,
        bitrate: file.bitrate,
        bytes: file.size,
        ..MediaFileElement::default()
    });
    let tracking = ad.tracking.iter().flat_map(|(event, all)| {
        urls(all).into_iter().map(|url| Tracking {
            event: event.clone(),
            offset: None,
            url,
        })
    });
    let (without_creative, tracking): (Vec<_>, Vec<_>) = tracking
        .take(MOST_URLS)
        .partition(|tracking| tracking.event == "notUsed");
    let linear = Linear {
        creative_id: ad.creative_id.clone(),
        universal_ad_ids: ad.universal_ad_ids,
        duration: seconds(ad.duration),
        skip_offset: seconds(ad.skip_offset).map(Offset::Time),
        media_files: media.into_iter().collect(),
        tracking,
        click_through: ad.click_through.as_deref().and_then(usable_url),
        click_tracking: urls(&ad.click_tracking),
        ..Linear::default()
    };
    let cap = ad.frequency_cap.map(|cap| FrequencyCap {
        impressions: cap.impressions,
        within: Duration::from_secs(u64::from(cap.seconds)),
    });
    AdElement {
        id: ad.creative_id,
        sequence: ad.sequence.filter(|n| many && *n > 0),
        ad_system: Some("Grove Ads".to_owned()),
        title: ad.title.as_deref().map(one_line),
        advertiser: ad.advertiser.as_deref().map(one_line),
        ad_serving_id: ad.ad_serving_id,
        categories: ad
            .category
            .map(|code| Category {
                authority: None,
                code,
            })
            .into_iter()
            .collect(),
        expires,
        impressions: urls(&ad.impressions),
        errors: urls(&ad.errors),
        linears: vec![linear],
        sha256: file
            .sha256
            .and_then(|text| hex::decode(text).ok()?.try_into().ok()),
        torrent: file.torrent.as_deref().and_then(usable_url),
        proof_url: ad.proof.as_deref().and_then(usable_url),
        caps: cap.into_iter().collect(),
        without_creative,
        wrapper: ad.wrapper.as_deref().and_then(usable_url).map(|uri| Wrapper {
            uri,
            follow_additional: true,
            allow_multiple: false,
            fallback_on_no_ad: true,
            blocked: Vec::new(),
        }),
        ..AdElement::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::vast::parse_bytes;

    #[test]
    fn a_decision_says_what_vast_says_and_where_the_creative_is_in_the_swarm() {
        let text = r#" {"version": 1, "request_id": "q", "expires_in": 600, "no_ad": null, "unknown": [], "ads": [{
            "ad_serving_id": "s", "sequence": 1, "creative_id": "c", "title": "Ket\u0000tle\n", "advertiser": "Boil\tand\r\nPour",
            "category": "IAB8", "universal_ad_ids": [{"registry": "r", "id": "u"}], "duration": 9.5, "skip_offset": 5,
            "click_through": "https://boil.example/", "media_file": {"url": "http://m/c", "type": "audio/MPEG", "width": 0,
            "height": 0, "bitrate": 128, "size": 7, "sha256": "abababababababababababababababababababababababababababababababab",
            "torrent": "http://m/c.torrent", "info_hash": "00"}, "wrapper": null, "impressions": ["http://i/1", "about:blank"],
            "errors": ["http://e/1"], "click_tracking": ["http://k/1"], "tracking": {"start": ["http://t/s"], "complete": ["http://t/c"]},
            "proof": "http://p/1", "frequency_cap": {"impressions": 2, "seconds": 60}}]}"#;
        let document = parse_bytes(text.as_bytes()).expect("a decision");
        let ad = &document.ads[0];
        assert_eq!(
            (ad.id.as_deref(), ad.sequence),
            (Some("c"), None),
            "alone it is in no pod"
        );
        assert_eq!(
            (ad.title.as_deref(), ad.advertiser.as_deref()),
            (Some("Ket tle"), Some("Boil and Pour"))
        );
        assert_eq!(ad.ad_serving_id.as_deref(), Some("s"));
        assert_eq!(ad.categories[0].code, "IAB8");
        assert_eq!(ad.expires, Some(Duration::from_secs(600)));
        assert_eq!(
            (ad.sha256, ad.torrent.as_deref()),
            (Some([0xab; 32]), Some("http://m/c.torrent"))
        );
        assert_eq!(
            (ad.proof_url.as_deref(), ad.caps[0].impressions),
            (Some("http://p/1"), 2)
        );
        assert_eq!(
            (&ad.impressions[..], &ad.errors[..]),
            (&["http://i/1".to_owned()][..], &["http://e/1".to_owned()][..])
        );
        let linear = &ad.linears[0];
        assert_eq!(linear.duration, Some(Duration::from_millis(9_500)));
        assert_eq!(linear.skip_offset, Some(Offset::Time(Duration::from_secs(5))));
        assert_eq!(linear.universal_ad_ids[0].id, "u");
        let file = &linear.media_files[0];
        assert_eq!(
            (file.url.as_str(), file.mime.as_deref(), file.bytes),
            ("http://m/c", Some("audio/mpeg"), Some(7))
        );
        let events: Vec<_> = linear
            .tracking
            .iter()
            .map(|t| (t.event.as_str(), t.url.as_str()))
            .collect();
        assert_eq!(events, [("complete", "http://t/c"), ("start", "http://t/s")]);
        assert!(ad.wrapper.is_none() && document.errors.is_empty());
    }

    #[test]
    fn pods_wrappers_and_answers_without_ads_are_read_and_the_rest_is_named() {
        let pod = r#"{"version":1,"ads":[{"sequence":1,"media_file":null,"wrapper":"http://w/1"},{"sequence":2,"duration":-1}]}"#;
        let document = parse_bytes(pod.as_bytes()).expect("a decision");
        assert_eq!(
            (document.ads[0].sequence, document.ads[1].sequence),
            (Some(1), Some(2))
        );
        assert_eq!(
            document.ads[0].wrapper.as_ref().map(|w| w.uri.as_str()),
            Some("http://w/1")
        );
        assert!(
            document.ads[1].linears[0].media_files.is_empty()
                && document.ads[1].linears[0].duration.is_none()
        );
        let none = parse_bytes(br#"{"version":1,"no_ad":"http://e/none","ads":[]}"#).expect("a decision");
        assert_eq!(none.errors, ["http://e/none"]);
        let deep = format!("{{\"version\":1,\"ads\":{}", "[".repeat(100_000));
        for (text, code) in [
            ("{", 100),
            (r#"{"version":2,"ads":[]}"#, 102),
            (r#"{"ads":[]}"#, 100),
            (&deep, 100),
        ] {
            let error = parse_bytes(text.as_bytes()).expect_err("no decision");
            assert_eq!(error.code().0, code, "{error}");
        }
    }
}
