//! The hierarchy as plain data: advertiser → campaign → flight → creative, and publisher → show.
//!
//! Everything here was checked when it was loaded. Not for counters: those live in the store.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::money::Micros;

/// Who pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertiser {
    /// Stable identifier.
    pub id: String,
    /// Name as shown to people and in VAST.
    pub name: String,
    /// Domain, such as `coffee.example`.
    pub domain: Option<String>,
    /// Category of what is advertised; two ads of one category never share a pod.
    pub category: Option<String>,
    /// URI of the organisation whose list the category is from.
    pub category_authority: String,
}

/// A budget and the flights that spend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// Stable identifier.
    pub id: String,
    /// Its advertiser.
    pub advertiser_id: String,
    /// Name as shown to people.
    pub name: String,
    /// What may be spent in all; `None` is without limit.
    pub budget: Option<Micros>,
    /// ISO 4217 code.
    pub currency: String,
    /// Taken out of use: never decided any more.
    pub archived: bool,
}

/// How a flight spreads its goal over its dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pacing {
    /// The same share of the goal in each part of the time.
    Even,
    /// As early as it can.
    Fast,
    /// What is left of the goal is divided by the days that are left; a day's part is served as early in the day (UTC) as
    /// it can, and no more than that.
    Daily,
}

impl Pacing {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Fast => "fast",
            Self::Daily => "daily",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Even, Self::Fast, Self::Daily]
            .into_iter()
            .find(|p| p.as_str() == text)
    }
}

/// Where a flight's ads stand in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// An ad: before the sponsorships of a pre-roll or mid-roll, after them in a post-roll.
    #[default]
    Spot,
    /// A sponsorship.
    Sponsorship,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::Sponsorship => "sponsorship",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Spot, Self::Sponsorship]
            .into_iter()
            .find(|k| k.as_str() == text)
    }
}

/// How often one viewer may get a flight. Viewers are told apart by a token of their own device, and only when they give
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frequency {
    /// So many times,
    pub count: u32,
    /// in so many milliseconds.
    pub millis: i64,
}

/// Where a flight may play. An empty list is no condition; a condition on something that the question does not say is
/// not met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Targeting {
    /// Ids of shows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shows: Vec<String>,
    /// Ids of episodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub episodes: Vec<String>,
    /// `preroll`, `midroll`, `postroll`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<String>,
    /// ISO 3166-1 alpha-2 codes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<String>,
    /// Kinds of device, such as `phone`, in the words of who asks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// `audio`, `video`: of the content.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
}

/// Who publishes shows, and is paid for the ads in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// Stable identifier.
    pub id: String,
    /// Name as shown to people.
    pub name: String,
    /// What it gets of each billed impression.
    pub share: Share,
}

/// A part of an amount, in hundredths of a per cent: 7,000 is 70 %.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share(pub u16);

impl Share {
    /// All of it.
    pub const WHOLE: u16 = 10_000;

    /// This part of `amount`, rounded down to a millionth.
    pub fn of(self, amount: Micros) -> Micros {
        Micros((i128::from(amount.0) * i128::from(self.0) / i128::from(Self::WHOLE)) as i64)
    }
}

/// How far apart two ads of one category are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Separation {
    /// Never in one pod.
    #[default]
    Pod,
    /// Never in one download.
    Download,
}

impl Separation {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Download => "download",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Pod, Self::Download]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// A show of a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Show {
    /// Stable identifier: what a question for ads calls `show`.
    pub id: String,
    /// Its publisher.
    pub publisher_id: String,
    /// Title as shown to people.
    pub title: String,
    /// Its own share instead of the publisher's.
    pub share: Option<Share>,
    /// Categories that never play in it.
    pub blocked: Vec<String>,
    /// How far apart two ads of one category are kept.
    pub separation: Separation,
}

/// When, how often and at what price a campaign's creatives are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// Stable identifier.
    pub id: String,
    /// Its campaign.
    pub campaign_id: String,
    /// Name as shown to people.
    pub name: String,
    /// Not decided while paused.
    pub paused: bool,
    /// First instant; `None` has always begun.
    pub starts: Option<UnixMillis>,
    /// First instant after it; `None` never ends.
    pub ends: Option<UnixMillis>,
    /// Impressions it is meant to reach.
    pub goal: Option<u64>,
    /// Impressions it may never exceed.
    pub cap: Option<u64>,
    /// Price of one impression.
    pub price: Micros,
    /// 1 is chosen before 16.
    pub priority: u8,
    /// How the goal is spread.
    pub pacing: Pacing,
    /// Where its ads stand in a pod.
    pub kind: Kind,
    /// How often one viewer may get it.
    pub frequency: Option<Frequency>,
    /// Where it may play.
    pub targeting: Targeting,
    /// Taken out of use: never decided any more.
    pub archived: bool,
}

/// One media file and what is said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creative {
    /// Stable identifier.
    pub id: String,
    /// Its flight.
    pub flight_id: String,
    /// Title as shown to people and in VAST.
    pub title: String,
    /// Where the file is (absolute).
    pub path: String,
    /// MIME type.
    pub media_type: String,
    /// Pixels; 0 for audio.
    pub width: u32,
    /// Pixels; 0 for audio.
    pub height: u32,
    /// Declared length in milliseconds.
    pub duration: i64,
    /// Bytes of the file when it was loaded.
    pub size: u64,
    /// When the file was last changed, milliseconds since 1970, when it was loaded.
    pub modified: UnixMillis,
    /// SHA-256 of the file when it was loaded, lower-case hex.
    pub sha256: String,
    /// Registry of the universal ad id.
    pub ad_registry: String,
    /// Universal ad id.
    pub ad_id: String,
    /// Share among the creatives of its flight, 1 to 1000.
    pub weight: u32,
    /// Kilobits per second.
    pub bitrate: u32,
    /// Page that a click opens.
    pub click_through: Option<String>,
    /// May be skipped after so many milliseconds.
    pub skip_after: Option<i64>,
    /// Gated loudness in hundredths of LUFS, when it was measured.
    pub loudness: Option<i64>,
    /// True peak in hundredths of dBTP, when it was measured.
    pub true_peak: Option<i64>,
    /// Another server's VAST tag: the ad is a wrapper around it, and there is no file.
    pub tag: Option<String>,
    /// The v2 info hash, in hex, when it is published through the swarm.
    pub info_hash: Option<String>,
    /// Taken out of use: never decided any more.
    pub archived: bool,
}

impl Creative {
    /// `audio` or `video`.
    pub fn kind(&self) -> &'static str {
        if self.media_type.starts_with("audio/") {
            "audio"
        } else {
            "video"
        }
    }
}

/// All that one or more files declare, parents before children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Publishers.
    pub publishers: Vec<Publisher>,
    /// Shows.
    pub shows: Vec<Show>,
    /// Advertisers.
    pub advertisers: Vec<Advertiser>,
    /// Campaigns.
    pub campaigns: Vec<Campaign>,
    /// Flights.
    pub flights: Vec<Flight>,
    /// Creatives.
    pub creatives: Vec<Creative>,
}
