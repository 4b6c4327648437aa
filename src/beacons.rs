//! Beacons of downloads and playbacks: stored once when a rendition is whole, something was presented or went wrong; sent until they are acknowledged, by this command or any later one.
//!
//! Not for: what is reported and how often (`ad_splicer::beacons`).

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ad_splicer::beacons::{
    Basis, Beacon, Drained, Event, Occurrence, Queue, QueueError, Session, UnixMillis, break_events,
    delivered, played, problems,
};
use ad_splicer::cues::{BreakEvent, CuePoint};
use ad_splicer::decide::{Ad, BreakPlace, limits};
use ad_splicer::memory::Memory;
use ad_splicer::time::ContentTime;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::breaks::{Failure, Preparer, Ready};
use crate::context::Context;

/// What the viewer's programs call themselves to ad servers.
pub(crate) const USER_AGENT: &str = concat!("Grove/", env!("CARGO_PKG_VERSION"));

/// How long a command goes on to begin sending beacons at its end. A server that refuses is not waited for.
const DRAIN: Duration = Duration::from_secs(3);
/// How often it is looked, while something plays, whether what could not be sent is due again.
const AGAIN: Duration = Duration::from_secs(10);

/// One rendition or playback: what happens to its ads is reported under its own id. A master that is decided again is another one.
#[derive(Clone, Debug)]
pub(crate) struct Playback {
    id: String,
    seed: u64,
    content_id: String,
}

impl Playback {
    /// A new one of this content (v2 info hash in hex).
    pub(crate) fn new(info_hash: &str) -> Self {
        let random: [u8; 16] = rand::random();
        let (half, _) = random.split_at(8);
        Playback {
            id: hex::encode(
                &Sha256::new()
                    .chain_update(info_hash)
                    .chain_update(random)
                    .finalize()[..16],
            ),
            seed: half.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
            content_id: info_hash.to_owned(),
        }
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Its seed.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    fn at(&self, break_index: usize, at: ContentTime, content_duration: ContentTime) -> Session {
        Session {
            id: self.id.clone(),
            seed: self.seed,
            content_id: Some(self.content_id.clone()),
            user_agent: Some(USER_AGENT.to_owned()),
            break_index,
            break_at: at,
            break_position: BreakPlace::of(at, content_duration).number() as u8,
            ..Session::default()
        }
    }

    /// Where and for whom something happens to an ad.
    pub(crate) fn session(&self, ready: &Ready, pod_length: usize) -> Session {
        let mut session = Session {
            pod_index: ready.place,
            pod_length,
            impressions_on: ready.impressions_on,
            ..self.at(ready.break_index, ready.at, ready.content_duration)
        };
        // What is used of a stored decision is reported as of the playback that it was made for, so that nothing counts twice.
        if let Some((id, seed)) = &ready.decided_for {
            (session.id, session.seed) = (id.clone(), *seed);
        }
        session
    }
}

/// The number that a playback's key for accounts of play is made for, by the playback's id.
pub(crate) fn proof_nonce(id: &str) -> [u8; 16] {
    let digest = Sha256::digest([b"grove playback nonce 1 ", id.as_bytes()].concat());
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&digest[..16]);
    nonce
}

/// How many of `ads` are in the break of `ready`.
pub(crate) fn pod_length<'a>(ready: &Ready, ads: impl IntoIterator<Item = &'a Ready>) -> usize {
    ads.into_iter()
        .filter(|other| other.break_index == ready.break_index)
        .count()
}

/// Stores what is to be reported for the ads of a finished rendition.
pub(crate) async fn store_delivered(context: &Context, playback: &Playback, ads: &[Ready]) {
    let now = UnixMillis::now();
    let beacons = ads
        .iter()
        .flat_map(|ready| delivered(&playback.session(ready, pod_length(ready, ads)), &ready.ad, now))
        .collect::<Vec<_>>();
    store(context, &beacons).await;
}

/// Notes that ads came to this device, for its frequency caps: what is in a file counts as if it were heard.
pub(crate) async fn remember(memory: &Memory, ads: &[Ready]) {
    for ready in ads {
        if let Err(error) = memory.note(&limits::names(&ready.ad), UnixMillis::now()).await {
            tracing::warn!(%error, "the memory of ads cannot be written");
        }
    }
}

/// Stores what is to be reported of decisions and ads that failed: the ads' errors, and that of a break that stays empty.
pub(crate) async fn store_failures(
    context: &Context,
    playback: &Playback,
    failures: &[Failure],
    basis: Basis,
) {
    let now = UnixMillis::now();
    let mut beacons = Vec::new();
    for failure in failures {
        let session = playback.at(failure.break_index, failure.at, failure.content_duration);
        beacons.extend(problems(&session, &failure.problems, now));
        for ad in &failure.not_used {
            beacons.extend(not_used(&session, ad));
        }
        if let Some(code) = failure.empty {
            let event = BreakEvent::Error;
            beacons.extend(break_events(
                &session,
                &failure.cue,
                event,
                Some(code),
                basis,
                now,
            ));
        }
    }
    store(context, &beacons).await;
}

/// Stores that ads were made ready and not used. That is the last that is told of them, so no kept decision may bring them again.
pub(crate) async fn store_not_used(
    context: &Context,
    playback: &Playback,
    preparer: Option<&Preparer>,
    ads: &[Ready],
) {
    let beacons: Vec<Beacon> = ads
        .iter()
        .flat_map(|ready| not_used(&playback.session(ready, pod_length(ready, ads)), &ready.ad))
        .collect();
    store(context, &beacons).await;
    let Some((preparer, memory)) = preparer.and_then(|preparer| Some((preparer, preparer.memory()?))) else {
        return;
    };
    for ready in ads {
        let place = preparer.place_name(ready.break_index);
        if let Err(error) = memory.forget(preparer.content(), &place).await {
            tracing::warn!(%error, "a decision that is not used cannot be forgotten");
        }
    }
}

/// What is to be reported of an ad that was prepared, or decided, and will never be presented: the last that is ever told of it.
fn not_used(session: &Session, ad: &Ad) -> Vec<Beacon> {
    let happened = Occurrence {
        event: Event::NotUsed,
        at: UnixMillis::now(),
        ad_time: Duration::ZERO,
    };
    played(session, ad, ad.duration.unwrap_or_default(), happened)
}

/// What is to be reported when a break begins or ends while it is presented; `first` is its first ad.
pub(crate) fn of_break(playback: &Playback, cue: &CuePoint, first: &Ready, event: BreakEvent) -> Vec<Beacon> {
    let session = playback.at(first.break_index, first.at, first.content_duration);
    break_events(&session, cue, event, None, Basis::Played, UnixMillis::now())
}

/// Puts beacons into the queue. Where that fails they are lost and it is said: an ad's report never stands between a person and the content.
async fn store(context: &Context, beacons: &[Beacon]) {
    // No file is made for nothing.
    if beacons.is_empty() {
        return;
    }
    let stored = async { Queue::open(&context.ads_db()).await?.store(beacons).await };
    if let Err(error) = stored.await {
        tracing::warn!(%error, beacons = beacons.len(), "what happened to the ads cannot be reported");
    }
}

/// Sends what waits, for about three seconds. Trouble is logged: it is no reason for a download to fail, and the queue keeps what it has.
pub(crate) async fn drain(context: &Context) {
    tell(drain_until(context, DRAIN, &AtomicBool::new(false)).await);
}

fn tell(drained: Result<Drained, QueueError>) {
    if let Err(error) = drained {
        tracing::warn!(%error, "beacons were not sent; a later command tries again");
    }
}

/// What became of it.
async fn drain_until(context: &Context, budget: Duration, stop: &AtomicBool) -> Result<Drained, QueueError> {
    if !context.ads_db().exists() {
        return Ok(Drained::default());
    }
    let queue = Queue::open(&context.ads_db()).await?;
    let now = UnixMillis::now();
    let drained = queue.drain_until(&context.gate, now, budget, stop).await?;
    tracing::debug!(?drained, "beacons");
    Ok(drained)
}

/// Which troubles were told since there was none.
#[derive(Debug, Default)]
struct Told(HashSet<String>);

impl Told {
    /// What was not told yet.
    fn new_in(&mut self, drained: Result<Drained, QueueError>) -> Result<Drained, QueueError> {
        match &drained {
            Ok(_) => self.0.clear(),
            Err(error) if !self.0.insert(error.to_string()) => return Ok(Drained::default()),
            Err(_) => {}
        }
        drained
    }
}

/// [`drain`] beside a command's own work.
pub(crate) struct Draining {
    task: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Draining {
    /// Sends what earlier commands could not report.
    pub(crate) fn begin(context: &Context) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (context, stopped) = (context.clone(), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            tell(drain_until(&context, DRAIN, &stopped).await);
        });
        Draining { task, stop }
    }

    /// Begins no further beacon, and waits for those under way: what is cut off may have arrived, and is never sent again.
    pub(crate) async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Err(error) = (&mut self.task).await {
            tracing::warn!(%error, "sending beacons");
        }
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends beacons while something plays, each soon after it was stored; what earlier commands could not report as well.
pub(crate) struct Sending {
    task: JoinHandle<()>,
    stored: Arc<Notify>,
    stop: Arc<AtomicBool>,
    /// When it was told to end.
    ending: Arc<OnceLock<Instant>>,
}

impl Sending {
    /// Begins with what waits already.
    pub(crate) fn begin(context: &Context) -> Self {
        let (stored, stop, ending) = <(Arc<Notify>, Arc<AtomicBool>, Arc<OnceLock<Instant>>)>::default();
        let (context, wake) = (context.clone(), Arc::clone(&stored));
        let (stopped, ended) = (Arc::clone(&stop), Arc::clone(&ending));
        let task = tokio::spawn(async move {
            let mut told = Told::default();
            loop {
                let drained = drain_until(&context, DRAIN, &stopped).await;
                let waits = drained.as_ref().map_or(true, |drained| drained.waiting > 0);
                tell(told.new_in(drained));
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                tokio::select! {
                    () = wake.notified() => {}
                    () = tokio::time::sleep(AGAIN), if waits => {}
                }
            }
            // Those that were under way were waited for already.
            let waited = ended.get().map(Instant::elapsed).unwrap_or_default();
            let drained = drain_until(&context, DRAIN.saturating_sub(waited), &AtomicBool::new(false)).await;
            tell(told.new_in(drained));
        });
        Sending {
            task,
            stored,
            stop,
            ending,
        }
    }

    /// Beacons were stored. Nobody waits for them to be sent.
    pub(crate) fn stored(&self) {
        self.stored.notify_one();
    }

    /// Waits for those under way, and begins to send what is left, for about three seconds together.
    pub(crate) async fn end(mut self) {
        // The only one who sets it.
        let _ = self.ending.set(Instant::now());
        self.stop.store(true, Ordering::Relaxed);
        self.stored.notify_one();
        if let Err(error) = (&mut self.task).await {
            tracing::warn!(%error, "sending beacons");
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use ad_splicer::beacons::{BeaconKey, OpenError, Receiver};
    use tokio::net::TcpListener;

    use super::*;

    /// Beacons that are sent at a time.
    const AT_ONCE: usize = 8;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_leaves_waits_for_a_silent_server_once() -> anyhow::Result<()> {
        gate::install_crypto_provider();
        let folder = tempfile::tempdir()?;
        let context = Context::at(folder.path())?;
        let silent = TcpListener::bind("127.0.0.1:0").await?;
        let address = silent.local_addr()?;
        let beacons: Vec<Beacon> = (0..3 * AT_ONCE)
            .map(|n| {
                let url = format!("http://{address}/{n}");
                Beacon {
                    key: BeaconKey::new("playback", "ad", "start", &url),
                    event: "start".to_owned(),
                    url,
                    receiver: Receiver::ThirdParty,
                    at: UnixMillis::now(),
                    body: None,
                }
            })
            .collect();
        let queue = Queue::open(&context.ads_db()).await?;
        queue.store(&beacons).await?;
        let sending = Sending::begin(&context);
        let mut asked = Vec::new();
        while asked.len() < AT_ONCE {
            asked.push(silent.accept().await?);
        }
        // Those that are under way last longer than anybody is to wait.
        sending.end().await;
        assert_eq!(queue.waiting().await?, 2 * AT_ONCE as u64, "no others were begun");
        Ok(())
    }

    #[test]
    fn a_trouble_is_told_once_until_it_is_gone() {
        let mut told = Told::default();
        let mut is_told = |drained| told.new_in(drained).is_err();
        let failed = |what: &str| {
            Err(QueueError::Open(OpenError::Unwritable {
                path: "ads.db".to_owned(),
                what: what.to_owned(),
                source: std::io::ErrorKind::PermissionDenied.into(),
            }))
        };
        let gone = || Ok(Drained::default());
        assert_eq!(
            [
                failed("a"),
                failed("a"),
                failed("b"),
                failed("a"),
                gone(),
                failed("a")
            ]
            .map(&mut is_told),
            [true, false, true, false, false, true]
        );
    }
}
