//! Answers: what a request is told, as HTTP says it.
//!
//! Not for: which rendition is a client's (`shelf`), what is in it (`making`), or which part of it is wanted (`range`).

use std::net::SocketAddr;

use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use url::Url;

use super::Gateway;
use super::address::{self, Asked, Unknown};
use super::held::Held;
use super::making::Made;
use super::range::{self, Part};
use super::refusal::Refusal;
use super::shelf::Key;
use super::{body, chapters, feed};
use crate::asking::{self, DOCUMENT_TIMEOUT, NoAnswer};
use crate::source;

/// Longest document of chapters that is read.
const MAX_CHAPTERS: u64 = 4 << 20;

/// Answers one request.
pub(super) async fn answer(
    State(gateway): State<Gateway>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (request, _) = request.into_parts();
    let is_head = request.method == Method::HEAD;
    let answered = respond(&gateway, from, &request).await;
    let mut response = answered.unwrap_or_else(Refusal::into_response);
    // What it is was found out here, and is not to be guessed.
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if is_head {
        let len = response.body().size_hint().exact();
        if let (Some(len), false) = (len, response.headers().contains_key(header::CONTENT_LENGTH)) {
            response.headers_mut().insert(header::CONTENT_LENGTH, len.into());
        }
        *response.body_mut() = Body::empty();
    }
    response
}

async fn respond(gateway: &Gateway, from: SocketAddr, request: &Parts) -> Result<Response, Refusal> {
    let (method, headers) = (&request.method, &request.headers);
    let named = request
        .uri
        .authority()
        .map(|authority| authority.as_str().to_owned());
    let host = named.or_else(|| Some(headers.get(header::HOST)?.to_str().ok()?.to_owned()));
    let host = host.unwrap_or_else(|| gateway.listening.to_string());
    if !address::is_ours(&host, gateway.listening) {
        let reason = format!(
            "{host} is not a name of this gateway: it answers to localhost, 127.0.0.1 and [::1], and to the address that --http named"
        );
        return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, reason));
    }
    if address::is_embedded_elsewhere(headers) {
        let reason = "a page of another site asked for this; open the address itself";
        return Err(Refusal::new(StatusCode::FORBIDDEN, reason));
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered");
        let allow = [(header::ALLOW, "GET, HEAD")];
        return Ok((allow, refusal).into_response());
    }
    let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
    match address::asked(path, &host, gateway.listening) {
        Ok(Asked::Root) => Ok(usage(&host).into_response()),
        Ok(Asked::Feed(url)) => of_feed(gateway, &host, &url, headers).await,
        Ok(Asked::Chapters { episode, place }) => {
            let key = Key {
                client: from.ip(),
                source: episode,
            };
            of_chapters(gateway, &key, &place).await
        }
        Ok(Asked::Source(source)) => {
            let key = Key {
                client: from.ip(),
                source,
            };
            of_source(gateway, &key, method, headers).await
        }
        Err(Unknown::Path) => {
            let reason = format!(
                "there is nothing at {path}: write http://{host}/ and behind it the address of an episode, or http://{host}/feed/ and that of a feed, with its http:// or https://"
            );
            Err(Refusal::new(StatusCode::NOT_FOUND, reason))
        }
        Err(Unknown::Chapters) => {
            let reason = format!(
                "{path} names no chapters: write http://{host}/chapters/, the address of an episode, percent-encoded, and behind a slash that of its chapters in JSON"
            );
            Err(Refusal::new(StatusCode::BAD_REQUEST, reason))
        }
        Err(Unknown::Url | Unknown::Feed) => {
            let reason = format!("{path} holds no http or https URL and no magnet link");
            Err(Refusal::new(StatusCode::BAD_REQUEST, reason))
        }
    }
}

fn usage(host: &str) -> String {
    format!(
        "Grove's local gateway.

Any player opens an episode with this address before its own:
  http://{host}/https://example.org/ep1.mp3
A podcast app subscribes to a feed like this:
  http://{host}/feed/https://example.org/feed.xml

What has a .torrent (beside it, or named itself, or by a magnet link) comes from other viewers and from its web server, verified,
with ads that are decided when it is first asked for.
"
    )
}

async fn of_source(
    gateway: &Gateway,
    key: &Key,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let (made, slot) = gateway.made(key).await?;
    let held = match made {
        Made::Rendition(held) => held,
        Made::Elsewhere(bare) => {
            let reason = format!("{bare}: it comes from its own server\n");
            let place = [
                (header::LOCATION, String::from(bare.url)),
                (header::CACHE_CONTROL, "no-store".into()),
            ];
            return Ok((StatusCode::TEMPORARY_REDIRECT, place, reason).into_response());
        }
    };
    let (etag, len) = (&held.what.etag, held.len());
    let part = range::part(method, headers, etag, len);
    let (status, bytes) = match part {
        Part::Whole => (StatusCode::OK, 0..len),
        Part::Bytes(bytes) => (StatusCode::PARTIAL_CONTENT, bytes),
        Part::NotModified => (StatusCode::NOT_MODIFIED, 0..0),
        Part::NotThat => {
            let reason = "this is not the rendition that If-Match names";
            return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, reason));
        }
        Part::Beyond => {
            let reason = format!("there are {len} bytes");
            let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, reason);
            let all = [(header::CONTENT_RANGE, format!("bytes */{len}"))];
            return Ok((all, refusal).into_response());
        }
    };
    let body = if method == Method::HEAD || bytes.is_empty() {
        Body::empty()
    } else {
        match body::body(gateway, (&held, &slot), bytes.clone()).await {
            Ok(body) => body,
            Err(refusal) => {
                // What was made may be of no use any more: the next request has it made anew, unless somebody is reading it.
                if is_over(&held, &refusal) && gateway.shelf().take_off_unread(key, &slot) {
                    gateway.spawn_farewell(slot);
                }
                return Err(refusal);
            }
        }
    };
    let mut response = (status, body).into_response();
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::ETAG, etag);
    set(header::ACCEPT_RANGES, "bytes");
    set(header::CACHE_CONTROL, "private, no-cache");
    if status != StatusCode::NOT_MODIFIED {
        set(header::CONTENT_TYPE, held.what.media_type);
        set(header::CONTENT_LENGTH, &(bytes.end - bytes.start).to_string());
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{len}", bytes.start, bytes.end - 1);
        set(header::CONTENT_RANGE, &range);
    }
    Ok(response)
}

/// Whether a rendition that could not be read is of no use any more. What only does not come now may come later, and its player goes on with it
/// then.
fn is_over(held: &Held, refusal: &Refusal) -> bool {
    match refusal.status {
        StatusCode::SERVICE_UNAVAILABLE => false,
        StatusCode::GATEWAY_TIMEOUT => held.has_ended(),
        _ => true,
    }
}

fn refused(error: gate::Error) -> Refusal {
    Refusal::of(&error.into())
}

/// The chapters of an episode, at the times that they have in what this client gets of it. What is no such document is passed on as it is, for the client to judge, but never as a page that a browser would show as one of ours.
async fn of_chapters(gateway: &Gateway, key: &Key, place: &Url) -> Result<Response, Refusal> {
    let context = &gateway.context;
    let document = asking::fetch(&context.gate, place, MAX_CHAPTERS, context.patience).await;
    let document = document.map_err(|error| Refusal::of(&error))?;
    let (made, _slot) = gateway.made(key).await?;
    let rendition = match &made {
        Made::Rendition(held) => held.rendition.as_ref(),
        Made::Elsewhere(_) => None,
    };
    let moved = match rendition {
        Some(rendition) => chapters::moved(&document, &|time| rendition.chapter(time), &|start, end| {
            rendition.leaves_out(start, end)
        }),
        None => None,
    };
    let moved = moved.unwrap_or_else(|| document.to_vec());
    let headers = [
        (header::CONTENT_TYPE, "application/json+chapters"),
        (header::CACHE_CONTROL, "private, no-cache"),
    ];
    Ok((headers, moved).into_response())
}

/// A feed whose episodes come through here.
async fn of_feed(gateway: &Gateway, host: &str, url: &Url, headers: &HeaderMap) -> Result<Response, Refusal> {
    let request = gateway.context.gate.get(url.clone()).timeout(DOCUMENT_TIMEOUT);
    let mut request = request.header_text(header::ACCEPT_ENCODING, "identity");
    // Apps look again and again whether there is something new.
    for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value.clone());
        }
    }
    let response = request.send().await.map_err(refused)?;
    let status = response.status();
    let mut kept = HeaderMap::new();
    for name in [header::ETAG, header::LAST_MODIFIED, header::CONTENT_TYPE] {
        if let Some(value) = response.headers().get(&name) {
            kept.insert(name, value.clone());
        }
    }
    if status == StatusCode::NOT_MODIFIED {
        return Ok((status, kept).into_response());
    }
    let unknown = if status.is_success() {
        let encoding = response.encoding().map(str::to_owned);
        encoding.map(NoAnswer::Encoded)
    } else {
        let after = response.retry_after();
        Some(NoAnswer::Status { status, after })
    };
    if let Some(unknown) = unknown {
        return Err(Refusal::of(&unknown.into_error(url)));
    }
    let place = response.url().clone();
    // The semaphore is never closed; were it, nothing would be lost by going on.
    let _place = gateway.feeds.acquire().await;
    let feed = response.bytes_limited(source::MAX_FEED).await.map_err(refused)?;
    // A name may hold what means something in XML.
    let through = format!("http://{}/", quick_xml::escape::escape(host));
    let Some(feed) = feed::through(&feed, &place, &through) else {
        let reason = format!("{} is no podcast feed", gate::shown(url));
        return Err(Refusal::new(StatusCode::BAD_GATEWAY, reason));
    };
    kept.insert(header::VARY, HeaderValue::from_static("host"));
    // A feed that holds a script is still no page of ours.
    kept.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'"),
    );
    if !kept.contains_key(header::CONTENT_TYPE) {
        kept.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/rss+xml"),
        );
    }
    Ok((kept, feed).into_response())
}
