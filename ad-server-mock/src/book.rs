//! What decisions are made from, in memory: the snapshot, its counters, what downloads and viewers had, whose turn it is.
//!
//! A draft is decided and counted under one lock, so that two drafts of this server never take the same budget; it is
//! `pending` until the journal has stored it (`Book::settle`), and what the database then says replaces what was thought.
//! The database has the last word: other servers may have used the budget. Everything remembered is bounded; what was
//! forgotten is read again from the database. Not for I/O. One lock, never held across an `.await`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ads::Asking;
use crate::clock::{DAY, UnixMillis};
use crate::decide::{Counters, CreativeIndex, Heard, History, Place, Question, Snapshot, Tag, decide};
use crate::store::settle::{CampaignRow, Decision, FlightRow, Verdict};

/// Downloads, viewers and places that are remembered in each of two generations.
const REMEMBERED: usize = 50_000;

/// A memory with a bound: when the young generation is full it becomes the old one, and the old one is forgotten.
#[derive(Debug)]
struct Memory<V> {
    young: HashMap<String, V>,
    old: HashMap<String, V>,
}

impl<V> Default for Memory<V> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }
}

impl<V: Default> Memory<V> {
    fn has(&self, key: &str) -> bool {
        self.young.contains_key(key) || self.old.contains_key(key)
    }

    fn entry(&mut self, key: &str) -> &mut V {
        if !self.young.contains_key(key) {
            if self.young.len() >= REMEMBERED {
                self.old = std::mem::take(&mut self.young);
            }
            let value = self.old.remove(key).unwrap_or_default();
            self.young.insert(key.to_owned(), value);
        }
        self.young.entry(key.to_owned()).or_default()
    }
}

#[derive(Debug, Default)]
struct Inner {
    snapshot: Arc<Snapshot>,
    counters: Counters,
    downloads: Memory<Vec<Heard>>,
    viewers: Memory<Vec<(Tag, UnixMillis)>>,
    places: Memory<Place>,
    turn: u64,
    next_expiry: Option<UnixMillis>,
}

/// The book. Shared by everything that decides.
#[derive(Debug, Default)]
pub struct Book(Mutex<Inner>);

/// A pod that was counted, and is not stored yet.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) pod: Vec<CreativeIndex>,
    pub(crate) download: Option<String>,
    pub(crate) viewer: Option<String>,
    pub(crate) at: UnixMillis,
}

/// All counters, as they are in the database.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) campaigns: Vec<CampaignRow>,
    pub(crate) flights: Vec<FlightRow>,
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No invariant is broken half-way by a panic: counters are corrected by what the database says.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hierarchy that is decided from now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.lock().snapshot)
    }

    /// Whether a reservation is due to lapse.
    pub(crate) fn lapse_is_due(&self, now: UnixMillis) -> bool {
        self.lock().next_expiry.is_some_and(|at| at <= now)
    }

    /// Sets when the next reservation lapses.
    pub(crate) fn set_next_expiry(&self, at: Option<UnixMillis>) {
        self.lock().next_expiry = at;
    }

    /// Notes a reservation that may lapse before the others.
    pub(crate) fn earlier_expiry(&self, at: Option<UnixMillis>) {
        let mut inner = self.lock();
        inner.next_expiry = inner.next_expiry.into_iter().chain(at).min();
    }

    /// Whether what this download had is known here.
    pub(crate) fn knows_download(&self, token: &str) -> bool {
        self.lock().downloads.has(token)
    }

    /// Whether what this viewer had is known here.
    pub(crate) fn knows_viewer(&self, token: &str) -> bool {
        self.lock().viewers.has(token)
    }

    /// Adds what the database knows of a download; what is known already stays once.
    pub(crate) fn remember_download(&self, token: &str, heard: Vec<Heard>) {
        let mut inner = self.lock();
        let known = inner.downloads.entry(token);
        for one in heard {
            if !known.contains(&one) {
                known.push(one);
            }
        }
    }

    /// Adds what the database knows of a viewer. A flight may be there twice at one time.
    pub(crate) fn remember_viewer(&self, token: &str, had: Vec<(Tag, UnixMillis)>) {
        let mut inner = self.lock();
        let known = inner.viewers.entry(token);
        let mut new = had;
        for one in known.iter() {
            if let Some(at) = new.iter().position(|n| n == one) {
                new.swap_remove(at);
            }
        }
        known.extend(new);
    }

    /// Decides, and counts what was decided as pending.
    pub(crate) fn draft(&self, question: &Question, now: UnixMillis, seed: u64) -> Draft {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let place_key = place(question);
        let here = inner.places.entry(&place_key);
        let download = question.download.as_deref().map(|t| &*inner.downloads.entry(t));
        let snapshot = Arc::clone(&inner.snapshot);
        let viewer = question.viewer.as_deref().map(|token| {
            let had = inner.viewers.entry(token);
            had.retain(|(_, at)| *at > now - snapshot.longest_frequency);
            &*had
        });
        let history = History {
            download: download.map_or(&[], Vec::as_slice),
            viewer: viewer.map_or(&[], Vec::as_slice),
            place: here,
        };
        let pod = decide(&snapshot, &inner.counters, question, history, now, seed);
        for index in &pod {
            inner.turn += 1;
            let entry = &snapshot.creatives[index.0];
            let flight = &snapshot.flights[entry.flight.0];
            inner.counters.campaigns[flight.campaign.0].pending += flight.flight.price.0;
            let count = &mut inner.counters.flights[entry.flight.0];
            count.served.pending += 1;
            let today = now.div_euclid(DAY);
            if count.day < today {
                count.day = today;
                count.day_served = crate::decide::Amount::default();
            }
            if count.day == today {
                count.day_served.pending += 1;
            }
            count.last = inner.turn;
            inner.counters.creatives[index.0] += 1;
            *here.creatives.entry(entry.tag).or_default() += 1;
            here.flights.insert(flight.tag, inner.turn);
            if let Some(token) = &question.download {
                inner.downloads.entry(token).push(Heard {
                    content: entry.content,
                    ad: entry.ad,
                    category: flight.category,
                });
            }
            if let Some(token) = &question.viewer {
                inner.viewers.entry(token).push((flight.tag, now));
            }
        }
        Draft {
            snapshot,
            pod,
            download: question.download.clone(),
            viewer: question.viewer.clone(),
            at: now,
        }
    }

    /// Takes over counters as the database has them, and ends the drafts that they include (or that were refused, or could
    /// not be stored): both at once, so that nothing is ever counted twice or not at all.
    pub(crate) fn settle<'a>(
        &self,
        stored: &Stored,
        drafts: impl IntoIterator<Item = (&'a Draft, Option<Verdict>)>,
    ) {
        let mut inner = self.lock();
        inner.take_over(stored);
        for (draft, verdict) in drafts {
            inner.end(draft, verdict == Some(Verdict::Reserved));
        }
    }

    /// Replaces the hierarchy; what is pending stays pending.
    pub(crate) fn replace(&self, snapshot: Snapshot, decided: &HashMap<String, u64>, stored: &Stored) {
        {
            let mut inner = self.lock();
            let mut counters = Counters::new(&snapshot);
            for (n, entry) in snapshot.campaigns.iter().enumerate() {
                if let Some(old) = inner.snapshot.campaign(&entry.campaign.id) {
                    counters.campaigns[n] = inner.counters.campaigns[old.0];
                }
            }
            for (n, entry) in snapshot.flights.iter().enumerate() {
                if let Some(old) = inner.snapshot.flight(&entry.flight.id) {
                    counters.flights[n] = inner.counters.flights[old.0];
                }
            }
            for (n, entry) in snapshot.creatives.iter().enumerate() {
                counters.creatives[n] = decided.get(&entry.creative.id).copied().unwrap_or(0);
            }
            inner.counters = counters;
            inner.snapshot = Arc::new(snapshot);
        }
        self.settle(stored, []);
    }

    /// Runs `look` on what a decision would be made from now.
    pub(crate) fn look<T>(
        &self,
        question: &Question,
        look: impl FnOnce(&Snapshot, &Counters, History<'_>) -> T,
    ) -> T {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let here = inner.places.entry(&place(question));
        let download = question.download.as_deref().map(|t| &*inner.downloads.entry(t));
        let viewer = question.viewer.as_deref().map(|t| &*inner.viewers.entry(t));
        let history = History {
            download: download.map_or(&[], Vec::as_slice),
            viewer: viewer.map_or(&[], Vec::as_slice),
            place: here,
        };
        look(&inner.snapshot, &inner.counters, history)
    }
}

impl Inner {
    fn take_over(&mut self, stored: &Stored) {
        for row in &stored.campaigns {
            if let Some(index) = self.snapshot.campaign(&row.id) {
                self.counters.campaigns[index.0].stored = row.reserved + row.spent;
            }
        }
        for row in &stored.flights {
            if let Some(index) = self.snapshot.flight(&row.id) {
                let count = &mut self.counters.flights[index.0];
                count.served.stored = row.reserved + row.billed;
                if row.day > count.day {
                    count.day = row.day;
                    count.day_served.pending = 0;
                }
                if row.day == count.day {
                    count.day_served.stored = row.day_served;
                }
            }
        }
    }

    fn end(&mut self, draft: &Draft, kept: bool) {
        for index in &draft.pod {
            let entry = &draft.snapshot.creatives[index.0];
            let flight = &draft.snapshot.flights[entry.flight.0];
            // The hierarchy may have been replaced meanwhile.
            if let Some(index) = self.snapshot.campaign(&flight.flight.campaign_id) {
                self.counters.campaigns[index.0].pending -= flight.flight.price.0;
            }
            if let Some(index) = self.snapshot.flight(&flight.flight.id) {
                let count = &mut self.counters.flights[index.0];
                count.served.pending -= 1;
                if count.day == draft.at.div_euclid(DAY) {
                    count.day_served.pending -= 1;
                }
            }
            if kept {
                continue;
            }
            if let Some(token) = &draft.download {
                let heard = self.downloads.entry(token);
                if let Some(at) = heard.iter().rposition(|h| h.content == entry.content) {
                    heard.remove(at);
                }
            }
            if let Some(token) = &draft.viewer {
                let had = self.viewers.entry(token);
                if let Some(at) = had.iter().rposition(|h| *h == (flight.tag, draft.at)) {
                    had.remove(at);
                }
            }
        }
    }
}

impl Draft {
    /// The rows that are to be stored, each with an identifier from `new_id`.
    pub(crate) fn decisions(
        &self,
        show: Option<&str>,
        asking: &Asking,
        mut new_id: impl FnMut() -> String,
    ) -> Vec<Decision> {
        let s = &self.snapshot;
        self.pod
            .iter()
            .map(|index| {
                let entry = &s.creatives[index.0];
                let flight = &s.flights[entry.flight.0];
                let campaign = &s.campaigns[flight.campaign.0];
                Decision {
                    ad_serving_id: new_id(),
                    campaign: campaign.campaign.id.clone(),
                    flight: flight.flight.id.clone(),
                    creative: entry.creative.id.clone(),
                    sha256: entry.creative.sha256.clone(),
                    category: s.advertisers[campaign.advertiser].category.clone(),
                    price: flight.flight.price,
                    payout: s.payout(show, flight.flight.price),
                    expires: asking.expires,
                    viewer: self.viewer.clone(),
                    proof_key: asking.proof_key.clone(),
                }
            })
            .collect()
    }
}

/// The break of an episode as one key, for rotation.
fn place(question: &Question) -> String {
    let part = |p: &Option<String>| p.as_deref().unwrap_or_default().replace('\n', " ");
    [
        part(&question.show),
        part(&question.episode),
        part(&question.break_id),
    ]
    .join("\n")
}
