//! The HTTP face. Open: decisions (`/vast`, `/vmap`, `/decision`), beacons (`/b/…`, `/proof/…`) and `/creatives/…`.
//! With a token: `/api/v1/…`, `/report`, and the desk.
//!
//! Invariants: a beacon is answered only after its event is on disk; deciding costs budget, so `HEAD` never decides; what
//! is not open answers nobody without a token. Not for deciding or counting: see [`crate::ads`].

mod access;
mod api;
mod ask;
mod beacons;
mod decisions;
mod files;

pub(crate) use access::{COOKIE, NoSession, SESSION, Session, cookie};
pub(crate) use api::{
    AdvertiserBody, CampaignBody, CreativeChange, FlightBody, FrequencyBody, LARGEST_FORM, PublisherBody,
    ReportQuery, ShowBody, csv, fresh_token, owner_of_flight,
};

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use rand::RngExt as _;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::ads::Ads;
use crate::clock::{Clock, SystemClock};
use crate::sign::Key;
use crate::store::StoreError;
use crate::traffic::rate::{Rates, network};
use crate::traffic::{Networks, invalid_agent};
use crate::upload::Uploads;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) ads: Ads,
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
    /// Networks that no listener is in.
    pub(crate) not_listeners: Networks,
    /// Who asks and reports too often.
    pub(crate) rates: Rates,
    /// Whether the last address of `X-Forwarded-For` is believed.
    pub(crate) behind_proxy: bool,
    pub(crate) uploads: Uploads,
    /// Where those who have a creative find each other.
    pub(crate) trackers: Vec<String>,
}

/// `body_pause`: how long a client may pause within the body of a request.
pub(crate) fn router(app: Arc<App>, body_pause: Duration) -> Router {
    let open = Router::new()
        .route("/vast", get(decisions::as_vast).head(no_head))
        .route("/vmap", get(decisions::as_vmap).head(no_head))
        .route("/decision", get(decisions::as_json).head(no_head))
        .route(
            "/b/{event}/{id}",
            get(beacons::beacon).head(no_head).post(beacons::beacon),
        )
        .route(
            "/proof/{id}",
            post(beacons::proof).layer(DefaultBodyLimit::max(beacons::LONGEST_ACCOUNT)),
        )
        .route("/creatives/{sha256}", get(files::creative))
        .layer(middleware::from_fn(open_to_players));
    // Without that layer: what advertisers spend is not for any page that a browser here has open.
    open.merge(api::router())
        .merge(crate::desk::router())
        .layer(RequestBodyTimeoutLayer::new(body_pause))
        .with_state(app)
}

/// A refusal: a status and one sentence.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) String);

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

pub(crate) fn bad(reason: impl Into<String>) -> Refusal {
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

impl App {
    /// The URL that this client reaches us under.
    pub(crate) fn base(&self, headers: &HeaderMap) -> String {
        if let Some(url) = &self.public_url {
            return url.clone();
        }
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
        match host {
            Some(host) if host.len() <= ask::LONGEST && !host.is_empty() && host.bytes().all(plain) => {
                format!("http://{host}")
            }
            _ => self.local_url.clone(),
        }
    }

    fn address(&self, headers: &HeaderMap, peer: SocketAddr) -> IpAddr {
        let forwarded = || {
            let last = headers.get_all("x-forwarded-for").iter().next_back()?;
            last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
        };
        let said = if self.behind_proxy { forwarded() } else { None };
        said.unwrap_or(peer.ip())
    }

    /// Why who asks is taken for no listener.
    fn invalid(&self, headers: &HeaderMap, peer: SocketAddr) -> Option<&'static str> {
        // A user agent that is not text is malformed, not absent.
        let agent = headers
            .get(header::USER_AGENT)
            .map(|a| a.to_str().unwrap_or("\u{7f}"));
        invalid_agent(agent).or_else(|| {
            let address = self.address(headers, peer);
            self.not_listeners.contain(address).then_some("data_centre")
        })
    }

    /// Who asks, for counting listeners: a keyed hash of address (IPv6 cut to its /64) and user agent.
    fn listener(&self, headers: &HeaderMap, peer: SocketAddr) -> String {
        let address = network(self.address(headers, peer));
        let agent = headers.get(header::USER_AGENT).and_then(|a| a.to_str().ok());
        let mut tag = self.key.tag("listener", &[&address, agent.unwrap_or_default()]);
        tag.truncate(24);
        tag
    }
}

/// A version 7 UUID (RFC 9562): VAST recommends a UUID for AdServingId, and one that begins with the time is stored beside
/// the others of its moment, where a random one would have a page of the database written for itself.
fn new_id() -> String {
    let mut b: [u8; 16] = rand::rng().random();
    b[..6].copy_from_slice(&SystemClock.now().to_be_bytes()[2..]);
    b[6] = b[6] & 0x0f | 0x70;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_version_7_uuids_in_the_order_of_time() {
        let before = SystemClock.now();
        let id = new_id();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'7'));
        assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        let at = i64::from_str_radix(&id.replace('-', "")[..12], 16).unwrap();
        assert!((before..=SystemClock.now()).contains(&at), "{id}");
        assert_ne!(id, new_id());
    }
}
