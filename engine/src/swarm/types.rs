//! The vocabulary of the swarm core: addresses, inputs, outputs, settings.
//!
//! Plain data only; what is done with it is in the other files of this folder. Every time is a monotonic [`Instant`]
//! that the caller passes in, every rate is bytes a second, every size is bytes unless its name says blocks.

use std::time::{Duration, Instant};

use crate::cue_sheet::Budget;

/// Bytes in a block: the leaf of the BEP 52 tree, and the unit in which data is verified, held and relayed.
pub const BLOCK_SIZE: u32 = 16_384;

/// Most blocks that one request to a peer may ask for (1 MiB).
pub const MAX_RUN_BLOCKS: u32 = 64;

/// A file of the torrent, in the order of the metainfo's file tree. Single-file torrents have only file 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileIndex(pub u32);

/// A 16 KiB block, counted from the beginning of its file. The last block of a file may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BlockIndex(pub u32);

/// A piece, counted through the whole torrent: each file begins a new piece (BEP 52).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PieceIndex(pub u32);

/// The driver's handle for one connected peer. Chosen by the driver, never reused within one [`super::Swarm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub u64);

/// Who a peer is: SHA-256 of its public key. The origin duty ranks viewers by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 32]);

/// A request of ours to a peer; chosen by the core, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A request of a peer to us; chosen by the driver, unique within one [`super::Swarm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(pub u64);

/// A range that is fetched from the origin; chosen by the core, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// Someone who reads the content here; chosen by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderId(pub u64);

/// Consecutive blocks of one file.
///
/// In requests between peers a run never crosses a piece border and has at most [`MAX_RUN_BLOCKS`]; in haves, in
/// [`Input::Verified`] and in origin fetches it may be as long as the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockRun {
    /// The file.
    pub file: FileIndex,
    /// The first block.
    pub first: BlockIndex,
    /// How many blocks, at least 1.
    pub count: u32,
}

impl BlockRun {
    /// A run of `count` blocks of `file` from `first`.
    pub fn new(file: u32, first: u32, count: u32) -> Self {
        Self {
            file: FileIndex(file),
            first: BlockIndex(first),
            count,
        }
    }
}

/// Where verified blocks came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// They were in the store already.
    Disk,
    /// This peer sent them.
    Peer(Peer),
    /// The web server sent them.
    Origin,
}

/// How soon a run is needed; an uploader serves urgent before near before far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// A reader needs it within about 5 s, or for its start.
    Urgent,
    /// A reader will need it within about a minute.
    Near,
    /// Wanted, with no time named.
    Far,
}

/// What a reader expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// It reads in order as fast as data comes (a download): a hint for the order, no deadlines.
    Whenever,
    /// It plays: the byte at `position + n` is needed n ÷ `bitrate` after now (while `playing`), or as soon as
    /// possible for the first 2.5 s of media (while it waits for its start).
    Stream {
        /// Content bytes a second, at least 1.
        bitrate: u64,
        /// Whether the media clock runs. A paused reader keeps its window but its deadlines do not approach.
        playing: bool,
    },
    /// The same, up to a byte beyond which nothing is wanted: a range that was asked for.
    Part {
        /// The first byte of the file that is not wanted. At or before the position nothing is.
        end: u64,
        /// As in [`Demand::Stream`].
        bitrate: u64,
        /// As in [`Demand::Stream`].
        playing: bool,
    },
}

/// Why a request of ours brought nothing, or not everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestFailure {
    /// The peer said no (choked, it does not hold the run).
    Refused,
    /// The peer said that others wait already for what it could send soon.
    Busy,
    /// The driver gave up waiting. (The core has its own time limits too.)
    Timeout,
    /// A block or a proof did not match its hash: the peer is banned.
    BadData,
    /// The stream or the connection ended.
    Gone,
}

/// Why an origin fetch ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OriginFailure {
    /// It may work later: a network error, 429, 503. `after` is the `Retry-After`, when one was given.
    Temporary {
        /// Not before this long from now; `None` lets the core choose (1 s, doubling to 60 s, with jitter).
        after: Option<Duration>,
    },
    /// It will not work again in this session: 404, changed length, wrong bytes, Range ignored on a large file.
    Permanent,
    /// The origin lacks this file for good; it may have the others.
    File,
}

/// Why an upload is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefuseReason {
    /// The peer is choked.
    Choked,
    /// We do not hold the whole run.
    NotHeld,
    /// The peer has too many requests queued here, or needs this one sooner than our uplink can send it.
    Busy,
    /// The run crosses a piece border, is too long or lies outside the file.
    Invalid,
}

/// Why a peer must be disconnected and not dialled again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BanReason {
    /// It sent a block or a proof that does not match its hash.
    BadData,
    /// It broke a rule of the protocol: haves outside the layout, invalid requests again and again.
    Protocol,
}

/// One viewer says (or a neighbour passes on) that it draws a piece from the origin, so that others need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The piece.
    pub piece: PieceIndex,
    /// The first 8 bytes of the claimer's [`PeerId`], big-endian.
    pub claimer: u64,
    /// Whether a neighbour passed it on. Such claims are not passed on again.
    pub forwarded: bool,
    /// The claimer gives up: the piece may be drawn by others.
    pub retracted: bool,
}

/// To whom a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Every connected peer.
    Everyone,
    /// Only this one.
    One(Peer),
}

/// Something that happened. Give each to [`super::Swarm::handle`] in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Blocks were verified and are in the store (or on their way into it): they can be read and served. Give each
    /// block as soon as its hash is checked, and before the [`Input::RequestDone`] or [`Input::OriginDone`] of its
    /// transfer. Any length within one file. After blocks from the disk the core decides nothing before its next input
    /// of another kind (or [`Input::Timeout`], which is due at once), so that all of them can be told first.
    Verified {
        /// The blocks.
        run: BlockRun,
        /// Who sent them.
        source: Source,
    },
    /// Blocks that were verified are not there any more (a failed sync, a changed file).
    Lost {
        /// The blocks.
        run: BlockRun,
    },
    /// A connection for this swarm is up and its hello was accepted. Both sides begin choked, with no haves.
    PeerConnected {
        /// Its handle from now on.
        peer: Peer,
        /// Who it is.
        id: PeerId,
    },
    /// The connection is gone. Its requests and uploads end with it; nothing more need be said about them.
    PeerDisconnected {
        /// Which.
        peer: Peer,
    },
    /// The peer holds these blocks (it sends all it has first, then what it gets). May be empty: "I hold nothing yet".
    PeerHave {
        /// Who.
        peer: Peer,
        /// What, any length.
        runs: Vec<BlockRun>,
    },
    /// The peer will refuse requests from now on.
    PeerChoked {
        /// Who.
        peer: Peer,
    },
    /// The peer takes requests from now on.
    PeerUnchoked {
        /// Who.
        peer: Peer,
    },
    /// Claims that the peer sent.
    PeerClaims {
        /// Who sent them (not always the claimer).
        peer: Peer,
        /// The claims.
        claims: Vec<Claim>,
    },
    /// The peer asks for a run. Answered by [`Output::Serve`] or [`Output::Refuse`], now or later.
    PeerRequest {
        /// Who.
        peer: Peer,
        /// The driver's name for it.
        request: UploadId,
        /// What.
        run: BlockRun,
        /// How soon it says it needs it.
        urgency: Urgency,
    },
    /// The peer gave up a request (STOP_SENDING). Ends a queued or running upload; no `SendDone` need follow.
    PeerCancelled {
        /// Who.
        peer: Peer,
        /// Which.
        request: UploadId,
    },
    /// An upload that [`Output::Serve`] allowed is over: all of it was handed to the connection, or it failed.
    SendDone {
        /// To whom.
        peer: Peer,
        /// Which.
        request: UploadId,
        /// Bytes of content handed over.
        bytes: u64,
    },
    /// The reply to a request came to its end; whatever was not [`Input::Verified`] by now is missing again.
    RequestDone {
        /// Which.
        request: RequestId,
    },
    /// A request ended early; whatever was not [`Input::Verified`] by now is missing again.
    RequestFailed {
        /// Which.
        request: RequestId,
        /// Why.
        reason: RequestFailure,
    },
    /// The connection's smoothed round-trip time, about once a second or when it changes much.
    PeerRtt {
        /// Who.
        peer: Peer,
        /// The time.
        rtt: Duration,
    },
    /// Bytes of a fetch arrived from the origin, verified or not (for its rate, and as a sign of life).
    OriginBytes {
        /// Which fetch.
        fetch: FetchId,
        /// How many since the last.
        bytes: u64,
    },
    /// A fetch begins to wait for a place at a web seed that takes few requests at a time, or waits no longer: meanwhile its silence says
    /// nothing of the origin.
    OriginWaits {
        /// Which fetch.
        fetch: FetchId,
        /// Whether it waits from now on.
        waits: bool,
    },
    /// A fetch came to its end; whatever was not [`Input::Verified`] by now is missing again.
    OriginDone {
        /// Which.
        fetch: FetchId,
    },
    /// A fetch ended early; whatever was not [`Input::Verified`] by now is missing again.
    OriginFailed {
        /// Which.
        fetch: FetchId,
        /// Why.
        reason: OriginFailure,
    },
    /// Somebody waits for what the origin has: the pause that follows its failures is over. It lengthens as before when it fails again.
    OriginAgain,
    /// How many viewers and seeds the swarm has, ourselves included, as the tracker said. 1 means alone.
    SwarmSize(u32),
    /// Whether peers are still being looked for: `pending: false` once the first tracker answered (or there is none)
    /// and each dial that followed has ended. Until then, at most [`Config::discovery_grace`], nothing that has no
    /// deadline is drawn from the origin. The core waits by itself for the first haves of a connected peer.
    Discovery {
        /// Still looking.
        pending: bool,
    },
    /// Somebody reads.
    ReaderOpened {
        /// Its name.
        reader: ReaderId,
        /// Which file.
        file: FileIndex,
        /// The next byte that it needs.
        position: u64,
        /// With what deadlines.
        demand: Demand,
    },
    /// A reader went on, jumped, paused or resumed. Unknown readers are ignored.
    ReaderMoved {
        /// Which.
        reader: ReaderId,
        /// The next byte that it needs.
        position: u64,
        /// With what deadlines.
        demand: Demand,
    },
    /// A reader is gone.
    ReaderClosed {
        /// Which.
        reader: ReaderId,
    },
    /// Nothing happened, but the time of [`super::Swarm::next_timeout`] came.
    Timeout,
    /// New settings from now on.
    Configure(Config),
}

/// Something to do. Take each from [`super::Swarm::poll_output`] after every input, until it answers `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask a peer for a run (≤ 1 MiB, within one piece). Ends with `RequestDone` or `RequestFailed`.
    Request {
        /// Whom.
        peer: Peer,
        /// The core's name for it.
        request: RequestId,
        /// What.
        run: BlockRun,
        /// How soon it is needed: the stream's priority at both ends.
        urgency: Urgency,
        /// When its first block is needed; `None` without a deadline.
        deadline: Option<Instant>,
    },
    /// Give up a request (STOP_SENDING). Its name is forgotten: blocks that still arrive may be given as `Verified`,
    /// and a late `RequestDone` or `RequestFailed` is ignored.
    Cancel {
        /// Whom it was sent to.
        peer: Peer,
        /// Which.
        request: RequestId,
    },
    /// Send a run that a peer asked for, now, within the uplink's rate. Ends with `SendDone`.
    Serve {
        /// To whom.
        peer: Peer,
        /// Which request.
        request: UploadId,
        /// What it asked for.
        run: BlockRun,
        /// How soon it is needed.
        urgency: Urgency,
    },
    /// Answer a peer's request with no.
    Refuse {
        /// To whom.
        peer: Peer,
        /// Which request.
        request: UploadId,
        /// Why.
        reason: RefuseReason,
    },
    /// Tell what we hold. Runs may be long; the driver splits messages that would be too large. May be empty (the
    /// first to a new peer, so that it knows that we answered).
    SendHave {
        /// Whom.
        to: Audience,
        /// What.
        runs: Vec<BlockRun>,
    },
    /// Tell what is drawn from the origin.
    SendClaims {
        /// Whom.
        to: Peer,
        /// The claims.
        claims: Vec<Claim>,
    },
    /// Tell a peer that its requests will be refused. Uploads already allowed go on.
    Choke {
        /// Whom.
        peer: Peer,
    },
    /// Tell a peer that it may request.
    Unchoke {
        /// Whom.
        peer: Peer,
    },
    /// Fetch consecutive blocks from the origin with one Range request.
    ///
    /// The run crosses piece borders but never holds a block that we have. An origin carries no hashes, so the
    /// driver keeps a block that it cannot check alone (its leaf hash is unknown) until the piece is whole: every
    /// other block of the piece is held already, or part of this or another running fetch. It gives `OriginBytes`
    /// as bytes arrive, `Verified` as pieces (or blocks) pass, then `OriginDone` or `OriginFailed`.
    OriginFetch {
        /// The core's name for it.
        fetch: FetchId,
        /// What.
        run: BlockRun,
        /// How soon it is needed.
        urgency: Urgency,
    },
    /// Give up a fetch: stop reading. Its name is forgotten, as with [`Output::Cancel`].
    OriginCancel {
        /// Which.
        fetch: FetchId,
    },
    /// Disconnect a peer and do not dial it again. For the core it is gone already; `PeerDisconnected` may follow.
    Ban {
        /// Whom.
        peer: Peer,
        /// Why.
        reason: BanReason,
    },
    /// Every block that is wanted is held. Given once each time that becomes true.
    Complete,
}

/// What the origin may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OriginPolicy {
    /// Only what no neighbour can give, one copy for the whole swarm.
    #[default]
    Thrifty,
    /// Half a second of data is always on its way from the origin too.
    Fast,
}

/// Settings of one swarm. Start from [`Config::default`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who we are: the same id that peers see.
    pub id: PeerId,
    /// Whether there is an origin and it may be used.
    pub use_origin: bool,
    /// Whether peers may be asked and served.
    pub use_peers: bool,
    /// How much of the origin is used.
    pub policy: OriginPolicy,
    /// The publisher's budget for all viewers; we keep to our share of it. `None` leaves it to the policy.
    pub origin_budget: Option<Budget>,
    /// Whether the whole content is wanted. When false, only what readers will need soon is drawn from the origin;
    /// peers may still be asked for the rest.
    pub whole_file: bool,
    /// How long nothing that has no deadline is drawn from the origin while peers are looked for.
    pub discovery_grace: Duration,
    /// Uploads that run at a time, at least 1.
    pub upload_slots: usize,
    /// Peers that may request at a time, at least 2.
    pub unchoked_peers: usize,
    /// Origin fetches that run at a time, at least 1.
    pub origin_fetches: usize,
    /// Fetches that the origin has place for at a time, where that is known.
    pub origin_places: Option<usize>,
    /// Most bytes a second that the driver takes, if it limits them: a burst must not pass for a faster line.
    pub down_limit: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: PeerId([0; 32]),
            use_origin: true,
            use_peers: true,
            policy: OriginPolicy::Thrifty,
            origin_budget: None,
            whole_file: true,
            discovery_grace: Duration::from_millis(1_500),
            upload_slots: 8,
            unchoked_peers: 80,
            origin_fetches: 4,
            origin_places: None,
            down_limit: None,
        }
    }
}

/// Where a swarm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Content bytes that are verified here.
    pub have_bytes: u64,
    /// Content bytes altogether.
    pub total_bytes: u64,
    /// Connected peers.
    pub peers: usize,
    /// Connected peers that hold everything.
    pub seeds: usize,
    /// Bytes asked of peers and not here yet.
    pub requested_bytes: u64,
    /// Bytes asked of the origin and not here yet.
    pub origin_bytes: u64,
    /// Bytes that were verified more than once (they arrived from two sides).
    pub duplicate_bytes: u64,
}
