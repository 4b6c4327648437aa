//! The hierarchy as plain data: advertiser → campaign → flight → creative.
//!
//! Everything here was checked when it was loaded. Not for counters: those live in the store.

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
}

/// How a flight spreads its goal over its dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pacing {
    /// The same share of the goal in each part of the time.
    Even,
    /// As early as it can.
    Fast,
}

impl Pacing {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Fast => "fast",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Even, Self::Fast].into_iter().find(|p| p.as_str() == text)
    }
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
}

impl Creative {
    /// Whether this is sound only.
    pub fn is_audio(&self) -> bool {
        self.media_type.starts_with("audio/")
    }
}

/// All that one or more files declare, parents before children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Advertisers.
    pub advertisers: Vec<Advertiser>,
    /// Campaigns.
    pub campaigns: Vec<Campaign>,
    /// Flights.
    pub flights: Vec<Flight>,
    /// Creatives.
    pub creatives: Vec<Creative>,
}
