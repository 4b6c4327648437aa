//! What the tasks of a torrent, its store and its readers tell the driver, turned into inputs of the core.

use super::candidates::Heard;
use super::control::{self, NewPeer, Offer};
use super::driver::Driver;
use super::moving::Lost;
use super::reader::Place;
use super::registry::DialError;
use super::stats::State;
use super::{announce, introduce};
use crate::net::Connection;
use crate::origin::OriginError;
use crate::store::{StoreError, StoreEvent};
use crate::swarm::{
    BlockRun, FetchId, Input, Peer, PeerId, ReaderId, RequestFailure, RequestId, Source, UploadId,
};
use crate::wire::{Message, Request};
use quinn::SendStream;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

/// Messages that may wait for the driver.
pub(super) const INBOX: usize = 1024;

/// What tasks tell the driver.
#[derive(Debug)]
pub(crate) enum Msg {
    /// Somebody opened a control stream for this swarm.
    Offer(Box<Offer>),
    /// Hello was exchanged.
    PeerUp(Box<NewPeer>),
    /// A control message.
    Message {
        peer: Peer,
        message: Message,
        /// Bounds what waits here.
        room: OwnedSemaphorePermit,
    },
    /// A control stream ended; `protocol` says how the peer broke the protocol, if it did.
    PeerDown { peer: Peer, protocol: Option<String> },
    /// A peer asks for blocks.
    Request {
        from: Connection,
        request: Request,
        send: SendStream,
    },
    /// An upload is over.
    UploadEnded { peer: Peer, id: UploadId, bytes: u64 },
    /// A peer gave up a request that was not answered yet.
    UploadCancelled { peer: Peer, id: UploadId },
    /// Blocks are in the store.
    Verified { run: BlockRun, source: Source },
    /// A request of ours is over.
    RequestEnded {
        id: RequestId,
        failure: Option<RequestFailure>,
        why: Option<String>,
    },
    /// Bytes from the origin.
    OriginBytes { id: FetchId, bytes: u64 },
    /// A fetch begins or ends to wait for a place at a web seed.
    OriginWaits { id: FetchId, waits: bool },
    /// A fetch is over.
    FetchEnded {
        id: FetchId,
        result: Result<(), OriginError>,
    },
    /// A dial is over.
    Dialed {
        address: SocketAddr,
        /// `None` when the other side's dial came first.
        result: Result<Option<Connection>, DialError>,
    },
    /// What came of an introduction is clear.
    Punched {
        address: SocketAddr,
        /// `None` when the other side's dial came first.
        result: Result<Option<Connection>, DialError>,
    },
    /// An address has not answered yet.
    Unreached { address: SocketAddr },
    /// A tracker answered, or none could be asked.
    Announced {
        first: bool,
        answer: announce::Answer,
        peers: Vec<SocketAddr>,
        viewers: Option<u32>,
        meeting: Option<announce::MeetingPlace>,
        problems: Vec<String>,
    },
    /// The DHT or the local network named these.
    Found {
        heard: Heard,
        addresses: Vec<SocketAddr>,
        /// Nothing more may come of it for a while.
        first_look_over: bool,
    },
    /// A control stream that we opened is over, or never came to be.
    Greeted {
        id: PeerId,
        /// It had no room for us.
        full: bool,
    },
    /// The address at a relay that stands for the other side of a personal swarm.
    Relay { address: SocketAddr },
    /// A relay gave us a place, or kept it.
    RelayAccepts,
    /// A relay does not carry this transfer, or no further. For people to read.
    RelayRefuses { why: String },
    /// Addresses of a name that was given as a peer.
    Resolved {
        host: String,
        addresses: Vec<SocketAddr>,
        problem: Option<String>,
    },
    /// Everything is safe on the disk, or is not.
    Flushed(Result<(), Arc<StoreError>>),
}

impl Driver {
    pub(super) fn handle(&mut self, msg: Msg) {
        match msg {
            Msg::Offer(offer) => {
                if self.options.use_peers && !self.paused && !self.banned.contains(&offer.connection.id()) {
                    let driver = self.ground.driver.clone();
                    let remote = offer.connection.remote_address();
                    let port = self.registry.port_for(remote.ip().to_canonical().is_ipv4());
                    let membership = self.shared.membership;
                    self.tasks.spawn(async move {
                        // How it ended was told by message where it matters.
                        let _ = control::answer(*offer, port, membership, driver).await;
                    });
                }
            }
            Msg::PeerUp(new) if introduce::is_meeting(&new, self.shared.membership.key) => {
                self.meeting_up(*new);
            }
            Msg::PeerUp(new) => {
                let id = new.connection.id();
                self.peer_up(*new);
                self.greeting.remove(&id);
                self.check_discovery();
            }
            Msg::Greeted { id, full } => self.greeted(id, full),
            Msg::Message { peer, message, room } => {
                if self.meetings.contains_key(&peer) {
                    self.meeting_message(peer, message);
                } else {
                    self.message(peer, message);
                }
                drop(room);
            }
            Msg::PeerDown { peer, protocol } => {
                if self.meeting_down(peer) {
                    return;
                }
                if let Some(why) = protocol {
                    self.ban(peer, &why);
                } else if self.peers.contains_key(&peer) {
                    self.last_left = Some(Instant::now());
                }
                let lost = self.peers.get(&peer).filter(|p| p.connection.is_lost());
                let lost = lost.map(|p| (p.id, Lost::of(&p.connection)));
                if self.forget_peer(peer) {
                    self.drain();
                }
                if let Some((id, lost)) = lost {
                    self.dial_again(id, lost);
                }
            }
            Msg::Request { from, request, send } => self.peer_request(&from, &request, send),
            Msg::UploadEnded { peer, id, bytes } => self.input(Input::SendDone {
                peer,
                request: id,
                bytes,
            }),
            Msg::UploadCancelled { peer, id } => {
                self.uploads.remove(&id);
                self.input(Input::PeerCancelled { peer, request: id });
            }
            Msg::Verified { run, source } => {
                // Lost again meanwhile, or told before.
                for run in self.news(run) {
                    self.last_progress = Instant::now();
                    self.trickle
                        .verified(self.ground.counters.lost.load(Ordering::Relaxed));
                    self.count_source(run, source, true);
                    if matches!(source, Source::Origin) {
                        self.origin_problem = None;
                    }
                    self.input(Input::Verified { run, source });
                }
            }
            Msg::RequestEnded { id, failure, why } => {
                let Some((peer, _)) = self.requests.remove(&id) else {
                    return;
                };
                if let (Some(why), Some(state)) = (why, self.peers.get(&peer)) {
                    self.problem(format!("the peer {}: {why}", state.connection.remote_address()));
                }
                self.input(match failure {
                    None => Input::RequestDone { request: id },
                    Some(reason) => Input::RequestFailed { request: id, reason },
                });
            }
            Msg::OriginBytes { id, bytes } => {
                let lost = self.ground.counters.lost.load(Ordering::Relaxed);
                if self.trickle.comes(bytes, lost) {
                    self.last_progress = Instant::now();
                }
                self.input(Input::OriginBytes { fetch: id, bytes });
            }
            Msg::OriginWaits { id, waits } => self.input(Input::OriginWaits { fetch: id, waits }),
            Msg::FetchEnded { id, result } => {
                if let Some(fetch) = self.fetches.get_mut(&id) {
                    fetch.ended = Some(result);
                }
            }
            Msg::Dialed { address, result } => self.dialed(address, result),
            Msg::Punched { address, result } => self.punched(address, result),
            Msg::Unreached { address } => self.ask_for(address),
            Msg::Announced {
                first,
                answer,
                peers,
                viewers,
                meeting,
                problems,
            } => {
                if self.trackers.told(answer, &problems) {
                    // From now on it is known whom to look for.
                    self.last_progress = Instant::now();
                }
                self.trackers_to_answer = self.trackers_to_answer.saturating_sub(usize::from(first));
                for problem in problems {
                    self.problem(problem);
                }
                self.add_candidates(peers, Heard::Tracker, None);
                if let Some(place) = meeting {
                    self.meet(place);
                }
                self.viewers = viewers.or(self.viewers);
                if let Some(viewers) = viewers {
                    self.input(Input::SwarmSize(viewers.max(1)));
                }
                self.dial();
                self.check_discovery();
            }
            Msg::Found {
                heard,
                addresses,
                first_look_over,
            } => {
                if first_look_over {
                    self.looking.retain(|&place| place != heard);
                }
                self.add_candidates(addresses, heard, None);
                self.dial();
                self.check_discovery();
            }
            Msg::Relay { address } => {
                if self.peers.is_empty() {
                    self.add_candidates(vec![address], Heard::Relay, None);
                    self.candidates.try_again(address, Instant::now());
                    self.dial();
                }
            }
            Msg::RelayAccepts => self.relay_refuses = None,
            Msg::RelayRefuses { why } => {
                self.problem(why.clone());
                self.relay_refuses = Some(why);
            }
            Msg::Resolved {
                host,
                addresses,
                problem,
            } => {
                self.resolving = self.resolving.saturating_sub(1);
                if let Some(problem) = problem {
                    self.problem(problem);
                }
                self.add_candidates(addresses, Heard::Named, Some(&host));
                self.dial();
                self.check_discovery();
            }
            Msg::Flushed(result) => {
                self.flushing = false;
                match result {
                    Ok(()) if self.shared.store.is_complete() => {
                        self.state = State::Complete;
                        self.tell_delivered(None);
                        if let Some(announcer) = &self.announcer {
                            announcer.send_if_modified(|phase| {
                                let change = *phase == announce::Phase::Running;
                                if change {
                                    *phase = announce::Phase::Completed;
                                }
                                change
                            });
                        }
                        self.publish();
                    }
                    // The store's events tell what is wrong, and what was lost is fetched again.
                    Ok(()) | Err(_) => {}
                }
            }
        }
    }

    /// The parts of a run that are in the store and that the core does not know of.
    fn news(&self, run: BlockRun) -> Vec<BlockRun> {
        let mut news: Vec<BlockRun> = Vec::new();
        for (block, number) in (run.first.0..).zip(self.ground.verifier.span(run)) {
            let one = BlockRun::new(run.file.0, block, 1);
            if self.swarm.has(one) || !self.shared.store.has_block(number) {
                continue;
            }
            match news.last_mut() {
                Some(last) if last.first.0 + last.count == block => last.count += 1,
                _ => news.push(one),
            }
        }
        news
    }

    pub(super) fn store_event(&mut self, event: StoreEvent) {
        match event {
            StoreEvent::Lost(runs) => {
                if self.state == State::Complete {
                    self.state = State::Downloading;
                }
                for run in runs {
                    self.count_source(run, Source::Disk, false);
                    self.input(Input::Lost { run });
                }
            }
            // It is over, whatever becomes of its record.
            StoreEvent::Full(_) if self.broken => {}
            StoreEvent::Full(error) => {
                self.problem(error.to_string());
                self.last_progress = Instant::now();
                self.state = State::Paused(error.to_string().into());
                self.publish();
            }
            StoreEvent::Writable => {
                self.last_progress = Instant::now();
                if matches!(self.state, State::Paused(_)) && !self.paused {
                    self.state = State::Downloading;
                }
                self.publish();
            }
            StoreEvent::Failed(error) => {
                self.fail(error.to_string());
                // Whatever came now would be lost again, and asked for again.
                self.broken = true;
                self.pause();
            }
        }
    }

    pub(super) fn sync_readers(&mut self) {
        let open = self.shared.readers.snapshot();
        let gone: Vec<ReaderId> = self
            .readers
            .keys()
            .filter(|r| !open.contains_key(r))
            .copied()
            .collect();
        for reader in gone {
            self.readers.remove(&reader);
            self.input(Input::ReaderClosed { reader });
        }
        for (reader, place) in open {
            let Place {
                file,
                position,
                demand,
            } = place;
            match self.readers.insert(reader, place) {
                None => {
                    self.input(Input::ReaderOpened {
                        reader,
                        file,
                        position,
                        demand,
                    });
                }
                Some(before) if before != place => {
                    self.input(Input::ReaderMoved {
                        reader,
                        position,
                        demand,
                    });
                }
                Some(_) => {}
            }
        }
    }
}
