//! The hierarchy in the database: adding and changing it, and reading it whole for a snapshot.
//!
//! Every change counts up `catalog_version`, by which servers notice. Not for checking what is added: see [`crate::load`]
//! and the API.

use std::collections::HashMap;

use sqlx::{AnyConnection, AssertSqlSafe};

use super::{Db, StoreError, catalog_version, query};
use crate::book::Stored;
use crate::catalog::{
    Advertiser, Campaign, Catalog, Creative, Flight, Frequency, Kind, Pacing, Publisher, Separation, Share,
    Show,
};
use crate::clock::UnixMillis;
use crate::decide::{Heard, Snapshot, Tag};
use crate::money::Micros;

/// A creative's file as it was when it was loaded.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct StoredFile {
    /// Where it is.
    pub path: String,
    /// MIME type.
    pub media_type: String,
    /// Bytes.
    pub size: i64,
    /// When last changed.
    pub modified: i64,
}

/// What can be taken out of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// A campaign, with its flights.
    Campaign,
    /// A flight, with its creatives.
    Flight,
    /// A creative.
    Creative,
}

impl Shelf {
    fn table(self) -> &'static str {
        match self {
            Self::Campaign => "campaigns",
            Self::Flight => "flights",
            Self::Creative => "creatives",
        }
    }
}

/// Everything that a book is filled with.
pub(crate) struct Loaded {
    pub(crate) snapshot: Snapshot,
    /// Decisions for each creative.
    pub(crate) decided: HashMap<String, u64>,
    pub(crate) counters: Stored,
    pub(crate) version: Option<i64>,
}

impl Db {
    /// Adds or changes everything in the catalog, all or nothing; counters stay as they are.
    pub async fn load(&self, catalog: &Catalog) -> Result<(), StoreError> {
        const DOING: &str = "load the catalog";
        let mut tx = self.write().await.map_err(query(DOING))?;
        upsert(&mut tx, catalog).await.map_err(query(DOING))?;
        tx.commit().await.map_err(query(DOING))
    }

    /// Takes something out of use, or brings it back. Whether it is there.
    pub async fn archive(&self, what: Shelf, id: &str, archived: bool) -> Result<bool, StoreError> {
        const DOING: &str = "archive";
        let table = what.table();
        async {
            let mut tx = self.write().await?;
            let done = sqlx::query(self.sql(&format!("UPDATE {table} SET archived = $1 WHERE id = $2")))
                .bind(i64::from(archived))
                .bind(id)
                .execute(&mut *tx)
                .await?;
            changed(&mut tx).await?;
            tx.commit().await?;
            Ok(done.rows_affected() == 1)
        }
        .await
        .map_err(query(DOING))
    }

    /// The files registered with this content.
    pub async fn files(&self, sha256: &str) -> Result<Vec<StoredFile>, StoreError> {
        sqlx::query_as(
            "SELECT path, media_type, size, modified FROM creatives WHERE sha256 = $1 AND tag IS NULL ORDER BY id",
        )
        .bind(sha256)
        .fetch_all(self.pool())
        .await
        .map_err(query("look for a creative"))
    }

    /// How many creatives there are.
    pub async fn creatives(&self) -> Result<u64, StoreError> {
        let n: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM creatives")
            .fetch_one(self.pool())
            .await
            .map_err(query("count the creatives"))?;
        Ok(n as u64)
    }

    pub(crate) async fn catalog_version(&self) -> Result<Option<i64>, StoreError> {
        const DOING: &str = "look for changes";
        let mut connection = self.pool().acquire().await.map_err(query(DOING))?;
        catalog_version(&mut connection)
            .await
            .map(Some)
            .map_err(query(DOING))
    }

    /// When the next open reservation lapses.
    pub(crate) async fn next_expiry(&self) -> Result<Option<UnixMillis>, StoreError> {
        sqlx::query_scalar("SELECT MIN(expires) FROM decisions WHERE state = 'open'")
            .fetch_one(self.pool())
            .await
            .map_err(query("look for what lapses"))
    }

    /// The counters of all campaigns and flights.
    pub(crate) async fn counters(&self) -> Result<Stored, StoreError> {
        const DOING: &str = "read the counters";
        let mut connection = self.pool().acquire().await.map_err(query(DOING))?;
        counters(&mut connection).await.map_err(query(DOING))
    }

    /// What a download has, for a server that does not remember it.
    pub(crate) async fn heard(&self, download: &str) -> Result<Vec<Heard>, StoreError> {
        let rows: Vec<(String, String, String, Option<String>)> = sqlx::query_as(
            "SELECT d.sha256, c.ad_registry, c.ad_id, d.category FROM decisions d
             JOIN creatives c ON c.id = d.creative_id WHERE d.download = $1",
        )
        .bind(download)
        .fetch_all(self.pool())
        .await
        .map_err(query("look for a download"))?;
        Ok(rows
            .into_iter()
            .map(|(sha256, registry, id, category)| Heard {
                content: Tag::of(&sha256),
                ad: Tag::of_ad(&registry, &id),
                category: category.as_deref().map(Tag::of),
            })
            .collect())
    }

    /// The flights that a viewer got since a time, and when.
    pub(crate) async fn had(
        &self,
        viewer: &str,
        since: UnixMillis,
    ) -> Result<Vec<(Tag, UnixMillis)>, StoreError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT flight_id, decided FROM decisions WHERE viewer = $1 AND decided > $2")
                .bind(viewer)
                .bind(since)
                .fetch_all(self.pool())
                .await
                .map_err(query("look for a viewer"))?;
        Ok(rows
            .into_iter()
            .map(|(flight, at)| (Tag::of(&flight), at))
            .collect())
    }

    /// Everything, from one consistent state of the database where that matters: the version is read first, so that a
    /// change in between is noticed later.
    pub(crate) async fn snapshot(&self) -> Result<Loaded, StoreError> {
        const DOING: &str = "read the hierarchy";
        async {
            let mut connection = self.pool().acquire().await?;
            let version = Some(catalog_version(&mut connection).await?);
            let (catalog, decided) = read(&mut connection).await?;
            let counters = counters(&mut connection).await?;
            Ok(Loaded {
                snapshot: Snapshot::new(catalog),
                decided,
                counters,
                version,
            })
        }
        .await
        .map_err(query(DOING))
    }
}

async fn counters(connection: &mut AnyConnection) -> sqlx::Result<Stored> {
    Ok(Stored {
        campaigns: sqlx::query_as("SELECT id, budget, reserved, spent FROM campaigns")
            .fetch_all(&mut *connection)
            .await?,
        flights: sqlx::query_as("SELECT id, cap, reserved, billed, day, day_served FROM flights")
            .fetch_all(&mut *connection)
            .await?,
    })
}

/// The statement that adds a row or brings the one with its `id` up to date; parameters are in the order of the columns.
fn upsert_row(table: &str, columns: &str) -> AssertSqlSafe<String> {
    let columns: Vec<&str> = columns.split(", ").collect();
    let values: Vec<String> = (1..=columns.len()).map(|n| format!("${n}")).collect();
    let changes: Vec<String> = columns
        .iter()
        .filter(|column| **column != "id")
        .map(|column| match *column {
            // Who loads a file that is in the swarm already does not take it out.
            "info_hash" => format!(
                "info_hash = CASE WHEN {table}.sha256 = excluded.sha256
                 THEN COALESCE(excluded.info_hash, {table}.info_hash) ELSE excluded.info_hash END"
            ),
            column => format!("{column} = excluded.{column}"),
        })
        .collect();
    AssertSqlSafe(format!(
        "INSERT INTO {table} ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}",
        columns.join(", "),
        values.join(", "),
        changes.join(", ")
    ))
}

async fn upsert(tx: &mut AnyConnection, catalog: &Catalog) -> sqlx::Result<()> {
    for p in &catalog.publishers {
        sqlx::query(upsert_row("publishers", "id, name, share"))
            .bind(&p.id)
            .bind(&p.name)
            .bind(i64::from(p.share.0))
            .execute(&mut *tx)
            .await?;
    }
    for s in &catalog.shows {
        const COLUMNS: &str = "id, publisher_id, title, share, blocked, separation";
        sqlx::query(upsert_row("shows", COLUMNS))
            .bind(&s.id)
            .bind(&s.publisher_id)
            .bind(&s.title)
            .bind(s.share.map(|s| i64::from(s.0)))
            .bind(serde_json::to_string(&s.blocked).unwrap_or_default())
            .bind(s.separation.as_str())
            .execute(&mut *tx)
            .await?;
    }
    for a in &catalog.advertisers {
        const COLUMNS: &str = "id, name, domain, category, category_authority";
        sqlx::query(upsert_row("advertisers", COLUMNS))
            .bind(&a.id)
            .bind(&a.name)
            .bind(&a.domain)
            .bind(&a.category)
            .bind(&a.category_authority)
            .execute(&mut *tx)
            .await?;
    }
    for c in &catalog.campaigns {
        const COLUMNS: &str = "id, advertiser_id, name, budget, currency";
        sqlx::query(upsert_row("campaigns", COLUMNS))
            .bind(&c.id)
            .bind(&c.advertiser_id)
            .bind(&c.name)
            .bind(c.budget.map(|b| b.0))
            .bind(&c.currency)
            .execute(&mut *tx)
            .await?;
    }
    for f in &catalog.flights {
        flight(tx, f).await?;
    }
    for c in &catalog.creatives {
        creative(tx, c).await?;
    }
    changed(tx).await
}

/// Servers are to notice that the hierarchy changed.
async fn changed(tx: &mut AnyConnection) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO settings (name, value) VALUES ('catalog_version', '1')
         ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(settings.value AS BIGINT) + 1 AS TEXT)",
    )
    .execute(&mut *tx)
    .await?;
    Ok(())
}

async fn flight(tx: &mut AnyConnection, f: &Flight) -> sqlx::Result<()> {
    const COLUMNS: &str = "id, campaign_id, name, paused, starts, ends, goal, cap, price, priority, pacing, kind, \
                           targeting, frequency_count, frequency_millis";
    sqlx::query(upsert_row("flights", COLUMNS))
        .bind(&f.id)
        .bind(&f.campaign_id)
        .bind(&f.name)
        .bind(i64::from(f.paused))
        .bind(f.starts)
        .bind(f.ends)
        .bind(f.goal.map(|n| n as i64))
        .bind(f.cap.map(|n| n as i64))
        .bind(f.price.0)
        .bind(i64::from(f.priority))
        .bind(f.pacing.as_str())
        .bind(f.kind.as_str())
        .bind(serde_json::to_string(&f.targeting).unwrap_or_default())
        .bind(f.frequency.map(|f| i64::from(f.count)))
        .bind(f.frequency.map(|f| f.millis))
        .execute(&mut *tx)
        .await?;
    Ok(())
}

async fn creative(tx: &mut AnyConnection, c: &Creative) -> sqlx::Result<()> {
    const COLUMNS: &str = "id, flight_id, title, path, media_type, width, height, duration, size, modified, sha256, \
                           ad_registry, ad_id, weight, bitrate, click_through, skip_after, loudness, true_peak, tag, \
                           info_hash";
    sqlx::query(upsert_row("creatives", COLUMNS))
        .bind(&c.id)
        .bind(&c.flight_id)
        .bind(&c.title)
        .bind(&c.path)
        .bind(&c.media_type)
        .bind(i64::from(c.width))
        .bind(i64::from(c.height))
        .bind(c.duration)
        .bind(c.size as i64)
        .bind(c.modified)
        .bind(&c.sha256)
        .bind(&c.ad_registry)
        .bind(&c.ad_id)
        .bind(i64::from(c.weight))
        .bind(i64::from(c.bitrate))
        .bind(&c.click_through)
        .bind(c.skip_after)
        .bind(c.loudness)
        .bind(c.true_peak)
        .bind(&c.tag)
        .bind(&c.info_hash)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct FlightColumns {
    id: String,
    campaign_id: String,
    name: String,
    paused: i64,
    starts: Option<i64>,
    ends: Option<i64>,
    goal: Option<i64>,
    cap: Option<i64>,
    price: i64,
    priority: i64,
    pacing: String,
    kind: String,
    targeting: String,
    frequency_count: Option<i64>,
    frequency_millis: Option<i64>,
    archived: i64,
}

#[derive(sqlx::FromRow)]
struct CreativeColumns {
    id: String,
    flight_id: String,
    title: String,
    path: String,
    media_type: String,
    width: i64,
    height: i64,
    duration: i64,
    size: i64,
    modified: i64,
    sha256: String,
    ad_registry: String,
    ad_id: String,
    weight: i64,
    bitrate: i64,
    click_through: Option<String>,
    skip_after: Option<i64>,
    loudness: Option<i64>,
    true_peak: Option<i64>,
    tag: Option<String>,
    info_hash: Option<String>,
    archived: i64,
    decided: i64,
}

type AdvertiserColumns = (String, String, Option<String>, Option<String>, String);

/// The whole hierarchy, and how often each creative was decided.
async fn read(connection: &mut AnyConnection) -> sqlx::Result<(Catalog, HashMap<String, u64>)> {
    let mut catalog = Catalog::default();
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as("SELECT id, name, share FROM publishers ORDER BY id")
            .fetch_all(&mut *connection)
            .await?;
    catalog.publishers = rows
        .into_iter()
        .map(|(id, name, share)| Publisher {
            id,
            name,
            share: Share(share as u16),
        })
        .collect();
    let rows: Vec<(String, String, String, Option<i64>, String, String)> =
        sqlx::query_as("SELECT id, publisher_id, title, share, blocked, separation FROM shows ORDER BY id")
            .fetch_all(&mut *connection)
            .await?;
    catalog.shows = rows
        .into_iter()
        .map(|(id, publisher_id, title, share, blocked, separation)| Show {
            id,
            publisher_id,
            title,
            share: share.map(|s| Share(s as u16)),
            blocked: serde_json::from_str(&blocked).unwrap_or_default(),
            separation: Separation::parse(&separation).unwrap_or_default(),
        })
        .collect();
    let rows: Vec<AdvertiserColumns> =
        sqlx::query_as("SELECT id, name, domain, category, category_authority FROM advertisers ORDER BY id")
            .fetch_all(&mut *connection)
            .await?;
    catalog.advertisers = rows
        .into_iter()
        .map(|(id, name, domain, category, category_authority)| Advertiser {
            id,
            name,
            domain,
            category,
            category_authority,
        })
        .collect();
    let rows: Vec<(String, String, String, Option<i64>, String, i64)> = sqlx::query_as(
        "SELECT id, advertiser_id, name, budget, currency, archived FROM campaigns ORDER BY id",
    )
    .fetch_all(&mut *connection)
    .await?;
    catalog.campaigns = rows
        .into_iter()
        .map(|(id, advertiser_id, name, budget, currency, archived)| Campaign {
            archived: archived != 0,
            id,
            advertiser_id,
            name,
            budget: budget.map(Micros),
            currency,
        })
        .collect();
    let rows: Vec<FlightColumns> = sqlx::query_as("SELECT * FROM flights ORDER BY id")
        .fetch_all(&mut *connection)
        .await?;
    catalog.flights = rows
        .into_iter()
        .map(|f| Flight {
            id: f.id,
            campaign_id: f.campaign_id,
            name: f.name,
            paused: f.paused != 0,
            starts: f.starts,
            ends: f.ends,
            goal: f.goal.map(|n| n as u64),
            cap: f.cap.map(|n| n as u64),
            price: Micros(f.price),
            priority: f.priority as u8,
            pacing: Pacing::parse(&f.pacing).unwrap_or(Pacing::Fast),
            kind: Kind::parse(&f.kind).unwrap_or_default(),
            frequency: f
                .frequency_count
                .zip(f.frequency_millis)
                .map(|(count, millis)| Frequency {
                    count: count as u32,
                    millis,
                }),
            targeting: serde_json::from_str(&f.targeting).unwrap_or_default(),
            archived: f.archived != 0,
        })
        .collect();
    let rows: Vec<CreativeColumns> = sqlx::query_as("SELECT * FROM creatives ORDER BY id")
        .fetch_all(&mut *connection)
        .await?;
    let decided = rows.iter().map(|c| (c.id.clone(), c.decided as u64)).collect();
    catalog.creatives = rows
        .into_iter()
        .map(|c| Creative {
            id: c.id,
            flight_id: c.flight_id,
            title: c.title,
            path: c.path,
            media_type: c.media_type,
            width: c.width as u32,
            height: c.height as u32,
            duration: c.duration,
            size: c.size as u64,
            modified: c.modified,
            sha256: c.sha256,
            ad_registry: c.ad_registry,
            ad_id: c.ad_id,
            weight: c.weight as u32,
            bitrate: c.bitrate as u32,
            click_through: c.click_through,
            skip_after: c.skip_after,
            loudness: c.loudness,
            true_peak: c.true_peak,
            tag: c.tag,
            info_hash: c.info_hash,
            archived: c.archived != 0,
        })
        .collect();
    Ok((catalog, decided))
}
