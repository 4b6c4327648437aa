//! Telling trackers about us, again and again, and the driver what they answer.
//!
//! One task for all trackers of a torrent, in tiers (BEP 12): whoever answers first is the one that is told this time;
//! the next one is asked only when those before it said nothing for a while, or when nobody was connected for [`ALONE`] although one
//! answered: who is named there may be dead, and the living known to the next. Each that was told that we began is told
//! that we are complete, and that we stop. When the port at which others reach us changes, they are told that too. What a
//! search for the metainfo told is taken over.

use super::inbox::Msg;
use super::registry::Registry;
use super::stats::Stats;
use super::transfer::Ground;
use crate::allowance::Allowance;
use crate::tracker::Event;
use crate::tracker::client::{AnnounceError, AnnounceRequest, AnnounceResponse, announce};
use crate::tracker::tiers::{Tiers, Why};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use gate::{Family, Url};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Peers that are asked for.
const WANTED: u32 = 50;
/// A tracker that says nothing for so long does not keep the next one from being asked.
const STAGGER: Duration = Duration::from_secs(3);
/// A download that is connected with nobody for so long asks further trackers. Less than what it waits before it gives up.
const ALONE: Duration = Duration::from_secs(10);
/// Changes of our port that are told at once, and the time in which one more may be.
const PORT_CHANGES: (u32, Duration) = (4, Duration::from_secs(30));

/// Reasons that are kept of trackers that do not answer.
const MAX_TROUBLES: usize = 4;
/// Longest time for telling trackers that a search is over.
const FAREWELL: Duration = Duration::from_secs(2);

/// How far the torrent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// It has just become complete.
    Completed,
    Stopped,
}

/// What announcing needs.
#[derive(Debug)]
pub(super) struct About {
    pub(super) registry: Arc<Registry>,
    pub(super) tiers: Tiers,
    pub(super) swarm_key: [u8; 20],
    pub(super) ground: Arc<Ground>,
    /// Whether everything was here at the start: then nothing is completed.
    pub(super) was_complete: bool,
    /// Whether anybody is connected.
    pub(super) stats: watch::Receiver<Stats>,
}

/// Whether a tracker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Came,
    /// Not this time.
    MayCome,
    /// Each refused, or cannot be asked.
    Never,
}

/// What is known of the trackers of a torrent that is looked for.
#[derive(Debug, Default)]
pub(super) struct Trackers {
    answer: Option<Answer>,
    /// One has answered since they were asked first.
    answered: bool,
    /// Why none answers, the latest last.
    troubles: Vec<String>,
}

impl Trackers {
    /// They are going to be asked.
    pub(super) fn begin(&mut self) {
        self.answer = Some(Answer::MayCome);
    }

    /// What came of asking them, and what went wrong. Whether it is the first answer of any.
    pub(super) fn told(&mut self, answer: Answer, problems: &[String]) -> bool {
        self.answer = Some(answer);
        if answer == Answer::Came {
            self.troubles.clear();
            return !std::mem::replace(&mut self.answered, true);
        }
        for problem in problems {
            self.troubles.retain(|known| known != problem);
            self.troubles.push(problem.clone());
        }
        let more = self.troubles.len().saturating_sub(MAX_TROUBLES);
        self.troubles.drain(..more);
        false
    }

    /// Whether none has answered when it was last asked, and one may.
    pub(super) fn may_answer(&self) -> bool {
        self.answer == Some(Answer::MayCome)
    }

    /// Why none answered.
    pub(super) fn troubles(&self) -> &[String] {
        &self.troubles
    }
}

/// A tracker's QUIC endpoint, where peers meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MeetingPlace {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) family: Option<Family>,
}

impl MeetingPlace {
    /// The one that this tracker says it has.
    pub(super) fn of(tracker: &Url, answer: &AnnounceResponse) -> Option<Self> {
        Some(Self {
            host: tracker.host_str()?.to_owned(),
            port: answer.meeting?,
            family: answer.family,
        })
    }
}

/// What a tracker was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) port: u16,
    /// It answered. Who did not may have heard it all the same.
    pub(super) answered: bool,
    pub(super) completed: bool,
    pub(super) tracker_id: Option<Vec<u8>>,
}

/// What came of asking trackers in turn.
#[derive(Debug, Default)]
struct Round {
    answered: Option<(String, AnnounceResponse)>,
    failed: Vec<(String, AnnounceError)>,
    silent: Vec<String>,
}

impl About {
    fn request(&self, port: u16, event: Option<Event>, told: Option<&Told>) -> AnnounceRequest {
        let counters = &self.ground.counters;
        let v4 = self.registry.port_for(true) != 0;
        AnnounceRequest {
            key: self.swarm_key,
            peer_id: self.registry.tracker_id(self.swarm_key),
            // Routers give IPv4 another port; IPv6 has the one that it has.
            ports: if v4 {
                [port, self.registry.port_for(false)]
            } else {
                [0, port]
            },
            uploaded: counters.uploaded.load(Ordering::Relaxed),
            downloaded: counters.received.load(Ordering::Relaxed),
            left: self.ground.verifier.length() - self.ground.store.held_bytes(),
            event,
            numwant: if event == Some(Event::Stopped) { 0 } else { WANTED },
            tracker_id: told.and_then(|told| told.tracker_id.clone()),
        }
    }

    async fn say(
        &self,
        url: &str,
        port: u16,
        event: Option<Event>,
        told: Option<&Told>,
    ) -> Result<AnnounceResponse, AnnounceError> {
        let parsed = Url::parse(url).map_err(|source| AnnounceError::Url {
            url: url.to_owned(),
            source,
        })?;
        announce(self.registry.gate(), &parsed, &self.request(port, event, told)).await
    }

    /// Asks these in turn until one answers. Gives who did, what went wrong with others, and who said nothing until then.
    async fn round(&self, urls: &[String], told: &HashMap<String, Told>, port: u16, complete: bool) -> Round {
        let mut waiting = urls.iter();
        let mut asked = FuturesUnordered::new();
        let mut round = Round::default();
        loop {
            if let Some(url) = waiting.next() {
                round.silent.push(url.clone());
                let told = told.get(url);
                let event = match told {
                    None => Some(Event::Started),
                    Some(told) if !told.answered => Some(Event::Started),
                    Some(told) if complete && !told.completed => Some(Event::Completed),
                    Some(_) => None,
                };
                self.ground.silent.asked(url, Instant::now());
                asked.push(async move { (url, self.say(url, port, event, told).await) });
            }
            let more = waiting.len() > 0;
            tokio::select! {
                answer = asked.next() => {
                    let Some((url, answer)) = answer else { return round };
                    round.silent.retain(|silent| silent != url);
                    match answer {
                        Ok(answer) => {
                            round.answered = Some((url.clone(), answer));
                            return round;
                        }
                        Err(e) => {
                            self.ground.silent.failed(url, e.to_string());
                            round.failed.push((url.clone(), e));
                        }
                    }
                }
                () = tokio::time::sleep(STAGGER), if more => {}
            }
        }
    }
}

/// What we call ourselves on trackers, as other clients do: another name for each swarm, so that it does not link the
/// swarms that one process is in. `salt` is known to nobody else.
pub(super) fn peer_id(salt: &[u8; 32], swarm_key: [u8; 20]) -> [u8; 20] {
    let hash = Sha256::new()
        .chain_update(salt)
        .chain_update(swarm_key)
        .finalize();
    let mut peer_id = *b"-GR0100-000000000000";
    peer_id[8..].copy_from_slice(&hash[..12]);
    peer_id
}

/// Ready when the port at which others reach us has changed, and may be told: peers say where they see us, and no
/// mixture of what they say may become a flood of announces.
async fn port_changed(ports: &mut watch::Receiver<u16>, changes: &mut Allowance, began: Instant) {
    if ports.changed().await.is_err() {
        // The registry lives as long as we do.
        std::future::pending::<()>().await;
    }
    while !changes.take(began.elapsed()) {
        tokio::time::sleep(PORT_CHANGES.1).await;
    }
}

fn has_company(stats: &Stats) -> bool {
    stats.peers > 0 || stats.is_complete()
}

/// Ready when something was missing and nobody connected for [`ALONE`].
async fn alone(mut stats: watch::Receiver<Stats>) {
    loop {
        if stats.wait_for(|stats| !has_company(stats)).await.is_err() {
            // The driver is gone, and this task with it.
            std::future::pending::<()>().await;
        }
        let company = stats.wait_for(has_company);
        if tokio::time::timeout(ALONE, company).await.is_err() {
            return;
        }
    }
}

/// Announces until the phase is [`Phase::Stopped`], which it tells before it ends.
pub(super) async fn run(mut about: About, mut phase: watch::Receiver<Phase>) {
    let began = Instant::now();
    let mut ports = about.registry.public_port();
    let mut changes = Allowance::new(PORT_CHANGES.0, PORT_CHANGES.1, Duration::ZERO);
    let mut told = about.registry.take_told(about.swarm_key);
    let mut first = true;
    let mut answer = Answer::MayCome;
    let mut why = Why::News;
    let mut is_alone = false;
    let mut lonely = pin!(alone(about.stats.clone()));
    loop {
        let now = *phase.borrow_and_update();
        let port = *ports.borrow_and_update();
        if now == Phase::Stopped {
            about.ground.silent.clear();
            let goodbyes = told
                .iter()
                .map(|(url, told)| about.say(url, told.port, Some(Event::Stopped), Some(told)));
            // It makes no difference whether they hear it: they forget the silent.
            futures_util::future::join_all(goodbyes).await;
            return;
        }
        let moved: Vec<String> = told
            .iter()
            .filter(|(_, told)| told.port != port)
            .map(|(url, _)| url.clone())
            .collect();
        for url in moved {
            if let Some(old) = told.remove(&url) {
                let _ = about.say(&url, old.port, Some(Event::Stopped), Some(&old)).await;
            }
        }

        let complete = now == Phase::Completed && !about.was_complete;
        let urls = about.tiers.to_ask(why, began.elapsed());
        let Round {
            answered,
            failed,
            silent,
        } = about.round(&urls, &told, port, complete).await;
        let mut problems: Vec<String> = Vec::new();
        if answered.is_some() {
            answer = Answer::Came;
        } else if !failed.is_empty() {
            let may_come = failed.iter().any(|(_, error)| error.may_pass());
            answer = if may_come { Answer::MayCome } else { Answer::Never };
        }
        for url in &silent {
            about.tiers.failed(url, began.elapsed());
        }
        for (url, error) in failed {
            about.tiers.failed(&url, began.elapsed());
            problems.push(format!("announcing to a tracker: {error}"));
        }
        let mut msg = Msg::Announced {
            first,
            answer,
            peers: Vec::new(),
            viewers: None,
            meeting: None,
            problems: Vec::new(),
        };
        first = false;
        let answered = answered.map(|(url, answer)| {
            about.ground.silent.answered(&url);
            problems.extend(answer.warning.clone());
            let nobody = answer.peers.is_empty() && !about.ground.store.is_complete();
            let pause = if nobody {
                answer.min_interval
            } else {
                answer.interval
            };
            about.tiers.succeeded(&url, began.elapsed() + pause);
            let place = Url::parse(&url)
                .ok()
                .and_then(|url| MeetingPlace::of(&url, &answer));
            let told = told.entry(url.clone()).or_default();
            told.port = port;
            told.answered = true;
            told.completed = complete || about.was_complete;
            told.tracker_id = answer.tracker_id.or(told.tracker_id.take());
            let counts = answer.complete.zip(answer.incomplete);
            let count = counts.map(|(a, b)| u32::try_from(a.saturating_add(b)).unwrap_or(u32::MAX));
            if let Msg::Announced {
                peers,
                viewers,
                meeting,
                ..
            } = &mut msg
            {
                (*peers, *viewers, *meeting) = (answer.peers, count, place);
            }
            url
        });
        if let Msg::Announced { problems: told, .. } = &mut msg {
            *told = problems;
        }
        let _ = about.ground.driver.send(msg).await;
        if is_alone && has_company(&about.stats.borrow()) {
            is_alone = false;
            lonely.set(alone(about.stats.clone()));
        }
        let now = began.elapsed();
        let next = about.tiers.next_round(answered.as_deref(), is_alone, now);
        why = tokio::select! {
            () = tokio::time::sleep(next.saturating_sub(now)) => if is_alone { Why::Alone } else { Why::Time },
            () = &mut lonely, if !is_alone => {
                is_alone = true;
                Why::Alone
            }
            // A change is told at once; an error says that the driver is gone.
            changed = phase.changed() => if changed.is_err() { return } else { Why::News },
            () = port_changed(&mut ports, &mut changes, began) => Why::News,
        };
    }
}

/// Tells trackers that we stop, which heard of us only from a search for the metainfo. Who drops it has not told all of them.
pub(super) fn farewell(
    registry: &Registry,
    swarm_key: [u8; 20],
    told: HashMap<String, Told>,
) -> impl Future<Output = ()> + Send + use<> {
    let requests = told.into_iter().filter_map(|(url, told)| {
        let request = AnnounceRequest {
            key: swarm_key,
            peer_id: registry.tracker_id(swarm_key),
            ports: [registry.port_for(true), registry.port_for(false)],
            uploaded: 0,
            downloaded: 0,
            left: 1,
            event: Some(Event::Stopped),
            numwant: 0,
            tracker_id: told.tracker_id,
        };
        Some((Url::parse(&url).ok()?, request))
    });
    let (gate, requests): (_, Vec<_>) = (registry.gate().clone(), requests.collect());
    async move {
        let goodbyes = requests
            .iter()
            .map(|(url, request)| announce(&gate, url, request));
        // One that does not answer must not hold up anything.
        let _ = tokio::time::timeout(FAREWELL, futures_util::future::join_all(goodbyes)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn a_port_that_changes_all_the_time_is_told_a_few_times_at_once() {
        let ports = watch::Sender::new(0);
        let mut changed = ports.subscribe();
        let mut changes = Allowance::new(PORT_CHANGES.0, PORT_CHANGES.1, Duration::ZERO);
        let began = Instant::now();
        let told = |_| {
            ports.send_modify(|port| *port += 1);
            port_changed(&mut changed, &mut changes, began)
                .now_or_never()
                .is_some()
        };
        assert_eq!((0..20).map(told).filter(|told| *told).count(), 4);
    }

    #[test]
    fn each_swarm_is_told_another_name_and_the_same_one_each_time() {
        let names = [1, 2].map(|salt| [7, 8].map(|key| peer_id(&[salt; 32], [key; 20])));
        let all: std::collections::HashSet<_> = names.iter().flatten().collect();
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|name| name.starts_with(b"-GR0100-")));
        assert_eq!(peer_id(&[1; 32], [7; 20]), names[0][0]);
    }
}
