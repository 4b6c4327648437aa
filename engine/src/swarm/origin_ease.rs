//! Whether the origin has time for what no reader needs at once.
//!
//! Each player draws its next minute ahead. All of a crowd together fill the origin's queue with that, and what somebody
//! needs at once waits behind it. So whoever sees the origin bring something late leaves it alone for a while with what
//! has time, the longer the later it came: the queue stays short.
//! Not here: what is drawn ahead (`origin_duty`), what at once (`origin_urgent`). Downloads have no deadlines to keep, and
//! their own bound.

use std::time::{Duration, Instant};

use super::Swarm;
use super::readers::Reader;

/// A fetch takes this long beyond the time in which its media is played, at an origin that is at ease.
const PROMPT: Duration = Duration::from_millis(300);
/// So many times as long as a fetch was late, the origin is left alone.
const PATIENCE: f64 = 16.0;
/// No longer than this.
const LONGEST: Duration = Duration::from_secs(15);

impl Swarm {
    /// A fetch of so many bytes came to its end.
    pub(super) fn origin_took(&mut self, bytes: u64, sent: Instant, now: Instant) {
        let Some(bitrate) = self.bitrate() else { return };
        let media = Duration::from_secs_f64(bytes as f64 / bitrate.max(1) as f64);
        let late = now.saturating_duration_since(sent).saturating_sub(media + PROMPT);
        let until = now + late.mul_f64(PATIENCE).min(LONGEST);
        self.origin.busy_until = self.origin.busy_until.max(until);
    }

    /// Whether what has time may be drawn. With nobody around who holds anything, a slow origin is all there is.
    pub(super) fn origin_is_at_ease(&self, now: Instant) -> bool {
        self.origin.busy_until <= now
            || self.peers.values().all(|p| p.have_blocks == 0)
            || !self.readers.values().any(Reader::streams)
    }
}
