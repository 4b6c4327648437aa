//! The line that says where playback is: kept up to date on a terminal, now and then a plain line elsewhere, nothing with `--json`.
//!
//! Not for: bars of downloads (`output`).

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::plain::plain;

/// How often a plain line is written.
const PLAIN: Duration = Duration::from_secs(10);

/// What the line tells.
#[derive(Clone, Debug)]
pub(super) struct Status {
    pub(super) at: Duration,
    pub(super) duration: Duration,
    /// Bytes of content that are here, of how many.
    pub(super) have: u64,
    pub(super) total: u64,
    /// `None` for what no peer can have.
    pub(super) peers: Option<usize>,
    /// Why it stands still, when it does.
    pub(super) state: Option<String>,
    /// Whether the sound is turned off.
    pub(super) muted: bool,
    pub(super) ad: Option<AdLine>,
}

/// The ad that plays.
#[derive(Clone, Debug)]
pub(super) struct AdLine {
    /// Its number in the break, from 1, of how many.
    pub(super) number: usize,
    pub(super) count: usize,
    pub(super) remaining: Duration,
    pub(super) advertiser: Option<String>,
    /// Whether `s` does something now.
    pub(super) skippable: bool,
    /// Whether `c` does something.
    pub(super) opens: bool,
}

impl Status {
    /// As text; `keys` when there are keys to be named.
    fn text(&self, keys: bool) -> String {
        let mut parts = Vec::new();
        if let Some(ad) = &self.ad {
            parts.push(format!("Ad {}/{}", ad.number, ad.count));
            parts.push(clock(ad.remaining));
            parts.extend(ad.advertiser.clone());
            if keys && ad.skippable {
                parts.push("s skips".to_owned());
            }
            if keys && ad.opens {
                parts.push("c opens".to_owned());
            }
        } else {
            parts.push(format!("{} / {}", clock(self.at), clock(self.duration)));
            let percent = (self.have * 100).checked_div(self.total).unwrap_or(100);
            parts.push(format!("{percent}% here"));
            parts.extend(self.peers.map(|peers| match peers {
                1 => "1 peer".to_owned(),
                peers => format!("{peers} peers"),
            }));
        }
        parts.extend(self.muted.then(|| "muted".to_owned()));
        parts.extend(self.state.clone());
        parts.join(" · ")
    }
}

/// Minutes and seconds, as players show them.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// Where it is shown.
pub(super) struct Line {
    bar: Option<ProgressBar>,
    plain: bool,
    keys: bool,
    /// What the last plain line was about: which ad, or which stretch of time.
    last: Option<(Option<usize>, u64)>,
}

impl Line {
    pub(super) fn new(json: bool, keys: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !json).then(|| {
            let bar = ProgressBar::new_spinner();
            // The template is a constant that is tested.
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        Line {
            bar,
            plain: !terminal && !json,
            keys,
            last: None,
        }
    }

    /// Says that nothing is there to be played yet.
    pub(super) fn wait(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message(if self.keys {
                "waiting for data … · q leaves"
            } else {
                "waiting for data …"
            });
            bar.tick();
        }
    }

    /// Says where playback is.
    pub(super) fn show(&mut self, status: &Status) {
        if let Some(bar) = &self.bar {
            bar.set_message(plain(&status.text(self.keys)).into_owned());
            bar.tick();
        }
        if self.plain {
            let about = match &status.ad {
                Some(ad) => (Some(ad.number), 0),
                None => (None, status.at.as_secs() / PLAIN.as_secs()),
            };
            if self.last != Some(about) {
                self.last = Some(about);
                eprintln!("{}", status.text(self.keys));
            }
        }
    }

    /// A line for the person, that stays.
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(plain(text)),
            None => eprintln!("{text}"),
        }
    }

    /// Takes the line away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_position_or_ad() {
        let mut status = Status {
            at: Duration::from_secs(62),
            duration: Duration::from_secs(3723),
            have: 1,
            total: 3,
            peers: Some(1),
            state: None,
            muted: false,
            ad: None,
        };
        assert_eq!(status.text(true), "1:02 / 1:02:03 · 33% here · 1 peer");
        status.peers = None;
        assert_eq!(status.text(true), "1:02 / 1:02:03 · 33% here");
        status.ad = Some(AdLine {
            number: 1,
            count: 2,
            remaining: Duration::from_millis(12_400),
            advertiser: Some("Tea & Co".into()),
            skippable: true,
            opens: true,
        });
        assert_eq!(status.text(false), "Ad 1/2 · 0:12 · Tea & Co");
        status.state = Some("paused".into());
        assert_eq!(
            status.text(true),
            "Ad 1/2 · 0:12 · Tea & Co · s skips · c opens · paused"
        );
        status.muted = true;
        assert_eq!(status.text(false), "Ad 1/2 · 0:12 · Tea & Co · muted · paused");
    }

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template("{wide_msg}").is_ok());
    }
}
