//! Telling one tracker about us, again and again, and the driver what it answers.

use super::driver::Msg;
use super::transfer::Ground;
use crate::swarm::PeerId;
use crate::tracker::Event;
use crate::tracker::client::{AnnounceRequest, announce};
use gate::{Gate, Url};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// Peers that are asked for.
const WANTED: u32 = 50;
/// First and longest pause after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// How far the torrent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// It has just become complete.
    Completed,
    Stopped,
}

/// What an announce needs.
#[derive(Debug)]
pub(super) struct About {
    pub(super) gate: Gate,
    pub(super) url: String,
    pub(super) swarm_key: [u8; 20],
    pub(super) id: PeerId,
    pub(super) port: u16,
    pub(super) ground: Arc<Ground>,
}

impl About {
    fn request(&self, event: Option<Event>, tracker_id: Option<Vec<u8>>) -> AnnounceRequest {
        let counters = &self.ground.counters;
        let mut peer_id = *b"-GR0100-000000000000";
        peer_id[8..].copy_from_slice(&self.id.0[..12]);
        AnnounceRequest {
            key: self.swarm_key,
            peer_id,
            port: self.port,
            uploaded: counters.uploaded.load(Ordering::Relaxed),
            downloaded: counters.received.load(Ordering::Relaxed),
            left: self.ground.verifier.length() - self.ground.store.held_bytes(),
            event,
            numwant: if event == Some(Event::Stopped) { 0 } else { WANTED },
            tracker_id,
        }
    }
}

/// Announces until the phase is [`Phase::Stopped`], which it tells before it ends.
pub(super) async fn run(about: About, mut phase: watch::Receiver<Phase>) {
    let mut first = true;
    let mut started = false;
    let mut completed = about.ground.store.is_complete();
    let mut failures = 0;
    let mut tracker_id = None;
    let url = match Url::parse(&about.url) {
        Ok(url) => url,
        Err(e) => {
            let problem = Some(format!("the tracker {:?} is not a URL: {e}", about.url));
            let _ = about
                .ground
                .driver
                .send(Msg::Announced {
                    first,
                    peers: Vec::new(),
                    viewers: None,
                    problem,
                })
                .await;
            return;
        }
    };
    loop {
        let now = *phase.borrow_and_update();
        let event = match now {
            Phase::Stopped if started => Some(Event::Stopped),
            Phase::Stopped => return,
            _ if !started => Some(Event::Started),
            Phase::Completed if !completed => Some(Event::Completed),
            _ => None,
        };
        let pause = match announce(&about.gate, &url, &about.request(event, tracker_id.clone())).await {
            Ok(answer) => {
                started = true;
                completed |= now == Phase::Completed;
                failures = 0;
                let alone = answer.peers.is_empty() && !about.ground.store.is_complete();
                tracker_id = answer.tracker_id.or(tracker_id);
                let viewers = answer
                    .complete
                    .zip(answer.incomplete)
                    .map(|(a, b)| a.saturating_add(b));
                let viewers = viewers.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
                if now != Phase::Stopped {
                    let msg = Msg::Announced {
                        first,
                        peers: answer.peers,
                        viewers,
                        problem: answer.warning,
                    };
                    let _ = about.ground.driver.send(msg).await;
                }
                if alone {
                    answer.min_interval
                } else {
                    answer.interval
                }
            }
            Err(e) => {
                let pause = (BACKOFF.0 * 2_u32.saturating_pow(failures)).min(BACKOFF.1);
                failures = (failures + 1).min(10);
                if now != Phase::Stopped {
                    let problem = Some(format!("announcing to a tracker: {e}"));
                    let msg = Msg::Announced {
                        first,
                        peers: Vec::new(),
                        viewers: None,
                        problem,
                    };
                    let _ = about.ground.driver.send(msg).await;
                }
                pause
            }
        };
        first = false;
        if now == Phase::Stopped {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // A change is told at once; an error says that the driver is gone.
            changed = phase.changed() => if changed.is_err() { return },
        }
    }
}
