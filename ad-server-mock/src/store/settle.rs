//! What a batch of decisions and beacons does to the books: rows as they are and operations in, rows to write out.
//!
//! Pure. Invariants, for every campaign and flight, after every operation: reserved + spent ≤ budget unless the budget
//! was lowered under it; reserved + billed ≤ cap likewise; a decision is billed at most once; an event with the same
//! (AdServingId, event, tracker, basis) counts once. Not for reading or writing the rows: see `batch`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::clock::{DAY, UnixMillis};
use crate::money::Micros;

/// A question that was asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Identifier given to it.
    pub id: String,
    /// When.
    pub asked: UnixMillis,
    /// Show.
    pub show: Option<String>,
    /// Episode.
    pub episode: Option<String>,
    /// Break.
    pub break_id: Option<String>,
    /// Position.
    pub position: Option<String>,
    /// Country.
    pub country: Option<String>,
    /// Device.
    pub device: Option<String>,
    /// Token of the download.
    pub download: Option<String>,
    /// Keyed hash of address and user agent.
    pub listener: Option<String>,
    /// Ads wanted.
    pub wanted: usize,
}

/// One ad of its answer, and what it reserves.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Unique.
    pub ad_serving_id: String,
    /// Campaign.
    pub campaign: String,
    /// Flight.
    pub flight: String,
    /// Creative.
    pub creative: String,
    /// Its bytes.
    pub sha256: String,
    /// Its advertiser's category.
    pub category: Option<String>,
    /// What it costs when it is billed.
    pub price: Micros,
    /// What the publisher then gets.
    pub payout: Micros,
    /// Until when it is reserved.
    pub expires: UnixMillis,
    /// Token of the viewer's device.
    pub viewer: Option<String>,
    /// The key that proofs of its play will be signed with.
    pub proof_key: Option<String>,
}

/// A beacon whose signature and basis were checked.
#[derive(Debug, Clone)]
pub struct Beacon {
    /// The decision.
    pub ad_serving_id: String,
    /// VAST event, or `impression`, `click`, `error`.
    pub event: String,
    /// Which of several trackers of the event.
    pub tracker: String,
    /// `delivered` or `played`.
    pub basis: &'static str,
    /// When the client says it happened, as it wrote it.
    pub client_time: Option<String>,
    /// VAST error code.
    pub code: Option<String>,
}

/// An account of play that was judged.
#[derive(Debug, Clone)]
pub struct Proof {
    /// The decision that it is about.
    pub ad_serving_id: String,
    /// The account's nonce.
    pub account: String,
    /// The name of what is wrong with it.
    pub rejected: Option<&'static str>,
    /// Whether it shows that some of the ad was presented.
    pub presented: bool,
    /// Whether it shows the whole ad, in order, at normal speed.
    pub whole: bool,
    /// Number of records and hash of the last, when it holds.
    pub head: Option<(i64, String)>,
    /// Nonces of its records, when it holds.
    pub records: Vec<String>,
}

/// What a beacon came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// Stored; counts.
    Counted,
    /// Was there already; counts no further.
    Repeated,
    /// No such decision.
    Unknown,
}

/// What can happen.
#[derive(Debug, Clone)]
pub enum Op {
    /// A question was answered.
    Decide(Request, Vec<Decision>),
    /// A beacon came.
    Beacon(Beacon, UnixMillis),
    /// A client found no ad in the answer to a question, and says why.
    NoAd(String, String, UnixMillis),
    /// An account of play came.
    Proof(Proof, UnixMillis),
    /// A beacon or a question was refused, for this reason.
    Invalid(&'static str, UnixMillis),
    /// Reservations whose lifetime has passed are to be released.
    Lapse,
}

/// What an operation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The whole answer is reserved.
    Reserved,
    /// Budget, cap or download have no room for it, or not any more: nothing of it was stored.
    Refused,
    /// Of a beacon.
    Beacon(Recorded),
    /// Of the rest.
    Done,
}

/// A decision as it is stored.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Known {
    pub(crate) ad_serving_id: String,
    pub(crate) campaign_id: String,
    pub(crate) flight_id: String,
    pub(crate) creative_id: String,
    pub(crate) show: Option<String>,
    pub(crate) price: i64,
    pub(crate) payout: i64,
    pub(crate) decided: i64,
    pub(crate) expires: i64,
    pub(crate) state: String,
}

/// A campaign's money.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct CampaignRow {
    pub(crate) id: String,
    pub(crate) budget: Option<i64>,
    pub(crate) reserved: i64,
    pub(crate) spent: i64,
}

/// A flight's impressions.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct FlightRow {
    pub(crate) id: String,
    pub(crate) cap: Option<i64>,
    pub(crate) reserved: i64,
    pub(crate) billed: i64,
    pub(crate) day: i64,
    pub(crate) day_served: i64,
}

/// (AdServingId, event, tracker, basis).
pub(crate) type EventKey = (String, String, String, String);
/// Day, show, flight, creative, metric, basis, detail.
pub(crate) type TallyKey = (i64, String, String, String, String, &'static str, String);

/// The rows that a batch is about, as they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    pub(crate) decisions: HashMap<String, Known>,
    pub(crate) campaigns: BTreeMap<String, CampaignRow>,
    pub(crate) flights: BTreeMap<String, FlightRow>,
    pub(crate) events: HashSet<EventKey>,
    /// Shows of the requests that a `NoAd` is about; with the code that they have.
    pub(crate) requests: HashMap<String, (Option<String>, Option<String>)>,
    /// (download, sha256).
    pub(crate) downloads: HashSet<(String, String)>,
    /// Decisions with a proof that holds.
    pub(crate) proved: HashSet<String>,
    /// The accounts that records of play were accepted in, by their nonces.
    pub(crate) records: HashMap<String, String>,
}

/// A decision to store.
#[derive(Debug, Clone)]
pub(crate) struct NewDecision {
    pub(crate) request: String,
    pub(crate) show: Option<String>,
    pub(crate) download: Option<String>,
    pub(crate) decided: UnixMillis,
    pub(crate) decision: Decision,
}

/// An event to store.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    pub(crate) beacon: Beacon,
    pub(crate) received: UnixMillis,
    pub(crate) late: bool,
}

/// What is to be written. The counters of campaigns and flights are in the [`Books`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    pub(crate) requests: Vec<(Request, usize)>,
    pub(crate) decisions: Vec<NewDecision>,
    pub(crate) events: Vec<NewEvent>,
    /// Decisions whose state changed.
    pub(crate) states: BTreeSet<String>,
    /// When a decision was billed.
    pub(crate) billed: HashMap<String, UnixMillis>,
    pub(crate) no_ads: BTreeMap<String, String>,
    pub(crate) invalid: BTreeMap<(i64, String), i64>,
    pub(crate) proofs: Vec<(Proof, UnixMillis)>,
    /// Decisions for a creative.
    pub(crate) creatives: BTreeMap<String, i64>,
    /// Count and amount.
    pub(crate) tallies: BTreeMap<TallyKey, (i64, i64)>,
}

/// What a tally is about, but for what happened.
#[derive(Clone, Copy, Default)]
struct About<'a> {
    at: UnixMillis,
    show: Option<&'a str>,
    flight: &'a str,
    creative: &'a str,
}

impl<'a> About<'a> {
    fn decision(decision: &'a Known, at: UnixMillis) -> Self {
        Self {
            at,
            show: decision.show.as_deref(),
            flight: &decision.flight_id,
            creative: &decision.creative_id,
        }
    }
}

impl Changes {
    fn tally(&mut self, about: About<'_>, metric: &str, basis: &'static str, detail: &str, amount: i64) {
        let key = (
            about.at.div_euclid(DAY),
            about.show.unwrap_or_default().to_owned(),
            about.flight.to_owned(),
            about.creative.to_owned(),
            metric.to_owned(),
            basis,
            detail.to_owned(),
        );
        let (count, sum) = self.tallies.entry(key).or_default();
        *count += 1;
        *sum += amount;
    }

    fn refuse(&mut self, at: UnixMillis, reason: &str) {
        let key = (at.div_euclid(DAY), reason.to_owned());
        *self.invalid.entry(key).or_default() += 1;
    }
}

impl Books {
    /// Carries out the operations in their order.
    pub(crate) fn settle<'a>(
        &mut self,
        ops: impl IntoIterator<Item = &'a Op>,
        now: UnixMillis,
    ) -> (Vec<Verdict>, Changes) {
        let mut changes = Changes::default();
        self.lapse(now, &mut changes);
        let verdicts = ops
            .into_iter()
            .map(|op| match op {
                Op::Decide(request, pod) => self.reserve(request, pod, &mut changes),
                Op::Beacon(beacon, at) => Verdict::Beacon(self.record(beacon, *at, &mut changes)),
                Op::NoAd(id, code, at) => Verdict::Beacon(self.no_ad(id, code, *at, &mut changes)),
                Op::Invalid(reason, at) => {
                    changes.refuse(*at, reason);
                    Verdict::Done
                }
                Op::Proof(proof, at) => self.prove(proof, *at, &mut changes),
                Op::Lapse => Verdict::Done,
            })
            .collect();
        (verdicts, changes)
    }

    /// Releases the reservations whose lifetime has passed, among the decisions that are here.
    fn lapse(&mut self, now: UnixMillis, changes: &mut Changes) {
        let lapsed: Vec<Known> = self
            .decisions
            .values()
            .filter(|d| d.state == "open" && d.expires <= now)
            .cloned()
            .collect();
        for decision in lapsed {
            self.release(&decision, "lapsed", changes);
        }
    }

    fn reserve(&mut self, request: &Request, pod: &[Decision], changes: &mut Changes) -> Verdict {
        let day = request.asked.div_euclid(DAY);
        let mut done = 0;
        for decision in pod {
            if !self.reserve_one(request, decision, day) {
                break;
            }
            done += 1;
        }
        if done < pod.len() {
            for decision in &pod[..done] {
                self.move_counters(&decision.campaign, &decision.flight, decision.price.0, day, -1, 0);
                if let Some(download) = &request.download {
                    self.downloads
                        .remove(&(download.clone(), decision.sha256.clone()));
                }
            }
            return Verdict::Refused;
        }
        let asked = About {
            at: request.asked,
            show: request.show.as_deref(),
            ..About::default()
        };
        changes.tally(asked, "request", "", "", 0);
        if !pod.is_empty() {
            changes.tally(asked, "filled", "", "", 0);
        }
        self.requests
            .insert(request.id.clone(), (request.show.clone(), None));
        changes.requests.push((request.clone(), pod.len()));
        for decision in pod {
            let about = About {
                flight: &decision.flight,
                creative: &decision.creative,
                ..asked
            };
            changes.tally(about, "decision", "", "", 0);
            *changes.creatives.entry(decision.creative.clone()).or_default() += 1;
            self.decisions.insert(
                decision.ad_serving_id.clone(),
                Known {
                    ad_serving_id: decision.ad_serving_id.clone(),
                    campaign_id: decision.campaign.clone(),
                    flight_id: decision.flight.clone(),
                    creative_id: decision.creative.clone(),
                    show: request.show.clone(),
                    price: decision.price.0,
                    payout: decision.payout.0,
                    decided: request.asked,
                    expires: decision.expires,
                    state: "open".to_owned(),
                },
            );
            changes.decisions.push(NewDecision {
                request: request.id.clone(),
                show: request.show.clone(),
                download: request.download.clone(),
                decided: request.asked,
                decision: decision.clone(),
            });
        }
        Verdict::Reserved
    }

    fn reserve_one(&mut self, request: &Request, decision: &Decision, day: i64) -> bool {
        if !self.has_room(&decision.campaign, &decision.flight, decision.price.0) {
            return false;
        }
        if let Some(download) = &request.download
            && !self.downloads.insert((download.clone(), decision.sha256.clone()))
        {
            return false;
        }
        self.move_counters(&decision.campaign, &decision.flight, decision.price.0, day, 1, 0);
        true
    }

    fn has_room(&self, campaign: &str, flight: &str, price: i64) -> bool {
        let (Some(campaign), Some(flight)) = (self.campaigns.get(campaign), self.flights.get(flight)) else {
            return false;
        };
        campaign
            .budget
            .is_none_or(|b| campaign.reserved + campaign.spent + price <= b)
            && flight.cap.is_none_or(|c| flight.reserved + flight.billed < c)
    }

    /// Moves a flight's and its campaign's counters by numbers of impressions and the price of one.
    fn move_counters(
        &mut self,
        campaign: &str,
        flight: &str,
        price: i64,
        day: i64,
        reserved: i64,
        billed: i64,
    ) {
        if let Some(row) = self.campaigns.get_mut(campaign) {
            row.reserved += reserved * price;
            row.spent += billed * price;
        }
        if let Some(row) = self.flights.get_mut(flight) {
            row.reserved += reserved;
            row.billed += billed;
            if day > row.day {
                (row.day, row.day_served) = (day, 0);
            }
            if day == row.day {
                row.day_served += reserved + billed;
            }
        }
    }

    fn set_state(&mut self, id: &str, state: &str, changes: &mut Changes) {
        if let Some(decision) = self.decisions.get_mut(id) {
            state.clone_into(&mut decision.state);
            changes.states.insert(id.to_owned());
        }
    }

    fn release(&mut self, decision: &Known, state: &str, changes: &mut Changes) {
        self.set_state(&decision.ad_serving_id, state, changes);
        let day = decision.decided.div_euclid(DAY);
        self.move_counters(
            &decision.campaign_id,
            &decision.flight_id,
            decision.price,
            day,
            -1,
            0,
        );
    }

    fn bill(&mut self, decision: &Known, at: UnixMillis, reserved: i64, changes: &mut Changes) {
        self.set_state(&decision.ad_serving_id, "billed", changes);
        changes.billed.insert(decision.ad_serving_id.clone(), at);
        let day = decision.decided.div_euclid(DAY);
        self.move_counters(
            &decision.campaign_id,
            &decision.flight_id,
            decision.price,
            day,
            -reserved,
            1,
        );
        let about = About::decision(decision, at);
        changes.tally(about, "billed", "", "", decision.price);
        if decision.payout > 0 {
            changes.tally(about, "payout", "", "", decision.payout);
        }
    }

    fn record(&mut self, beacon: &Beacon, at: UnixMillis, changes: &mut Changes) -> Recorded {
        let Some(decision) = self.decisions.get(&beacon.ad_serving_id).cloned() else {
            return Recorded::Unknown;
        };
        let key = (
            beacon.ad_serving_id.clone(),
            beacon.event.clone(),
            beacon.tracker.clone(),
            beacon.basis.to_owned(),
        );
        if !self.events.insert(key) {
            return Recorded::Repeated;
        }
        let open = decision.state == "open" && at < decision.expires;
        let late = beacon.event == "impression" && !open && decision.state != "billed";
        let about = About::decision(&decision, at);
        let detail = match beacon.event.as_str() {
            "error" => beacon.code.as_deref().unwrap_or_default(),
            _ => "",
        };
        changes.tally(about, &beacon.event, beacon.basis, detail, 0);
        if late {
            changes.tally(about, "late", beacon.basis, "", 0);
        }
        if beacon.event == "impression"
            && beacon.basis == "played"
            && self.proved.contains(&decision.ad_serving_id)
        {
            changes.tally(about, "proved", "played", "", 0);
        }
        match beacon.event.as_str() {
            "impression" if open => self.bill(&decision, at, 1, changes),
            "impression" if late => {
                if decision.state == "open" {
                    self.release(&decision, "lapsed", changes);
                }
                if self.has_room(&decision.campaign_id, &decision.flight_id, decision.price) {
                    self.bill(&decision, at, 0, changes);
                }
            }
            "error" | "notUsed" if decision.state == "open" => {
                self.release(&decision, if open { "released" } else { "lapsed" }, changes);
            }
            _ => {}
        }
        changes.events.push(NewEvent {
            beacon: beacon.clone(),
            received: at,
            late,
        });
        Recorded::Counted
    }

    fn no_ad(&mut self, id: &str, code: &str, at: UnixMillis, changes: &mut Changes) -> Recorded {
        let Some((show, known)) = self.requests.get_mut(id) else {
            return Recorded::Unknown;
        };
        if known.is_some() {
            return Recorded::Repeated;
        }
        *known = Some(code.to_owned());
        let about = About {
            at,
            show: show.as_deref(),
            ..About::default()
        };
        changes.tally(about, "noAd", "", code, 0);
        changes.no_ads.insert(id.to_owned(), code.to_owned());
        Recorded::Counted
    }

    /// An impression is proved once a proof that holds and the impression are both here, whichever came first.
    fn prove(&mut self, proof: &Proof, at: UnixMillis, changes: &mut Changes) -> Verdict {
        let Some(decision) = self.decisions.get(&proof.ad_serving_id) else {
            return Verdict::Beacon(Recorded::Unknown);
        };
        if let Some(name) = proof.rejected {
            changes.refuse(at, &format!("proof_{name}"));
            changes.proofs.push((proof.clone(), at));
            return Verdict::Beacon(Recorded::Counted);
        }
        let elsewhere = |record: &String| self.records.get(record).is_some_and(|a| *a != proof.account);
        if proof.records.iter().any(elsewhere) {
            // Another account was faster with one of these records.
            changes.refuse(at, "proof_replayed");
            return Verdict::Refused;
        }
        for record in &proof.records {
            self.records.insert(record.clone(), proof.account.clone());
        }
        changes.proofs.push((proof.clone(), at));
        if !proof.presented || !self.proved.insert(proof.ad_serving_id.clone()) {
            return Verdict::Beacon(Recorded::Repeated);
        }
        let impression = |(id, event, _, basis): &EventKey| {
            *id == proof.ad_serving_id && event == "impression" && basis == "played"
        };
        if self.events.iter().any(impression) {
            changes.tally(About::decision(decision, at), "proved", "played", "", 0);
        }
        Verdict::Beacon(Recorded::Counted)
    }
}
