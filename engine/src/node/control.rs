//! One peer's control stream: hello both ways, then messages both ways, until either side ends it.

use super::inbox::Msg;
use super::registry::Registry;
use crate::metainfo::InfoHash;
use crate::net::{self, Connection, ControlReader, ControlWriter, StreamError};
use crate::personal::{self, Secret, Side};
use crate::swarm::{Peer, PeerId, RefuseReason};
use crate::wire::{Hello, MAX_MESSAGE, Message, ReplyStatus, VERSION};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Messages that may wait for a slow peer; one that falls further behind is disconnected.
pub(super) const OUTBOX: usize = 1024;
/// Longest wait for a hello.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// A control stream whose hello was exchanged, offered to the driver.
#[derive(Debug)]
pub(super) struct NewPeer {
    pub(super) connection: Connection,
    pub(super) hello: Hello,
    pub(super) outbox: mpsc::Sender<Message>,
    /// Whether we opened the control stream.
    pub(super) opened: bool,
    /// The handle that it gets; dropped when it is not wanted.
    pub(super) accepted: oneshot::Sender<Peer>,
}

/// A control stream that the other side opened, with its hello.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) connection: Connection,
    pub(crate) writer: ControlWriter,
    pub(crate) reader: ControlReader,
    pub(crate) hello: Hello,
}

/// Under which names a torrent is known to others, and what proves that one may know of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membership {
    /// On the wire.
    pub(super) swarm: [u8; 32],
    /// At trackers.
    pub(super) key: [u8; 20],
    pub(super) secret: Option<Secret>,
}

impl Membership {
    pub(super) fn new(info_hash: InfoHash, secret: Option<Secret>) -> Self {
        Self {
            swarm: secret.map_or(info_hash.0, Secret::swarm),
            key: secret.map_or_else(|| info_hash.swarm_key(), Secret::rendezvous),
            secret,
        }
    }

    /// At a tracker's endpoint, which knows swarms by their key alone.
    pub(super) fn of_room(room: [u8; 32]) -> Self {
        Self {
            swarm: room,
            key: [0; 20],
            secret: None,
        }
    }

    /// What a request is answered by a side that may not ask: who did not prove that it holds the secret is not told
    /// that there is such a swarm.
    pub(super) fn no(&self) -> ReplyStatus {
        match self.secret {
            Some(_) => ReplyStatus::UnknownSwarm,
            None => ReplyStatus::Refused(RefuseReason::Choked),
        }
    }

    /// The hello that we send on this connection.
    fn hello(&self, side: Side, port: u16, connection: &Connection) -> Result<Hello, StreamError> {
        let mut extensions = Vec::new();
        if let Some(secret) = self.secret {
            let keying = self.keying(connection)?;
            let proof = secret.prove(side, &keying).to_vec();
            extensions.push((personal::EXTENSION.to_owned(), proof.into()));
        }
        Ok(Hello {
            version: VERSION,
            swarm: self.swarm,
            listen_port: port,
            observed: Some(connection.remote_address()),
            extensions,
        })
    }

    /// Whether the other side may be in this swarm.
    fn admits(&self, hello: &Hello, side: Side, connection: &Connection) -> bool {
        if hello.swarm != self.swarm {
            return false;
        }
        let Some(secret) = self.secret else { return true };
        let proof = hello
            .extensions
            .iter()
            .find(|(name, _)| name == personal::EXTENSION);
        let keying = self.keying(connection);
        proof
            .zip(keying.ok())
            .is_some_and(|((_, proof), keying)| secret.is_proof(side, &keying, proof))
    }

    fn keying(&self, connection: &Connection) -> Result<[u8; 32], StreamError> {
        let keying = connection.keying_material(personal::LABEL, &self.swarm);
        keying.ok_or(StreamError::Short)
    }
}

/// Opens a control stream to somebody whom we have reached and runs it; says when it is over. Who breaks the protocol is
/// banned.
pub(super) async fn greet(
    registry: Arc<Registry>,
    connection: Connection,
    membership: Membership,
    driver: mpsc::Sender<Msg>,
) {
    let (id, address) = (connection.id(), connection.remote_address());
    let port = registry.port_for(address.ip().to_canonical().is_ipv4());
    if let Err(e) = open(connection.clone(), port, membership, driver.clone()).await {
        tracing::debug!(%address, "control stream: {e}");
        if e.is_protocol() {
            registry.ban(&connection, "it broke the protocol");
        }
    }
    let full = connection.found_no_room();
    let _ = driver.send(Msg::Greeted { id, full }).await;
}

/// Opens a control stream and runs it.
pub(super) async fn open(
    connection: Connection,
    port: u16,
    membership: Membership,
    driver: mpsc::Sender<Msg>,
) -> Result<(), StreamError> {
    let greeting = async {
        let (mut writer, mut reader) = net::open_control(&connection).await?;
        let hello = membership.hello(Side::Opener, port, &connection)?;
        writer.send(&Message::Hello(hello)).await?;
        let first = reader.hello().await?;
        Ok::<_, StreamError>((writer, reader, first))
    };
    // Also the stream itself may never come: the other side says how many it allows.
    let (writer, reader, first) = tokio::time::timeout(HELLO_TIMEOUT, greeting)
        .await
        .map_err(|_| StreamError::Short)??;
    match first {
        Some(hello) if membership.admits(&hello, Side::Answerer, &connection) => {
            run(
                Offer {
                    connection,
                    writer,
                    reader,
                    hello,
                },
                true,
                driver,
            )
            .await
        }
        // It does not serve this swarm, or may not.
        _ => Err(StreamError::Short),
    }
}

/// Answers a control stream that the other side opened, and runs it.
pub(super) async fn answer(
    mut offer: Offer,
    port: u16,
    membership: Membership,
    driver: mpsc::Sender<Msg>,
) -> Result<(), StreamError> {
    if !membership.admits(&offer.hello, Side::Opener, &offer.connection) {
        return Err(StreamError::Short);
    }
    let hello = membership.hello(Side::Answerer, port, &offer.connection)?;
    offer.writer.send(&Message::Hello(hello)).await?;
    run(offer, false, driver).await
}

async fn run(offer: Offer, opened: bool, driver: mpsc::Sender<Msg>) -> Result<(), StreamError> {
    let Offer {
        connection,
        mut writer,
        mut reader,
        hello,
    } = offer;
    let _in_use = connection.use_it();
    let (outbox, mut out) = mpsc::channel(OUTBOX);
    let (accepted, answer) = oneshot::channel();
    let offered = Box::new(NewPeer {
        connection,
        hello,
        outbox,
        opened,
        accepted,
    });
    if driver.send(Msg::PeerUp(offered)).await.is_err() {
        return Ok(());
    }
    let Ok(peer) = answer.await else { return Ok(()) };
    let sending = async {
        while let Some(message) = out.recv().await {
            writer.send(&message).await?;
        }
        Ok(())
    };
    let room = Arc::new(Semaphore::new(MAX_MESSAGE));
    let receiving = async {
        while let Some(message) = reader.next().await? {
            // As much of one peer waits for the driver as one message may hold, and no more.
            let bytes = reader.last_len().min(MAX_MESSAGE) as u32;
            let Ok(room) = room.clone().acquire_many_owned(bytes).await else {
                break;
            };
            if driver.send(Msg::Message { peer, message, room }).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let end: Result<(), StreamError> = tokio::select! {
        end = sending => end,
        end = receiving => end,
    };
    let protocol = end
        .as_ref()
        .err()
        .filter(|e| e.is_protocol())
        .map(ToString::to_string);
    let _ = driver.send(Msg::PeerDown { peer, protocol }).await;
    end
}

/// Of two control streams between the same two peers, the one that the smaller id opened stays.
pub(super) fn new_one_stays(ours: PeerId, theirs: PeerId, old_opened: bool, new_opened: bool) -> bool {
    if old_opened == new_opened {
        // The side that opened both has given up the old one.
        return true;
    }
    new_opened == (ours < theirs)
}
