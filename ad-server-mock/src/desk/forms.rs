//! The desk's forms for changing what is there: data in, HTML out, every field as it is now.
//!
//! Not for taking what they send: that is `edit`.

use maud::{Markup, html};

use super::pages::{Frame, page, word};
use super::words::Language;
use crate::catalog::{Advertiser, Campaign, Creative, Flight, Publisher, Separation, Show};
use crate::clock::{DAY, UnixMillis, date_of};

/// An instant as a form has it: UTC, to the second.
fn instant(at: Option<UnixMillis>) -> String {
    at.map_or_else(String::new, |at| {
        let s = at.rem_euclid(DAY) / 1000;
        format!(
            "{}T{:02}:{:02}:{:02}",
            date_of(at.div_euclid(DAY)),
            s / 3600,
            s / 60 % 60,
            s % 60
        )
    })
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(String::new, |v| v.to_string())
}

fn choice(l: Language, name: &str, now: &str, all: &[&'static str]) -> Markup {
    html! {
        select name=(name) {
            @for value in all { option value=(value) selected[*value == now] { (l.say(value)) } }
        }
    }
}

/// The button that takes something out of use, or brings it back.
pub(super) fn archive(frame: &Frame, path: &str, archived: bool) -> Markup {
    let l = frame.language;
    html! {
        form class="archive" method="post" action=(format!("{path}/archive")) {
            (word(frame))
            input type="hidden" name="archived" value=(if archived { "no" } else { "yes" });
            button class="quiet" { (if archived { l.say("Restore") } else { l.say("Archive") }) }
        }
    }
}

fn archive_note(l: Language) -> Markup {
    html! { p class="note" { (l.say("What is archived is not decided any more. Its reports stay, and it can be restored.")) } }
}

/// Changes of a campaign, on its page.
pub(super) fn campaign(frame: &Frame, c: &Campaign) -> Markup {
    let l = frame.language;
    let path = format!("/desk/campaigns/{}", c.id);
    html! {
        details class="card" id="edit" {
            summary { (l.say("Change the campaign")) }
            form method="post" action=(path) {
                (word(frame))
                label { (l.say("Name")) input name="name" required maxlength="200" value=(c.name); }
                label { (l.say("Budget")) input name="budget" type="number" min="0" step="any" value=(shown(c.budget.map(|b| b.0 as f64 / 1e6))); }
                label { (l.say("Currency")) input name="currency" required pattern="[A-Z]{3}" value=(c.currency); }
                button { (l.say("Save")) }
            }
            (archive_note(l))
            (archive(frame, &path, c.archived))
        }
    }
}

/// All of a flight.
pub(super) fn flight(frame: &Frame, f: &Flight) -> Markup {
    let l = frame.language;
    let path = format!("/desk/flights/{}", f.id);
    let list = |name: &'static str, all: &[String], label: &'static str, such_as: &'static str| html! { label { (label) input name=(name) value=(all.join(", ")) maxlength="2000" placeholder=(such_as); } };
    let t = &f.targeting;
    page(
        frame,
        &f.name,
        &html! {
            p { a href=(format!("/desk/campaigns/{}", f.campaign_id)) { (l.say("Back to the campaign")) } }
            form class="card" method="post" action=(path) {
                (word(frame))
                label { (l.say("Name")) input name="name" required maxlength="200" value=(f.name); }
                label { (l.say("Starts")) " (UTC)" input type="datetime-local" step="1" name="starts" value=(instant(f.starts)); }
                label { (l.say("Ends")) " (UTC)" input type="datetime-local" step="1" name="ends" value=(instant(f.ends)); }
                label { (l.say("Goal")) input type="number" name="goal" min="1" value=(shown(f.goal)); }
                label { (l.say("Never more than")) input type="number" name="cap" min="1" value=(shown(f.cap)); }
                label { (l.say("Price per thousand")) input type="number" name="price" min="0" step="0.001" required value=(f.price.per_thousand()); }
                label { (l.say("Priority")) input type="number" name="priority" min="1" max="16" value=(f.priority); }
                label { (l.say("Pacing")) (choice(l, "pacing", f.pacing.as_str(), &["even", "daily", "fast"])) }
                label { (l.say("Kind")) (choice(l, "kind", f.kind.as_str(), &["spot", "sponsorship"])) }
                fieldset {
                    legend { (l.say("For one listener at most")) }
                    label { (l.say("Times")) input type="number" name="frequency_count" min="1" value=(shown(f.frequency.map(|f| f.count))); }
                    label { (l.say("Within hours")) input type="number" name="frequency_hours" min="0.01" step="any" value=(shown(f.frequency.map(|f| f.millis as f64 / 3.6e6))); }
                }
                fieldset {
                    legend { (l.say("Only here (lists with commas; nothing is everywhere)")) }
                    (list("shows", &t.shows, l.say("Shows"), ""))
                    (list("episodes", &t.episodes, l.say("Episodes"), ""))
                    (list("positions", &t.positions, l.say("Positions"), "preroll, midroll, postroll"))
                    (list("countries", &t.countries, l.say("Countries"), "ES, MX"))
                    (list("devices", &t.devices, l.say("Devices"), ""))
                    (list("types", &t.types, l.say("Audio or video"), "audio"))
                }
                button { (l.say("Save")) }
            }
            (archive_note(l))
            (archive(frame, &path, f.archived))
        },
    )
}

/// What is said about a creative.
pub(super) fn creative(frame: &Frame, c: &Creative, campaign: &str, player: &Markup) -> Markup {
    let l = frame.language;
    let path = format!("/desk/creatives/{}", c.id);
    page(
        frame,
        &c.title,
        &html! {
            p { a href=(format!("/desk/campaigns/{campaign}")) { (l.say("Back to the campaign")) } }
            p { (player) }
            form class="card" method="post" action=(path) {
                (word(frame))
                label { (l.say("Title")) input name="title" required maxlength="200" value=(c.title); }
                label { (l.say("Weight")) input type="number" name="weight" min="1" max="1000" required value=(c.weight); }
                label { (l.say("Link")) input type="url" name="click_through" value=(shown(c.click_through.as_ref())); }
                label { (l.say("May be skipped after seconds")) input type="number" name="skip_after" min="0" max="3600" step="0.001" value=(shown(c.skip_after.map(|s| s as f64 / 1000.0))); }
                button { (l.say("Save")) }
            }
            dl {
                dt { "SHA-256" } dd { code { (c.sha256) } }
                @if let Some(hash) = &c.info_hash {
                    dt { (l.say("In the swarm")) }
                    dd { a href=(format!("/creatives/{}.torrent", c.sha256)) { ".torrent" } " " code { (hash) } }
                }
            }
            (archive_note(l))
            (archive(frame, &path, c.archived))
        },
    )
}

/// Who is in the settings: what this visitor may change of them.
pub(super) struct Settings {
    pub(super) advertisers: Vec<Advertiser>,
    pub(super) publishers: Vec<Publisher>,
    /// Whether publishers may be changed, and what shows are paid.
    pub(super) pays: bool,
    pub(super) shows: Vec<Show>,
}

/// A row of fields that is saved by itself; a new one has no id yet.
fn row(frame: &Frame, path: &str, id: Option<&str>, fields: &Markup) -> Markup {
    let l = frame.language;
    html! {
        form class="card line" method="post" action=(path) {
            (word(frame))
            @match id {
                Some(id) => { input type="hidden" name="id" value=(id); strong { (id) } " " }
                None => { label { "Id" input name="id" required pattern="[A-Za-z0-9._\\-]{1,64}"; } }
            }
            (fields)
            button class="quiet" { (if id.is_some() { l.say("Save") } else { l.say("Add") }) }
        }
    }
}

/// Shows with what may play in their breaks, publishers, advertisers.
pub(super) fn settings(frame: &Frame, s: &Settings) -> Markup {
    let l = frame.language;
    let show = |show: Option<&Show>| {
        html! {
            label { (l.say("Title")) input name="title" required maxlength="200" value=(show.map_or("", |s| s.title.as_str())); }
            label { (l.say("Publisher"))
                select name="publisher" {
                    @for p in &s.publishers { option value=(p.id) selected[show.is_some_and(|s| s.publisher_id == p.id)] { (p.name) } }
                }
            }
            label { (l.say("Competitors apart in"))
                select name="separation" {
                    @let now = show.map_or(Separation::Pod, |s| s.separation);
                    option value="pod" selected[now == Separation::Pod] { (l.say("a break")) }
                    option value="download" selected[now == Separation::Download] { (l.say("a whole download")) }
                }
            }
            label { (l.say("Categories that never play")) input name="blocked" value=(show.map_or_else(String::new, |s| s.blocked.join(", "))); }
            @if s.pays {
                label { (l.say("Share, %")) input type="number" name="share" min="0" max="100" step="0.01"
                    value=(shown(show.and_then(|s| s.share).map(|s| f64::from(s.0) / 100.0))); }
            }
        }
    };
    let publisher = |p: Option<&Publisher>| {
        html! {
            label { (l.say("Name")) input name="name" required maxlength="200" value=(p.map_or("", |p| p.name.as_str())); }
            label { (l.say("Share, %")) input type="number" name="share" required min="0" max="100" step="0.01"
                value=(shown(p.map(|p| f64::from(p.share.0) / 100.0))); }
        }
    };
    let advertiser = |a: Option<&Advertiser>| {
        html! {
            label { (l.say("Name")) input name="name" required maxlength="200" value=(a.map_or("", |a| a.name.as_str())); }
            label { (l.say("Domain")) input name="domain" maxlength="200" value=(shown(a.and_then(|a| a.domain.as_ref()))); }
            label { (l.say("Category")) input name="category" maxlength="200" value=(shown(a.and_then(|a| a.category.as_ref()))); }
        }
    };
    page(
        frame,
        l.say("Settings"),
        &html! {
            @if !s.publishers.is_empty() {
                h2 { (l.say("Shows")) }
                p class="note" { (l.say("What may play in the breaks of a show. Where its breaks are is in each episode's cue sheet.")) }
                @for one in &s.shows { (row(frame, "/desk/shows", Some(&one.id), &show(Some(one)))) }
                (row(frame, "/desk/shows", None, &show(None)))
            }
            @if s.pays {
                h2 { (l.say("Publishers")) }
                @for one in &s.publishers { (row(frame, "/desk/publishers", Some(&one.id), &publisher(Some(one)))) }
                (row(frame, "/desk/publishers", None, &publisher(None)))
                h2 { (l.say("Advertisers")) }
                @for one in &s.advertisers { (row(frame, "/desk/advertisers", Some(&one.id), &advertiser(Some(one)))) }
                (row(frame, "/desk/advertisers", None, &advertiser(None)))
            }
            @if s.publishers.is_empty() && !s.pays { p { (l.say("There is nothing here that you may change.")) } }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_forms_have_them() {
        assert_eq!(instant(None), "");
        assert_eq!(instant(Some(0)), "1970-01-01T00:00:00");
        assert_eq!(instant(Some(DAY + 3_723_999)), "1970-01-02T01:02:03");
    }
}
