//! How fast a connection may send: in the background, or as others do.
//!
//! Uploads are background traffic ([`Ledbat`]), unless their rate was stated by the person whose line it is (`--up`): then
//! that is what they may have. While something that the asker marked urgent is being sent, the same
//! connection competes normally (Cubic). Whoever serves says which by holding a [`Hurry`]; both controllers sit in
//! one quinn controller that looks at the shared count at each event, so that a connection switches while it runs.

use super::ledbat::Ledbat;
use super::thread::Moved;
use crate::allowance::Allowance;
use crate::swarm::BLOCK_SIZE;
use quinn::congestion::{Controller, ControllerFactory, Cubic, CubicConfig};
use std::any::Any;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Urgent blocks that one asker can have at once, and the pause after which it can have one more: 4 MB/s, enough for the
/// richest video, and no way to make every download an urgent one.
const URGENT: (u32, Duration) = (500, Duration::from_nanos(250 * BLOCK_SIZE as u64));

/// The time over which it is measured what a connection sends.
const MEASURED: Duration = Duration::from_millis(25);

/// How many urgent replies a connection is sending, which with `background` is its mode, and how many more it may.
#[derive(Debug)]
pub(super) struct Mode {
    /// Whether it stays behind others when nothing is urgent.
    background: bool,
    urgent: AtomicU32,
    allowance: Mutex<Allowance>,
    began: Instant,
    /// Whom to tell how fast it sends.
    moved: Moved,
}

impl Mode {
    /// The mode of a new connection.
    pub(super) fn new(background: bool, moved: Moved) -> Self {
        Self {
            background,
            moved,
            urgent: AtomicU32::new(0),
            allowance: Mutex::new(Allowance::new(URGENT.0, URGENT.1, Duration::ZERO)),
            began: Instant::now(),
        }
    }

    fn is_normal(&self) -> bool {
        !self.background || self.urgent.load(Ordering::Relaxed) > 0
    }
}

/// As long as this lives, its connection sends as fast as others do.
#[derive(Debug)]
pub struct Hurry(Arc<Mode>);

impl Hurry {
    /// For a reply of so many blocks; `None` when the asker has had its share.
    pub(super) fn new(mode: &Arc<Mode>, blocks: u32) -> Option<Self> {
        let mut allowance = mode.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        allowance.take_many(blocks, mode.began.elapsed()).then(|| {
            mode.urgent.fetch_add(1, Ordering::Relaxed);
            Self(mode.clone())
        })
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        self.0.urgent.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes the controller of one connection.
#[derive(Debug, Clone)]
pub(super) struct Factory(pub(super) Arc<Mode>);

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, packet: u16) -> Box<dyn Controller> {
        let mut modes = TwoModes {
            mode: self.0.clone(),
            background: Ledbat::new(packet, now),
            normal: None,
            packet,
            acknowledged: 0,
            trip: None,
            smoothed: Duration::ZERO,
            since: now,
            delivered: 0,
        };
        modes.switch(now);
        Box::new(modes)
    }
}

#[derive(Clone)]
struct TwoModes {
    mode: Arc<Mode>,
    background: Ledbat,
    /// The normal controller, while it decides.
    normal: Option<Cubic>,
    packet: u16,
    /// Bytes acknowledged in the batch at hand.
    acknowledged: u64,
    /// The round trip of its last packet: the one whose acknowledgement waited least.
    trip: Option<Duration>,
    /// The round trip as quinn knows it.
    smoothed: Duration,
    /// Bytes acknowledged since then without a pause for want of more to send.
    since: Instant,
    delivered: u64,
}

impl TwoModes {
    /// Says how fast it sends while there is more to send.
    fn measure(&mut self, bytes: u64, limited: bool, now: Instant) {
        self.delivered += bytes;
        let time = now.saturating_duration_since(self.since);
        if !limited && time < MEASURED {
            return;
        }
        if !limited {
            let rate = self.delivered as f64 / time.as_secs_f64();
            self.mode
                .moved
                .sends(rate, self.packet, self.window(), self.smoothed);
        }
        (self.since, self.delivered) = (now, 0);
    }

    fn switch(&mut self, now: Instant) {
        match (self.mode.is_normal(), &self.normal) {
            (true, None) => {
                let mut config = CubicConfig::default();
                config.initial_window(self.background.window().max(10 * u64::from(self.packet)));
                self.normal = Some(Cubic::new(Arc::new(config), now, self.packet));
            }
            (false, Some(normal)) => {
                self.background.take_over(normal.window());
                self.normal = None;
            }
            _ => {}
        }
    }
}

impl Controller for TwoModes {
    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        limited: bool,
        rtt: &quinn_proto::RttEstimator,
    ) {
        self.acknowledged += bytes;
        self.trip = Some(now.saturating_duration_since(sent));
        self.smoothed = rtt.get();
        if let Some(normal) = &mut self.normal {
            normal.on_ack(now, sent, bytes, limited, rtt);
        }
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, limited: bool, largest: Option<u64>) {
        let bytes = std::mem::take(&mut self.acknowledged);
        self.measure(bytes, limited, now);
        if let Some(trip) = self.trip.take() {
            self.background.measured(trip, now);
        }
        match &mut self.normal {
            Some(normal) => normal.on_end_acks(now, in_flight, limited, largest),
            None if bytes > 0 => self.background.acknowledged(bytes, limited, now),
            None => {}
        }
        self.switch(now);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, bytes: u64) {
        match &mut self.normal {
            Some(normal) => normal.on_congestion_event(now, sent, persistent, bytes),
            None => self.background.lost(sent, bytes, persistent, now),
        }
        self.switch(now);
    }

    fn on_mtu_update(&mut self, packet: u16) {
        self.packet = packet;
        self.background.set_packet(packet);
        if let Some(normal) = &mut self.normal {
            normal.on_mtu_update(packet);
        }
    }

    fn window(&self) -> u64 {
        self.normal
            .as_ref()
            .map_or_else(|| self.background.window(), Controller::window)
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        10 * u64::from(self.packet)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
#[path = "congestion_tests.rs"]
mod tests;
