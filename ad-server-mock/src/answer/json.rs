//! The decision as JSON, for our own client: what VAST 4.2 says, with the hashes that it has no element for.

use serde_json::{Map, Value, json as value};

use super::vast::{EVENTS, NOT_USED};
use super::{Context, TRACKER};
use crate::ads::Decided;

/// The answer to a question for ads.
pub(crate) fn json(context: Context<'_>, pod: &[Decided]) -> Value {
    let ads: Vec<Value> = pod
        .iter()
        .enumerate()
        .map(|(n, ad)| one(context, n + 1, ad))
        .collect();
    value!({
        "version": 1,
        "request_id": context.request_id,
        "expires_in": context.expires,
        "no_ad": if pod.is_empty() { Some(context.no_ad()) } else { None },
        "ads": ads,
    })
}

fn one(context: Context<'_>, sequence: usize, ad: &Decided) -> Value {
    let c = ad.creative();
    // Whether another server's ad may be skipped is that server's to say.
    let skip_after = c.skip_after.filter(|_| c.tag.is_none());
    let skip = skip_after.map(|_| "skip");
    let tracking: Map<String, Value> = EVENTS
        .into_iter()
        .chain(skip)
        .chain([NOT_USED])
        .map(|event| (event.to_owned(), value!([context.beacon(ad, event)])))
        .collect();
    let media = match &c.tag {
        Some(_) => Value::Null,
        None => value!({
            "url": context.media(ad),
            "type": c.media_type,
            "width": c.width,
            "height": c.height,
            "bitrate": c.bitrate,
            "size": c.size,
            "sha256": c.sha256,
            "torrent": context.torrent(ad),
            "info_hash": c.info_hash,
        }),
    };
    value!({
        "ad_serving_id": ad.ad_serving_id,
        "sequence": sequence,
        "tracker": TRACKER,
        "creative_id": c.id,
        "title": c.title,
        "advertiser": ad.advertiser().name,
        "category": ad.advertiser().category,
        "universal_ad_ids": [{"registry": c.ad_registry, "id": c.ad_id}],
        "duration": c.duration as f64 / 1000.0,
        "skip_offset": skip_after.map(|s| s as f64 / 1000.0),
        "click_through": c.click_through,
        "media_file": media,
        "wrapper": c.tag,
        "loudness_lufs": c.loudness.map(|l| l as f64 / 100.0),
        "impressions": [context.beacon(ad, "impression")],
        "errors": [context.beacon(ad, "error")],
        "click_tracking": [context.beacon(ad, "click")],
        "tracking": tracking,
        "proof": context.beacon(ad, "proof"),
        "frequency_cap": ad.flight().frequency.map(|f| value!({"impressions": f.count, "seconds": (f.millis / 1000).max(1)})),
    })
}
