//! Adds up the tallies for a report.
//!
//! Not for what a number means ([`crate::report`]) nor for counting: that was done with each decision and beacon.

use std::collections::{BTreeMap, HashMap};

use sqlx::query::QueryAs;
use sqlx::{Any, AnyConnection};

use super::{Db, StoreError, query};
use crate::clock::{UnixMillis, date_of};
use crate::money::Micros;
use crate::report::{Counts, Filter, Report, Requests, Row, Slice};

/// One sum of tallies.
#[derive(sqlx::FromRow)]
struct Sum {
    day: i64,
    show: String,
    flight_id: String,
    creative_id: String,
    metric: String,
    basis: String,
    detail: String,
    n: i64,
    amount: i64,
}

/// What a flight's numbers are listed under.
struct Owner {
    advertiser: String,
    campaign: String,
    currency: String,
}

impl Db {
    /// The report as of `now`, from one consistent state of the database.
    pub async fn report(&self, filter: &Filter, now: UnixMillis) -> Result<Report, StoreError> {
        const DOING: &str = "report";
        let mut tx = self.pool().begin().await.map_err(query(DOING))?;
        let report = report(&mut tx, filter, now).await.map_err(query(DOING))?;
        tx.commit().await.map_err(query(DOING))?;
        Ok(report)
    }

    /// Every decision with its state (`open`, `billed`, `released`, `lapsed`), for audits.
    pub async fn states(&self) -> Result<HashMap<String, String>, StoreError> {
        let all: Vec<(String, String)> = sqlx::query_as("SELECT ad_serving_id, state FROM decisions")
            .fetch_all(self.pool())
            .await
            .map_err(query("read the decisions"))?;
        Ok(all.into_iter().collect())
    }

    /// When each listener asked for ads, in order, within these days: (listener, time).
    pub async fn asked(
        &self,
        filter: &Filter,
        now: UnixMillis,
    ) -> Result<Vec<(String, UnixMillis)>, StoreError> {
        let to = filter.to.map_or(now, |d| (d + 1) * crate::clock::DAY - 1);
        sqlx::query_as(
            "SELECT listener, asked FROM requests WHERE listener IS NOT NULL AND asked BETWEEN $1 AND $2
             AND ($3 = '' OR show = $3)
             AND ($4 = '' OR show IN (SELECT id FROM shows WHERE publisher_id = $4)) ORDER BY asked LIMIT 1000000",
        )
        .bind(filter.from.map_or(0, |d| d * crate::clock::DAY))
        .bind(to)
        .bind(filter.show.clone().unwrap_or_default())
        .bind(filter.publisher.clone().unwrap_or_default())
        .fetch_all(self.pool())
        .await
        .map_err(query("report"))
    }
}

/// The sums that the filter lets through, by the columns that are wanted (the others are empty).
async fn sums(
    connection: &mut AnyConnection,
    filter: &Filter,
    day: bool,
    show: bool,
) -> sqlx::Result<Vec<Sum>> {
    let day = if day { "t.day" } else { "CAST(0 AS BIGINT)" };
    let show = if show { "t.show" } else { "CAST('' AS TEXT)" };
    let text = format!(
        "SELECT {day} AS day, {show} AS show, t.flight_id, t.creative_id, t.metric, t.basis, t.detail,
                CAST(SUM(t.count) AS BIGINT) AS n, CAST(SUM(t.amount) AS BIGINT) AS amount
         FROM tallies t
         WHERE t.day BETWEEN $1 AND $2 AND ($3 = '' OR t.show = $3)
         AND ($4 = '' OR t.show IN (SELECT id FROM shows WHERE publisher_id = $4))
         AND ($5 = '' OR t.flight_id IN (SELECT f.id FROM flights f JOIN campaigns c ON c.id = f.campaign_id
                                         WHERE c.advertiser_id = $5))
         AND ($6 = '' OR t.flight_id IN (SELECT id FROM flights WHERE campaign_id = $6))
         GROUP BY 1, 2, 3, 4, 5, 6, 7"
    );
    let query: QueryAs<'_, Any, Sum, _> = sqlx::query_as(sqlx::AssertSqlSafe(text));
    query
        .bind(filter.from.unwrap_or(i64::from(i32::MIN)))
        .bind(filter.to.unwrap_or(i64::from(i32::MAX)))
        .bind(filter.show.clone().unwrap_or_default())
        .bind(filter.publisher.clone().unwrap_or_default())
        .bind(filter.advertiser.clone().unwrap_or_default())
        .bind(filter.campaign.clone().unwrap_or_default())
        .fetch_all(connection)
        .await
}

/// Adds a sum to what it is about.
fn add(sum: &Sum, counts: &mut Counts, requests: &mut Requests) {
    let n = sum.n as u64;
    match sum.metric.as_str() {
        "request" => requests.asked += n,
        "filled" => requests.filled += n,
        "noAd" => requests.no_ad_reported += n,
        "decision" => counts.decisions += n,
        "billed" => counts.billed += n,
        event => {
            if let Some(counter) = counts.event_mut(event) {
                *(if sum.basis == "delivered" {
                    &mut counter.delivered
                } else {
                    &mut counter.played
                }) += n;
            }
        }
    }
}

async fn report(connection: &mut AnyConnection, filter: &Filter, now: UnixMillis) -> sqlx::Result<Report> {
    let mut report = Report {
        generated: now,
        ..Report::default()
    };
    let owners: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT f.id, c.advertiser_id, c.id, c.currency FROM flights f JOIN campaigns c ON c.id = f.campaign_id",
    )
    .fetch_all(&mut *connection)
    .await?;
    let owners: HashMap<String, Owner> = owners
        .into_iter()
        .map(|(flight, advertiser, campaign, currency)| {
            let owner = Owner {
                advertiser,
                campaign,
                currency,
            };
            (flight, owner)
        })
        .collect();
    // Creatives never decided are listed too.
    let creatives: Vec<(String, String, String)> =
        sqlx::query_as("SELECT id, flight_id, title FROM creatives")
            .fetch_all(&mut *connection)
            .await?;
    let mut titles = HashMap::new();
    let mut rows: BTreeMap<(String, String, String, String), Row> = BTreeMap::new();
    let everywhere = filter.publisher.is_none() && filter.show.is_none();
    let mut wanted = Vec::new();
    for (id, flight, title) in creatives {
        titles.insert(id.clone(), title);
        if everywhere {
            wanted.push((flight, id));
        }
    }
    let all = sums(connection, filter, false, false).await?;
    wanted.extend(
        all.iter()
            .filter(|s| !s.creative_id.is_empty())
            .map(|s| (s.flight_id.clone(), s.creative_id.clone())),
    );
    for (flight, creative) in wanted {
        let Some(owner) = owners.get(&flight) else {
            continue;
        };
        let other = |wanted: &Option<String>, is: &String| wanted.as_ref().is_some_and(|w| w != is);
        if other(&filter.advertiser, &owner.advertiser) || other(&filter.campaign, &owner.campaign) {
            continue;
        }
        let key = (owner.advertiser.clone(), owner.campaign.clone(), flight, creative);
        rows.entry(key)
            .or_insert_with_key(|(advertiser, campaign, flight, creative)| Row {
                advertiser: advertiser.clone(),
                campaign: campaign.clone(),
                flight: flight.clone(),
                creative: creative.clone(),
                title: titles.get(creative).cloned().unwrap_or_default(),
                currency: owner.currency.clone(),
                spend_micros: Micros(0),
                payout_micros: Micros(0),
                counts: Counts::default(),
            });
    }
    for sum in &all {
        if sum.metric == "error" {
            *report.errors_by_code.entry(sum.detail.clone()).or_default() += sum.n as u64;
        }
        let Some(owner) = owners.get(&sum.flight_id) else {
            add(sum, &mut Counts::default(), &mut report.requests);
            continue;
        };
        let key = (
            owner.advertiser.clone(),
            owner.campaign.clone(),
            sum.flight_id.clone(),
            sum.creative_id.clone(),
        );
        if let Some(row) = rows.get_mut(&key) {
            add(sum, &mut row.counts, &mut report.requests);
            match sum.metric.as_str() {
                "billed" => row.spend_micros.0 += sum.amount,
                "payout" => row.payout_micros.0 += sum.amount,
                _ => {}
            }
        }
    }
    report.rows = rows.into_values().collect();
    for row in &report.rows {
        report.totals.add(&row.counts);
        report.spend_micros.entry(row.currency.clone()).or_default().0 += row.spend_micros.0;
        report.payout_micros.entry(row.currency.clone()).or_default().0 += row.payout_micros.0;
    }
    let by_day = sums(connection, filter, true, false).await?;
    report.days = slices(&by_day, &owners, |s| s.day)
        .into_iter()
        .map(|(day, slice)| Slice {
            key: date_of(day),
            ..slice
        })
        .collect();
    let by_show = sums(connection, filter, false, true).await?;
    report.shows = slices(&by_show, &owners, |s| s.show.clone())
        .into_iter()
        .map(|(show, slice)| Slice { key: show, ..slice })
        .collect();
    let open: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM decisions d WHERE d.state = 'open' AND d.expires > $1 AND ($2 = '' OR d.show = $2)
         AND ($3 = '' OR d.show IN (SELECT id FROM shows WHERE publisher_id = $3))
         AND ($4 = '' OR d.campaign_id IN (SELECT id FROM campaigns WHERE advertiser_id = $4))
         AND ($5 = '' OR d.campaign_id = $5)",
    )
    .bind(now)
    .bind(filter.show.clone().unwrap_or_default())
    .bind(filter.publisher.clone().unwrap_or_default())
    .bind(filter.advertiser.clone().unwrap_or_default())
    .bind(filter.campaign.clone().unwrap_or_default())
    .fetch_one(&mut *connection)
    .await?;
    report.open_reservations = open as u64;
    // Refused is refused before it is known whose it was: only who sees everything sees it.
    if everywhere && filter.advertiser.is_none() && filter.campaign.is_none() {
        let invalid: Vec<(String, i64)> = sqlx::query_as(
            "SELECT reason, CAST(SUM(count) AS BIGINT) FROM invalid_traffic WHERE day BETWEEN $1 AND $2 GROUP BY reason",
        )
        .bind(filter.from.unwrap_or(i64::from(i32::MIN)))
        .bind(filter.to.unwrap_or(i64::from(i32::MAX)))
        .fetch_all(&mut *connection)
        .await?;
        report.invalid_traffic = invalid
            .into_iter()
            .map(|(reason, n)| (reason, n as u64))
            .collect();
    }
    Ok(report)
}

fn slices<K: Ord>(
    sums: &[Sum],
    owners: &HashMap<String, Owner>,
    key: impl Fn(&Sum) -> K,
) -> BTreeMap<K, Slice> {
    let mut slices: BTreeMap<K, Slice> = BTreeMap::new();
    for sum in sums {
        let slice = slices.entry(key(sum)).or_default();
        add(sum, &mut slice.counts, &mut slice.requests);
        if let Some(owner) = owners.get(&sum.flight_id) {
            let to = match sum.metric.as_str() {
                "billed" => &mut slice.spend_micros,
                "payout" => &mut slice.payout_micros,
                _ => continue,
            };
            to.entry(owner.currency.clone()).or_default().0 += sum.amount;
        }
    }
    slices
}
