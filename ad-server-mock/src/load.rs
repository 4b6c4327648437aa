//! Reads the hierarchy from TOML: the format, its checks, and the hashing of the creatives it names.
//!
//! Every refusal names the file, the line and the reason. Unknown keys are refused, so that a misspelt one is not
//! silently nothing. Not for writing to the store: see [`crate::store`].
//!
//! ```toml
//! [[advertiser]]
//! id = "aurora"                     # letters, digits, '.', '_', '-'
//! name = "Aurora Coffee"
//! domain = "aurora.example"         # optional
//! category = "IAB8-18"              # optional; two of one category never share a pod
//!
//! [[advertiser.campaign]]
//! id = "aurora-spring"
//! budget = 500.00                   # currency units; without it there is no limit
//! currency = "USD"                  # optional
//!
//! [[advertiser.campaign.flight]]
//! id = "aurora-spring-1"
//! start = 2026-01-01                # optional; a date is UTC
//! end = 2026-12-31                  # optional; a date is included
//! goal = 10000                      # optional, impressions
//! cap = 12000                       # optional, impressions
//! price_per_thousand = 25.0
//! priority = 8                      # optional, 1 comes before 16
//! pacing = "even"                   # optional: even, daily (both need start and end; daily a goal too) or fast
//! kind = "spot"                     # optional: spot, or sponsorship (stands after the spots of its pod)
//! frequency = { count = 3, hours = 24 }         # optional, for each viewer who gives a token
//! targeting = { shows = ["harbour"], countries = ["ES"] }   # optional: shows, episodes, positions, countries, devices, types
//!
//! [[advertiser.campaign.flight.creative]]
//! id = "aurora-15s"
//! file = "aurora.mp3"               # relative to this file
//! duration = 15.0                   # seconds
//! title = "Aurora, fifteen seconds" # optional, and so are the rest
//! click_through = "https://aurora.example/spring"
//! weight = 2
//! universal_ad_id = { registry = "ad-id.org", id = "AURO1234000H" }
//!
//! [[advertiser.campaign.flight.creative]]
//! id = "aurora-elsewhere"
//! tag = "https://ads.example/vast?…"  # another server's VAST in place of a file: the answer is a wrapper
//! duration = 30
//!
//! [[publisher]]
//! id = "harbour-media"
//! name = "Harbour Media"
//! share = 70                        # per cent of what is billed in its shows
//!
//! [[publisher.show]]
//! id = "harbour"                    # what a question for ads calls show
//! title = "The Harbour"             # optional, and so are the rest
//! share = 75
//! blocked = ["IAB7-39"]
//! separation = "download"           # two of one category: never in one pod, or never in one download
//! ```

use std::collections::HashSet;
use std::fmt;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use toml::Spanned;
use toml::value::Datetime;

use crate::catalog::{
    Advertiser, Campaign, Catalog, Creative, Flight, Frequency, Kind, Pacing, Publisher, Separation, Share,
    Show, Targeting,
};
use crate::clock::{DAY, UnixMillis, days_from_date};
use crate::money::Micros;

/// Where categories come from unless the file says otherwise.
pub(crate) const CATEGORY_AUTHORITY: &str = "https://iabtechlab.com/standards/content-taxonomy/";
/// Registry used for a creative without an identifier of its own: the id is then its SHA-256.
pub(crate) const OWN_REGISTRY: &str = "grove-sha256";
/// A larger TOML file or creative is surely a mistake.
const LARGEST_TOML: u64 = 16 << 20;
const LARGEST_CREATIVE: u64 = 4 << 30;

/// Why a TOML file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read at all.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The TOML file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file says something that cannot be accepted.
    #[error("cannot load {}, line {line}: {reason}", path.display())]
    Bad {
        /// The TOML file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong, with the field's name.
        reason: String,
    },
}

/// A number written with or without a decimal point.
#[derive(Debug, Clone, Copy)]
struct Number(f64);

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
struct Document {
    #[serde(default)]
    publisher: Vec<PublisherTable>,
    #[serde(default)]
    advertiser: Vec<AdvertiserTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublisherTable {
    id: Spanned<String>,
    name: Spanned<String>,
    share: Spanned<Number>,
    #[serde(default)]
    show: Vec<ShowTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowTable {
    id: Spanned<String>,
    title: Option<Spanned<String>>,
    share: Option<Spanned<Number>>,
    #[serde(default)]
    blocked: Vec<String>,
    separation: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FrequencyTable {
    count: u32,
    hours: Number,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdvertiserTable {
    id: Spanned<String>,
    name: Spanned<String>,
    domain: Option<Spanned<String>>,
    category: Option<Spanned<String>>,
    category_authority: Option<Spanned<String>>,
    #[serde(default)]
    campaign: Vec<CampaignTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CampaignTable {
    id: Spanned<String>,
    name: Option<Spanned<String>>,
    budget: Option<Spanned<Number>>,
    currency: Option<Spanned<String>>,
    #[serde(default)]
    flight: Vec<FlightTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FlightTable {
    id: Spanned<String>,
    name: Option<Spanned<String>>,
    #[serde(default)]
    paused: bool,
    start: Option<Spanned<Datetime>>,
    end: Option<Spanned<Datetime>>,
    goal: Option<Spanned<u64>>,
    cap: Option<Spanned<u64>>,
    price_per_thousand: Spanned<Number>,
    priority: Option<Spanned<i64>>,
    pacing: Option<Spanned<String>>,
    kind: Option<Spanned<String>>,
    frequency: Option<Spanned<FrequencyTable>>,
    #[serde(default)]
    targeting: Targeting,
    #[serde(default)]
    creative: Vec<CreativeTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreativeTable {
    id: Spanned<String>,
    file: Option<Spanned<String>>,
    tag: Option<Spanned<String>>,
    duration: Spanned<Number>,
    title: Option<Spanned<String>>,
    media_type: Option<Spanned<String>>,
    width: Option<u32>,
    height: Option<u32>,
    universal_ad_id: Option<UniversalAdId>,
    weight: Option<Spanned<i64>>,
    bitrate: Option<Spanned<i64>>,
    click_through: Option<Spanned<String>>,
    skip_after: Option<Spanned<Number>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UniversalAdId {
    registry: Spanned<String>,
    id: Spanned<String>,
}

/// A refusal inside one file: where (a byte range) and why.
struct Refusal(Range<usize>, String);

fn refuse<T>(at: &Spanned<T>, reason: impl Into<String>) -> Refusal {
    Refusal(at.span(), reason.into())
}

/// Reads and checks one TOML file and hashes the creatives it names. Blocks on the disk.
pub fn read(path: &Path) -> Result<Catalog, LoadError> {
    let fail = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(LARGEST_TOML + 1)
        .read_to_string(&mut text)
        .map_err(fail)?;
    let line_of = |at: usize| 1 + text.bytes().take(at).filter(|b| *b == b'\n').count();
    let bad = |line, reason| LoadError::Bad {
        path: path.to_owned(),
        line,
        reason,
    };
    if text.len() as u64 > LARGEST_TOML {
        return Err(bad(1, format!("the file is larger than {LARGEST_TOML} bytes")));
    }
    let document: Document = toml::from_str(&text)
        .map_err(|e| bad(line_of(e.span().map_or(0, |s| s.start)), e.message().to_owned()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    Reader {
        folder,
        seen: HashSet::new(),
        catalog: Catalog::default(),
    }
    .document(document)
    .map_err(|Refusal(span, reason)| bad(line_of(span.start), reason))
}

struct Reader<'a> {
    folder: &'a Path,
    seen: HashSet<(&'static str, String)>,
    catalog: Catalog,
}

impl Reader<'_> {
    fn document(mut self, document: Document) -> Result<Catalog, Refusal> {
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

pub(crate) fn media_type_of(file: &str) -> Option<&'static str> {
    let extension = Path::new(file).extension()?.to_str()?.to_ascii_lowercase();
    Some(match extension.as_str() {
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "m4a" => "audio/mp4",
        "aac" => "audio/aac",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "flac" => "audio/flac",
        "mp4" | "m4v" => "video/mp4",
        "webm" => "video/webm",
        "mkv" => "video/x-matroska",
        _ => return None,
    })
}

/// A file, and what it was when it was looked at.
pub(crate) struct Hashed {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) modified: UnixMillis,
    pub(crate) sha256: String,
}

pub(crate) fn hash(path: &Path) -> std::io::Result<Hashed> {
    let other = |text: &str| std::io::Error::other(text.to_owned());
    let path = path.canonicalize()?;
    let mut file = std::fs::File::open(&path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() == 0 {
        return Err(other("it is not a file with content"));
    }
    if about.len() > LARGEST_CREATIVE {
        return Err(other("it is larger than 4 GiB"));
    }
    let mut digest = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => {
                digest.update(&buffer[..n]);
                size += n as u64;
            }
        }
    }
    Ok(Hashed {
        path: path
            .to_str()
            .ok_or_else(|| other("its path is not UTF-8"))?
            .to_owned(),
        size,
        modified: modified(&about)?,
        sha256: hex::encode(digest.finalize()),
    })
}

/// When a file was last changed; with its size, how a changed creative is noticed before it is served.
pub(crate) fn modified(about: &std::fs::Metadata) -> std::io::Result<UnixMillis> {
    let time = about.modified()?;
    Ok(time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as UnixMillis))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[[advertiser]]
id = "aurora"
name = "Aurora & Co"
category = "IAB8"
[[advertiser.campaign]]
id = "spring"
budget = 500
[[advertiser.campaign.flight]]
id = "one"
start = 2026-01-01
end = 2026-01-31
goal = 1000
price_per_thousand = 25.5
[[advertiser.campaign.flight.creative]]
id = "a"
file = "a.mp3"
duration = 8
"#;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.mp3"), vec![7; 128_000]).unwrap();
        dir
    }

    fn read_text(dir: &Path, text: &str) -> Result<Catalog, LoadError> {
        let path = dir.join("ads.toml");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn a_good_file_is_read_whole() {
        let dir = folder();
        let catalog = read_text(dir.path(), GOOD).unwrap();
        assert_eq!(catalog.advertisers[0].name, "Aurora & Co");
        assert_eq!(catalog.campaigns[0].budget, Some(Micros(500_000_000)));
        assert_eq!(catalog.campaigns[0].name, "spring");
        let flight = &catalog.flights[0];
        assert_eq!(
            (flight.starts, flight.ends),
            (Some(20_454 * DAY), Some(20_485 * DAY))
        );
        assert_eq!(
            (flight.price, flight.priority, flight.pacing),
            (Micros(25_500), 8, Pacing::Even)
        );
        let creative = &catalog.creatives[0];
        assert_eq!(
            (creative.duration, creative.size, creative.bitrate),
            (8000, 128_000, 128)
        );
        assert_eq!(creative.media_type, "audio/mpeg");
        assert_eq!(creative.sha256, hex::encode(Sha256::digest(vec![7; 128_000])));
        assert_eq!(
            (creative.ad_registry.as_str(), &creative.ad_id),
            (OWN_REGISTRY, &creative.sha256)
        );
    }

    #[test]
    fn publishers_targeting_frequency_and_tags_are_read() {
        let dir = folder();
        let more = GOOD
            .replace(
                "goal = 1000",
                "goal = 1000\npacing = \"daily\"\nkind = \"sponsorship\"\nfrequency = { count = 3, hours = 24 }\n\
                 targeting = { shows = [\"s\"], countries = [\"ES\", \"PT\"] }",
            )
            .replace("file = \"a.mp3\"", "tag = \"https://x.example/v?a=[CACHEBUSTING]&b=1\"")
            + "[[publisher]]\nid = \"p\"\nname = \"P\"\nshare = 70.5\n\
               [[publisher.show]]\nid = \"s\"\nblocked = [\"IAB8\"]\nseparation = \"download\"\n";
        let catalog = read_text(dir.path(), &more).unwrap();
        let flight = &catalog.flights[0];
        assert_eq!((flight.pacing, flight.kind), (Pacing::Daily, Kind::Sponsorship));
        assert_eq!(
            flight.frequency,
            Some(Frequency {
                count: 3,
                millis: DAY
            })
        );
        assert_eq!(flight.targeting.countries, ["ES", "PT"]);
        assert_eq!(
            catalog.creatives[0].tag.as_deref(),
            Some("https://x.example/v?a=[CACHEBUSTING]&b=1")
        );
        assert_eq!(catalog.publishers[0].share, Share(7_050));
        let show = &catalog.shows[0];
        assert_eq!(
            (show.id.as_str(), show.publisher_id.as_str(), show.title.as_str()),
            ("s", "p", "s")
        );
        assert_eq!(
            (show.blocked.as_slice(), show.separation),
            (&["IAB8".to_owned()][..], Separation::Download)
        );
    }

    #[test]
    fn refusals_name_the_line_and_the_field() {
        // What is replaced, by what, and the line and words that must be in the message.
        let table = [
            ("id = \"a\"", "id = \"a/b\"", 16, "letters, digits"),
            ("id = \"a\"", "id = \"a\"\ncolour = 1", 17, "colour"),
            ("file = \"a.mp3\"", "file = \"b.mp3\"", 17, "cannot read"),
            ("file = \"a.mp3\"", "file = \"a.xyz\"", 17, "media_type"),
            ("duration = 8", "duration = 0", 18, "duration"),
            ("duration = 8", "duration = \"8\"", 18, "a number"),
            ("duration = 8", "", 15, "duration"),
            ("budget = 500", "budget = -1", 8, "budget"),
            ("end = 2026-01-31", "end = 2025-01-31", 12, "end"),
            ("end = 2026-01-31", "pacing = \"even\"", 12, "start and end"),
            (
                "end = 2026-01-31",
                "pacing = \"daily\"",
                12,
                "start, end and goal",
            ),
            ("goal = 1000", "kind = \"poem\"", 13, "sponsorship"),
            ("goal = 1000", "frequency = { count = 0, hours = 1 }", 13, "count"),
            (
                "goal = 1000",
                "targeting = { planets = [\"Mars\"] }",
                13,
                "planets",
            ),
            (
                "file = \"a.mp3\"",
                "file = \"a.mp3\"\ntag = \"https://x.example/\"",
                16,
                "not both",
            ),
            ("file = \"a.mp3\"", "tag = \"ftp://x.example/\"", 17, "http"),
            ("goal = 1000", "goal = 0", 13, "goal"),
            ("goal = 1000", "priority = 17", 13, "priority"),
            (
                "price_per_thousand = 25.5",
                "price_per_thousand = 0.0001",
                14,
                "decimals",
            ),
            ("name = \"Aurora & Co\"", "name = \"\"", 4, "name"),
            ("[[advertiser]]", "[[advertiser", 2, ""),
            (
                "duration = 8",
                "duration = 8\nclick_through = \"javascript:alert(1)\"",
                19,
                "click_through",
            ),
        ];
        let dir = folder();
        for (from, to, line, words) in table {
            let error = read_text(dir.path(), &GOOD.replace(from, to)).expect_err(to);
            let LoadError::Bad {
                line: found, reason, ..
            } = &error
            else {
                panic!("{error}")
            };
            assert_eq!(*found, line, "{to}: {error}");
            assert!(reason.contains(words), "{to}: {error}");
        }
        for (text, words) in [
            ("share = 101", "per cent"),
            ("share = 70.001", "decimals"),
            (
                "share = 70\n[[publisher.show]]\nid = \"s\"\nseparation = \"x\"",
                "download",
            ),
        ] {
            let text = format!("{GOOD}[[publisher]]\nid = \"p\"\nname = \"P\"\n{text}\n");
            let error = read_text(dir.path(), &text).expect_err(words);
            assert!(error.to_string().contains(words), "{error}");
        }
        let twice = format!("{GOOD}[[advertiser.campaign]]\nid = \"spring\"\n");
        assert!(
            read_text(dir.path(), &twice)
                .unwrap_err()
                .to_string()
                .contains("another campaign")
        );
        assert!(matches!(
            read(&dir.path().join("none.toml")),
            Err(LoadError::Read { .. })
        ));
    }
}
