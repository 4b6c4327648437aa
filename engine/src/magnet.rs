//! Magnet links (BEP 9, BEP 52), with three keys of ours: `x.pk` (the publisher's key), `x.grove` (the address
//! of a Grove peer) and `x.secret` (the secret of a personal swarm).
//!
//! A link is read strictly: a hash or address that is broken is an error, since quietly leaving it out would
//! look for the wrong thing. Keys that are not known are left alone. What is written reads back the same.

use std::fmt::{self, Write};
use std::net::Ipv6Addr;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::cue_sheet::PublicKey;
use crate::metainfo::InfoHash;
use crate::personal::Secret;

/// The longest link that is read, in bytes.
pub const MAX_LENGTH: usize = 64 * 1024;

/// The most trackers, web seeds, sources or peers that are read, each; more are left alone.
pub const MAX_OF_EACH: usize = 32;

/// Where a Grove peer listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddress {
    /// A host name or address; an IPv6 address is without brackets.
    pub host: String,
    /// The UDP port, never 0.
    pub port: u16,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for PeerAddress {
    type Err = MagnetError;

    /// Reads `host:port` or `[IPv6]:port`.
    fn from_str(text: &str) -> Result<Self, MagnetError> {
        let wrong = || MagnetError::Peer(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|&port| port != 0).ok_or_else(wrong)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inside) => inside.parse::<Ipv6Addr>().map_err(|_| wrong())?.to_string(),
            None => host.to_owned(),
        };
        let in_name = |c: char| c.is_alphanumeric() || c == '-' || c == '.' || c == '_';
        if host.is_empty() || !(host.parse::<Ipv6Addr>().is_ok() || host.chars().all(in_name)) {
            return Err(wrong());
        }
        Ok(Self { host, port })
    }
}

/// What a magnet link says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Magnet {
    /// `xt=urn:btmh:`, the v2 info hash. Content can only be verified by this one.
    pub info_hash: Option<InfoHash>,
    /// `xt=urn:btih:`, the v1 info hash.
    pub info_hash_v1: Option<[u8; 20]>,
    /// `dn`: a name to show until the metainfo is there.
    pub name: Option<String>,
    /// `tr`: tracker URLs.
    pub trackers: Vec<String>,
    /// `ws`: web seed URLs.
    pub web_seeds: Vec<String>,
    /// `xs`: URLs of the `.torrent`.
    pub sources: Vec<String>,
    /// `x.pk`: the key whose cue sheets count.
    pub publisher: Option<PublicKey>,
    /// `x.grove`: peers to dial.
    pub peers: Vec<PeerAddress>,
    /// `x.secret`: it makes the swarm a personal one, which only holders of the link find.
    pub secret: Option<Secret>,
}

/// Why a magnet link is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MagnetError {
    /// Does not begin with `magnet:?`.
    #[error("not a magnet link: it must begin with `magnet:?`")]
    Scheme,
    /// Longer than [`MAX_LENGTH`].
    #[error("the magnet link is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// Percent-encoding that gives no text.
    #[error("`{0}` of the magnet link is not UTF-8")]
    Encoding(String),
    /// Neither kind of info hash.
    #[error("the magnet link has no info hash (`xt=urn:btmh:…` or `xt=urn:btih:…`)")]
    NoHash,
    /// An info hash that is none.
    #[error("{0:?} in the magnet link is not an info hash")]
    Hash(String),
    /// Two hashes of one kind, or two publishers.
    #[error("`{0}` is in the magnet link twice with different values")]
    Twice(&'static str),
    /// Not 64 hex digits.
    #[error("`x.pk` of the magnet link is not a key of 64 hex digits: {0:?}")]
    Key(String),
    /// Not 32 hex digits. The value is not repeated: it may be most of a secret.
    #[error("`x.secret` of the magnet link is not a secret of 32 hex digits")]
    Secret,
    /// Not `host:port`.
    #[error("{0:?} is not the address of a peer: it must be host:port")]
    Peer(String),
}

impl FromStr for Magnet {
    type Err = MagnetError;

    fn from_str(link: &str) -> Result<Self, MagnetError> {
        if link.len() > MAX_LENGTH {
            return Err(MagnetError::TooLong);
        }
        let scheme = link
            .get(..8)
            .filter(|scheme| scheme.eq_ignore_ascii_case("magnet:?"));
        let query = scheme
            .map(|scheme| &link[scheme.len()..])
            .ok_or(MagnetError::Scheme)?;
        let mut magnet = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            // In names a plus is a space by custom; in URLs and hashes it is itself.
            let value = if key == "dn" {
                value.replace('+', " ")
            } else {
                value.to_owned()
            };
            let decoded = percent_decode_str(&value).decode_utf8();
            let value = decoded.map_err(|_| MagnetError::Encoding(key.to_owned()))?;
            magnet.take(key, &value)?;
        }
        if magnet.info_hash.is_none() && magnet.info_hash_v1.is_none() {
            return Err(MagnetError::NoHash);
        }
        Ok(magnet)
    }
}

impl Magnet {
    fn take(&mut self, key: &str, value: &str) -> Result<(), MagnetError> {
        // `tr.1=` and the like number several values of a key (BEP 9 leaves this to custom).
        let numbered = key
            .rsplit_once('.')
            .filter(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        match numbered.map_or(key, |(key, _)| key) {
            "xt" => self.take_hash(value)?,
            "dn" if self.name.is_none() && !value.is_empty() => self.name = Some(value.to_owned()),
            "tr" => push(&mut self.trackers, value),
            "ws" => push(&mut self.web_seeds, value),
            "xs" => push(&mut self.sources, value),
            "x.pk" => {
                let key = value.parse().map_err(|_| MagnetError::Key(value.to_owned()))?;
                set(&mut self.publisher, key, "x.pk")?;
            }
            "x.secret" => {
                let secret = value.parse().map_err(|_| MagnetError::Secret)?;
                set(&mut self.secret, secret, "x.secret")?;
            }
            "x.grove" => {
                let peer = value.parse()?;
                if self.peers.len() < MAX_OF_EACH && !self.peers.contains(&peer) {
                    self.peers.push(peer);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn take_hash(&mut self, topic: &str) -> Result<(), MagnetError> {
        let wrong = || MagnetError::Hash(topic.to_owned());
        let lower = topic.to_ascii_lowercase();
        if let Some(hash) = lower.strip_prefix("urn:btmh:") {
            // A multihash: 0x12 is SHA-256, 0x20 its length.
            let hash = hash
                .strip_prefix("1220")
                .and_then(|hash| hash.parse().ok())
                .ok_or_else(wrong)?;
            set(&mut self.info_hash, hash, "xt=urn:btmh:")
        } else if let Some(hash) = lower.strip_prefix("urn:btih:") {
            let mut bytes = [0; 20];
            match hash.len() {
                40 => hex::decode_to_slice(hash, &mut bytes).map_err(|_| wrong())?,
                32 => bytes = base32(hash).ok_or_else(wrong)?,
                _ => return Err(wrong()),
            }
            set(&mut self.info_hash_v1, bytes, "xt=urn:btih:")
        } else {
            Ok(()) // the topic of some other network
        }
    }
}

fn set<T: PartialEq>(place: &mut Option<T>, value: T, key: &'static str) -> Result<(), MagnetError> {
    match place {
        Some(held) if *held != value => Err(MagnetError::Twice(key)),
        _ => {
            *place = Some(value);
            Ok(())
        }
    }
}

fn push(list: &mut Vec<String>, value: &str) {
    if !value.is_empty() && list.len() < MAX_OF_EACH && list.iter().all(|known| known != value) {
        list.push(value.to_owned());
    }
}

/// 32 characters of RFC 4648 base 32 in lower case.
fn base32(text: &str) -> Option<[u8; 20]> {
    let mut bytes = Vec::with_capacity(20);
    let (mut bits, mut held) = (0_u32, 0);
    for digit in text.bytes() {
        let value = match digit {
            b'a'..=b'z' => digit - b'a',
            b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        bits = (bits << 5 | u32::from(value)) & 0xfff; // at most 7 bits wait for their byte
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes.try_into().ok()
}

/// What is left alone in a value: RFC 3986's unreserved characters, and those that a query may hold and that
/// make URLs readable.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'/');

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut link = String::new();
        let mut add = |key: &str, value: &str| write!(link, "&{key}={}", utf8_percent_encode(value, VALUE));
        if let Some(hash) = self.info_hash {
            add("xt", &format!("urn:btmh:1220{hash}"))?;
        }
        if let Some(hash) = self.info_hash_v1 {
            add("xt", &format!("urn:btih:{}", hex::encode(hash)))?;
        }
        if let Some(name) = &self.name {
            add("dn", name)?;
        }
        for (key, list) in [
            ("tr", &self.trackers),
            ("ws", &self.web_seeds),
            ("xs", &self.sources),
        ] {
            list.iter().try_for_each(|url| add(key, url))?;
        }
        if let Some(key) = self.publisher {
            add("x.pk", &key.to_string())?;
        }
        if let Some(secret) = self.secret {
            add("x.secret", &secret.to_hex())?;
        }
        self.peers
            .iter()
            .try_for_each(|peer| add("x.grove", &peer.to_string()))?;
        write!(f, "magnet:?{}", link.trim_start_matches('&'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V2: &str = "caf1e1c30e81cb361b9ee167c4aa64228a7fa4fa9f6105232b28ad099f3a302e";

    #[test]
    fn links_of_others_are_read() {
        let link = format!(
            "magnet:?xt=urn:btih:631a31dd0a46257d5078c0dee4e66e26f73e42ac&xt=urn:btmh:1220{V2}&dn=a+b%20c\
             &tr=http%3A%2F%2Ft.example%2Fannounce&tr.1=udp://u.example:1&so=0-2&xl=10&tr=&x.grove=%5B::1%5D:7"
        );
        let magnet: Magnet = link.parse().expect("a valid link");
        assert_eq!(magnet.info_hash, V2.parse().ok());
        assert_eq!(
            magnet.info_hash_v1.map(hex::encode).as_deref(),
            Some("631a31dd0a46257d5078c0dee4e66e26f73e42ac")
        );
        assert_eq!(magnet.name.as_deref(), Some("a b c"));
        assert_eq!(
            magnet.trackers,
            ["http://t.example/announce", "udp://u.example:1"]
        );
        assert_eq!(
            magnet.peers,
            [PeerAddress {
                host: "::1".into(),
                port: 7
            }]
        );
        let base32: Magnet = "magnet:?xt=urn:btih:MMNDDXIKIYSX2UDYYDPOJZTOE33T4QVM"
            .parse()
            .expect("base 32");
        assert_eq!(base32.info_hash_v1, magnet.info_hash_v1);
    }

    type Check = fn(&MagnetError) -> bool;

    #[test]
    fn what_is_wrong_is_named() {
        let btmh = format!("xt=urn:btmh:1220{V2}");
        let key = "x.pk=00".to_owned();
        let table: &[(String, Check)] = &[
            ("http://example.com".into(), |e| matches!(e, MagnetError::Scheme)),
            ("magnet".into(), |e| matches!(e, MagnetError::Scheme)),
            ("magnet:?".into(), |e| matches!(e, MagnetError::NoHash)),
            ("magnet:?dn=x".into(), |e| matches!(e, MagnetError::NoHash)),
            ("magnet:?xt=urn:sha1:abc".into(), |e| {
                matches!(e, MagnetError::NoHash)
            }),
            ("magnet:?xt=urn:btih:abc".into(), |e| {
                matches!(e, MagnetError::Hash(_))
            }),
            (format!("magnet:?xt=urn:btih:{}", "1".repeat(32)), |e| {
                matches!(e, MagnetError::Hash(_))
            }),
            (format!("magnet:?xt=urn:btih:{}", "g".repeat(40)), |e| {
                matches!(e, MagnetError::Hash(_))
            }),
            (format!("magnet:?xt=urn:btmh:1114{V2}"), |e| {
                matches!(e, MagnetError::Hash(_))
            }),
            (format!("magnet:?xt=urn:btmh:1220{}", &V2[1..]), |e| {
                matches!(e, MagnetError::Hash(_))
            }),
            (
                format!("magnet:?{btmh}&xt=urn:btmh:1220{}", "0".repeat(64)),
                |e| matches!(e, MagnetError::Twice(_)),
            ),
            (format!("magnet:?{btmh}&{key}"), |e| {
                matches!(e, MagnetError::Key(_))
            }),
            (format!("magnet:?{btmh}&x.grove=host"), |e| {
                matches!(e, MagnetError::Peer(_))
            }),
            (format!("magnet:?{btmh}&x.grove=host:0"), |e| {
                matches!(e, MagnetError::Peer(_))
            }),
            (format!("magnet:?{btmh}&x.grove=:80"), |e| {
                matches!(e, MagnetError::Peer(_))
            }),
            (format!("magnet:?{btmh}&x.grove=a b:80"), |e| {
                matches!(e, MagnetError::Peer(_))
            }),
            (format!("magnet:?{btmh}&x.grove=[host]:80"), |e| {
                matches!(e, MagnetError::Peer(_))
            }),
            (format!("magnet:?{btmh}&dn=%ff"), |e| {
                matches!(e, MagnetError::Encoding(_))
            }),
            (format!("magnet:?{btmh}&dn={}", "x".repeat(MAX_LENGTH)), |e| {
                matches!(e, MagnetError::TooLong)
            }),
        ];
        for (link, expected) in table {
            let error = link.parse::<Magnet>().expect_err(link);
            assert!(expected(&error), "{link}: {error:?}");
        }
    }

    fn urls() -> impl Strategy<Value = Vec<String>> {
        prop::collection::btree_set("[ -~äß]{1,20}", 0..3).prop_map(|urls| urls.into_iter().collect())
    }

    fn peers() -> impl Strategy<Value = Vec<PeerAddress>> {
        let host = prop_oneof![
            "[a-z0-9.-]{1,12}",
            any::<Ipv6Addr>().prop_map(|host| host.to_string())
        ];
        let peer = (host, 1..=u16::MAX).prop_map(|(host, port)| PeerAddress { host, port });
        prop::collection::vec(peer, 0..3).prop_map(|mut peers| {
            peers.dedup();
            peers
        })
    }

    prop_compose! {
        fn any_magnet()(
            v2: [u8; 32], v1: Option<[u8; 20]>, name in prop::option::of("[ -~äß]{1,20}"), trackers in urls(),
            web_seeds in urls(), sources in urls(), publisher: Option<[u8; 32]>, peers in peers(),
            secret in prop::option::of("[0-9a-f]{32}"),
        ) -> Magnet {
            Magnet {
                info_hash: Some(InfoHash(v2)), info_hash_v1: v1, name, trackers, web_seeds, sources,
                publisher: publisher.map(PublicKey::from_bytes), peers,
                secret: secret.and_then(|secret| secret.parse().ok()),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_written_reads_back(magnet in any_magnet()) {
            prop_assert_eq!(magnet.to_string().parse(), Ok(magnet));
        }

        #[test]
        fn rubbish_never_panics(link in "(magnet:\\?)?[xtdnrws.=:&%0-9a-f]{0,60}") {
            let _ = link.parse::<Magnet>();
        }
    }
}
