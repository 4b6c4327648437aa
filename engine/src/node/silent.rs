//! Which trackers of a torrent were asked and have not answered since, for whoever named them.
//!
//! Not for: whom to ask next (`tracker::tiers`).

use super::stats::SilentTracker;
use gate::Url;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Silent(Mutex<BTreeMap<String, Silence>>);

#[derive(Debug)]
struct Silence {
    since: Instant,
    why: Option<String>,
}

impl Silent {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Silence>> {
        // Single operations cannot be torn by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn asked(&self, url: &str, now: Instant) {
        let mut all = self.all();
        all.entry(url.to_owned()).or_insert(Silence {
            since: now,
            why: None,
        });
    }

    pub(super) fn failed(&self, url: &str, why: String) {
        if let Some(silence) = self.all().get_mut(url) {
            silence.why = Some(why);
        }
    }

    /// This one answered, and those that have not yet are not waited for any more.
    pub(super) fn answered(&self, url: &str) {
        self.all()
            .retain(|other, silence| other != url && silence.why.is_some());
    }

    /// None is asked any more.
    pub(super) fn clear(&self) {
        self.all().clear();
    }

    pub(super) fn list(&self, now: Instant) -> Vec<SilentTracker> {
        let all = self.all();
        let list = all.iter().map(|(url, silence)| SilentTracker {
            tracker: origin(url),
            waited: now.saturating_duration_since(silence.since),
            why: silence.why.clone(),
        });
        list.collect()
    }
}

/// Scheme, host and port: the rest may be a secret.
fn origin(url: &str) -> String {
    let parsed = Url::parse(url).ok().filter(Url::has_host);
    let Some((url, host)) = parsed.as_ref().and_then(|url| Some((url, url.host_str()?))) else {
        return "that is no URL".to_owned();
    };
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{host}{port}", url.scheme())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_failed_is_known_until_it_answers() {
        let (silent, start) = (Silent::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let list = |seconds| {
            let list = silent.list(at(seconds)).into_iter();
            list.map(|silent| (silent.tracker, silent.waited.as_secs(), silent.why))
                .collect::<Vec<_>>()
        };
        let (a, b, c) = (
            "http://a.example/secret/announce",
            "udp://b.example:9/",
            "http://c.example:81/",
        );
        silent.asked(a, at(0));
        silent.asked(b, at(3));
        silent.failed(a, "refused".to_owned());
        silent.asked(a, at(5));
        assert_eq!(
            list(10),
            [
                ("http://a.example".to_owned(), 10, Some("refused".to_owned())),
                ("udp://b.example:9".to_owned(), 7, None)
            ]
        );
        silent.asked(c, at(11));
        silent.answered(c);
        assert_eq!(list(12).len(), 1, "nobody waits for the second");
        silent.answered(a);
        assert_eq!(list(12), []);
    }
}
