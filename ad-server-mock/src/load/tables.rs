//! The tables of a TOML file, as they are written. Not for checking what they say: see `reader`.

use std::fmt;

use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use crate::catalog::Targeting;

/// A number written with or without a decimal point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(pub(super) f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_i64<E>(self, v: i64) -> Result<Number, E> {
                Ok(Number(v as f64))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Number, E> {
                Ok(Number(v as f64))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Number, E> {
                Ok(Number(v))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(default)]
    pub(super) publisher: Vec<PublisherTable>,
    #[serde(default)]
    pub(super) advertiser: Vec<AdvertiserTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublisherTable {
    pub(super) id: Spanned<String>,
    pub(super) name: Spanned<String>,
    pub(super) share: Spanned<Number>,
    #[serde(default)]
    pub(super) show: Vec<ShowTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowTable {
    pub(super) id: Spanned<String>,
    pub(super) title: Option<Spanned<String>>,
    pub(super) share: Option<Spanned<Number>>,
    #[serde(default)]
    pub(super) blocked: Vec<String>,
    pub(super) separation: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FrequencyTable {
    pub(super) count: u32,
    pub(super) hours: Number,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdvertiserTable {
    pub(super) id: Spanned<String>,
    pub(super) name: Spanned<String>,
    pub(super) domain: Option<Spanned<String>>,
    pub(super) category: Option<Spanned<String>>,
    pub(super) category_authority: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) campaign: Vec<CampaignTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CampaignTable {
    pub(super) id: Spanned<String>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) budget: Option<Spanned<Number>>,
    pub(super) currency: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) flight: Vec<FlightTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlightTable {
    pub(super) id: Spanned<String>,
    pub(super) name: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) paused: bool,
    pub(super) start: Option<Spanned<Datetime>>,
    pub(super) end: Option<Spanned<Datetime>>,
    pub(super) goal: Option<Spanned<u64>>,
    pub(super) cap: Option<Spanned<u64>>,
    pub(super) price_per_thousand: Spanned<Number>,
    pub(super) priority: Option<Spanned<i64>>,
    pub(super) pacing: Option<Spanned<String>>,
    pub(super) kind: Option<Spanned<String>>,
    pub(super) frequency: Option<Spanned<FrequencyTable>>,
    #[serde(default)]
    pub(super) targeting: Targeting,
    #[serde(default)]
    pub(super) creative: Vec<CreativeTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreativeTable {
    pub(super) id: Spanned<String>,
    pub(super) file: Option<Spanned<String>>,
    pub(super) tag: Option<Spanned<String>>,
    pub(super) duration: Spanned<Number>,
    pub(super) title: Option<Spanned<String>>,
    pub(super) media_type: Option<Spanned<String>>,
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
    pub(super) universal_ad_id: Option<UniversalAdId>,
    pub(super) weight: Option<Spanned<i64>>,
    pub(super) bitrate: Option<Spanned<i64>>,
    pub(super) click_through: Option<Spanned<String>>,
    pub(super) skip_after: Option<Spanned<Number>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UniversalAdId {
    pub(super) registry: Spanned<String>,
    pub(super) id: Spanned<String>,
}
