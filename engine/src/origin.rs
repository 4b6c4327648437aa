//! Fetching byte ranges of a torrent's files from its web seeds (BEP 19), through the gate.
//!
//! Each request starts from the seed's own URL, so a redirect that has expired is followed anew. What a server may do,
//! and what follows:
//! - `206` with the range that was asked for: its bytes are passed on as they come; with the beginning of it: it is asked for the rest at
//!   once, unless that was less than 1 KiB and a quarter of it, which is a failure;
//! - `200`: it ignores ranges. When its length is right and no other seed is better, the file is taken from the
//!   beginning, passed on as it comes and never buffered; one such stream runs at a time;
//! - `200` with a web page (HTML) in the place of a file that is none, told by a length that is not the file's, by a coding, or by how it begins where no length
//!   is stated: a captive portal or maintenance, trouble as 5xx is;
//! - a body in gzip or another coding, although it is asked for the file as it is: not asked for this file again;
//! - a length that differs anywhere: the file was changed; this seed is not asked for it again;
//! - 404 and 403, and a name that leads to a private address as behind the portal of a hotel: not counted on, and asked
//!   again after 5 min, doubled each time; after an hour of that not any more. But 404 and 403 of a file of which it sent some within the
//!   last minute, or that another request may still be given, are trouble as 5xx is (so are the first two later on): a name may
//!   stand for several machines, and a signed address expire;
//! - a redirect in circles, or to nowhere, as of a portal that misses its cookie: trouble as 5xx is;
//! - 410, 416, 401 and other 4xx: not asked for this file again; 429, 5xx and network trouble: asked again after
//!   `Retry-After`, or after 1 s, doubled at each failure up to 60 s; an answer that ends early and brought 1 KiB or a quarter at least
//!   is asked for the rest at once, from the very byte on where it ended, which is neither a failure nor a success: that is what whole pieces are that were right;
//! - silence of 4 s while another seed may be asked: a failure, and the other one is asked for the rest; so is it, without
//!   being a failure, when what came in 4 s is a quarter of what the other brings or less, or the other was never tried;
//! - silence of 4 s in the middle of an answer while the same seed sends to other requests: as an answer that ends early.
//!
//! - 503 or 429 without `Retry-After` while the same seed answers another request of ours (nginx's `limit_conn`): it has no place
//!   for so many, and gets no more at a time from then on (one more with each minute without a refusal); what it refused waits for a place.
//!
//! Several requests at a time are spread over the seeds by the rates that were measured.
//! When a seed may be asked again is kept in `seed`, how one request goes in `exchange` and `asking`.
//!
//! Invariants: nothing is buffered beyond one block; bytes are unverified until the [`Sink`] has judged them; the lock
//! over the seeds is never held across an await.

use crate::rate::Bucket;
use crate::swarm::BLOCK_SIZE;
use bytes::Bytes;
use gate::{Gate, Url};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

mod asking;
mod begun;
mod exchange;
mod headers;
pub mod page;
mod places;
mod seed;

use begun::{Progress, is_little};
use exchange::Attempt;
use seed::{BACKOFF, Seed};

/// Web seeds that are used; more are ignored.
pub const MAX_SEEDS: usize = 8;
/// Pieces of wrong data after which a web seed is not asked again.
const MAX_WRONG_PIECES: u32 = 3;

/// Who takes the bytes. Implemented by the torrent's driver, which verifies them.
pub trait Sink: Send {
    /// Whether the block is still wanted (not held yet).
    fn wants(&self, block: u32) -> bool;
    /// Takes a whole block of the file (its last one may be short), from the seed with this number. False stops the
    /// fetch.
    fn block(&mut self, seed: usize, block: u32, data: Bytes) -> impl Future<Output = bool> + Send;
    /// Told when it begins and ends to wait for a place at a web seed: nothing is asked for it meanwhile.
    fn waits(&mut self, waits: bool) -> impl Future<Output = ()> + Send;
    /// Told of bytes as they arrive, before they make a block.
    fn received(&mut self, bytes: u64);
    /// Told of received bytes that will never be part of a block that is kept.
    fn wasted(&mut self, bytes: u64);
}

/// Why a range was not fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It may work later.
    #[error("no web seed can be asked now: {why}")]
    Temporary {
        /// The latest reason.
        why: String,
        /// When a server said to come back, or when the shortest pause ends.
        after: Duration,
        /// Whether a server named that time.
        asked: bool,
    },
    /// No web seed is to be counted on; one may work again after a long pause.
    #[error("{}", why)]
    Refused {
        /// Each seed's reason.
        why: String,
        /// When the first of the pauses ends.
        after: Duration,
    },
    /// No web seed will work again.
    #[error("{}", why)]
    Permanent {
        /// Each seed's reason.
        why: String,
    },
}

/// The web seeds of one torrent.
#[derive(Debug)]
pub struct Origin {
    gate: Gate,
    /// Bytes of each file.
    lengths: Vec<u64>,
    down: Arc<Bucket>,
    seeds: Mutex<Vec<Seed>>,
    /// Held while a whole file is streamed from a server that ignores ranges.
    whole: tokio::sync::Mutex<()>,
    /// That file, and the block of it that comes next.
    streamed: Mutex<Option<(usize, u32)>>,
    /// Troubles for people to read: taken by the driver.
    problems: Mutex<Vec<String>>,
    /// Woken when a request is answered, and when one is over.
    changed: Notify,
}

impl Origin {
    /// An origin of one file of `length` bytes at these URLs. Text that is no URL is told as a problem.
    pub fn new(gate: Gate, urls: &[String], length: u64, down: Arc<Bucket>) -> Self {
        let seeds: Vec<Vec<String>> = urls.iter().map(|url| vec![url.clone()]).collect();
        Self::of_files(gate, &seeds, vec![length], down)
    }

    /// An origin of several files with these lengths: for each seed the URL of each file, in the torrent's order.
    pub fn of_files(gate: Gate, urls: &[Vec<String>], lengths: Vec<u64>, down: Arc<Bucket>) -> Self {
        let mut seeds: Vec<Seed> = Vec::new();
        let mut problems = Vec::new();
        for texts in urls {
            let parsed: Result<Vec<Url>, _> = texts
                .iter()
                .map(|text| Url::parse(text).map_err(|e| (text, e)))
                .collect();
            match parsed {
                Ok(urls) => {
                    let urls: Vec<Option<Url>> = urls
                        .into_iter()
                        .zip(&lengths)
                        .map(|(url, &length)| (length > 0).then_some(url))
                        .collect();
                    if seeds.len() < MAX_SEEDS && seeds.iter().all(|s| s.urls != urls) {
                        seeds.push(Seed::new(urls));
                    }
                }
                Err((text, e)) => problems.push(format!("the web seed {text:?} is not a URL: {e}")),
            }
        }
        Self {
            gate,
            lengths,
            down,
            seeds: Mutex::new(seeds),
            whole: tokio::sync::Mutex::default(),
            streamed: Mutex::default(),
            problems: Mutex::new(problems),
            changed: Notify::new(),
        }
    }

    fn seeds(&self) -> MutexGuard<'_, Vec<Seed>> {
        self.seeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn problem(&self, text: String) {
        tracing::warn!("{text}");
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.len() < 64 && problems.last() != Some(&text) {
            problems.push(text);
        }
    }

    /// What went wrong since the last call.
    pub fn take_problems(&self) -> Vec<String> {
        std::mem::take(&mut *self.problems.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether some seed may still be asked, now or after a pause of moments.
    pub fn is_usable(&self) -> bool {
        let now = Instant::now();
        let files = 0..self.lengths.len();
        self.seeds()
            .iter()
            .any(|seed| files.clone().any(|file| seed.gives(file, now)))
    }

    /// Whether one of these files may still come, now or after a pause of moments.
    pub fn may_give(&self, is_missing: impl Fn(usize) -> bool) -> bool {
        let now = Instant::now();
        let seeds = self.seeds();
        let mut files = 0..self.lengths.len();
        files.any(|file| seeds.iter().any(|seed| seed.gives(file, now)) && is_missing(file))
    }

    /// How many seeds there are, whether or not they are of use.
    pub fn count(&self) -> usize {
        self.seeds().len()
    }

    /// Whether all that may be asked are known to give whole files only.
    pub fn is_whole_only(&self) -> bool {
        let seeds = self.seeds();
        let mut usable = seeds.iter().filter(|seed| seed.dropped.is_none()).peekable();
        usable.peek().is_some() && usable.all(|seed| seed.whole_only)
    }

    /// Whether these blocks of a file, or the last of them, are still to come in a stream of all of it, whoever asked for it.
    pub fn streams(&self, file: usize, blocks: Range<u32>) -> bool {
        let streamed = *self.streamed.lock().unwrap_or_else(PoisonError::into_inner);
        streamed.is_some_and(|(streamed, next)| streamed == file && next < blocks.end)
    }

    fn streams_from(&self, place: Option<(usize, u32)>) {
        *self.streamed.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Why no seed has been of use, one sentence for each.
    pub fn reasons(&self) -> Vec<String> {
        let seeds = self.seeds();
        seeds
            .iter()
            .filter_map(|s| s.dropped.clone().or_else(|| s.last_error.clone()))
            .collect()
    }

    /// The longest of the pauses that servers named last, as much of each as lies behind `since`, also when it is past; of those that end at
    /// most so long after `since`.
    pub fn named_since(&self, since: Instant, most: Duration) -> Option<Duration> {
        let seeds = self.seeds();
        let named = seeds.iter().filter_map(Seed::named);
        let rests = named.map(|(end, pause)| (end.saturating_duration_since(since), pause));
        let rests = rests.filter(|&(rest, _)| rest <= most);
        rests.map(|(rest, pause)| rest.min(pause)).max()
    }

    /// How long until a time that a server named itself, if one did and it is not past.
    pub fn named_pause(&self) -> Option<Duration> {
        let seeds = self.seeds();
        seeds
            .iter()
            .filter(|s| s.dropped.is_none() && s.asked)
            .filter_map(|s| s.not_before?.checked_duration_since(Instant::now()))
            .min()
    }

    /// Ends the pauses that follow failures, where the server named no time itself. Says whether there were any.
    pub fn end_pauses(&self) -> bool {
        let now = Instant::now();
        let mut seeds = self.seeds();
        let paused = seeds
            .iter_mut()
            .filter(|seed| !seed.asked && seed.not_before.is_some_and(|until| until > now));
        paused.map(|seed| seed.not_before = None).count() > 0
    }

    /// Tells that this seed's bytes of a piece were wrong; `is_mixed` when they may have been right, and those of another in the same piece wrong.
    pub fn wrong_piece(&self, seed: usize, piece: u32, is_mixed: bool) {
        let text = {
            let mut seeds = self.seeds();
            let Some(seed) = seeds.get_mut(seed) else { return };
            // Whoever is preferred brings the next one alone, which tells.
            seed.wrong_pieces += u32::from(!is_mixed);
            let url = seed
                .urls
                .iter()
                .flatten()
                .next()
                .map(gate::shown)
                .unwrap_or_default();
            let text = if is_mixed {
                format!(
                    "piece {piece}, of which the web seed {url} sent a part, is wrong; whose part is, is not known"
                )
            } else {
                format!("the web seed {url} sent wrong data for piece {piece}")
            };
            seed.last_error = Some(text.clone());
            if seed.wrong_pieces >= MAX_WRONG_PIECES && seed.dropped.is_none() {
                seed.dropped = Some(format!(
                    "{text}, and is not asked again: its file is not the published one"
                ));
            } else {
                seed.rests(Instant::now());
            }
            seed.dropped.clone().unwrap_or(text)
        };
        self.problem(text);
    }

    /// Tells that a piece of this seed was right.
    pub fn right_piece(&self, seed: usize) {
        if let Some(seed) = self.seeds().get_mut(seed) {
            seed.is_right();
        }
    }

    /// The seed to ask now, which may be the one that goes on in spite of its pause: honouring ranges before not, much slower ones last, fewer failures first, then whichever will
    /// probably be done first. Or why there is none.
    fn choose(
        &self,
        file: usize,
        tried: &[usize],
        goes_on: Option<usize>,
        now: Instant,
    ) -> Result<(usize, Url, bool), OriginError> {
        let seeds = self.seeds();
        let ready = seeds
            .iter()
            .enumerate()
            .filter(|(i, s)| s.is_ready(file, now) || (goes_on == Some(*i) && s.goes_on(file, now)))
            .filter(|(i, _)| !tried.contains(i));
        let ready = ready.filter_map(|(i, s)| Some((i, s, s.urls.get(file)?.as_ref()?)));
        let best = ready.clone().filter_map(|(_, s, _)| s.rate()).fold(0.0, f64::max);
        let place = |s: &Seed| s.place(best, now);
        let first = ready.min_by(|(_, a, _), (_, b, _)| {
            let order = place(a).partial_cmp(&place(b));
            order.unwrap_or(std::cmp::Ordering::Equal)
        });
        if let Some((i, s, url)) = first {
            return Ok((i, url.clone(), s.whole_only));
        }
        let later = seeds
            .iter()
            .filter(|s| s.gives(file, now))
            .min_by_key(|s| s.not_before);
        let back = seeds
            .iter()
            .filter(|s| s.dropped.is_none() && s.has(file))
            .filter_map(|s| Some(s.refused.get(&file)?.until))
            .min();
        let reasons = || {
            seeds
                .iter()
                .filter_map(|s| s.dropped.clone().or_else(|| s.last_error.clone()))
                .collect::<Vec<_>>()
                .join("; ")
        };
        match later {
            Some(seed) => Err(OriginError::Temporary {
                why: seed
                    .last_error
                    .clone()
                    .unwrap_or_else(|| "it was asked just now".to_owned()),
                after: seed
                    .not_before
                    .map_or(BACKOFF.0, |at| at.saturating_duration_since(now)),
                asked: seed.asked,
            }),
            None if seeds.is_empty() => Err(OriginError::Permanent {
                why: "there is no web seed".to_owned(),
            }),
            None => Err(match back {
                Some(until) => OriginError::Refused {
                    why: reasons(),
                    after: until.saturating_duration_since(now),
                },
                None => OriginError::Permanent { why: reasons() },
            }),
        }
    }

    /// Whether some seed may still be asked for this file, now or later.
    pub fn has_file(&self, file: usize) -> bool {
        self.seeds().iter().any(|s| s.dropped.is_none() && s.has(file))
    }

    /// How many bytes these blocks of a file have.
    fn bytes_of(&self, file: usize, blocks: Range<u32>) -> u64 {
        let at = |block: u32| (u64::from(block) * u64::from(BLOCK_SIZE)).min(self.lengths[file]);
        at(blocks.end) - at(blocks.start)
    }

    /// Fetches these blocks of a file and gives each to `sink`, in order within one seed. Tries each seed that can
    /// be asked; `Ok` when the last block was given or the sink stopped it.
    pub async fn fetch(
        &self,
        file: usize,
        blocks: Range<u32>,
        sink: &mut impl Sink,
    ) -> Result<(), OriginError> {
        let mut progress = Progress::of(blocks);
        let fetched = self.fetch_from(file, &mut progress, sink).await;
        sink.wasted(progress.begun.forget());
        fetched
    }

    async fn fetch_from(
        &self,
        file: usize,
        progress: &mut Progress,
        sink: &mut impl Sink,
    ) -> Result<(), OriginError> {
        let mut tried = Vec::new();
        let mut refusals = 0;
        // Who has just brought a part, and may be asked for the rest whatever others of its answers were.
        let mut going = None;
        loop {
            while progress.next < progress.end && !sink.wants(progress.next) {
                progress.next += 1;
            }
            if progress.next >= progress.end {
                return Ok(());
            }
            let (index, url, whole_only) = self.choose(file, &tried, going, Instant::now())?;
            if !self.has_place(index) {
                sink.waits(true).await;
                self.wait_for_place(index).await;
                sink.waits(false).await;
                // Others may be better now.
                continue;
            }
            // Until it is known how it ended: who waits for the whole file need not ask when that failed just now.
            let _alone = if whole_only {
                Some(self.whole.lock().await)
            } else {
                None
            };
            let (asked, from, mut held) = (Instant::now(), progress.next, 0);
            let attempt = if whole_only && !(from..progress.end).any(|block| sink.wants(block)) {
                Attempt::Done
            } else if going != Some(index) && !self.seeds()[index].is_ready(file, asked) {
                continue;
            } else if whole_only {
                sink.wasted(progress.begun.forget());
                let mut stream = Stream::begin(self, file, sink);
                self.attempt((index, file), &url, progress, true, &mut stream)
                    .await
            } else {
                sink.wasted(progress.begun.keep_for(index, from));
                held = progress.begun.len();
                self.attempt((index, file), &url, progress, false, sink).await
            };
            let is_full = match attempt {
                Attempt::Later {
                    beside: Some(beside), ..
                } => self.is_full(index, beside, asked, &mut refusals).await,
                _ => false,
            };
            let brought = progress.begun.len().saturating_sub(held);
            let due = self.bytes_of(file, from..progress.end) - held;
            let was_of_use = progress.next > from || (!whole_only && !is_little(brought, due));
            let goes_on = is_full
                || matches!(attempt, Attempt::Slow | Attempt::Part)
                || (was_of_use && matches!(attempt, Attempt::Later { after: None, .. }));
            going = (goes_on && was_of_use).then_some(index);
            if !goes_on {
                tried.push(index);
            }
            let mut seeds = self.seeds();
            let seed = &mut seeds[index];
            match attempt {
                Attempt::Done => {
                    seed.succeeds(Instant::now());
                    seed.refused.remove(&file);
                    return Ok(());
                }
                Attempt::PreferOthers => {
                    if !seed.whole_only {
                        seed.whole_only = true;
                        // It is asked again for the whole file when nobody better is left.
                        tried.pop();
                    }
                }
                Attempt::Later { .. } if is_full => {}
                Attempt::Later { why, after, .. } => {
                    if goes_on {
                        seed.ends_early();
                    } else {
                        seed.fails(after, asked, Instant::now());
                    }
                    seed.last_error = Some(why.clone());
                    drop(seeds);
                    if !goes_on {
                        self.problem(why);
                    }
                }
                Attempt::Silent(why) => {
                    seed.fails(None, asked, Instant::now());
                    seed.last_error = Some(why.clone());
                    drop(seeds);
                    self.problem(why);
                }
                Attempt::Slow | Attempt::Part => {}
                Attempt::Refused { why, host: false } => {
                    seed.denies(file, &why, asked, Instant::now());
                    drop(seeds);
                    self.problem(why);
                }
                Attempt::Refused { why, host: true } => {
                    let now = Instant::now();
                    for file in 0..seed.urls.len() {
                        if seed.gives(file, now) {
                            seed.refuses(file, &why, now);
                        }
                    }
                    drop(seeds);
                    self.problem(why);
                }
                Attempt::Never(why) => {
                    seed.drop_file(file, &why);
                    drop(seeds);
                    self.problem(why);
                }
            }
        }
    }
}

/// Notes where a stream of a whole file stands.
struct Stream<'a, S> {
    origin: &'a Origin,
    file: usize,
    sink: &'a mut S,
}

impl<'a, S: Sink> Stream<'a, S> {
    fn begin(origin: &'a Origin, file: usize, sink: &'a mut S) -> Self {
        origin.streams_from(Some((file, 0)));
        Self { origin, file, sink }
    }
}

impl<S> Drop for Stream<'_, S> {
    fn drop(&mut self) {
        self.origin.streams_from(None);
    }
}

impl<S: Sink> Sink for Stream<'_, S> {
    fn wants(&self, block: u32) -> bool {
        self.sink.wants(block)
    }

    async fn block(&mut self, seed: usize, block: u32, data: Bytes) -> bool {
        let goes_on = self.sink.block(seed, block, data).await;
        self.origin.streams_from(Some((self.file, block + 1)));
        goes_on
    }

    async fn waits(&mut self, waits: bool) {
        self.sink.waits(waits).await;
    }

    fn received(&mut self, bytes: u64) {
        self.sink.received(bytes);
    }

    fn wasted(&mut self, bytes: u64) {
        self.sink.wasted(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_web_seed_refuses_it_is_asked_for_again_within_an_hour() {
        let urls: Vec<String> = ["https://example.com/a", "https://example.com/b"]
            .map(str::to_owned)
            .into();
        let down = Arc::new(Bucket::new(None));
        let origin = Origin::of_files(Gate::default(), &[urls], vec![5, 5], down);
        let began = Instant::now();
        let at = |minutes: u64| began + Duration::from_secs(60 * minutes);
        origin.seeds()[0].refuses(0, "it said 404", began);
        let Err(OriginError::Refused { why, after }) = origin.choose(0, &[], None, at(1)) else {
            panic!("it was refused a minute ago");
        };
        assert_eq!((why.as_str(), after), ("it said 404", Duration::from_secs(240)));
        assert!(origin.choose(1, &[], None, at(1)).is_ok(), "the other file");
        assert!(origin.is_usable());
        assert!(origin.choose(0, &[], None, at(5)).is_ok());
        origin.seeds()[0].refuses(0, "it said 404", at(5));
        assert!(origin.choose(0, &[], None, at(14)).is_err(), "longer each time");
        assert!(origin.choose(0, &[], None, at(15)).is_ok());
        origin.seeds()[0].refuses(1, "it said 403", at(15));
        assert!(!origin.is_usable(), "nothing of it is to be counted on now");
        origin.seeds()[0].refuses(0, "it said 404", at(70));
        let permanent = |file| {
            matches!(
                origin.choose(file, &[], None, at(1_000)),
                Err(OriginError::Permanent { .. })
            )
        };
        assert!(permanent(0) && !permanent(1));
    }

    #[test]
    fn pauses_end_for_whoever_waits_but_those_that_a_server_named() {
        let urls: Vec<String> = ["https://a.example/", "https://b.example/"]
            .map(str::to_owned)
            .into();
        let down = Arc::new(Bucket::new(None));
        let origin = Origin::new(Gate::default(), &urls, 5, down);
        assert!(!origin.end_pauses(), "there are none");
        let later = Instant::now() + Duration::from_secs(60);
        for (seed, asked) in origin.seeds().iter_mut().zip([true, false]) {
            (seed.not_before, seed.asked) = (Some(later), asked);
        }
        assert!(origin.choose(0, &[], None, Instant::now()).is_err());
        assert!(origin.end_pauses() && !origin.end_pauses());
        assert!(matches!(origin.choose(0, &[], None, Instant::now()), Ok((1, ..))));
        assert!(origin.choose(0, &[1], None, Instant::now()).is_err());
    }

    #[test]
    fn an_answer_to_an_earlier_request_ends_no_pause_that_a_server_named() {
        let urls = ["https://a.example/"].map(str::to_owned);
        let origin = Origin::new(Gate::default(), &urls, 5, Arc::new(Bucket::new(None)));
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let may_be_asked = |seconds| origin.choose(0, &[], None, at(seconds)).is_ok();
        origin.seeds()[0].fails(Some(Duration::from_secs(60)), began, began);
        origin.seeds()[0].succeeds(at(1));
        origin.seeds()[0].rests(at(1));
        assert!(!may_be_asked(2) && may_be_asked(61));
        origin.seeds()[0].fails(None, at(61), at(61));
        assert!(!may_be_asked(61));
        origin.seeds()[0].succeeds(at(61));
        assert!(may_be_asked(61));
    }

    #[test]
    fn a_piece_of_several_seeds_tells_of_none_of_them() {
        let urls = ["https://a.example/"].map(str::to_owned);
        let origin = Origin::new(Gate::default(), &urls, 5, Arc::new(Bucket::new(None)));
        (0..10).for_each(|piece| origin.wrong_piece(0, piece, true));
        assert!(origin.seeds()[0].dropped.is_none());
        (0..MAX_WRONG_PIECES).for_each(|piece| origin.wrong_piece(0, piece, false));
        assert!(origin.seeds()[0].dropped.is_some());
    }

    #[test]
    fn a_pause_counts_for_what_it_is_long_and_not_for_when_it_is_named() {
        let urls = ["https://a.example/", "https://b.example/"].map(str::to_owned);
        let origin = Origin::new(Gate::default(), &urls, 5, Arc::new(Bucket::new(None)));
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let named = |seed: usize, now, pause| {
            origin.seeds()[seed].fails(Some(Duration::from_secs(pause)), at(now), at(now));
        };
        let counts = |since| {
            let counted = origin.named_since(at(since), Duration::from_secs(600));
            counted.map(|pause| pause.as_secs())
        };
        assert_eq!(counts(0), None);
        for now in 0..300 {
            named(0, now, 2);
            assert_eq!(counts(0), Some(2), "again and again");
        }
        named(1, 100, 120);
        assert_eq!(
            (counts(0), counts(150)),
            (Some(120), Some(70)),
            "what is left of it"
        );
        named(1, 100, 700);
        assert_eq!(
            (counts(0), counts(200)),
            (Some(2), Some(600)),
            "too long at first"
        );
    }

    #[test]
    fn who_brings_nothing_whole_is_asked_later_each_time_and_who_does_soon() {
        let urls = ["https://a.example/".to_owned()];
        let origin = Origin::new(Gate::default(), &urls, 5, Arc::new(Bucket::new(None)));
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let pause = |now| {
            let mut seeds = origin.seeds();
            seeds[0].ends_early();
            seeds[0].fails(None, at(now), at(now));
            seeds[0].not_before.map(|until| (until - at(now)).as_secs())
        };
        assert_eq!([0, 10, 20, 30].map(pause), [2, 4, 8, 16].map(Some));
        assert!(origin.choose(0, &[], None, at(31)).is_err());
        assert!(
            origin.choose(0, &[], Some(0), at(31)).is_ok(),
            "it has just brought a part"
        );
        assert!(origin.choose(0, &[0], Some(0), at(31)).is_err());
        origin.right_piece(0);
        assert_eq!([50, 60].map(pause), [2, 4].map(Some));
        origin.seeds()[0].fails(Some(Duration::from_secs(30)), at(70), at(70));
        assert!(origin.choose(0, &[], Some(0), at(71)).is_err(), "it named a time");
    }

    #[test]
    fn a_file_that_was_given_lately_is_not_believed_to_be_gone_at_once() {
        let urls: Vec<String> = ["https://example.com/a", "https://example.com/b"]
            .map(str::to_owned)
            .into();
        let of = || {
            Origin::of_files(
                Gate::default(),
                std::slice::from_ref(&urls),
                vec![5, 5],
                Arc::new(Bucket::new(None)),
            )
        };
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let is_believed = |origin: &Origin, file, now| {
            origin.seeds()[0].denies(file, "it said 404", at(now), at(now));
            !origin.seeds()[0].gives(file, at(now))
        };
        let origin = of();
        origin.seeds()[0].sends(0, at(0));
        assert!(is_believed(&origin, 1, 1), "the other file was never given");
        let believed = [2, 4, 8, 16, 32, 59, 60, 61].map(|now| is_believed(&origin, 0, now));
        assert_eq!(believed, [false, false, false, false, false, false, true, true]);

        let origin = of();
        origin.seeds()[0].sends(0, at(0));
        let later = |now| is_believed(&origin, 0, now);
        assert_eq!(
            [100, 200, 300].map(later),
            [false, false, true],
            "twice at any time"
        );
        origin.seeds()[0].sends(0, at(700));
        assert!(!later(800) && !later(900) && later(1000), "it gave it again");

        let origin = of();
        origin.seeds()[0].requests(0, 1);
        assert!(!is_believed(&origin, 0, 1), "another request may be given it");
        origin.seeds()[0].requests(0, -1);
        origin.seeds()[0].denies(0, "it said 404", at(0), at(2));
        assert!(!origin.seeds()[0].gives(0, at(2)), "none was");
    }

    #[test]
    fn requests_are_spread_by_rate_and_who_is_much_slower_is_asked_last() {
        let urls = ["a", "b", "c"].map(|name| format!("https://{name}.example/"));
        let origin = Origin::new(Gate::default(), &urls, 5, Arc::new(Bucket::new(None)));
        let choose = || {
            origin
                .choose(0, &[], None, Instant::now())
                .ok()
                .map(|(seed, ..)| seed)
        };
        let asks = |count: u32| {
            let mut asked = [0; 3];
            for _ in 0..count {
                let seed = choose().unwrap_or_default();
                origin.seeds()[seed].requests += 1;
                asked[seed] += 1;
            }
            origin.seeds().iter_mut().for_each(|seed| seed.requests = 0);
            asked
        };
        assert_eq!(asks(3), [1, 1, 1], "each is tried");
        for (seed, rate) in origin.seeds().iter_mut().zip([1_000_000, 3_000_000, 100_000]) {
            seed.brings(rate * 10, Duration::from_secs(10));
        }
        assert_eq!(asks(8), [2, 6, 0]);
        let fails = |seed: usize| {
            let (after, now) = (Some(Duration::from_secs(3600)), Instant::now());
            origin.seeds()[seed].fails(after, now, now);
        };
        fails(1);
        assert_eq!(asks(2), [2, 0, 0], "it is paused");
        fails(0);
        assert_eq!(asks(2), [0, 0, 2], "better than nothing");
    }

    #[test]
    fn requests_that_fail_in_one_trouble_are_one_failure() {
        let urls = ["https://a.example/".to_owned()];
        let origin = Origin::new(Gate::default(), &urls, 5, Arc::new(Bucket::new(None)));
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let pause = |asked, now| {
            let mut seeds = origin.seeds();
            seeds[0].fails(None, at(asked), at(now));
            seeds[0].not_before.map(|until| until - began)
        };
        let until = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(pause(0, 10), until(11));
        for _ in 0..8 {
            assert_eq!(pause(5, 10), until(11), "they were sent before it was known");
        }
        assert_eq!(pause(11, 11), until(13), "it was asked again");
        let mut seeds = origin.seeds();
        seeds[0].fails(Some(Duration::from_secs(60)), at(5), at(12));
        assert_eq!(seeds[0].not_before, Some(at(72)), "what a server names counts");
    }
}
