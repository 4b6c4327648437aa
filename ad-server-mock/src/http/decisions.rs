//! `/vast`, `/vmap` and `/decision`: questions for ads.
//!
//! Deciding costs budget, so `HEAD` never decides. Who is no listener gets an answer without ads, and is counted as
//! invalid traffic. Not for the rules of a decision.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Query as Extract, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use percent_encoding::utf8_percent_encode;

use super::ask::Query;
use super::{App, Refusal, bad, new_id};
use crate::ads::{Asking, Decided};
use crate::answer::{Context, Offset, Source, Version, json, vast, vmap};
use crate::sign::{ESCAPED, filled};

/// Most breaks of one VMAP document.
const MOST_BREAKS: usize = 50;

/// A question that was decided.
struct Answer {
    request_id: String,
    pod: Vec<Decided>,
    blocked: Vec<String>,
}

impl Answer {
    fn context<'a>(&'a self, app: &'a App, base: &'a str) -> Context<'a> {
        Context {
            base,
            key: &app.key,
            request_id: &self.request_id,
            expires: app.expires / 1000,
            blocked: &self.blocked,
        }
    }
}

async fn answer(app: &App, query: &Query, headers: &HeaderMap, peer: SocketAddr) -> Result<Answer, Refusal> {
    let mut question = query.question()?;
    let proof_key = query.proof_key()?;
    let now = app.clock.now();
    let listener = app.listener(headers, peer);
    let reason = app.invalid(headers, peer).or_else(|| {
        let tokens: Vec<&str> = [&question.viewer, &question.download]
            .into_iter()
            .filter_map(|t| t.as_deref())
            .collect();
        app.rates
            .question(app.address(headers, peer), &listener, &tokens, now)
    });
    if let Some(reason) = reason {
        app.ads.count_invalid(reason, now).await?;
        question.ads = 0;
    }
    let ask = Asking {
        request_id: new_id(),
        listener: Some(listener),
        proof_key,
        now,
        expires: now + app.expires + app.grace,
        seed: rand::random(),
    };
    let pod = app.ads.decide(&question, &ask, new_id).await?;
    tracing::debug!(
        request = ask.request_id,
        wanted = question.ads,
        filled = pod.len(),
        "decided"
    );
    Ok(Answer {
        request_id: ask.request_id,
        pod,
        blocked: question.blocked,
    })
}

fn xml(document: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/xml; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, document).into_response()
}

pub(super) async fn as_vast(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Extract(query): Extract<Query>,
) -> Result<Response, Refusal> {
    let version = query.version()?;
    let answer = answer(&app, &query, &headers, peer).await?;
    let base = app.base(&headers);
    Ok(xml(vast(answer.context(&app, &base), version, &answer.pod)))
}

pub(super) async fn as_json(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Extract(query): Extract<Query>,
) -> Result<Response, Refusal> {
    let answer = answer(&app, &query, &headers, peer).await?;
    let base = app.base(&headers);
    let document = json(answer.context(&app, &base), &answer.pod);
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(document)).into_response())
}

/// The breaks of an episode: tags that are asked when it is time, or (`inline=1`) ads decided now.
pub(super) async fn as_vmap(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Extract(query): Extract<Query>,
) -> Result<Response, Refusal> {
    // What players of VMAP must understand is VAST 3.0.
    let version = if filled(query.vast.trim()).is_none() {
        Version::V3
    } else {
        query.version()?
    };
    query.question()?;
    let offsets = filled(query.breaks.trim())
        .ok_or_else(|| bad("breaks is a list such as start,00:10:00,50%,end"))?
        .split(',')
        .map(|text| {
            Offset::parse(text.trim())
                .ok_or_else(|| bad(format!("breaks: {text:?} is not start, end, n% or a time")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    if offsets.len() > MOST_BREAKS {
        return Err(bad(format!("breaks has more than {MOST_BREAKS} entries")));
    }
    let base = app.base(&headers);
    let asked: Vec<(Offset, Query)> = offsets
        .into_iter()
        .enumerate()
        .map(|(n, offset)| {
            let one = Query {
                break_id: format!("break-{}", n + 1),
                position: offset.position().to_owned(),
                ..query.clone()
            };
            (offset, one)
        })
        .collect();
    if query.inline != "1" {
        let breaks: Vec<_> = asked
            .iter()
            .map(|(offset, one)| (*offset, Source::Tag(tag(&base, one))))
            .collect();
        return Ok(xml(vmap(version, &breaks)));
    }
    let mut answers = Vec::with_capacity(asked.len());
    for (offset, one) in &asked {
        answers.push((*offset, answer(&app, one, &headers, peer).await?));
    }
    let breaks: Vec<_> = answers
        .iter()
        .map(|(offset, answer)| {
            (
                *offset,
                Source::Pod(answer.context(&app, &base), answer.pod.clone()),
            )
        })
        .collect();
    Ok(xml(vmap(version, &breaks)))
}

/// The tag of a break: the same question to `/vast`. Macros that were left stay for the client to fill.
fn tag(base: &str, query: &Query) -> String {
    let fields = [
        ("show", &query.show),
        ("episode", &query.episode),
        ("break", &query.break_id),
        ("position", &query.position),
        ("country", &query.country),
        ("device", &query.device),
        ("type", &query.content_type),
        ("blocked", &query.blocked),
        ("download", &query.download),
        ("viewer", &query.viewer),
        ("key", &query.key),
        ("max", &query.max),
        ("ads", &query.ads),
        ("vast", &query.vast),
    ];
    let query: Vec<String> = fields
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| {
            let inner = value.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
            let plain = |b: u8| b.is_ascii_uppercase() || b == b'_' || b.is_ascii_digit();
            if inner.is_some_and(|m| !m.is_empty() && m.bytes().all(plain)) {
                return format!("{name}={value}");
            }
            format!("{name}={}", utf8_percent_encode(value, ESCAPED))
        })
        .collect();
    format!("{base}/vast?{}", query.join("&"))
}
