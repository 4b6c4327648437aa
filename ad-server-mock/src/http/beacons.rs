//! `/b/…`: what clients report, and `/proof/…`: the accounts that they give of it.
//!
//! Invariants: a beacon is answered 204 only after its event is on disk; a refused one says why and is counted as
//! invalid traffic. Not for what an event does to a budget.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ad_splicer::proof::{Account, Expected, Head, MOST_BYTES};
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};

use super::{App, Refusal, bad};
use crate::answer::is_event;
use crate::sign::{self, Subject, filled};
use crate::store::proofs::ProofSubject;
use crate::store::settle::{Beacon, Proof, Recorded};

/// The longest account that is read.
pub(super) const LONGEST_ACCOUNT: usize = MOST_BYTES;

/// Whether the URL is ours, and not from who is no listener; counted if it is not.
async fn checked(
    app: &App,
    subject: Subject<'_>,
    signature: &str,
    headers: &HeaderMap,
    peer: SocketAddr,
) -> Result<i64, Refusal> {
    let now = app.clock.now();
    if !app.key.verify(subject, signature) {
        app.ads.count_invalid("signature", now).await?;
        return Err(Refusal(
            StatusCode::FORBIDDEN,
            "the signature is not this server's".to_owned(),
        ));
    }
    if let Some(reason) = app.invalid(headers, peer) {
        app.ads.count_invalid(reason, now).await?;
        return Err(Refusal(
            StatusCode::FORBIDDEN,
            "this is not taken for a listener".to_owned(),
        ));
    }
    if let Some(reason) = app.rates.beacon(app.address(headers, peer), now) {
        app.ads.count_invalid(reason, now).await?;
        // Who is a listener keeps its beacon and sends it again later.
        return Err(Refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "too many beacons came from this address: send it again later".to_owned(),
        ));
    }
    Ok(now)
}

pub(super) async fn beacon(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((event, id)): Path<(String, String)>,
    headers: HeaderMap,
    Query(query): Query<sign::Query>,
) -> Result<StatusCode, Refusal> {
    let subject = Subject {
        event: &event,
        id: &id,
        flight: &query.f,
        creative: &query.c,
        tracker: &query.t,
    };
    let now = checked(&app, subject, &query.s, &headers, peer).await?;
    let short = |v: &str| filled(v).map(|v| v.chars().take(64).collect::<String>());
    if event == "noAd" {
        let code = short(&query.code).unwrap_or_else(|| "unknown".to_owned());
        return taken(&app, app.ads.record_no_ad(&id, &code, now).await?, now).await;
    }
    let basis = match query.basis.as_str() {
        "delivered" => "delivered",
        // Players that do not know our macro leave it, or say that it is unknown to them. What VAST has them report is what
        // they present.
        "played" | "[GROVE_BASIS]" | "-1" => "played",
        _ => {
            app.ads.count_invalid("basis", now).await?;
            return Err(bad("basis is delivered or played"));
        }
    };
    if !is_event(&event) {
        app.ads.count_invalid("event", now).await?;
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
    taken(&app, app.ads.record(beacon, now).await?, now).await
}

async fn taken(app: &App, recorded: Recorded, now: i64) -> Result<StatusCode, Refusal> {
    if recorded != Recorded::Unknown {
        return Ok(StatusCode::NO_CONTENT);
    }
    app.ads.count_invalid("unknown", now).await?;
    Err(Refusal(StatusCode::NOT_FOUND, "no such decision".to_owned()))
}

/// Takes an account of play and says whether it holds for this decision: 204 stored (also when it does not prove the
/// whole ad), 422 rejected, with the name of what is wrong.
pub(super) async fn proof(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Query(query): Query<sign::Query>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let subject = Subject {
        event: "proof",
        id: &id,
        flight: &query.f,
        creative: &query.c,
        tracker: &query.t,
    };
    let now = checked(&app, subject, &query.s, &headers, peer).await?;
    let account: Account = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("the account of play is not understood: {error}")))?;
    let nonce = hex::encode(account.nonce);
    let Some(known) = app.ads.db().proof_subject(&id).await? else {
        return taken(&app, Recorded::Unknown, now).await;
    };
    let earlier = app.ads.db().proof_account(&nonce).await?;
    let records: Vec<String> = account
        .records
        .iter()
        .take(ad_splicer::proof::MOST_RECORDS)
        .map(|r| hex::encode(r.nonce))
        .collect();
    let elsewhere: HashSet<String> = app.ads.db().proof_records(&records, &nonce).await?;
    let proof = judge(&account, &known, earlier, &elsewhere, records);
    let rejected = proof.rejected;
    let recorded = app.ads.record_proof(proof, now).await?;
    match rejected {
        None => taken(&app, recorded, now).await,
        Some(name) => Err(Refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the account of play is not believed: {name}"),
        )),
    }
}

/// What an account comes to for a decision.
fn judge(
    account: &Account,
    known: &ProofSubject,
    earlier: Option<(i64, String)>,
    elsewhere: &HashSet<String>,
    records: Vec<String>,
) -> Proof {
    let expected = Expected {
        key: known.key.as_deref().and_then(bytes32),
        content: None,
        publisher: None,
        earlier: earlier.and_then(|(count, hash)| {
            Some(Head {
                count: count as u64,
                hash: bytes32(&hash)?,
            })
        }),
        seen: &|record| elsewhere.contains(&hex::encode(record)),
    };
    let mut proof = Proof {
        ad_serving_id: known.ad_serving_id.clone(),
        account: hex::encode(account.nonce),
        rejected: None,
        presented: false,
        whole: false,
        head: None,
        records,
    };
    match account.check(&expected) {
        Ok(checked) => {
            let creative = bytes32(&known.sha256).unwrap_or_default();
            let duration = Duration::from_millis(known.duration.max(0) as u64);
            let head = checked.head();
            proof.presented = checked
                .presented(&known.ad_serving_id)
                .is_some_and(|p| p.creative == creative);
            proof.whole = checked.proves(&known.ad_serving_id, &creative, duration);
            proof.head = Some((head.count as i64, hex::encode(head.hash)));
        }
        Err(rejected) => {
            proof.rejected = Some(rejected.name());
            proof.records.clear();
        }
    }
    proof
}

fn bytes32(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}
