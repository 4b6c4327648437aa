//! Where content frames and re-encoded frames may meet: pure arithmetic on the content's frame grid.
//!
//! Positions are *decoded samples*, counted from those of the first audio frame, and content frames. Frame `f` decodes to samples `f * size ..`, but also touches up to [`Grid::overlap`] samples after those.
//! A seam must lie in content on both sides, so that both codings of it agree; how well they do depends on the position, so several are offered and the caller picks by listening.

use std::ops::{Range, RangeInclusive};

/// How many positions are offered for each seam, less one.
const CHOICE: u64 = 5;

/// The content's frame grid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Samples in a frame.
    pub(super) size: u64,
    /// How many frames.
    pub(super) frames: u64,
    /// Decoded sample at which the content ends.
    pub(super) end: u64,
    /// Length of the fades within the content.
    pub(super) fade: u64,
    /// How far a frame's data reaches into the samples of the frames after it.
    pub(super) overlap: u64,
    /// Content frames after an exit that are decoded to check it.
    pub(super) checked: u64,
    /// How far an exit may move when the frames where it should be cannot be used.
    pub(super) reach: u64,
}

/// A break's span of content in decoded samples.
pub(super) type Cut = Range<u64>;

/// One bridge: a run of breaks that are re-encoded together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Join {
    /// Which cuts.
    pub(super) cuts: Range<usize>,
    /// Content frames of which one is the first to be replaced. `0..=0` when everything from the beginning is, and there is no seam.
    pub(super) entries: RangeInclusive<u64>,
    /// Content frames of which one is the first to be used again; `None` when the bridge goes on to the end, and there is no seam.
    pub(super) exits: Option<RangeInclusive<u64>>,
}

fn entries(grid: Grid, cut: &Cut) -> RangeInclusive<u64> {
    let latest = cut.start.saturating_sub(grid.fade + grid.overlap) / grid.size;
    if latest <= CHOICE {
        0..=0
    } else {
        latest - CHOICE..=latest
    }
}

fn exits(grid: Grid, cut: &Cut) -> Option<RangeInclusive<u64>> {
    let earliest = (cut.end + grid.fade).div_ceil(grid.size);
    let fits = cut.end < grid.end && earliest + CHOICE + grid.checked <= grid.frames;
    fits.then_some(earliest..=earliest + CHOICE)
}

/// Groups cuts, which are in order, into bridges that do not touch each other.
pub(super) fn joins(grid: Grid, cuts: &[Cut]) -> Vec<Join> {
    let mut joins: Vec<Join> = Vec::new();
    for (i, cut) in cuts.iter().enumerate() {
        let entries = entries(grid, cut);
        let exits = exits(grid, cut);
        match joins.last_mut() {
            Some(last)
                if last
                    .exits
                    .as_ref()
                    .is_none_or(|exits| exits.end() + grid.reach + grid.checked > *entries.start()) =>
            {
                last.cuts.end = i + 1;
                last.exits = exits;
            }
            _ => joins.push(Join {
                cuts: i..i + 1,
                entries,
                exits,
            }),
        }
    }
    joins
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRID: Grid = Grid {
        size: 1152,
        frames: 10_000,
        end: 10_000 * 1152 - 1_000,
        fade: 220,
        overlap: 1056,
        checked: 4,
        reach: 24,
    };

    fn cut(at: u64) -> Cut {
        at..at
    }

    #[test]
    fn a_cut_in_the_middle_has_a_choice_on_both_sides() {
        let at = 1000 * 1152 + 500;
        let joins = joins(GRID, &[cut(at)]);
        // 500 samples into frame 1000: fade and overlap take part of frame 999.
        assert_eq!(
            joins,
            [Join {
                cuts: 0..1,
                entries: 994..=999,
                exits: Some(1001..=1006)
            }]
        );
    }

    #[test]
    fn at_the_ends_there_is_one_seam() {
        assert_eq!(joins(GRID, &[cut(1105)])[0].entries, 0..=0);
        assert_eq!(joins(GRID, &[cut(GRID.end)])[0].exits, None);
    }

    #[test]
    fn cuts_close_together_share_a_bridge() {
        let joins = joins(
            GRID,
            &[2_000_000..2_000_000, 2_010_000..2_030_000, 4_000_000..4_000_000],
        );
        assert_eq!(
            joins.iter().map(|join| join.cuts.clone()).collect::<Vec<_>>(),
            [0..2, 2..3]
        );
    }

    proptest! {
        #[test]
        fn at_most_eight_frames_a_side(size in prop::sample::select(vec![576u64, 1152]), at in 0u64..5_000_000, len in 0u64..100_000) {
            let grid = Grid { size, frames: 10_000, end: 10_000 * size - 1_000, fade: 240, ..GRID };
            let cut = at.min(grid.end)..(at + len).min(grid.end);
            let join = joins(grid, std::slice::from_ref(&cut)).remove(0);
            prop_assert!(cut.start.div_ceil(size) - join.entries.start() <= 8 + 1);
            prop_assert!(join.entries.end() * size <= cut.start);
            if let Some(exits) = join.exits {
                prop_assert!(exits.end() - cut.end / size <= 8);
                prop_assert!(exits.start() * size >= cut.end + grid.fade);
            }
        }
    }
}
