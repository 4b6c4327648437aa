//! The desk: campaigns, creatives and reports for people, in a browser.
//!
//! Rendered here and whole without scripts. A token opens it (`/desk/login`); the session is a signed cookie that pages
//! of other sites cannot send, and every form carries a word of its session. What changes anything is a POST and ends in a
//! redirect. Not for machines: they have the API.

mod chart;
mod edit;
mod forms;
mod pages;
mod words;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Multipart, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use maud::Markup;
use serde::Deserialize;

use crate::clock::{DAY, date_of, day_of};
use crate::http::{
    App, COOKIE, CampaignBody, FlightBody, LARGEST_FORM, NoSession, Refusal, ReportQuery, SESSION, Session,
    bad, cookie, csv, owner_of_flight,
};
use crate::report::Filter;
use crate::store::tokens::Role;
use crate::upload::discard;
use pages::{CampaignLine, FlightLine, Frame};
use words::Language;

/// The cookie of a visitor's language.
const LANGUAGE: &str = "grove_language";
/// Days that reports show unless told otherwise.
const DAYS: i64 = 30;

/// What a browser may do with these pages: show them, play our creatives, send our forms; nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; media-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

pub(crate) fn router() -> Router<Arc<App>> {
    let upload = post(upload).layer(DefaultBodyLimit::max(LARGEST_FORM));
    Router::new()
        .route("/", get(|| async { Redirect::to("/desk") }))
        .route("/desk", get(overview))
        .route("/desk/login", get(login).post(log_in))
        .route("/desk/logout", post(log_out))
        .route("/desk/language/{code}", get(language))
        .route("/desk/style.css", get(style))
        .route("/desk/campaigns", post(new_campaign))
        .route("/desk/campaigns/{id}", get(campaign).post(edit::campaign))
        .route("/desk/campaigns/{id}/archive", post(edit::archive_campaign))
        .route("/desk/flights", post(new_flight))
        .route("/desk/flights/{id}", get(edit::flight_page).post(edit::flight))
        .route("/desk/flights/{id}/archive", post(edit::archive_flight))
        .route("/desk/flights/{id}/pause", post(pause))
        .route("/desk/flights/{id}/creatives", upload)
        .route("/desk/creatives", get(creatives))
        .route(
            "/desk/creatives/{id}",
            get(edit::creative_page).post(edit::creative),
        )
        .route("/desk/creatives/{id}/archive", post(edit::archive_creative))
        .route("/desk/settings", get(edit::settings))
        .route("/desk/shows", post(edit::show))
        .route("/desk/publishers", post(edit::publisher))
        .route("/desk/advertisers", post(edit::advertiser))
        .route("/desk/reports", get(reports))
        .route("/desk/report.csv", get(report_csv))
        .layer(middleware::from_fn(guarded))
}

async fn guarded(request: Request, next: Next) -> Response {
    // A page of another site may not send forms here, logged in or not.
    let site = request.headers().get("sec-fetch-site");
    if request.method() != "GET" && site.is_some_and(|s| s == "cross-site" || s == "same-site") {
        return Refusal(StatusCode::FORBIDDEN, "this form is from another site".to_owned()).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A page, or a sentence about why there is none.
type Page = Result<Response, Refused>;

/// A refusal as a page.
struct Refused(Language, Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let page = pages::refused(self.0, &self.1.1);
        (self.1.0, Html(page.into_string())).into_response()
    }
}

fn html(markup: Markup) -> Response {
    Html(markup.into_string()).into_response()
}

fn language_of(headers: &HeaderMap) -> Language {
    cookie(headers, LANGUAGE)
        .and_then(Language::parse)
        .or_else(|| {
            let accepted = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
            Language::accepted(accepted)
        })
        .unwrap_or_default()
}

/// Who is here, and in which language.
struct Visitor {
    session: Session,
    language: Language,
}

impl axum::extract::FromRequestParts<Arc<App>> for Visitor {
    type Rejection = NoSession;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, NoSession> {
        Ok(Self {
            session: Session::from_request_parts(parts, app).await?,
            language: language_of(&parts.headers),
        })
    }
}

impl Visitor {
    fn frame(&self) -> Frame {
        let caller = &self.session.caller;
        Frame {
            language: self.language,
            name: caller.name.clone(),
            word: self.session.word.clone(),
            changes: matches!(caller.role, Role::Admin | Role::Advertiser),
            settings: matches!(caller.role, Role::Admin | Role::Publisher),
        }
    }

    fn refused(&self) -> impl Fn(Refusal) -> Refused + use<> {
        let language = self.language;
        move |refusal| Refused(language, refusal)
    }

    fn check(&self, app: &App, word: &str) -> Result<(), Refused> {
        self.session.check(app, word).map_err(self.refused())
    }
}

async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, include_str!("style.css")).into_response()
}

async fn login(headers: HeaderMap) -> Response {
    html(pages::login(language_of(&headers), false))
}

#[derive(Deserialize)]
struct LogIn {
    token: String,
}

async fn log_in(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Form(form): Form<LogIn>,
) -> Result<Response, Refusal> {
    if app.caller_of(&form.token).await?.is_none() {
        let page = pages::login(language_of(&headers), true);
        return Ok((StatusCode::UNAUTHORIZED, Html(page.into_string())).into_response());
    }
    let secure = if app.base(&headers).starts_with("https:") {
        "; Secure"
    } else {
        ""
    };
    let cookie = format!(
        "{COOKIE}={}; Path=/desk; HttpOnly; SameSite=Strict; Max-Age={}{secure}",
        app.session(&form.token),
        SESSION / 1000
    );
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/desk")).into_response())
}

#[derive(Deserialize)]
struct WordOnly {
    word: String,
}

async fn log_out(State(app): State<Arc<App>>, visitor: Visitor, Form(form): Form<WordOnly>) -> Page {
    visitor.check(&app, &form.word)?;
    let cookie = format!("{COOKIE}=; Path=/desk; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/desk/login")).into_response())
}

async fn language(Path(code): Path<String>, headers: HeaderMap) -> Response {
    let code = Language::parse(&code).unwrap_or_default().code();
    let cookie = format!("{LANGUAGE}={code}; Path=/desk; SameSite=Strict; Max-Age=31536000");
    ([(header::SET_COOKIE, cookie)], Redirect::to(&back(&headers))).into_response()
}

/// The page of the desk that a visitor comes from, else the first one. Never a page of another site: only the path is taken.
fn back(headers: &HeaderMap) -> String {
    let from = headers.get(header::REFERER).and_then(|r| r.to_str().ok());
    let from = from.and_then(|r| url::Url::parse(r).ok());
    let from = from.filter(|url| url.path().starts_with("/desk/") && !url.path().contains("//"));
    from.map_or_else(
        || "/desk".to_owned(),
        |url| match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        },
    )
}

/// The campaigns that a visitor sees.
fn lines(app: &App, visitor: &Visitor) -> Vec<CampaignLine> {
    let caller = &visitor.session.caller;
    app.ads.standing(|snapshot, counters| {
        let campaigns = snapshot.campaigns.iter().enumerate();
        campaigns
            .filter(|(_, c)| caller.sees_advertiser(&c.campaign.advertiser_id))
            .map(|(n, entry)| {
                let flights = snapshot.flights.iter().enumerate();
                let flights = flights
                    .filter(|(_, f)| f.campaign.0 == n)
                    .map(|(i, f)| FlightLine {
                        flight: f.flight.clone(),
                        served: counters.flights[i].served.total(),
                        creatives: f
                            .creatives
                            .iter()
                            .map(|c| snapshot.creatives[c.0].creative.clone())
                            .collect(),
                    });
                CampaignLine {
                    campaign: entry.campaign.clone(),
                    advertiser: snapshot.advertisers[entry.advertiser].name.clone(),
                    committed: crate::money::Micros(counters.campaigns[n].total()),
                    flights: flights.collect(),
                }
            })
            .collect()
    })
}

fn last_days(app: &App) -> Filter {
    let today = app.clock.now().div_euclid(DAY);
    Filter {
        from: Some(today - DAYS + 1),
        to: Some(today),
        ..Filter::default()
    }
}

async fn overview(State(app): State<Arc<App>>, visitor: Visitor) -> Page {
    let caller = &visitor.session.caller;
    let filter = caller.narrow(last_days(&app));
    let report = app.ads.db().report(&filter, app.clock.now()).await;
    let report = report.map_err(Refusal::from).map_err(visitor.refused())?;
    let snapshot = app.ads.snapshot();
    let advertisers: Vec<_> = snapshot
        .advertisers
        .iter()
        .filter(|a| caller.changes_advertiser(&a.id).is_ok())
        .map(|a| (a.id.clone(), a.name.clone()))
        .collect();
    Ok(html(pages::overview(
        &visitor.frame(),
        &report,
        &lines(&app, &visitor),
        &advertisers,
    )))
}

async fn campaign(State(app): State<Arc<App>>, visitor: Visitor, Path(id): Path<String>) -> Page {
    let Some(line) = lines(&app, &visitor).into_iter().find(|c| c.campaign.id == id) else {
        let refusal = Refusal(StatusCode::NOT_FOUND, "no such campaign".to_owned());
        return Err(visitor.refused()(refusal));
    };
    let filter = visitor.session.caller.narrow(Filter {
        campaign: Some(id),
        ..last_days(&app)
    });
    let report = app.ads.db().report(&filter, app.clock.now()).await;
    let report = report.map_err(Refusal::from).map_err(visitor.refused())?;
    Ok(html(pages::campaign(&visitor.frame(), &line, &report)))
}

async fn creatives(State(app): State<Arc<App>>, visitor: Visitor) -> Page {
    let all: Vec<_> = lines(&app, &visitor)
        .into_iter()
        .filter(|c| !c.campaign.archived)
        .flat_map(|c| c.flights)
        .filter(|f| !f.flight.archived)
        .flat_map(|f| f.creatives)
        .filter(|c| !c.archived)
        .collect();
    Ok(html(pages::creatives(&visitor.frame(), &all)))
}

/// The filter of a query, the last days when it names none.
fn asked(app: &App, query: &ReportQuery) -> Result<(Filter, String, String), Refusal> {
    let mut filter = query.filter()?;
    let usual = last_days(app);
    filter.from = filter.from.or(usual.from);
    filter.to = filter.to.or(usual.to);
    let date = |day: Option<i64>| day.map(date_of).unwrap_or_default();
    let (from, to) = (date(filter.from), date(filter.to));
    Ok((filter, from, to))
}

async fn reports(State(app): State<Arc<App>>, visitor: Visitor, Query(query): Query<ReportQuery>) -> Page {
    let (filter, from, to) = asked(&app, &query).map_err(visitor.refused())?;
    let filter = visitor.session.caller.narrow(filter);
    let report = app.ads.db().report(&filter, app.clock.now()).await;
    let report = report.map_err(Refusal::from).map_err(visitor.refused())?;
    Ok(html(pages::reports(&visitor.frame(), &report, &from, &to)))
}

async fn report_csv(State(app): State<Arc<App>>, visitor: Visitor, Query(query): Query<ReportQuery>) -> Page {
    let (filter, ..) = asked(&app, &query).map_err(visitor.refused())?;
    let filter = visitor.session.caller.narrow(filter);
    let report = app.ads.db().report(&filter, app.clock.now()).await;
    let report = report.map_err(Refusal::from).map_err(visitor.refused())?;
    Ok(csv(query.csv(&report).map_err(visitor.refused())?))
}

#[derive(Deserialize)]
struct CampaignForm {
    word: String,
    advertiser: String,
    id: String,
    name: String,
    budget: String,
    currency: String,
}

/// A number of a form; nothing written is none.
fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<Option<T>, Refusal> {
    match text.trim() {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| bad(format!("{name}: {text:?} is not a number"))),
    }
}

async fn new_campaign(State(app): State<Arc<App>>, visitor: Visitor, Form(form): Form<CampaignForm>) -> Page {
    visitor.check(&app, &form.word)?;
    let done = async {
        if app.ads.snapshot().campaign(&form.id).is_some() {
            return Err(bad("there is another campaign with this id"));
        }
        let body = CampaignBody {
            id: String::new(),
            advertiser: form.advertiser,
            name: form.name,
            budget: number("budget", &form.budget)?,
            currency: Some(form.currency),
        };
        app.put_campaign(&visitor.session.caller, &form.id, body).await
    };
    done.await.map_err(visitor.refused())?;
    Ok(Redirect::to(&format!("/desk/campaigns/{}", form.id)).into_response())
}

#[derive(Deserialize)]
struct FlightForm {
    word: String,
    campaign: String,
    id: String,
    name: String,
    starts: String,
    ends: String,
    goal: String,
    price: String,
    priority: String,
    pacing: String,
}

async fn new_flight(State(app): State<Arc<App>>, visitor: Visitor, Form(form): Form<FlightForm>) -> Page {
    visitor.check(&app, &form.word)?;
    let day = |name: &str, text: &str| match text {
        "" => Ok(None),
        text => day_of(text)
            .map(Some)
            .ok_or_else(|| bad(format!("{name} is a date such as 2026-01-31"))),
    };
    let done = async {
        if app.ads.snapshot().flight(&form.id).is_some() {
            return Err(bad("there is another flight with this id"));
        }
        let body = FlightBody {
            campaign: form.campaign.clone(),
            name: form.name,
            starts: day("starts", &form.starts)?.map(|d| d * DAY),
            // The day itself is included.
            ends: day("ends", &form.ends)?.map(|d| (d + 1) * DAY),
            goal: number("goal", &form.goal)?,
            price_per_thousand: number("price", &form.price)?.unwrap_or(0.0),
            priority: number("priority", &form.priority)?,
            pacing: Some(form.pacing),
            ..FlightBody::default()
        };
        app.put_flight(&visitor.session.caller, &form.id, body).await
    };
    done.await.map_err(visitor.refused())?;
    Ok(Redirect::to(&format!("/desk/campaigns/{}", form.campaign)).into_response())
}

#[derive(Deserialize)]
struct PauseForm {
    word: String,
    paused: String,
}

async fn pause(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<PauseForm>,
) -> Page {
    visitor.check(&app, &form.word)?;
    let campaign = app
        .pause(&visitor.session.caller, &id, form.paused == "yes")
        .await
        .map_err(visitor.refused())?;
    Ok(Redirect::to(&format!("/desk/campaigns/{campaign}")).into_response())
}

async fn upload(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Path(flight): Path<String>,
    form: Multipart,
) -> Page {
    let snapshot = app.ads.snapshot();
    let done = async {
        let caller = &visitor.session.caller;
        let owner = owner_of_flight(&snapshot, &flight);
        if let Err(refusal) = owner.and_then(|owner| caller.changes_advertiser(&owner)) {
            discard(form).await;
            return Err(refusal);
        }
        let upload = app.uploads.read(form).await.map_err(bad)?;
        let word = upload.field("word").unwrap_or_default().to_owned();
        visitor.session.check(&app, &word)?;
        app.upload(&visitor.session.caller, &flight, upload).await
    };
    done.await.map_err(visitor.refused())?;
    let campaign = snapshot
        .flight(&flight)
        .map(|f| &snapshot.flights[f.0].flight.campaign_id);
    Ok(Redirect::to(&format!(
        "/desk/campaigns/{}",
        campaign.map_or("", String::as_str)
    ))
    .into_response())
}
