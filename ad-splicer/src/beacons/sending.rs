//! Sending one beacon: one request, and what its answer says of whether it arrived.
//!
//! Not for: which beacons are due, and what becomes of them ([`super::queue`]).

use std::time::Duration;

use gate::Gate;

use super::Receiver;

/// How long one request may take.
pub(super) const REQUEST: Duration = Duration::from_secs(10);
/// How long a third party's beacon that was begun always gets, beyond the drain's budget too: cut off, it would be lost.
const LEAST: Duration = Duration::from_secs(4);
/// How long of that it may take to connect. Until then nothing was sent, and trying again is safe.
const CONNECT: Duration = Duration::from_secs(2);

/// A beacon on its way out.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) key: String,
    pub(super) url: String,
    /// JSON that is posted; without it the URL is asked for.
    pub(super) body: Option<String>,
    pub(super) receiver: Receiver,
    pub(super) attempts: u32,
}

/// How one attempt ended.
pub(super) enum Attempt {
    Sent(String),
    Postponed(String),
    Unknown(String),
    Dropped(String),
}

/// How long a request may take that is begun with so much of the budget left.
pub(super) fn time_for(receiver: Receiver, left: Duration) -> Duration {
    match receiver {
        Receiver::Grove => left.min(REQUEST),
        Receiver::ThirdParty => left.clamp(LEAST, REQUEST),
    }
}

/// Makes one request. Its answer's body is not read.
pub(super) async fn send(gate: &Gate, due: &Due, timeout: Duration) -> Attempt {
    let url = match gate::Url::parse(&due.url) {
        Ok(url) => url,
        Err(error) => return Attempt::Dropped(format!("it is not a URL: {error}")),
    };
    let request = match &due.body {
        None => gate.get(url),
        Some(body) => gate
            .request(gate::Method::POST, url)
            .header_text(gate::header::CONTENT_TYPE, "application/json")
            .body(body.clone()),
    };
    let request = match due.receiver {
        Receiver::Grove => request.timeout(timeout),
        Receiver::ThirdParty => request.timeout(timeout).connect_timeout(CONNECT),
    };
    let mut heard = false;
    let answer = tokio::time::timeout(timeout, request.send_noting(&mut heard)).await;
    match (answer, due.receiver) {
        // An account that a server refuses will not get better.
        (Ok(Ok(response)), _) if due.body.is_some() && response.status().is_client_error() => {
            Attempt::Dropped(response.status().as_str().to_owned())
        }
        (Ok(Ok(response)), _) if response.status().is_success() => {
            Attempt::Sent(response.status().as_str().to_owned())
        }
        (Ok(Ok(response)), Receiver::Grove) => Attempt::Postponed(response.status().as_str().to_owned()),
        (Ok(Ok(response)), Receiver::ThirdParty) => Attempt::Sent(response.status().as_str().to_owned()),
        // What is forbidden a later command may allow (`--allow-private`), so a Grove server's beacon waits.
        (Ok(Err(error @ (gate::Error::Scheme { .. } | gate::Error::Url { .. }))), _)
        | (Ok(Err(error @ gate::Error::Forbidden(_))), Receiver::ThirdParty) => {
            Attempt::Dropped(error.to_string())
        }
        (failed, receiver) => {
            let why = match failed {
                Ok(Err(error)) => error.to_string(),
                _ => "no answer in time".to_owned(),
            };
            // A third party counts what it heard, even if it only redirects: then it is not asked again.
            if heard && receiver == Receiver::ThirdParty {
                Attempt::Unknown(why)
            } else {
                Attempt::Postponed(why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::LIFETIME;
    use super::*;

    #[test]
    fn what_was_begun_for_a_third_party_is_not_cut_off_by_the_budget() {
        let nearly_over = Duration::from_millis(1);
        assert_eq!(time_for(Receiver::ThirdParty, nearly_over), LEAST);
        assert_eq!(time_for(Receiver::Grove, nearly_over), nearly_over);
        for receiver in [Receiver::ThirdParty, Receiver::Grove] {
            assert_eq!(time_for(receiver, LIFETIME), REQUEST);
        }
    }
}
