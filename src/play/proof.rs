//! Accounts of what this playback presented (`ad_splicer::proof`): one for each ad server that takes them.
//!
//! An ad server gets an account of its own ads alone. What is said about proofs stands in `ad_splicer::proof`.

use std::collections::BTreeMap;

use ad_splicer::beacons::UnixMillis;
use ad_splicer::play::Heard;
use ad_splicer::proof::{Account, Chain, Part, ViewerSecret};
use url::Url;

use crate::beacons::{Playback, proof_nonce};
use crate::breaks::Ready;

/// The accounts that are being written.
pub(super) struct Proofs {
    secret: ViewerSecret,
    publisher: [u8; 32],
    /// The merkle root of the content.
    content: [u8; 32],
    playback: String,
    /// By the ad server, and the playback that its ads were decided for.
    chains: BTreeMap<(String, String), Chain>,
}

impl Proofs {
    /// Nothing was presented yet.
    pub(super) fn new(
        secret: ViewerSecret,
        publisher: [u8; 32],
        content: [u8; 32],
        playback: &Playback,
    ) -> Self {
        Proofs {
            secret,
            publisher,
            content,
            playback: playback.id().to_owned(),
            chains: BTreeMap::new(),
        }
    }

    /// The public key that will sign, in hexadecimal: for requests.
    pub(super) fn key(&self) -> String {
        hex::encode(self.secret.for_playback(&proof_nonce(&self.playback)).public())
    }

    /// A part of an ad was presented up to `now`: the account that tells it, when its ad server takes accounts.
    pub(super) fn heard(&mut self, ready: &Ready, part: &Heard, now: UnixMillis) -> Option<Account> {
        let url = Url::parse(ready.ad.proof_url.as_deref()?).ok()?;
        let server = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
        let playback = match &ready.decided_for {
            Some((id, _)) => id.clone(),
            None => self.playback.clone(),
        };
        let nonce = proof_nonce(&playback);
        let (secret, publisher, content) = (&self.secret, self.publisher, self.content);
        let chain = self
            .chains
            .entry((server, playback))
            .or_insert_with(|| Chain::open(secret.for_playback(&nonce), nonce, content, publisher));
        let lasted = u64::try_from((part.to.saturating_sub(part.from)).as_millis()).unwrap_or(u64::MAX);
        let passed = lasted.saturating_mul(1_000) / u64::from(part.rate.max(1));
        let part = Part {
            ad: ready
                .ad
                .ad_serving_id
                .clone()
                .unwrap_or_else(|| ready.ad.identity()),
            creative: ready.sha256.0,
            from: part.from,
            to: part.to,
            began: UnixMillis(now.0.saturating_sub(passed)),
            ended: now,
            rate: part.rate,
            volume: if part.muted { 0 } else { 1_000 },
        };
        // A full account takes no more; what it has stands.
        chain.add(part, rand::random()).ok()?;
        Some(chain.account())
    }
}
