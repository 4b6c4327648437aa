//! What an InLine and the wrappers above it say together. Pure.

use crate::beacons::UnixMillis;
use crate::decide::decision::{Ad, AdKind, WrapperHop};
use crate::decide::select::{self, MediaPreference};
use crate::decide::vast::AdElement;

/// One ad out of an InLine and the wrappers above it: everything that reports is added up, the InLine's first, then the
/// wrappers' from the nearest; what can only be one thing is the nearest's.
pub(super) fn merge(
    inline: &AdElement,
    chain: &[(usize, &AdElement)],
    preference: MediaPreference,
    requested_at: UnixMillis,
) -> Ad {
    let linear = inline
        .linears
        .iter()
        .find(|linear| !select::choose(&linear.media_files, preference).is_empty())
        .or(inline.linears.first());
    let mut ad = Ad {
        ad_id: inline.id.clone(),
        sequence: inline.sequence,
        ad_system: inline.ad_system.clone(),
        title: inline.title.clone(),
        advertiser: inline.advertiser.clone(),
        ad_serving_id: inline.ad_serving_id.clone(),
        categories: inline.categories.clone(),
        kind: match (linear, inline.non_linears) {
            (Some(_), _) => AdKind::Linear,
            (None, 1..) => AdKind::NonLinear,
            (None, 0) => AdKind::CompanionOnly,
        },
        sha256: inline.sha256,
        torrent: inline.torrent.clone(),
        proof_url: inline.proof_url.clone(),
        caps: inline.caps.clone(),
        chain: chain
            .iter()
            .map(|(_, element)| WrapperHop {
                ad_id: element.id.clone(),
                ad_system: element.ad_system.clone(),
                uri: element
                    .wrapper
                    .as_ref()
                    .map(|wrapper| wrapper.uri.clone())
                    .unwrap_or_default(),
            })
            .collect(),
        ..Ad::default()
    };
    if let Some(linear) = linear {
        ad.creative_id.clone_from(&linear.creative_id);
        ad.universal_ad_ids.clone_from(&linear.universal_ad_ids);
        ad.duration = linear.duration;
        ad.skip_offset = linear.skip_offset;
        ad.media_files = select::choose(&linear.media_files, preference);
        ad.left_out = select::left_out(&linear.media_files);
    }
    // An InLine's other linear creatives are not played, so their trackers stay silent; a wrapper's all apply.
    ad.tracking
        .extend(linear.iter().flat_map(|linear| linear.tracking.iter().cloned()));
    ad.click_through = linear.and_then(|linear| linear.click_through.clone());
    ad.click_tracking.extend(
        linear
            .iter()
            .flat_map(|linear| linear.click_tracking.iter().cloned()),
    );
    let wrappers = || chain.iter().rev().map(|(_, element)| *element);
    for element in std::iter::once(inline).chain(wrappers()) {
        ad.impressions.extend(element.impressions.iter().cloned());
        ad.errors.extend(element.errors.iter().cloned());
        ad.tracking.extend(element.without_creative.iter().cloned());
        ad.verifications.extend(element.verifications.iter().cloned());
        if ad.companions.is_empty() {
            ad.companions.clone_from(&element.companions);
        }
        if let Some(expires) = element.expires {
            let at = requested_at.after(expires);
            ad.expires_at = Some(ad.expires_at.map_or(at, |earlier| earlier.min(at)));
        }
    }
    for linear in wrappers().flat_map(|element| &element.linears) {
        ad.tracking.extend(linear.tracking.iter().cloned());
        ad.click_tracking.extend(linear.click_tracking.iter().cloned());
        if ad.click_through.is_none() {
            ad.click_through.clone_from(&linear.click_through);
        }
    }
    ad
}
