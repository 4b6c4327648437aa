//! The JSON bodies of the API, and their checks.
//!
//! Every refusal names the field. The same rules as for TOML files, see [`crate::load`].

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use super::super::{Refusal, bad};
use crate::catalog::{
    Advertiser, Campaign, Flight, Frequency, Kind, Pacing, Publisher, Separation, Share, Show, Targeting,
};
use crate::clock::{DAY, UnixMillis, day_of};
use crate::load::CATEGORY_AUTHORITY;
use crate::money::Micros;

/// A body of JSON, whatever type it is said to be: only a token lets anybody in here, which no form of another site has.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|e| Refusal(e.status(), e.body_text()))?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|e| bad(format!("the JSON body is not understood: {e}")))
    }
}

/// Milliseconds since 1970, or the day of which `of_day` gives them.
fn instant<'de, D: Deserializer<'de>>(
    from: D,
    of_day: fn(i64) -> UnixMillis,
) -> Result<Option<UnixMillis>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "milliseconds since 1970 or a day such as 2026-01-31 are needed"
    )]
    enum Instant {
        Millis(UnixMillis),
        Day(String),
    }
    match Option::deserialize(from)? {
        None => Ok(None),
        Some(Instant::Millis(at)) => Ok(Some(at)),
        Some(Instant::Day(day)) => match day_of(&day) {
            Some(day) => Ok(Some(of_day(day))),
            None => Err(D::Error::custom(format!(
                "{day:?} is not a day such as 2026-01-31"
            ))),
        },
    }
}

fn starts<'de, D: Deserializer<'de>>(from: D) -> Result<Option<UnixMillis>, D::Error> {
    instant(from, |day| day * DAY)
}

/// A day is included.
fn ends<'de, D: Deserializer<'de>>(from: D) -> Result<Option<UnixMillis>, D::Error> {
    instant(from, |day| (day + 1) * DAY)
}

/// An identifier: safe in URLs and paths.
pub(super) fn id(text: &str) -> Result<String, Refusal> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
        return Err(bad(format!(
            "id = {text:?}: 1 to 64 letters, digits, '.', '_' or '-' are needed"
        )));
    }
    Ok(text.to_owned())
}

/// Text that can stand in XML and on a line of a table.
pub(super) fn text(name: &str, text: &str) -> Result<String, Refusal> {
    let trimmed = text.trim();
    let forbidden = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    if trimmed.is_empty() || trimmed.len() > 500 || trimmed.chars().any(forbidden) {
        return Err(bad(format!(
            "{name}: 1 to 500 bytes of text without control characters are needed"
        )));
    }
    Ok(trimmed.to_owned())
}

pub(super) fn optional(name: &str, value: Option<&String>) -> Result<Option<String>, Refusal> {
    value
        .filter(|v| !v.trim().is_empty())
        .map(|v| text(name, v))
        .transpose()
}

/// An http or https URL.
pub(super) fn url(name: &str, value: Option<&String>) -> Result<Option<String>, Refusal> {
    match value.map(|v| v.trim()).filter(|v| !v.is_empty()) {
        None => Ok(None),
        Some(text) => match url::Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Some(url.to_string())),
            _ => Err(bad(format!("{name}: an http or https URL is needed"))),
        },
    }
}

fn share(percent: f64) -> Result<Share, Refusal> {
    let hundredths = percent * 100.0;
    if !(0.0..=10_000.0).contains(&hundredths) || (hundredths - hundredths.round()).abs() > 1e-6 {
        return Err(bad(
            "share: it is from 0 to 100 per cent, with at most two decimals",
        ));
    }
    Ok(Share(hundredths.round() as u16))
}

fn percent(share: Share) -> f64 {
    f64::from(share.0) / 100.0
}

/// A publisher.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublisherBody {
    #[serde(skip_deserializing)]
    pub(crate) id: String,
    pub(crate) name: String,
    /// Per cent.
    pub(crate) share: f64,
}

impl PublisherBody {
    pub(crate) fn from(p: &Publisher) -> Self {
        Self {
            id: p.id.clone(),
            name: p.name.clone(),
            share: percent(p.share),
        }
    }

    pub(super) fn check(self, key: &str) -> Result<Publisher, Refusal> {
        Ok(Publisher {
            id: id(key)?,
            name: text("name", &self.name)?,
            share: share(self.share)?,
        })
    }
}

/// A show.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowBody {
    #[serde(skip_deserializing)]
    pub(crate) id: String,
    pub(crate) publisher: String,
    pub(crate) title: String,
    /// Per cent; without it the publisher's.
    pub(crate) share: Option<f64>,
    #[serde(default)]
    pub(crate) blocked: Vec<String>,
    #[serde(default)]
    pub(crate) separation: Option<String>,
}

impl ShowBody {
    pub(crate) fn from(s: &Show) -> Self {
        Self {
            id: s.id.clone(),
            publisher: s.publisher_id.clone(),
            title: s.title.clone(),
            share: s.share.map(percent),
            blocked: s.blocked.clone(),
            separation: Some(s.separation.as_str().to_owned()),
        }
    }

    pub(super) fn check(self, key: &str) -> Result<Show, Refusal> {
        let separation = match self.separation.as_deref() {
            None | Some("") => Separation::default(),
            Some(text) => Separation::parse(text).ok_or_else(|| bad("separation: it is pod or download"))?,
        };
        if self.blocked.len() > 100 {
            return Err(bad("blocked: 100 categories at most"));
        }
        Ok(Show {
            id: id(key)?,
            publisher_id: id(&self.publisher)?,
            title: text("title", &self.title)?,
            share: self.share.map(share).transpose()?,
            blocked: self
                .blocked
                .iter()
                .map(|b| text("blocked", b))
                .collect::<Result<_, _>>()?,
            separation,
        })
    }
}

/// An advertiser.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdvertiserBody {
    #[serde(skip_deserializing)]
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) domain: Option<String>,
    #[serde(default)]
    pub(crate) category: Option<String>,
    #[serde(default)]
    pub(crate) category_authority: Option<String>,
}

impl AdvertiserBody {
    pub(crate) fn from(a: &Advertiser) -> Self {
        Self {
            id: a.id.clone(),
            name: a.name.clone(),
            domain: a.domain.clone(),
            category: a.category.clone(),
            category_authority: Some(a.category_authority.clone()),
        }
    }

    pub(super) fn check(self, key: &str) -> Result<Advertiser, Refusal> {
        Ok(Advertiser {
            id: id(key)?,
            name: text("name", &self.name)?,
            domain: optional("domain", self.domain.as_ref())?,
            category: optional("category", self.category.as_ref())?,
            category_authority: optional("category_authority", self.category_authority.as_ref())?
                .unwrap_or_else(|| CATEGORY_AUTHORITY.to_owned()),
        })
    }
}

/// A campaign.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CampaignBody {
    #[serde(skip_deserializing)]
    pub(crate) id: String,
    pub(crate) advertiser: String,
    pub(crate) name: String,
    /// Currency units; without it there is no limit.
    #[serde(default)]
    pub(crate) budget: Option<f64>,
    #[serde(default)]
    pub(crate) currency: Option<String>,
}

impl CampaignBody {
    pub(crate) fn from(c: &Campaign) -> Self {
        Self {
            id: c.id.clone(),
            advertiser: c.advertiser_id.clone(),
            name: c.name.clone(),
            budget: c.budget.map(|b| b.0 as f64 / 1e6),
            currency: Some(c.currency.clone()),
        }
    }

    pub(crate) fn check(self, key: &str) -> Result<Campaign, Refusal> {
        let currency = self
            .currency
            .filter(|c| !c.is_empty())
            .unwrap_or_else(|| "USD".to_owned());
        if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(bad("currency: three capital letters of ISO 4217 are needed"));
        }
        let budget = self.budget.map(Micros::from_units).transpose();
        Ok(Campaign {
            archived: false,
            id: id(key)?,
            advertiser_id: id(&self.advertiser)?,
            name: text("name", &self.name)?,
            budget: budget.map_err(|e| bad(format!("budget: {e}")))?,
            currency,
        })
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FrequencyBody {
    pub(crate) count: u32,
    pub(crate) hours: f64,
}

/// A flight.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlightBody {
    #[serde(skip_deserializing)]
    pub(crate) id: String,
    pub(crate) campaign: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) paused: bool,
    /// Milliseconds since 1970; a day is taken, too.
    #[serde(default, deserialize_with = "starts")]
    pub(crate) starts: Option<i64>,
    #[serde(default, deserialize_with = "ends")]
    pub(crate) ends: Option<i64>,
    #[serde(default)]
    pub(crate) goal: Option<u64>,
    #[serde(default)]
    pub(crate) cap: Option<u64>,
    pub(crate) price_per_thousand: f64,
    #[serde(default)]
    pub(crate) priority: Option<u8>,
    #[serde(default)]
    pub(crate) pacing: Option<String>,
    #[serde(default)]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) frequency: Option<FrequencyBody>,
    #[serde(default)]
    pub(crate) targeting: Targeting,
}

impl FlightBody {
    pub(crate) fn from(f: &Flight) -> Self {
        Self {
            id: f.id.clone(),
            campaign: f.campaign_id.clone(),
            name: f.name.clone(),
            paused: f.paused,
            starts: f.starts,
            ends: f.ends,
            goal: f.goal,
            cap: f.cap,
            price_per_thousand: f.price.0 as f64 / 1e3,
            priority: Some(f.priority),
            pacing: Some(f.pacing.as_str().to_owned()),
            kind: Some(f.kind.as_str().to_owned()),
            frequency: f.frequency.map(|f| FrequencyBody {
                count: f.count,
                hours: f.millis as f64 / 3.6e6,
            }),
            targeting: f.targeting.clone(),
        }
    }

    pub(crate) fn check(self, key: &str) -> Result<Flight, Refusal> {
        if let (Some(starts), Some(ends)) = (self.starts, self.ends)
            && ends <= starts
        {
            return Err(bad("ends: it is not after starts"));
        }
        let bounded = self.starts.is_some() && self.ends.is_some();
        let pacing = match self.pacing.as_deref() {
            None | Some("") if bounded => Pacing::Even,
            None | Some("") => Pacing::Fast,
            Some(text) => Pacing::parse(text).ok_or_else(|| bad("pacing: it is even, daily or fast"))?,
        };
        if pacing == Pacing::Even && !bounded {
            return Err(bad("pacing: starts and ends are needed for even"));
        }
        if pacing == Pacing::Daily && (!bounded || self.goal.is_none()) {
            return Err(bad("pacing: starts, ends and goal are needed for daily"));
        }
        for (name, count) in [("goal", self.goal), ("cap", self.cap)] {
            if count.is_some_and(|c| !(1..=1_000_000_000_000).contains(&c)) {
                return Err(bad(format!("{name}: it is from 1 to 1000000000000 impressions")));
            }
        }
        let kind = match self.kind.as_deref() {
            None | Some("") => Kind::Spot,
            Some(text) => Kind::parse(text).ok_or_else(|| bad("kind: it is spot or sponsorship"))?,
        };
        let priority = self.priority.unwrap_or(8);
        if !(1..=16).contains(&priority) {
            return Err(bad("priority: it is from 1 to 16"));
        }
        let frequency = match self.frequency {
            Some(f) if f.count == 0 || !(0.01..=8_784.0).contains(&f.hours) => {
                return Err(bad(
                    "frequency: a count of at least 1 and 0.01 to 8784 hours are needed",
                ));
            }
            other => other.map(|f| Frequency {
                count: f.count,
                millis: (f.hours * 3_600_000.0).round() as i64,
            }),
        };
        Ok(Flight {
            archived: false,
            id: id(key)?,
            campaign_id: id(&self.campaign)?,
            name: text("name", &self.name)?,
            paused: self.paused,
            starts: self.starts,
            ends: self.ends,
            goal: self.goal,
            cap: self.cap,
            price: Micros::per_impression(self.price_per_thousand)
                .map_err(|e| bad(format!("price_per_thousand: {e}")))?,
            priority,
            pacing,
            kind,
            frequency,
            targeting: self.targeting,
        })
    }
}

/// What may be said about a creative after it was uploaded.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CreativeChange {
    pub(crate) title: Option<String>,
    pub(crate) weight: Option<u32>,
    /// An empty one is none.
    pub(crate) click_through: Option<String>,
    /// Seconds; `null` is that it may not be skipped.
    pub(crate) skip_after: Change,
}

/// What a change says about a number that may be none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum Change {
    /// Nothing: it stays.
    #[default]
    Keep,
    /// `null`: there is none any more.
    Clear,
    /// It is this now.
    To(f64),
}

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::from(Option::deserialize(from)?))
    }
}

impl From<Option<f64>> for Change {
    fn from(said: Option<f64>) -> Self {
        said.map_or(Self::Clear, Self::To)
    }
}

/// Another server's tag as a creative.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TagBody {
    pub(super) tag: String,
    /// Seconds.
    pub(super) duration: f64,
    #[serde(default)]
    pub(super) title: Option<String>,
    #[serde(default)]
    pub(super) weight: Option<u32>,
    #[serde(default)]
    pub(super) media_type: Option<String>,
}
