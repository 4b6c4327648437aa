//! What the gateway says of itself: sentences on stderr for a person, events on stdout for programs.
//!
//! An address may hold a secret (in its query, or in a magnet link): it is shown without.

use std::time::{Duration, Instant};

use engine::node::Torrent;
use serde_json::json;
use url::{Position, Url};

use super::held::{Held, Reported};
use super::making::Made;
use super::refusal::Refusal;
use super::{Gateway, lock};
use crate::output::print_json;
use crate::source::is_magnet;

/// A source as it is shown.
pub(crate) fn shown(source: &str) -> String {
    if is_magnet(source) {
        let what = source.split(['?', '&']).find(|part| part.starts_with("xt="));
        return format!("magnet:?{}", what.unwrap_or("…"));
    }
    match Url::parse(source) {
        Ok(url) if url.has_host() => gate::shown(&url),
        // A file.
        _ => source.to_owned(),
    }
}

/// Where a torrent's content comes from when no peer has it.
fn origin(torrent: &Torrent) -> Option<String> {
    let first = Url::parse(torrent.metainfo().web_seeds().first()?).ok()?;
    first
        .has_host()
        .then(|| first[Position::BeforeHost..Position::AfterPort].to_owned())
}

/// How many ads there are, and why none when nothing else says it.
fn of_ads(count: usize, none_skipped: bool, no_ads: bool) -> String {
    match count {
        0 if no_ads => "without ads (--no-ads)".to_owned(),
        0 if none_skipped => "without ads: it has no break for them".to_owned(),
        0 => "without ads".to_owned(),
        1 => "with 1 ad".to_owned(),
        count => format!("with {count} ads"),
    }
}

impl Gateway {
    /// What became of a source that somebody asked for.
    pub(super) fn tell_made(&self, source: &str, made: &Result<Made, Refusal>) {
        let source = shown(source);
        let is_json = self.settings.json;
        match made {
            Ok(Made::Rendition(held)) if is_json => {
                let what = &held.what;
                print_json(&json!({
                    "event": "rendition", "source": source, "etag": what.etag, "bytes": what.bytes,
                    "media_type": what.media_type, "ads": what.placed(), "skipped": what.skipped,
                }));
            }
            Ok(Made::Rendition(held)) => {
                let what = &held.what;
                let ads = of_ads(
                    what.ads.len(),
                    what.skipped.is_empty(),
                    self.settings.swarm.no_ads,
                );
                eprintln!("{source}: {} {ads}", what.media_type);
                for skipped in &what.skipped {
                    let others = what.ads.iter().any(|ad| ad.break_id == skipped.break_id);
                    eprintln!("{}", skipped.sentence(others));
                }
            }
            Ok(Made::Elsewhere(_)) if is_json => {
                print_json(&json!({ "event": "elsewhere", "source": source }));
            }
            Ok(Made::Elsewhere(bare)) => {
                eprintln!("{bare}, so players are sent to it");
            }
            Err(refusal) if is_json => print_json(&json!({
                "event": "refused", "source": source, "status": refusal.status.as_u16(), "reason": refusal.sentence,
            })),
            Err(refusal) => eprintln!("{source}: {}", refusal.sentence),
        }
    }

    /// What was reported of the ads of a rendition.
    pub(super) fn tell_reported(&self, held: &Held, reported: &Reported) {
        let (source, etag) = (shown(&held.what.source), &held.what.etag);
        if self.settings.json {
            if reported.delivered > 0 {
                print_json(&json!({
                    "event": "delivered", "source": source, "etag": etag, "ads": reported.delivered,
                }));
            }
            if !reported.lost.is_empty() {
                print_json(&json!({
                    "event": "lost", "source": source, "etag": etag, "skipped": reported.lost,
                }));
            }
            return;
        }
        for lost in &reported.lost {
            eprintln!("{source}: {}", lost.sentence(false));
        }
    }

    /// An answer waits for the byte of the content at `at`.
    pub(super) fn tell_waiting(&self, held: &Held, at: u64) {
        let torrent = held.torrent();
        let Some(origin) = origin(torrent) else { return };
        if !lock(&self.waiting).begins(&origin, Instant::now()) {
            return;
        }
        let stats = torrent.stats();
        let trouble = stats.trouble();
        let name = torrent.metainfo().name();
        if self.settings.json {
            print_json(&json!({
                "event": "waiting", "source": shown(&held.what.source), "at": at, "origin": origin, "peers": stats.peers,
                "trouble": trouble,
            }));
            return;
        }
        let peers = match stats.peers {
            0 => "there is no peer".to_owned(),
            peers => format!("none of {peers} peers sends it"),
        };
        let trouble = trouble.map_or_else(String::new, |trouble| format!(" (the latest trouble: {trouble})"));
        eprintln!("waiting for {origin}, which does not send byte {at} of {name}; {peers}{trouble}");
    }

    /// What an answer waited for came.
    pub(super) fn tell_going_on(&self, held: &Held) {
        let Some(origin) = origin(held.torrent()) else {
            return;
        };
        if !lock(&self.waiting).ends(&origin) {
            return;
        }
        if self.settings.json {
            print_json(&json!({ "event": "going_on", "origin": origin }));
        } else {
            eprintln!("what {origin} did not send comes again");
        }
    }

    /// An answer ended before its end.
    pub(super) fn tell_broken_off(&self, held: &Held, at: u64, waited: Duration, why: &std::io::Error) {
        let source = shown(&held.what.source);
        if self.settings.json {
            print_json(&json!({
                "event": "broken_off", "source": source, "at": at, "reason": why.to_string(),
                "trouble": held.torrent().stats().problems.last(),
            }));
            return;
        }
        if why.kind() == std::io::ErrorKind::TimedOut {
            let seconds = waited.as_secs();
            eprintln!("{source}: an answer breaks off at byte {at}, since nothing came for {seconds} s");
        } else {
            eprintln!("{source}: an answer breaks off at byte {at}: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_ads_have_a_reason() {
        assert_eq!(of_ads(2, false, false), "with 2 ads");
        assert_eq!(of_ads(1, true, false), "with 1 ad");
        assert_eq!(of_ads(0, false, false), "without ads", "each break says why");
        assert!(of_ads(0, true, true).contains("--no-ads"));
        assert!(of_ads(0, true, false).contains("no break"));
    }

    #[test]
    fn no_secret_is_shown() {
        for (source, seen) in [
            (
                "https://me:secret@x.example/a.mp3?key=secret",
                "https://x.example/a.mp3?…",
            ),
            ("https://x.example/a.mp3", "https://x.example/a.mp3"),
            (
                "magnet:?dn=x&xt=urn:btmh:1220aa&tr=http%3A%2F%2Ft.example%2Fsecret",
                "magnet:?xt=urn:btmh:1220aa",
            ),
            ("magnet:?tr=secret", "magnet:?…"),
            ("MAGNET:?tr=secret", "magnet:?…"),
        ] {
            assert_eq!(shown(source), seen);
        }
    }
}
