//! How often somebody may do something: so many times at once, and one more after each pause. Pure.

use std::time::Duration;

/// What is left of an allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    most: u32,
    pause: Duration,
    left: u32,
    since: Duration,
}

impl Allowance {
    /// All of `most` at once, and one regained after each `pause` (above zero).
    pub fn new(most: u32, pause: Duration, now: Duration) -> Self {
        Self {
            most,
            pause,
            left: most,
            since: now,
        }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Duration) -> bool {
        self.take_many(1, now)
    }

    /// Takes so many, if there are so many.
    pub fn take_many(&mut self, wanted: u32, now: Duration) -> bool {
        let regained = now.saturating_sub(self.since).as_nanos() / self.pause.as_nanos().max(1);
        let regained = u32::try_from(regained).unwrap_or(u32::MAX);
        if regained >= self.most - self.left {
            (self.left, self.since) = (self.most, now);
        } else {
            self.left += regained;
            self.since += self.pause * regained;
        }
        let enough = self.left >= wanted;
        if enough {
            self.left -= wanted;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_regained_step_by_step_and_never_hoarded() {
        let ms = Duration::from_millis;
        let mut allowance = Allowance::new(3, ms(10), ms(100));
        let mut taken = |at, times: u32| (0..times).filter(|_| allowance.take(ms(at))).count();
        assert_eq!(taken(100, 5), 3);
        assert_eq!(taken(109, 5), 0);
        assert_eq!(taken(110, 5), 1);
        assert_eq!(taken(125, 5), 1, "half a step is not lost");
        assert_eq!(taken(130, 5), 1);
        assert_eq!(taken(100_000, 50), 3);
        assert_eq!(taken(50, 5), 0, "a clock that goes back gives nothing");
    }

    #[test]
    fn many_are_taken_at_the_rate_or_not_at_all() {
        let ms = Duration::from_millis;
        let mut allowance = Allowance::new(200, ms(10), ms(0));
        let given: u32 = (0..1_000)
            .filter(|step| allowance.take_many(7, ms(step * 10)))
            .map(|_| 7)
            .sum();
        // Ten seconds at a hundred a second, and what there was at first.
        assert!((1_180..=1_200).contains(&given), "{given}");
    }
}
