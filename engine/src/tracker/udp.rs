//! The packets of UDP trackers (BEP 15, BEP 41) as bytes, for both sides. Pure.
//!
//! Integers are big-endian. Addresses in an answer are of the family of the packet that carries it. Nothing is
//! allocated beyond what arrived.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::table::Counts;
use super::{Event, Key, PeerId};

/// What a connect request begins with.
const MAGIC: u64 = 0x0417_2710_1980;
const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;
/// Swarms in one scrape (BEP 15).
pub const MAX_SCRAPE: usize = 74;
/// The longest packet that is sent or read: it fits the smallest path of IPv6 and of QUIC.
pub const MAX_PACKET: usize = 1_232;
/// Most bytes of the URL's path and query that are sent, in options of 255 bytes (BEP 41): so many fit a packet.
pub const MAX_PATH: usize = 1_024;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// "Give me a connection id", which proves that I am at my address.
    Connect {
        /// Comes back in the answer.
        transaction: u32,
    },
    /// An announce.
    Announce {
        /// From the answer to a connect request.
        connection: u64,
        /// Comes back in the answer.
        transaction: u32,
        /// What is said.
        announce: Announce,
    },
    /// "How large are these swarms?"
    Scrape {
        /// From the answer to a connect request.
        connection: u64,
        /// Comes back in the answer.
        transaction: u32,
        /// The swarms, at most [`MAX_SCRAPE`].
        keys: Vec<Key>,
    },
}

/// What an announce says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// The swarm.
    pub key: Key,
    /// The peer's name.
    pub peer_id: PeerId,
    /// Bytes received.
    pub downloaded: u64,
    /// Bytes missing.
    pub left: u64,
    /// Bytes sent.
    pub uploaded: u64,
    /// What happened.
    pub event: Option<Event>,
    /// An IPv4 address to use instead of the sender's; 0 is the sender's.
    pub ip: u32,
    /// Random, the same for this client's announces: tells it from others when its address changes.
    pub key_of_client: u32,
    /// Peers wanted; −1 is the tracker's choice.
    pub numwant: i32,
    /// Where the peer listens.
    pub port: u16,
    /// Path and query of the tracker's URL (BEP 41), which may hold a passkey.
    pub path: String,
}

/// What a tracker sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A connection id.
    Connect {
        /// Of the request.
        transaction: u32,
        /// To be used for at most a minute.
        connection: u64,
    },
    /// To an announce.
    Announce {
        /// Of the request.
        transaction: u32,
        /// Seconds until the next.
        interval: u32,
        /// Others in the swarm.
        leechers: u32,
        /// Seeds in the swarm.
        seeders: u32,
        /// Peers.
        peers: Vec<SocketAddr>,
    },
    /// To a scrape, in the order of its keys.
    Scrape {
        /// Of the request.
        transaction: u32,
        /// One for each key.
        counts: Vec<Counts>,
    },
    /// No, and why.
    Error {
        /// Of the request.
        transaction: u32,
        /// The reason.
        reason: String,
    },
}

/// A packet that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {0} bytes is no answer of a UDP tracker")]
pub struct BrokenPacket(pub usize);

/// Takes fields off the front of a packet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }
}

impl Request {
    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        let head = |out: &mut Vec<u8>, connection: u64, action: u32, transaction: u32| {
            out.extend(connection.to_be_bytes());
            out.extend(action.to_be_bytes());
            out.extend(transaction.to_be_bytes());
        };
        match self {
            Self::Connect { transaction } => head(&mut out, MAGIC, CONNECT, *transaction),
            Self::Announce {
                connection,
                transaction,
                announce,
            } => {
                head(&mut out, *connection, ANNOUNCE, *transaction);
                out.extend(announce.key);
                out.extend(announce.peer_id);
                for number in [announce.downloaded, announce.left, announce.uploaded] {
                    out.extend(number.to_be_bytes());
                }
                let event: u32 = match announce.event {
                    None => 0,
                    Some(Event::Completed) => 1,
                    Some(Event::Started) => 2,
                    Some(Event::Stopped) => 3,
                };
                for number in [event, announce.ip, announce.key_of_client] {
                    out.extend(number.to_be_bytes());
                }
                out.extend(announce.numwant.to_be_bytes());
                out.extend(announce.port.to_be_bytes());
                let path = &announce.path.as_bytes()[..announce.path.len().min(MAX_PATH)];
                for part in path.chunks(u8::MAX.into()) {
                    out.extend([2, part.len() as u8]);
                    out.extend(part);
                }
            }
            Self::Scrape {
                connection,
                transaction,
                keys,
            } => {
                head(&mut out, *connection, SCRAPE, *transaction);
                keys.iter().take(MAX_SCRAPE).for_each(|key| out.extend(key));
            }
        }
        out
    }

    /// Reads a packet; `None` when it is no request.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let mut fields = Fields(packet);
        let (connection, action, transaction) = (fields.u64()?, fields.u32()?, fields.u32()?);
        match action {
            CONNECT => (connection == MAGIC).then_some(Self::Connect { transaction }),
            ANNOUNCE => {
                let (key, peer_id) = (fields.take()?, fields.take()?);
                let (downloaded, left, uploaded) = (fields.u64()?, fields.u64()?, fields.u64()?);
                let event = match fields.u32()? {
                    1 => Some(Event::Completed),
                    2 => Some(Event::Started),
                    3 => Some(Event::Stopped),
                    _ => None,
                };
                let (ip, key_of_client) = (fields.u32()?, fields.u32()?);
                let numwant = fields.u32()?.cast_signed();
                let port = fields.u16()?;
                Some(Self::Announce {
                    connection,
                    transaction,
                    announce: Announce {
                        key,
                        peer_id,
                        downloaded,
                        left,
                        uploaded,
                        event,
                        ip,
                        key_of_client,
                        numwant,
                        port,
                        path: path(&mut fields),
                    },
                })
            }
            SCRAPE => {
                let (keys, _) = fields.0.as_chunks();
                let keys = keys[..keys.len().min(MAX_SCRAPE)].to_vec();
                Some(Self::Scrape {
                    connection,
                    transaction,
                    keys,
                })
            }
            _ => None,
        }
    }
}

/// The options of BEP 41: what is broken or unknown ends them.
fn path(fields: &mut Fields<'_>) -> String {
    let mut path = Vec::new();
    while let Some([kind]) = fields.take() {
        match kind {
            1 => {}
            2 => {
                let part = fields.take().and_then(|[len]| fields.bytes(len.into()));
                let Some(part) = part else { break };
                path.extend(part);
            }
            _ => break,
        }
    }
    String::from_utf8_lossy(&path).into_owned()
}

impl Answer {
    /// The packet for a client of this family, never above [`MAX_PACKET`]: peers that do not fit are left out.
    pub fn encode(&self, to_v4: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let head = |out: &mut Vec<u8>, action: u32, transaction: u32| {
            out.extend(action.to_be_bytes());
            out.extend(transaction.to_be_bytes());
        };
        match self {
            Self::Connect {
                transaction,
                connection,
            } => {
                head(&mut out, CONNECT, *transaction);
                out.extend(connection.to_be_bytes());
            }
            Self::Announce {
                transaction,
                interval,
                leechers,
                seeders,
                peers,
            } => {
                head(&mut out, ANNOUNCE, *transaction);
                for number in [interval, leechers, seeders] {
                    out.extend(number.to_be_bytes());
                }
                for peer in peers {
                    let before = out.len();
                    match peer.ip() {
                        IpAddr::V4(ip) if to_v4 => out.extend(ip.octets()),
                        IpAddr::V6(ip) if !to_v4 => out.extend(ip.octets()),
                        _ => continue,
                    }
                    out.extend(peer.port().to_be_bytes());
                    if out.len() > MAX_PACKET {
                        out.truncate(before);
                        break;
                    }
                }
            }
            Self::Scrape { transaction, counts } => {
                head(&mut out, SCRAPE, *transaction);
                for count in counts.iter().take(MAX_SCRAPE) {
                    let numbers = [count.complete as u64, count.downloaded, count.incomplete as u64];
                    for number in numbers {
                        out.extend(u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
                    }
                }
            }
            Self::Error { transaction, reason } => {
                head(&mut out, ERROR, *transaction);
                out.extend(reason.as_bytes());
            }
        }
        out
    }

    /// Reads a packet that came from a tracker of this family.
    pub fn decode(packet: &[u8], from_v4: bool) -> Result<Self, BrokenPacket> {
        Self::fields(packet, from_v4).ok_or(BrokenPacket(packet.len()))
    }

    fn fields(packet: &[u8], from_v4: bool) -> Option<Self> {
        let mut fields = Fields(packet);
        let (action, transaction) = (fields.u32()?, fields.u32()?);
        match action {
            CONNECT => Some(Self::Connect {
                transaction,
                connection: fields.u64()?,
            }),
            ANNOUNCE => {
                let (interval, leechers, seeders) = (fields.u32()?, fields.u32()?, fields.u32()?);
                let mut peers = Vec::new();
                loop {
                    let ip = if from_v4 {
                        fields.take().map(|ip: [u8; 4]| IpAddr::V4(Ipv4Addr::from(ip)))
                    } else {
                        fields.take().map(|ip: [u8; 16]| IpAddr::V6(Ipv6Addr::from(ip)))
                    };
                    let Some((ip, port)) = ip.zip(fields.u16()) else {
                        break;
                    };
                    peers.push(SocketAddr::new(ip, port));
                }
                Some(Self::Announce {
                    transaction,
                    interval,
                    leechers,
                    seeders,
                    peers,
                })
            }
            SCRAPE => {
                let mut counts = Vec::new();
                while counts.len() < MAX_SCRAPE
                    && let (Some(complete), Some(downloaded), Some(incomplete)) =
                        (fields.u32(), fields.u32(), fields.u32())
                {
                    counts.push(Counts {
                        complete: complete as usize,
                        incomplete: incomplete as usize,
                        downloaded: downloaded.into(),
                    });
                }
                Some(Self::Scrape { transaction, counts })
            }
            ERROR => Some(Self::Error {
                transaction,
                reason: String::from_utf8_lossy(fields.0)
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(200)
                    .collect(),
            }),
            _ => None,
        }
    }

    /// Which request it answers.
    pub fn transaction(&self) -> u32 {
        match self {
            Self::Connect { transaction, .. }
            | Self::Announce { transaction, .. }
            | Self::Scrape { transaction, .. }
            | Self::Error { transaction, .. } => *transaction,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn announce() -> Announce {
        Announce {
            key: [1; 20],
            peer_id: [2; 20],
            downloaded: 3,
            left: 4,
            uploaded: 5,
            event: Some(Event::Started),
            ip: 0,
            key_of_client: 6,
            numwant: -1,
            port: 6881,
            path: "/announce?passkey=x".into(),
        }
    }

    #[test]
    fn packets_are_those_of_bep_15() {
        let connect = Request::Connect { transaction: 7 };
        assert_eq!(hex::encode(connect.encode()), "00000417271019800000000000000007");
        let request = Request::Announce {
            connection: 8,
            transaction: 9,
            announce: announce(),
        };
        let bytes = request.encode();
        assert_eq!(bytes.len(), 98 + 2 + 19);
        assert_eq!(bytes[80..84], [0, 0, 0, 2], "the event stands at byte 80");
        assert_eq!(bytes[92..98], [0xff, 0xff, 0xff, 0xff, 0x1a, 0xe1]);
        assert_eq!(Request::decode(&bytes), Some(request));
        let long = Request::Announce {
            connection: 8,
            transaction: 9,
            announce: Announce {
                path: "/announce?passkey=".chars().cycle().take(MAX_PATH).collect(),
                ..announce()
            },
        };
        let bytes = long.encode();
        assert!(bytes.len() <= MAX_PACKET, "{}", bytes.len());
        assert_eq!(bytes[98..100], [2, 255]);
        assert_eq!(
            Request::decode(&bytes),
            Some(long),
            "no part of a passkey is lost"
        );
        let answer = hex::decode("00000001000000090000070800000001000000027f0000011ae1").unwrap();
        assert_eq!(
            Answer::decode(&answer, true),
            Ok(Answer::Announce {
                transaction: 9,
                interval: 1800,
                leechers: 1,
                seeders: 2,
                peers: vec!["127.0.0.1:6881".parse().unwrap()],
            })
        );
    }

    #[test]
    fn no_more_is_taken_of_a_scrape_than_can_be_asked() {
        let counts = vec![Counts::default(); 2 * MAX_SCRAPE];
        let mut bytes = Answer::Scrape {
            transaction: 1,
            counts,
        }
        .encode(true);
        assert_eq!(bytes.len(), 8 + 12 * MAX_SCRAPE);
        bytes.extend([0; 120]);
        let Ok(Answer::Scrape { counts, .. }) = Answer::decode(&bytes, true) else {
            panic!("it is a scrape")
        };
        assert_eq!(counts.len(), MAX_SCRAPE);
    }

    #[test]
    fn an_answer_fits_a_packet_and_its_family() {
        let peers = (0..2000_u16).map(|n| SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 1)));
        let v6: SocketAddr = "[2001:db8::1]:2".parse().unwrap();
        let answer = Answer::Announce {
            transaction: 1,
            interval: 2,
            leechers: 3,
            seeders: 4,
            peers: peers.chain([v6]).collect(),
        };
        let bytes = answer.encode(true);
        assert!(bytes.len() <= MAX_PACKET && bytes.len() > MAX_PACKET - 6);
        assert_eq!(answer.encode(false).len(), 20 + 18);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), v4 in any::<bool>(), action in 0u8..5) {
            let _ = Request::decode(&bytes);
            let _ = Answer::decode(&bytes, v4);
            let mut known = vec![0, 0, 0, action];
            known.extend(&bytes);
            if let Ok(answer) = Answer::decode(&known, v4) {
                prop_assert_eq!(Answer::decode(&answer.encode(v4), v4), Ok(answer));
            }
        }
    }
}
