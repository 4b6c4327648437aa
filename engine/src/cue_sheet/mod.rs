//! Signed cue sheets: what a publisher says about a file apart from its bytes, and may change later.
//!
//! The sheet travels in the metainfo under the top-level key `cue sheet`, outside of `info`, so that moving a
//! cue never changes the info hash. It is a bencoded dictionary: `vmap` (a VMAP 1.0 document), `facts` (a
//! dictionary), `budget` (what the origin may be asked), `issued` and `expires` (unix seconds), `publisher` (an
//! Ed25519 public key) and `signature`. The signature is over [`DOMAIN`], the v2 info hash, and the bencoded
//! dictionary without `signature`: so it holds for this content only, and keys that are added to the format
//! later are covered too.
//!
//! To this package vmap and facts are opaque. A [`SignedCueSheet`] is one whose signature was verified; whether
//! its key is the right one is decided in [`trust`].

mod key;
pub mod trust;

use crate::bencode::{self, Encode, Value};
use crate::metainfo::InfoHash;

pub use key::{KeyError, PublicKey, SecretKey};

/// What each signature begins with, so that it can be taken for nothing else.
pub const DOMAIN: &[u8] = b"grove cue sheet 1\0";

/// The largest sheet that is taken, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// What the publisher allows a crowd of viewers to ask of the origin together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes in a second.
    pub bytes_per_second: u64,
    /// Requests in a second.
    pub requests_per_second: u64,
}

/// The content of a cue sheet.
#[derive(Clone, Debug, PartialEq)]
pub struct CueSheet {
    /// A VMAP 1.0 document: cue points and where their ads come from.
    pub vmap: String,
    /// What the publisher worked out once about the cues; a dictionary, hints only.
    pub facts: bt_bencode::Value,
    /// What the origin may be asked; `None` leaves it to the viewers' own rules.
    pub budget: Option<Budget>,
    /// When it was signed, in unix seconds. Of two sheets the one that was issued later counts.
    pub issued: u64,
    /// When it stops counting, in unix seconds.
    pub expires: u64,
    /// Whose it is.
    pub publisher: PublicKey,
}

/// Why a cue sheet cannot be signed or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CueSheetError {
    /// Larger than [`MAX_BYTES`].
    #[error("the cue sheet has {0} bytes, more than 1 MiB")]
    TooLarge(usize),
    /// Not canonical bencoding.
    #[error("the cue sheet is not valid bencoding: {0}")]
    Bencoding(#[from] bencode::Error),
    /// A key is missing, or its value is of the wrong kind or out of range.
    #[error("`{0}` of the cue sheet is missing or not valid")]
    Key(&'static str),
    /// The signature is not the publisher's over this content and this sheet.
    #[error("the signature of the cue sheet is not valid for this content")]
    Signature,
    /// The key to sign with is not the publisher's.
    #[error("the cue sheet names {named} as its publisher, but would be signed by {signing}")]
    Publisher {
        /// The key in the sheet.
        named: PublicKey,
        /// The key to sign with.
        signing: PublicKey,
    },
    /// `expires` is not after `issued`.
    #[error("the cue sheet expires ({expires}) before it is issued ({issued})")]
    Times {
        /// Unix seconds.
        issued: u64,
        /// Unix seconds.
        expires: u64,
    },
    /// It does not count at this time: see [`trust::check_time`].
    #[error(transparent)]
    Time(#[from] trust::Refusal),
}

impl CueSheet {
    /// Signs the sheet for one content. `key` must be that of `publisher`, and `facts` a dictionary without
    /// floating-point numbers.
    pub fn sign(&self, key: &SecretKey, info_hash: &InfoHash) -> Result<SignedCueSheet, CueSheetError> {
        if key.public() != self.publisher {
            return Err(CueSheetError::Publisher {
                named: self.publisher,
                signing: key.public(),
            });
        }
        let facts = bt_bencode::to_vec(&self.facts).map_err(|_| CueSheetError::Key("facts"))?;
        let mut entries = vec![
            ("expires", integer(self.expires, "expires")?),
            ("facts", Encode::Raw(facts)),
            ("issued", integer(self.issued, "issued")?),
            ("publisher", Encode::Bytes(self.publisher.as_bytes().to_vec())),
            ("vmap", Encode::text(&self.vmap)),
        ];
        if let Some(budget) = self.budget {
            let bytes = integer(budget.bytes_per_second, "budget")?;
            let requests = integer(budget.requests_per_second, "budget")?;
            entries.push((
                "budget",
                Encode::dictionary([("bytes", bytes), ("requests", requests)]),
            ));
        }
        let unsigned = Encode::dictionary(entries.clone()).to_bytes();
        let signature = key.sign(&message(info_hash, &unsigned));
        entries.push(("signature", Encode::Bytes(signature.to_vec())));
        // Read back what was written, so that nothing is published that a viewer would refuse.
        SignedCueSheet::open(&Encode::dictionary(entries).to_bytes(), info_hash)
    }
}

/// A cue sheet whose signature was verified for its content. Its bytes are what is stored and passed on.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedCueSheet {
    sheet: CueSheet,
    raw: Vec<u8>,
}

impl SignedCueSheet {
    /// Reads a bencoded sheet and verifies its signature for this content, whatever the time: for showing it.
    pub fn open(raw: &[u8], info_hash: &InfoHash) -> Result<Self, CueSheetError> {
        if raw.len() > MAX_BYTES {
            return Err(CueSheetError::TooLarge(raw.len()));
        }
        let value = Value::parse(raw)?;
        let entries = value.dictionary().ok_or(CueSheetError::Key("cue sheet"))?;
        let bytes = |key: &'static str| {
            value
                .get(key)
                .and_then(Value::bytes)
                .ok_or(CueSheetError::Key(key))
        };
        let seconds = |key: &'static str| {
            let seconds = value
                .get(key)
                .and_then(Value::integer)
                .and_then(|value| u64::try_from(value).ok());
            seconds.ok_or(CueSheetError::Key(key))
        };

        let publisher = bytes("publisher")?
            .try_into()
            .map_err(|_| CueSheetError::Key("publisher"))?;
        let publisher = PublicKey::from_bytes(publisher);
        let signature = bytes("signature")?
            .try_into()
            .map_err(|_| CueSheetError::Key("signature"))?;
        let unsigned = entries.iter().filter(|(key, _)| *key != b"signature");
        let unsigned = unsigned
            .map(|(key, value)| (key.to_vec(), Encode::Raw(value.raw.to_vec())))
            .collect();
        let unsigned = Encode::Dictionary(unsigned).to_bytes();
        if !publisher.verifies(&message(info_hash, &unsigned), signature) {
            return Err(CueSheetError::Signature);
        }

        let facts = value.get("facts").filter(|facts| facts.dictionary().is_some());
        let facts = facts.and_then(|facts| bt_bencode::from_slice(facts.raw).ok());
        let budget = match value.get("budget") {
            None => None,
            Some(budget) => {
                let number = |key| {
                    budget
                        .get(key)
                        .and_then(Value::integer)
                        .and_then(|n| u64::try_from(n).ok())
                };
                let both = number("bytes")
                    .zip(number("requests"))
                    .ok_or(CueSheetError::Key("budget"))?;
                Some(Budget {
                    bytes_per_second: both.0,
                    requests_per_second: both.1,
                })
            }
        };
        let sheet = CueSheet {
            vmap: value
                .get("vmap")
                .and_then(Value::text)
                .ok_or(CueSheetError::Key("vmap"))?
                .to_owned(),
            facts: facts.ok_or(CueSheetError::Key("facts"))?,
            budget,
            issued: seconds("issued")?,
            expires: seconds("expires")?,
            publisher,
        };
        if sheet.expires <= sheet.issued {
            return Err(CueSheetError::Times {
                issued: sheet.issued,
                expires: sheet.expires,
            });
        }
        Ok(Self {
            sheet,
            raw: raw.to_vec(),
        })
    }

    /// As [`open`](Self::open), and refuses a sheet that does not count at `now` (unix seconds).
    pub fn verify(raw: &[u8], info_hash: &InfoHash, now: u64) -> Result<Self, CueSheetError> {
        let signed = Self::open(raw, info_hash)?;
        trust::check_time(&signed, now)?;
        Ok(signed)
    }

    /// What it says.
    pub fn sheet(&self) -> &CueSheet {
        &self.sheet
    }

    /// Its bencoding, signature included: the value of `cue sheet` in the metainfo.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }
}

fn message(info_hash: &InfoHash, unsigned: &[u8]) -> Vec<u8> {
    [DOMAIN, info_hash.as_bytes(), unsigned].concat()
}

fn integer(value: u64, key: &'static str) -> Result<Encode, CueSheetError> {
    i64::try_from(value)
        .map(Encode::Integer)
        .map_err(|_| CueSheetError::Key(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    pub(super) fn sheet(key: &SecretKey, issued: u64) -> CueSheet {
        let facts = BTreeMap::from([("sample", bt_bencode::Value::from(44_100_u64))]);
        CueSheet {
            vmap: "<vmap:VMAP/>".into(),
            facts: bt_bencode::Value::from(facts),
            budget: Some(Budget {
                bytes_per_second: 1_000_000,
                requests_per_second: 20,
            }),
            issued,
            expires: issued + 86_400,
            publisher: key.public(),
        }
    }

    pub(super) fn secret(seed: u8) -> SecretKey {
        SecretKey::from_bytes([seed; 32])
    }

    const CONTENT: InfoHash = InfoHash([7; 32]);

    #[test]
    fn a_signed_sheet_reads_back() {
        let key = secret(1);
        for budget in [
            None,
            Some(Budget {
                bytes_per_second: 0,
                requests_per_second: 1,
            }),
        ] {
            let sheet = CueSheet {
                budget,
                ..sheet(&key, 1000)
            };
            let signed = sheet.sign(&key, &CONTENT).expect("a valid sheet");
            assert_eq!(signed.sheet(), &sheet);
            assert_eq!(SignedCueSheet::verify(signed.raw(), &CONTENT, 1000), Ok(signed));
        }
    }

    #[test]
    fn a_sheet_holds_for_its_content_and_time_only() {
        let key = secret(1);
        let signed = sheet(&key, 1000).sign(&key, &CONTENT).expect("a valid sheet");
        let other = InfoHash([8; 32]);
        assert_eq!(
            SignedCueSheet::open(signed.raw(), &other),
            Err(CueSheetError::Signature)
        );
        assert!(matches!(
            SignedCueSheet::verify(signed.raw(), &CONTENT, 1000 + 86_400),
            Err(CueSheetError::Time(trust::Refusal::Expired { .. }))
        ));
        assert!(matches!(
            sheet(&key, 1).sign(&secret(2), &CONTENT),
            Err(CueSheetError::Publisher { .. })
        ));
        let backwards = CueSheet {
            expires: 1,
            ..sheet(&key, 1000)
        };
        assert!(matches!(
            backwards.sign(&key, &CONTENT),
            Err(CueSheetError::Times { .. })
        ));
        assert_eq!(
            SignedCueSheet::open(b"i1e", &CONTENT),
            Err(CueSheetError::Key("cue sheet"))
        );
        assert_eq!(
            SignedCueSheet::open(b"de", &CONTENT),
            Err(CueSheetError::Key("publisher"))
        );
        assert!(matches!(
            SignedCueSheet::open(b"rubbish", &CONTENT),
            Err(CueSheetError::Bencoding(_))
        ));
        let large = vec![b'x'; MAX_BYTES + 1];
        assert_eq!(
            SignedCueSheet::open(&large, &CONTENT),
            Err(CueSheetError::TooLarge(MAX_BYTES + 1))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bit_can_be_changed(at: prop::sample::Index, bit in 0u8..8) {
            let key = secret(3);
            let mut raw = sheet(&key, 1000).sign(&key, &CONTENT).unwrap().raw().to_vec();
            let at = at.index(raw.len());
            raw[at] ^= 1 << bit;
            prop_assert!(SignedCueSheet::open(&raw, &CONTENT).is_err());
        }
    }
}
