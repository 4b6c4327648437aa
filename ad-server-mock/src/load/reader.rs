//! Checks what the tables say and makes the catalog of it; hashes the creatives that they name.

use std::collections::HashSet;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use toml::Spanned;
use toml::value::Datetime;

use super::files::{Hashed, hash, media_type_of};
use super::tables::{
    AdvertiserTable, CampaignTable, CreativeTable, Document, FlightTable, FrequencyTable, Number,
    PublisherTable,
};
use super::{CATEGORY_AUTHORITY, OWN_REGISTRY, Refusal, refuse};
use crate::catalog::{
    Advertiser, Campaign, Catalog, Creative, Flight, Frequency, Kind, Pacing, Publisher, Separation, Share,
    Show,
};
use crate::clock::{DAY, UnixMillis, days_from_date};
use crate::money::Micros;

/// Turns tables into a catalog, or says which value is wrong.
pub(super) struct Reader<'a> {
    folder: &'a Path,
    seen: HashSet<(&'static str, String)>,
    catalog: Catalog,
}

impl<'a> Reader<'a> {
    /// A reader that looks for creatives in this folder.
    pub(super) fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            seen: HashSet::new(),
            catalog: Catalog::default(),
        }
    }

    /// Reads the whole file.
    pub(super) fn document(mut self, document: Document) -> Result<Catalog, Refusal> {
        for table in document.publisher {
            self.publisher(table)?;
        }
        for table in document.advertiser {
            self.advertiser(table)?;
        }
        Ok(self.catalog)
    }

    /// An identifier: safe in URLs and paths, and declared once.
    fn id(&mut self, kind: &'static str, id: &Spanned<String>) -> Result<String, Refusal> {
        let text = id.get_ref();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
            return Err(refuse(
                id,
                format!("id = {text:?}: 1 to 64 letters, digits, '.', '_' or '-' are needed"),
            ));
        }
        if !self.seen.insert((kind, text.clone())) {
            return Err(refuse(
                id,
                format!("id = {text:?}: there is another {kind} with this id"),
            ));
        }
        Ok(text.clone())
    }

    fn publisher(&mut self, table: PublisherTable) -> Result<(), Refusal> {
        let id = self.id("publisher", &table.id)?;
        self.catalog.publishers.push(Publisher {
            id: id.clone(),
            name: plain_text("name", &table.name)?,
            share: share(&table.share)?,
        });
        for show in table.show {
            let show_id = self.id("show", &show.id)?;
            let separation = match &show.separation {
                None => Separation::Pod,
                Some(text) => Separation::parse(text.get_ref())
                    .ok_or_else(|| refuse(text, "separation: it is \"pod\" or \"download\""))?,
            };
            self.catalog.shows.push(Show {
                title: optional_text("title", show.title.as_ref())?.unwrap_or_else(|| show_id.clone()),
                id: show_id,
                publisher_id: id.clone(),
                share: show.share.as_ref().map(share).transpose()?,
                blocked: show.blocked,
                separation,
            });
        }
        Ok(())
    }

    fn advertiser(&mut self, table: AdvertiserTable) -> Result<(), Refusal> {
        let id = self.id("advertiser", &table.id)?;
        self.catalog.advertisers.push(Advertiser {
            id: id.clone(),
            name: plain_text("name", &table.name)?,
            domain: optional_text("domain", table.domain.as_ref())?,
            category: optional_text("category", table.category.as_ref())?,
            category_authority: optional_text("category_authority", table.category_authority.as_ref())?
                .unwrap_or_else(|| CATEGORY_AUTHORITY.to_owned()),
        });
        table.campaign.into_iter().try_for_each(|c| self.campaign(&id, c))
    }

    fn campaign(&mut self, advertiser_id: &str, table: CampaignTable) -> Result<(), Refusal> {
        let id = self.id("campaign", &table.id)?;
        let budget = table
            .budget
            .map(|b| Micros::from_units(b.get_ref().0).map_err(|e| refuse(&b, format!("budget: {e}"))))
            .transpose()?;
        let currency = match table.currency {
            None => "USD".to_owned(),
            Some(c) if c.get_ref().len() == 3 && c.get_ref().bytes().all(|b| b.is_ascii_uppercase()) => {
                c.into_inner()
            }
            Some(c) => {
                return Err(refuse(
                    &c,
                    "currency: three capital letters of ISO 4217 are needed",
                ));
            }
        };
        self.catalog.campaigns.push(Campaign {
            archived: false,
            id: id.clone(),
            advertiser_id: advertiser_id.to_owned(),
            name: optional_text("name", table.name.as_ref())?.unwrap_or_else(|| id.clone()),
            budget,
            currency,
        });
        table.flight.into_iter().try_for_each(|f| self.flight(&id, f))
    }

    fn flight(&mut self, campaign_id: &str, table: FlightTable) -> Result<(), Refusal> {
        let id = self.id("flight", &table.id)?;
        let starts = table
            .start
            .as_ref()
            .map(|d| instant("start", d, false))
            .transpose()?;
        let ends = table.end.as_ref().map(|d| instant("end", d, true)).transpose()?;
        if let (Some(starts), Some(ends), Some(at)) = (starts, ends, &table.end)
            && ends <= starts
        {
            return Err(refuse(at, "end: it is not after start"));
        }
        let bounded = starts.is_some() && ends.is_some();
        let pacing = match &table.pacing {
            None if bounded => Pacing::Even,
            None => Pacing::Fast,
            Some(text) => match Pacing::parse(text.get_ref()) {
                Some(Pacing::Even) if !bounded => {
                    return Err(refuse(text, "pacing = \"even\": start and end are needed for it"));
                }
                Some(Pacing::Daily) if !bounded || table.goal.is_none() => {
                    return Err(refuse(
                        text,
                        "pacing = \"daily\": start, end and goal are needed for it",
                    ));
                }
                Some(pacing) => pacing,
                None => return Err(refuse(text, "pacing: it is \"even\", \"daily\" or \"fast\"")),
            },
        };
        let price = Micros::per_impression(table.price_per_thousand.get_ref().0)
            .map_err(|e| refuse(&table.price_per_thousand, format!("price_per_thousand: {e}")))?;
        for (name, count) in [("goal", &table.goal), ("cap", &table.cap)] {
            if let Some(count) = count
                && !(1..=1_000_000_000_000).contains(count.get_ref())
            {
                return Err(refuse(
                    count,
                    format!("{name}: it is from 1 to 1000000000000 impressions"),
                ));
            }
        }
        let kind = match &table.kind {
            None => Kind::Spot,
            Some(text) => Kind::parse(text.get_ref())
                .ok_or_else(|| refuse(text, "kind: it is \"spot\" or \"sponsorship\""))?,
        };
        let frequency = match &table.frequency {
            None => None,
            Some(f) => {
                let FrequencyTable { count, hours } = f.get_ref();
                if *count == 0 || !(0.01..=8_784.0).contains(&hours.0) {
                    return Err(refuse(
                        f,
                        "frequency: a count of at least 1 and 0.01 to 8784 hours are needed",
                    ));
                }
                Some(Frequency {
                    count: *count,
                    millis: (hours.0 * 3_600_000.0).round() as i64,
                })
            }
        };
        self.catalog.flights.push(Flight {
            archived: false,
            id: id.clone(),
            campaign_id: campaign_id.to_owned(),
            name: optional_text("name", table.name.as_ref())?.unwrap_or_else(|| id.clone()),
            paused: table.paused,
            starts,
            ends,
            goal: table.goal.map(Spanned::into_inner),
            cap: table.cap.map(Spanned::into_inner),
            price,
            priority: ranged("priority", table.priority.as_ref(), 1, 16, 8)? as u8,
            pacing,
            kind,
            frequency,
            targeting: table.targeting,
        });
        table
            .creative
            .into_iter()
            .try_for_each(|c| self.creative(&id, &c))
    }

    fn creative(&mut self, flight_id: &str, table: &CreativeTable) -> Result<(), Refusal> {
        let id = self.id("creative", &table.id)?;
        let duration = millis("duration", &table.duration)?;
        if duration == 0 {
            return Err(refuse(&table.duration, "duration: it is more than 0 seconds"));
        }
        let source = match (&table.file, &table.tag) {
            (Some(file), None) => file,
            (None, Some(tag)) => tag,
            _ => return Err(refuse(&table.id, "file: a file or a tag is needed, and not both")),
        };
        let media_type = match &table.media_type {
            Some(text) => {
                let known = text.get_ref().starts_with("audio/") || text.get_ref().starts_with("video/");
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"/+.-".contains(&b);
                if !known || !text.get_ref().bytes().all(plain) {
                    return Err(refuse(text, "media_type: it begins with audio/ or video/"));
                }
                text.get_ref().clone()
            }
            None if table.tag.is_some() => "audio/mpeg".to_owned(),
            None => media_type_of(source.get_ref())
                .ok_or_else(|| refuse(source, "file: media_type is needed for this kind of file"))?
                .to_owned(),
        };
        let (width, height) = (table.width.unwrap_or(0), table.height.unwrap_or(0));
        if media_type.starts_with("video/") && (width == 0 || height == 0) {
            return Err(refuse(source, "file: a video needs width and height"));
        }
        let click_through = match &table.click_through {
            None => None,
            Some(text) => match url::Url::parse(text.get_ref()) {
                Ok(url) if matches!(url.scheme(), "http" | "https") => Some(url.to_string()),
                _ => return Err(refuse(text, "click_through: an http or https URL is needed")),
            },
        };
        let tag = table
            .tag
            .as_ref()
            .map(|text| match url::Url::parse(text.get_ref()) {
                // As it is written: its macros are the client's to fill.
                Ok(url)
                    if matches!(url.scheme(), "http" | "https")
                        && !text.get_ref().contains(['<', '>', ' ']) =>
                {
                    Ok(text.get_ref().clone())
                }
                _ => Err(refuse(text, "tag: an http or https URL is needed")),
            })
            .transpose()?;
        let file = if let Some(tag) = &tag {
            Hashed {
                path: String::new(),
                size: 0,
                modified: 0,
                sha256: hex::encode(Sha256::digest(tag.as_bytes())),
            }
        } else {
            let path = self.folder.join(source.get_ref());
            hash(&path).map_err(|e| refuse(source, format!("file: cannot read {}: {e}", path.display())))?
        };
        let (ad_registry, ad_id) = match &table.universal_ad_id {
            Some(u) => (
                plain_text("universal_ad_id.registry", &u.registry)?,
                plain_text("universal_ad_id.id", &u.id)?,
            ),
            None => (OWN_REGISTRY.to_owned(), file.sha256.clone()),
        };
        // Bits per millisecond are kilobits per second.
        let measured = (file.size.saturating_mul(8) / duration as u64).clamp(1, 1_000_000) as i64;
        self.catalog.creatives.push(Creative {
            info_hash: None,
            archived: false,
            title: optional_text("title", table.title.as_ref())?.unwrap_or_else(|| id.clone()),
            id,
            flight_id: flight_id.to_owned(),
            path: file.path,
            media_type,
            width,
            height,
            duration,
            size: file.size,
            modified: file.modified,
            sha256: file.sha256,
            ad_registry,
            ad_id,
            weight: ranged("weight", table.weight.as_ref(), 1, 1000, 1)? as u32,
            bitrate: ranged("bitrate", table.bitrate.as_ref(), 1, 1_000_000, measured)? as u32,
            click_through,
            skip_after: table
                .skip_after
                .as_ref()
                .map(|s| millis("skip_after", s))
                .transpose()?,
            loudness: None,
            true_peak: None,
            tag,
        });
        Ok(())
    }
}

/// Text that can stand in XML and on a line of a table.
fn plain_text(name: &str, text: &Spanned<String>) -> Result<String, Refusal> {
    let trimmed = text.get_ref().trim();
    let forbidden = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    if trimmed.is_empty() || trimmed.len() > 500 || trimmed.chars().any(forbidden) {
        return Err(refuse(
            text,
            format!("{name}: 1 to 500 bytes of text without control characters are needed"),
        ));
    }
    Ok(trimmed.to_owned())
}

fn optional_text(name: &str, text: Option<&Spanned<String>>) -> Result<Option<String>, Refusal> {
    text.map(|t| plain_text(name, t)).transpose()
}

/// A share in per cent, with at most two decimals.
fn share(percent: &Spanned<Number>) -> Result<Share, Refusal> {
    let hundredths = percent.get_ref().0 * 100.0;
    if !(0.0..=10_000.0).contains(&hundredths) || (hundredths - hundredths.round()).abs() > 1e-6 {
        return Err(refuse(
            percent,
            "share: it is from 0 to 100 per cent, with at most two decimals",
        ));
    }
    Ok(Share(hundredths.round() as u16))
}

fn ranged(
    name: &str,
    number: Option<&Spanned<i64>>,
    low: i64,
    high: i64,
    default: i64,
) -> Result<i64, Refusal> {
    match number {
        None => Ok(default),
        Some(n) if (low..=high).contains(n.get_ref()) => Ok(*n.get_ref()),
        Some(n) => Err(refuse(n, format!("{name}: it is from {low} to {high}"))),
    }
}

/// Seconds, up to an hour, as milliseconds.
fn millis(name: &str, seconds: &Spanned<Number>) -> Result<i64, Refusal> {
    let n = seconds.get_ref().0;
    if !(0.0..=3600.0).contains(&n) {
        return Err(refuse(seconds, format!("{name}: it is from 0 to 3600 seconds")));
    }
    Ok((n * 1000.0).round() as i64)
}

/// An instant; a date alone is the whole day in UTC, a time without offset is UTC.
fn instant(name: &str, at: &Spanned<Datetime>, end: bool) -> Result<UnixMillis, Refusal> {
    let Datetime { date, time, offset } = *at.get_ref();
    let Some(date) = date else {
        return Err(refuse(
            at,
            format!("{name}: a date is needed, such as 2026-01-31"),
        ));
    };
    let day = days_from_date(date.year.into(), date.month.into(), date.day.into()) * DAY;
    let Some(time) = time else {
        return Ok(if end { day + DAY } else { day });
    };
    let seconds =
        i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + time.second.map_or(0, i64::from);
    let offset = match offset {
        Some(toml::value::Offset::Custom { minutes }) => i64::from(minutes) * 60_000,
        _ => 0,
    };
    Ok(day + seconds * 1000 + i64::from(time.nanosecond.unwrap_or(0)) / 1_000_000 - offset)
}
