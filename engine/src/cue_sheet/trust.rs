//! Whose cue sheet counts: the decision alone, without clock, files or network.
//!
//! A publisher's key is accepted from a link that the person followed (`x.pk=`), from a `.torrent` or feed that
//! the person named or that the content's own host served, or because it was pinned before. It is pinned then,
//! and from then on only newer sheets of that key are taken, from wherever they come. Without a trusted sheet
//! content plays without ads.
//!
//! The caller keeps the pins (one for each content, by v2 info hash) and the sheet that is held.

use std::fmt;

use super::{PublicKey, SignedCueSheet};

/// How far ahead of our clock a sheet may be issued, in seconds.
pub const MAX_AHEAD: u64 = 10 * 60;

/// Where a sheet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a `.torrent` or feed that the person named.
    Named,
    /// In a `.torrent` that the host of the content served (it is the web seed's host).
    Host,
    /// From a peer, or from a `.torrent` that someone else named.
    Peer,
}

/// What is known when a sheet arrives.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The key in the link that the person followed (`x.pk=`).
    pub link: Option<PublicKey>,
    /// The key that was pinned for this content before.
    pub pin: Option<PublicKey>,
    /// The sheet that is held, if any.
    pub held: Option<&'a SignedCueSheet>,
    /// The present, in unix seconds.
    pub now: u64,
}

/// Why a key is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is the key of the link.
    Link,
    /// It was pinned before.
    Pin,
    /// It came in what the person named.
    Named,
    /// It came from the content's own host.
    Host,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "the link names this key",
            Self::Pin => "this key was trusted for this content before",
            Self::Named => "it came in the torrent or feed that you named",
            Self::Host => "the content's own host served it",
        })
    }
}

/// Why a sheet is refused. Times are unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another key than the one that counts: never passed over in silence.
    #[error(
        "the cue sheet is signed by another key: {} was expected, {} signed it",
        expected.fingerprint(), offered.fingerprint()
    )]
    KeyChanged {
        /// The pinned key, or the link's.
        expected: PublicKey,
        /// The key of the sheet, or of a link that contradicts the pin.
        offered: PublicKey,
    },
    /// From a peer, and nobody whom the person trusts vouched for the key.
    #[error("nobody vouches for the key {} that signed the cue sheet", key.fingerprint())]
    Unknown {
        /// The key.
        key: PublicKey,
    },
    /// Issued more than ten minutes ahead.
    #[error("the cue sheet is from the future: issued at {issued}, and it is {now}")]
    Future {
        /// When it says that it was issued.
        issued: u64,
        /// The present.
        now: u64,
    },
    /// Its time is over.
    #[error("the cue sheet expired at {expires}, and it is {now}")]
    Expired {
        /// When it expired.
        expires: u64,
        /// The present.
        now: u64,
    },
    /// Older than the one that is held.
    #[error("the cue sheet was issued at {issued}, before the one that is held ({held})")]
    Older {
        /// When it was issued.
        issued: u64,
        /// When the held one was issued.
        held: u64,
    },
    /// Issued at the same time as the one that is held, with other bytes.
    #[error("two different cue sheets of {} say that they were issued at {issued}", key.fingerprint())]
    Conflict {
        /// The key.
        key: PublicKey,
        /// When.
        issued: u64,
    },
}

impl Refusal {
    /// Whether the person must be told, rather than only a log.
    pub fn is_loud(&self) -> bool {
        matches!(self, Self::KeyChanged { .. } | Self::Conflict { .. })
    }
}

/// What to do with a sheet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It counts. Pin the key for this content when it is not pinned yet, and hold the sheet.
    Trusted {
        /// The key to pin.
        key: PublicKey,
        /// Why.
        why: Reason,
    },
    /// It does not count; what is held stays.
    Refused {
        /// Why.
        why: Refusal,
    },
}

/// Judges a sheet that came from `source`.
pub fn decide(offered: &SignedCueSheet, source: Source, known: &Known<'_>) -> Decision {
    match judge(offered, source, known) {
        Ok(why) => Decision::Trusted {
            key: offered.sheet().publisher,
            why,
        },
        Err(why) => Decision::Refused { why },
    }
}

/// Refuses a sheet that is issued too far ahead of `now` (unix seconds), or expired.
pub fn check_time(sheet: &SignedCueSheet, now: u64) -> Result<(), Refusal> {
    let (issued, expires) = (sheet.sheet().issued, sheet.sheet().expires);
    if issued > now.saturating_add(MAX_AHEAD) {
        return Err(Refusal::Future { issued, now });
    }
    if expires <= now {
        return Err(Refusal::Expired { expires, now });
    }
    Ok(())
}

fn judge(offered: &SignedCueSheet, source: Source, known: &Known<'_>) -> Result<Reason, Refusal> {
    let key = offered.sheet().publisher;
    let why = match (known.pin, known.link, source) {
        (Some(expected), Some(link), _) if expected != link => {
            return Err(Refusal::KeyChanged {
                expected,
                offered: link,
            });
        }
        (Some(expected), _, _) | (None, Some(expected), _) if expected != key => {
            return Err(Refusal::KeyChanged {
                expected,
                offered: key,
            });
        }
        (Some(_), _, _) => Reason::Pin,
        (None, Some(_), _) => Reason::Link,
        (None, None, Source::Named) => Reason::Named,
        (None, None, Source::Host) => Reason::Host,
        (None, None, Source::Peer) => return Err(Refusal::Unknown { key }),
    };
    check_time(offered, known.now)?;
    if let Some(held) = known.held {
        let issued = offered.sheet().issued;
        if issued < held.sheet().issued {
            return Err(Refusal::Older {
                issued,
                held: held.sheet().issued,
            });
        }
        if issued == held.sheet().issued && offered.raw() != held.raw() {
            return Err(Refusal::Conflict { key, issued });
        }
    }
    Ok(why)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{secret, sheet};
    use super::super::{CueSheet, InfoHash};
    use super::*;

    const NOW: u64 = 1_000_000;

    fn signed(key: u8, issued: u64) -> SignedCueSheet {
        let key = secret(key);
        sheet(&key, issued)
            .sign(&key, &InfoHash([1; 32]))
            .expect("a valid sheet")
    }

    fn public(key: u8) -> PublicKey {
        secret(key).public()
    }

    #[test]
    fn a_key_needs_someone_who_vouches_for_it() {
        use Source::{Host, Named, Peer};
        let changed = |expected, offered| {
            Err(Refusal::KeyChanged {
                expected: public(expected),
                offered: public(offered),
            })
        };
        // Source, key of the link, pinned key, and what becomes of a sheet of key 1.
        let table = [
            (Named, None, None, Ok(Reason::Named)),
            (Host, None, None, Ok(Reason::Host)),
            (Peer, None, None, Err(Refusal::Unknown { key: public(1) })),
            (Peer, Some(1), None, Ok(Reason::Link)),
            (Peer, None, Some(1), Ok(Reason::Pin)),
            (Named, Some(1), Some(1), Ok(Reason::Pin)),
            (Named, None, Some(2), changed(2, 1)),
            (Host, None, Some(2), changed(2, 1)),
            (Peer, None, Some(2), changed(2, 1)),
            (Named, Some(2), None, changed(2, 1)),
            (Named, Some(1), Some(2), changed(2, 1)),
            (Named, Some(2), Some(1), changed(1, 2)),
        ];
        for (source, link, pin, expected) in table {
            let known = Known {
                link: link.map(public),
                pin: pin.map(public),
                held: None,
                now: NOW,
            };
            let expected = match expected {
                Ok(why) => Decision::Trusted { key: public(1), why },
                Err(why) => Decision::Refused { why },
            };
            assert_eq!(
                decide(&signed(1, NOW), source, &known),
                expected,
                "{source:?}, link {link:?}, pin {pin:?}"
            );
        }
    }

    #[test]
    fn only_newer_sheets_that_are_of_this_time_count() {
        let held = signed(1, NOW - 100);
        let rival = {
            let key = secret(1);
            let sheet = CueSheet {
                vmap: "<other/>".into(),
                ..sheet(&key, NOW - 100)
            };
            sheet.sign(&key, &InfoHash([1; 32])).expect("a valid sheet")
        };
        let day = 86_400;
        // A sheet, the present, and the kind of refusal.
        let table: [(&SignedCueSheet, u64, Option<&str>); 9] = [
            (&signed(1, NOW), NOW, None),
            (&signed(1, NOW + MAX_AHEAD), NOW, None),
            (&signed(1, NOW + MAX_AHEAD + 1), NOW, Some("future")),
            (&signed(1, NOW), NOW + day - 1, None),
            (&signed(1, NOW), NOW + day, Some("expired")),
            (&signed(1, NOW - 101), NOW, Some("older")),
            (&held, NOW, None),
            (&rival, NOW, Some("conflict")),
            (&signed(1, NOW - 99), NOW, None),
        ];
        for (index, (sheet, now, refusal)) in table.into_iter().enumerate() {
            let known = Known {
                link: None,
                pin: Some(public(1)),
                held: Some(&held),
                now,
            };
            let found = match decide(sheet, Source::Peer, &known) {
                Decision::Trusted { .. } => None,
                Decision::Refused { why } => Some(match why {
                    Refusal::Future { .. } => "future",
                    Refusal::Expired { .. } => "expired",
                    Refusal::Older { .. } => "older",
                    Refusal::Conflict { .. } => "conflict",
                    Refusal::KeyChanged { .. } | Refusal::Unknown { .. } => "key",
                }),
            };
            assert_eq!(found, refusal, "row {index}");
        }
    }

    #[test]
    fn a_change_of_key_is_loud_and_shows_both() {
        let known = Known {
            link: None,
            pin: Some(public(2)),
            held: None,
            now: NOW,
        };
        let Decision::Refused { why } = decide(&signed(1, NOW), Source::Named, &known) else {
            panic!("another key must be refused");
        };
        assert!(why.is_loud());
        assert!(why.to_string().contains(&public(1).fingerprint()));
        assert!(why.to_string().contains(&public(2).fingerprint()));
    }
}
