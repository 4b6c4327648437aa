//! A UDP socket that both listens and dials, and the connections over it.

use super::congestion::{Factory, Hurry, Mode};
use super::identity::{Identity, peer_id, server_name};
use super::thread::{Moved, NetThread};
use crate::swarm::PeerId;
use quinn::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Bytes of socket buffer asked of the system, each way: this alone ends most loss on fast links.
const SOCKET_BUFFER: usize = 4 << 20;
/// What a node takes of others before it reads it. The connection's window grows to [`CONTENT_WINDOW`] with the first
/// request: until then nothing large is expected.
const NODE: Windows = Windows {
    connection: 256 << 10,
    stream: 2 << 20,
    streams: 128,
};
/// What an endpoint takes that hears small messages only.
const SMALL: Windows = Windows {
    connection: 64 << 10,
    stream: 64 << 10,
    streams: 32,
};
/// What may wait at most on a connection over which content comes.
const CONTENT_WINDOW: u32 = 16 << 20;
/// Bytes a second that it is to be enough for, and what our own pauses add to the round trip.
const CONTENT_RATE: f64 = 160e6;
const PAUSES: Duration = Duration::from_millis(25);
/// An acknowledgement waits for more packets, but no longer than this: small windows grow by the round trip.
const ACK_DELAY: Duration = Duration::from_millis(8);
/// A connection without a sign of life for so long is dead.
const IDLE: Duration = Duration::from_secs(15);
/// Largest packets that are tried on loopback, whose MTU is 65,536: larger ones do not fit ten to a system call.
const LOOPBACK_MTU: u16 = 6500;
/// The code by which a connection is closed because there is no room.
const NO_ROOM: VarInt = VarInt::from_u32(2);

/// Bounds of what a peer may send that was not read, and of its streams.
#[derive(Clone, Copy, Debug)]
struct Windows {
    /// Bytes on a connection.
    connection: u32,
    /// Bytes on a stream.
    stream: u32,
    /// Streams at a time. quinn allocates for all of them ahead.
    streams: u32,
}

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectionFailure {
    /// It could not be begun.
    #[error("cannot dial: {0}")]
    Connect(#[from] quinn::ConnectError),
    /// The handshake failed.
    #[error("{0}")]
    Handshake(#[from] quinn::ConnectionError),
    /// The other side shows no usable key. The handshake does not let this happen.
    #[error("the peer shows no key")]
    NoKey,
}

impl ConnectionFailure {
    /// Whether the other side is there and has no room.
    pub fn is_no_room(&self) -> bool {
        matches!(self, Self::Handshake(end) if is_no_room(end))
    }
}

fn is_no_room(end: &quinn::ConnectionError) -> bool {
    matches!(end, quinn::ConnectionError::ApplicationClosed(end) if end.error_code == NO_ROOM)
}

/// How a connection came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// One side dialled an address at which the other takes connections.
    #[default]
    Direct,
    /// Both sides opened their routers for each other, after somebody introduced them.
    Punched,
    /// A relay carries what is said, which it cannot read.
    Relayed,
}

/// A socket with our identity.
#[derive(Clone, Debug)]
pub struct Endpoint {
    quinn: quinn::Endpoint,
    client: quinn::ClientConfig,
    /// The same socket, for what is no QUIC.
    socket: Arc<std::net::UdpSocket>,
    server: quinn::ServerConfig,
    /// Whether what it sends stays behind the traffic of others.
    background: bool,
    /// Where it is counted how fast connections send.
    moved: Moved,
    windows: Windows,
}

impl Endpoint {
    /// Binds a UDP address for listening and dialling. Needs a tokio runtime, which it goes on using.
    pub fn bind(address: SocketAddr, identity: &Identity) -> io::Result<Self> {
        let runtime =
            quinn::default_runtime().ok_or_else(|| io::Error::other("no async runtime is running"))?;
        Self::bind_on(address, identity, runtime, false)
    }

    /// The same for an endpoint that hears small messages only, of many: it keeps little for each.
    pub fn bind_small(address: SocketAddr, identity: &Identity) -> io::Result<Self> {
        let mut endpoint = Self::bind(address, identity)?;
        endpoint.windows = SMALL;
        Ok(endpoint)
    }

    /// The same for an endpoint that takes a few bytes at a time: for tests of what hostile peers may do.
    #[doc(hidden)]
    pub fn bind_deaf(address: SocketAddr, identity: &Identity) -> io::Result<Self> {
        let mut endpoint = Self::bind(address, identity)?;
        endpoint.windows = Windows { stream: 32, ..NODE };
        Ok(endpoint)
    }

    /// The same, driven by a thread of its own. In the `background` what it sends gives way to others, but for what is
    /// urgent ([`Connection::hurry`]).
    pub fn bind_to(
        address: SocketAddr,
        identity: &Identity,
        thread: &NetThread,
        background: bool,
    ) -> io::Result<Self> {
        let mut endpoint = Self::bind_on(address, identity, thread.quinn(), background)?;
        endpoint.moved = thread.moved().clone();
        Ok(endpoint)
    }

    fn bind_on(
        address: SocketAddr,
        identity: &Identity,
        runtime: Arc<dyn quinn::Runtime>,
        background: bool,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // The system caps these at its own limits; less is slower, not wrong.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;

        let mut server = quinn::ServerConfig::with_crypto(identity.server.clone());
        server.max_incoming(1 << 10);
        server.incoming_buffer_size_total(8 << 20);
        let client = quinn::ClientConfig::new(identity.client.clone());
        let socket: std::net::UdpSocket = socket.into();
        let mut config = quinn::EndpointConfig::default();
        // Others send no larger packets than we say that we take, whatever they find to pass.
        config
            .max_udp_payload_size(LOOPBACK_MTU)
            .map_err(io::Error::other)?;
        let quinn = quinn::Endpoint::new(config, Some(server.clone()), socket.try_clone()?, runtime)?;
        Ok(Self {
            quinn,
            client,
            server,
            socket: Arc::new(socket),
            background,
            moved: Moved::default(),
            windows: NODE,
        })
    }

    /// Sends one datagram that is no QUIC from the same socket. It may be lost, as any.
    pub fn send_raw(&self, address: SocketAddr, data: &[u8]) {
        if let Err(e) = self.socket.send_to(data, address) {
            tracing::debug!(%address, "cannot send a datagram: {e}");
        }
    }

    /// Sends one datagram that means nothing, so that a router between us lets through what comes from there. It may
    /// be lost, as any.
    pub fn poke(&self, address: SocketAddr) {
        // The bit that QUIC fixes (RFC 9000 §17) is not set: a receiver drops it.
        self.send_raw(address, &[0]);
    }

    /// The address that was bound, with its port.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.quinn.local_addr()
    }

    /// Whether it can reach addresses of this family.
    pub fn reaches(&self, address: SocketAddr) -> bool {
        self.local_addr()
            .is_ok_and(|local| local.is_ipv4() == address.is_ipv4())
    }

    /// Dials. With `expected`, only that peer will do.
    pub async fn connect(
        &self,
        address: SocketAddr,
        expected: Option<PeerId>,
    ) -> Result<Connection, ConnectionFailure> {
        let mode = Arc::new(Mode::new(self.background, self.moved.clone()));
        let mut config = self.client.clone();
        config.transport_config(Arc::new(transport(address, &mode, self.windows)));
        let connecting = self.quinn.connect_with(config, address, &server_name(expected))?;
        Connection::new(connecting.await?, true, mode)
    }

    /// The next handshake that somebody begins; `None` once the endpoint is closed.
    pub async fn accept(&self) -> Option<Handshake> {
        let incoming = self.quinn.accept().await?;
        let server = self.server.clone();
        Some(Handshake {
            incoming,
            server,
            mode: Arc::new(Mode::new(self.background, self.moved.clone())),
            windows: self.windows,
        })
    }

    /// Closes every connection, telling the peers.
    pub fn close(&self) {
        self.quinn.close(VarInt::from_u32(0), b"");
    }

    /// Waits until the peers were told.
    pub async fn wait_idle(&self) {
        self.quinn.wait_idle().await;
    }
}

/// A handshake that somebody else began.
pub struct Handshake {
    incoming: quinn::Incoming,
    server: quinn::ServerConfig,
    mode: Arc<Mode>,
    windows: Windows,
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handshake")
            .field(&self.incoming.remote_address())
            .finish()
    }
}

impl Handshake {
    /// Who begins it; not proven yet.
    pub fn remote_address(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Lets it lie, without an answer.
    pub fn ignore(self) {
        self.incoming.ignore();
    }

    /// Goes through with it. When `busy`, an address that has not proven itself must first come back (RFC 9000 §8.1.2):
    /// that costs us 20 µs instead of a handshake, and gives `None` here.
    pub async fn finish(self, busy: bool) -> Result<Option<Connection>, ConnectionFailure> {
        let Self {
            incoming,
            mut server,
            mode,
            windows,
        } = self;
        if busy && !incoming.remote_address_validated() && incoming.may_retry() {
            // It only fails when retrying is not possible, which was asked just now.
            let _ = incoming.retry();
            return Ok(None);
        }
        server.transport_config(Arc::new(transport(incoming.remote_address(), &mode, windows)));
        let connection = incoming.accept_with(Arc::new(server))?.await?;
        Connection::new(connection, false, mode).map(Some)
    }
}

/// A connection whose other side proved its key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connection {
    quinn: quinn::Connection,
    id: PeerId,
    dialed: bool,
    /// How many [`Use`]s there are, over all clones.
    uses: Arc<AtomicUsize>,
    /// Whether its window is that of content already.
    wide: Arc<AtomicBool>,
    way: Way,
    mode: Arc<Mode>,
}

/// Says that a connection serves some torrent, as long as it lives.
#[derive(Debug)]
pub struct Use(Arc<AtomicUsize>);

impl Drop for Use {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    fn new(quinn: quinn::Connection, dialed: bool, mode: Arc<Mode>) -> Result<Self, ConnectionFailure> {
        let chain = quinn
            .peer_identity()
            .and_then(|i| i.downcast::<Vec<CertificateDer<'static>>>().ok());
        let certificate = chain
            .as_ref()
            .and_then(|chain| chain.first())
            .ok_or(ConnectionFailure::NoKey)?;
        let id = peer_id(certificate).map_err(|_| ConnectionFailure::NoKey)?;
        Ok(Self {
            quinn,
            id,
            dialed,
            uses: Arc::default(),
            wide: Arc::default(),
            way: Way::Direct,
            mode,
        })
    }

    /// The same connection, known to have come this way. To be said before it is cloned.
    #[must_use]
    pub fn with_way(self, way: Way) -> Self {
        Self { way, ..self }
    }

    /// How it came to be.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Who the other side is.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Whether we dialled it.
    pub fn dialed(&self) -> bool {
        self.dialed
    }

    /// Where the other side is.
    pub fn remote_address(&self) -> SocketAddr {
        self.quinn.remote_address()
    }

    /// Our address that the other side speaks to, where the system says it.
    pub fn local_ip(&self) -> Option<std::net::IpAddr> {
        self.quinn.local_ip()
    }

    /// Datagrams that have come.
    pub fn datagrams_heard(&self) -> u64 {
        self.quinn.stats().udp_rx.datagrams
    }

    /// Whether it ended without a word of the other side.
    pub fn is_lost(&self) -> bool {
        use quinn::ConnectionError::{LocallyClosed, Reset, TimedOut};
        matches!(self.quinn.close_reason(), Some(LocallyClosed | Reset | TimedOut))
    }

    /// The round-trip time, smoothed.
    pub fn rtt(&self) -> Duration {
        self.quinn.rtt()
    }

    /// Sends a reply of so many blocks as fast as others do, instead of in the background, as long as the value lives.
    /// `None` when the other side has had its share of that.
    pub fn hurry(&self, blocks: u32) -> Option<Hurry> {
        Hurry::new(&self.mode, blocks)
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.quinn.close_reason().is_some()
    }

    /// Keying material of this connection (RFC 5705): both sides have the same, and no other connection has it.
    /// `None` once it is over.
    pub fn keying_material(&self, label: &[u8], context: &[u8]) -> Option<[u8; 32]> {
        let mut out = [0; 32];
        self.quinn
            .export_keying_material(&mut out, label, context)
            .ok()
            .map(|()| out)
    }

    /// Ends it, telling the other side why.
    pub fn close(&self, why: &str) {
        self.quinn.close(VarInt::from_u32(1), why.as_bytes());
    }

    /// Ends it because there is no room: the other side may come again.
    pub fn close_for_want_of_room(&self, why: &str) {
        self.quinn.close(NO_ROOM, why.as_bytes());
    }

    /// Whether the other side had no room for it.
    pub fn found_no_room(&self) -> bool {
        self.quinn.close_reason().is_some_and(|end| is_no_room(&end))
    }

    /// Waits for its end, and says why.
    pub async fn closed(&self) -> quinn::ConnectionError {
        self.quinn.closed().await
    }

    /// Says that it serves some torrent, until what comes back is dropped.
    pub fn use_it(&self) -> Use {
        self.uses.fetch_add(1, Ordering::Relaxed);
        Use(self.uses.clone())
    }

    /// Whether it serves any torrent.
    pub fn is_used(&self) -> bool {
        self.uses.load(Ordering::Relaxed) > 0
    }

    /// Whether both are the same connection.
    pub fn is(&self, other: &Self) -> bool {
        self.quinn.stable_id() == other.quinn.stable_id()
    }

    /// Content is about to be asked for: more may wait to be read from now on.
    pub(super) fn expect_content(&self) {
        if !self.wide.swap(true, Ordering::Relaxed) {
            self.quinn
                .set_receive_window(VarInt::from_u32(content_window(self.rtt())));
        }
    }

    pub(super) fn quinn(&self) -> &quinn::Connection {
        &self.quinn
    }
}

/// What may wait where content comes after such a round trip. A reader that lags behind keeps so much of each peer in memory.
fn content_window(rtt: Duration) -> u32 {
    let enough = (rtt + PAUSES).as_secs_f64() * CONTENT_RATE;
    enough.min(f64::from(CONTENT_WINDOW)) as u32
}

fn transport(remote: SocketAddr, mode: &Arc<Mode>, windows: Windows) -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    if remote.ip().is_loopback() {
        mtu.upper_bound(LOOPBACK_MTU);
    }
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(25))
        .max_ack_delay(Some(ACK_DELAY));
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(windows.streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .initial_rtt(Duration::from_millis(100))
        .ack_frequency_config(Some(acks))
        .mtu_discovery_config(Some(mtu))
        .congestion_controller_factory(Arc::new(Factory(mode.clone())))
        .stream_receive_window(VarInt::from_u32(windows.stream))
        .receive_window(VarInt::from_u32(windows.connection))
        .send_window(4 << 20)
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(Duration::from_secs(5)))
        // 15 s is far below the limit of a VarInt in milliseconds.
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok());
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::open_request;
    use crate::swarm::{BlockRun, Urgency};
    use crate::wire::Request;
    use futures_util::FutureExt as _;

    /// The two ends of a connection that `to` accepts, with the endpoint that dialled.
    async fn connected(to: &Endpoint) -> (Endpoint, Connection, Connection) {
        let from = Endpoint::bind(LOCAL, &Identity::generate().unwrap()).unwrap();
        let accepting = async { to.accept().await.unwrap().finish(false).await };
        let dialling = from.connect(to.local_addr().unwrap(), None);
        let (dialled, accepted) = tokio::join!(dialling, accepting);
        (from, dialled.unwrap(), accepted.unwrap().unwrap())
    }

    const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    /// Opens streams and writes until the other side, which reads nothing, takes no more: its bytes and its streams.
    fn flood(connection: &Connection) -> (usize, Vec<(quinn::SendStream, quinn::RecvStream)>) {
        let (mut bytes, mut streams) = (0, Vec::new());
        while let Some(Ok((mut send, recv))) = connection.quinn().open_bi().now_or_never() {
            while let Some(Ok(written)) = send.write(&[0; 4096]).now_or_never() {
                bytes += written;
            }
            streams.push((send, recv));
        }
        (bytes, streams)
    }

    #[tokio::test]
    async fn packets_are_large_on_loopback() {
        gate::install_crypto_provider();
        let node = Endpoint::bind(LOCAL, &Identity::generate().unwrap()).unwrap();
        let (_from, ours, theirs) = connected(&node).await;
        let (mut send, _unread) = ours.quinn().open_bi().await.unwrap();
        send.write_all(&[0]).await.unwrap();
        let (_unwritten, mut recv) = theirs.quinn().accept_bi().await.unwrap();
        let largest = async {
            let mut buffer = vec![0; 64 << 10];
            // The search ends when no more than a few bytes could be won.
            while ours.quinn().stats().path.current_mtu < LOOPBACK_MTU - 100 {
                send.write_all(&[0; 4096]).await.unwrap();
                recv.read(&mut buffer).await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), largest)
            .await
            .unwrap();
    }

    #[test]
    fn more_may_wait_the_longer_the_way_up_to_a_bound() {
        let at = |ms| content_window(Duration::from_millis(ms));
        assert_eq!(
            [at(0), at(25), at(80), at(5_000)],
            [4_000_000, 8_000_000, 16_777_216, 16_777_216]
        );
    }

    #[tokio::test]
    async fn little_is_kept_of_who_was_asked_for_nothing() {
        gate::install_crypto_provider();
        let node = Endpoint::bind(LOCAL, &Identity::generate().unwrap()).unwrap();
        let (_from, stranger, ours) = connected(&node).await;
        let (bytes, mut streams) = flood(&stranger);
        assert_eq!((bytes, streams.len()), (256 << 10, 128));
        let request = Request {
            swarm: [7; 32],
            run: BlockRun::new(0, 0, 1),
            urgency: Urgency::Far,
            slack: None,
        };
        let _reply = open_request(&ours, &request).await.unwrap();
        // Now more may come.
        let more = vec![0; 1 << 20];
        let written = tokio::time::timeout(Duration::from_secs(60), streams[1].0.write_all(&more)).await;
        written.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_endpoint_for_small_messages_keeps_less() {
        gate::install_crypto_provider();
        let small = Endpoint::bind_small(LOCAL, &Identity::generate().unwrap()).unwrap();
        let (_from, stranger, _ours) = connected(&small).await;
        let (bytes, streams) = flood(&stranger);
        assert_eq!((bytes, streams.len()), (64 << 10, 32));
    }
}
