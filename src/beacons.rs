//! Beacons of downloads: stored once when a rendition is whole, sent until they are acknowledged, by this command or any later one.
//!
//! Not for: what is reported and how often (`ad_splicer::beacons`).

use std::time::Duration;

use ad_splicer::beacons::{Queue, Session, UnixMillis, delivered};
use ad_splicer::decide::BreakPlace;
use sha2::{Digest as _, Sha256};

use crate::breaks::Ready;
use crate::context::Context;

/// What the viewer's programs call themselves to ad servers.
pub(crate) const USER_AGENT: &str = concat!("Grove/", env!("CARGO_PKG_VERSION"));

/// Stores what is to be reported for the ads of a finished rendition.
pub(crate) async fn store_delivered(context: &Context, info_hash: &str, ads: &[Ready]) -> anyhow::Result<()> {
    let queue = Queue::open(&context.ads_db()).await?;
    let now = UnixMillis::now();
    // One id for each rendition that is made: a master that is decided again is another delivery of ads.
    let seed: [u8; 16] = fresh_id();
    let id = hex::encode(
        &Sha256::new()
            .chain_update(info_hash)
            .chain_update(seed)
            .finalize()[..16],
    );
    let mut beacons = Vec::new();
    for ready in ads {
        let session = session(&id, seed, info_hash, ready, ads);
        beacons.extend(delivered(&session, &ready.ad, now));
    }
    queue.store(&beacons).await?;
    Ok(())
}

/// Where and for whom something happens to an ad of a rendition or playback.
pub(crate) fn session(id: &str, seed: [u8; 16], info_hash: &str, ready: &Ready, all: &[Ready]) -> Session {
    let (half, _) = seed.split_at(8);
    Session {
        id: id.to_owned(),
        seed: half.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
        content_id: Some(info_hash.to_owned()),
        user_agent: Some(USER_AGENT.to_owned()),
        break_index: ready.break_index,
        break_at: ready.at,
        break_position: BreakPlace::of(ready.at, ready.content_duration).number() as u8,
        pod_index: ready.place,
        pod_length: all
            .iter()
            .filter(|other| other.break_index == ready.break_index)
            .count(),
        impressions_on: ready.impressions_on,
        ..Session::default()
    }
}

/// Sends what waits, for at most `budget`. Trouble is logged: it is no reason for a download to fail, and the queue keeps what it has.
pub(crate) async fn drain(context: &Context, budget: Duration) {
    if !context.ads_db().exists() {
        return;
    }
    let drained = async {
        let queue = Queue::open(&context.ads_db()).await?;
        queue.drain(&context.gate, UnixMillis::now(), budget).await
    };
    match drained.await {
        Ok(drained) => tracing::debug!(?drained, "beacons"),
        Err(error) => tracing::warn!(%error, "beacons were not sent; a later command tries again"),
    }
}

/// Random enough to be unique: made by the standard library's seeded hasher, of which each is keyed afresh.
pub(crate) fn fresh_id() -> [u8; 16] {
    use std::hash::{BuildHasher as _, Hasher as _};
    let mut id = [0; 16];
    for half in id.chunks_mut(8) {
        let hash = std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish();
        half.copy_from_slice(&hash.to_le_bytes());
    }
    id
}
