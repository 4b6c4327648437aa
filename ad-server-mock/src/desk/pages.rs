//! The desk's pages: data in, HTML out. Everything that comes from outside is escaped by the template.
//!
//! Not for who may see what: pages are given only what their visitor may see.

use maud::{DOCTYPE, Markup, html};

use super::chart::{against, by_day};
use super::forms;
use super::words::Language;
use crate::catalog::{Campaign, Creative, Flight};
use crate::clock::{DAY, UnixMillis, date_of};
use crate::money::Micros;
use crate::report::{Counts, Report, Requests, Slice};

/// What every page shows.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) language: Language,
    /// Who is logged in.
    pub(super) name: String,
    /// What every form carries.
    pub(super) word: String,
    /// Whether this visitor may change campaigns.
    pub(super) changes: bool,
    /// Whether this visitor may change shows, publishers or advertisers.
    pub(super) settings: bool,
}

/// A campaign as the overview lists it.
#[derive(Debug, Clone)]
pub(super) struct CampaignLine {
    pub(super) campaign: Campaign,
    pub(super) advertiser: String,
    pub(super) committed: Micros,
    pub(super) flights: Vec<FlightLine>,
}

/// A flight, what it served, and its creatives.
#[derive(Debug, Clone)]
pub(super) struct FlightLine {
    pub(super) flight: Flight,
    pub(super) served: i64,
    pub(super) creatives: Vec<Creative>,
}

fn document(language: Language, title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(language.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Grove Ads" }
                link rel="stylesheet" href="/desk/style.css";
            }
            body { (body) }
        }
    }
}

pub(super) fn page(frame: &Frame, title: &str, main: &Markup) -> Markup {
    let l = frame.language;
    let body = html! {
        header {
            a class="name" href="/desk" { "Grove Ads" }
            nav {
                a href="/desk" { (l.say("Overview")) }
                a href="/desk/creatives" { (l.say("Creatives")) }
                a href="/desk/reports" { (l.say("Reports")) }
                @if frame.settings { a href="/desk/settings" { (l.say("Settings")) } }
            }
            div class="who" {
                (languages(l))
                form method="post" action="/desk/logout" {
                    (word(frame))
                    span { (frame.name) } " "
                    button class="quiet" { (l.say("Log out")) }
                }
            }
        }
        main { h1 { (title) } (main) }
    };
    document(l, title, &body)
}

/// The languages, the present one marked.
fn languages(now: Language) -> Markup {
    let link = |l: Language, name: &str| {
        let now = (l == now).then_some("true");
        html! { a href=(format!("/desk/language/{}", l.code())) lang=(l.code()) aria-current=[now] { (name) } }
    };
    html! { span { (link(Language::English, "English")) " · " (link(Language::Spanish, "Español")) } }
}

/// What shows that a form is from a page of this session.
pub(super) fn word(frame: &Frame) -> Markup {
    html! { input type="hidden" name="word" value=(frame.word); }
}

/// The page that asks for a token.
pub(super) fn login(language: Language, wrong: bool) -> Markup {
    let body = html! {
        main class="login" {
            h1 { "Grove Ads" }
            p { (language.say("Your token opens the desk. It is never shown again.")) }
            @if wrong { p class="wrong" role="alert" { (language.say("That token is not known.")) } }
            form method="post" action="/desk/login" {
                label { (language.say("Token")) input type="password" name="token" autocomplete="current-password" required; }
                button { (language.say("Log in")) }
            }
            p { (languages(language)) }
        }
    };
    document(language, language.say("Log in"), &body)
}

/// A sentence instead of a page.
pub(super) fn refused(language: Language, reason: &str) -> Markup {
    document(
        language,
        "Grove Ads",
        &html! {
            main class="login" {
                h1 { "Grove Ads" }
                p class="wrong" role="alert" { (reason) }
                p { a href="/desk" { (language.say("Overview")) } }
            }
        },
    )
}

/// Totals, the last days as a chart, campaigns with delivery against goal.
pub(super) fn overview(
    frame: &Frame,
    report: &Report,
    campaigns: &[CampaignLine],
    advertisers: &[(String, String)],
) -> Markup {
    let l = frame.language;
    page(
        frame,
        l.say("Overview"),
        &html! {
            (numbers(l, report))
            (chart(l, &report.days))
            h2 { (l.say("Campaigns")) }
            @if campaigns.is_empty() { p { (l.say("No campaigns yet.")) } }
            @for campaign in campaigns.iter().filter(|c| !c.campaign.archived) {
                section class="card" {
                    h3 { a href=(format!("/desk/campaigns/{}", campaign.campaign.id)) { (campaign.campaign.name) } " " small { (campaign.advertiser) } }
                    (budget(l, campaign))
                    (flights(frame, campaign, false))
                }
            }
            @if campaigns.iter().any(|c| c.campaign.archived) {
                details class="card" {
                    summary { (l.say("Archived")) }
                    ul { @for campaign in campaigns.iter().filter(|c| c.campaign.archived) {
                        li { a href=(format!("/desk/campaigns/{}", campaign.campaign.id)) { (campaign.campaign.name) } " " small { (campaign.advertiser) } }
                    } }
                }
            }
            @if frame.changes && !advertisers.is_empty() {
                details class="card" {
                    summary { (l.say("Add a campaign")) }
                    form method="post" action="/desk/campaigns" {
                        (word(frame))
                        label { (l.say("Advertiser"))
                            select name="advertiser" { @for (id, name) in advertisers { option value=(id) { (name) } } }
                        }
                        label { "Id" input name="id" required pattern="[A-Za-z0-9._\\-]{1,64}"; }
                        label { (l.say("Name")) input name="name" required maxlength="200"; }
                        label { (l.say("Budget")) input name="budget" type="number" min="0" step="0.01"; }
                        label { (l.say("Currency")) input name="currency" value="USD" pattern="[A-Z]{3}"; }
                        button { (l.say("Add a campaign")) }
                    }
                }
            }
        },
    )
}

fn budget(l: Language, campaign: &CampaignLine) -> Markup {
    html! {
        p class="budget" {
            (l.say("Spent and reserved")) ": " (money(campaign.committed)) " " (campaign.campaign.currency) " / "
            @match campaign.campaign.budget {
                Some(budget) => { (money(budget)) " " (campaign.campaign.currency) }
                None => { (l.say("without limit")) }
            }
        }
    }
}

fn flights(frame: &Frame, campaign: &CampaignLine, whole: bool) -> Markup {
    let l = frame.language;
    html! {
        table {
            thead { tr {
                th { (l.say("Flight")) } th { (l.say("State")) } th { (l.say("Starts")) } th { (l.say("Ends")) }
                th { (l.say("Pacing")) } th { (l.say("Priority")) } th { (l.say("Price per thousand")) }
                th { (l.say("Served")) }
                @if whole { th {} }
            } }
            tbody {
                @for line in campaign.flights.iter().filter(|f| whole || !f.flight.archived) {
                    @let f = &line.flight;
                    tr class=[f.archived.then_some("archived")] {
                        td { (f.name) }
                        td { @if f.archived { (l.say("Archived")) } @else if f.paused { (l.say("Paused")) } @else { (l.say("Running")) } }
                        td { (date(f.starts)) } td { (last_day(f.ends)) }
                        td { (pacing(l, f)) } td { (f.priority) } td { (f.price.per_thousand()) }
                        td {
                            @match f.goal {
                                Some(goal) => { (against(line.served, goal, l.say("of the goal"))) }
                                None => { (line.served) }
                            }
                        }
                        @if whole {
                            td {
                                a href=(format!("/desk/flights/{}", f.id)) { (l.say("Change")) } " "
                                @if !f.archived { form class="inline" method="post" action=(format!("/desk/flights/{}/pause", f.id)) {
                                    (word(frame))
                                    input type="hidden" name="paused" value=(if f.paused { "no" } else { "yes" });
                                    button class="quiet" { (if f.paused { l.say("Resume") } else { l.say("Pause") }) }
                                } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn pacing(l: Language, flight: &Flight) -> &'static str {
    match flight.pacing.as_str() {
        "even" => l.say("even"),
        "daily" => l.say("daily"),
        _ => l.say("fast"),
    }
}

/// One campaign: its flights, their creatives, and what came of them.
pub(super) fn campaign(frame: &Frame, campaign: &CampaignLine, report: &Report) -> Markup {
    let l = frame.language;
    page(
        frame,
        &campaign.campaign.name,
        &html! {
            p { (campaign.advertiser) @if campaign.campaign.archived { " · " (l.say("Archived")) } }
            (budget(l, campaign))
            @if frame.changes { (forms::campaign(frame, &campaign.campaign)) }
            (numbers(l, report))
            (chart(l, &report.days))
            h2 { (l.say("Flights")) }
            p class="note" { (l.say("What is played is decided by priority, pace and turn.")) }
            (flights(frame, campaign, frame.changes))
            @if frame.changes && !campaign.campaign.archived {
                details class="card" {
                    summary { (l.say("Add a flight")) }
                    form method="post" action="/desk/flights" {
                        (word(frame))
                        input type="hidden" name="campaign" value=(campaign.campaign.id);
                        label { "Id" input name="id" required pattern="[A-Za-z0-9._\\-]{1,64}"; }
                        label { (l.say("Name")) input name="name" required maxlength="200"; }
                        label { (l.say("Starts")) input type="date" name="starts"; }
                        label { (l.say("Ends")) input type="date" name="ends"; }
                        label { (l.say("Goal")) input type="number" name="goal" min="1"; }
                        label { (l.say("Price per thousand")) input type="number" name="price" min="0" step="0.001" required; }
                        label { (l.say("Priority")) input type="number" name="priority" min="1" max="16" value="8"; }
                        label { (l.say("Pacing"))
                            select name="pacing" {
                                option value="" { "–" }
                                option value="even" { (l.say("even")) }
                                option value="daily" { (l.say("daily")) }
                                option value="fast" { (l.say("fast")) }
                            }
                        }
                        button { (l.say("Add a flight")) }
                    }
                }
            }
            h2 { (l.say("Creatives")) }
            @for line in &campaign.flights {
                section class="card" {
                    h3 { (line.flight.name) }
                    (creative_list(frame, &line.creatives))
                    @if frame.changes && !line.flight.archived {
                        form class="upload" method="post" enctype="multipart/form-data"
                            action=(format!("/desk/flights/{}/creatives", line.flight.id)) {
                            (word(frame))
                            label { (l.say("File")) input type="file" name="file" required accept="audio/*,video/*"; }
                            label { (l.say("Title")) input name="title" maxlength="200"; }
                            label { (l.say("Link")) input type="url" name="click_through"; }
                            button { (l.say("Upload")) }
                        }
                    }
                }
            }
        },
    )
}

/// All creatives that a visitor sees.
pub(super) fn creatives(frame: &Frame, all: &[Creative]) -> Markup {
    let l = frame.language;
    page(frame, l.say("Creatives"), &creative_list(frame, all))
}

/// What plays a creative.
pub(super) fn player(l: Language, c: &Creative) -> Markup {
    let file = format!("/creatives/{}", c.sha256);
    html! {
        @if c.tag.is_some() { (l.say("another server's tag")) }
        @else if c.kind() == "audio" { audio controls preload="none" src=(file) {} }
        @else { video controls preload="none" width="240" src=(file) {} }
    }
}

fn creative_list(frame: &Frame, all: &[Creative]) -> Markup {
    let l = frame.language;
    html! {
        table {
            thead { tr {
                th { (l.say("Title")) } th {} th { (l.say("Duration")) } th { (l.say("Loudness")) }
                th { (l.say("True peak")) } th { "SHA-256" } @if frame.changes { th {} }
            } }
            tbody {
                @for c in all {
                    tr class=[c.archived.then_some("archived")] {
                        td { (c.title) @if c.archived { " · " (l.say("Archived")) } }
                        td { (player(l, c)) }
                        td { (format!("{:.1} s", c.duration as f64 / 1000.0)) }
                        td { (measured(c.loudness, "LUFS")) }
                        td { (measured(c.true_peak, "dBTP")) }
                        td { code { (c.sha256.get(..12).unwrap_or_default()) } }
                        @if frame.changes { td { a href=(format!("/desk/creatives/{}", c.id)) { (l.say("Change")) } } }
                    }
                }
            }
        }
    }
}

fn measured(hundredths: Option<i64>, unit: &str) -> String {
    hundredths.map_or_else(|| "–".to_owned(), |n| format!("{:.1} {unit}", n as f64 / 100.0))
}

/// The report of some days: by day, show and creative.
pub(super) fn reports(frame: &Frame, report: &Report, from: &str, to: &str) -> Markup {
    let l = frame.language;
    let csv = |by: &str| format!("/desk/report.csv?from={from}&to={to}&by={by}");
    page(
        frame,
        l.say("Reports"),
        &html! {
            form class="line" method="get" action="/desk/reports" {
                label { (l.say("From")) input type="date" name="from" value=(from); }
                label { (l.say("To")) input type="date" name="to" value=(to); }
                button { (l.say("Show the report")) }
            }
            p class="note" { (l.say("Days start at midnight UTC.")) }
            (numbers(l, report))
            (chart(l, &report.days))
            p class="note" { (l.say("Delivered is the whole ad in a file that arrived, as the client reports it; played is the player's own report.")) }
            h2 { (l.say("By day")) }
            (slices(l, l.say("Day"), &report.days))
            p { a href=(csv("day")) { (l.say("Save as CSV")) } }
            h2 { (l.say("By show")) }
            (slices(l, l.say("Show"), &report.shows))
            p { a href=(csv("show")) { (l.say("Save as CSV")) } }
            h2 { (l.say("By creative")) }
            div class="wide" { table class="counts" {
                thead { tr { th { (l.say("Campaign")) } th { (l.say("Creative")) } (count_heads(l)) th { (l.say("Spend")) } th { (l.say("Payout")) } } }
                tbody {
                    @for row in &report.rows {
                        tr {
                            td { (row.campaign) } td { (row.title) } (count_cells(&row.counts))
                            td { (money(row.spend_micros)) " " (row.currency) } td { (money(row.payout_micros)) " " (row.currency) }
                        }
                    }
                }
            } }
            p { a href=(csv("creative")) { (l.say("Save as CSV")) } }
            @if !report.errors_by_code.is_empty() {
                h2 { (l.say("Errors by code")) }
                (reasons(l, report.errors_by_code.iter()))
            }
            @if !report.invalid_traffic.is_empty() {
                h2 { (l.say("Invalid traffic")) }
                (reasons(l, report.invalid_traffic.iter()))
            }
        },
    )
}

fn reasons<'a>(l: Language, all: impl Iterator<Item = (&'a String, &'a u64)>) -> Markup {
    html! {
        table class="narrow" {
            thead { tr { th { (l.say("Reason")) } th {} } }
            tbody { @for (reason, n) in all { tr { td { (reason) } td { (n) } } } }
        }
    }
}

fn count_heads(l: Language) -> Markup {
    html! {
        th { (l.say("Decisions")) } th { (l.say("Delivered")) } th { (l.say("Played")) }
        th { (l.say("Played with proof")) } th { (l.say("First quartile")) } th { (l.say("Midpoint")) }
        th { (l.say("Third quartile")) } th { (l.say("Completed")) } th { (l.say("Errors")) }
    }
}

fn count_cells(c: &Counts) -> Markup {
    html! {
        td { (c.decisions) } td { (c.impressions.delivered) } td { (c.impressions.played) } td { (c.proved.played) }
        td { (c.first_quartile.played) } td { (c.midpoint.played) } td { (c.third_quartile.played) }
        td { (c.complete.played) } td { (c.errors.delivered + c.errors.played) }
    }
}

fn slices(l: Language, key: &str, all: &[Slice]) -> Markup {
    if all.is_empty() {
        return html! { p { (l.say("Nothing in these days.")) } };
    }
    html! {
        div class="wide" { table class="counts" {
            thead { tr {
                th { (key) } th { (l.say("Requests")) } th { (l.say("Fill")) } (count_heads(l))
                th { (l.say("Spend")) } th { (l.say("Payout")) }
            } }
            tbody {
                @for slice in all {
                    tr {
                        td { @if slice.key.is_empty() { (l.say("no show")) } @else { (slice.key) } }
                        td { (slice.requests.asked) } td { (fill(slice.requests)) }
                        (count_cells(&slice.counts))
                        td { (amounts(&slice.spend_micros)) } td { (amounts(&slice.payout_micros)) }
                    }
                }
            }
        } }
    }
}

fn numbers(l: Language, report: &Report) -> Markup {
    let t = &report.totals;
    let number = |name: &str, value: String| html! { div { strong { (value) } span { (name) } } };
    html! {
        div class="numbers" {
            @if report.requests.asked > 0 {
                (number(l.say("Requests"), report.requests.asked.to_string()))
                (number(l.say("Fill"), fill(report.requests)))
            }
            (number(l.say("Decisions"), t.decisions.to_string()))
            (number(l.say("Delivered"), t.impressions.delivered.to_string()))
            (number(l.say("Played"), t.impressions.played.to_string()))
            (number(l.say("Played with proof"), t.proved.played.to_string()))
            (number(l.say("Completed"), t.complete.played.to_string()))
            (number(l.say("Billed"), t.billed.to_string()))
            (number(l.say("Spend"), amounts(&report.spend_micros)))
            (number(l.say("Payout"), amounts(&report.payout_micros)))
        }
    }
}

fn chart(l: Language, days: &[Slice]) -> Markup {
    let from = days.len().saturating_sub(60);
    let days: Vec<_> = days[from..]
        .iter()
        .map(|d| {
            (
                d.key.clone(),
                [d.counts.impressions.delivered, d.counts.impressions.played],
            )
        })
        .collect();
    if days.iter().all(|(_, n)| *n == [0, 0]) {
        return html! { p class="card" { (l.say("No impressions in these days.")) } };
    }
    by_day(
        l.say("Impressions by day"),
        [l.say("Delivered"), l.say("Played")],
        &days,
    )
}

fn fill(requests: Requests) -> String {
    format!(
        "{:.0} %",
        requests.filled as f64 * 100.0 / requests.asked.max(1) as f64
    )
}

/// To a hundredth, for people; exports have all of it.
fn money(amount: Micros) -> String {
    format!("{:.2}", amount.0 as f64 / 1e6)
}

fn amounts(all: &std::collections::BTreeMap<String, Micros>) -> String {
    let all: Vec<_> = all
        .iter()
        .filter(|(_, m)| m.0 != 0)
        .map(|(c, m)| format!("{} {c}", money(*m)))
        .collect();
    if all.is_empty() {
        "0".to_owned()
    } else {
        all.join(" + ")
    }
}

fn date(at: Option<UnixMillis>) -> String {
    at.map_or_else(|| "–".to_owned(), |t| date_of(t.div_euclid(DAY)))
}

/// The last day of something that ends at an instant.
fn last_day(at: Option<UnixMillis>) -> String {
    date(at.map(|t| t - 1))
}
