//! The simulated player: starts with 2.5 s of media, then takes what its bitrate says ten times a second.

use std::time::Duration;

use engine::swarm::{BLOCK_SIZE, BlockRun, Demand, Input, ReaderId};

use super::{Event, Simulation};
use crate::plan::Player;

/// The media that is ready before a simulated player starts.
const START: Duration = Duration::from_millis(2_500);
/// How often a simulated player looks at its buffer.
pub(super) const PLAYER_STEP: Duration = Duration::from_millis(100);

impl Simulation {
    /// One step of a simulated player.
    pub(super) fn play(&mut self, node: usize) {
        let Some(Player { bitrate }) = self.nodes[node].plan.player else {
            return;
        };
        if self.nodes[node].gone {
            return;
        }
        let buffered = self.buffered(node, START.mul_f64(bitrate as f64).as_secs());
        let state = &mut self.nodes[node];
        let end = state.position + buffered >= self.network.length;
        if state.playing {
            let step = (PLAYER_STEP.as_secs_f64() * bitrate as f64) as u64;
            if buffered < step && !end {
                state.playing = false;
                state.report.stalls += 1;
            } else {
                state.position = (state.position + step).min(self.network.length);
                state.report.played += PLAYER_STEP;
            }
        } else {
            let enough = buffered as f64 >= START.as_secs_f64() * bitrate as f64;
            if enough || end {
                state.playing = true;
                state.report.started.get_or_insert(self.now - state.arrived);
            }
        }
        let (position, playing) = (state.position, state.playing);
        let waited = self.now - state.arrived;
        let again = state.report.started.is_some();
        if !playing && (again || waited > Duration::from_secs(1)) {
            let block = (position + buffered) / u64::from(BLOCK_SIZE);
            let wait = self.whereabouts(node, block as u32);
            let report = &mut self.nodes[node].report;
            let counts = if again {
                &mut report.stalled
            } else {
                &mut report.late
            };
            *counts.entry(wait).or_default() += 1;
        }
        let demand = Demand::Stream { bitrate, playing };
        // Told when it changes, and while it plays: a waiting reader's start keeps its deadline.
        if playing {
            self.give(
                node,
                Input::ReaderMoved {
                    reader: ReaderId(0),
                    position,
                    demand,
                },
            );
        }
        if position < self.network.length {
            self.schedule(self.now + PLAYER_STEP, Event::Play(node));
        }
    }

    /// Content bytes held from the player's position on, up to about `enough`.
    fn buffered(&self, node: usize, enough: u64) -> u64 {
        let state = &self.nodes[node];
        let Some(core) = &state.core else { return 0 };
        let mut end = state.position;
        while end < self.network.length && end - state.position <= enough {
            let block = (end / u64::from(BLOCK_SIZE)) as u32;
            if !core.has(BlockRun::new(0, block, 1)) {
                break;
            }
            end = (u64::from(block) + 1) * u64::from(BLOCK_SIZE);
        }
        end.min(self.network.length) - state.position
    }
}
