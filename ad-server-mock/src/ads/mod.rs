//! The service without HTTP: asks are decided, reserved and stored; beacons are stored.
//!
//! Not for rules ([`crate::decide`]), nor for what a beacon does ([`crate::store::settle`]).

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::book::{Book, Stored};
use crate::catalog::{Advertiser, Campaign, Catalog, Creative, Flight};
use crate::clock::{Clock, UnixMillis};
use crate::decide::{Counters, CreativeIndex, Question, Rejection, Snapshot, decide, explain};
use crate::journal::Journal;
use crate::store::settle::{Beacon, Op, Proof, Recorded, Request, Verdict};
use crate::store::{Db, Shelf, StoreError};

/// How often an answer is decided anew because another server used the budget meanwhile.
const TRIES: u64 = 16;

/// One decided ad.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Unique for each decision.
    pub ad_serving_id: String,
    snapshot: Arc<Snapshot>,
    index: CreativeIndex,
}

impl Decided {
    /// The ad `index` of a snapshot.
    pub fn new(ad_serving_id: String, snapshot: Arc<Snapshot>, index: CreativeIndex) -> Self {
        Self {
            ad_serving_id,
            snapshot,
            index,
        }
    }

    /// Its creative.
    pub fn creative(&self) -> &Creative {
        &self.snapshot.creatives[self.index.0].creative
    }

    /// Its flight.
    pub fn flight(&self) -> &Flight {
        &self.snapshot.flights[self.snapshot.creatives[self.index.0].flight.0].flight
    }

    /// Its campaign.
    pub fn campaign(&self) -> &Campaign {
        let flight = &self.snapshot.flights[self.snapshot.creatives[self.index.0].flight.0];
        &self.snapshot.campaigns[flight.campaign.0].campaign
    }

    /// Its advertiser.
    pub fn advertiser(&self) -> &Advertiser {
        let flight = &self.snapshot.flights[self.snapshot.creatives[self.index.0].flight.0];
        &self.snapshot.advertisers[self.snapshot.campaigns[flight.campaign.0].advertiser]
    }
}

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ads {
    db: Db,
    book: Arc<Book>,
    journal: Journal,
}

/// One asking of a question.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Identifier of the asking.
    pub request_id: String,
    /// Keyed hash of who asks.
    pub listener: Option<String>,
    /// The key that proofs of play will be signed with, hex.
    pub proof_key: Option<String>,
    /// When.
    pub now: UnixMillis,
    /// Until when what is decided is reserved.
    pub expires: UnixMillis,
    /// Of chance.
    pub seed: u64,
}

impl Ads {
    /// Starts the service on a database. The task ends when the service and its clones are gone.
    pub async fn start(db: Db, clock: Arc<dyn Clock>) -> Result<(Self, JoinHandle<()>), StoreError> {
        let book = Arc::new(Book::default());
        let (journal, task) = Journal::start(db.clone(), Arc::clone(&book), clock).await?;
        Ok((Self { db, book, journal }, task))
    }

    /// Stores what was given to it, and closes the database. Whoever asks later is told that it is stopping.
    pub async fn close(&self) {
        self.journal.close().await;
        self.db.close().await;
    }

    /// Its database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The hierarchy that is decided from now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.book.snapshot()
    }

    /// Adds or changes what the catalog declares; decisions know of it when this returns.
    pub async fn load(&self, catalog: &Catalog) -> Result<(), StoreError> {
        self.db.load(catalog).await?;
        self.journal.reload().await
    }

    /// Takes something out of use, or brings it back; decisions know of it when this returns. Whether it is there.
    pub async fn archive(&self, what: Shelf, id: &str, archived: bool) -> Result<bool, StoreError> {
        let there = self.db.archive(what, id, archived).await?;
        self.journal.reload().await?;
        Ok(there)
    }

    /// Decides ads and reserves what they cost. They are stored when this returns.
    pub async fn decide(
        &self,
        question: &Question,
        asking: &Asking,
        mut new_id: impl FnMut() -> String + Send,
    ) -> Result<Vec<Decided>, StoreError> {
        let now = asking.now;
        let mut lapsed = false;
        let mut question = question.clone();
        for n in 0..=TRIES {
            if n == TRIES {
                // Others are always faster: this asking gets nothing.
                question.ads = 0;
            }
            self.recall(&question, now).await?;
            // A place first: once something is counted, nothing may keep it from the journal.
            let place = self.journal.place().await?;
            let draft = self.book.draft(&question, now, asking.seed.wrapping_add(n));
            if draft.pod.len() < question.ads && !lapsed && self.book.lapse_is_due(now) {
                self.book.settle(&Stored::default(), [(&draft, None)]);
                drop(place);
                self.journal.store(Op::Lapse).await?;
                lapsed = true;
                continue;
            }
            let rows = draft.decisions(question.show.as_deref(), asking, &mut new_id);
            let decided = rows.iter().zip(&draft.pod);
            let decided: Vec<_> = decided
                .map(|(row, index)| {
                    Decided::new(row.ad_serving_id.clone(), Arc::clone(&draft.snapshot), *index)
                })
                .collect();
            let op = Op::Decide(request(&question, asking), rows);
            let answered = place.give(op, Some(draft));
            if answered.await.map_err(|_| StoreError::Stopping)?? != Verdict::Refused {
                return Ok(decided);
            }
        }
        Ok(Vec::new())
    }

    /// Reads what this download and this viewer had, unless it is remembered. Other servers may have served a viewer.
    async fn recall(&self, question: &Question, now: UnixMillis) -> Result<(), StoreError> {
        let shared = self.db.is_shared();
        if let Some(token) = &question.download
            && (shared || !self.book.knows_download(token))
        {
            self.book.remember_download(token, self.db.heard(token).await?);
        }
        let longest = self.book.snapshot().longest_frequency;
        if let Some(token) = &question.viewer
            && longest > 0
            && (shared || !self.book.knows_viewer(token))
        {
            self.book
                .remember_viewer(token, self.db.had(token, now - longest).await?);
        }
        Ok(())
    }

    /// What would be decided now, and why each other creative would not be. Reserves nothing.
    pub fn explain(
        &self,
        question: &Question,
        now: UnixMillis,
        seed: u64,
    ) -> (Vec<String>, Vec<(String, Rejection)>) {
        self.book.look(question, |snapshot, counters, history| {
            let pod = decide(snapshot, counters, question, history, now, seed);
            let why = explain(snapshot, counters, question, history, now, &pod);
            let id = |c: CreativeIndex| snapshot.creatives[c.0].creative.id.clone();
            (
                pod.into_iter().map(id).collect(),
                why.into_iter().map(|(c, why)| (id(c), why)).collect(),
            )
        })
    }

    /// Looks at the hierarchy and its counters as they are now.
    pub(crate) fn standing<T>(&self, look: impl FnOnce(&Snapshot, &Counters) -> T) -> T {
        self.book.look(&Question::default(), |snapshot, counters, _| {
            look(snapshot, counters)
        })
    }

    /// Stores a beacon once, and bills or releases what its decision reserved.
    pub async fn record(&self, beacon: Beacon, now: UnixMillis) -> Result<Recorded, StoreError> {
        recorded(self.journal.store(Op::Beacon(beacon, now)).await?)
    }

    /// Stores, once, that a client found no ad in the answer to a question.
    pub async fn record_no_ad(
        &self,
        request_id: &str,
        code: &str,
        now: UnixMillis,
    ) -> Result<Recorded, StoreError> {
        recorded(
            self.journal
                .store(Op::NoAd(request_id.to_owned(), code.to_owned(), now))
                .await?,
        )
    }

    /// Stores what an account of play came to.
    pub async fn record_proof(&self, proof: Proof, now: UnixMillis) -> Result<Recorded, StoreError> {
        match self.journal.store(Op::Proof(proof, now)).await? {
            // It is as if it had been told before: that is what it was.
            Verdict::Refused => Ok(Recorded::Repeated),
            other => recorded(other),
        }
    }

    /// Counts something that was refused.
    pub async fn count_invalid(&self, reason: &'static str, now: UnixMillis) -> Result<(), StoreError> {
        self.journal.store(Op::Invalid(reason, now)).await.map(|_| ())
    }
}

fn recorded(verdict: Verdict) -> Result<Recorded, StoreError> {
    match verdict {
        Verdict::Beacon(recorded) => Ok(recorded),
        Verdict::Reserved | Verdict::Refused | Verdict::Done => Err(StoreError::Stopping),
    }
}

fn request(q: &Question, asking: &Asking) -> Request {
    Request {
        id: asking.request_id.clone(),
        asked: asking.now,
        show: q.show.clone(),
        episode: q.episode.clone(),
        break_id: q.break_id.clone(),
        position: q.position.clone(),
        country: q.country.clone(),
        device: q.device.clone(),
        download: q.download.clone(),
        listener: asking.listener.clone(),
        wanted: q.ads,
    }
}

#[cfg(test)]
mod tests;
