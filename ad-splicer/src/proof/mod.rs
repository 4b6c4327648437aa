//! Proof of play: an account of what one playback presented of one ad server's ads, that cannot be changed afterwards. Pure.
//!
//! *Record*: one uninterrupted presentation of a part of one ad. *Account*: the records of a playback as a chain (each names the
//! one before it by its hash), signed by the viewer's key. [`chain`] writes it, [`check`] judges it, [`key`] makes the keys.
//! An account is cumulative: whenever it is offered it holds every record from the first.
//!
//! What an account proves: that whoever holds the key gave one consistent account, and that nobody has dropped, reordered,
//! repeated or edited a record of it since. When the ad server knows the key from the request for ads (`[GROVE_KEY]`), also
//! that the account is from the client that got those ads. What it does not prove: that a human listened, that sound came out
//! of the machine, or that the client was not made to lie while it wrote.
//!
//! Not for: sending accounts (`beacons`), keeping keys in files (the command), or deciding what an impression is worth.

pub mod chain;
pub mod check;
pub mod key;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use chain::{Chain, Full, Part};
pub use check::{Checked, Expected, Presented, Rejected};
pub use key::{PlaybackKey, ViewerSecret};

use crate::beacons::UnixMillis;

/// The form of accounts that this code writes and reads.
pub const VERSION: u32 = 1;
/// Most records of an account.
pub const MOST_RECORDS: usize = 1_024;
/// Longest account as JSON, in bytes: what a server should read of one.
pub const MOST_BYTES: usize = 1 << 20;
/// Longest name of an ad, in bytes.
const LONGEST_AD: usize = 256;

/// One uninterrupted presentation of a part of an ad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the account, from 0.
    pub sequence: u64,
    /// The hash of the record before it; of the account's opening for the first.
    #[serde(with = "hex::serde")]
    pub previous: [u8; 32],
    /// `AdServingId` of the ad.
    pub ad: String,
    /// SHA-256 of the creative's bytes as they were fetched.
    #[serde(with = "hex::serde")]
    pub creative: [u8; 32],
    /// Where in the ad the presentation began, in milliseconds.
    pub from_ms: u64,
    /// Where in the ad it ended.
    pub to_ms: u64,
    /// When it began, by the viewer's clock.
    pub began: UnixMillis,
    /// When it ended.
    pub ended: UnixMillis,
    /// Speed in thousandths: 1000 is normal.
    pub rate: u32,
    /// Volume in thousandths: 0 is silent.
    pub volume: u32,
    /// Drawn for this record alone.
    #[serde(with = "hex::serde")]
    pub nonce: [u8; 16],
}

/// A playback's records and the signature under them, as they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// [`VERSION`].
    pub version: u32,
    /// The content's root: the SHA-256 merkle root of the file (BEP 52 `pieces root`).
    #[serde(with = "hex::serde")]
    pub content: [u8; 32],
    /// The publisher's key, as in the cue sheet.
    #[serde(with = "hex::serde")]
    pub publisher: [u8; 32],
    /// The key that signs: the viewer's for this publisher and playback.
    #[serde(with = "hex::serde")]
    pub key: [u8; 32],
    /// Drawn for this playback.
    #[serde(with = "hex::serde")]
    pub nonce: [u8; 16],
    /// In order.
    pub records: Vec<Record>,
    /// How many records were signed, and the hash of the last.
    pub head: Head,
    /// Ed25519, over the opening and the head.
    #[serde(with = "hex::serde")]
    pub signature: [u8; 64],
}

/// What an account had come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many records there were.
    pub count: u64,
    /// The hash of the last of them; of the opening when there are none.
    #[serde(with = "hex::serde")]
    pub hash: [u8; 32],
}

impl Account {
    /// The hash of what is said before the first record.
    fn opening(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"grove account of play 1");
        hash.update(self.content);
        hash.update(self.publisher);
        hash.update(self.key);
        hash.update(self.nonce);
        hash.finalize().into()
    }

    /// What is signed.
    fn message(&self) -> Vec<u8> {
        let mut message = b"grove account of play, signed 1".to_vec();
        message.extend(self.opening());
        message.extend(self.head.count.to_be_bytes());
        message.extend(self.head.hash);
        message
    }
}

impl Record {
    /// What the next record names it by.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"grove record of play 1");
        hash.update(self.previous);
        hash.update((self.ad.len() as u64).to_be_bytes());
        hash.update(&self.ad);
        hash.update(self.creative);
        for number in [
            self.sequence,
            self.from_ms,
            self.to_ms,
            self.began.0,
            self.ended.0,
            u64::from(self.rate),
            u64::from(self.volume),
        ] {
            hash.update(number.to_be_bytes());
        }
        hash.update(self.nonce);
        hash.finalize().into()
    }
}
