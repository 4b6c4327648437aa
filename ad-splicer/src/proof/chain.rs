//! The writer: records in, the signed account out.

use std::time::Duration;

use super::{Account, Head, LONGEST_AD, MOST_RECORDS, PlaybackKey, Record, VERSION};
use crate::beacons::UnixMillis;

/// An uninterrupted presentation of a part of an ad, as the player tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `AdServingId`, or what else names the ad.
    pub ad: String,
    /// SHA-256 of the creative's bytes as they were fetched.
    pub creative: [u8; 32],
    /// Where in the ad it began.
    pub from: Duration,
    /// Where in the ad it ended.
    pub to: Duration,
    /// When it began.
    pub began: UnixMillis,
    /// When it ended.
    pub ended: UnixMillis,
    /// Speed in thousandths.
    pub rate: u32,
    /// Volume in thousandths.
    pub volume: u32,
}

/// The account is full, or the ad's name is too long: nothing was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the account of this playback takes no further record")]
pub struct Full;

/// An account that is being written.
#[derive(Debug, Clone)]
pub struct Chain {
    key: PlaybackKey,
    account: Account,
}

impl Chain {
    /// Begins the account of a playback of `content` (its merkle root). `nonce` is what `key` was made for.
    pub fn open(key: PlaybackKey, nonce: [u8; 16], content: [u8; 32], publisher: [u8; 32]) -> Self {
        let mut account = Account {
            version: VERSION,
            content,
            publisher,
            key: key.public(),
            nonce,
            records: Vec::new(),
            head: Head {
                count: 0,
                hash: [0; 32],
            },
            signature: [0; 64],
        };
        account.head.hash = account.opening();
        Self { key, account }
    }

    /// Adds what was presented. `nonce` must be fresh.
    ///
    /// # Errors
    /// [`Full`] when the account takes no more.
    pub fn add(&mut self, part: Part, nonce: [u8; 16]) -> Result<(), Full> {
        if self.account.records.len() >= MOST_RECORDS || part.ad.len() > LONGEST_AD {
            return Err(Full);
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let record = Record {
            sequence: self.account.head.count,
            previous: self.account.head.hash,
            ad: part.ad,
            creative: part.creative,
            from_ms: millis(part.from),
            to_ms: millis(part.to),
            began: part.began,
            ended: part.ended,
            rate: part.rate,
            volume: part.volume,
            nonce,
        };
        self.account.head = Head {
            count: record.sequence + 1,
            hash: record.hash(),
        };
        self.account.records.push(record);
        Ok(())
    }

    /// The account as it stands, signed.
    pub fn account(&self) -> Account {
        let mut account = self.account.clone();
        account.signature = self.key.sign(&account.message());
        account
    }

    /// The public key that signs it.
    pub fn key(&self) -> [u8; 32] {
        self.account.key
    }
}
