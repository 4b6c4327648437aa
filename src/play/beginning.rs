//! What the first sound waits for: the breaks that stand right there, until they are ready or their time is over, and those near it, for
//! moments only. What is not ready then goes on being made ready while the content plays.
//!
//! Laying a rendition out reads the content around its ads, which may be far from being here: that is waited for no longer either, or two
//! seconds where making ready took all the time.
//!
//! Not for: which breaks are near (`ahead`), or what comes of the others (`splicing`).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ad_splicer::content::Content;
use ad_splicer::splice::SpliceError;
use anyhow::Context as _;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};

use super::Work;
use super::ahead::{First, Waits};
use crate::breaks::{Prepared, Preparer, Ready, Spot};
use crate::rendition::{self, Frozen};

/// How long breaks that are near, and not right at the beginning, may keep the first sound waiting; and laying out when the time is over.
const HOLD: Duration = Duration::from_secs(2);

/// What there is to begin with.
pub(super) struct Beginning {
    /// The rendition that is read first.
    pub(super) made: Frozen,
    /// The breaks that were made ready, or were not, in the order in which their places are numbered.
    pub(super) prepared: Vec<(usize, Prepared)>,
    /// What is still under way; and whether a rendition that is being laid out is in it.
    pub(super) work: JoinSet<Work>,
    pub(super) freezing: bool,
    /// The ads of these keys are in that rendition, or were tried for `made`.
    pub(super) laid_out: HashSet<String>,
}

impl Beginning {
    /// All that can ever be in it is laid out.
    pub(super) fn with(made: Frozen, ready: &[Ready]) -> Self {
        Self {
            made,
            prepared: Vec::new(),
            work: JoinSet::new(),
            freezing: false,
            laid_out: keys(ready),
        }
    }
}

/// The keys of what is ready in some breaks.
fn keys(ready: &[Ready]) -> HashSet<String> {
    ready.iter().map(|ready| ready.key.clone()).collect()
}

/// Lays out a rendition of content that grows, beside whatever else is done.
pub(super) fn lay_out(
    work: &mut JoinSet<Work>,
    content: &Arc<dyn Content>,
    spots: Vec<Spot>,
    ready: Vec<Ready>,
) {
    let (content, tried) = (Arc::clone(content), keys(&ready));
    let prepared = Prepared {
        spots,
        ready,
        ..Prepared::default()
    };
    work.spawn(async move { Work::Frozen(tried, freeze(content, prepared).await.map(Box::new)) });
}

async fn freeze(content: Arc<dyn Content>, prepared: Prepared) -> anyhow::Result<Frozen> {
    let made = tokio::task::spawn_blocking(move || {
        rendition::freeze(content.as_ref(), prepared, &rendition::GROWING)
    });
    let made: Result<Result<Frozen, SpliceError>, JoinError> = made.await;
    Ok(made.context("preparing")??)
}

/// Has these breaks of content that grows made ready, each for as long as `time` allows, and lays out what to begin with.
pub(super) async fn begin(
    preparer: &Preparer,
    content: &Arc<dyn Content>,
    first: &First,
    time: Duration,
) -> anyhow::Result<Beginning> {
    let began = Instant::now();
    let near_until = began + time.min(HOLD);
    let mut work = JoinSet::new();
    for &index in first.held.iter().chain(&first.near) {
        let preparer = preparer.clone();
        work.spawn(async move { Work::Prepared(index, preparer.prepare(&[index], time).await) });
    }
    let mut prepared: Vec<(usize, Prepared)> = Vec::new();
    let came = |prepared: &[(usize, Prepared)], index: usize| {
        let found = prepared.iter().find(|(done, _)| *done == index);
        found.map(|(_, came)| !came.ready.is_empty())
    };
    loop {
        let done = match first.waits_for(|index| came(&prepared, index)) {
            // Its own time ends it.
            Some(Waits::Held) => work.join_next().await,
            Some(Waits::Near) => match timeout_at(near_until, work.join_next()).await {
                Ok(done) => done,
                Err(_elapsed) => break,
            },
            None => break,
        };
        let Some(done) = done else { break };
        if let Work::Prepared(index, came) = done.context("preparing ads")? {
            prepared.push((index, came));
        }
    }
    // Numbered as all later renditions number them.
    let spots: Vec<Spot> = prepared.iter().flat_map(|(_, came)| came.spots.clone()).collect();
    let ready_in = |which: &[usize]| -> Vec<Ready> {
        let of = prepared.iter().filter(|(index, _)| which.contains(index));
        of.flat_map(|(_, came)| came.ready.clone()).collect()
    };
    let held = ready_in(&first.held);
    let (ready, until) = if held.is_empty() {
        (ready_in(&first.near), near_until)
    } else {
        (held, (began + time).max(Instant::now() + HOLD))
    };
    let (mut freezing, laid_out) = (false, keys(&ready));
    let mut made = None;
    if !ready.is_empty() {
        lay_out(&mut work, content, spots, ready);
        freezing = true;
        while freezing && let Ok(Some(done)) = timeout_at(until, work.join_next()).await {
            match done.context("preparing ads")? {
                Work::Prepared(index, came) => prepared.push((index, came)),
                Work::Frozen(_, frozen) => {
                    freezing = false;
                    made = Some(*frozen?);
                }
            }
        }
    }
    let made = match made {
        Some(made) => made,
        None => freeze(Arc::clone(content), Prepared::default()).await?,
    };
    Ok(Beginning {
        made,
        prepared,
        work,
        freezing,
        laid_out,
    })
}
