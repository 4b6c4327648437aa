//! For how long a server that sends no more of a file is asked on: until nothing new has come for so long, however often it begins. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::asking::{self, NoAnswer};

/// For so long without anything new a server is asked on that gave something to this command.
const PATIENCE: Duration = Duration::from_secs(300);

/// What came when.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The most that was here, of any version: what comes again is nothing new.
    most: u64,
    /// Something new has come at all.
    came: bool,
    since: Instant,
    /// Pauses since then.
    times: u32,
    /// For so long a server is asked that gave nothing yet.
    first: Duration,
}

impl Waiting {
    pub(super) fn new(have: u64, first: Duration, now: Instant) -> Self {
        Self {
            most: have,
            came: false,
            since: now,
            times: 0,
            first,
        }
    }

    /// So much is here now; whether that is more than there ever was.
    pub(super) fn have(&mut self, have: u64, now: Instant) -> bool {
        let is_new = have > self.most;
        if is_new {
            self.most = have;
            self.came = true;
            self.since = now;
            self.times = 0;
        }
        is_new
    }

    /// It was paused until now, which is nobody's silence.
    pub(super) fn was_paused(&mut self, now: Instant) {
        self.since = now;
    }

    /// The pause before the server is asked again, and when that is given up; `None` when it is now.
    pub(super) fn pause(
        &mut self,
        trouble: &NoAnswer,
        now: Instant,
        chance: f64,
    ) -> Option<(Duration, Instant)> {
        let patience = match trouble {
            // A name that is not found was found before.
            trouble if self.came && trouble.is_trouble() => PATIENCE.max(self.first),
            trouble => trouble.worth(self.first),
        };
        let quiet = now.duration_since(self.since);
        let pause = asking::pause(self.times, quiet, patience, trouble.after(), chance)?;
        self.times += 1;
        Some((pause, self.since + patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gate::StatusCode;

    const SECOND: Duration = Duration::from_secs(1);

    fn busy(after: Option<u64>) -> NoAnswer {
        NoAnswer::Status {
            status: StatusCode::SERVICE_UNAVAILABLE,
            after: after.map(Duration::from_secs),
        }
    }

    /// Asks again at once after each pause; for how long, and how often.
    fn until_given_up(
        waiting: &mut Waiting,
        mut now: Instant,
        mut brings: impl FnMut() -> u64,
    ) -> (Duration, u32) {
        let (begun, mut times) = (now, 0);
        loop {
            waiting.have(brings(), now);
            let Some((pause, until)) = waiting.pause(&busy(None), now, 0.5) else {
                return (now - begun, times);
            };
            assert!(now + pause <= until);
            now += pause;
            times += 1;
        }
    }

    #[test]
    fn it_ends_when_nothing_new_comes_however_much_comes_again() {
        let now = Instant::now();
        let mut waiting = Waiting::new(0, SECOND * 60, now);
        let (lasted, _) = until_given_up(&mut waiting, now, || 0);
        assert!(lasted > SECOND * 40 && lasted <= SECOND * 60, "{lasted:?}");
        // The same beginning each time, as from a server that gives no parts and breaks off.
        let mut waiting = Waiting::new(0, SECOND * 60, now);
        let (lasted, times) = until_given_up(&mut waiting, now, || 100_000);
        assert!(lasted > SECOND * 270 && lasted <= SECOND * 300, "{lasted:?}");
        assert!(times < 40, "{times}");
    }

    #[test]
    fn whoever_brings_something_each_time_is_asked_on_soon() {
        let now = Instant::now();
        let mut waiting = Waiting::new(5, SECOND * 60, now);
        for more in 1..1000 {
            let now = now + SECOND * 100 * more;
            assert!(waiting.have(5 + u64::from(more), now));
            let (pause, _) = waiting.pause(&busy(None), now, 1.0).expect("it goes on");
            assert!(pause <= SECOND, "{pause:?}");
        }
    }

    #[test]
    fn what_a_server_asks_for_is_heeded_or_ends_it() {
        let now = Instant::now();
        let mut waiting = Waiting::new(0, SECOND * 60, now);
        let (pause, _) = waiting.pause(&busy(Some(7)), now, 0.0).expect("it goes on");
        assert_eq!(pause, SECOND * 7);
        assert!(waiting.pause(&busy(Some(90)), now, 0.0).is_none());
        waiting.have(1, now);
        let (pause, _) = waiting.pause(&busy(Some(90)), now, 0.0).expect("it goes on");
        assert_eq!(pause, SECOND * 90);
        waiting.was_paused(now + SECOND * 400);
        assert!(waiting.pause(&busy(None), now + SECOND * 401, 0.0).is_some());
        assert!(waiting.pause(&busy(None), now + SECOND * 701, 0.0).is_none());
        let refused = NoAnswer::Encoded("gzip".into());
        assert!(waiting.pause(&refused, now + SECOND * 401, 0.0).is_none());
    }
}
