//! What is done and said while playback waits for data that does not come: since when, and of whom it could come.
//!
//! What was fetched ahead plays on while nothing comes, so a wait that has only begun may be told to last for long already. Not for: when
//! it is given up (`engine`), or the downloads' own words (`get`).

use std::time::{Duration, Instant};

use engine::node::Torrent;

use super::line::Line;
use crate::quiet::{Quiet, goes_on};

/// A silence shorter than this is the ordinary pause between two answers.
const SILENT: Duration = Duration::from_secs(5);
/// How long playback goes on waiting for what may still come.
pub(super) const GIVE_UP: Duration = Duration::from_secs(600);

/// What is known when it is looked at.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Whether playback stands still for want of data.
    waits: bool,
    /// Whether bytes have come lately, or none are missing.
    comes: bool,
    /// Whether there is a web seed.
    served: bool,
    peers: usize,
}

/// One playback's silences.
#[derive(Debug)]
pub(super) struct Stalled {
    came: Instant,
    quiet: Quiet,
}

impl Stalled {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            came: now,
            quiet: Quiet::new(),
        }
    }

    /// Has the web seed asked again while playback stands still for want of data, and says from time to time what is waited for. Gives that
    /// in words. To be called while it is paused too: what comes meanwhile is no silence.
    pub(super) fn wait_for_data(&mut self, torrent: &Torrent, waits: bool, line: &Line) -> Option<String> {
        let stats = torrent.stats();
        let seen = Seen {
            waits,
            comes: stats.down_rate > 0 || stats.is_complete(),
            served: stats.web_seeds > 0,
            peers: stats.peers,
        };
        let (words, is_told) = self.look(seen, Instant::now())?;
        if !seen.comes {
            torrent.ask_again();
        }
        if is_told {
            let trouble = stats.trouble();
            let trouble =
                trouble.map_or_else(String::new, |trouble| format!(" (the latest trouble: {trouble})"));
            line.say(&format!("{words}{trouble}; {}", goes_on(stats.gives_up)));
        }
        Some(words)
    }

    /// What is waited for, in words, when it is; and whether that is worth a line of its own now.
    fn look(&mut self, seen: Seen, now: Instant) -> Option<(String, bool)> {
        if seen.comes {
            self.came = now;
        }
        if !seen.waits {
            return None;
        }
        let silent = now.saturating_duration_since(self.came);
        let is_told = self.quiet.is_told(silent);
        if silent < SILENT {
            return Some(("waiting for data".to_owned(), false));
        }
        let who = match (seen.served, seen.peers) {
            (true, 0) => "the web seed has sent nothing".to_owned(),
            (true, 1) => "neither the web seed nor the one peer has sent anything".to_owned(),
            (true, peers) => format!("neither the web seed nor any of {peers} peers has sent anything"),
            (false, 0) => "no peer who has it could be reached".to_owned(),
            (false, 1) => "the one peer has sent nothing".to_owned(),
            (false, peers) => format!("none of {peers} peers has sent anything"),
        };
        Some((
            format!("waiting for data: {who} for {} s", silent.as_secs()),
            is_told,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Seen = Seen {
        waits: true,
        comes: false,
        served: true,
        peers: 0,
    };

    #[test]
    fn what_is_said_counts_from_the_last_bytes_and_not_from_the_end_of_the_buffer() {
        let start = Instant::now();
        let mut stalled = Stalled::new(start);
        let mut look = |seconds, seen| stalled.look(seen, start + Duration::from_secs(seconds));
        let plays = Seen {
            waits: false,
            ..SILENCE
        };
        assert_eq!(look(0, SILENCE), Some(("waiting for data".to_owned(), false)));
        assert_eq!(look(10, Seen { comes: true, ..plays }), None);
        assert_eq!(look(30, plays), None, "it plays what is here");
        let (words, told) = look(34, SILENCE).expect("it waits");
        assert_eq!(words, "waiting for data: the web seed has sent nothing for 24 s");
        assert!(told);
        let (words, told) = look(35, SILENCE).expect("it waits");
        assert!(words.ends_with("for 25 s") && !told, "{words}");
        assert!(look(60, SILENCE).is_some_and(|(_, told)| told));
        let came = Seen {
            comes: true,
            ..SILENCE
        };
        assert_eq!(look(61, came), Some(("waiting for data".to_owned(), false)));
        assert!(look(66, SILENCE).is_some_and(|(_, told)| told), "another silence");
    }

    #[test]
    fn it_is_said_of_whom_something_could_come() {
        let start = Instant::now();
        let words = |served, peers| {
            let seen = Seen {
                served,
                peers,
                ..SILENCE
            };
            let looked = Stalled::new(start).look(seen, start + Duration::from_secs(7));
            looked.expect("it waits").0
        };
        for (served, peers, who) in [
            (true, 1, "neither the web seed nor the one peer has sent anything"),
            (
                true,
                3,
                "neither the web seed nor any of 3 peers has sent anything",
            ),
            (false, 0, "no peer who has it could be reached"),
            (false, 1, "the one peer has sent nothing"),
            (false, 2, "none of 2 peers has sent anything"),
        ] {
            assert_eq!(words(served, peers), format!("waiting for data: {who} for 7 s"));
        }
    }
}
