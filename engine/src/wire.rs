//! The protocol between peers, `grove/1`, as bytes: a codec without any input or output.
//!
//! One QUIC connection joins two peers. The first byte of each bidirectional stream says what it is
//! ([`StreamKind`]): the *control* stream of one swarm, opened by the dialer, carries length-prefixed [`Message`]s
//! both ways, each side beginning with [`Hello`]; a *request* stream carries one [`Request`] and its reply
//! ([`ReplyHeader`], then the blocks). `PROTOCOL.md` describes it for those who write another client.
//!
//! Invariants: no length is believed before it is checked against its limit; nothing is allocated for bytes that did
//! not arrive; messages of unknown type and bytes after a known message's last field are skipped, so that later
//! versions can add. Integers are big-endian. Not here: whether a run lies inside the torrent (that is
//! [`crate::swarm::Layout`]), whether a hash is right (`merkle`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::swarm::{
    BlockIndex, BlockRun, Claim, FileIndex, MAX_RUN_BLOCKS, PieceIndex, RefuseReason, Urgency,
};

/// The ALPN of the protocol.
pub const ALPN: &[u8] = b"grove/1";
/// The version that [`Hello`] carries.
pub const VERSION: u16 = 1;
/// Most bytes of a control message, its type included and its length prefix not.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// Most bytes of a [`Hello`]: who has not said yet what it wants gets no more memory.
pub const MAX_HELLO: usize = 16 * 1024;
/// Most runs in one [`Message::Have`].
pub const MAX_HAVE_RUNS: usize = 16_384;
/// Most claims in one [`Message::Claims`].
pub const MAX_CLAIMS: usize = 4_096;
/// Most addresses in one [`Message::PeerExchange`].
pub const MAX_ADDRESSES: usize = 64;
/// Most extensions in a [`Hello`].
pub const MAX_EXTENSIONS: usize = 32;
/// Most bytes of an extension's name.
pub const MAX_EXTENSION_NAME: usize = 64;
/// Most bytes of an extension's value.
pub const MAX_EXTENSION_VALUE: usize = 4_096;
/// Most bytes of metadata in one [`Message::Metadata`].
pub const MAX_METADATA: usize = 64 * 1024;
/// Most bytes of a cue sheet.
pub const MAX_CUE_SHEET: usize = MAX_MESSAGE - 16;
/// Most uncle hashes in a reply: the height of the tallest tree.
pub const MAX_UNCLES: usize = 32;
/// Bytes of an encoded [`Request`], the stream's first byte not included.
pub const REQUEST_LEN: usize = 32 + 4 + 4 + 2 + 1 + 4;

const HASH: usize = 32;
const RUN: usize = 12;
const CLAIM: usize = 13;

/// Why bytes are not `grove/1`. The connection is to be closed: there is no way to go on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A length is above its limit.
    #[error("{what} of {got} exceeds the limit of {limit}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length.
        got: usize,
        /// Its limit.
        limit: usize,
    },
    /// A message ends before its last field.
    #[error("the message ends in the middle of {0}")]
    Truncated(&'static str),
    /// A field has a value that has no meaning.
    #[error("{what} cannot be {value}")]
    BadValue {
        /// Which field.
        what: &'static str,
        /// The value.
        value: u32,
    },
    /// Text that is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotText(&'static str),
}

/// What decoding brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<T> {
    /// A value, and how many bytes of the buffer it took.
    Value(T, usize),
    /// The buffer must hold at least this many bytes before it is worth trying again.
    NeedMore(usize),
}

/// The first byte of a bidirectional stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamKind {
    /// [`Message`]s of one swarm follow.
    Control = 0,
    /// One [`Request`] follows.
    Request = 1,
}

impl StreamKind {
    /// The kind of a stream that begins with this byte. Streams of an unknown kind are to be reset and ignored.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Control),
            1 => Some(Self::Request),
            _ => None,
        }
    }
}

/// The first message of each side on a control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// [`VERSION`]; a higher one speaks this one too.
    pub version: u16,
    /// The v2 info hash: which torrent this stream is about.
    pub swarm: [u8; 32],
    /// The UDP port where the sender takes connections; 0 when it takes none.
    pub listen_port: u16,
    /// The address from which the sender sees the receiver come.
    pub observed: Option<SocketAddr>,
    /// Name and value of what else the sender can do. Unknown ones are ignored.
    pub extensions: Vec<(String, Bytes)>,
}

/// Which metadata of a torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataKind {
    /// The bencoded info dictionary: its SHA-256 is the info hash.
    Info,
    /// The piece layer of a file (hashes of 32 bytes, BEP 52): it must lead to the file's root.
    PieceLayer(FileIndex),
}

/// A message of the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Who the sender is; first, and once.
    Hello(Hello),
    /// The sender holds these runs: all of them in its first `Have` messages, then what it gets. May be empty.
    Have(Vec<BlockRun>),
    /// Requests will be refused from now on. Each side begins choked.
    Choke,
    /// Requests are welcome.
    Unchoke,
    /// Addresses of other peers of the swarm that take connections.
    PeerExchange(Vec<SocketAddr>),
    /// Who draws which piece from the origin.
    Claims(Vec<Claim>),
    /// "The peer with this id, seen at this address, wants to reach you: dial it now."
    Dial {
        /// SHA-256 of its public key.
        peer: [u8; 32],
        /// Where it was seen.
        address: SocketAddr,
    },
    /// A newer signed cue sheet, as bencoded bytes; whether it counts is the receiver's judgement.
    CueSheet(Bytes),
    /// Send me metadata from `offset`, at most `length` bytes.
    MetadataRequest {
        /// Which.
        kind: MetadataKind,
        /// From which byte.
        offset: u32,
        /// How many bytes, at most [`MAX_METADATA`].
        length: u32,
    },
    /// Metadata, from `offset`; an empty `data` says that the sender has none.
    Metadata {
        /// Which.
        kind: MetadataKind,
        /// From which byte.
        offset: u32,
        /// Bytes of the whole.
        total: u32,
        /// The bytes.
        data: Bytes,
    },
    /// The sender of this holds all of the torrent, verified and safe on its disk; or, `noted`, has heard that from the
    /// receiver. For personal swarms, where the other side waits for it.
    Delivered {
        /// Whether this answers.
        noted: bool,
    },
    /// A type of a later version; to be ignored.
    Unknown(u8),
}

/// One run that is asked for. The reply comes on the same stream; STOP_SENDING withdraws it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The v2 info hash.
    pub swarm: [u8; 32],
    /// What: within one piece, at most [`MAX_RUN_BLOCKS`].
    pub run: BlockRun,
    /// How soon.
    pub urgency: Urgency,
    /// Until its first block is needed, in milliseconds on the wire; `None` without a deadline.
    pub slack: Option<Duration>,
}

/// Whether a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyStatus {
    /// Hashes and blocks follow.
    Ok,
    /// No, and why; the stream ends.
    Refused(RefuseReason),
    /// No: the swarm is not served here; the stream ends.
    UnknownSwarm,
}

/// What comes before the blocks of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyHeader {
    /// Whether blocks follow.
    pub status: ReplyStatus,
    /// The leaf hash of each block of the run, in order.
    pub leaves: Vec<[u8; 32]>,
    /// The hashes that lead from the run's leaves to the piece's hash (or to the file's root when the file is not
    /// longer than a piece): level by level from the leaves, on each level first the left one, then the right one,
    /// where the run's own nodes do not cover it. As `merkle` gives and takes them.
    pub uncles: Vec<[u8; 32]>,
}

impl ReplyHeader {
    /// A reply that says no.
    pub fn no(status: ReplyStatus) -> Self {
        Self {
            status,
            leaves: Vec::new(),
            uncles: Vec::new(),
        }
    }

    /// Appends the reply's first bytes. More than [`MAX_UNCLES`] uncles cannot be encoded.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(match self.status {
            ReplyStatus::Ok => 0,
            ReplyStatus::Refused(RefuseReason::Choked) => 1,
            ReplyStatus::Refused(RefuseReason::NotHeld) => 2,
            ReplyStatus::Refused(RefuseReason::Busy) => 3,
            ReplyStatus::Refused(RefuseReason::Invalid) => 4,
            ReplyStatus::UnknownSwarm => 5,
        });
        if self.status != ReplyStatus::Ok {
            return;
        }
        debug_assert!(self.uncles.len() <= MAX_UNCLES, "a tree has at most 32 levels");
        out.put_u8(self.uncles.len() as u8);
        for hash in self.leaves.iter().chain(&self.uncles) {
            out.put_slice(hash);
        }
    }

    /// Decodes the beginning of the reply to a request for `blocks` blocks.
    pub fn decode(buf: &[u8], blocks: u32) -> Result<Decoded<Self>, WireError> {
        let Some(&status) = buf.first() else {
            return Ok(Decoded::NeedMore(1));
        };
        let status = match status {
            0 => ReplyStatus::Ok,
            1 => ReplyStatus::Refused(RefuseReason::Choked),
            2 => ReplyStatus::Refused(RefuseReason::NotHeld),
            3 => ReplyStatus::Refused(RefuseReason::Busy),
            4 => ReplyStatus::Refused(RefuseReason::Invalid),
            5 => ReplyStatus::UnknownSwarm,
            value => {
                return Err(WireError::BadValue {
                    what: "reply status",
                    value: value.into(),
                });
            }
        };
        if status != ReplyStatus::Ok {
            return Ok(Decoded::Value(Self::no(status), 1));
        }
        check("blocks of a run", blocks as usize, MAX_RUN_BLOCKS as usize)?;
        let Some(&uncles) = buf.get(1) else {
            return Ok(Decoded::NeedMore(2 + blocks as usize * HASH));
        };
        check("uncle hashes", uncles as usize, MAX_UNCLES)?;
        let leaves_end = 2 + blocks as usize * HASH;
        let end = leaves_end + uncles as usize * HASH;
        if buf.len() < end {
            return Ok(Decoded::NeedMore(end));
        }
        let hashes = |bytes: &[u8]| bytes.as_chunks::<HASH>().0.to_vec();
        let (leaves, uncles) = (hashes(&buf[2..leaves_end]), hashes(&buf[leaves_end..end]));
        Ok(Decoded::Value(
            Self {
                status,
                leaves,
                uncles,
            },
            end,
        ))
    }
}

impl Request {
    /// Appends the request (without the stream's first byte).
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.swarm);
        out.put_u32(self.run.file.0);
        out.put_u32(self.run.first.0);
        out.put_u16(self.run.count as u16);
        out.put_u8(match self.urgency {
            Urgency::Urgent => 0,
            Urgency::Near => 1,
            Urgency::Far => 2,
        });
        let slack = self.slack.map(|s| {
            u32::try_from(s.as_millis())
                .unwrap_or(u32::MAX - 1)
                .min(u32::MAX - 1)
        });
        out.put_u32(slack.unwrap_or(u32::MAX));
    }

    /// Decodes a request (after the stream's first byte).
    pub fn decode(buf: &[u8]) -> Result<Decoded<Self>, WireError> {
        if buf.len() < REQUEST_LEN {
            return Ok(Decoded::NeedMore(REQUEST_LEN));
        }
        let mut fields = Fields(&buf[..REQUEST_LEN]);
        let swarm = fields.array("info hash")?;
        let (file, first) = (fields.u32("file")?, fields.u32("first block")?);
        let count = u32::from(fields.u16("number of blocks")?);
        check("blocks of a run", count as usize, MAX_RUN_BLOCKS as usize)?;
        let run = run_of(file, first, count)?;
        let urgency = match fields.u8("urgency")? {
            0 => Urgency::Urgent,
            1 => Urgency::Near,
            2 => Urgency::Far,
            value => {
                return Err(WireError::BadValue {
                    what: "urgency",
                    value: value.into(),
                });
            }
        };
        let slack = match fields.u32("slack")? {
            u32::MAX => None,
            ms => Some(Duration::from_millis(ms.into())),
        };
        Ok(Decoded::Value(
            Self {
                swarm,
                run,
                urgency,
                slack,
            },
            REQUEST_LEN,
        ))
    }
}

const HELLO: u8 = 0;
const HAVE: u8 = 1;
const CHOKE: u8 = 2;
const UNCHOKE: u8 = 3;
const PEER_EXCHANGE: u8 = 4;
const CLAIMS: u8 = 5;
const DIAL: u8 = 6;
const CUE_SHEET: u8 = 7;
const METADATA_REQUEST: u8 = 8;
const METADATA: u8 = 9;
const DELIVERED: u8 = 10;

impl Message {
    /// The messages that tell these runs, each within [`MAX_HAVE_RUNS`]; one empty message for no runs.
    pub fn haves(runs: &[BlockRun]) -> Vec<Self> {
        if runs.is_empty() {
            return vec![Self::Have(Vec::new())];
        }
        runs.chunks(MAX_HAVE_RUNS)
            .map(|part| Self::Have(part.to_vec()))
            .collect()
    }

    /// The messages that tell these claims, each within [`MAX_CLAIMS`].
    pub fn claims(claims: &[Claim]) -> Vec<Self> {
        claims
            .chunks(MAX_CLAIMS)
            .map(|part| Self::Claims(part.to_vec()))
            .collect()
    }

    /// Appends the message with its length prefix. An error names what is longer than a receiver takes; nothing is
    /// appended then.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let mut body = BytesMut::new();
        self.encode_body(&mut body)?;
        check_length(body.len(), body.first())?;
        out.put_u32(body.len() as u32);
        out.put_slice(&body);
        Ok(())
    }

    fn encode_body(&self, out: &mut BytesMut) -> Result<(), WireError> {
        match self {
            Self::Hello(hello) => {
                check("extensions", hello.extensions.len(), MAX_EXTENSIONS)?;
                out.put_u8(HELLO);
                out.put_u16(hello.version);
                out.put_slice(&hello.swarm);
                out.put_u16(hello.listen_port);
                match hello.observed {
                    Some(address) => put_address(out, address),
                    None => out.put_u8(0),
                }
                out.put_u8(hello.extensions.len() as u8);
                for (name, value) in &hello.extensions {
                    check("extension name", name.len(), MAX_EXTENSION_NAME)?;
                    check("extension value", value.len(), MAX_EXTENSION_VALUE)?;
                    out.put_u8(name.len() as u8);
                    out.put_slice(name.as_bytes());
                    out.put_u16(value.len() as u16);
                    out.put_slice(value);
                }
            }
            Self::Have(runs) => {
                check("runs of haves", runs.len(), MAX_HAVE_RUNS)?;
                out.put_u8(HAVE);
                for run in runs {
                    out.put_u32(run.file.0);
                    out.put_u32(run.first.0);
                    out.put_u32(run.count);
                }
            }
            Self::Choke => out.put_u8(CHOKE),
            Self::Unchoke => out.put_u8(UNCHOKE),
            Self::PeerExchange(addresses) => {
                check("addresses", addresses.len(), MAX_ADDRESSES)?;
                out.put_u8(PEER_EXCHANGE);
                out.put_u8(addresses.len() as u8);
                for &address in addresses {
                    put_address(out, address);
                }
            }
            Self::Claims(claims) => {
                check("claims", claims.len(), MAX_CLAIMS)?;
                out.put_u8(CLAIMS);
                for claim in claims {
                    out.put_u32(claim.piece.0);
                    out.put_u64(claim.claimer);
                    out.put_u8(u8::from(claim.forwarded) | u8::from(claim.retracted) << 1);
                }
            }
            Self::Dial { peer, address } => {
                out.put_u8(DIAL);
                out.put_slice(peer);
                put_address(out, *address);
            }
            Self::CueSheet(bytes) => {
                check("cue sheet", bytes.len(), MAX_CUE_SHEET)?;
                out.put_u8(CUE_SHEET);
                out.put_u32(bytes.len() as u32);
                out.put_slice(bytes);
            }
            Self::MetadataRequest { kind, offset, length } => {
                check("metadata", *length as usize, MAX_METADATA)?;
                out.put_u8(METADATA_REQUEST);
                put_kind(out, *kind);
                out.put_u32(*offset);
                out.put_u32(*length);
            }
            Self::Metadata {
                kind,
                offset,
                total,
                data,
            } => {
                check("metadata", data.len(), MAX_METADATA)?;
                out.put_u8(METADATA);
                put_kind(out, *kind);
                out.put_u32(*offset);
                out.put_u32(*total);
                out.put_u32(data.len() as u32);
                out.put_slice(data);
            }
            Self::Delivered { noted } => {
                out.put_u8(DELIVERED);
                out.put_u8(u8::from(*noted));
            }
            Self::Unknown(kind) => out.put_u8(*kind),
        }
        Ok(())
    }

    /// Decodes the message at the beginning of the buffer.
    pub fn decode(buf: &[u8]) -> Result<Decoded<Self>, WireError> {
        let Some((prefix, rest)) = buf.split_first_chunk::<4>() else {
            return Ok(Decoded::NeedMore(4));
        };
        let length = u32::from_be_bytes(*prefix) as usize;
        check_length(length, rest.first())?;
        let Some(body) = rest.get(..length) else {
            return Ok(Decoded::NeedMore(4 + length));
        };
        Ok(Decoded::Value(Self::decode_body(body)?, 4 + length))
    }

    /// Decodes the first message of a stream, which is a hello or nothing; said as soon as its type and length are here.
    pub fn decode_hello(buf: &[u8]) -> Result<Decoded<Hello>, WireError> {
        if let Some(&kind) = buf.get(4).filter(|kind| **kind != HELLO) {
            return Err(WireError::BadValue {
                what: "the type of the first message",
                value: kind.into(),
            });
        }
        match Self::decode(buf)? {
            Decoded::Value(Self::Hello(hello), used) => Ok(Decoded::Value(hello, used)),
            Decoded::NeedMore(bytes) => Ok(Decoded::NeedMore(bytes)),
            Decoded::Value(..) => Err(WireError::Truncated("hello")),
        }
    }

    fn decode_body(body: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields(body);
        Ok(match fields.u8("message type")? {
            HELLO => {
                let version = fields.u16("version")?;
                let swarm = fields.array("info hash")?;
                let listen_port = fields.u16("listen port")?;
                let observed = fields.address()?;
                let count = fields.u8("number of extensions")? as usize;
                check("extensions", count, MAX_EXTENSIONS)?;
                let mut extensions = Vec::new();
                for _ in 0..count {
                    let length = fields.u8("length of an extension's name")? as usize;
                    check("extension name", length, MAX_EXTENSION_NAME)?;
                    let name = std::str::from_utf8(fields.bytes(length, "extension name")?)
                        .map_err(|_| WireError::NotText("extension name"))?
                        .to_owned();
                    let length = fields.u16("length of an extension's value")? as usize;
                    check("extension value", length, MAX_EXTENSION_VALUE)?;
                    let value = Bytes::copy_from_slice(fields.bytes(length, "extension value")?);
                    extensions.push((name, value));
                }
                Self::Hello(Hello {
                    version,
                    swarm,
                    listen_port,
                    observed,
                    extensions,
                })
            }
            HAVE => {
                check("runs of haves", fields.0.len() / RUN, MAX_HAVE_RUNS)?;
                let mut runs = Vec::with_capacity(fields.0.len() / RUN);
                while !fields.0.is_empty() {
                    let (file, first) = (fields.u32("file")?, fields.u32("first block")?);
                    let count = fields.u32("number of blocks")?;
                    runs.push(run_of(file, first, count)?);
                }
                Self::Have(runs)
            }
            CHOKE => Self::Choke,
            UNCHOKE => Self::Unchoke,
            PEER_EXCHANGE => {
                let count = fields.u8("number of addresses")? as usize;
                check("addresses", count, MAX_ADDRESSES)?;
                let mut addresses = Vec::new();
                for _ in 0..count {
                    addresses.extend(fields.address()?);
                }
                Self::PeerExchange(addresses)
            }
            CLAIMS => {
                check("claims", fields.0.len() / CLAIM, MAX_CLAIMS)?;
                let mut claims = Vec::with_capacity(fields.0.len() / CLAIM);
                while !fields.0.is_empty() {
                    let piece = PieceIndex(fields.u32("piece")?);
                    let claimer = fields.u64("claimer")?;
                    let flags = fields.u8("flags of a claim")?;
                    let (forwarded, retracted) = (flags & 1 != 0, flags & 2 != 0);
                    claims.push(Claim {
                        piece,
                        claimer,
                        forwarded,
                        retracted,
                    });
                }
                Self::Claims(claims)
            }
            DIAL => {
                let peer = fields.array("peer id")?;
                let address = fields.address()?;
                let address = address.ok_or(WireError::BadValue {
                    what: "address to dial",
                    value: 0,
                })?;
                Self::Dial { peer, address }
            }
            CUE_SHEET => {
                let length = fields.u32("length of the cue sheet")? as usize;
                check("cue sheet", length, MAX_CUE_SHEET)?;
                Self::CueSheet(Bytes::copy_from_slice(fields.bytes(length, "cue sheet")?))
            }
            METADATA_REQUEST => {
                let kind = fields.kind()?;
                let offset = fields.u32("offset")?;
                let length = fields.u32("length")?;
                check("metadata", length as usize, MAX_METADATA)?;
                Self::MetadataRequest { kind, offset, length }
            }
            METADATA => {
                let kind = fields.kind()?;
                let offset = fields.u32("offset")?;
                let total = fields.u32("total")?;
                let length = fields.u32("length of the metadata")? as usize;
                check("metadata", length, MAX_METADATA)?;
                let data = Bytes::copy_from_slice(fields.bytes(length, "metadata")?);
                Self::Metadata {
                    kind,
                    offset,
                    total,
                    data,
                }
            }
            DELIVERED => Self::Delivered {
                noted: fields.u8("whether it is noted")? != 0,
            },
            kind => Self::Unknown(kind),
        })
    }
}

fn check(what: &'static str, got: usize, limit: usize) -> Result<(), WireError> {
    if got > limit {
        Err(WireError::TooLong { what, got, limit })
    } else {
        Ok(())
    }
}

/// 4 or 6, the address, the port; 0 alone stands for none.
fn put_address(out: &mut BytesMut, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.put_u8(4);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_u8(6);
            out.put_slice(&ip.octets());
        }
    }
    out.put_u16(address.port());
}

fn put_kind(out: &mut BytesMut, kind: MetadataKind) {
    match kind {
        MetadataKind::Info => {
            out.put_u8(0);
            out.put_u32(0);
        }
        MetadataKind::PieceLayer(file) => {
            out.put_u8(1);
            out.put_u32(file.0);
        }
    }
}

/// What is left of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(WireError::Truncated(what))?;
        self.0 = tail;
        Ok(head)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        Ok(self.bytes(1, what)?.get_u8())
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, WireError> {
        Ok(self.bytes(2, what)?.get_u16())
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        Ok(self.bytes(4, what)?.get_u32())
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        Ok(self.bytes(8, what)?.get_u64())
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(WireError::Truncated(what))?;
        self.0 = tail;
        Ok(*head)
    }

    fn address(&mut self) -> Result<Option<SocketAddr>, WireError> {
        let ip: IpAddr = match self.u8("kind of address")? {
            0 => return Ok(None),
            4 => Ipv4Addr::from(self.array::<4>("IPv4 address")?).into(),
            6 => Ipv6Addr::from(self.array::<16>("IPv6 address")?).into(),
            value => {
                return Err(WireError::BadValue {
                    what: "kind of address",
                    value: value.into(),
                });
            }
        };
        Ok(Some(SocketAddr::new(ip, self.u16("port")?)))
    }

    fn kind(&mut self) -> Result<MetadataKind, WireError> {
        let kind = self.u8("kind of metadata")?;
        let file = FileIndex(self.u32("file")?);
        match kind {
            0 => Ok(MetadataKind::Info),
            1 => Ok(MetadataKind::PieceLayer(file)),
            value => Err(WireError::BadValue {
                what: "kind of metadata",
                value: value.into(),
            }),
        }
    }
}

/// Whether a message of this type may have so many bytes; when the type is not here yet, any message.
fn check_length(length: usize, kind: Option<&u8>) -> Result<(), WireError> {
    match kind {
        Some(&HELLO) => check("hello", length, MAX_HELLO),
        _ => check("message", length, MAX_MESSAGE),
    }
}

/// A run is never empty and never ends above the largest index.
fn run_of(file: u32, first: u32, count: u32) -> Result<BlockRun, WireError> {
    if count == 0 || first.checked_add(count).is_none() {
        return Err(WireError::BadValue {
            what: "number of blocks",
            value: count,
        });
    }
    Ok(BlockRun {
        file: FileIndex(file),
        first: BlockIndex(first),
        count,
    })
}

#[cfg(test)]
mod tests;
