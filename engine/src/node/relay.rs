//! The way through a tracker's relay, for the two sides of a personal swarm that cannot reach each other.
//!
//! The side that has the content waits there, the other one dials the relay's address as if it were the peer's; both
//! keep their place by showing their token from the very socket that speaks QUIC. Nothing of it is tried for other
//! swarms.

use super::inbox::Msg;
use super::registry::Registry;
use crate::personal::Secret;
use crate::tracker::pairs::{MAGIC, Role, Token};
use gate::{Family, StatusCode, Url};
use serde::Deserialize;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Trackers whose relays are used.
pub(super) const MOST: usize = 3;
/// How often the token is shown, which also keeps routers open.
const SHOW: Duration = Duration::from_secs(5);
/// After so many times the place is asked for again: the address may have changed.
const ASK_AGAIN: u32 = 4;
/// How long the other ways are tried before this one.
const HEAD_START: Duration = Duration::from_secs(3);
/// Pause after a failure, twice as long each time; the longest one also where a tracker says that it has no relay.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// Longest pause where a relay may soon have room, and where nobody answers, as without a network.
const REFUSED: Duration = Duration::from_secs(20);
const UNREACHED: Duration = Duration::from_secs(60);
/// Characters that are shown of why a relay refuses.
const LONGEST_REASON: usize = 200;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What `/relay` answers.
#[derive(Deserialize)]
struct Answer {
    port: u16,
    token: String,
}

/// Keeps a place at the relay of a tracker, if it has one, until it is aborted. The receiver's driver is told the
/// address to dial, again and again.
pub(super) async fn stay(
    registry: Arc<Registry>,
    tracker: String,
    secret: Secret,
    role: Role,
    driver: mpsc::Sender<Msg>,
) {
    let Some(url) = relay_url(&tracker, secret, role) else {
        return;
    };
    // Who had a place a moment ago goes on there.
    let mut token = registry.relay_token(&tracker);
    if role == Role::Receiver && token.is_none() {
        tokio::time::sleep(HEAD_START).await;
    }
    let mut failures = 0;
    loop {
        let place = match ask(&registry, &url, token).await {
            Ok(Some(place)) => place,
            Ok(None) => {
                tokio::time::sleep(PAUSES.1).await;
                continue;
            }
            Err(why) => {
                if let NoPlace::Refused(why) = &why
                    && driver
                        .send(Msg::RelayRefuses { why: told(&url, why) })
                        .await
                        .is_err()
                {
                    return;
                }
                tracing::info!("the relay of {}: {why}", gate::shown(&url));
                token = None;
                let Some(pause) = why.pause(failures) else { return };
                failures += 1;
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        let (address, mine) = place;
        failures = 0;
        token = Some(mine);
        registry.set_relay(&tracker, mine, address);
        if driver.send(Msg::RelayAccepts).await.is_err() {
            return;
        }
        let shown = [MAGIC.as_slice(), &mine].concat();
        for _ in 0..ASK_AGAIN {
            registry.send_raw(address, &shown);
            if role == Role::Receiver {
                // The relay takes the token first, or the dial is repeated.
                tokio::time::sleep(Duration::from_millis(50)).await;
                if driver.send(Msg::Relay { address }).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(SHOW).await;
        }
    }
}

/// `…/announce` has its relay at `…/relay`, as BEP 48 has it for scrapes.
fn relay_url(tracker: &str, secret: Secret, role: Role) -> Option<Url> {
    let mut url = Url::parse(tracker)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let path = url.path().strip_suffix("/announce")?.to_owned();
    url.set_path(&format!("{path}/relay"));
    url.query_pairs_mut()
        .append_pair("key", &hex::encode(secret.rendezvous()))
        .append_pair(
            "role",
            match role {
                Role::Sender => "sender",
                Role::Receiver => "receiver",
            },
        );
    Some(url)
}

/// What to say about a refusal: the relay's own words, as far as they are fit to be shown.
fn told(relay: &Url, why: &str) -> String {
    let why: String = why
        .chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_REASON)
        .collect();
    let relay = relay.origin().ascii_serialization();
    format!("the relay of {relay} carries nothing for this transfer: {why}")
}

/// Why a relay gave no place.
#[derive(Debug, thiserror::Error)]
enum NoPlace {
    /// It does not want to, and says why.
    #[error("{0}")]
    Refused(String),
    /// It could not be asked.
    #[error(transparent)]
    Request(#[from] gate::Error),
    /// Its answer cannot be used now.
    #[error("{0}")]
    Answer(String),
    /// What answers there is no relay.
    #[error("it is none: {0}")]
    None(String),
}

impl NoPlace {
    /// When to ask again, after so many failures before this one; `None` for never.
    fn pause(&self, failures: u32) -> Option<Duration> {
        let longest = match self {
            NoPlace::Refused(_) => REFUSED,
            NoPlace::Request(_) => UNREACHED,
            NoPlace::Answer(_) => PAUSES.1,
            NoPlace::None(_) => return None,
        };
        Some((PAUSES.0 * 2_u32.saturating_pow(failures.min(10))).min(longest))
    }
}

/// Asks for a place: the address to send to, and our token. `None` when the tracker has no relay.
async fn ask(
    registry: &Registry,
    url: &Url,
    token: Option<Token>,
) -> Result<Option<(SocketAddr, Token)>, NoPlace> {
    let mut asked = url.clone();
    if let Some(token) = token {
        asked.query_pairs_mut().append_pair("token", &hex::encode(token));
    }
    let mut request = registry.gate().get(asked).timeout(TIMEOUT);
    // The relay is where the tracker is, and has to be of a family that our sockets speak.
    let anywhere = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let families: Vec<Family> = anywhere
        .map(|ip| SocketAddr::new(ip, 0))
        .iter()
        .filter(|address| registry.reaches(**address))
        .map(Family::of)
        .collect();
    if let [only] = families.as_slice() {
        request = request.over(*only);
    }
    let response = request.send().await?;
    let answered = response
        .remote_addr()
        .ok_or_else(|| NoPlace::Answer("it is not known who answered".to_owned()))?;
    let status = response.status();
    if status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let body = match response.bytes_limited(4096).await {
        Err(long @ gate::Error::TooLong { .. }) => return Err(NoPlace::None(long.to_string())),
        body => body?,
    };
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(NoPlace::Refused(String::from_utf8_lossy(&body).trim().to_owned()));
    }
    if !status.is_success() {
        let why = format!("it answered {status}");
        return Err(if gate::may_pass(status) {
            NoPlace::Answer(why)
        } else {
            NoPlace::None(why)
        });
    }
    let answer: Answer = serde_json::from_slice(&body).map_err(|e| NoPlace::None(e.to_string()))?;
    let mut token = [0; 16];
    hex::decode_to_slice(&answer.token, &mut token).map_err(|e| NoPlace::None(e.to_string()))?;
    let address = SocketAddr::new(answered.ip().to_canonical(), answer.port);
    if !registry.reaches(address) {
        return Err(NoPlace::Answer("there is no way to its address".to_owned()));
    }
    Ok(Some((address, token)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Node, NodeConfig};
    use axum::Router;
    use axum::extract::Path;
    use gate::{Gate, Policy};

    #[tokio::test]
    async fn who_is_no_relay_is_not_asked_again_and_who_fails_seldom() {
        let folder = tempfile::tempdir().unwrap();
        let gate = Gate::new(Policy {
            allow_private: true,
            ..Policy::default()
        });
        let node = Node::start(NodeConfig::new(folder.path(), gate)).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let says = |Path(status): Path<u16>| async move {
            let body = match status {
                200 => "d8:intervali1800e5:peers0:e".to_owned(),
                201 => "x".repeat(5000),
                _ => String::new(),
            };
            (StatusCode::from_u16(status).unwrap(), body)
        };
        let router = Router::new().route("/{status}", axum::routing::get(says));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await });
        let pauses = async |status: u16, at: SocketAddr| {
            let url = Url::parse(&format!("http://{at}/{status}")).unwrap();
            let why = ask(&node.registry, &url, None).await.unwrap_err();
            [0, 1, 20].map(|failures| why.pause(failures).map(|pause| pause.as_secs()))
        };
        for none in [200, 201, 204, 400, 403, 405] {
            assert_eq!(pauses(none, at).await, [None; 3], "{none}");
        }
        for trouble in [500, 502, 503] {
            assert_eq!(
                pauses(trouble, at).await,
                [Some(5), Some(10), Some(300)],
                "{trouble}"
            );
        }
        assert_eq!(pauses(429, at).await, [Some(5), Some(10), Some(20)]);
        // Bound, so that nobody else takes it, and not listened at.
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let nobody = closed.local_addr().unwrap();
        assert_eq!(
            pauses(200, nobody).await,
            [Some(5), Some(10), Some(60)],
            "nobody listens"
        );
        node.stop().await;
    }

    #[tokio::test]
    async fn what_a_tracker_says_of_its_relay_is_trusted_for_peers_alone() {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::start(NodeConfig::new(folder.path(), Gate::default()))
            .await
            .unwrap();
        let at = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let may_dial = |port| node.registry.may_dial(at(port), "127.0.0.1").is_ok();
        assert!(!may_dial(9));
        node.registry
            .set_relay("http://127.0.0.1/announce", [7; 16], at(9));
        assert!(may_dial(9) && !may_dial(10));
        assert!(node.registry.gate().check(at(9), "127.0.0.1").is_err());
        node.stop().await;
    }
}
