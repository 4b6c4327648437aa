//! A frozen rendition that the gateway holds for a client, and how its bytes are read.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use ad_splicer::content::Content as _;
use ad_splicer::splice::{Rendition, Run, Source};
use engine::node::Torrent;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::delivered::Delivery;
use super::reading::{Index, Reading};
use super::torrents::{self, Joined};
use crate::breaks::{Ready, Skipped, Spot};
use crate::decided::Decided;
use crate::rendition::{PlacedAd, left_out};

/// Content that is read in one go, however many runs it lies in.
const MOST_IN_ONE_GO: u64 = 8 << 20;

/// See the module documentation.
pub(super) struct Held {
    pub(super) what: What,
    pub(super) joined: Joined,
    pub(super) index: Index,
    /// The content with ads; without it the content is given as it is.
    pub(super) rendition: Option<Rendition>,
    /// Its breaks.
    pub(super) spots: Vec<Spot>,
    /// How many bytes a second of it are played.
    pub(super) rate: u64,
    pub(super) decided: Decided,
    /// The ads that are in it.
    pub(super) ready: Vec<Ready>,
    pub(super) delivery: Mutex<Option<Delivery>>,
    /// Bytes that were sent, whichever and however often.
    pub(super) sent: AtomicU64,
}

/// What was reported of its ads.
#[derive(Debug, Default)]
pub(super) struct Reported {
    /// So many were delivered.
    pub(super) delivered: usize,
    /// These turned out to be silence when they were read.
    pub(super) lost: Vec<Skipped>,
}

/// What can be said of it.
#[derive(Clone, Debug)]
pub(super) struct What {
    pub(super) source: String,
    /// The id of its bytes, with the quotes of HTTP.
    pub(super) etag: String,
    pub(super) media_type: &'static str,
    pub(super) bytes: u64,
    pub(super) ads: Vec<PlacedAd>,
    pub(super) skipped: Vec<Skipped>,
}

impl What {
    /// Its ads, as JSON; how loud they are made is known only when they are read.
    pub(super) fn placed(&self) -> Vec<serde_json::Value> {
        let ads = self.ads.iter().map(|ad| {
            serde_json::json!({
                "break": ad.break_id, "cue": ad.cue, "start": ad.start, "duration": ad.duration,
                "ad_id": ad.ad_id, "creative_sha256": ad.creative_sha256,
            })
        });
        ads.collect()
    }
}

impl Held {
    /// Bytes of it.
    pub(super) fn len(&self) -> u64 {
        self.what.bytes
    }

    pub(super) fn torrent(&self) -> &Torrent {
        &self.joined.torrent
    }

    /// Whether nothing of its content comes any more.
    pub(super) fn has_ended(&self) -> bool {
        torrents::has_ended(self.torrent())
    }

    /// A reader of its content, until the other end of `gone` is dropped.
    pub(super) fn reading(&self, gone: watch::Receiver<()>) -> Reading {
        Reading::new(self.torrent(), Arc::clone(&self.index), gone, None)
    }

    /// Fills `buffer` from `offset`, or as much of it as lies before `end`; nothing is waited for longer than until `until`. Blocks.
    pub(super) fn read(
        &self,
        reading: &Reading,
        offset: u64,
        end: u64,
        buffer: &mut [u8],
        until: Instant,
    ) -> io::Result<usize> {
        let wanted = usize::try_from(end - offset)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let mut done = 0;
        while done < wanted {
            let at = offset + done as u64;
            let rest = &mut buffer[done..wanted];
            let patience = until.saturating_duration_since(Instant::now());
            let read = if let Some(rendition) = &self.rendition {
                reading.want(content_part(rendition.runs(), at, end), self.rate);
                rendition.read_at(reading, at, rest, patience)
            } else {
                reading.want(at..end, self.rate);
                reading.read_at(at, rest, patience)
            };
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What is there already can be given.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn delivery(&self) -> MutexGuard<'_, Option<Delivery>> {
        super::lock(&self.delivery)
    }

    /// Notes that bytes were sent; says whether that delivered an ad.
    pub(super) fn sent(&self, bytes: Range<u64>) -> bool {
        self.sent.fetch_add(bytes.end - bytes.start, Ordering::Relaxed);
        self.delivery()
            .as_mut()
            .is_some_and(|delivery| delivery.sent(bytes))
    }

    /// Whether it came without the ads that it has room for (mostly because they were not there in time), and less than a minute of it was
    /// sent.
    pub(super) fn is_worth_another_try(&self) -> bool {
        let minute = self.rate.saturating_mul(60);
        self.what.ads.is_empty()
            && !self.what.skipped.is_empty()
            && self.sent.load(Ordering::Relaxed) < minute
    }

    fn named(&self, keys: &[String]) -> Vec<Ready> {
        let ready = self.ready.iter().filter(|ready| keys.contains(&ready.key));
        ready.cloned().collect()
    }

    /// Reports the ads that were lost, or delivered, since this was last asked.
    pub(super) async fn report(&self) -> Reported {
        let lost = self.report_lost().await;
        let keys = self.delivery().as_mut().map(Delivery::take).unwrap_or_default();
        let ads = self.named(&keys);
        if !ads.is_empty() {
            self.decided.delivered(&ads).await;
        }
        Reported {
            delivered: ads.len(),
            lost,
        }
    }

    /// What turned out to be silence when it was read was delivered to nobody.
    async fn report_lost(&self) -> Vec<Skipped> {
        let lost = self.rendition.as_ref().map(Rendition::lost).unwrap_or_default();
        let (mut all, mut failures) = (Vec::new(), Vec::new());
        for ad in lost {
            let is_new = self
                .delivery()
                .as_mut()
                .is_some_and(|delivery| delivery.lose(&ad.id));
            for ready in self.named(&[ad.id]).iter().filter(|_| is_new) {
                let (skipped, failure) = left_out(&self.spots, ready, &ad.reason);
                all.push(skipped);
                failures.extend(failure);
            }
        }
        if !failures.is_empty() {
            self.decided.failed(&failures).await;
        }
        all
    }

    /// Nobody will read it any more: reports what was delivered, and that the rest is not used.
    pub(super) async fn leave(&self) {
        self.report().await;
        let keys = self
            .delivery()
            .take()
            .map(|delivery| delivery.left())
            .unwrap_or_default();
        let ads = self.named(&keys);
        if !ads.is_empty() {
            self.decided.not_used(&ads).await;
        }
    }
}

/// The content that the bytes of a rendition from `offset` to `end` need first: as much as follows without a gap.
fn content_part(runs: &[Run], offset: u64, end: u64) -> Range<u64> {
    let first = runs.partition_point(|run| run.start + run.len <= offset);
    let mut part: Option<Range<u64>> = None;
    for run in runs[first..].iter().take_while(|run| run.start < end) {
        let Some(from) = run.source.content_offset() else {
            continue;
        };
        let begin = from + offset.saturating_sub(run.start);
        let stop = from + (run.start + run.len).min(end) - run.start;
        match &mut part {
            None => part = Some(begin..stop),
            Some(part) if part.end == begin && part.end - part.start < MOST_IN_ONE_GO => part.end = stop,
            Some(_) => break,
        }
    }
    part.unwrap_or(0..0)
}

/// The id of a rendition's bytes: the same content with the same ads at the same places is the same. What makes the bytes is this program,
/// so its version counts.
pub(super) fn etag(torrent: &Torrent, rendition: Option<&Rendition>, ready: &[Ready]) -> String {
    let mut digest = Sha256::new()
        .chain_update(env!("CARGO_PKG_VERSION"))
        .chain_update([0])
        .chain_update(torrent.info_hash().to_string());
    if let Some(rendition) = rendition {
        digest.update(rendition.len().to_be_bytes());
        for ad in &rendition.report().ads {
            digest.update(ad.content.as_nanos().to_be_bytes());
            digest.update(ad.presentation.as_nanos().to_be_bytes());
            let ready = ready.iter().find(|ready| ready.key == ad.id);
            digest.update(ready.map(|ready| ready.sha256.0).unwrap_or_default());
        }
        for run in rendition.runs() {
            digest.update(run.start.to_be_bytes());
            match &run.source {
                Source::Made(bytes) => digest.update(Sha256::digest(bytes)),
                Source::Bridge { number, from } => {
                    digest.update((*number as u64).to_be_bytes());
                    digest.update(from.to_be_bytes());
                }
                other => digest.update(other.content_offset().unwrap_or(u64::MAX).to_be_bytes()),
            }
        }
    }
    format!("\"{}\"", hex::encode(&digest.finalize()[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_needs_the_content_that_follows_without_a_gap() {
        let run = |start, len, source| Run { start, len, source };
        let made = |len: usize| Source::Made(vec![0; len].into());
        let runs = [
            run(0, 10, made(10)),
            run(10, 100, Source::Content(5)),
            run(110, 20, made(20)),
            run(130, 50, Source::Content(105)),
            run(180, 5, made(5)),
            run(185, 50, Source::Content(200)),
        ];
        for (offset, end, part) in [
            (0, 10, 0..0),
            (0, 11, 5..6),
            (50, 60, 45..55),
            (50, 150, 45..125),
            (115, 235, 105..155),
            (182, 190, 200..205),
            (235, 235, 0..0),
        ] {
            assert_eq!(content_part(&runs, offset, end), part, "{offset}..{end}");
        }
    }
}
