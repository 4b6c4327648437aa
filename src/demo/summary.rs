//! What the demo says at the end: the table for people, the object for programs, and the page that is kept.
//!
//! Pure: finished viewers and counters in, text out.

use std::fmt::Write as _;

use indicatif::DecimalBytes;
use serde::Serialize;
use serde_json::Value;

use super::timeline::escape;
use super::viewers::Finished;

/// One line of the ad server's report, with the two bases apart.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CreativeRow {
    pub(crate) creative: String,
    pub(crate) advertiser: String,
    pub(crate) delivered: u64,
    pub(crate) played: u64,
}

/// The demo's result, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Each viewer's `complete` object.
    pub(crate) viewers: Vec<Value>,
    /// Content bytes that left the publisher's web server.
    pub(crate) origin_bytes: u64,
    /// What as many plain downloads would have cost it.
    pub(crate) plain_bytes: u64,
    /// 1 − origin ÷ delivered content bytes.
    pub(crate) offload: f64,
    /// Impressions that the ad server counted, both bases together in no number: `delivered` here, see `report` for each.
    pub(crate) impressions: u64,
    /// Ads that were spliced into the viewers' files.
    pub(crate) spliced_ads: u64,
    /// The ad server's report by creative.
    pub(crate) report: Vec<CreativeRow>,
}

impl Summary {
    pub(crate) fn new(viewers: &[Finished], origin_bytes: u64, report: Vec<CreativeRow>) -> Self {
        let plain_bytes = viewers
            .iter()
            .map(|viewer| viewer.complete.content_bytes)
            .sum::<u64>();
        Self {
            viewers: viewers.iter().map(|viewer| viewer.raw.clone()).collect(),
            origin_bytes,
            plain_bytes,
            offload: 1.0 - origin_bytes as f64 / plain_bytes.max(1) as f64,
            impressions: report.iter().map(|row| row.delivered).sum(),
            spliced_ads: viewers
                .iter()
                .map(|viewer| viewer.complete.ads.len() as u64)
                .sum(),
            report,
        }
    }

    /// Copies of the file that left the origin.
    pub(crate) fn copies(&self) -> f64 {
        self.origin_bytes as f64 * self.viewers.len() as f64 / self.plain_bytes.max(1) as f64
    }
}

const HEAD: [&str; 6] = [
    "viewer",
    "from origin",
    "from peers",
    "wasted",
    "seconds",
    "ads: cue, start in the file, gain",
];

fn rows(viewers: &[Finished]) -> Vec<[String; 6]> {
    viewers
        .iter()
        .map(|viewer| {
            let complete = &viewer.complete;
            let ads: Vec<String> = complete.ads.iter().map(ad).collect();
            [
                viewer.name.clone(),
                DecimalBytes(complete.from_origin).to_string(),
                DecimalBytes(complete.from_peers).to_string(),
                DecimalBytes(complete.wasted).to_string(),
                format!("{:.1}", complete.seconds),
                ads.join("\n"),
            ]
        })
        .collect()
}

fn ad(row: &super::viewers::AdRow) -> String {
    let limited = if row.limited_db > 0.05 {
        format!(" (limited {:.1} dB)", row.limited_db)
    } else {
        String::new()
    };
    format!(
        "{} at {}, {}, {:+.1} dB{limited}",
        row.advertiser.as_deref().unwrap_or(&row.ad_id),
        clock(row.cue),
        clock(row.start),
        row.gain_db
    )
}

fn clock(seconds: f64) -> String {
    let minutes = (seconds / 60.0).floor();
    format!("{minutes:.0}:{:04.1}", seconds - minutes * 60.0)
}

/// The table for a terminal.
pub(crate) fn text(summary: &Summary, viewers: &[Finished]) -> String {
    let rows = rows(viewers);
    let mut widths = HEAD.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.lines().map(|line| line.chars().count()).max().unwrap_or(0));
        }
    }
    let mut out = String::new();
    let mut line = |cells: [&str; 6]| {
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let _ = if index == 0 || index == 5 {
                write!(out, "{cell:<width$}  ")
            } else {
                write!(out, "{cell:>width$}  ")
            };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    };
    line(HEAD);
    for row in &rows {
        let mut ads = row[5].lines();
        line([
            &row[0],
            &row[1],
            &row[2],
            &row[3],
            &row[4],
            ads.next().unwrap_or("none"),
        ]);
        for more in ads {
            line(["", "", "", "", "", more]);
        }
    }
    let _ = write!(
        out,
        "\nThe publisher's web server sent {} of content, {:.2} copies for {} viewers; plain downloads would have cost {}.\n\
         Offload {:.0} %.\n\nThe ad server counted (delivered and played are never added up):\n",
        DecimalBytes(summary.origin_bytes),
        summary.copies(),
        summary.viewers.len(),
        DecimalBytes(summary.plain_bytes),
        summary.offload * 100.0
    );
    for row in &summary.report {
        let _ = writeln!(
            out,
            "  {:<32} {:<28} delivered {:>3}   played {:>3}",
            row.creative, row.advertiser, row.delivered, row.played
        );
    }
    out
}

/// The page that `--keep` leaves: the table, the picture, the ad server's report.
pub(crate) fn html(summary: &Summary, viewers: &[Finished], picture: &str) -> String {
    let mut out = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Grove demo</title>\n<style>\n\
         body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem;color:#0f172a}\n\
         table{border-collapse:collapse;margin:1rem 0}th,td{text-align:left;vertical-align:top;padding:.3rem .9rem;border-bottom:1px solid #cbd5e1}\n\
         td.n{text-align:right;font-variant-numeric:tabular-nums}svg{max-width:100%;height:auto}\n</style>\n<h1>Grove demo</h1>\n",
    );
    let _ = writeln!(
        out,
        "<p>The publisher's web server sent <b>{}</b> of content: <b>{:.2} copies</b> for {} viewers, where plain downloads cost {}. \
         Offload <b>{:.0}&nbsp;%</b>.</p>",
        DecimalBytes(summary.origin_bytes),
        summary.copies(),
        summary.viewers.len(),
        DecimalBytes(summary.plain_bytes),
        summary.offload * 100.0
    );
    out.push_str("<h2>Viewers</h2>\n<table>\n<tr>");
    for head in HEAD {
        let _ = write!(out, "<th>{}</th>", escape(head));
    }
    out.push_str("</tr>\n");
    for row in rows(viewers) {
        out.push_str("<tr>");
        for (index, cell) in row.iter().enumerate() {
            let class = if (1..5).contains(&index) {
                " class=\"n\""
            } else {
                ""
            };
            let _ = write!(out, "<td{class}>{}</td>", escape(cell).replace('\n', "<br>"));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n<h2>Timelines</h2>\n");
    out.push_str(picture);
    out.push_str(
        "<h2>What the ad server counted</h2>\n<p>Delivered and played are different facts and are never added up.</p>\n\
         <table>\n<tr><th>creative</th><th>advertiser</th><th>delivered</th><th>played</th></tr>\n",
    );
    for row in &summary.report {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape(&row.creative),
            escape(&row.advertiser),
            row.delivered,
            row.played
        );
    }
    out.push_str("</table>\n</html>\n");
    out
}
