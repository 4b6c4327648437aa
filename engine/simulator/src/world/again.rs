//! Why more than one copy of the content leaves the origin: what the world knew when a viewer drew a block again.

use engine::swarm::BlockRun;

use super::{Node, Simulation};
use crate::report::Again;

impl Simulation {
    /// A viewer is about to draw these blocks from the origin.
    pub(super) fn count_draw(&mut self, node: usize, run: BlockRun) {
        for block in run.first.0..run.first.0 + run.count {
            let one = BlockRun::new(0, block, 1);
            let bytes = self.layout.run_bytes(one);
            if !std::mem::replace(&mut self.drawn[block as usize], true) {
                continue;
            }
            let counter = self.reason(node, one);
            *counter(&mut self.again) += bytes;
        }
    }

    fn reason(&self, node: usize, block: BlockRun) -> fn(&mut Again) -> &mut u64 {
        let me = &self.nodes[node];
        let there = |n: &Node| !n.gone && n.core.is_some();
        let holds = |n: &Node| there(n) && n.core.as_ref().is_some_and(|core| core.has(block));
        let draws = |n: &Node| {
            there(n)
                && n.fetches
                    .values()
                    .any(|f| f.first.0 <= block.first.0 && block.first.0 < f.first.0 + f.count)
        };
        let neighbours = || me.neighbours.iter().map(|&n| &self.nodes[n]);
        let honest = |n: &&Node| !n.plan.free_rider && !n.plan.corrupt;
        if neighbours().any(draws) {
            return |a| &mut a.claimed;
        }
        if neighbours()
            .filter(honest)
            .any(|n| holds(n) && n.unchoked.contains(&node))
        {
            return |a| &mut a.served;
        }
        if neighbours().filter(honest).any(holds) {
            return |a| &mut a.choked;
        }
        if self.nodes.iter().any(draws) {
            return |a| &mut a.claimed_afar;
        }
        if self.nodes.iter().filter(honest).any(holds) {
            return |a| &mut a.held_afar;
        }
        |a| &mut a.lost
    }
}
