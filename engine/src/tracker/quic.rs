//! A tracker's QUIC endpoint: peers behind routers learn where they are seen, and are introduced to each other.
//!
//! It speaks `grove/1` as a peer that holds nothing: the first message of a control stream names a *room*
//! ([`meeting::room`]), its hello carries [`meeting::EXTENSION`] and the address where it sees the other side, a peer
//! exchange follows with others of the room, and each `dial` that asks for an address is passed on to both sides.
//! Everything else that a peer may say is skipped. Who is here is for [`meeting`] to know.
//!
//! Lock order: there is one lock, on the rooms with the outboxes of their guests; it is never held across an await.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::hosts::Hosts;
use super::meeting::{self, Limits, Room, Rooms};
use crate::net::{
    Connection, ControlReader, ControlWriter, Endpoint, Identity, Incoming, StreamError, accept_stream,
    send_reply_header,
};
use crate::swarm::PeerId;
use crate::wire::{Hello, Message, ReplyHeader, ReplyStatus, VERSION};

/// Connections at a time, and of them those of one host.
const MAX_CONNECTIONS: (usize, usize) = (20_000, 1_000);
/// Handshakes at a time beyond which strangers must first prove their address, and beyond which nobody is answered.
const HANDSHAKES: (usize, usize) = (50, 512);
/// Rooms of one connection at a time.
const MAX_ROOMS: usize = 32;
/// Messages that may wait for a slow guest.
const OUTBOX: usize = 64;
/// Longest wait for a hello, and for a no to be taken.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which no room is named for so long is closed: our own signs of life would keep it for ever.
const UNUSED: Duration = Duration::from_secs(10);

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, or is none of ours.
    #[error(transparent)]
    Socket(#[from] std::io::Error),
    /// No key could be made.
    #[error(transparent)]
    Identity(#[from] crate::net::IdentityError),
}

/// An endpoint that is bound, and does nothing before [`Meeting::serve`].
#[derive(Debug)]
pub struct Meeting {
    endpoint: Endpoint,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rooms: Rooms,
    outboxes: HashMap<(Room, PeerId), mpsc::Sender<Message>>,
    /// Connections of each host.
    hosts: Hosts,
    introductions: u64,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held would leave a guest too many, not memory in danger.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meeting {
    /// Binds the UDP address, with a fresh key. Needs a tokio runtime.
    pub fn bind(address: SocketAddr, limits: Limits) -> Result<Self, BindError> {
        let endpoint = Endpoint::bind_small(address, &Identity::generate()?)?;
        let state = State {
            rooms: Rooms::new(limits, rand::random()),
            outboxes: HashMap::new(),
            hosts: Hosts::default(),
            introductions: 0,
        };
        let inner = Inner {
            started: Instant::now(),
            state: Mutex::new(state),
        };
        Ok(Self {
            endpoint,
            inner: Arc::new(inner),
        })
    }

    /// The address that was bound, with its port.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Serves until `stop` is ready. Gives the number of introductions.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> u64 {
        let mut connections = JoinSet::new();
        let mut handshakes = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                handshake = self.endpoint.accept(), if handshakes.len() < HANDSHAKES.1 => {
                    let Some(handshake) = handshake else { break };
                    let busy = handshakes.len() >= HANDSHAKES.0;
                    handshakes.spawn(handshake.finish(busy));
                }
                Some(done) = handshakes.join_next(), if !handshakes.is_empty() => {
                    if let Ok(Ok(Some(connection))) = done {
                        let visit = Visit::new(&self.inner, connection.remote_address().ip());
                        if let Some(visit) = visit.filter(|_| connections.len() < MAX_CONNECTIONS.0) {
                            connections.spawn(serve_connection(visit, connection));
                        } else {
                            connection.close("too many connections");
                        }
                    }
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        connections.shutdown().await;
        handshakes.shutdown().await;
        self.endpoint.close();
        // Guests that do not answer must not hold up the end.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
        self.inner.state().introductions
    }
}

/// The share of its host that a connection has, as long as it lives.
struct Visit {
    inner: Arc<Inner>,
    ip: IpAddr,
}

impl Visit {
    fn new(inner: &Arc<Inner>, ip: IpAddr) -> Option<Self> {
        let inner = inner.clone();
        let taken = inner.state().hosts.take(ip, MAX_CONNECTIONS.1);
        taken.then_some(Self { inner, ip })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.inner.state().hosts.give(self.ip);
    }
}

async fn serve_connection(visit: Visit, connection: Connection) {
    let mut streams = JoinSet::new();
    let mut unused_since = Instant::now();
    let mut look = tokio::time::interval(UNUSED / 2);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let stream = tokio::select! {
            stream = accept_stream(&connection), if streams.len() < MAX_ROOMS => stream,
            Some(_) = streams.join_next(), if !streams.is_empty() => continue,
            _ = look.tick() => {
                if connection.is_used() {
                    unused_since = Instant::now();
                } else if unused_since.elapsed() >= UNUSED {
                    connection.close("no room was named");
                }
                continue;
            }
        };
        let Ok(reading) = stream else { return };
        let (inner, connection) = (visit.inner.clone(), connection.clone());
        streams.spawn(async move {
            match tokio::time::timeout(HELLO_TIMEOUT, reading).await {
                Ok(Ok(Some(Incoming::Control(writer, reader)))) => {
                    if let Err(e) = serve_guest(&inner, &connection, writer, reader).await
                        && e.is_protocol()
                    {
                        connection.close("broken message");
                    }
                }
                Ok(Ok(Some(Incoming::Request(_, mut send)))) => {
                    let no = ReplyHeader::no(ReplyStatus::UnknownSwarm);
                    let said = tokio::time::timeout(HELLO_TIMEOUT, send_reply_header(&mut send, &no)).await;
                    // Either only fails on a stream that is over.
                    let _ = match said {
                        Ok(Ok(())) => send.finish(),
                        Ok(Err(_)) => Ok(()),
                        Err(_) => send.reset(quinn::VarInt::from_u32(1)),
                    };
                }
                Ok(Err(e)) if e.is_protocol() => connection.close("broken request"),
                _ => {}
            }
        });
    }
}

/// Takes a guest out again, however its stream ends.
struct Presence<'a> {
    inner: &'a Inner,
    room: Room,
    id: PeerId,
    outbox: mpsc::Sender<Message>,
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        let place = (self.room, self.id);
        // It may have come in anew on another stream.
        if state
            .outboxes
            .get(&place)
            .is_some_and(|outbox| outbox.same_channel(&self.outbox))
        {
            state.outboxes.remove(&place);
            state.rooms.leave(self.room, self.id);
        }
    }
}

async fn serve_guest(
    inner: &Inner,
    connection: &Connection,
    mut writer: ControlWriter,
    mut reader: ControlReader,
) -> Result<(), StreamError> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, reader.hello()).await;
    let Ok(Ok(Some(hello))) = first else {
        return Ok(());
    };
    let (room, id, seen) = (hello.swarm, connection.id(), connection.remote_address());
    let (outbox, mut out) = mpsc::channel(OUTBOX);
    let others = {
        let mut state = inner.state();
        let now = inner.started.elapsed();
        let Some(others) = state.rooms.enter(room, id, seen, hello.listen_port, now) else {
            return Ok(());
        };
        state.outboxes.insert((room, id), outbox.clone());
        others
    };
    let _in_use = connection.use_it();
    let _presence = Presence {
        inner,
        room,
        id,
        outbox,
    };
    let ours = Hello {
        version: VERSION,
        swarm: room,
        listen_port: 0,
        observed: Some(seen),
        extensions: vec![(meeting::EXTENSION.to_owned(), Bytes::new())],
    };
    writer.send(&Message::Hello(ours)).await?;
    if !others.is_empty() {
        writer.send(&Message::PeerExchange(others)).await?;
    }
    let sending = async {
        while let Some(message) = out.recv().await {
            writer.send(&message).await?;
        }
        Ok(())
    };
    let receiving = async {
        while let Some(message) = reader.next().await? {
            if let Message::Dial { peer, address } = message
                && peer == [0; 32]
            {
                introduce(inner, room, id, address);
            }
        }
        Ok(())
    };
    tokio::select! {
        end = sending => end,
        end = receiving => end,
    }
}

fn introduce(inner: &Inner, room: Room, from: PeerId, wanted: SocketAddr) {
    let mut state = inner.state();
    let now = inner.started.elapsed();
    let Some(two) = state.rooms.introduce(room, from, wanted, now) else {
        return;
    };
    state.introductions += 1;
    for (told, other) in [(two.to, two.from), (two.from, two.to)] {
        if let Some(outbox) = state.outboxes.get(&(room, told.0)) {
            // Who does not read misses it.
            let _ = outbox.try_send(Message::Dial {
                peer: other.0.0,
                address: other.1,
            });
        }
    }
}
