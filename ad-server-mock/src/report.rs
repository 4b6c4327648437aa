//! The report: what was decided, reported and billed, as data, CSV and a table.
//!
//! Invariants: `delivered` and `played` are never added together; amounts of different currencies neither. Not for
//! deciding what counts: the store did that when each beacon arrived.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::money::Micros;

/// A number of events by the basis that the client reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByBasis {
    /// The whole ad was in a rendition that was delivered (client-reported).
    pub delivered: u64,
    /// It was presented by a player (client-confirmed).
    pub played: u64,
}

impl ByBasis {
    fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.played += other.played;
    }
}

/// What happened, for a creative or in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Times it was chosen. Never billed as such.
    pub decisions: u64,
    /// Impressions.
    pub impressions: ByBasis,
    /// Impressions whose reservation had lapsed; they are among `impressions` too.
    pub late: ByBasis,
    /// Started.
    pub start: ByBasis,
    /// A quarter presented.
    pub first_quartile: ByBasis,
    /// Half presented.
    pub midpoint: ByBasis,
    /// Three quarters presented.
    pub third_quartile: ByBasis,
    /// Presented to its end.
    pub complete: ByBasis,
    /// Skipped by the person.
    pub skip: ByBasis,
    /// Clicked.
    pub clicks: ByBasis,
    /// Prepared and not used.
    pub not_used: ByBasis,
    /// Errors.
    pub errors: ByBasis,
    /// Impressions that came with a proof of play that held; they are among `impressions` too.
    #[serde(default)]
    pub proved: ByBasis,
    /// Impressions billed: one for each decision at most, whatever the bases reported.
    pub billed: u64,
}

impl Counts {
    /// The counter of a VAST event, if this report has one.
    pub(crate) fn event_mut(&mut self, event: &str) -> Option<&mut ByBasis> {
        Some(match event {
            "impression" => &mut self.impressions,
            "start" => &mut self.start,
            "firstQuartile" => &mut self.first_quartile,
            "midpoint" => &mut self.midpoint,
            "thirdQuartile" => &mut self.third_quartile,
            "complete" => &mut self.complete,
            "skip" => &mut self.skip,
            "click" => &mut self.clicks,
            "notUsed" => &mut self.not_used,
            "error" => &mut self.errors,
            "late" => &mut self.late,
            "proved" => &mut self.proved,
            _ => return None,
        })
    }

    pub(crate) fn bases(&self) -> [(&'static str, ByBasis); 12] {
        [
            ("impressions", self.impressions),
            ("late", self.late),
            ("start", self.start),
            ("first_quartile", self.first_quartile),
            ("midpoint", self.midpoint),
            ("third_quartile", self.third_quartile),
            ("complete", self.complete),
            ("skip", self.skip),
            ("clicks", self.clicks),
            ("not_used", self.not_used),
            ("errors", self.errors),
            ("proved", self.proved),
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.decisions += other.decisions;
        self.impressions.add(other.impressions);
        self.late.add(other.late);
        self.start.add(other.start);
        self.first_quartile.add(other.first_quartile);
        self.midpoint.add(other.midpoint);
        self.third_quartile.add(other.third_quartile);
        self.complete.add(other.complete);
        self.skip.add(other.skip);
        self.clicks.add(other.clicks);
        self.not_used.add(other.not_used);
        self.errors.add(other.errors);
        self.proved.add(other.proved);
        self.billed += other.billed;
    }
}

/// One creative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Advertiser's id.
    pub advertiser: String,
    /// Campaign's id.
    pub campaign: String,
    /// Flight's id.
    pub flight: String,
    /// Creative's id.
    pub creative: String,
    /// Creative's title.
    pub title: String,
    /// ISO 4217 code of `spend_micros`.
    pub currency: String,
    /// Billed, in millionths of a currency unit.
    pub spend_micros: Micros,
    /// What publishers get of that, in millionths of a currency unit.
    #[serde(default)]
    pub payout_micros: Micros,
    /// What happened.
    #[serde(flatten)]
    pub counts: Counts,
}

/// How often ads were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Breaks asked about.
    pub asked: u64,
    /// Answered with at least one ad.
    pub filled: u64,
    /// Reported by the client as without an ad (VAST error 303 and its like).
    pub no_ad_reported: u64,
}

/// What happened on a day, or in a show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The day (`2026-01-31`, UTC), or the show's id ("" for none).
    pub key: String,
    /// How often ads were asked for. Not known where only one advertiser is looked at.
    pub requests: Requests,
    /// Billed by currency, in millionths of a unit.
    pub spend_micros: BTreeMap<String, Micros>,
    /// What publishers get of that.
    pub payout_micros: BTreeMap<String, Micros>,
    /// What happened.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What a report is about. `None` is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// First day, in days since 1970-01-01 UTC.
    pub from: Option<i64>,
    /// Last day.
    pub to: Option<i64>,
    /// One show.
    pub show: Option<String>,
    /// The shows of one publisher.
    pub publisher: Option<String>,
    /// The flights of one advertiser.
    pub advertiser: Option<String>,
    /// One campaign.
    pub campaign: Option<String>,
}

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When it was made.
    pub generated: UnixMillis,
    /// Requests.
    pub requests: Requests,
    /// One row for each creative, by advertiser, campaign, flight, creative.
    pub rows: Vec<Row>,
    /// Sums of the rows.
    pub totals: Counts,
    /// Billed by currency, in millionths of a unit.
    pub spend_micros: BTreeMap<String, Micros>,
    /// What publishers get of that.
    #[serde(default)]
    pub payout_micros: BTreeMap<String, Micros>,
    /// Errors that clients reported, by VAST code ("" when they said none).
    #[serde(default)]
    pub errors_by_code: BTreeMap<String, u64>,
    /// Each day on which something happened, in order.
    #[serde(default)]
    pub days: Vec<Slice>,
    /// Each show in which something happened.
    #[serde(default)]
    pub shows: Vec<Slice>,
    /// Reservations open now.
    pub open_reservations: u64,
    /// Refused beacons by reason; none of them is in any number above.
    pub invalid_traffic: BTreeMap<String, u64>,
}

impl Report {
    /// The rows as CSV (RFC 4180), without totals so that a column can be summed.
    pub fn to_csv(&self) -> String {
        let mut out = String::from("advertiser,campaign,flight,creative,title,decisions");
        for (name, _) in Counts::default().bases() {
            // Writing to a String cannot fail, here and below.
            let _ = write!(out, ",{name}_delivered,{name}_played");
        }
        out.push_str(",billed,currency,spend,payout\r\n");
        for row in &self.rows {
            let names = [
                &row.advertiser,
                &row.campaign,
                &row.flight,
                &row.creative,
                &row.title,
            ];
            out.push_str(&names.map(|n| csv_field(n)).join(","));
            let _ = write!(out, ",{}", row.counts.decisions);
            for (_, n) in row.counts.bases() {
                let _ = write!(out, ",{},{}", n.delivered, n.played);
            }
            let _ = write!(
                out,
                ",{},{},{},{}\r\n",
                row.counts.billed, row.currency, row.spend_micros, row.payout_micros
            );
        }
        out
    }

    /// Days or shows as CSV, without totals. `key` is the name of the first column.
    pub fn slices_to_csv(key: &str, slices: &[Slice]) -> String {
        let mut out = format!("{key},requests,filled,no_ad_reported,decisions");
        for (name, _) in Counts::default().bases() {
            let _ = write!(out, ",{name}_delivered,{name}_played");
        }
        out.push_str(",billed,spend,payout\r\n");
        let money = |amounts: &BTreeMap<String, Micros>| {
            let all: Vec<_> = amounts.iter().map(|(c, m)| format!("{m} {c}")).collect();
            all.join(" + ")
        };
        for slice in slices {
            let r = slice.requests;
            let _ = write!(
                out,
                "{},{},{},{},{}",
                csv_field(&slice.key),
                r.asked,
                r.filled,
                r.no_ad_reported,
                slice.counts.decisions
            );
            for (_, n) in slice.counts.bases() {
                let _ = write!(out, ",{},{}", n.delivered, n.played);
            }
            let _ = write!(
                out,
                ",{},{},{}\r\n",
                slice.counts.billed,
                money(&slice.spend_micros),
                money(&slice.payout_micros)
            );
        }
        out
    }

    /// A table for a terminal.
    pub fn to_table(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, c: &Counts, spend: &str| {
            let _ = writeln!(
                out,
                "{name:<32} {:>9} {:>9} {:>7} {:>9} {:>7} {:>7}  {spend}",
                c.decisions,
                c.impressions.delivered,
                c.impressions.played,
                c.complete.played,
                c.errors.delivered + c.errors.played,
                c.billed,
            );
        };
        for row in &self.rows {
            line(
                &format!("{}/{}", row.flight, row.creative),
                &row.counts,
                &format!("{} {}", row.spend_micros, row.currency),
            );
        }
        let spend: Vec<_> = self
            .spend_micros
            .iter()
            .map(|(c, m)| format!("{m} {c}"))
            .collect();
        line("total", &self.totals, &spend.join(", "));
        let mut head = format!(
            "{:<32} {:>9} {:>9} {:>7} {:>9} {:>7} {:>7}  spend\n",
            "flight/creative", "decisions", "delivered", "played", "completed", "errors", "billed"
        );
        head.push_str(&out);
        let _ = writeln!(
            head,
            "requests {}, filled {}; open reservations {}",
            self.requests.asked, self.requests.filled, self.open_reservations
        );
        for (currency, amount) in self.payout_micros.iter().filter(|(_, m)| m.0 > 0) {
            let _ = writeln!(head, "to publishers {amount} {currency}");
        }
        for (code, n) in &self.errors_by_code {
            let code = if code.is_empty() { "without a code" } else { code };
            let _ = writeln!(head, "errors, {code}: {n}");
        }
        for (reason, n) in &self.invalid_traffic {
            let _ = writeln!(head, "invalid traffic, {reason}: {n}");
        }
        head
    }
}

fn csv_field(text: &str) -> String {
    // A spreadsheet would take these for formulas; titles and shows are strangers' words.
    if text.starts_with(['=', '+', '-', '@']) {
        return format!("\"'{}\"", text.replace('"', "\"\""));
    }
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_keeps_bases_apart_and_quotes() {
        let counts = Counts {
            decisions: 3,
            impressions: ByBasis {
                delivered: 2,
                played: 1,
            },
            ..Counts::default()
        };
        let row = Row {
            advertiser: "a".into(),
            campaign: "c".into(),
            flight: "f".into(),
            creative: "x".into(),
            title: "Say \"hi\", twice".into(),
            currency: "USD".into(),
            spend_micros: Micros(50_000),
            payout_micros: Micros(35_000),
            counts,
        };
        let csv = Report {
            rows: vec![row],
            ..Report::default()
        }
        .to_csv();
        let lines: Vec<_> = csv.split_terminator("\r\n").collect();
        assert!(
            lines[0]
                .starts_with("advertiser,campaign,flight,creative,title,decisions,impressions_delivered,")
        );
        assert!(lines[1].starts_with("a,c,f,x,\"Say \"\"hi\"\", twice\",3,2,1,0,0,"));
        assert!(lines[1].ends_with(",0,USD,0.050000,0.035000"));
    }
}
