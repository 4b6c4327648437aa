//! The judge: an account is whole, in order, unaltered and by the key that it should be by, or is rejected by name.
//!
//! What it needs to know of the past is given to it ([`Expected`]); what the future needs to know it hands out
//! ([`Checked::head`], [`Checked::nonces`]).

use std::collections::HashSet;
use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};

use super::{Account, Head, LONGEST_AD, MOST_RECORDS, Record, VERSION};

/// How far the viewer's clock and what was presented may differ in one record.
const TOLERANCE_MS: u64 = 1_500;
/// Fastest playback that is believed, in thousandths.
const FASTEST: u32 = 8_000;

/// What the judge knows beforehand.
pub struct Expected<'a> {
    /// The key that asked for the ads (`[GROVE_KEY]`), when it is known.
    pub key: Option<[u8; 32]>,
    /// The content's merkle root, when it is known.
    pub content: Option<[u8; 32]>,
    /// The publisher's key, when it is known.
    pub publisher: Option<[u8; 32]>,
    /// What the account of the same nonce had come to when it was last accepted.
    pub earlier: Option<Head>,
    /// Whether a record with this nonce was accepted in another account.
    pub seen: &'a dyn Fn(&[u8; 16]) -> bool,
}

impl Default for Expected<'_> {
    fn default() -> Self {
        Self {
            key: None,
            content: None,
            publisher: None,
            earlier: None,
            seen: &|_| false,
        }
    }
}

impl std::fmt::Debug for Expected<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expected")
            .field("earlier", &self.earlier)
            .finish_non_exhaustive()
    }
}

/// Why an account is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejected {
    /// A form that is not understood.
    #[error("the account is of a form that is not understood")]
    Form,
    /// It has more records, or longer names, than an account may have.
    #[error("the account is longer than accounts may be")]
    TooLong,
    /// The signature is not by the key that it names, or that key is not the one that asked for the ads.
    #[error("the account is not signed by the key that asked for the ads")]
    ForeignKey,
    /// It is about other content, or another publisher's.
    #[error("the account is about other content")]
    ForeignContent,
    /// Records are missing, at the end or within.
    #[error("a record of the account was dropped")]
    Dropped,
    /// Records are not in the order in which they were written.
    #[error("records of the account were reordered")]
    Reordered,
    /// A record stands twice, or was told before in another account.
    #[error("a record of the account was told before")]
    Replayed,
    /// A record, or one that it was accepted with earlier, is not as it was written.
    #[error("a record of the account was edited")]
    Edited,
    /// It says what cannot be: more presented than time passed, two ads at once, an interval that ends before it begins.
    #[error("the account contradicts itself")]
    Impossible,
}

impl Rejected {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::TooLong => "too_long",
            Self::ForeignKey => "foreign_key",
            Self::ForeignContent => "foreign_content",
            Self::Dropped => "dropped",
            Self::Reordered => "reordered",
            Self::Replayed => "replayed",
            Self::Edited => "edited",
            Self::Impossible => "impossible",
        }
    }
}

/// An account that was found to be whole.
#[derive(Debug, Clone, Copy)]
pub struct Checked<'a> {
    account: &'a Account,
}

/// What an account says of one ad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// SHA-256 of the creative.
    pub creative: [u8; 32],
    /// From the ad's first instant up to here everything was presented in order, at normal speed.
    pub whole: Duration,
    /// How much was presented with the sound on, at any speed; twice what was presented twice.
    pub heard: Duration,
    /// Records that are about the ad.
    pub records: usize,
}

impl Account {
    /// Judges the account.
    ///
    /// # Errors
    /// The reason for which it is not believed, by name.
    pub fn check(&self, expected: &Expected<'_>) -> Result<Checked<'_>, Rejected> {
        if self.version != VERSION {
            return Err(Rejected::Form);
        }
        let too_long = self.records.len() > MOST_RECORDS;
        if too_long || self.records.iter().any(|record| record.ad.len() > LONGEST_AD) {
            return Err(Rejected::TooLong);
        }
        let differs = |known: Option<[u8; 32]>, said: [u8; 32]| known.is_some_and(|known| known != said);
        if differs(expected.key, self.key) || !self.is_signed() {
            return Err(Rejected::ForeignKey);
        }
        if differs(expected.content, self.content) || differs(expected.publisher, self.publisher) {
            return Err(Rejected::ForeignContent);
        }
        self.check_order(expected)?;
        self.check_links()?;
        self.check_earlier(expected.earlier)?;
        self.check_sense()?;
        Ok(Checked { account: self })
    }

    fn is_signed(&self) -> bool {
        let signature = Signature::from_bytes(&self.signature);
        VerifyingKey::from_bytes(&self.key)
            .is_ok_and(|key| key.verify_strict(&self.message(), &signature).is_ok())
    }

    /// Each record once, all of them, in order.
    fn check_order(&self, expected: &Expected<'_>) -> Result<(), Rejected> {
        let mut nonces = HashSet::new();
        let mut sequences = HashSet::new();
        for record in &self.records {
            let again = !nonces.insert(record.nonce) || !sequences.insert(record.sequence);
            if again || (expected.seen)(&record.nonce) {
                return Err(Rejected::Replayed);
            }
        }
        // Every number is there once, so that what is not in its place was moved.
        if (0..self.head.count).any(|n| !sequences.contains(&n)) {
            return Err(Rejected::Dropped);
        }
        if self.records.len() as u64 != self.head.count {
            return Err(Rejected::Edited);
        }
        if (0..).zip(&self.records).any(|(n, record)| record.sequence != n) {
            return Err(Rejected::Reordered);
        }
        Ok(())
    }

    fn check_links(&self) -> Result<(), Rejected> {
        let mut previous = self.opening();
        for record in &self.records {
            if record.previous != previous {
                return Err(Rejected::Edited);
            }
            previous = record.hash();
        }
        if previous == self.head.hash {
            Ok(())
        } else {
            Err(Rejected::Edited)
        }
    }

    /// What was told earlier still stands. An older, shorter account that comes late is fine: it says nothing else.
    fn check_earlier(&self, earlier: Option<Head>) -> Result<(), Rejected> {
        let Some(earlier) = earlier.filter(|earlier| earlier.count <= self.head.count) else {
            return Ok(());
        };
        let then = match earlier.count.checked_sub(1) {
            None => self.opening(),
            Some(last) => self.records[last as usize].hash(),
        };
        if then == earlier.hash {
            Ok(())
        } else {
            Err(Rejected::Edited)
        }
    }

    fn check_sense(&self) -> Result<(), Rejected> {
        let possible = self.records.iter().all(Record::is_possible);
        let one_at_a_time = self
            .records
            .windows(2)
            .all(|pair| pair[1].began.0.saturating_add(TOLERANCE_MS) >= pair[0].ended.0);
        if possible && one_at_a_time {
            Ok(())
        } else {
            Err(Rejected::Impossible)
        }
    }
}

impl Record {
    fn is_possible(&self) -> bool {
        if self.to_ms < self.from_ms || self.ended < self.began || !(1..=FASTEST).contains(&self.rate) {
            return false;
        }
        let passed = u128::from(self.ended.0 - self.began.0) + u128::from(TOLERANCE_MS);
        u128::from(self.to_ms - self.from_ms) <= passed * u128::from(self.rate) / 1_000
    }
}

impl Checked<'_> {
    /// To be kept under the account's nonce, when it is ahead of what is kept.
    pub fn head(&self) -> Head {
        self.account.head
    }

    /// The nonces of its records, so that they count in no other account.
    pub fn nonces(&self) -> impl Iterator<Item = [u8; 16]> {
        self.account.records.iter().map(|record| record.nonce)
    }

    /// What was presented of an ad (by `AdServingId`); `None` when nothing was.
    pub fn presented(&self, ad: &str) -> Option<Presented> {
        let mut records = self.account.records.iter().filter(|record| record.ad == ad);
        let first = records.clone().next()?;
        let mut said = Presented {
            creative: first.creative,
            whole: Duration::ZERO,
            heard: Duration::ZERO,
            records: 0,
        };
        let mut whole = 0;
        records.try_for_each(|record| {
            // One ad is one creative; two of them are no account of it.
            if record.creative != first.creative {
                return None;
            }
            if record.rate == 1_000 && record.from_ms <= whole {
                whole = whole.max(record.to_ms);
            }
            if record.volume > 0 {
                said.heard += Duration::from_millis(record.to_ms - record.from_ms);
            }
            said.records += 1;
            Some(())
        })?;
        said.whole = Duration::from_millis(whole);
        Some(said)
    }

    /// Whether all of an ad, which is this creative and lasts so long, was presented at normal speed without a gap. A
    /// twentieth of a second at its end is not looked at: durations are declared in whole frames.
    pub fn proves(&self, ad: &str, creative: &[u8; 32], duration: Duration) -> bool {
        self.presented(ad).is_some_and(|presented| {
            presented.creative == *creative && presented.whole + Duration::from_millis(50) >= duration
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beacons::UnixMillis;
    use crate::proof::chain::{Chain, Part};
    use crate::proof::key::ViewerSecret;

    const START: u64 = 1_700_000_000_000;
    const CREATIVE: [u8; 32] = [9; 32];

    fn chain(secret: u8, nonce: u8) -> Chain {
        let key = ViewerSecret::from_bytes([secret; 32]).for_playback(&[nonce; 16]);
        Chain::open(key, [nonce; 16], [1; 32], [2; 32])
    }

    fn part(ad: &str, from: u64, to: u64, began: u64) -> Part {
        Part {
            ad: ad.into(),
            creative: CREATIVE,
            from: Duration::from_millis(from),
            to: Duration::from_millis(to),
            began: UnixMillis(START + began),
            ended: UnixMillis(START + began + (to - from)),
            rate: 1_000,
            volume: 1_000,
        }
    }

    /// Two ads of eight seconds, the first paused for a while in its middle.
    fn written() -> Chain {
        let mut chain = chain(1, 1);
        for (n, part) in [
            part("a", 0, 4_000, 0),
            part("a", 4_000, 8_000, 60_000),
            part("b", 0, 8_000, 64_000),
        ]
        .into_iter()
        .enumerate()
        {
            chain.add(part, [n as u8; 16]).expect("room");
        }
        chain
    }

    fn reason(account: &Account) -> Option<Rejected> {
        account.check(&Expected::default()).err()
    }

    #[test]
    fn an_account_as_it_was_written_proves_what_was_presented() {
        let account = written().account();
        let text = serde_json::to_string(&account).expect("json");
        let account: Account = serde_json::from_str(&text).expect("read back");
        let checked = account.check(&Expected::default()).expect("believed");
        let eight = Duration::from_secs(8);
        assert!(checked.proves("a", &CREATIVE, eight) && checked.proves("b", &CREATIVE, eight));
        assert!(!checked.proves("a", &[0; 32], eight), "another creative");
        assert!(
            !checked.proves("a", &CREATIVE, Duration::from_secs(9)),
            "a longer ad"
        );
        assert!(
            !checked.proves("c", &CREATIVE, eight),
            "an ad that was not presented"
        );
        assert_eq!((checked.head().count, checked.nonces().count()), (3, 3));
    }

    #[test]
    fn a_gap_other_speeds_and_silence_are_told() {
        let mut chain = chain(1, 1);
        let mut fast = part("fast", 0, 8_000, 20_000);
        (fast.rate, fast.ended) = (2_000, UnixMillis(START + 24_000));
        let mut silent = part("silent", 0, 8_000, 30_000);
        silent.volume = 0;
        for (n, part) in [
            part("gap", 0, 3_000, 0),
            part("gap", 5_000, 8_000, 4_000),
            fast,
            silent,
        ]
        .into_iter()
        .enumerate()
        {
            chain.add(part, [n as u8; 16]).expect("room");
        }
        let account = chain.account();
        let checked = account.check(&Expected::default()).expect("believed");
        let told = |ad: &str| {
            let presented = checked.presented(ad).expect("presented");
            (presented.whole.as_secs(), presented.heard.as_secs())
        };
        assert_eq!(told("gap"), (3, 6));
        assert_eq!(told("fast"), (0, 8));
        assert_eq!(told("silent"), (8, 0));
    }

    #[test]
    fn a_dropped_record_is_rejected() {
        for n in 0..3 {
            let mut account = written().account();
            account.records.remove(n);
            assert_eq!(reason(&account), Some(Rejected::Dropped), "{n}");
        }
    }

    #[test]
    fn reordered_records_are_rejected() {
        let mut account = written().account();
        account.records.swap(0, 2);
        assert_eq!(reason(&account), Some(Rejected::Reordered));
    }

    #[test]
    fn a_replayed_record_is_rejected_in_one_account_and_across_accounts() {
        let mut account = written().account();
        account.records.push(account.records[0].clone());
        assert_eq!(reason(&account), Some(Rejected::Replayed));
        // Copied over another record, its number made right.
        let mut account = written().account();
        account.records[2] = Record {
            sequence: 2,
            ..account.records[0].clone()
        };
        assert_eq!(reason(&account), Some(Rejected::Replayed));
        // The same viewer signs an old record into a new account.
        let mut other = chain(1, 2);
        other.add(part("a", 0, 4_000, 0), [0; 16]).expect("room");
        let seen = |nonce: &[u8; 16]| *nonce == [0; 16];
        let expected = Expected {
            seen: &seen,
            ..Expected::default()
        };
        assert_eq!(other.account().check(&expected).err(), Some(Rejected::Replayed));
    }

    #[test]
    fn an_edited_record_is_rejected_whatever_was_edited() {
        let edits: [fn(&mut Record); 9] = [
            |record| record.ad.push('x'),
            |record| record.creative[0] ^= 1,
            |record| record.from_ms += 1,
            |record| record.to_ms += 1,
            |record| record.began.0 += 1,
            |record| record.rate += 1,
            |record| record.volume -= 1,
            |record| record.nonce[0] ^= 0x80,
            |record| record.previous[0] ^= 1,
        ];
        for n in 0..3 {
            for (which, edit) in edits.iter().enumerate() {
                let mut account = written().account();
                edit(&mut account.records[n]);
                assert_eq!(
                    reason(&account),
                    Some(Rejected::Edited),
                    "record {n}, edit {which}"
                );
            }
        }
    }

    #[test]
    fn history_cannot_be_rewritten_and_a_late_prefix_is_fine() {
        let earlier = written().account().head;
        let expected = Expected {
            earlier: Some(earlier),
            ..Expected::default()
        };
        let mut longer = written();
        longer.add(part("c", 0, 1_000, 90_000), [9; 16]).expect("room");
        assert!(longer.account().check(&expected).is_ok());
        assert!(chain(1, 1).account().check(&expected).is_ok(), "a late prefix");
        let mut rewritten = chain(1, 1);
        for n in 0..4 {
            rewritten
                .add(part("a", 0, 1_000, u64::from(n) * 2_000), [n; 16])
                .expect("room");
        }
        assert_eq!(rewritten.account().check(&expected).err(), Some(Rejected::Edited));
    }

    #[test]
    fn a_foreign_key_is_rejected() {
        let mut account = written().account();
        // Another viewer puts their key to it, without and with their own signature.
        account.key = ViewerSecret::from_bytes([5; 32]).for_playback(&[1; 16]).public();
        assert_eq!(reason(&account), Some(Rejected::ForeignKey));
        let mut theirs = chain(5, 1);
        theirs.add(part("a", 0, 8_000, 0), [0; 16]).expect("room");
        let expected = Expected {
            key: Some(chain(1, 1).key()),
            ..Expected::default()
        };
        assert_eq!(
            theirs.account().check(&expected).err(),
            Some(Rejected::ForeignKey)
        );
        assert!(theirs.account().check(&Expected::default()).is_ok());
        // A head that was never signed.
        let mut account = written().account();
        account.head.count = 2;
        account.records.pop();
        assert_eq!(reason(&account), Some(Rejected::ForeignKey));
    }

    #[test]
    fn other_content_other_forms_and_too_much_are_rejected() {
        let account = written().account();
        let expected = Expected {
            content: Some([3; 32]),
            ..Expected::default()
        };
        assert_eq!(account.check(&expected).err(), Some(Rejected::ForeignContent));
        let mut later = account.clone();
        later.version = 2;
        assert_eq!(reason(&later), Some(Rejected::Form));
        let mut long = account;
        long.records = vec![long.records[0].clone(); MOST_RECORDS + 1];
        assert_eq!(reason(&long), Some(Rejected::TooLong));
        let mut full = chain(1, 1);
        for n in 0..MOST_RECORDS {
            let nonce = (n as u128).to_be_bytes();
            full.add(part("a", 0, 1, 0), nonce).expect("room");
        }
        assert!(full.add(part("a", 0, 1, 0), [255; 16]).is_err());
        let text = serde_json::to_vec(&full.account()).expect("json");
        assert!(text.len() < super::super::MOST_BYTES, "{}", text.len());
    }

    #[test]
    fn what_cannot_be_is_rejected() {
        let mut too_much = part("a", 0, 60_000, 0);
        too_much.ended = UnixMillis(START + 10_000);
        let mut backwards = part("a", 0, 1_000, 0);
        (backwards.from, backwards.to) = (backwards.to, backwards.from);
        let mut frozen = part("a", 0, 0, 0);
        frozen.rate = 0;
        for part in [too_much, backwards, frozen] {
            let mut chain = chain(1, 1);
            chain.add(part, [0; 16]).expect("room");
            assert_eq!(reason(&chain.account()), Some(Rejected::Impossible));
        }
        let mut at_once = chain(1, 1);
        at_once.add(part("a", 0, 8_000, 0), [0; 16]).expect("room");
        at_once.add(part("b", 0, 8_000, 1_000), [1; 16]).expect("room");
        assert_eq!(reason(&at_once.account()), Some(Rejected::Impossible));
    }

    proptest::proptest! {
        #[test]
        fn any_change_of_any_byte_is_rejected(at in proptest::num::usize::ANY, bit in 0_u8..8) {
            let account = written().account();
            let mut bytes = serde_json::to_vec(&account).expect("json");
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = serde_json::from_slice::<Account>(&bytes)
                && changed != account
            {
                proptest::prop_assert!(changed.check(&Expected::default()).is_err());
            }
        }
    }
}
