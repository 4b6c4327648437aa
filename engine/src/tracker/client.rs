//! Asks a tracker for peers: an HTTP one (BEP 3, 7, 23, 24) here, a UDP one in [`udp_client`](super::udp_client).
//!
//! A tracker that has IPv4 and IPv6 addresses is told over both, when we have both (BEP 7): it learns each address from
//! the connection alone. One answer is enough; the other is waited for a moment longer.
//!
//! Everything that comes back is bounded: the size of the answer, the number of peers, the intervals. When to
//! announce, and what to do after a failure, is for the caller to decide.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::Either;
use gate::{Family, Gate, StatusCode, Url};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::{Event, Key, PeerId};
use crate::bencode::{self, Limits, Value};

/// The largest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 256 * 1024;

/// The most peers that are taken from one answer.
pub const MAX_PEERS: usize = 200;

/// The shortest and the longest time between announces that a tracker can ask for.
pub const INTERVALS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(24 * 3600));

/// The time between announces when the tracker names none.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// The longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What is said to a tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// The swarm.
    pub key: Key,
    /// Our name in it, fresh for each process.
    pub peer_id: PeerId,
    /// The ports that we listen on over IPv4 and IPv6, 0 for none, never both. The tracker takes the address from the connection.
    pub ports: [u16; 2],
    /// Bytes sent to peers since `started`.
    pub uploaded: u64,
    /// Bytes received since `started`.
    pub downloaded: u64,
    /// Bytes still missing; 0 makes us a seed.
    pub left: u64,
    /// What happened, if anything did.
    pub event: Option<Event>,
    /// How many peers are wanted; 0 for none.
    pub numwant: u32,
    /// The tracker id of an earlier answer.
    pub tracker_id: Option<Vec<u8>>,
}

/// What a tracker answers.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AnnounceResponse {
    /// When to announce again, within [`INTERVALS`].
    pub interval: Duration,
    /// Not to announce sooner than this, not above `interval`.
    pub min_interval: Duration,
    /// Peers, ourselves perhaps among them; at most [`MAX_PEERS`].
    pub peers: Vec<SocketAddr>,
    /// Seeds in the swarm, as the tracker claims.
    pub complete: Option<u64>,
    /// Others in the swarm, as the tracker claims.
    pub incomplete: Option<u64>,
    /// To be sent with the next announce.
    pub tracker_id: Option<Vec<u8>>,
    /// Our address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// The UDP port of the tracker's QUIC endpoint, where peers meet ([`quic`](super::quic)).
    pub meeting: Option<u16>,
    /// The family over which it was said, when that is known: the endpoint is at that family's address.
    pub family: Option<Family>,
    /// Something that the tracker wants the person to know.
    pub warning: Option<String>,
}

impl AnnounceRequest {
    /// The port to name over a family: ours there, or else our only one.
    pub fn port(&self, family: Family) -> u16 {
        let [v4, v6] = self.ports;
        match (family, v4, v6) {
            (Family::V4, 0, other) | (Family::V6, other, 0) => other,
            (Family::V4, ours, _) | (Family::V6, _, ours) => ours,
        }
    }
}

/// Why an announce failed.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// Not a URL.
    #[error("the tracker {url:?} is not a URL: {source}")]
    Url {
        /// The text.
        url: String,
        /// Why.
        source: url::ParseError,
    },
    /// A URL that is not of a tracker.
    #[error("cannot announce to {0}: only http, https and udp (with a port) trackers are spoken to")]
    Scheme(String),
    /// The request failed, or its address is forbidden.
    #[error("announcing failed: {0}")]
    Request(#[from] gate::Error),
    /// A UDP tracker has no address of a family that we speak from.
    #[error("the tracker {url} has no address of a family that we have")]
    Family {
        /// The tracker.
        url: String,
    },
    /// A UDP socket failed.
    #[error("announcing to {url} failed: {source}")]
    Udp {
        /// The tracker.
        url: String,
        /// Why.
        source: std::io::Error,
    },
    /// A UDP tracker does not answer.
    #[error("the tracker {url} does not answer")]
    Silent {
        /// The tracker.
        url: String,
    },
    /// An HTTP status without an explanation.
    #[error("the tracker {url} answers {status}")]
    Status {
        /// The tracker.
        url: String,
        /// The status.
        status: StatusCode,
    },
    /// The tracker refuses, with its reason.
    #[error("the tracker {url} refuses: {reason}")]
    Refused {
        /// The tracker.
        url: String,
        /// Its words, at most 200 characters.
        reason: String,
    },
    /// The answer is not one.
    #[error("the answer of the tracker {url} is not valid: {why}")]
    Answer {
        /// The tracker.
        url: String,
        /// What is wrong.
        why: AnswerError,
    },
}

impl AnnounceError {
    /// Whether the tracker may answer another time: it was silent or in trouble, and did not refuse.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Request(error) => error.is_transient(),
            Self::Udp { .. } | Self::Silent { .. } | Self::Answer { .. } => true,
            Self::Status { status, .. } => gate::may_pass(*status),
            Self::Url { .. } | Self::Scheme(_) | Self::Family { .. } | Self::Refused { .. } => false,
        }
    }
}

/// What is wrong with a tracker's answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not bencoding. (Keys out of order are let pass here.)
    #[error(transparent)]
    Bencoding(#[from] bencode::Error),
    /// Not a dictionary.
    #[error("it is not a dictionary")]
    NotDictionary,
    /// `peers` or `peers6` is neither compact nor a list.
    #[error("`{0}` is broken")]
    Peers(&'static str),
    /// It says why it refuses.
    #[error("{0}")]
    Failure(String),
}

/// Announces once. The URL is that of the metainfo; its own query is kept.
pub async fn announce(
    gate: &Gate,
    url: &Url,
    request: &AnnounceRequest,
) -> Result<AnnounceResponse, AnnounceError> {
    if url.scheme() == "udp" {
        return super::udp_client::announce(gate, url, request, super::udp_client::Waits::default()).await;
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(AnnounceError::Scheme(gate::shown(url)));
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(AnnounceError::Scheme(gate::shown(url)));
    };
    let addresses = gate.resolve(host, port).await?;
    let to = |family| gate.speaks(family) && addresses.iter().any(|a| Family::of(a) == family);
    let (v4, v6) = (Family::V4, Family::V6);
    match (to(v4), to(v6)) {
        (true, true) if !request.ports.contains(&0) => {
            over_both(ask(gate, url, request, v4), ask(gate, url, request, v6)).await
        }
        (true, _) => ask(gate, url, request, v4).await,
        (false, true) => ask(gate, url, request, v6).await,
        // It is of no family that we were told to speak from.
        (false, false) => {
            let family = addresses.first().map_or(v4, Family::of);
            ask(gate, url, request, family).await
        }
    }
}

/// How much longer the one family is waited for, when the other has brought an answer.
const OTHER_FAMILY: Duration = Duration::from_secs(2);

/// What both families bring: the one answer with the peers of both. A family that fails, or is late, is left out.
pub(super) async fn over_both(
    one: impl Future<Output = Result<AnnounceResponse, AnnounceError>>,
    other: impl Future<Output = Result<AnnounceResponse, AnnounceError>>,
) -> Result<AnnounceResponse, AnnounceError> {
    let (one, other) = (Box::pin(one), Box::pin(other));
    let (first, rest) = match futures_util::future::select(one, other).await {
        Either::Left((first, rest)) => (first, Either::Left(rest)),
        Either::Right((first, rest)) => (first, Either::Right(rest)),
    };
    let Ok(mut answer) = first else {
        // What came first is the error to tell, when both fail.
        return rest.await.or(first);
    };
    if let Ok(Ok(more)) = tokio::time::timeout(OTHER_FAMILY, rest).await {
        let new = more.peers.into_iter().filter(|peer| !answer.peers.contains(peer));
        let new: Vec<SocketAddr> = new.collect();
        answer.peers.extend(new);
        if answer.meeting.is_none() || (more.meeting.is_some() && more.family == Some(Family::V4)) {
            // Routers that translate addresses are a matter of IPv4.
            (answer.meeting, answer.family) = (more.meeting, more.family);
        }
        answer.complete = answer.complete.max(more.complete);
        answer.incomplete = answer.incomplete.max(more.incomplete);
    }
    Ok(answer)
}

/// Announces once over HTTP, to addresses of one family.
async fn ask(
    gate: &Gate,
    url: &Url,
    request: &AnnounceRequest,
    family: Family,
) -> Result<AnnounceResponse, AnnounceError> {
    let response = gate
        .get(announce_url(url, request, family))
        .timeout(TIMEOUT)
        .over(family)
        .send()
        .await
        .map_err(gate::Error::without_path)?;
    let status = response.status();
    let body = response.bytes_limited(MAX_ANSWER as u64).await;
    let body = body.map_err(gate::Error::without_path)?;
    let parsed = parse_response(&body);
    // Announce URLs may hold a passkey in their query or path: errors name the host alone.
    let url = url.origin().ascii_serialization();
    match parsed {
        Err(AnswerError::Failure(reason)) => Err(AnnounceError::Refused { url, reason }),
        _ if !status.is_success() => Err(AnnounceError::Status { url, status }),
        Err(why) => Err(AnnounceError::Answer { url, why }),
        Ok(answer) => Ok(AnnounceResponse {
            family: Some(family),
            ..answer
        }),
    }
}

/// What percent-encoding leaves alone in a query: RFC 3986's unreserved characters.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The URL of an announce over this family: the tracker's with our query added.
pub fn announce_url(url: &Url, request: &AnnounceRequest, family: Family) -> Url {
    let mut query = url
        .query()
        .filter(|query| !query.is_empty())
        .map(|q| format!("{q}&"))
        .unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = write!(
        query,
        "info_hash={}&peer_id={}&port={}&uploaded={}&downloaded={}&left={}&compact=1&no_peer_id=1&numwant={}",
        percent_encode(&request.key, QUERY),
        percent_encode(&request.peer_id, QUERY),
        request.port(family),
        request.uploaded,
        request.downloaded,
        request.left,
        request.numwant,
    );
    if let Some(event) = request.event {
        let _ = write!(query, "&event={}", event.as_str());
    }
    if let Some(id) = &request.tracker_id {
        let _ = write!(query, "&trackerid={}", percent_encode(id, QUERY));
    }
    let mut url = url.clone();
    url.set_query(Some(&query));
    url
}

/// Reads an answer. Broken peers in a list are left out, and so are stray bytes after the whole entries of a compact one.
pub fn parse_response(body: &[u8]) -> Result<AnnounceResponse, AnswerError> {
    let limits = Limits {
        bytes: MAX_ANSWER,
        depth: 8,
        values: 100_000,
        ordered: false,
    };
    let answer = Value::parse_within(body.trim_ascii_end(), limits)?;
    if answer.dictionary().is_none() {
        return Err(AnswerError::NotDictionary);
    }
    let words = |key| {
        let bytes = answer.get(key).and_then(Value::bytes)?;
        let text = String::from_utf8_lossy(bytes);
        Some(
            text.chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect::<String>(),
        )
    };
    if let Some(reason) = words("failure reason") {
        return Err(AnswerError::Failure(reason));
    }

    let seconds = |key| {
        answer
            .get(key)
            .and_then(Value::integer)
            .and_then(|n| u64::try_from(n).ok())
    };
    let (shortest, longest) = INTERVALS;
    let interval = seconds("interval")
        .map_or(DEFAULT_INTERVAL, Duration::from_secs)
        .clamp(shortest, longest);
    let min_interval = seconds("min interval").map_or(shortest, Duration::from_secs);

    let mut peers = Vec::new();
    match answer.get("peers") {
        None => {}
        Some(value) => match (value.bytes(), value.list()) {
            (Some(compact), _) => compact_v4(compact, &mut peers),
            (_, Some(list)) => peers.extend(list.iter().filter_map(listed)),
            _ => return Err(AnswerError::Peers("peers")),
        },
    }
    if let Some(value) = answer.get("peers6") {
        compact_v6(value.bytes().ok_or(AnswerError::Peers("peers6"))?, &mut peers);
    }
    peers.retain(|peer| peer.port() != 0 && !peer.ip().is_unspecified() && !peer.ip().is_multicast());
    let mut seen = std::collections::HashSet::new();
    peers.retain(|peer| seen.insert(*peer));
    peers.truncate(MAX_PEERS);

    let external_ip = answer
        .get("external ip")
        .and_then(Value::bytes)
        .and_then(|bytes| match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        });
    Ok(AnnounceResponse {
        interval,
        min_interval: min_interval.clamp(shortest, interval),
        peers,
        complete: seconds("complete"),
        incomplete: seconds("incomplete"),
        tracker_id: answer
            .get("tracker id")
            .and_then(Value::bytes)
            .filter(|id| id.len() <= 256)
            .map(<[u8]>::to_vec),
        external_ip,
        family: None,
        meeting: seconds("grove quic")
            .and_then(|port| u16::try_from(port).ok())
            .filter(|&port| port != 0),
        warning: words("warning message"),
    })
}

fn compact_v4(bytes: &[u8], peers: &mut Vec<SocketAddr>) {
    peers.extend(
        entries::<6>("peers", bytes)
            .iter()
            .map(|[a, b, c, d, high, low]| {
                SocketAddr::from((Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*high, *low])))
            }),
    );
}

fn compact_v6(bytes: &[u8], peers: &mut Vec<SocketAddr>) {
    peers.extend(entries::<18>("peers6", bytes).iter().filter_map(|entry| {
        let (address, port) = entry.split_at(16);
        let address = Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?);
        Some(SocketAddr::from((
            address,
            u16::from_be_bytes(port.try_into().ok()?),
        )))
    }));
}

/// The whole entries of a compact list, as libtorrent reads it.
fn entries<'a, const SIZE: usize>(key: &str, bytes: &'a [u8]) -> &'a [[u8; SIZE]] {
    let (entries, stray) = bytes.as_chunks();
    if !stray.is_empty() {
        tracing::debug!("`{key}` of a tracker ends in {} stray bytes", stray.len());
    }
    entries
}

/// A peer of the older kind of list. Host names, which BEP 3 allows, would be a way around the address policy.
fn listed(peer: &Value<'_>) -> Option<SocketAddr> {
    let ip: IpAddr = peer.get("ip")?.text()?.parse().ok()?;
    let port = u16::try_from(peer.get("port")?.integer()?).ok()?;
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> AnnounceRequest {
        AnnounceRequest {
            key: std::array::from_fn(|i| i as u8 * 13),
            peer_id: *b"-GR0100-abcdefghijkl",
            ports: [6881, 6882],
            uploaded: 1,
            downloaded: 2,
            left: 3,
            event: Some(Event::Started),
            numwant: 50,
            tracker_id: Some(b"a b".to_vec()),
        }
    }

    #[test]
    fn the_query_is_standard_and_keeps_the_trackers_own() {
        let url = Url::parse("http://t.example/announce?passkey=x").expect("a URL");
        assert_eq!(
            announce_url(&url, &request(), Family::V4).as_str(),
            "http://t.example/announce?passkey=x&info_hash=%00%0D%1A%274AN%5Bhu%82%8F%9C%A9%B6%C3%D0%DD%EA%F7\
             &peer_id=-GR0100-abcdefghijkl&port=6881&uploaded=1&downloaded=2&left=3&compact=1&no_peer_id=1\
             &numwant=50&event=started&trackerid=a%20b"
        );
    }

    #[test]
    fn both_kinds_of_lists_are_read() {
        let compact = b"d8:completei2e10:incompletei3e8:intervali60e12:min intervali7e5:peers12:\x7f\0\0\x01\x1a\xe1\x7f\0\0\x01\0\0\
            6:peers618:\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe110:tracker id1:x15:warning message2:hie";
        let answer = parse_response(compact).expect("a valid answer");
        assert_eq!(
            answer.peers,
            ["127.0.0.1:6881".parse().unwrap(), "[::1]:6881".parse().unwrap()]
        );
        assert_eq!(
            (answer.interval, answer.min_interval),
            (Duration::from_secs(60), Duration::from_secs(7))
        );
        assert_eq!((answer.complete, answer.incomplete), (Some(2), Some(3)));
        assert_eq!(
            (answer.tracker_id, answer.warning),
            (Some(b"x".to_vec()), Some("hi".into()))
        );
        // Out of order, and with one peer under a host name.
        let list = b"d5:peersld2:ip9:127.0.0.14:porti80eed2:ip9:localhost4:porti80eee8:intervali1ee\n";
        let answer = parse_response(list).expect("a valid answer");
        assert_eq!(answer.peers, ["127.0.0.1:80".parse().unwrap()]);
        assert_eq!(answer.interval, INTERVALS.0, "never sooner than this");
    }

    #[test]
    fn of_a_list_that_is_cut_the_whole_entries_are_taken() {
        let answer = b"d5:peers9:\x7f\0\0\x01\x1a\xe1\x7f\0\x006:peers623:\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1\0\0\0\0\x01e";
        let answer = parse_response(answer).expect("a valid answer");
        assert_eq!(
            answer.peers,
            ["127.0.0.1:6881".parse().unwrap(), "[::1]:6881".parse().unwrap()]
        );
        let none = parse_response(b"d5:peers5:12345e").expect("a valid answer");
        assert_eq!(none.peers, []);
    }

    #[test]
    fn rubbish_is_named_and_everything_is_bounded() {
        use AnswerError::{Bencoding, Failure, NotDictionary, Peers};
        assert_eq!(
            parse_response(b"d14:failure reason4:nope!e")
                .map(|_| ())
                .map_err(|e| e.to_string()),
            Err("unexpected byte 0x21 at byte 24".into())
        );
        assert_eq!(
            parse_response(b"d14:failure reason4:nopee"),
            Err(Failure("nope".into()))
        );
        assert_eq!(parse_response(b"le"), Err(NotDictionary));
        assert_eq!(parse_response(b"d5:peersi1ee"), Err(Peers("peers")));
        assert_eq!(parse_response(b"d6:peers6i1ee"), Err(Peers("peers6")));
        assert!(matches!(parse_response(b"<html>"), Err(Bencoding(_))));
        let many: Vec<u8> = (0..1000_u16)
            .flat_map(|i| [10, 0, 0, 1].into_iter().chain((i + 1).to_be_bytes()))
            .collect();
        let answer = [b"d8:intervali99999999999e5:peers6000:", &many[..], b"e"].concat();
        let answer = parse_response(&answer).expect("a valid answer");
        assert_eq!(answer.peers.len(), MAX_PEERS);
        assert_eq!(answer.interval, INTERVALS.1);
    }
}
