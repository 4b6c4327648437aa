//! The SQLite store: catalog, decisions with their reservations, events, totals.
//!
//! Invariants: every change is one transaction on the one writing connection (`BEGIN IMMEDIATE`), so what a decision
//! read is still true when it reserves; the counters `reserved`, `billed`, `spent` change in the same transaction as the
//! decision they count. WAL mode with `synchronous=FULL`: what was acknowledged was synced. Other processes (a `load`
//! while serving) wait for each other up to the busy timeout. Not for choosing ads ([`crate::decide`]) nor for HTTP.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{FromRow, Sqlite, Transaction};

use crate::catalog::{Catalog, Pacing};
use crate::clock::{DAY, UnixMillis};
use crate::decide::{Candidate, Room, decide};
use crate::money::Micros;
use crate::report::{Report, Requests, Row};

/// How long a process waits for another that is writing.
const BUSY: Duration = Duration::from_secs(10);
/// Connections that only read.
const READERS: u32 = 4;
/// Most lapsed reservations released by one decision; the rest is left to the next.
const LAPSED_AT_ONCE: i64 = 1000;

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database's name is not one that this version takes.
    #[error("cannot open the database {0}: this version stores in SQLite, a path or sqlite:PATH")]
    Kind(String),
    /// The database could not be opened or brought up to date.
    #[error("cannot open the database {}: {source}", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the database {} up to date: {source}", path.display())]
    Migrate {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        source: sqlx::migrate::MigrateError,
    },
    /// A statement failed.
    #[error("cannot {doing} in the database: {source}")]
    Query {
        /// What was being done.
        doing: &'static str,
        /// What SQLite said.
        source: sqlx::Error,
    },
}

fn query(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Query { doing, source }
}

/// The path in `PATH`, `sqlite:PATH` or `sqlite://PATH`.
pub fn database_path(name: &str) -> Result<PathBuf, StoreError> {
    let path = name
        .strip_prefix("sqlite://")
        .or_else(|| name.strip_prefix("sqlite:"))
        .unwrap_or(name);
    if path.is_empty() || path.contains("://") {
        return Err(StoreError::Kind(name.to_owned()));
    }
    Ok(PathBuf::from(path))
}

/// A question for ads.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// Identifier given to the question.
    pub request_id: String,
    /// Show.
    pub show: Option<String>,
    /// Episode.
    pub episode: Option<String>,
    /// Break.
    pub break_id: Option<String>,
    /// Position in the episode, such as `preroll`.
    pub position: Option<String>,
    /// Opaque token of one download: a creative is never decided twice for it.
    pub download: Option<String>,
    /// Milliseconds the break has; `None` is without limit.
    pub time: Option<i64>,
    /// Ads wanted.
    pub ads: usize,
}

/// One decided ad.
#[derive(Debug, Clone, FromRow)]
pub struct Decided {
    /// Unique for each decision.
    #[sqlx(default)]
    pub ad_serving_id: String,
    /// Advertiser's name.
    pub advertiser: String,
    /// Advertiser's category.
    pub category: Option<String>,
    /// Whose list the category is from.
    pub category_authority: String,
    /// Campaign's currency.
    pub currency: String,
    /// Flight.
    pub flight_id: String,
    /// Price of an impression in millionths.
    pub price: i64,
    /// Creative.
    pub creative_id: String,
    /// Title.
    pub title: String,
    /// MIME type.
    pub media_type: String,
    /// Pixels, 0 for audio.
    pub width: i64,
    /// Pixels, 0 for audio.
    pub height: i64,
    /// Milliseconds.
    pub duration: i64,
    /// Bytes.
    pub size: i64,
    /// Lower-case hex.
    pub sha256: String,
    /// Registry of the universal ad id.
    pub ad_registry: String,
    /// Universal ad id.
    pub ad_id: String,
    /// Kilobits per second.
    pub bitrate: i64,
    /// Page that a click opens.
    pub click_through: Option<String>,
    /// May be skipped after so many milliseconds.
    pub skip_after: Option<i64>,
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

/// A creative's file as it was when it was loaded.
#[derive(Debug, Clone, FromRow)]
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

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Store {
    /// Opens or creates the database at `path` and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let open = |source| StoreError::Open {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|e| open(sqlx::Error::Io(e)))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        // A queue of writers may be longer than the time one of them may take.
        let pool = |n| {
            SqlitePoolOptions::new()
                .max_connections(n)
                .acquire_timeout(BUSY * 3)
        };
        let writer = pool(1).connect_with(options.clone()).await.map_err(open)?;
        sqlx::migrate!()
            .run(&writer)
            .await
            .map_err(|source| StoreError::Migrate {
                path: path.to_owned(),
                source,
            })?;
        let readers = pool(READERS).connect_with(options).await.map_err(open)?;
        Ok(Self { writer, readers })
    }

    /// Closes every connection, after what is being written.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn write(&self, doing: &'static str) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(query(doing))
    }

    /// The setting `name`; stored as `fresh` if there is none yet.
    pub async fn setting(&self, name: &str, fresh: &str) -> Result<String, StoreError> {
        let doing = query("read a setting");
        async {
            let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
                .bind(name)
                .bind(fresh)
                .execute(&mut *tx)
                .await?;
            let value = sqlx::query_scalar("SELECT value FROM settings WHERE name = $1")
                .bind(name)
                .fetch_one(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(value)
        }
        .await
        .map_err(doing)
    }

    /// Adds or changes everything in the catalog, all or nothing; counters stay as they are.
    pub async fn load(&self, catalog: &Catalog) -> Result<(), StoreError> {
        const DOING: &str = "load the catalog";
        let mut tx = self.write(DOING).await?;
        upsert(&mut tx, catalog).await.map_err(query(DOING))?;
        tx.commit().await.map_err(query(DOING))
    }

    /// Decides ads for a break and reserves what they cost until `expires`. `ids` gives each decision its name.
    pub async fn decide(
        &self,
        ask: &Ask,
        now: UnixMillis,
        expires: UnixMillis,
        seed: u64,
        mut new_id: impl FnMut() -> String + Send,
    ) -> Result<Vec<Decided>, StoreError> {
        const DOING: &str = "decide";
        let place = place(ask);
        let mut tx = self.write(DOING).await?;
        let decided = async {
            lapse(&mut tx, now).await?;
            let rows = candidates(&mut tx, &place, ask.download.as_deref(), now).await?;
            let outcome = decide(
                &rows,
                Room {
                    time: ask.time,
                    ads: ask.ads,
                },
                now,
                seed,
            );
            for (i, why) in &outcome.rejected {
                tracing::debug!(
                    request = ask.request_id,
                    creative = rows[*i].creative_id,
                    ?why,
                    "not chosen"
                );
            }
            sqlx::query(
                "INSERT INTO requests (id, asked, show, episode, break_id, position, download, wanted, filled)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(&ask.request_id)
            .bind(now)
            .bind(&ask.show)
            .bind(&ask.episode)
            .bind(&ask.break_id)
            .bind(&ask.position)
            .bind(&ask.download)
            .bind(ask.ads as i64)
            .bind(outcome.pod.len() as i64)
            .execute(&mut *tx)
            .await?;
            let mut decided = Vec::with_capacity(outcome.pod.len());
            for i in outcome.pod {
                decided.push(reserve(&mut tx, ask, &place, &rows[i], now, expires, new_id()).await?);
            }
            tx.commit().await?;
            Ok(decided)
        };
        decided.await.map_err(query(DOING))
    }

    /// Stores a beacon once, and bills or releases what its decision reserved.
    pub async fn record(&self, beacon: &Beacon, now: UnixMillis) -> Result<Recorded, StoreError> {
        const DOING: &str = "store a beacon";
        let mut tx = self.write(DOING).await?;
        let recorded = async {
            let decision: Option<Decision> = sqlx::query_as(
                "SELECT campaign_id, flight_id, price, expires, state FROM decisions WHERE ad_serving_id = $1",
            )
            .bind(&beacon.ad_serving_id)
            .fetch_optional(&mut *tx)
            .await?;
            let Some(decision) = decision else {
                return Ok(Recorded::Unknown);
            };
            let open = decision.state == "open" && now < decision.expires;
            let late = beacon.event == "impression" && !open && decision.state != "billed";
            let stored = sqlx::query(
                "INSERT INTO events (ad_serving_id, event, tracker, basis, received, client_time, code, late)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            )
            .bind(&beacon.ad_serving_id)
            .bind(&beacon.event)
            .bind(&beacon.tracker)
            .bind(beacon.basis)
            .bind(now)
            .bind(&beacon.client_time)
            .bind(&beacon.code)
            .bind(i64::from(late))
            .execute(&mut *tx)
            .await?;
            if stored.rows_affected() == 0 {
                return Ok(Recorded::Repeated);
            }
            match beacon.event.as_str() {
                "impression" if open => bill(&mut tx, beacon, &decision).await?,
                "impression" if late => bill_late(&mut tx, beacon, &decision, now).await?,
                "error" | "notUsed" if decision.state == "open" => {
                    let state = if open { "released" } else { "lapsed" };
                    release(&mut tx, &beacon.ad_serving_id, &decision, state).await?;
                }
                _ => {}
            }
            tx.commit().await?;
            Ok(Recorded::Counted)
        };
        recorded.await.map_err(query(DOING))
    }

    /// Stores, once, that a client found no ad in the answer to a question. False if there was no such question.
    pub async fn record_no_ad(&self, request_id: &str, code: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE requests SET error_code = COALESCE(error_code, $2) WHERE id = $1")
            .bind(request_id)
            .bind(code)
            .execute(&self.writer)
            .await
            .map_err(query("store a beacon"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Counts a refused beacon.
    pub async fn count_invalid(&self, reason: &str, now: UnixMillis) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO invalid_traffic (day, reason, count) VALUES ($1, $2, 1)
             ON CONFLICT (day, reason) DO UPDATE SET count = invalid_traffic.count + 1",
        )
        .bind(now.div_euclid(DAY))
        .bind(reason)
        .execute(&self.writer)
        .await
        .map_err(query("count a refused beacon"))?;
        Ok(())
    }

    /// The files registered with this content.
    pub async fn files(&self, sha256: &str) -> Result<Vec<StoredFile>, StoreError> {
        sqlx::query_as("SELECT path, media_type, size, modified FROM creatives WHERE sha256 = $1 ORDER BY id")
            .bind(sha256)
            .fetch_all(&self.readers)
            .await
            .map_err(query("look for a creative"))
    }

    /// How many creatives there are.
    pub async fn creatives(&self) -> Result<u64, StoreError> {
        let n: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM creatives")
            .fetch_one(&self.readers)
            .await
            .map_err(query("count the creatives"))?;
        Ok(n as u64)
    }

    /// The report as of `now`, from one consistent state of the database.
    pub async fn report(&self, now: UnixMillis) -> Result<Report, StoreError> {
        const DOING: &str = "report";
        let mut tx = self.readers.begin().await.map_err(query(DOING))?;
        let report = report(&mut tx, now).await.map_err(query(DOING))?;
        tx.commit().await.map_err(query(DOING))?;
        Ok(report)
    }
}

/// The break of an episode as one key, for rotation.
fn place(ask: &Ask) -> String {
    let part = |p: &Option<String>| p.clone().unwrap_or_default().replace('\n', " ");
    [part(&ask.show), part(&ask.episode), part(&ask.break_id)].join("\n")
}

async fn upsert(tx: &mut SqliteConnection, catalog: &Catalog) -> sqlx::Result<()> {
    for a in &catalog.advertisers {
        sqlx::query(
            "INSERT INTO advertisers (id, name, domain, category, category_authority) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, domain = excluded.domain,
             category = excluded.category, category_authority = excluded.category_authority",
        )
        .bind(&a.id)
        .bind(&a.name)
        .bind(&a.domain)
        .bind(&a.category)
        .bind(&a.category_authority)
        .execute(&mut *tx)
        .await?;
    }
    for c in &catalog.campaigns {
        sqlx::query(
            "INSERT INTO campaigns (id, advertiser_id, name, budget, currency) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET advertiser_id = excluded.advertiser_id, name = excluded.name,
             budget = excluded.budget, currency = excluded.currency",
        )
        .bind(&c.id)
        .bind(&c.advertiser_id)
        .bind(&c.name)
        .bind(c.budget.map(|b| b.0))
        .bind(&c.currency)
        .execute(&mut *tx)
        .await?;
    }
    for f in &catalog.flights {
        sqlx::query(
            "INSERT INTO flights
             (id, campaign_id, name, paused, starts, ends, goal, cap, price, priority, pacing)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (id) DO UPDATE SET campaign_id = excluded.campaign_id, name = excluded.name,
             paused = excluded.paused, starts = excluded.starts, ends = excluded.ends, goal = excluded.goal,
             cap = excluded.cap, price = excluded.price, priority = excluded.priority, pacing = excluded.pacing",
        )
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
        .execute(&mut *tx)
        .await?;
    }
    for c in &catalog.creatives {
        sqlx::query(
            "INSERT INTO creatives (id, flight_id, title, path, media_type, width, height, duration, size, modified,
             sha256, ad_registry, ad_id, weight, bitrate, click_through, skip_after)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
             ON CONFLICT (id) DO UPDATE SET flight_id = excluded.flight_id, title = excluded.title,
             path = excluded.path, media_type = excluded.media_type, width = excluded.width,
             height = excluded.height, duration = excluded.duration, size = excluded.size,
             modified = excluded.modified, sha256 = excluded.sha256, ad_registry = excluded.ad_registry,
             ad_id = excluded.ad_id, weight = excluded.weight, bitrate = excluded.bitrate,
             click_through = excluded.click_through, skip_after = excluded.skip_after",
        )
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
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

#[derive(FromRow)]
struct Decision {
    #[sqlx(default)]
    ad_serving_id: String,
    campaign_id: String,
    flight_id: String,
    price: i64,
    expires: i64,
    state: String,
}

/// Releases reservations whose lifetime has passed.
async fn lapse(tx: &mut SqliteConnection, now: UnixMillis) -> sqlx::Result<()> {
    let lapsed: Vec<Decision> = sqlx::query_as(
        "SELECT ad_serving_id, campaign_id, flight_id, price, expires, state FROM decisions
         WHERE state = 'open' AND expires <= $1 ORDER BY expires LIMIT $2",
    )
    .bind(now)
    .bind(LAPSED_AT_ONCE)
    .fetch_all(&mut *tx)
    .await?;
    for decision in &lapsed {
        release(tx, &decision.ad_serving_id, decision, "lapsed").await?;
    }
    Ok(())
}

async fn set_state(tx: &mut SqliteConnection, ad_serving_id: &str, state: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE decisions SET state = $2 WHERE ad_serving_id = $1")
        .bind(ad_serving_id)
        .bind(state)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// Moves a flight's and its campaign's counters by numbers of impressions and the price of one.
async fn count(
    tx: &mut SqliteConnection,
    decision: &Decision,
    reserved: i64,
    billed: i64,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE flights SET reserved = reserved + $2, billed = billed + $3 WHERE id = $1")
        .bind(&decision.flight_id)
        .bind(reserved)
        .bind(billed)
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE campaigns SET reserved = reserved + $2, spent = spent + $3 WHERE id = $1")
        .bind(&decision.campaign_id)
        .bind(reserved * decision.price)
        .bind(billed * decision.price)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

async fn release(
    tx: &mut SqliteConnection,
    ad_serving_id: &str,
    decision: &Decision,
    state: &str,
) -> sqlx::Result<()> {
    set_state(tx, ad_serving_id, state).await?;
    count(tx, decision, -1, 0).await
}

async fn bill(tx: &mut SqliteConnection, beacon: &Beacon, decision: &Decision) -> sqlx::Result<()> {
    set_state(tx, &beacon.ad_serving_id, "billed").await?;
    count(tx, decision, -1, 1).await
}

/// An impression whose reservation is gone is billed if budget and cap still have room for it.
async fn bill_late(
    tx: &mut SqliteConnection,
    beacon: &Beacon,
    decision: &Decision,
    now: UnixMillis,
) -> sqlx::Result<()> {
    if decision.state == "open" {
        release(tx, &beacon.ad_serving_id, decision, "lapsed").await?;
    }
    // Others that lapsed hold nothing back from this one.
    lapse(tx, now).await?;
    let room: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM flights f JOIN campaigns c ON c.id = $2
         WHERE f.id = $1 AND (f.cap IS NULL OR f.reserved + f.billed < f.cap)
         AND (c.budget IS NULL OR c.reserved + c.spent + $3 <= c.budget)",
    )
    .bind(&decision.flight_id)
    .bind(&decision.campaign_id)
    .bind(decision.price)
    .fetch_one(&mut *tx)
    .await?;
    if room == 1 {
        set_state(tx, &beacon.ad_serving_id, "billed").await?;
        count(tx, decision, 0, 1).await?;
    }
    Ok(())
}

#[derive(FromRow)]
struct CandidateRow {
    category: Option<String>,
    campaign_id: String,
    budget: Option<i64>,
    committed: i64,
    flight_id: String,
    starts: Option<i64>,
    ends: Option<i64>,
    goal: Option<i64>,
    cap: Option<i64>,
    served: i64,
    price: i64,
    priority: i64,
    pacing: String,
    flight_last_here: i64,
    last_decided: i64,
    creative_id: String,
    sha256: String,
    duration: i64,
    weight: i64,
    decided_here: i64,
    decided: i64,
    in_download: i64,
}

/// Creatives of the flights that are running, with their counters. Flights that are not are left out by the query.
async fn candidates(
    tx: &mut SqliteConnection,
    place: &str,
    download: Option<&str>,
    now: UnixMillis,
) -> sqlx::Result<Vec<Candidate>> {
    let rows: Vec<CandidateRow> = sqlx::query_as(
        "SELECT a.category, c.id AS campaign_id, c.budget, c.reserved + c.spent AS committed,
                f.id AS flight_id, f.starts, f.ends, f.goal, f.cap, f.reserved + f.billed AS served, f.price,
                f.priority, f.pacing, COALESCE(h.last, 0) AS flight_last_here, f.last_decided,
                r.id AS creative_id, r.sha256, r.duration, r.weight,
                COALESCE(p.decided, 0) AS decided_here, r.decided,
                CASE WHEN r.sha256 IN (SELECT sha256 FROM decisions WHERE download = $3)
                     THEN 1 ELSE 0 END AS in_download
         FROM flights f
         JOIN campaigns c ON c.id = f.campaign_id
         JOIN advertisers a ON a.id = c.advertiser_id
         JOIN creatives r ON r.flight_id = f.id
         LEFT JOIN rotation p ON p.place = $2 AND p.creative_id = r.id
         LEFT JOIN (SELECT x.flight_id, MAX(o.last) AS last FROM rotation o
                    JOIN creatives x ON x.id = o.creative_id WHERE o.place = $2 GROUP BY x.flight_id) h
                ON h.flight_id = f.id
         WHERE f.paused = 0 AND (f.starts IS NULL OR f.starts <= $1) AND (f.ends IS NULL OR f.ends > $1)
         ORDER BY r.id",
    )
    .bind(now)
    .bind(place)
    .bind(download)
    .fetch_all(&mut *tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| Candidate {
            category: r.category,
            campaign_id: r.campaign_id,
            budget: r.budget.map(Micros),
            committed: Micros(r.committed),
            flight_id: r.flight_id,
            paused: false,
            starts: r.starts,
            ends: r.ends,
            goal: r.goal.map(|n| n as u64),
            cap: r.cap.map(|n| n as u64),
            served: r.served as u64,
            price: Micros(r.price),
            priority: r.priority as u8,
            pacing: Pacing::parse(&r.pacing).unwrap_or(Pacing::Fast),
            flight_last_here: r.flight_last_here as u64,
            flight_last: r.last_decided as u64,
            creative_id: r.creative_id,
            sha256: r.sha256,
            duration: r.duration,
            weight: r.weight as u32,
            decided_here: r.decided_here as u64,
            decided: r.decided as u64,
            in_download: r.in_download != 0,
        })
        .collect())
}

/// Stores one decision, its reservation, and its turn in the rotation.
async fn reserve(
    tx: &mut SqliteConnection,
    ask: &Ask,
    place: &str,
    chosen: &Candidate,
    now: UnixMillis,
    expires: UnixMillis,
    ad_serving_id: String,
) -> sqlx::Result<Decided> {
    let seq: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(seq), 0) + 1 FROM decisions")
        .fetch_one(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO decisions (ad_serving_id, seq, request_id, download, campaign_id, flight_id, creative_id, sha256,
         price, decided, expires, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'open')",
    )
    .bind(&ad_serving_id)
    .bind(seq)
    .bind(&ask.request_id)
    .bind(&ask.download)
    .bind(&chosen.campaign_id)
    .bind(&chosen.flight_id)
    .bind(&chosen.creative_id)
    .bind(&chosen.sha256)
    .bind(chosen.price.0)
    .bind(now)
    .bind(expires)
    .execute(&mut *tx)
    .await?;
    sqlx::query("UPDATE flights SET reserved = reserved + 1, last_decided = $2 WHERE id = $1")
        .bind(&chosen.flight_id)
        .bind(seq)
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE campaigns SET reserved = reserved + $2 WHERE id = $1")
        .bind(&chosen.campaign_id)
        .bind(chosen.price.0)
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE creatives SET decided = decided + 1 WHERE id = $1")
        .bind(&chosen.creative_id)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO rotation (place, creative_id, decided, last) VALUES ($1, $2, 1, $3)
         ON CONFLICT (place, creative_id) DO UPDATE SET decided = rotation.decided + 1, last = excluded.last",
    )
    .bind(place)
    .bind(&chosen.creative_id)
    .bind(seq)
    .execute(&mut *tx)
    .await?;
    let mut decided: Decided = sqlx::query_as(
        "SELECT a.name AS advertiser, a.category, a.category_authority, c.currency, f.id AS flight_id, f.price,
                r.id AS creative_id, r.title, r.media_type, r.width, r.height, r.duration, r.size, r.sha256,
                r.ad_registry, r.ad_id, r.bitrate, r.click_through, r.skip_after
         FROM creatives r JOIN flights f ON f.id = r.flight_id JOIN campaigns c ON c.id = f.campaign_id
         JOIN advertisers a ON a.id = c.advertiser_id WHERE r.id = $1",
    )
    .bind(&chosen.creative_id)
    .fetch_one(&mut *tx)
    .await?;
    decided.ad_serving_id = ad_serving_id;
    Ok(decided)
}

#[derive(FromRow)]
struct ReportRow {
    advertiser: String,
    campaign: String,
    flight: String,
    creative: String,
    title: String,
    currency: String,
    decisions: i64,
    billed: i64,
    spend: i64,
}

#[derive(FromRow)]
struct EventRow {
    creative: String,
    flight: String,
    campaign: String,
    event: String,
    basis: String,
    n: i64,
    late: i64,
}

async fn report(tx: &mut SqliteConnection, now: UnixMillis) -> sqlx::Result<Report> {
    // By what was decided then, which a later load may have moved; creatives never decided are listed too.
    let rows: Vec<ReportRow> = sqlx::query_as(
        "SELECT c.advertiser_id AS advertiser, c.id AS campaign, g.flight_id AS flight, r.id AS creative, r.title,
                c.currency, g.decisions, g.billed, g.spend
         FROM (SELECT creative_id, flight_id, campaign_id, COUNT(*) AS decisions,
                      SUM(CASE state WHEN 'billed' THEN 1 ELSE 0 END) AS billed,
                      SUM(CASE state WHEN 'billed' THEN price ELSE 0 END) AS spend
               FROM decisions GROUP BY creative_id, flight_id, campaign_id
               UNION ALL
               SELECT n.id, n.flight_id, f.campaign_id, 0, 0, 0 FROM creatives n JOIN flights f ON f.id = n.flight_id
               WHERE NOT EXISTS (SELECT 1 FROM decisions d WHERE d.creative_id = n.id)) g
         JOIN creatives r ON r.id = g.creative_id JOIN campaigns c ON c.id = g.campaign_id
         ORDER BY 1, 2, 3, 4",
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut report = Report {
        generated: now,
        ..Report::default()
    };
    for r in rows {
        let mut row = Row {
            advertiser: r.advertiser,
            campaign: r.campaign,
            flight: r.flight,
            creative: r.creative,
            title: r.title,
            currency: r.currency,
            spend_micros: Micros(r.spend),
            counts: crate::report::Counts::default(),
        };
        row.counts.decisions = r.decisions as u64;
        row.counts.billed = r.billed as u64;
        report.rows.push(row);
    }
    let events: Vec<EventRow> = sqlx::query_as(
        "SELECT d.creative_id AS creative, d.flight_id AS flight, d.campaign_id AS campaign, e.event, e.basis,
                COUNT(*) AS n, SUM(e.late) AS late
         FROM events e JOIN decisions d ON d.ad_serving_id = e.ad_serving_id
         GROUP BY 1, 2, 3, 4, 5",
    )
    .fetch_all(&mut *tx)
    .await?;
    for e in events {
        let of = |r: &&mut Row| r.creative == e.creative && r.flight == e.flight && r.campaign == e.campaign;
        let Some(row) = report.rows.iter_mut().find(of) else {
            continue;
        };
        let delivered = e.basis == "delivered";
        let add = |b: &mut crate::report::ByBasis, n: i64| {
            *(if delivered {
                &mut b.delivered
            } else {
                &mut b.played
            }) += n as u64;
        };
        if e.event == "impression" {
            add(&mut row.counts.late, e.late);
        }
        if let Some(counter) = row.counts.event_mut(&e.event) {
            add(counter, e.n);
        }
    }
    for row in &report.rows {
        report.totals.add(&row.counts);
        report.spend_micros.entry(row.currency.clone()).or_default().0 += row.spend_micros.0;
    }
    let (asked, filled, no_ad): (i64, i64, i64) = sqlx::query_as(
        "SELECT COUNT(*), COALESCE(SUM(CASE WHEN filled > 0 THEN 1 ELSE 0 END), 0), COUNT(error_code) FROM requests",
    )
    .fetch_one(&mut *tx)
    .await?;
    report.requests = Requests {
        asked: asked as u64,
        filled: filled as u64,
        no_ad_reported: no_ad as u64,
    };
    let open: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM decisions WHERE state = 'open' AND expires > $1")
            .bind(now)
            .fetch_one(&mut *tx)
            .await?;
    report.open_reservations = open as u64;
    let invalid: Vec<(String, i64)> =
        sqlx::query_as("SELECT reason, SUM(count) FROM invalid_traffic GROUP BY reason")
            .fetch_all(&mut *tx)
            .await?;
    report.invalid_traffic = invalid
        .into_iter()
        .map(|(reason, n)| (reason, n as u64))
        .collect();
    Ok(report)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::catalog::{Advertiser, Campaign, Creative, Flight};

    /// Two campaigns: one with a budget for 7 impressions, one with two flights capped at 5 and 3.
    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        for id in ["a", "b"] {
            catalog.advertisers.push(Advertiser {
                id: id.into(),
                name: id.into(),
                domain: None,
                category: Some(id.into()),
                category_authority: "https://authority.example/".into(),
            });
            catalog.campaigns.push(Campaign {
                id: id.into(),
                advertiser_id: id.into(),
                name: id.into(),
                budget: (id == "a").then_some(Micros(70_009)),
                currency: "EUR".into(),
            });
        }
        for (id, campaign, cap) in [("a1", "a", None), ("b1", "b", Some(5)), ("b2", "b", Some(3))] {
            catalog.flights.push(Flight {
                id: id.into(),
                campaign_id: campaign.into(),
                name: id.into(),
                paused: false,
                starts: None,
                ends: None,
                goal: None,
                cap,
                price: Micros(10_000),
                priority: 8,
                pacing: Pacing::Fast,
            });
            catalog.creatives.push(Creative {
                id: id.into(),
                flight_id: id.into(),
                title: id.into(),
                path: "/nowhere".into(),
                media_type: "audio/mpeg".into(),
                width: 0,
                height: 0,
                duration: 10_000,
                size: 1,
                modified: 0,
                sha256: id.into(),
                ad_registry: "r".into(),
                ad_id: id.into(),
                weight: 1,
                bitrate: 128,
                click_through: None,
                skip_after: None,
            });
        }
        catalog
    }

    /// Counters equal what the decisions say, and no limit is exceeded.
    async fn check(store: &Store, context: &str) {
        let flights: Vec<(String, i64, i64, Option<i64>, i64, i64)> = sqlx::query_as(
            "SELECT f.id, f.reserved, f.billed, f.cap,
                    (SELECT COUNT(*) FROM decisions d WHERE d.flight_id = f.id AND d.state = 'open'),
                    (SELECT COUNT(*) FROM decisions d WHERE d.flight_id = f.id AND d.state = 'billed')
             FROM flights f",
        )
        .fetch_all(&store.readers)
        .await
        .unwrap();
        for (id, reserved, billed, cap, open, done) in flights {
            assert_eq!((reserved, billed), (open, done), "{context}: flight {id}");
            assert!(
                cap.is_none_or(|cap| reserved + billed <= cap),
                "{context}: flight {id}"
            );
        }
        let campaigns: Vec<(String, i64, i64, Option<i64>, i64, i64)> = sqlx::query_as(
            "SELECT c.id, c.reserved, c.spent, c.budget,
                    (SELECT COALESCE(SUM(price), 0) FROM decisions d WHERE d.campaign_id = c.id AND d.state = 'open'),
                    (SELECT COALESCE(SUM(price), 0) FROM decisions d WHERE d.campaign_id = c.id AND d.state = 'billed')
             FROM campaigns c",
        )
        .fetch_all(&store.readers)
        .await
        .unwrap();
        for (id, reserved, spent, budget, open, done) in campaigns {
            assert_eq!((reserved, spent), (open, done), "{context}: campaign {id}");
            assert!(
                budget.is_none_or(|b| reserved + spent <= b),
                "{context}: campaign {id}"
            );
        }
    }

    #[tokio::test]
    async fn whatever_happens_counters_are_exact_and_limits_hold() {
        for seed in 0..6 {
            println!("seed {seed}");
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(&dir.path().join("ads.db")).await.unwrap();
            store.load(&catalog()).await.unwrap();
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut now, mut ids, mut next) = (1_000, Vec::<String>::new(), 0);
            for step in 0..120 {
                match rng.random_range(0..10) {
                    0..4 => {
                        let request_id = format!("r{step}");
                        let ask = Ask {
                            request_id,
                            ads: rng.random_range(1..4),
                            ..Ask::default()
                        };
                        let name = || {
                            next += 1;
                            format!("d{next}")
                        };
                        let pod = store
                            .decide(&ask, now, now + 100, rng.random(), name)
                            .await
                            .unwrap();
                        ids.extend(pod.into_iter().map(|d| d.ad_serving_id));
                    }
                    4 => now += rng.random_range(0..120),
                    _ if ids.is_empty() => {}
                    _ => {
                        let event =
                            ["impression", "impression", "error", "notUsed", "start"][rng.random_range(0..5)];
                        let beacon = Beacon {
                            ad_serving_id: ids[rng.random_range(0..ids.len())].clone(),
                            event: event.to_owned(),
                            tracker: "1".to_owned(),
                            basis: ["delivered", "played"][rng.random_range(0..2)],
                            client_time: None,
                            code: None,
                        };
                        assert_ne!(store.record(&beacon, now).await.unwrap(), Recorded::Unknown);
                    }
                }
                check(&store, &format!("seed {seed}, step {step}")).await;
            }
            assert!(ids.len() > 10, "seed {seed}: something was decided");
            let report = store.report(now).await.unwrap();
            let billed: i64 = report.rows.iter().map(|r| r.counts.billed as i64).sum();
            assert_eq!(report.spend_micros["EUR"], Micros(billed * 10_000), "seed {seed}");
            store.close().await;
        }
    }

    #[test]
    fn a_database_is_a_path() {
        assert_eq!(database_path("ads.db").unwrap(), Path::new("ads.db"));
        assert_eq!(database_path("sqlite:ads.db").unwrap(), Path::new("ads.db"));
        assert_eq!(
            database_path("sqlite:///var/ads.db").unwrap(),
            Path::new("/var/ads.db")
        );
        for other in ["postgres://host/db", "sqlite:", ""] {
            assert!(
                matches!(database_path(other), Err(StoreError::Kind(_))),
                "{other}"
            );
        }
    }
}
