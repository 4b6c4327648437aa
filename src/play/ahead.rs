//! When each break's turn comes while it plays. Pure.
//!
//! A break is *due* (to be decided, fetched and conditioned) when playback comes within [`LEAD`] of it. One that stands right where
//! playback begins is waited for, one within [`NEAR`] for moments, since the player reads ahead. What lies before that place is never asked
//! for. An ad whose decision expires before its break comes is decided again, while there is time.

use std::time::Duration;

use ad_splicer::time::ContentTime;

/// How far ahead of a break it is prepared.
pub(super) const LEAD: Duration = Duration::from_secs(60);
/// More than the player ever has read ahead: closer than this no decision is made again.
const READ_AHEAD: Duration = Duration::from_secs(25);
/// What is heard before a break that is this near to the beginning is not worth beginning with.
const HELD: Duration = Duration::from_secs(1);
/// What the player reads in its first moments, with room to spare: a break that is nearer would be spliced in too late.
const NEAR: Duration = Duration::from_secs(8);

/// The breaks that have to do with how playback begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct First {
    /// They are waited for.
    pub(super) held: Vec<usize>,
    /// They are waited for some moments.
    pub(super) near: Vec<usize>,
}

/// Which breaks keep the first sound waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    Held,
    Near,
}

impl First {
    /// What is waited for when `came` says of each break whether it was made ready and has ads (`None`: that is under way). With ads to begin with, those that
    /// are only near are waited for no longer.
    pub(super) fn waits_for(&self, came: impl Fn(usize) -> Option<bool>) -> Option<Waits> {
        let is_open = |which: &[usize]| which.iter().any(|index| came(*index).is_none());
        let has_ads = || self.held.iter().any(|index| came(*index) == Some(true));
        if is_open(&self.held) {
            Some(Waits::Held)
        } else if is_open(&self.near) && !has_ads() {
            Some(Waits::Near)
        } else {
            None
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its turn has not come.
    Ahead,
    /// It is being made ready, or spliced in.
    Begun,
    /// Its ads are spliced in; they may be used until then (Unix milliseconds).
    Spliced(Option<u64>),
    /// Nothing more will be done for it.
    Over,
}

/// The breaks of one playback.
#[derive(Debug)]
pub(super) struct Ahead {
    breaks: Vec<(ContentTime, State)>,
}

impl Ahead {
    /// Breaks at these places, in order; playback begins at `from`.
    pub(super) fn new(places: impl IntoIterator<Item = ContentTime>, from: ContentTime) -> Self {
        let state = |at| if at < from { State::Over } else { State::Ahead };
        Ahead {
            breaks: places.into_iter().map(|at| (at, state(at))).collect(),
        }
    }

    /// Those that are to be ready before playback begins at `from`; they are begun now.
    pub(super) fn first(&mut self, from: ContentTime) -> First {
        First {
            held: self.begin_within(from, HELD),
            near: self.begin_within(from, NEAR),
        }
    }

    /// All of them; they are begun now.
    pub(super) fn all(&mut self) -> Vec<usize> {
        for (_, state) in &mut self.breaks {
            *state = State::Begun;
        }
        (0..self.breaks.len()).collect()
    }

    /// Those whose turn has come with playback at `at`; they are begun now.
    pub(super) fn due(&mut self, at: ContentTime) -> Vec<usize> {
        self.begin_within(at, LEAD)
    }

    fn begin_within(&mut self, at: ContentTime, lead: Duration) -> Vec<usize> {
        let until = at
            .as_nanos()
            .saturating_add(u64::try_from(lead.as_nanos()).unwrap_or(u64::MAX));
        let mut begun = Vec::new();
        for (index, (place, state)) in self.breaks.iter_mut().enumerate() {
            if *state == State::Ahead && place.as_nanos() <= until {
                *state = State::Begun;
                begun.push(index);
            }
        }
        begun
    }

    /// A seek leads from one place to another: of the breaks between that are not decided, the last one. The others are passed: nobody will be asked for them.
    pub(super) fn crossed(&mut self, from: ContentTime, to: ContentTime) -> Option<usize> {
        let between = |(place, state): &(ContentTime, State)| {
            from < *place && *place <= to && matches!(state, State::Ahead | State::Begun)
        };
        let last = self.breaks.iter().rposition(between)?;
        for one in self.breaks[..last].iter_mut().filter(|one| between(one)) {
            if one.1 == State::Ahead {
                one.1 = State::Over;
            }
        }
        Some(last)
    }

    /// Begins this break now; `false` when that was done already.
    pub(super) fn begin(&mut self, index: usize) -> bool {
        let state = &mut self.breaks[index].1;
        let ahead = *state == State::Ahead;
        if ahead {
            *state = State::Begun;
        }
        ahead
    }

    /// Whether it is not known yet what plays in a break.
    pub(super) fn is_open(&self, index: usize) -> bool {
        matches!(self.breaks[index].1, State::Ahead | State::Begun)
    }

    /// A seek goes over a break that is not begun.
    pub(super) fn pass(&mut self, index: usize) {
        if self.breaks[index].1 == State::Ahead {
            self.breaks[index].1 = State::Over;
        }
    }

    /// The ads of a break are spliced in, and may be used until `expires` (Unix milliseconds).
    pub(super) fn spliced(&mut self, index: usize, expires: Option<u64>) {
        self.breaks[index].1 = State::Spliced(expires);
    }

    /// Nothing more will be done for a break.
    pub(super) fn over(&mut self, index: usize) {
        self.breaks[index].1 = State::Over;
    }

    /// Breaks whose ads have expired at `now` (Unix milliseconds) and that playback at `at` is not too near to: their turn comes
    /// again.
    pub(super) fn expired(&mut self, at: ContentTime, now: u64) -> Vec<usize> {
        let near = at.as_nanos().saturating_add(READ_AHEAD.as_nanos() as u64);
        let mut expired = Vec::new();
        for (index, (place, state)) in self.breaks.iter_mut().enumerate() {
            let State::Spliced(Some(expires)) = *state else {
                continue;
            };
            if place.as_nanos() > near && now >= expires {
                *state = State::Ahead;
                expired.push(index);
            }
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> ContentTime {
        ContentTime::from_nanos(seconds * 1_000_000_000)
    }

    fn first(held: &[usize], near: &[usize]) -> First {
        First {
            held: held.to_vec(),
            near: near.to_vec(),
        }
    }

    fn breaks() -> [ContentTime; 4] {
        [at(0), at(8), at(100), at(600)]
    }

    #[test]
    fn a_break_is_due_once_when_playback_comes_near_it() {
        let mut ahead = Ahead::new(breaks(), at(0));
        assert_eq!(ahead.first(at(0)), first(&[0], &[1]));
        assert_eq!(ahead.due(at(39)), [0_usize; 0]);
        assert_eq!(ahead.due(at(40)), [2]);
        assert_eq!(ahead.due(at(41)), [0_usize; 0]);
        assert_eq!(ahead.due(at(540)), [3]);
    }

    #[test]
    fn with_ads_to_begin_with_those_that_are_only_near_are_not_waited_for() {
        let waits = |held: Option<bool>, near: Option<bool>| {
            first(&[3], &[4]).waits_for(|index| if index == 3 { held } else { near })
        };
        for near in [None, Some(false), Some(true)] {
            assert_eq!(waits(None, near), Some(Waits::Held));
            assert_eq!(waits(Some(true), near), None, "{near:?}");
        }
        assert_eq!(waits(Some(false), None), Some(Waits::Near));
        assert_eq!(waits(Some(false), Some(false)), None);
        assert_eq!(waits(Some(false), Some(true)), None);
        assert_eq!(first(&[], &[4]).waits_for(|_| None), Some(Waits::Near));
        assert_eq!(first(&[], &[]).waits_for(|_| None), None);
        let two = |index| (index == 0).then_some(true);
        assert_eq!(first(&[0, 1], &[]).waits_for(two), Some(Waits::Held));
    }

    #[test]
    fn what_lies_before_the_beginning_is_never_asked_for() {
        let mut ahead = Ahead::new(breaks(), at(90));
        assert_eq!(
            ahead.first(at(90)),
            First::default(),
            "it is made ready while ten seconds play"
        );
        assert_eq!(ahead.due(at(90)), [2]);
        let mut ahead = Ahead::new(breaks(), at(99));
        assert_eq!(ahead.first(at(99)), first(&[2], &[]));
        assert_eq!(ahead.due(at(599)), [3]);
    }

    #[test]
    fn of_the_breaks_that_a_seek_leads_over_only_the_last_is_decided() {
        let mut ahead = Ahead::new(breaks(), at(0));
        assert_eq!(ahead.first(at(0)), first(&[0], &[1]));
        ahead.spliced(1, None);
        assert_eq!(ahead.crossed(at(10), at(50)), None, "it is spliced in already");
        assert_eq!(ahead.crossed(at(30), at(700)), Some(3));
        assert!(ahead.begin(3) && !ahead.begin(3) && ahead.is_open(3));
        assert_eq!(ahead.due(at(100)), [0_usize; 0], "the one before it is passed");
        ahead.spliced(3, None);
        assert!(!ahead.is_open(3));
        assert_eq!(ahead.crossed(at(700), at(30)), None, "backwards");
    }

    #[test]
    fn an_expired_decision_is_made_again_unless_it_is_too_near() {
        let mut ahead = Ahead::new(breaks(), at(0));
        ahead.first(at(0));
        assert_eq!(ahead.due(at(50)), [2]);
        ahead.spliced(2, Some(70_000));
        assert_eq!(
            ahead.expired(at(50), 60_000),
            [0_usize; 0],
            "it has not expired yet"
        );
        assert_eq!(ahead.expired(at(80), 70_000), [0_usize; 0], "too near");
        assert_eq!(ahead.expired(at(60), 70_000), [2]);
        assert_eq!(ahead.due(at(60)), [2], "its turn comes again");
        ahead.spliced(2, None);
        assert_eq!(ahead.expired(at(60), u64::MAX), [0_usize; 0], "it never expires");
        ahead.over(2);
        assert_eq!(ahead.due(at(60)), [0_usize; 0]);
    }
}
