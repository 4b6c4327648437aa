//! The local gateway: any player or podcast app opens `http://127.0.0.1:4768/` followed by the address of an episode, and gets the rendition that
//! `grove get` would write, from the swarm, with ads that were decided for it; any range of it, by fetching what that range needs.
//!
//! A request (`answer`): `address` says what it names and whether it was meant for us, `shelf` which rendition is this client's (all requests of one
//! playback get the same), `making` makes it when there is none, `range` says which part is wanted, `body` reads it as the connection takes
//! it (`held`, `reading`), and `delivered` sees from what was sent which ads were delivered. `feed` has a whole podcast come this way, `chapters` moves the chapters that it names. `telling` says what
//! happens, `torrents` joins the swarms, and `kept` has them joined again after a restart; `refusal` is what a request is told instead; `later` has late ads made ready for the next time, and `waiting` (pure) says when an origin that sends nothing is asked again, and when that is said.
//!
//! Invariants: nobody who asks over HTTP is taken for the person at the machine, so what is asked for is fetched through the gate and reaches
//! no private address unless the person said so; nothing tells a browser that other sites may read an answer; all that is kept is bounded.
//!
//! Lock order: each lock alone, never across an `.await`.

mod address;
mod answer;
mod body;
mod chapters;
mod delivered;
mod feed;
mod held;
mod kept;
mod later;
mod making;
mod range;
mod reading;
mod refusal;
mod shelf;
mod telling;
mod torrents;
mod waiting;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use engine::listen::{self, Doors};
use engine::node::Node;
use futures_util::FutureExt as _;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use self::held::Held;
pub(crate) use self::kept::KeptTorrents;
use self::later::Later;
use self::making::Made;
use self::refusal::Refusal;
use self::shelf::{Key, Shelf};
pub(crate) use self::telling::shown;
pub(crate) use self::torrents::{Joined, Torrents};
use self::waiting::Waiting;
use crate::beacons;
use crate::breaks::Swarm;
use crate::cli::SwarmArgs;
use crate::context::Context;

/// Renditions at a time.
const MOST_RENDITIONS: usize = 64;
/// Renditions that are being made at a time; others wait.
const MOST_MADE: usize = 4;
/// Feeds that are read and rewritten at a time; others wait.
const MOST_FEEDS: usize = 4;
/// Answers that are being sent at a time.
const MOST_BODIES: usize = 128;
/// How often what is over is looked for, and what could not be reported is tried again.
const SWEEP: Duration = Duration::from_secs(60);
/// How long after it was last asked for what came without its ads is made anew, when little of it was sent.
const SECOND_TRY: Duration = Duration::from_secs(30);
/// How long an answer that is being sent may hold up the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// How renditions are made, and how long they stay.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) swarm: SwarmArgs,
    pub(crate) freeze: Duration,
    pub(crate) keep: Duration,
    /// Longest wait of an answer that has begun.
    pub(crate) wait: Duration,
    pub(crate) json: bool,
}

/// See the module documentation. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gateway(Arc<Inner>);

pub(crate) struct Inner {
    context: Context,
    settings: Settings,
    node: Arc<Node>,
    creatives: Option<Arc<Swarm>>,
    torrents: Arc<Torrents>,
    listening: SocketAddr,
    shelf: Mutex<Shelf<Slot>>,
    making: Semaphore,
    feeds: Semaphore,
    later: Arc<Later>,
    bodies: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    /// An ad was delivered.
    delivered: Notify,
    /// What makes renditions: the end cuts it off.
    makers: Mutex<JoinSet<()>>,
    /// What says farewell to them: the end waits for it.
    farewells: Mutex<JoinSet<()>>,
}

impl std::ops::Deref for Gateway {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// A rendition, once it is made.
struct Slot {
    made: watch::Receiver<Option<Result<Made, Refusal>>>,
}

impl Gateway {
    /// A gateway that will listen at `listening`.
    pub(crate) fn new(
        context: &Context,
        settings: Settings,
        (node, creatives, torrents): (Arc<Node>, Option<Arc<Swarm>>, Arc<Torrents>),
        listening: SocketAddr,
    ) -> Self {
        Self(Arc::new(Inner {
            context: context.clone(),
            shelf: Mutex::new(Shelf::new(MOST_RENDITIONS, settings.keep)),
            settings,
            node,
            creatives,
            torrents,
            listening,
            making: Semaphore::new(MOST_MADE),
            feeds: Semaphore::new(MOST_FEEDS),
            later: Later::new(),
            bodies: Arc::new(Semaphore::new(MOST_BODIES)),
            waiting: Mutex::default(),
            delivered: Notify::new(),
            makers: Mutex::default(),
            farewells: Mutex::default(),
        }))
    }

    /// Answers requests and reports what was delivered, until `stop` is ready; then reports what is left.
    pub(crate) async fn serve(&self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let stopping = watch::Sender::new(false);
        let router = Router::new().fallback(answer::answer).with_state(self.clone());
        let serving = listen::serve(listener, router, Doors::default(), told(stopping.subscribe()));
        let ended = stopping.subscribe();
        let serving = async {
            tokio::select! {
                () = serving => {}
                // A player that has paused takes nothing for hours.
                () = async { told(ended).await; tokio::time::sleep(FAREWELL).await } => {}
            }
        };
        let stop = async {
            stop.await;
            stopping.send_replace(true);
        };
        tokio::join!(serving, self.report(stopping.subscribe()), stop);
        let mut makers = std::mem::take(&mut *lock(&self.makers));
        makers.shutdown().await;
        let mut farewells = std::mem::take(&mut *lock(&self.farewells));
        while let Some(ended) = farewells.join_next().await {
            tell_broken(ended);
        }
        let all = self.shelf().clear();
        for slot in all {
            farewell(&slot).await;
        }
    }

    /// Reports what was delivered when it was, and looks for what is over, until it is told to stop: not in the midst of it, where what is
    /// being sent would be lost.
    async fn report(&self, mut stop: watch::Receiver<bool>) {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                () = self.delivered.notified() => {}
                _ = sweep.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let over = self.shelf().sweep(Instant::now());
            for slot in over {
                farewell(&slot).await;
            }
            let all = self.held();
            for held in all {
                let reported = held.report().await;
                self.tell_reported(&held, &reported);
            }
            beacons::drain(&self.context).await;
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf<Slot>> {
        lock(&self.shelf)
    }

    fn held(&self) -> Vec<Arc<Held>> {
        let shelf = self.shelf();
        shelf.all().iter().filter_map(|slot| slot.held()).collect()
    }

    fn spawn_farewell(&self, slot: Arc<Slot>) {
        spawn(&self.farewells, async move { farewell(&slot).await });
    }

    /// What this client gets of a source: the same as before, or what is made for it now.
    async fn made(&self, key: &Key) -> Result<(Made, Arc<Slot>), Refusal> {
        let (sender, made) = watch::channel(None);
        let again = self
            .shelf()
            .take_off_idle(key, Instant::now(), SECOND_TRY, Slot::is_worth_another_try);
        if let Some(again) = again {
            self.spawn_farewell(again);
        }
        let found = self.shelf().find(key, Instant::now(), || Slot { made });
        let found = found.ok_or_else(|| {
            let reason = "too many episodes are being played at once";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason)
        })?;
        if let Some(old) = found.taken_off {
            self.spawn_farewell(old);
        }
        if found.is_new {
            // It goes on when this client does not wait: others may, and a decision that was made is worth keeping.
            let (gateway, key, slot) = (self.clone(), key.clone(), Arc::clone(&found.what));
            spawn(&self.makers, async move {
                let made = unbroken(gateway.make(&key.source)).await;
                if !matches!(made, Ok(Made::Rendition(_))) {
                    // The next request tries anew, whether or not anybody waits for this; whoever is told of it may be quick.
                    gateway.shelf().take_off(&key, &slot);
                }
                gateway.tell_made(&key.source, &made);
                drop(slot);
                sender.send_replace(Some(made));
            });
        }
        let slot = found.what;
        let mut made = slot.made.clone();
        let made = match made.wait_for(Option::is_some).await {
            Ok(made) => made.clone(),
            // The gateway stops.
            Err(_) => None,
        };
        let stops = || Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the gateway stops"));
        Ok((made.unwrap_or_else(stops)?, slot))
    }
}

impl Slot {
    fn held(&self) -> Option<Arc<Held>> {
        match &*self.made.borrow() {
            Some(Ok(Made::Rendition(held))) => Some(Arc::clone(held)),
            _ => None,
        }
    }

    fn is_worth_another_try(&self) -> bool {
        self.held().is_some_and(|held| held.is_worth_another_try())
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(tasks: &Mutex<JoinSet<()>>, task: impl Future<Output = ()> + Send + 'static) {
    let mut tasks = lock(tasks);
    while let Some(ended) = tasks.try_join_next() {
        tell_broken(ended);
    }
    tasks.spawn(task);
}

fn tell_broken(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a part of the gateway failed: {error}");
    }
}

/// What it gives; when the program fails in it, that whoever waits is to be told so: the next request may do better.
async fn unbroken<T>(making: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let made = AssertUnwindSafe(making).catch_unwind().await;
    made.unwrap_or_else(|_| {
        let reason = "a part of the program failed while this was made ready; its log says where";
        Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, reason))
    })
}

async fn told(mut stop: watch::Receiver<bool>) {
    // A sender that is gone means the same as one that spoke.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Nobody reads it any more.
async fn farewell(slot: &Slot) {
    if let Some(held) = slot.held() {
        held.leave().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_told_when_the_program_fails() {
        let made = unbroken::<()>(async { panic!("on purpose") }).await;
        assert!(made.is_err_and(|refusal| refusal.status == StatusCode::INTERNAL_SERVER_ERROR));
        assert!(unbroken(async { Ok(1) }).await.is_ok_and(|made| made == 1));
    }
}
