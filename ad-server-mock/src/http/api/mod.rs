//! `/api/v1/…`: the hierarchy, reports and tokens as JSON, with a token.
//!
//! The table of routes below is also the OpenAPI document (`openapi.rs`), so neither can have a route that the other has
//! not. Not for people: that is the desk.

mod body;
mod openapi;
mod resources;

pub(crate) use body::{
    AdvertiserBody, CampaignBody, CreativeChange, FlightBody, FrequencyBody, PublisherBody, ShowBody,
};
pub(crate) use resources::owner_of_flight;

/// The largest form with a creative in it.
pub(crate) const LARGEST_FORM: usize = crate::upload::LARGEST as usize + (1 << 20);

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Json, Router};
use rand::RngExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Caller;
use super::{App, Refusal, bad};
use crate::clock::{date_of, day_of};
use crate::report::{Filter, Report};
use crate::store::tokens::Role;
use crate::windows::{Window, by_day};
use body::Body;

/// One route, for the router and for the document.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// Names of query parameters, with what they are.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// Name of the schema of the body.
    pub(super) body: Option<&'static str>,
    pub(super) handler: fn() -> MethodRouter<Arc<App>>,
}

const REPORT_QUERY: &[(&str, &str)] = &[
    ("from", "first day, as 2026-01-31 (UTC)"),
    ("to", "last day"),
    ("show", "one show"),
    ("campaign", "one campaign"),
    ("format", "json (default) or csv"),
    ("by", "of csv: creative (default), day or show"),
];

macro_rules! routes {
    ($($method:ident $path:literal $summary:literal $query:expr, $body:expr, $handler:path;)*) => {
        &[$(Route {
            method: stringify!($method),
            path: $path,
            summary: $summary,
            query: $query,
            body: $body,
            handler: || $method($handler),
        }),*]
    };
}

/// Every route of the API.
pub(super) const ROUTES: &[Route] = routes! {
    get "/api/v1/openapi.json" "This document." &[], None, openapi::document;
    get "/api/v1/me" "Who the token is for." &[], None, me;
    get "/api/v1/publishers" "Publishers." &[], None, resources::publishers;
    put "/api/v1/publishers/{id}" "Adds or changes a publisher (admin)." &[], Some("Publisher"), resources::put_publisher;
    get "/api/v1/shows" "Shows." &[], None, resources::shows;
    put "/api/v1/shows/{id}" "Adds or changes a show (its publisher; the share only by an admin)." &[], Some("Show"), resources::put_show;
    get "/api/v1/advertisers" "Advertisers." &[], None, resources::advertisers;
    put "/api/v1/advertisers/{id}" "Adds or changes an advertiser (admin)." &[], Some("Advertiser"), resources::put_advertiser;
    get "/api/v1/campaigns" "Campaigns, with what they spent and reserved." &[], None, resources::campaigns;
    put "/api/v1/campaigns/{id}" "Adds or changes a campaign." &[], Some("Campaign"), resources::put_campaign;
    put "/api/v1/campaigns/{id}/archived" "Takes a campaign out of use; its reports stay." &[], None, resources::archive_campaign;
    delete "/api/v1/campaigns/{id}/archived" "Brings a campaign back into use." &[], None, resources::restore_campaign;
    get "/api/v1/flights" "Flights, with what they served." &[], None, resources::flights;
    put "/api/v1/flights/{id}" "Adds or changes a flight." &[], Some("Flight"), resources::put_flight;
    put "/api/v1/flights/{id}/archived" "Takes a flight out of use; its reports stay." &[], None, resources::archive_flight;
    delete "/api/v1/flights/{id}/archived" "Brings a flight back into use." &[], None, resources::restore_flight;
    get "/api/v1/creatives" "Creatives." &[], None, resources::creatives;
    put "/api/v1/creatives/{id}" "Changes what is said about a creative." &[], Some("CreativeChange"), resources::put_creative;
    put "/api/v1/creatives/{id}/archived" "Takes a creative out of use; its reports stay." &[], None, resources::archive_creative;
    delete "/api/v1/creatives/{id}/archived" "Brings a creative back into use." &[], None, resources::restore_creative;
    put "/api/v1/flights/{flight}/tags/{id}" "Adds or changes a creative that is another server's VAST tag." &[], Some("Tag"), resources::put_tag;
    post "/api/v1/flights/{flight}/creatives" "Uploads a creative: it is decoded, hashed and measured first." &[], Some("Upload"), resources::upload;
    get "/api/v1/report" "Requests, decisions, events by basis, spend, payout, invalid traffic." REPORT_QUERY, None, report;
    get "/api/v1/listeners" "Unique listeners of each day; the window is declared with them." &[
        ("window", "calendar_day (default), first_touch or last_touch"),
        ("from", "first day"), ("to", "last day"), ("show", "one show")], None, listeners;
    get "/api/v1/explain" "What would be decided now, and why each other creative would not be." &[
        ("show", "as for /vast, like the other parameters")], None, resources::explain;
    get "/api/v1/tokens" "Tokens (admin)." &[], None, tokens;
    post "/api/v1/tokens" "Makes a token; it is shown this once (admin)." &[], Some("NewToken"), new_token;
    delete "/api/v1/tokens/{id}" "Revokes a token (admin)." &[], None, revoke;
};

pub(super) fn router() -> Router<Arc<App>> {
    let upload = axum::extract::DefaultBodyLimit::max(LARGEST_FORM);
    ROUTES
        .iter()
        .fold(Router::new(), |router, route| {
            router.route(route.path, (route.handler)())
        })
        // Where reports were before there was an API.
        .route("/report", get(report))
        .layer(upload)
}

async fn me(caller: Caller) -> Json<Value> {
    Json(json!({"name": caller.name, "role": caller.role, "scope": caller.scope}))
}

/// The query of a report.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReportQuery {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) show: String,
    pub(crate) campaign: String,
    pub(crate) format: String,
    pub(crate) by: String,
    pub(crate) window: String,
}

impl ReportQuery {
    pub(crate) fn filter(&self) -> Result<Filter, Refusal> {
        let day = |name: &str, text: &str| match text {
            "" => Ok(None),
            text => day_of(text)
                .map(Some)
                .ok_or_else(|| bad(format!("{name} is a date such as 2026-01-31"))),
        };
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Filter {
            from: day("from", &self.from)?,
            to: day("to", &self.to)?,
            show: text(&self.show),
            campaign: text(&self.campaign),
            ..Filter::default()
        })
    }

    pub(crate) fn csv(&self, report: &Report) -> Result<String, Refusal> {
        match self.by.as_str() {
            "" | "creative" => Ok(report.to_csv()),
            "day" => Ok(Report::slices_to_csv("day", &report.days)),
            "show" => Ok(Report::slices_to_csv("show", &report.shows)),
            _ => Err(bad("by is creative, day or show")),
        }
    }
}

/// CSV as a file to save.
pub(crate) fn csv(text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"report.csv\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}

async fn report(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<ReportQuery>,
) -> Result<Response, Refusal> {
    let filter = caller.narrow(query.filter()?);
    let report = app.ads.db().report(&filter, app.clock.now()).await?;
    match query.format.as_str() {
        "csv" => Ok(csv(query.csv(&report)?)),
        "" | "json" => Ok(([(header::CACHE_CONTROL, "no-store")], Json(report)).into_response()),
        _ => Err(bad("format is json or csv")),
    }
}

async fn listeners(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<ReportQuery>,
) -> Result<Json<Value>, Refusal> {
    if caller.role == Role::Advertiser {
        return Err(bad("listeners are counted for shows, not for advertisers"));
    }
    let window = match query.window.as_str() {
        "" => Window::default(),
        text => {
            Window::parse(text).ok_or_else(|| bad("window is calendar_day, first_touch or last_touch"))?
        }
    };
    let filter = caller.narrow(query.filter()?);
    let asked = app.ads.db().asked(&filter, app.clock.now()).await?;
    let days: Vec<Value> = by_day(&asked, window)
        .into_iter()
        .map(|(day, n)| json!({"day": date_of(day), "listeners": n}))
        .collect();
    Ok(Json(json!({
        "window": window.as_str(),
        "of": "requests for ads, by address (IPv6 cut to its /64) and user agent",
        "requests": asked.len(),
        "days": days,
    })))
}

async fn tokens(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Refusal> {
    caller.admin()?;
    Ok(Json(json!(app.ads.db().tokens().await?)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    name: String,
    role: String,
    scope: Option<String>,
}

async fn new_token(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(body): Body<NewToken>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    caller.admin()?;
    let role =
        Role::parse(&body.role).ok_or_else(|| bad("role is admin, advertiser, publisher or reader"))?;
    if matches!(role, Role::Advertiser | Role::Publisher) != body.scope.is_some() {
        return Err(bad(
            "scope is the id of the advertiser or publisher, and only for those roles",
        ));
    }
    let name = body::text("name", &body.name)?;
    let secret = fresh_token();
    let db = app.ads.db();
    db.add_token(&secret, &name, role, body.scope.as_deref(), app.clock.now())
        .await?;
    Ok((StatusCode::CREATED, Json(json!({"token": secret}))))
}

async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    caller.admin()?;
    if app.ads.db().revoke_token(&id, app.clock.now()).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Refusal(StatusCode::NOT_FOUND, "no such token".to_owned()))
}

/// A new token: 256 random bits.
pub(crate) fn fresh_token() -> String {
    let bytes: [u8; 32] = rand::rng().random();
    format!("grove-{}", hex::encode(bytes))
}
