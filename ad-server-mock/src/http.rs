//! The HTTP face: `/vast`, `/creatives/…`, `/b/…`, `/report`.
//!
//! Invariants: a beacon is answered 204 only after its event is on disk; a refused one says why and is counted as
//! invalid traffic; only registered files are served, and only while they are what was hashed. Deciding costs budget, so
//! `HEAD` never decides. Not for deciding or counting: see [`crate::store`].

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rand::RngExt as _;
use serde::Deserialize;
use tower_http::services::ServeFile;

use crate::clock::Clock;
use crate::decide::MOST_ADS;
use crate::sign::{self, Key, Subject, filled};
use crate::store::{Ask, Beacon, Recorded, Store, StoreError};
use crate::vast;

/// Longest text taken from a client's query.
const LONGEST: usize = 200;
/// Longest break, in seconds.
const LONGEST_BREAK: f64 = 3600.0;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) key: Key,
    pub(crate) clock: Arc<dyn Clock>,
    /// Our own URL, without a slash at its end; without one a client is answered under the name it asked for.
    pub(crate) public_url: Option<String>,
    /// `http://` and the address listened on.
    pub(crate) local_url: String,
    /// How long a decision may be played, milliseconds.
    pub(crate) expires: i64,
    /// How much longer its budget stays reserved, for beacons on their way.
    pub(crate) grace: i64,
}

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/vast", get(decide).head(no_head))
        .route("/b/{event}/{id}", get(beacon).head(no_head).post(beacon))
        .route("/creatives/{sha256}", get(creative))
        .layer(middleware::from_fn(open_to_players))
        // After the layer: what advertisers spend is not for any page that a browser here has open.
        .route("/report", get(report))
        .with_state(app)
}

/// A refusal: a status and one sentence.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1 + "\n").into_response()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "store");
        // The client keeps its beacon and tries again.
        Self(
            StatusCode::SERVICE_UNAVAILABLE,
            "the store cannot be written or read now".to_owned(),
        )
    }
}

fn bad(reason: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, reason.into())
}

/// Players in a page read VAST and creatives across origins; none of it needs credentials.
async fn open_to_players(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

async fn no_head() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")]).into_response()
}

/// The query of `/vast`. A macro that the client left as it was, or filled with `-1` or `-2`, is as if it were absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct VastQuery {
    show: String,
    episode: String,
    #[serde(rename = "break")]
    break_id: String,
    position: String,
    download: String,
    max: String,
    ads: String,
}

impl VastQuery {
    fn ask(&self, request_id: String) -> Result<Ask, Refusal> {
        let text = |name: &str, value: &str| match filled(value.trim()) {
            Some(v) if v.len() > LONGEST => Err(bad(format!("{name} is longer than {LONGEST} bytes"))),
            v => Ok(v.map(str::to_owned)),
        };
        let time = filled(self.max.trim())
            .map(|v| match v.parse::<f64>() {
                Ok(n) if n > 0.0 && n <= LONGEST_BREAK => Ok((n * 1000.0) as i64),
                _ => Err(bad(format!("max is a number of seconds up to {LONGEST_BREAK}"))),
            })
            .transpose()?;
        let ads = filled(self.ads.trim())
            .map(|v| match v.parse::<usize>() {
                Ok(n) if (1..=MOST_ADS).contains(&n) => Ok(n),
                _ => Err(bad(format!("ads is a number from 1 to {MOST_ADS}"))),
            })
            .transpose()?;
        Ok(Ask {
            request_id,
            show: text("show", &self.show)?,
            episode: text("episode", &self.episode)?,
            break_id: text("break", &self.break_id)?,
            position: text("position", &self.position)?,
            download: text("download", &self.download)?,
            time,
            // With a time and no number: as many as fit. With neither: one.
            ads: ads.unwrap_or(if time.is_some() { MOST_ADS } else { 1 }),
        })
    }
}

async fn decide(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Query(query): Query<VastQuery>,
) -> Result<Response, Refusal> {
    let ask = query.ask(new_id())?;
    let now = app.clock.now();
    let reserved_until = now + app.expires + app.grace;
    let pod = app
        .store
        .decide(&ask, now, reserved_until, rand::random(), new_id)
        .await?;
    tracing::info!(
        request = ask.request_id,
        wanted = ask.ads,
        filled = pod.len(),
        "decided"
    );
    let base = app.base(&headers);
    let document = vast::document(&base, &app.key, &ask.request_id, &pod, app.expires / 1000);
    let headers = [
        (header::CONTENT_TYPE, "application/xml; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, document).into_response())
}

impl App {
    /// The URL that this client reaches us under.
    fn base(&self, headers: &HeaderMap) -> String {
        if let Some(url) = &self.public_url {
            return url.clone();
        }
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
        match host {
            Some(host) if host.len() <= LONGEST && !host.is_empty() && host.bytes().all(plain) => {
                format!("http://{host}")
            }
            _ => self.local_url.clone(),
        }
    }
}

/// A random version 4 UUID, as VAST recommends for AdServingId.
fn new_id() -> String {
    let mut b: [u8; 16] = rand::rng().random();
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let h = hex::encode(b);
    format!(
        "{}-{}-{}-{}-{}",
        &h[..8],
        &h[8..12],
        &h[12..16],
        &h[16..20],
        &h[20..]
    )
}

async fn beacon(
    State(app): State<Arc<App>>,
    Path((event, id)): Path<(String, String)>,
    Query(query): Query<sign::Query>,
) -> Result<StatusCode, Refusal> {
    let now = app.clock.now();
    let subject = Subject {
        event: &event,
        id: &id,
        flight: &query.f,
        creative: &query.c,
        tracker: &query.t,
    };
    if !app.key.verify(subject, &query.s) {
        app.store.count_invalid("signature", now).await?;
        return Err(Refusal(
            StatusCode::FORBIDDEN,
            "the signature is not this server's".to_owned(),
        ));
    }
    let short = |v: &str| filled(v).map(|v| v.chars().take(64).collect::<String>());
    if event == "noAd" {
        let code = short(&query.code).unwrap_or_else(|| "unknown".to_owned());
        if app.store.record_no_ad(&id, &code).await? {
            return Ok(StatusCode::NO_CONTENT);
        }
        return Err(unknown(&app, now).await?);
    }
    let basis = match query.basis.as_str() {
        "delivered" => "delivered",
        "played" => "played",
        _ => {
            app.store.count_invalid("basis", now).await?;
            return Err(bad("basis is delivered or played"));
        }
    };
    if !vast::is_event(&event) {
        app.store.count_invalid("event", now).await?;
        return Err(bad("no such event"));
    }
    let beacon = Beacon {
        ad_serving_id: id,
        event,
        tracker: query.t,
        basis,
        client_time: short(&query.ts),
        code: short(&query.code),
    };
    match app.store.record(&beacon, now).await? {
        Recorded::Counted | Recorded::Repeated => Ok(StatusCode::NO_CONTENT),
        Recorded::Unknown => Err(unknown(&app, now).await?),
    }
}

async fn unknown(app: &App, now: i64) -> Result<Refusal, Refusal> {
    app.store.count_invalid("unknown", now).await?;
    Ok(Refusal(StatusCode::NOT_FOUND, "no such decision".to_owned()))
}

/// A creative by its hash: its URL never means other bytes, so it may be kept for ever.
async fn creative(
    State(app): State<Arc<App>>,
    Path(sha256): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let missing = || Refusal(StatusCode::NOT_FOUND, "no such creative".to_owned());
    for file in app.store.files(&sha256).await? {
        match unchanged(&file).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::error!(
                    path = file.path,
                    "creative changed since it was loaded: load it again"
                );
                continue;
            }
            Err(error) => {
                tracing::error!(path = file.path, %error, "creative cannot be read");
                continue;
            }
        }
        let (parts, _) = request.into_parts();
        let head = parts.method == Method::HEAD;
        let request = Request::from_parts(parts, axum::body::Body::empty());
        let response = ServeFile::new(&file.path)
            .try_call(request)
            .await
            .map_err(|error| {
                Refusal(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("cannot read it: {error}"),
                )
            })?;
        tracing::debug!(status = %response.status(), head, path = file.path, "creative");
        let mut response = response.map(axum::body::Body::new);
        if response.status().is_success() {
            let headers = response.headers_mut();
            let kind = HeaderValue::from_str(&file.media_type)
                .unwrap_or(HeaderValue::from_static("application/octet-stream"));
            headers.insert(header::CONTENT_TYPE, kind);
            headers.insert(
                header::CACHE_CONTROL,
                HeaderValue::from_static("public, max-age=31536000, immutable"),
            );
            if let Ok(tag) = HeaderValue::from_str(&format!("\"{sha256}\"")) {
                headers.insert(header::ETAG, tag);
            }
        }
        return Ok(response);
    }
    Err(missing())
}

async fn unchanged(file: &crate::store::StoredFile) -> std::io::Result<bool> {
    let about = tokio::fs::metadata(&file.path).await?;
    Ok(about.len() as i64 == file.size && crate::load::modified(&about)? == file.modified)
}

async fn report(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let report = app.store.report(app.clock.now()).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(report)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &VastQuery) -> Result<Ask, String> {
        query.ask("r".to_owned()).map_err(|r| r.1)
    }

    #[test]
    fn a_break_has_a_time_or_a_number_or_both_or_neither() {
        let room = |max: &str, ads: &str| {
            ask(&VastQuery {
                max: max.into(),
                ads: ads.into(),
                ..VastQuery::default()
            })
            .map(|a| (a.time, a.ads))
        };
        assert_eq!(room("", ""), Ok((None, 1)));
        assert_eq!(room("30.5", ""), Ok((Some(30_500), MOST_ADS)));
        assert_eq!(room("", "3"), Ok((None, 3)));
        assert_eq!(room("60", "2"), Ok((Some(60_000), 2)));
        // Macros left, unknown, withheld.
        assert_eq!(room("[BREAKMAXDURATION]", "-1"), Ok((None, 1)));
        for (max, ads) in [
            ("0", ""),
            ("-5", ""),
            ("NaN", ""),
            ("3601", ""),
            ("x", ""),
            ("", "0"),
            ("", "21"),
        ] {
            assert!(room(max, ads).is_err(), "{max} {ads}");
        }
        let long = VastQuery {
            show: "x".repeat(201),
            ..VastQuery::default()
        };
        assert!(ask(&long).unwrap_err().contains("show"));
    }

    #[test]
    fn identifiers_are_version_4_uuids() {
        let id = new_id();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'));
        assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        assert_ne!(id, new_id());
    }
}
