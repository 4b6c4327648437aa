//! Introductions: how two peers behind routers come together.
//!
//! A peer that cannot reach an address sends `dial` with that address and an id of zeros to who may know the peer
//! there: the tracker's endpoint where peers meet, and those who told of the address. Who is asked tells both sides
//! the other's id and the address where it is seen, by a `dial` each; both then open their routers at the same time
//! ([`Registry::punch`](super::registry::Registry::punch)). We ask, we introduce, and we are introduced; each within
//! an allowance, so that nobody can be made to dial the world.

use super::announce::MeetingPlace;
use super::candidates::Heard;
use super::control::{self, Membership, NewPeer};
use super::driver::Driver;
use super::inbox::Msg;
use super::registry::Registry;
use crate::allowance::Allowance;
use crate::swarm::{Peer, PeerId};
use crate::tracker::meeting;
use crate::wire::{Hello, Message};
use gate::Family;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The id in a `dial` that asks for an introduction.
pub(super) const NOBODY: [u8; 32] = [0; 32];
/// Who is asked for one introduction.
const MAX_ASKED: usize = 3;
/// Trackers' endpoints that are used.
pub(super) const MAX_MEETINGS: usize = 3;
/// First and longest pause before a lost endpoint is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(120));

/// A tracker's endpoint that we are connected with.
#[derive(Debug)]
pub(super) struct Meeting {
    outbox: mpsc::Sender<Message>,
    allowance: Allowance,
}

impl Meeting {
    fn new(new: &NewPeer, now: Duration) -> Self {
        Self {
            outbox: new.outbox.clone(),
            allowance: allowance(now),
        }
    }
}

/// How often somebody may ask us to introduce it, or introduce us.
pub(super) fn allowance(now: Duration) -> Allowance {
    Allowance::new(meeting::INTRODUCTIONS.0, meeting::INTRODUCTIONS.1, now)
}

impl Driver {
    /// A tracker has an endpoint where peers meet.
    pub(super) fn meet(&mut self, place: MeetingPlace) {
        if self.places.contains(&place) || self.places.len() >= MAX_MEETINGS {
            return;
        }
        self.places.push(place.clone());
        let room = meeting::room(self.shared.membership.key);
        let (registry, driver) = (self.registry.clone(), self.ground.driver.clone());
        self.tasks.spawn(stay(registry, place, room, driver));
    }

    /// A tracker's endpoint has answered.
    pub(super) fn meeting_up(&mut self, new: NewPeer) {
        let peer = Peer(self.next_name);
        self.next_name += 1;
        if let Some(seen) = new.hello.observed {
            let observer = new.connection.remote_address().ip();
            self.registry.observe(observer, seen, true);
        }
        let meeting = Meeting::new(&new, self.began.elapsed());
        if new.accepted.send(peer).is_ok() {
            self.meetings.insert(peer, meeting);
        }
    }

    /// What a tracker's endpoint says.
    pub(super) fn meeting_message(&mut self, from: Peer, message: Message) {
        match message {
            Message::PeerExchange(addresses) => {
                self.add_candidates(addresses, Heard::Meeting, None);
                self.dial();
            }
            Message::Dial { peer, address } => {
                let now = self.began.elapsed();
                let meeting = self.meetings.get_mut(&from);
                if meeting.is_some_and(|m| m.allowance.take(now)) {
                    self.introduced(Heard::Meeting, PeerId(peer), address);
                }
            }
            _ => {}
        }
    }

    /// An address does not answer: asks those who may know who is there.
    pub(super) fn ask_for(&mut self, address: SocketAddr) {
        let message = Message::Dial {
            peer: NOBODY,
            address,
        };
        let tellers = self.candidates.tellers(address).to_vec();
        for meeting in self.meetings.values() {
            // An endpoint that does not read is no use now.
            let _ = meeting.outbox.try_send(message.clone());
        }
        let peers: Vec<Peer> = tellers
            .iter()
            .filter_map(|id| self.by_id.get(id).copied())
            .take(MAX_ASKED)
            .collect();
        for peer in peers {
            self.send(peer, message.clone());
        }
    }

    /// A neighbour sent `dial`: it asks for an introduction, or introduces us. Not in private torrents (BEP 27), where
    /// only trackers say who is there.
    pub(super) fn dial_message(&mut self, from: Peer, peer: [u8; 32], address: SocketAddr) {
        if self.shared.private() {
            return;
        }
        let now = self.began.elapsed();
        let Some(state) = self.peers.get_mut(&from) else {
            return;
        };
        if !state.conduct.introductions.take(now) {
            return;
        }
        let (id, seen) = (state.id, state.connection.remote_address());
        if peer != NOBODY {
            self.introduced(Heard::Peer(id), PeerId(peer), address);
            return;
        }
        let wanted = self.peers.iter().find(|(other, state)| {
            let there = state.connection.remote_address() == address || state.listens == Some(address);
            **other != from && there
        });
        let Some((&other, state)) = wanted else { return };
        let (other_id, other_seen) = (state.id, state.connection.remote_address());
        if !gate::is_meaningful_to(seen.ip(), other_seen.ip())
            || !gate::is_meaningful_to(other_seen.ip(), seen.ip())
        {
            return;
        }
        self.send(
            other,
            Message::Dial {
                peer: id.0,
                address: seen,
            },
        );
        self.send(
            from,
            Message::Dial {
                peer: other_id.0,
                address: other_seen,
            },
        );
    }

    /// Somebody introduced us to a peer: opens our router for it now.
    fn introduced(&mut self, heard: Heard, id: PeerId, address: SocketAddr) {
        let known = id == self.registry.id()
            || self.by_id.contains_key(&id)
            || self.banned.contains(&id)
            || self.greeting.contains(&id);
        if known || self.paused || !self.options.use_peers {
            return;
        }
        let allowed = self.registry.gate().check(address, &address.ip().to_string());
        if allowed.is_err()
            || self.peers.len() >= crate::swarm::neighbours::MOST
            || !self.candidates.introduce(address, heard, Instant::now())
        {
            return;
        }
        let (registry, driver) = (self.registry.clone(), self.ground.driver.clone());
        self.tasks.spawn(async move {
            let result = registry.punch(id, address).await;
            let _ = driver.send(Msg::Punched { address, result }).await;
        });
    }

    /// Whether this is a tracker's endpoint; it is forgotten when it has gone.
    pub(super) fn meeting_down(&mut self, peer: Peer) -> bool {
        self.meetings.remove(&peer).is_some()
    }
}

/// Whether this is a tracker's endpoint where the peers of the swarm with this key meet.
pub(super) fn is_meeting(new: &NewPeer, key: [u8; 20]) -> bool {
    is_answer_of_meeting(&new.hello, new.opened, key)
}

/// Only [`once`] opens a stream to a room. Whoever opens one to us, and whoever answers in a swarm's own name, is a
/// peer, whatever it says of itself.
fn is_answer_of_meeting(hello: &Hello, opened: bool, key: [u8; 20]) -> bool {
    let says_so = hello
        .extensions
        .iter()
        .any(|(name, _)| name == meeting::EXTENSION);
    opened && hello.swarm == meeting::room(key) && says_so
}

/// Keeps a control stream to a tracker's endpoint, as long as the torrent lives.
pub(super) async fn stay(
    registry: Arc<Registry>,
    place: MeetingPlace,
    room: [u8; 32],
    driver: mpsc::Sender<Msg>,
) {
    let mut failures = 0;
    loop {
        let began = Instant::now();
        if let Err(why) = once(&registry, &place, room, &driver).await {
            tracing::debug!(host = %place.host, port = place.port, "where peers meet: {why}");
        }
        failures = if began.elapsed() > PAUSES.1 {
            0
        } else {
            failures + 1
        };
        let pause = (PAUSES.0 * 2_u32.saturating_pow(failures)).min(PAUSES.1);
        tokio::time::sleep(pause).await;
    }
}

async fn once(
    registry: &Arc<Registry>,
    place: &MeetingPlace,
    room: [u8; 32],
    driver: &mpsc::Sender<Msg>,
) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let addresses = registry
        .gate()
        .resolve(&place.host, place.port)
        .await
        .map_err(|e| text(&e))?;
    let ours = registry.local_addrs();
    let address = addresses
        .iter()
        .filter(|a| place.family.is_none_or(|family| Family::of(a) == family))
        .find(|a| ours.iter().any(|o| o.is_ipv4() == a.is_ipv4()))
        .ok_or("it has no address of a family that we have")?;
    let connection = registry
        .connect(*address, Some(&place.host))
        .await
        .map_err(|e| text(&e))?;
    let port = registry.port_for(address.is_ipv4());
    let membership = Membership::of_room(room);
    control::open(connection, port, membership, driver.clone())
        .await
        .map_err(|e| text(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::VERSION;

    #[test]
    fn only_who_was_asked_for_a_room_is_a_meeting_place() {
        let (key, swarm) = ([7; 20], [7; 32]);
        let hello = |swarm, name: &str| Hello {
            version: VERSION,
            swarm,
            listen_port: 0,
            observed: None,
            extensions: vec![(name.to_owned(), bytes::Bytes::new())],
        };
        let room = hello(meeting::room(key), meeting::EXTENSION);
        assert!(is_answer_of_meeting(&room, true, key));
        assert!(!is_answer_of_meeting(&room, false, key), "it came to us");
        assert!(!is_answer_of_meeting(&room, true, [8; 20]), "another room");
        let peer = hello(swarm, meeting::EXTENSION);
        assert!(!is_answer_of_meeting(&peer, true, key), "a peer that we dialled");
        assert!(!is_answer_of_meeting(&peer, false, key));
        assert!(!is_answer_of_meeting(
            &hello(meeting::room(key), "other"),
            true,
            key
        ));
    }
}
