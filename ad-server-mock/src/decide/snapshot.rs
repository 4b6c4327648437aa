//! What a decision looks at: the hierarchy with its cross-references worked out once, and the counters beside it.
//!
//! A [`Snapshot`] never changes; a changed hierarchy is a new one. [`Counters`] have the same indices. Tags are 64-bit
//! hashes that stay the same from one snapshot to the next, so that what a download heard outlives a change of the
//! hierarchy. Not for reading or keeping either: see [`crate::store`] and [`crate::book`].

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::catalog::{Advertiser, Campaign, Catalog, Creative, Flight, Publisher, Separation, Share, Show};
use crate::clock::UnixMillis;
use crate::money::Micros;

/// Index of a campaign in one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CampaignIndex(pub usize);
/// Index of a flight in one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlightIndex(pub usize);
/// Index of a creative in one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CreativeIndex(pub usize);

/// A name as a number that is the same in every snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);

impl Tag {
    /// The tag of a name.
    pub fn of(name: &str) -> Self {
        // This hasher has fixed keys. Names come from the campaigns' own owners, who gain nothing from a collision.
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// The tag of a universal ad id.
    pub fn of_ad(registry: &str, id: &str) -> Self {
        Self::of(&format!("{registry}\n{id}"))
    }
}

/// What is worked out once for a flight.
#[derive(Debug, Clone)]
pub struct FlightEntry {
    /// The flight.
    pub flight: Flight,
    /// Its campaign.
    pub campaign: CampaignIndex,
    /// Its advertiser's category.
    pub category: Option<Tag>,
    /// Its creatives.
    pub creatives: Vec<CreativeIndex>,
    /// Its name.
    pub tag: Tag,
    /// It, or its campaign, is taken out of use.
    pub archived: bool,
}

/// What is worked out once for a creative.
#[derive(Debug, Clone)]
pub struct CreativeEntry {
    /// The creative.
    pub creative: Creative,
    /// Its flight.
    pub flight: FlightIndex,
    /// Its bytes: two creatives with the same are the same to a listener.
    pub content: Tag,
    /// Its universal ad id.
    pub ad: Tag,
    /// Its name.
    pub tag: Tag,
}

/// What is worked out once for a campaign.
#[derive(Debug, Clone)]
pub struct CampaignEntry {
    /// The campaign.
    pub campaign: Campaign,
    /// Index of its advertiser.
    pub advertiser: usize,
}

/// The hierarchy, ready to be decided from.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Advertisers.
    pub advertisers: Vec<Advertiser>,
    /// Campaigns.
    pub campaigns: Vec<CampaignEntry>,
    /// Flights.
    pub flights: Vec<FlightEntry>,
    /// Creatives.
    pub creatives: Vec<CreativeEntry>,
    /// Flights in use, of each priority that there is, the first in turn first.
    pub by_priority: Vec<Vec<FlightIndex>>,
    /// The longest time that a frequency cap looks back; 0 when there is none.
    pub longest_frequency: i64,
    publishers: HashMap<String, Publisher>,
    shows: HashMap<String, Show>,
    campaign_of: HashMap<String, CampaignIndex>,
    flight_of: HashMap<String, FlightIndex>,
    creative_of: HashMap<String, CreativeIndex>,
}

impl Snapshot {
    /// Works out a catalog. What refers to something that is not in it is left out.
    pub fn new(catalog: Catalog) -> Self {
        let mut s = Self::default();
        let advertiser_of: HashMap<_, _> = catalog
            .advertisers
            .iter()
            .enumerate()
            .map(|(n, a)| (a.id.clone(), n))
            .collect();
        s.advertisers = catalog.advertisers;
        for campaign in catalog.campaigns {
            let Some(advertiser) = advertiser_of.get(&campaign.advertiser_id).copied() else {
                continue;
            };
            let index = CampaignIndex(s.campaigns.len());
            s.campaign_of.insert(campaign.id.clone(), index);
            s.campaigns.push(CampaignEntry { campaign, advertiser });
        }
        for flight in catalog.flights {
            let Some(campaign) = s.campaign_of.get(&flight.campaign_id).copied() else {
                continue;
            };
            let advertiser = &s.advertisers[s.campaigns[campaign.0].advertiser];
            let entry = FlightEntry {
                campaign,
                category: advertiser.category.as_deref().map(Tag::of),
                creatives: Vec::new(),
                tag: Tag::of(&flight.id),
                archived: flight.archived || s.campaigns[campaign.0].campaign.archived,
                flight,
            };
            let millis = entry.flight.frequency.map_or(0, |f| f.millis);
            s.longest_frequency = s.longest_frequency.max(millis);
            s.flight_of
                .insert(entry.flight.id.clone(), FlightIndex(s.flights.len()));
            s.flights.push(entry);
        }
        for creative in catalog.creatives {
            let Some(flight) = s.flight_of.get(&creative.flight_id).copied() else {
                continue;
            };
            let index = CreativeIndex(s.creatives.len());
            s.flights[flight.0].creatives.push(index);
            s.creative_of.insert(creative.id.clone(), index);
            s.creatives.push(CreativeEntry {
                flight,
                content: Tag::of(&creative.sha256),
                ad: Tag::of_ad(&creative.ad_registry, &creative.ad_id),
                tag: Tag::of(&creative.id),
                creative,
            });
        }
        let mut by_priority: BTreeMap<u8, Vec<FlightIndex>> = BTreeMap::new();
        for (n, entry) in s.flights.iter().enumerate().filter(|(_, f)| !f.archived) {
            let same = by_priority.entry(entry.flight.priority).or_default();
            same.push(FlightIndex(n));
        }
        s.by_priority = by_priority.into_values().collect();
        s.publishers = catalog
            .publishers
            .into_iter()
            .map(|p| (p.id.clone(), p))
            .collect();
        s.shows = catalog.shows.into_iter().map(|x| (x.id.clone(), x)).collect();
        s
    }

    /// A flight by its id.
    pub fn flight(&self, id: &str) -> Option<FlightIndex> {
        self.flight_of.get(id).copied()
    }

    /// A campaign by its id.
    pub fn campaign(&self, id: &str) -> Option<CampaignIndex> {
        self.campaign_of.get(id).copied()
    }

    /// A creative by its id.
    pub fn creative(&self, id: &str) -> Option<CreativeIndex> {
        self.creative_of.get(id).copied()
    }

    /// A show by its id.
    pub fn show(&self, id: &str) -> Option<&Show> {
        self.shows.get(id)
    }

    /// All publishers, by id.
    pub fn publishers(&self) -> impl Iterator<Item = &Publisher> {
        let mut all: Vec<_> = self.publishers.values().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.into_iter()
    }

    /// All shows, by id.
    pub fn shows(&self) -> impl Iterator<Item = &Show> {
        let mut all: Vec<_> = self.shows.values().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.into_iter()
    }

    /// A publisher by its id.
    pub fn publisher(&self, id: &str) -> Option<&Publisher> {
        self.publishers.get(id)
    }

    /// What the publisher of a show gets of an impression at `price`; nothing for a show that nobody declared.
    pub fn payout(&self, show: Option<&str>, price: Micros) -> Micros {
        let Some(show) = show.and_then(|s| self.shows.get(s)) else {
            return Micros(0);
        };
        let publisher = self
            .publishers
            .get(&show.publisher_id)
            .map_or(Share(0), |p| p.share);
        show.share.unwrap_or(publisher).of(price)
    }

    /// How far apart two ads of one category are kept in a show.
    pub fn separation(&self, show: Option<&str>) -> Separation {
        show.and_then(|s| self.shows.get(s))
            .map_or(Separation::Pod, |s| s.separation)
    }
}

/// An amount that is in the database, and what is on its way there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Last known from the database.
    pub stored: i64,
    /// Decided here and not in the database yet.
    pub pending: i64,
}

impl Amount {
    /// Both together, which is what limits are compared with.
    pub fn total(self) -> i64 {
        self.stored + self.pending
    }
}

/// The counters of a flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlightCount {
    /// Impressions reserved and billed.
    pub served: Amount,
    /// The day that `day_served` is about, in days since 1970-01-01 UTC.
    pub day: i64,
    /// Impressions reserved and billed out of that day's decisions.
    pub day_served: Amount,
    /// Turn of the last decision for it; 0 is never.
    pub last: u64,
}

impl FlightCount {
    /// Impressions reserved and billed out of the decisions of a day.
    pub fn served_on(&self, day: i64) -> i64 {
        if self.day == day {
            self.day_served.total()
        } else {
            0
        }
    }
}

/// The counters beside a snapshot, by the same indices.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Money spent and reserved of each campaign, in millionths.
    pub campaigns: Vec<Amount>,
    /// Of each flight.
    pub flights: Vec<FlightCount>,
    /// Decisions for each creative.
    pub creatives: Vec<u64>,
}

impl Counters {
    /// Nothing counted yet.
    pub fn new(snapshot: &Snapshot) -> Self {
        Self {
            campaigns: vec![Amount::default(); snapshot.campaigns.len()],
            flights: vec![FlightCount::default(); snapshot.flights.len()],
            creatives: vec![0; snapshot.creatives.len()],
        }
    }
}

/// An ad that a download already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Its bytes.
    pub content: Tag,
    /// Its universal ad id.
    pub ad: Tag,
    /// Its advertiser's category.
    pub category: Option<Tag>,
}

/// Whose turn it is in one break of one episode.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Turn of the last decision here for a flight.
    pub flights: HashMap<Tag, u64>,
    /// Decisions here for a creative.
    pub creatives: HashMap<Tag, u64>,
}

/// What is remembered about who asks and from where.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// The ads that this download has.
    pub download: &'a [Heard],
    /// The flights that this viewer got, and when.
    pub viewer: &'a [(Tag, UnixMillis)],
    /// Whose turn it is here.
    pub place: &'a Place,
}
