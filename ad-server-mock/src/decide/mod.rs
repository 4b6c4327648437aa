//! Which ads fill a break: a snapshot, its counters and a question in, a pod out.
//!
//! Pure: no clock, no store, randomness from a seed. The order of the questions is that of an ad server: active and in
//! its dates; budget and cap, open reservations included; frequency; targeting; blocked categories; its like not in this
//! pod and itself not in this download; fits the time left; then priority, how far behind its pace, whose turn it is
//! (so that consecutive viewers of a break get different creatives), and chance. Not for reserving: see [`crate::book`].

mod pace;
mod snapshot;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;

pub use snapshot::{
    Amount, CampaignEntry, CampaignIndex, Counters, CreativeEntry, CreativeIndex, FlightCount, FlightEntry,
    FlightIndex, Heard, History, Place, Snapshot, Tag,
};

use crate::catalog::{Kind, Separation};
use crate::clock::{DAY, UnixMillis};

/// Most ads in one pod, whatever is asked for.
pub const MOST_ADS: usize = 20;
/// Two flights whose progress differs by less than this share of their goals take turns.
const PACE_STEPS: f64 = 20.0;

/// A question for ads. What is `None` was not said.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Show.
    pub show: Option<String>,
    /// Episode.
    pub episode: Option<String>,
    /// Break.
    pub break_id: Option<String>,
    /// `preroll`, `midroll` or `postroll`.
    pub position: Option<String>,
    /// ISO 3166-1 alpha-2 code.
    pub country: Option<String>,
    /// Kind of device.
    pub device: Option<String>,
    /// `audio` or `video`: then creatives are of that kind.
    pub content_type: Option<String>,
    /// Categories that are not wanted.
    pub blocked: Vec<String>,
    /// Opaque token of one download: a creative is never decided twice for it.
    pub download: Option<String>,
    /// Opaque token of a viewer's device, for frequency caps; only when the viewer allows it.
    pub viewer: Option<String>,
    /// Milliseconds that the break has; `None` is without limit.
    pub time: Option<i64>,
    /// Ads wanted; at most [`MOST_ADS`] are given.
    pub ads: usize,
}

/// Why a creative is not in the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// Archived, paused, not begun, or over.
    NotActive,
    /// The campaign cannot pay for another impression.
    Budget,
    /// The flight has reached its cap.
    Cap,
    /// The flight has had its part of the day.
    Paced,
    /// This viewer had the flight as often as it may.
    Frequency,
    /// It is not for this show, episode, position, country, device or type.
    Targeting,
    /// Its category is not wanted here.
    Blocked,
    /// This download already has this creative.
    Repeated,
    /// The pod (or the download) already has this category.
    Separation,
    /// Longer than the time left.
    TooLong,
    /// Others came first and the pod is full.
    Outranked,
}

/// Chooses ads for a break, in playing order. The same arguments give the same answer.
pub fn decide(
    snapshot: &Snapshot,
    counters: &Counters,
    question: &Question,
    history: History<'_>,
    now: UnixMillis,
    seed: u64,
) -> Vec<CreativeIndex> {
    let view = View {
        snapshot,
        counters,
        question,
        history,
        now,
        seed,
    };
    // What no ad of the pod can change is looked at once, and a priority only when all before it have nothing.
    let mut open: Vec<Vec<FlightIndex>> = Vec::new();
    let mut pod = Vec::new();
    while pod.len() < question.ads.min(MOST_ADS) {
        let next = snapshot.by_priority.iter().enumerate().find_map(|(n, all)| {
            if open.len() == n {
                let all = all.iter().copied();
                open.push(all.filter(|f| view.flight_rejection(*f, &[]).is_none()).collect());
            }
            view.best(&open[n], &pod)
        });
        let Some(next) = next else { break };
        pod.push(next);
    }
    view.in_playing_order(&mut pod);
    pod
}

/// Why each creative that is not in `pod` is not, by the first rule that keeps it out.
pub fn explain(
    snapshot: &Snapshot,
    counters: &Counters,
    question: &Question,
    history: History<'_>,
    now: UnixMillis,
    pod: &[CreativeIndex],
) -> Vec<(CreativeIndex, Rejection)> {
    let view = View {
        snapshot,
        counters,
        question,
        history,
        now,
        seed: 0,
    };
    (0..snapshot.creatives.len())
        .map(CreativeIndex)
        .filter(|c| !pod.contains(c))
        .map(|c| {
            let flight = snapshot.creatives[c.0].flight;
            let why = view
                .flight_rejection(flight, pod)
                .or_else(|| view.creative_rejection(c, pod));
            (c, why.unwrap_or(Rejection::Outranked))
        })
        .collect()
}

#[derive(Clone, Copy)]
struct View<'a> {
    snapshot: &'a Snapshot,
    counters: &'a Counters,
    question: &'a Question,
    history: History<'a>,
    now: UnixMillis,
    seed: u64,
}

impl View<'_> {
    /// The first rule that keeps a flight out of the rest of the pod.
    fn flight_rejection(&self, index: FlightIndex, pod: &[CreativeIndex]) -> Option<Rejection> {
        let entry = &self.snapshot.flights[index.0];
        let flight = &entry.flight;
        if entry.archived
            || flight.paused
            || flight.starts.is_some_and(|s| self.now < s)
            || flight.ends.is_some_and(|e| self.now >= e)
        {
            return Some(Rejection::NotActive);
        }
        if let Some(budget) = self.snapshot.campaigns[entry.campaign.0].campaign.budget {
            let in_pod: i64 = self
                .flights_of(pod)
                .filter(|f| f.campaign == entry.campaign)
                .map(|f| f.flight.price.0)
                .sum();
            let committed = self.counters.campaigns[entry.campaign.0].total();
            if committed + in_pod + flight.price.0 > budget.0 {
                return Some(Rejection::Budget);
            }
        }
        let count = &self.counters.flights[index.0];
        let in_pod = self.of_flight(pod, index);
        if flight
            .cap
            .is_some_and(|cap| count.served.total() + in_pod >= cap as i64)
        {
            return Some(Rejection::Cap);
        }
        if pace::part_of_today(flight, count, self.now)
            .is_some_and(|part| count.served_on(self.now.div_euclid(DAY)) + in_pod >= part)
        {
            return Some(Rejection::Paced);
        }
        if let Some(limit) = flight.frequency {
            let since = self.now - limit.millis;
            let viewer = self.history.viewer.iter();
            let had = viewer.filter(|(f, at)| *f == entry.tag && *at > since).count() as i64;
            if had + in_pod >= i64::from(limit.count) {
                return Some(Rejection::Frequency);
            }
        }
        if !self.is_targeted(&entry.flight.targeting) {
            return Some(Rejection::Targeting);
        }
        if self.is_blocked(entry) {
            return Some(Rejection::Blocked);
        }
        None
    }

    fn is_targeted(&self, targeting: &crate::catalog::Targeting) -> bool {
        let q = self.question;
        [
            (&targeting.shows, &q.show),
            (&targeting.episodes, &q.episode),
            (&targeting.positions, &q.position),
            (&targeting.countries, &q.country),
            (&targeting.devices, &q.device),
            (&targeting.types, &q.content_type),
        ]
        .into_iter()
        .all(|(wanted, said)| wanted.is_empty() || said.as_ref().is_some_and(|s| wanted.contains(s)))
    }

    fn is_blocked(&self, entry: &FlightEntry) -> bool {
        let campaign = &self.snapshot.campaigns[entry.campaign.0];
        let Some(category) = &self.snapshot.advertisers[campaign.advertiser].category else {
            return false;
        };
        let show = self.question.show.as_deref().and_then(|s| self.snapshot.show(s));
        self.question.blocked.contains(category) || show.is_some_and(|s| s.blocked.contains(category))
    }

    /// The first rule that keeps a creative out of the rest of the pod, when nothing keeps its flight out.
    fn creative_rejection(&self, index: CreativeIndex, pod: &[CreativeIndex]) -> Option<Rejection> {
        let entry = &self.snapshot.creatives[index.0];
        if entry.creative.archived {
            return Some(Rejection::NotActive);
        }
        if self
            .question
            .content_type
            .as_deref()
            .is_some_and(|kind| kind != entry.creative.kind())
        {
            return Some(Rejection::Targeting);
        }
        let same = |content: Tag, ad: Tag| content == entry.content || ad == entry.ad;
        let chosen = || pod.iter().map(|c| &self.snapshot.creatives[c.0]);
        if self.history.download.iter().any(|h| same(h.content, h.ad))
            || chosen().any(|c| same(c.content, c.ad))
        {
            return Some(Rejection::Repeated);
        }
        if let Some(category) = self.snapshot.flights[entry.flight.0].category {
            let in_download = self.snapshot.separation(self.question.show.as_deref()) == Separation::Download
                && self.history.download.iter().any(|h| h.category == Some(category));
            if in_download || self.flights_of(pod).any(|f| f.category == Some(category)) {
                return Some(Rejection::Separation);
            }
        }
        if let Some(time) = self.question.time {
            let used: i64 = chosen().map(|c| c.creative.duration).sum();
            if used + entry.creative.duration > time {
                return Some(Rejection::TooLong);
            }
        }
        None
    }

    fn flights_of(&self, pod: &[CreativeIndex]) -> impl Iterator<Item = &FlightEntry> {
        pod.iter()
            .map(|c| &self.snapshot.flights[self.snapshot.creatives[c.0].flight.0])
    }

    /// How many ads of the pod are of a flight.
    fn of_flight(&self, pod: &[CreativeIndex], flight: FlightIndex) -> i64 {
        pod.iter()
            .filter(|c| self.snapshot.creatives[c.0].flight == flight)
            .count() as i64
    }

    /// The best of flights of one priority.
    fn best(&self, open: &[FlightIndex], pod: &[CreativeIndex]) -> Option<CreativeIndex> {
        let fits = |flight: &FlightIndex| {
            (pod.is_empty() || self.flight_rejection(*flight, pod).is_none())
                && self.snapshot.flights[flight.0]
                    .creatives
                    .iter()
                    .any(|c| self.creative_rejection(*c, pod).is_none())
        };
        let flight = open
            .iter()
            .filter(|f| fits(f))
            .min_by_key(|f| self.rank(**f, pod))?;
        let place = self.history.place;
        // Shares are compared in whole numbers: what one more decision would make of decided ÷ weight.
        let share = |n: u64, weight: u32| (u128::from(n) + 1) * 1_000_000 / u128::from(weight.max(1));
        self.snapshot.flights[flight.0]
            .creatives
            .iter()
            .copied()
            .filter(|c| self.creative_rejection(*c, pod).is_none())
            .min_by_key(|c| {
                let entry = &self.snapshot.creatives[c.0];
                let weight = entry.creative.weight;
                let here = place.creatives.get(&entry.tag).copied().unwrap_or(0);
                // An exponential variate of rate `weight`: the smallest of several is each one's with chance weight ÷ sum.
                let uniform = (self.chance(entry.tag) >> 11) as f64 / (1_u64 << 53) as f64;
                let variate = -uniform.max(f64::MIN_POSITIVE).ln() / f64::from(weight.max(1));
                (
                    share(here, weight),
                    share(self.counters.creatives[c.0], weight),
                    (variate * 1e15) as u64,
                )
            })
    }

    /// Smaller comes first, within a priority: pace, ads in this pod, turn here, turn anywhere, chance.
    fn rank(&self, index: FlightIndex, pod: &[CreativeIndex]) -> (Reverse<i64>, i64, u64, u64, u64) {
        let entry = &self.snapshot.flights[index.0];
        let count = &self.counters.flights[index.0];
        let in_pod = self.of_flight(pod, index);
        let behind = pace::behind(&entry.flight, count, in_pod, self.now);
        (
            Reverse((behind * PACE_STEPS).round() as i64),
            in_pod,
            self.history.place.flights.get(&entry.tag).copied().unwrap_or(0),
            count.last,
            self.chance(entry.tag),
        )
    }

    /// A number that looks random, from the seed and a name (the finaliser of SplitMix64).
    fn chance(&self, tag: Tag) -> u64 {
        let mut z = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ tag.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Sponsors' order: ads before sponsorships, and in a post-roll after them.
    fn in_playing_order(&self, pod: &mut [CreativeIndex]) {
        let postroll = self.question.position.as_deref() == Some("postroll");
        pod.sort_by_key(|c| {
            let kind = self.snapshot.flights[self.snapshot.creatives[c.0].flight.0]
                .flight
                .kind;
            (kind == Kind::Sponsorship) != postroll
        });
    }
}
