//! A rendition for a client: the source is resolved, its torrent joined, ads are decided until the first byte is due, then all is frozen.
//!
//! What goes wrong with ads leaves them out, as everywhere: the content is given without them. What goes wrong with the source is a refusal.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ad_splicer::content::Content;
use ad_splicer::splice::{self, Options, Rendition, SpliceError};
use anyhow::Context as _;
use axum::http::StatusCode;
use engine::magnet::Magnet;
use engine::node::Torrent;
use tokio::sync::watch;

use super::delivered::Delivery;
use super::held::{Held, What, etag};
use super::reading::{self, Index, Reading};
use super::refusal::Refusal;
use super::telling;
use super::torrents::Joined;
use super::{Gateway, later, spawn};
use crate::breaks::{Prepared, Skipped, why_late};
use crate::decided::{Decided, Wish, decide};
use crate::media_type;
use crate::rendition::{self, AS_READ, Frozen};
use crate::source::Bare;
use crate::source::{self, Resolved, resolve_asked};

/// What is read for laying a rendition out has to come within this time after the ads are decided; otherwise there are none.
const LAYING_OUT: Duration = Duration::from_secs(15);
/// Bytes a second of media that does not say how long it is.
const UNKNOWN_RATE: u64 = 128 << 10;
/// Least bytes a second that are reckoned with.
const LEAST_RATE: u64 = 8 << 10;

/// What a source turned out to be.
#[derive(Clone)]
pub(super) enum Made {
    Rendition(Arc<Held>),
    /// Media without a `.torrent` of use: it is to be had there, and nowhere else.
    Elsewhere(Bare),
}

/// What is known of content whose beginning was looked at.
struct Look {
    media_type: &'static str,
    rate: u64,
}

impl Gateway {
    /// Makes the rendition of a source for whoever asks now.
    pub(super) async fn make(&self, source: &str) -> Result<Made, Refusal> {
        let found = match self.resolve(source).await? {
            Resolved::Plain(bare) => return Ok(Made::Elsewhere(bare)),
            Resolved::Torrent(found) => found,
        };
        if !found.metainfo.is_single_file() {
            let reason = format!(
                "{} is a folder of several files, which cannot be given as one; `grove get` fetches what you name of it",
                telling::shown(source)
            );
            return Err(Refusal::new(StatusCode::BAD_REQUEST, reason));
        }
        // The semaphore is never closed; were it, nothing would be lost by going on.
        let _place = self.making.acquire().await;
        let joined = self.torrents.join(&found, false).await;
        let joined = joined.map_err(|error| Refusal::of(&error))?;
        let made = self.freeze(source, &found, joined).await;
        made.map(|held| Made::Rendition(Arc::new(held)))
            .map_err(|error| Refusal::of(&error))
    }

    /// What the source is; of a magnet link what was joined before, when nobody tells its metainfo now.
    async fn resolve(&self, source: &str) -> Result<Resolved, Refusal> {
        let error = match resolve_asked(&self.context, &self.node, source).await {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let magnet = source
            .parse::<Magnet>()
            .ok()
            .filter(|magnet| magnet.secret.is_none());
        let info_hash = magnet.and_then(|magnet| magnet.info_hash);
        let before = match info_hash {
            Some(info_hash) => self.torrents.remembered(info_hash).await,
            None => None,
        };
        let before = before.ok_or_else(|| Refusal::of(&error))?;
        Ok(Resolved::Torrent(Box::new(before)))
    }

    /// What was late is made ready for the next time, when its turn comes.
    fn ready_later(&self, prepared: &mut Prepared, decided: &Decided) {
        let late = std::mem::take(&mut prepared.late);
        let Some(preparer) = decided.preparer() else {
            return;
        };
        for (index, ad) in late {
            let Some(wish) = self.later.wish(later::name(&ad)) else {
                continue;
            };
            let preparer = preparer.clone();
            spawn(&self.makers, async move {
                let _turn = wish.turn().await;
                preparer.ready_later(index, &ad).await;
            });
        }
    }

    async fn freeze(&self, source: &str, found: &source::Torrent, joined: Joined) -> anyhow::Result<Held> {
        let torrent = &joined.torrent;
        let index = reading::index(torrent);
        // It is here for as long as this works.
        let (_here, gone) = watch::channel(());
        let freeze = self.settings.freeze;
        let read = |time| -> Arc<dyn Content> {
            let until = Some(Instant::now() + time);
            Arc::new(Reading::new(torrent, Arc::clone(&index), gone.clone(), until))
        };
        let look = tokio::task::spawn_blocking({
            let (content, name) = (read(freeze), found.metainfo.name().to_owned());
            move || look(content.as_ref(), &name)
        });
        let (mut prepared, decided) = decide(Wish {
            context: &self.context,
            swarm: &self.settings.swarm,
            found,
            torrent,
            content: read(freeze + LAYING_OUT),
            creatives: self.creatives.clone(),
            freeze,
        })
        .await?;
        self.ready_later(&mut prepared, &decided);
        let look = look.await.context("looking at the content")?;
        let laid_out = lay_out((torrent, read(LAYING_OUT)), prepared, &decided).await?;
        Ok(hold(source, joined.clone(), index, laid_out, decided, &look))
    }
}

/// The rendition, when there are ads in it, and what is not in it. What cannot be laid out is given without ads.
async fn lay_out(
    (torrent, content): (&Torrent, Arc<dyn Content>),
    mut prepared: Prepared,
    decided: &Decided,
) -> anyhow::Result<(Option<Frozen>, Vec<Skipped>)> {
    let mut skipped = std::mem::take(&mut prepared.skipped);
    if prepared.ready.is_empty() {
        return Ok((None, skipped));
    }
    let breaks: Vec<String> = prepared.spots.iter().map(|spot| spot.cue.id.clone()).collect();
    let freezing =
        tokio::task::spawn_blocking(move || rendition::freeze(content.as_ref(), prepared, &AS_READ));
    match freezing.await.context("laying out the ads")? {
        Ok(mut frozen) => {
            decided.failed(&frozen.failures).await;
            skipped.append(&mut frozen.skipped);
            let has_ads = !frozen.rendition.report().ads.is_empty();
            Ok((has_ads.then_some(frozen), skipped))
        }
        Err(error) => {
            decided.leave().await;
            let reason = match &error {
                SpliceError::Read { offset, source } if source.kind() == io::ErrorKind::TimedOut => format!(
                    "byte {offset} of the content, which is needed to lay the ads out, did not come within {} s{}",
                    LAYING_OUT.as_secs(),
                    why_late(torrent)
                ),
                _ => format!("the content around the breaks could not be read: {error}"),
            };
            skipped.extend(breaks.iter().map(|id| Skipped::new(id, reason.clone(), None)));
            Ok((None, skipped))
        }
    }
}

fn hold(
    source: &str,
    joined: Joined,
    index: Index,
    (frozen, skipped): (Option<Frozen>, Vec<Skipped>),
    decided: Decided,
    look: &Look,
) -> Held {
    let ads = frozen.as_ref().map(rendition::placed).unwrap_or_default();
    let (rendition, ready, spots) = match frozen {
        Some(frozen) => {
            let ready = frozen.ready.into_iter().map(|(ready, _)| ready);
            (Some(frozen.rendition), ready.collect(), frozen.spots)
        }
        None => (None, Vec::new(), Vec::new()),
    };
    let delivery = rendition
        .as_ref()
        .map(|rendition| Delivery::new(rendition.runs(), rendition.report(), rendition.plan()));
    Held {
        what: What {
            source: source.to_owned(),
            etag: etag(&joined.torrent, rendition.as_ref(), &ready),
            media_type: look.media_type,
            bytes: rendition
                .as_ref()
                .map_or_else(|| joined.torrent.metainfo().length(), Rendition::len),
            ads,
            skipped,
        },
        joined,
        index,
        rendition,
        spots,
        rate: look.rate,
        decided,
        ready,
        delivery: Mutex::new(delivery),
        sent: AtomicU64::new(0),
    }
}

/// What the beginning of the content tells; when it does not come in time, or is nothing known, what its name does.
fn look(content: &dyn Content, name: &str) -> Look {
    match splice::probe(content, &Options::default()) {
        Ok(format) => {
            let seconds = format.duration.as_secs_f64();
            let rate = if seconds > 0.0 {
                (content.len() as f64 / seconds) as u64
            } else {
                UNKNOWN_RATE
            };
            Look {
                media_type: media_type::of_codec(format.codec),
                rate: rate.max(LEAST_RATE),
            }
        }
        Err(_) => Look {
            media_type: media_type::of_name(name),
            rate: UNKNOWN_RATE,
        },
    }
}
