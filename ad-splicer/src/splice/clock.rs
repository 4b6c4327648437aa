//! When packets of sound are heard. Each follows the one before it, but where a file says otherwise: fragments often begin some samples later or earlier than the one before them ends, and files that were cut or put
//! together have gaps. Content keeps these as they are, so that its pictures stay with its sound. Pure.
//!
//! Samples are counted in two ways: *decoded* samples are those that packets give, one after another; *media* samples are the track's own time.

use std::ops::Range;

/// The media time of packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// Samples of a packet.
    size: u32,
    /// The packets that do not follow the one before, the first among them, and when each begins. Neither ever falls.
    jumps: Vec<(u64, u64)>,
    /// How many packets there are.
    packets: u64,
    /// How long the last one lasts.
    last: u32,
    /// Decoded sample of the first sample of content, and the media time at which the presentation begins: before the first sample where that is heard later.
    zero: (u64, i64),
}

impl Clock {
    /// Packets of `size` samples with these durations, the first sample of content being at a media time, and heard `lead` samples after the presentation begins.
    pub(super) fn new(size: u32, durations: &[(u32, u32)], zero: u64, lead: u64) -> Self {
        let mut clock = Self {
            size,
            jumps: Vec::new(),
            packets: 0,
            last: size,
            zero: (0, 0),
        };
        let mut time = 0;
        for (count, duration) in durations.iter().filter(|run| run.0 > 0) {
            if *duration == size {
                clock.add(u64::from(*count), time);
            } else {
                (0..u64::from(*count)).for_each(|i| clock.add(1, time + i * u64::from(*duration)));
            }
            time += u64::from(*count) * u64::from(*duration);
            clock.last = *duration;
        }
        let zero = zero.min(time);
        clock.zero = (clock.sample(zero).min(clock.samples()), zero as i64 - lead as i64);
        clock
    }

    /// Adds packets that follow each other from a media time on.
    fn add(&mut self, count: u64, time: u64) {
        if count == 0 {
            return;
        }
        if self.jumps.is_empty() || self.start(self.packets) != time {
            self.jumps.push((self.packets, time));
        }
        self.packets += count;
    }

    /// When a packet begins.
    pub(super) fn start(&self, packet: u64) -> u64 {
        let next = self.jumps.partition_point(|jump| jump.0 <= packet);
        let (first, time) = next.checked_sub(1).map_or((0, 0), |at| self.jumps[at]);
        time + (packet - first) * u64::from(self.size)
    }

    /// Decoded samples of all packets.
    pub(super) fn samples(&self) -> u64 {
        let whole = self.packets.saturating_sub(1) * u64::from(self.size);
        whole
            + u64::from(if self.packets == 0 {
                0
            } else {
                self.last.min(self.size)
            })
    }

    /// Decoded sample of the first sample of content.
    pub(super) fn skip(&self) -> u64 {
        self.zero.0
    }

    /// The media time at which the presentation begins.
    pub(super) fn start_of_content(&self) -> i64 {
        self.zero.1
    }

    /// When a content sample is heard, in media samples after the beginning of the presentation.
    pub(super) fn heard(&self, content: u64) -> i64 {
        let sample = content + self.zero.0;
        let size = u64::from(self.size);
        // What comes after the last sample belongs to the last packet.
        let packet = (sample / size).min(self.packets.saturating_sub(1));
        (self.start(packet) + sample - packet * size) as i64 - self.zero.1
    }

    /// The content sample that is heard so long after the beginning of the presentation; in a gap, the next one.
    pub(super) fn content(&self, heard: i64) -> u64 {
        let time = (heard + self.zero.1).max(0) as u64;
        self.sample(time).saturating_sub(self.zero.0)
    }

    /// The decoded sample at a media time.
    fn sample(&self, time: u64) -> u64 {
        let next = self.jumps.partition_point(|jump| jump.1 <= time);
        let (first, begins) = next.checked_sub(1).map_or((0, 0), |at| self.jumps[at]);
        let sample = first * u64::from(self.size) + (time - begins);
        let most = self.jumps.get(next).map(|jump| jump.0 * u64::from(self.size));
        most.map_or(sample, |most| sample.min(most))
    }

    /// The clock of packets of this one, with others between. Content stands so much later as packets stand before it; others follow each other from where the content before them stops.
    pub(super) fn spliced(&self, pieces: impl Iterator<Item = Packets>, last: Option<u32>) -> Self {
        let mut out = Self {
            size: self.size,
            jumps: Vec::new(),
            packets: 0,
            last: last.unwrap_or(self.last),
            zero: self.zero,
        };
        let mut next = 0;
        for piece in pieces {
            let shift = (out.packets as i64 - next as i64) * i64::from(self.size);
            match piece {
                Packets::Made(count) => out.add(count, self.start(next).saturating_add_signed(shift)),
                Packets::Content(range) => {
                    let shift = (out.packets as i64 - range.start as i64) * i64::from(self.size);
                    let mut from = range.start;
                    while from < range.end {
                        let jump = self.jumps.partition_point(|jump| jump.0 <= from);
                        let until = self
                            .jumps
                            .get(jump)
                            .map_or(range.end, |jump| jump.0.min(range.end));
                        out.add(until - from, self.start(from).saturating_add_signed(shift));
                        from = until;
                    }
                    next = range.end;
                }
            }
        }
        out
    }

    /// How long each packet lasts, in runs.
    pub(super) fn durations(&self) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        let mut add = |count: u64, lasts: u64| match runs.last_mut() {
            Some((all, same)) if u64::from(*same) == lasts => *all += count as u32,
            _ if count > 0 => runs.push((count as u32, lasts.min(u32::MAX.into()) as u32)),
            _ => {}
        };
        let size = u64::from(self.size);
        let end = self.start(self.packets.saturating_sub(1)) + u64::from(self.last);
        let ends = self.jumps.iter().skip(1).copied().chain([(self.packets, end)]);
        for ((first, begins), (next, ends)) in self.jumps.iter().zip(ends) {
            // The last of them lasts until the next one; where that is too soon, those before it are shorter.
            let (count, lasts) = (next - first, ends.saturating_sub(*begins));
            let whole = (count - 1).min(lasts / size);
            add(whole, size);
            add(1, lasts - whole * size);
            add(count - whole - 1, 0);
        }
        runs
    }
}

/// Packets of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packets {
    Content(Range<u64>),
    /// So many.
    Made(u64),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_gaps_both_counts_are_one() {
        let clock = Clock::new(1024, &[(9, 1024), (1, 336)], 1024, 0);
        assert_eq!((clock.skip(), clock.samples()), (1024, 9 * 1024 + 336));
        assert_eq!((clock.heard(0), clock.heard(5000)), (0, 5000));
        assert_eq!((clock.content(0), clock.content(5000)), (0, 5000));
        assert_eq!(clock.durations(), [(9, 1024), (1, 336)]);
        let pieces = [Packets::Content(0..4), Packets::Made(7), Packets::Content(6..10)];
        let spliced = clock.spliced(pieces.into_iter(), None);
        assert_eq!(spliced.durations(), [(14, 1024), (1, 336)]);
    }

    #[test]
    fn sound_that_begins_later_is_heard_later() {
        let clock = Clock::new(1024, &[(9, 1024)], 1024, 5000);
        assert_eq!((clock.skip(), clock.start_of_content()), (1024, -3976));
        assert_eq!((clock.heard(0), clock.heard(77)), (5000, 5077));
        assert_eq!(
            (clock.content(0), clock.content(5000), clock.content(5077)),
            (0, 0, 77)
        );
    }

    #[test]
    fn content_keeps_its_gaps_and_overlaps() {
        // The first packet early, a gap of 10 before packet 4, packet 8 a tick after packet 7.
        let durations = [(1, 3528), (2, 1024), (1, 1034), (3, 1024), (1, 1), (2, 1024)];
        let clock = Clock::new(1024, &durations, 0, 0);
        assert_eq!(clock.durations(), durations);
        assert_eq!(clock.start(4), 3528 + 2 * 1024 + 1034);
        assert_eq!(clock.heard(4 * 1024 + 5), clock.start(4) as i64 + 5);
        assert_eq!(clock.content(clock.heard(4 * 1024 + 5)), 4 * 1024 + 5);
        // In the gap: what comes after it.
        assert_eq!(clock.content(clock.start(4) as i64 - 3), 4 * 1024);

        let pieces = [Packets::Content(0..2), Packets::Made(9), Packets::Content(5..10)];
        let spliced = clock.spliced(pieces.into_iter(), None);
        let shift = 6 * 1024;
        for packet in 5..10 {
            assert_eq!(spliced.start(packet + 6), clock.start(packet) + shift);
        }
        // What was made follows what is before it, and the last of it takes the gap.
        assert_eq!(spliced.start(2), clock.start(2));
        assert_eq!(spliced.start(10), clock.start(2) + 8 * 1024);
        let all: u64 = spliced
            .durations()
            .iter()
            .map(|run| u64::from(run.0 * run.1))
            .sum();
        assert_eq!(all, clock.start(10) + shift);
    }

    #[test]
    fn what_is_made_over_an_overlap_never_goes_back() {
        let clock = Clock::new(1024, &[(3, 1024), (1, 1), (1, 335), (5, 1024)], 0, 0);
        let pieces = [Packets::Content(0..2), Packets::Made(4), Packets::Content(6..10)];
        let spliced = clock.spliced(pieces.into_iter(), None);
        assert_eq!(spliced.start(6), clock.start(6));
        let counted: u32 = spliced.durations().iter().map(|run| run.0).sum();
        assert_eq!(counted, 10);
        let time: u64 = spliced
            .durations()
            .iter()
            .map(|run| u64::from(run.0 * run.1))
            .sum();
        assert_eq!(time, clock.start(9) + 1024);
    }

    /// When each packet begins and how long it lasts, by counting.
    fn counted(durations: &[(u32, u32)]) -> Vec<(u64, u64)> {
        let lasts = durations
            .iter()
            .flat_map(|run| std::iter::repeat_n(u64::from(run.1), run.0 as usize));
        lasts
            .scan(0, |time, lasts| {
                let begins = *time;
                *time += lasts;
                Some((begins, lasts))
            })
            .collect()
    }

    fn durations(from: u32) -> impl Strategy<Value = Vec<(u32, u32)>> {
        let lasts = prop_oneof![3 => Just(SIZE), 1 => from..3 * SIZE];
        proptest::collection::vec((1_u32..6, lasts), 1..8)
    }

    const SIZE: u32 = 1024;

    proptest! {
        #[test]
        fn packets_begin_where_those_before_them_end(
            durations in durations(0),
            zero in 0_u64..9000,
            lead in 0_u64..9000,
            times in proptest::collection::vec(0_i64..60_000, 2..9),
        ) {
            let (clock, counted) = (Clock::new(SIZE, &durations, zero, lead), counted(&durations));
            for (packet, (begins, _)) in (0..).zip(&counted) {
                prop_assert_eq!(clock.start(packet), *begins);
            }
            prop_assert_eq!(self::counted(&clock.durations()), counted);
            // Later times never lead to earlier samples.
            let mut times = times;
            times.sort_unstable();
            let found: Vec<u64> = times.iter().map(|time| clock.content(*time)).collect();
            prop_assert!(found.is_sorted(), "{found:?}");
        }

        #[test]
        fn with_gaps_alone_what_is_heard_leads_back_to_its_sample(
            durations in durations(SIZE),
            zero in 0_u64..9000,
            lead in 0_u64..9000,
            parts in proptest::collection::vec(0.0..1.0, 9),
        ) {
            let clock = Clock::new(SIZE, &durations, zero, lead);
            let last = (clock.samples() - clock.skip()).saturating_sub(1);
            let mut before = None;
            let mut samples: Vec<u64> = parts.iter().map(|part| (part * last as f64) as u64).collect();
            samples.sort_unstable();
            samples.dedup();
            for sample in samples {
                let heard = clock.heard(sample);
                prop_assert_eq!(clock.content(heard), sample);
                prop_assert!(before.is_none_or(|before| before < heard));
                before = Some(heard);
            }
        }

        #[test]
        fn content_keeps_its_own_deltas_between_what_is_made(
            durations in durations(SIZE),
            parts in proptest::collection::vec((0.0..1.0, 0.0..1.0, 0_u64..9), 1..4),
        ) {
            let clock = Clock::new(SIZE, &durations, 0, 0);
            // Pieces of content in order, and packets after each.
            let (mut pieces, mut at) = (Vec::new(), 0);
            for (left_out, kept, made) in parts {
                let from = at + ((clock.packets - at) as f64 * left_out * 0.5) as u64;
                let to = from + ((clock.packets - from) as f64 * kept) as u64;
                pieces.extend([Packets::Content(from..to), Packets::Made(made)]);
                at = to;
            }
            let spliced = clock.spliced(pieces.iter().cloned(), None);
            let mut place = 0;
            for piece in &pieces {
                match piece {
                    Packets::Made(count) => place += count,
                    Packets::Content(range) => {
                        for packet in range.clone() {
                            let (is, was) = (spliced.start(place + packet - range.start), clock.start(packet));
                            let first = spliced.start(place);
                            prop_assert_eq!(is - first, was - clock.start(range.start));
                        }
                        place += range.end - range.start;
                    }
                }
            }
            prop_assert_eq!(spliced.packets, place);
            let told: u64 = spliced.durations().iter().map(|run| u64::from(run.0)).sum();
            prop_assert_eq!(told, place);
            prop_assert!(spliced.jumps.is_sorted_by_key(|jump| jump.1), "{:?}", spliced.jumps);
        }
    }
}
