//! One transaction for a batch of operations: reads and locks the rows that it is about, lets `settle` work out what
//! happens, writes that.
//!
//! Lock order, the same on every server: campaigns by id; everything else that may change belongs to a campaign, but for
//! rows that are only ever added to (requests, invalid traffic, tallies), which come last and in the order of their keys.
//! Not for deciding what an operation does.

use std::collections::BTreeSet;

use serde::Serialize;
use sqlx::query::QueryAs;
use sqlx::{Any, AnyConnection};

use super::Db;
use super::settle::{Books, CampaignRow, Changes, EventKey, FlightRow, Known, Op, Verdict};
use crate::clock::UnixMillis;

/// Most lapsed reservations released at once; the rest is left to the next batch.
pub(crate) const LAPSED_AT_ONCE: i64 = 1000;

/// What a batch came to.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// One for each operation.
    pub(crate) verdicts: Vec<Verdict>,
    /// Campaigns and flights as they are now.
    pub(crate) campaigns: Vec<CampaignRow>,
    pub(crate) flights: Vec<FlightRow>,
    /// When the next open reservation lapses.
    pub(crate) next_expiry: Option<UnixMillis>,
}

/// Carries out a batch on a connection. `lapse` says that some reservation is due to lapse.
pub(crate) async fn run(
    db: &Db,
    connection: &mut AnyConnection,
    ops: &[&Op],
    now: UnixMillis,
    lapse: bool,
) -> sqlx::Result<Settled> {
    let mut tx = db.write_on(connection).await?;
    let mut books = load(db, &mut tx, ops, now, lapse).await?;
    let (campaigns, flights) = (books.campaigns.clone(), books.flights.clone());
    let (verdicts, changes) = books.settle(ops.iter().copied(), now);
    write(db, &mut tx, &books, &changes).await?;
    // Most beacons move no counter: nothing is written for them.
    let moved = |c: &&CampaignRow| campaigns.get(&c.id) != Some(*c);
    let campaigns: Vec<_> = books.campaigns.values().filter(moved).collect();
    let moved = |f: &&FlightRow| flights.get(&f.id) != Some(*f);
    let flights: Vec<_> = books.flights.values().filter(moved).collect();
    write_counters(db, &mut tx, &campaigns, &flights, &changes).await?;
    let next_expiry = if lapse {
        sqlx::query_scalar("SELECT MIN(expires) FROM decisions WHERE state = 'open'")
            .fetch_one(&mut *tx)
            .await?
    } else {
        changes.decisions.iter().map(|d| d.decision.expires).min()
    };
    tx.commit().await?;
    Ok(Settled {
        verdicts,
        campaigns: books.campaigns.into_values().collect(),
        flights: books.flights.into_values().collect(),
        next_expiry,
    })
}

/// A list of rows for a statement with `{rows}`.
fn json(rows: &impl Serialize) -> String {
    // Text and numbers always have a JSON form.
    serde_json::to_string(rows).unwrap_or_default()
}

const KNOWN: &str = "SELECT d.ad_serving_id, d.campaign_id, d.flight_id, d.creative_id, d.show, d.price, d.payout, \
                     d.decided, d.expires, d.state FROM ";

async fn load(
    db: &Db,
    connection: &mut AnyConnection,
    ops: &[&Op],
    now: UnixMillis,
    lapse: bool,
) -> sqlx::Result<Books> {
    let mut books = Books::default();
    let mut campaigns = BTreeSet::new();
    let mut flights = BTreeSet::new();
    let mut downloads = BTreeSet::new();
    let mut beacons = Vec::new();
    let mut proofs = Vec::new();
    let mut no_ads = BTreeSet::new();
    for op in ops {
        match op {
            Op::Decide(request, pod) => {
                for decision in pod {
                    campaigns.insert(decision.campaign.clone());
                    flights.insert(decision.flight.clone());
                }
                downloads.extend(request.download.clone().filter(|_| !pod.is_empty()));
            }
            Op::Beacon(beacon, _) => beacons.push(beacon),
            Op::Proof(proof, _) => proofs.push(proof),
            Op::NoAd(id, ..) => {
                no_ads.insert(id.clone());
            }
            Op::Invalid(..) | Op::Lapse => {}
        }
    }
    let ids: BTreeSet<_> = beacons
        .iter()
        .map(|b| [b.ad_serving_id.as_str()])
        .chain(proofs.iter().map(|p| [p.ad_serving_id.as_str()]))
        .collect();
    let by_id = format!("{KNOWN}{{rows}} JOIN decisions d ON d.ad_serving_id = j.value->>0");
    let mut known: Vec<Known> = Vec::new();
    if !ids.is_empty() {
        known = rows(db, &by_id, &ids, connection).await?;
    }
    if lapse {
        let due: Vec<Known> = sqlx::query_as(db.sql(&format!(
            "{KNOWN}decisions d WHERE d.state = 'open' AND d.expires <= $1 ORDER BY d.expires LIMIT $2"
        )))
        .bind(now)
        .bind(LAPSED_AT_ONCE)
        .fetch_all(&mut *connection)
        .await?;
        known.extend(due);
    }
    for decision in &known {
        campaigns.insert(decision.campaign_id.clone());
        flights.insert(decision.flight_id.clone());
    }
    let one = |ids: &BTreeSet<String>| ids.iter().map(|id| [id.clone()]).collect::<Vec<_>>();
    if !campaigns.is_empty() {
        let all: Vec<CampaignRow> = rows(
            db,
            "SELECT c.id, c.budget, c.reserved, c.spent FROM campaigns c
             WHERE c.id IN (SELECT j.value->>0 FROM {rows}) ORDER BY c.id {lock}",
            &one(&campaigns),
            connection,
        )
        .await?;
        books.campaigns = all.into_iter().map(|c| (c.id.clone(), c)).collect();
        let all: Vec<FlightRow> = rows(
            db,
            "SELECT f.id, f.cap, f.reserved, f.billed, f.day, f.day_served FROM flights f
             WHERE f.id IN (SELECT j.value->>0 FROM {rows}) ORDER BY f.id",
            &one(&flights),
            connection,
        )
        .await?;
        books.flights = all.into_iter().map(|f| (f.id.clone(), f)).collect();
    }
    if db.is_shared() && !known.is_empty() {
        // Another server may have changed them before their campaigns were locked.
        let ids: BTreeSet<_> = known.iter().map(|d| [d.ad_serving_id.as_str()]).collect();
        known = rows(db, &by_id, &ids, connection).await?;
    }
    books.decisions = known.into_iter().map(|d| (d.ad_serving_id.clone(), d)).collect();
    if !ids.is_empty() {
        let keys: BTreeSet<_> = beacons
            .iter()
            .map(|b| {
                (
                    b.ad_serving_id.as_str(),
                    b.event.as_str(),
                    b.tracker.as_str(),
                    b.basis,
                )
            })
            .chain(proofs.iter().map(|p| {
                (
                    p.ad_serving_id.as_str(),
                    "impression",
                    crate::answer::TRACKER,
                    "played",
                )
            }))
            .collect();
        let there: Vec<EventKey> = rows(
            db,
            "SELECT e.ad_serving_id, e.event, e.tracker, e.basis FROM {rows} JOIN events e
             ON e.ad_serving_id = j.value->>0 AND e.event = j.value->>1 AND e.tracker = j.value->>2
             AND e.basis = j.value->>3",
            &keys,
            connection,
        )
        .await?;
        books.events = there.into_iter().collect();
        let impressions = beacons
            .iter()
            .any(|b| b.event == "impression" && b.basis == "played");
        if impressions || !proofs.is_empty() {
            let there: Vec<(String,)> = rows(
                db,
                "SELECT p.ad_serving_id FROM {rows} JOIN proofs p ON p.ad_serving_id = j.value->>0
                 WHERE p.rejected IS NULL AND p.presented = 1",
                &ids,
                connection,
            )
            .await?;
            books.proved = there.into_iter().map(|(id,)| id).collect();
        }
    }
    let records: BTreeSet<_> = proofs
        .iter()
        .flat_map(|p| &p.records)
        .map(|r| [r.as_str()])
        .collect();
    if !records.is_empty() {
        let there: Vec<(String, String)> = rows(
            db,
            "SELECT r.nonce, r.account FROM {rows} JOIN proof_records r ON r.nonce = j.value->>0",
            &records,
            connection,
        )
        .await?;
        books.records = there.into_iter().collect();
    }
    if !downloads.is_empty() {
        let there: Vec<(String, String)> = rows(
            db,
            "SELECT d.download, d.sha256 FROM {rows} JOIN decisions d ON d.download = j.value->>0",
            &one(&downloads),
            connection,
        )
        .await?;
        books.downloads = there.into_iter().collect();
    }
    if !no_ads.is_empty() {
        let there: Vec<(String, Option<String>, Option<String>)> = rows(
            db,
            "SELECT r.id, r.show, r.error_code FROM {rows} JOIN requests r ON r.id = j.value->>0",
            &one(&no_ads),
            connection,
        )
        .await?;
        books.requests = there
            .into_iter()
            .map(|(id, show, code)| (id, (show, code)))
            .collect();
    }
    Ok(books)
}

/// Reads with a list of rows as the first parameter.
async fn rows<T>(
    db: &Db,
    text: &str,
    list: &impl Serialize,
    connection: &mut AnyConnection,
) -> sqlx::Result<Vec<T>>
where
    T: for<'r> sqlx::FromRow<'r, sqlx::any::AnyRow> + Send + Unpin,
{
    let query: QueryAs<'_, Any, T, _> = sqlx::query_as(db.sql(text));
    query.bind(json(list)).fetch_all(connection).await
}

/// Writes with a list of rows as the only parameter, unless it is empty. How many rows were written.
async fn put<T: Serialize>(
    db: &Db,
    text: &str,
    list: &[T],
    connection: &mut AnyConnection,
) -> sqlx::Result<u64> {
    if list.is_empty() {
        return Ok(0);
    }
    let done = sqlx::query(db.sql(text))
        .bind(json(&list))
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

async fn write(
    db: &Db,
    connection: &mut AnyConnection,
    books: &Books,
    changes: &Changes,
) -> sqlx::Result<()> {
    let list: Vec<_> = changes
        .requests
        .iter()
        .map(|(r, filled)| {
            (
                &r.id,
                r.asked,
                &r.show,
                &r.episode,
                &r.break_id,
                &r.position,
                &r.country,
                &r.device,
                &r.download,
                &r.listener,
                r.wanted,
                filled,
            )
        })
        .collect();
    put(
        db,
        "INSERT INTO requests (id, asked, show, episode, break_id, position, country, device, download, listener,
         wanted, filled)
         SELECT j.value->>0, CAST(j.value->>1 AS BIGINT), j.value->>2, j.value->>3, j.value->>4, j.value->>5,
         j.value->>6, j.value->>7, j.value->>8, j.value->>9, CAST(j.value->>10 AS BIGINT),
         CAST(j.value->>11 AS BIGINT) FROM {rows}",
        &list,
        connection,
    )
    .await?;
    let list: Vec<_> = changes
        .decisions
        .iter()
        .map(|n| {
            let d = &n.decision;
            let state = books
                .decisions
                .get(&d.ad_serving_id)
                .map_or("open", |k| k.state.as_str());
            (
                &d.ad_serving_id,
                &n.request,
                &n.download,
                &d.campaign,
                &d.flight,
                &d.creative,
                &d.sha256,
                d.price,
                n.decided,
                d.expires,
                &n.show,
                &d.category,
                &d.viewer,
                d.payout,
                &d.proof_key,
                // A list has sixteen at most.
                (state, changes.billed.get(&d.ad_serving_id)),
            )
        })
        .collect();
    let stored = put(
        db,
        "INSERT INTO decisions (ad_serving_id, request_id, download, campaign_id, flight_id, creative_id, sha256, price,
         decided, expires, show, category, viewer, payout, proof_key, state, billed)
         SELECT j.value->>0, j.value->>1, j.value->>2, j.value->>3, j.value->>4, j.value->>5, j.value->>6,
         CAST(j.value->>7 AS BIGINT), CAST(j.value->>8 AS BIGINT), CAST(j.value->>9 AS BIGINT), j.value->>10,
         j.value->>11, j.value->>12, CAST(j.value->>13 AS BIGINT), j.value->>14, j.value->15->>0,
         CAST(j.value->15->>1 AS BIGINT) FROM {rows}
         WHERE TRUE ON CONFLICT (download, sha256) WHERE download IS NOT NULL DO NOTHING",
        &list,
        connection,
    )
    .await?;
    if stored != list.len() as u64 {
        // Another server gave one of these downloads the same creative just now: again, knowing of it.
        return Err(sqlx::Error::Protocol(
            "a download got a creative twice".to_owned(),
        ));
    }
    let new: BTreeSet<_> = changes
        .decisions
        .iter()
        .map(|d| &d.decision.ad_serving_id)
        .collect();
    let list: Vec<_> = changes
        .states
        .iter()
        .filter(|id| !new.contains(id))
        .filter_map(|id| Some((id, &books.decisions.get(id)?.state, changes.billed.get(id))))
        .collect();
    put(
        db,
        "UPDATE decisions SET state = j.value->>1, billed = COALESCE(CAST(j.value->>2 AS BIGINT), billed)
         FROM {rows} WHERE decisions.ad_serving_id = j.value->>0",
        &list,
        connection,
    )
    .await?;
    let list: Vec<_> = changes
        .events
        .iter()
        .map(|e| {
            let b = &e.beacon;
            let late = i64::from(e.late);
            (
                &b.ad_serving_id,
                &b.event,
                &b.tracker,
                b.basis,
                e.received,
                &b.client_time,
                &b.code,
                late,
            )
        })
        .collect();
    put(
        db,
        "INSERT INTO events (ad_serving_id, event, tracker, basis, received, client_time, code, late)
         SELECT j.value->>0, j.value->>1, j.value->>2, j.value->>3, CAST(j.value->>4 AS BIGINT), j.value->>5,
         j.value->>6, CAST(j.value->>7 AS BIGINT) FROM {rows}",
        &list,
        connection,
    )
    .await?;
    write_proofs(db, connection, changes).await
}

async fn write_proofs(db: &Db, connection: &mut AnyConnection, changes: &Changes) -> sqlx::Result<()> {
    let list: Vec<_> = changes
        .proofs
        .iter()
        .map(|(p, at)| {
            let (presented, whole) = (i64::from(p.presented), i64::from(p.whole));
            (&p.ad_serving_id, at, &p.account, p.rejected, presented, whole)
        })
        .collect();
    // One at a time: a batch may hold two about the same decision. What held once is not taken back.
    for row in list {
        put(
            db,
            "INSERT INTO proofs (ad_serving_id, received, account, rejected, presented, whole)
             SELECT j.value->>0, CAST(j.value->>1 AS BIGINT), j.value->>2, j.value->>3, CAST(j.value->>4 AS BIGINT),
             CAST(j.value->>5 AS BIGINT) FROM {rows} WHERE TRUE
             ON CONFLICT (ad_serving_id) DO UPDATE SET received = excluded.received, account = excluded.account,
             rejected = excluded.rejected, presented = excluded.presented, whole = excluded.whole
             WHERE proofs.rejected IS NOT NULL OR (excluded.rejected IS NULL AND excluded.whole >= proofs.whole
             AND excluded.presented >= proofs.presented)",
            &[row],
            connection,
        )
        .await?;
    }
    for (proof, _) in &changes.proofs {
        let Some((count, hash)) = &proof.head else {
            continue;
        };
        put(
            db,
            "INSERT INTO proof_accounts (nonce, count, hash)
             SELECT j.value->>0, CAST(j.value->>1 AS BIGINT), j.value->>2 FROM {rows} WHERE TRUE
             ON CONFLICT (nonce) DO UPDATE SET count = excluded.count, hash = excluded.hash
             WHERE excluded.count > proof_accounts.count",
            &[(&proof.account, count, hash)],
            connection,
        )
        .await?;
    }
    let list: BTreeSet<_> = changes
        .proofs
        .iter()
        .flat_map(|(p, _)| p.records.iter().map(move |r| (r, &p.account)))
        .collect();
    let list: Vec<_> = list.into_iter().collect();
    put(
        db,
        "INSERT INTO proof_records (nonce, account) SELECT j.value->>0, j.value->>1 FROM {rows} WHERE TRUE
         ON CONFLICT (nonce) DO NOTHING",
        &list,
        connection,
    )
    .await?;
    Ok(())
}

async fn write_counters(
    db: &Db,
    connection: &mut AnyConnection,
    campaigns: &[&CampaignRow],
    flights: &[&FlightRow],
    changes: &Changes,
) -> sqlx::Result<()> {
    let list: Vec<_> = campaigns.iter().map(|c| (&c.id, c.reserved, c.spent)).collect();
    put(
        db,
        "UPDATE campaigns SET reserved = CAST(j.value->>1 AS BIGINT), spent = CAST(j.value->>2 AS BIGINT)
         FROM {rows} WHERE campaigns.id = j.value->>0",
        &list,
        connection,
    )
    .await?;
    let list: Vec<_> = flights
        .iter()
        .map(|f| (&f.id, f.reserved, f.billed, f.day, f.day_served))
        .collect();
    put(
        db,
        "UPDATE flights SET reserved = CAST(j.value->>1 AS BIGINT), billed = CAST(j.value->>2 AS BIGINT),
         day = CAST(j.value->>3 AS BIGINT), day_served = CAST(j.value->>4 AS BIGINT)
         FROM {rows} WHERE flights.id = j.value->>0",
        &list,
        connection,
    )
    .await?;
    let list: Vec<_> = changes.creatives.iter().collect();
    put(
        db,
        "UPDATE creatives SET decided = decided + CAST(j.value->>1 AS BIGINT)
         FROM {rows} WHERE creatives.id = j.value->>0",
        &list,
        connection,
    )
    .await?;
    let list: Vec<_> = changes.no_ads.iter().collect();
    put(
        db,
        "UPDATE requests SET error_code = COALESCE(error_code, j.value->>1) FROM {rows}
         WHERE requests.id = j.value->>0",
        &list,
        connection,
    )
    .await?;
    let list: Vec<_> = changes
        .invalid
        .iter()
        .map(|((day, reason), n)| (day, reason, n))
        .collect();
    put(
        db,
        "INSERT INTO invalid_traffic (day, reason, count)
         SELECT CAST(j.value->>0 AS BIGINT), j.value->>1, CAST(j.value->>2 AS BIGINT) FROM {rows} WHERE TRUE
         ON CONFLICT (day, reason) DO UPDATE SET count = invalid_traffic.count + excluded.count",
        &list,
        connection,
    )
    .await?;
    let list: Vec<_> = changes
        .tallies
        .iter()
        .map(
            |((day, show, flight, creative, metric, basis, detail), (count, amount))| {
                (day, show, flight, creative, metric, basis, detail, count, amount)
            },
        )
        .collect();
    put(
        db,
        "INSERT INTO tallies (day, show, flight_id, creative_id, metric, basis, detail, count, amount)
         SELECT CAST(j.value->>0 AS BIGINT), j.value->>1, j.value->>2, j.value->>3, j.value->>4, j.value->>5,
         j.value->>6, CAST(j.value->>7 AS BIGINT), CAST(j.value->>8 AS BIGINT) FROM {rows} WHERE TRUE ON CONFLICT (day, show, flight_id, creative_id, metric, basis, detail)
         DO UPDATE SET count = tallies.count + excluded.count, amount = tallies.amount + excluded.amount",
        &list,
        connection,
    )
    .await?;
    Ok(())
}
