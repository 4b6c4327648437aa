//! What the desk's forms change: campaigns, flights, creatives, shows, publishers, advertisers.
//!
//! Every form carries the word of its session, and ends in a redirect to where the change is seen. Who may change what, and
//! what is refused, is the API's to say. Not for how the forms look: see `forms`.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::forms::{self, Settings};
use super::pages::player;
use super::{Page, Refused, Visitor, html, number};
use crate::catalog::Targeting;
use crate::clock::{DAY, UnixMillis, day_of};
use crate::http::{
    AdvertiserBody, App, CampaignBody, CreativeChange, FlightBody, FrequencyBody, PublisherBody, Refusal,
    ShowBody, bad,
};
use crate::store::Shelf;
use crate::store::tokens::Role;

fn missing(what: &str) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, format!("no such {what}"))
}

/// A list with commas.
fn list(text: &str) -> Vec<String> {
    let parts = text.split(',').map(str::trim).filter(|t| !t.is_empty());
    parts.map(str::to_owned).collect()
}

/// What a `datetime-local` field sends, taken as UTC.
fn instant(name: &str, text: &str) -> Result<Option<UnixMillis>, Refusal> {
    let wrong = || bad(format!("{name}: {text:?} is not a time such as 2026-01-31T18:00"));
    if text.is_empty() {
        return Ok(None);
    }
    let (date, time) = text.split_once('T').ok_or_else(wrong)?;
    let day = day_of(date).ok_or_else(wrong)?;
    let mut seconds = 0;
    let parts: Vec<&str> = time.split(':').collect();
    if !(2..=3).contains(&parts.len()) {
        return Err(wrong());
    }
    for (part, (most, each)) in parts.into_iter().zip([(23, 3600), (59, 60), (59, 1)]) {
        let n: i64 = part
            .parse()
            .ok()
            .filter(|n| (0..=most).contains(n))
            .ok_or_else(wrong)?;
        seconds += n * each;
    }
    Ok(Some(day * DAY + seconds * 1000))
}

fn seen_at(path: &str) -> Response {
    Redirect::to(path).into_response()
}

#[derive(Deserialize)]
pub(super) struct CampaignForm {
    word: String,
    name: String,
    budget: String,
    currency: String,
}

pub(super) async fn campaign(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<CampaignForm>,
) -> Page {
    visitor.check(&app, &form.word)?;
    let done = async {
        let snapshot = app.ads.snapshot();
        let index = snapshot.campaign(&id).ok_or_else(|| missing("campaign"))?;
        let body = CampaignBody {
            name: form.name,
            budget: number("budget", &form.budget)?,
            currency: Some(form.currency),
            ..CampaignBody::from(&snapshot.campaigns[index.0].campaign)
        };
        app.put_campaign(&visitor.session.caller, &id, body).await
    };
    done.await.map_err(visitor.refused())?;
    Ok(seen_at(&format!("/desk/campaigns/{id}")))
}

pub(super) async fn flight_page(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Page {
    let snapshot = app.ads.snapshot();
    let owner = crate::http::owner_of_flight(&snapshot, &id);
    let changes = |owner: String| visitor.session.caller.changes_advertiser(&owner);
    owner.and_then(changes).map_err(visitor.refused())?;
    let index = snapshot
        .flight(&id)
        .ok_or_else(|| visitor.refused()(missing("flight")))?;
    Ok(html(forms::flight(
        &visitor.frame(),
        &snapshot.flights[index.0].flight,
    )))
}

#[derive(Deserialize)]
pub(super) struct FlightForm {
    word: String,
    name: String,
    starts: String,
    ends: String,
    goal: String,
    cap: String,
    price: String,
    priority: String,
    pacing: String,
    kind: String,
    frequency_count: String,
    frequency_hours: String,
    shows: String,
    episodes: String,
    positions: String,
    countries: String,
    devices: String,
    types: String,
}

pub(super) async fn flight(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<FlightForm>,
) -> Page {
    visitor.check(&app, &form.word)?;
    let done = async {
        let snapshot = app.ads.snapshot();
        let index = snapshot.flight(&id).ok_or_else(|| missing("flight"))?;
        let count = number("frequency_count", &form.frequency_count)?;
        let hours = number("frequency_hours", &form.frequency_hours)?;
        let frequency = match (count, hours) {
            (None, None) => None,
            (Some(count), Some(hours)) => Some(FrequencyBody { count, hours }),
            _ => return Err(bad("frequency: both a number of times and of hours are needed")),
        };
        let before = &snapshot.flights[index.0].flight;
        let body = FlightBody {
            name: form.name,
            starts: instant("starts", &form.starts)?,
            ends: instant("ends", &form.ends)?,
            goal: number("goal", &form.goal)?,
            cap: number("cap", &form.cap)?,
            price_per_thousand: number("price", &form.price)?
                .ok_or_else(|| bad("price: a number is needed"))?,
            priority: number("priority", &form.priority)?,
            pacing: Some(form.pacing),
            kind: Some(form.kind),
            frequency,
            targeting: Targeting {
                shows: list(&form.shows),
                episodes: list(&form.episodes),
                positions: list(&form.positions),
                countries: list(&form.countries),
                devices: list(&form.devices),
                types: list(&form.types),
            },
            ..FlightBody::from(before)
        };
        app.put_flight(&visitor.session.caller, &id, body).await?;
        Ok(before.campaign_id.clone())
    };
    let campaign = done.await.map_err(visitor.refused())?;
    Ok(seen_at(&format!("/desk/campaigns/{campaign}")))
}

pub(super) async fn creative_page(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Page {
    let snapshot = app.ads.snapshot();
    let found = snapshot.creative(&id).ok_or_else(|| missing("creative"));
    let index = found.map_err(visitor.refused())?;
    let entry = &snapshot.creatives[index.0];
    let flight = &snapshot.flights[entry.flight.0];
    let owner = &snapshot.campaigns[flight.campaign.0].campaign.advertiser_id;
    let may = visitor.session.caller.changes_advertiser(owner);
    may.map_err(visitor.refused())?;
    let player = player(visitor.language, &entry.creative);
    Ok(html(forms::creative(
        &visitor.frame(),
        &entry.creative,
        &flight.flight.campaign_id,
        &player,
    )))
}

#[derive(Deserialize)]
pub(super) struct CreativeForm {
    word: String,
    title: String,
    weight: String,
    click_through: String,
    skip_after: String,
}

pub(super) async fn creative(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<CreativeForm>,
) -> Page {
    visitor.check(&app, &form.word)?;
    let done = async {
        let change = CreativeChange {
            title: Some(form.title),
            weight: number("weight", &form.weight)?,
            click_through: Some(form.click_through),
            skip_after: number("skip_after", &form.skip_after)?.into(),
        };
        app.change_creative(&visitor.session.caller, &id, change).await
    };
    let campaign = done.await.map_err(visitor.refused())?;
    Ok(seen_at(&format!("/desk/campaigns/{campaign}")))
}

#[derive(Deserialize)]
pub(super) struct ArchiveForm {
    word: String,
    archived: String,
}

async fn archive(app: &App, visitor: &Visitor, what: Shelf, id: &str, form: &ArchiveForm) -> Page {
    visitor.check(app, &form.word)?;
    let done = app.archive(&visitor.session.caller, what, id, form.archived == "yes");
    let campaign = done.await.map_err(visitor.refused())?;
    Ok(seen_at(&format!("/desk/campaigns/{campaign}")))
}

pub(super) async fn archive_campaign(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<ArchiveForm>,
) -> Page {
    archive(&app, &visitor, Shelf::Campaign, &id, &form).await
}

pub(super) async fn archive_flight(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<ArchiveForm>,
) -> Page {
    archive(&app, &visitor, Shelf::Flight, &id, &form).await
}

pub(super) async fn archive_creative(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<ArchiveForm>,
) -> Page {
    archive(&app, &visitor, Shelf::Creative, &id, &form).await
}

pub(super) async fn settings(State(app): State<Arc<App>>, visitor: Visitor) -> Page {
    let caller = &visitor.session.caller;
    let snapshot = app.ads.snapshot();
    let changes = |id: &str| caller.changes_publisher(id).is_ok();
    let pays = caller.role == Role::Admin;
    let settings = Settings {
        advertisers: if pays {
            snapshot.advertisers.clone()
        } else {
            Vec::new()
        },
        publishers: snapshot
            .publishers()
            .filter(|p| changes(&p.id))
            .cloned()
            .collect(),
        pays,
        shows: snapshot
            .shows()
            .filter(|s| changes(&s.publisher_id))
            .cloned()
            .collect(),
    };
    Ok(html(forms::settings(&visitor.frame(), &settings)))
}

/// Takes a form of the settings.
async fn change<F: Future<Output = Result<(), Refusal>>>(
    app: &App,
    visitor: &Visitor,
    word: &str,
    change: F,
) -> Result<Response, Refused> {
    visitor.check(app, word)?;
    change.await.map_err(visitor.refused())?;
    Ok(seen_at("/desk/settings"))
}

#[derive(Deserialize)]
pub(super) struct ShowForm {
    word: String,
    id: String,
    title: String,
    publisher: String,
    separation: String,
    blocked: String,
    #[serde(default)]
    share: String,
}

pub(super) async fn show(State(app): State<Arc<App>>, visitor: Visitor, Form(form): Form<ShowForm>) -> Page {
    let put = async {
        let body = ShowBody {
            id: String::new(),
            publisher: form.publisher,
            title: form.title,
            share: number("share", &form.share)?,
            blocked: list(&form.blocked),
            separation: Some(form.separation),
        };
        app.put_show(&visitor.session.caller, &form.id, body).await
    };
    change(&app, &visitor, &form.word, put).await
}

#[derive(Deserialize)]
pub(super) struct PublisherForm {
    word: String,
    id: String,
    name: String,
    share: String,
}

pub(super) async fn publisher(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Form(form): Form<PublisherForm>,
) -> Page {
    let put = async {
        let body = PublisherBody {
            id: String::new(),
            name: form.name,
            share: number("share", &form.share)?.ok_or_else(|| bad("share: a number is needed"))?,
        };
        app.put_publisher(&visitor.session.caller, &form.id, body).await
    };
    change(&app, &visitor, &form.word, put).await
}

#[derive(Deserialize)]
pub(super) struct AdvertiserForm {
    word: String,
    id: String,
    name: String,
    domain: String,
    category: String,
}

pub(super) async fn advertiser(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Form(form): Form<AdvertiserForm>,
) -> Page {
    let put = async {
        let snapshot = app.ads.snapshot();
        let before = snapshot.advertisers.iter().find(|a| a.id == form.id);
        let body = AdvertiserBody {
            id: String::new(),
            name: form.name,
            domain: Some(form.domain),
            category: Some(form.category),
            category_authority: before.map(|a| a.category_authority.clone()),
        };
        app.put_advertiser(&visitor.session.caller, &form.id, body).await
    };
    change(&app, &visitor, &form.word, put).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fields_send_is_understood_or_refused() {
        let of = |text: &str| instant("starts", text).map_err(|r| r.1);
        assert_eq!(of(""), Ok(None));
        assert_eq!(of("1970-01-02T01:02"), Ok(Some(DAY + 3_720_000)));
        assert_eq!(of("1970-01-02T01:02:03"), Ok(Some(DAY + 3_723_000)));
        for wrong in [
            "1970-01-02",
            "1970-02-30T00:00",
            "1970-01-02T24:00",
            "1970-01-02T1",
            "x",
        ] {
            assert!(of(wrong).unwrap_err().contains("starts"), "{wrong}");
        }
        assert_eq!(list(" a, ,b ,"), ["a", "b"]);
    }
}
