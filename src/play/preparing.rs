//! From the torrent to a rendition that can be played: where playback begins, who is asked for ads, and what to begin with.
//!
//! Not for: how long the first sound waits for breaks (`beginning`), or what comes after it (the parent module).

use std::collections::HashSet;
use std::sync::Arc;

use ad_splicer::beacons::Queue;
use ad_splicer::content::Content;
use ad_splicer::cues::Position;
use ad_splicer::play::{Growing, Timeline};
use ad_splicer::splice;
use ad_splicer::time::ContentTime;
use anyhow::Context as _;
use engine::node::Torrent;

use super::ahead::Ahead;
use super::beginning::{self, Beginning};
use super::bookmark::Bookmark;
use super::proof::Proofs;
use super::{Listening, just_before};
use crate::beacons::{Playback, Sending};
use crate::breaks::{Asking, Prepared, Preparer, Swarm};
use crate::cli::PlayArgs;
use crate::context::Context;
use crate::identity;
use crate::joining;
use crate::rendition::{self, Arriving};

impl<'a> Listening<'a> {
    /// Makes ready what the first sound waits for.
    pub(super) async fn prepare(
        (context, sending): (&'a Context, &'a Sending),
        args: &PlayArgs,
        found: &crate::source::Torrent,
        torrent: &'a Torrent,
        swarm: Option<Arc<Swarm>>,
    ) -> anyhow::Result<Self> {
        let info_hash = found.metainfo.info_hash_v2();
        let playback = Playback::new(&info_hash.to_string());
        let bookmark = Bookmark::of(context, &info_hash);
        let content: Arc<dyn Content> = Arc::new(Arriving::new(torrent));
        let wished = place(bookmark.beginning(args.resume, args.start)?, &content).await?;
        let mut from = wished;
        let mut proofs = None;
        let mut prepared = Prepared::default();
        let mut preparer = None;
        let mut ahead = Ahead::new([], from);
        let mut beginning = None;
        if !args.swarm.no_ads {
            let asked = Self::ask(
                context,
                args,
                (found, torrent),
                content.clone(),
                &playback,
                &mut proofs,
                swarm,
            )
            .await?;
            match asked {
                Err(without) => prepared = without.explain_late(torrent),
                Ok(asked) => {
                    if let Some(place) = asked.breaks().iter().find(|place| place.replaces(from)) {
                        from = just_before(place.at);
                    }
                    let places: Vec<ContentTime> = asked.breaks().iter().map(|place| place.at).collect();
                    // A format that cannot grow holds what is ready now, wherever playback begins.
                    if asked.grows() {
                        ahead = Ahead::new(places, from);
                        let first = ahead.first(from);
                        beginning = Some(beginning::begin(&asked, &content, &first, args.freeze).await?);
                    } else {
                        ahead = Ahead::new(places, ContentTime::ZERO);
                        prepared = asked.prepare(&ahead.all(), args.freeze).await;
                    }
                    preparer = Some(asked);
                }
            }
        }
        let (spots, ready) = (prepared.spots.clone(), prepared.ready.clone());
        let Beginning {
            made,
            prepared: came,
            work,
            freezing,
            laid_out,
        } = if let Some(beginning) = beginning {
            beginning
        } else {
            let reading = content.clone();
            let options = match preparer {
                Some(_) => &rendition::GROWING,
                None => &rendition::PLAYED,
            };
            let made =
                tokio::task::spawn_blocking(move || rendition::freeze(reading.as_ref(), prepared, options));
            Beginning::with(made.await.context("preparing")??, &ready)
        };
        let plan = made.rendition.plan();
        if plan.to_presentation(wished).is_some() {
            // What would have replaced it has no ads.
            from = wished;
        }
        let (reading, rendition) = (content.clone(), made.rendition.clone());
        let growing = tokio::task::spawn_blocking(move || Growing::new(reading, rendition));
        let growing = growing.await.context("preparing")?;
        let mut listening = Listening {
            context,
            sending,
            torrent,
            growing: Arc::new(growing),
            content,
            from,
            timeline: Timeline::default(),
            ads: Vec::new(),
            begun: HashSet::new(),
            spots,
            ready,
            preparer,
            ahead,
            deferred: None,
            work,
            freezing,
            changed: false,
            freeze: args.freeze,
            proofs,
            playback,
            queue: Queue::open(&context.ads_db()).await?,
            bookmark,
        };
        for (index, came) in came {
            listening.took(index, came).await;
        }
        listening.changed = listening.ready.iter().any(|ready| !laid_out.contains(&ready.key));
        let tried = if freezing { HashSet::new() } else { laid_out };
        listening.take_over(&made, &tried).await?;
        listening.lay_out_next();
        Ok(listening)
    }

    /// What can be asked for ads, and the accounts that will be given to ad servers.
    async fn ask(
        context: &Context,
        args: &PlayArgs,
        (found, torrent): (&crate::source::Torrent, &Torrent),
        content: Arc<dyn Content>,
        playback: &Playback,
        proofs: &mut Option<Proofs>,
        swarm: Option<Arc<Swarm>>,
    ) -> anyhow::Result<Result<Preparer, Prepared>> {
        let sheet = match joining::cue_sheet(context, found, torrent).await? {
            Ok(sheet) => sheet,
            Err(without) => return Ok(Err(without)),
        };
        let publisher = *sheet.publisher.as_bytes();
        let secret = identity::viewer_secret(context, &publisher)?;
        let root = found.metainfo.files().first().map(|file| file.pieces_root().0);
        let written = Proofs::new(secret, publisher, root.unwrap_or_default(), playback);
        let asking = Asking {
            playback,
            ad_id: identity::ad_id(context, args.swarm.allow_ad_id)?,
            viewer_key: Some(written.key()),
            swarm,
        };
        *proofs = Some(written);
        let deadline = tokio::time::Instant::now() + args.freeze;
        Ok(Preparer::new(context, &found.metainfo, &sheet, content, &asking, deadline).await)
    }
}

/// Which content time a position is. What counts from the end needs to know where that is, as well as the content's head can say it; the end
/// itself is its last moment, so that what stands behind it is heard.
async fn place(position: Position, content: &Arc<dyn Content>) -> anyhow::Result<ContentTime> {
    match position {
        Position::Time(time) => return Ok(time),
        Position::Start => return Ok(ContentTime::ZERO),
        Position::End | Position::Percent(_) => {}
    }
    let content = Arc::clone(content);
    let probing = tokio::task::spawn_blocking(move || {
        if position == Position::End {
            return splice::probe_length(content.as_ref(), &rendition::PLAYED);
        }
        match splice::probe(content.as_ref(), &rendition::PLAYED)? {
            format if format.duration > ContentTime::ZERO => Ok(format),
            _ => splice::probe_length(content.as_ref(), &rendition::PLAYED),
        }
    });
    let duration = probing.await.context("looking at the content")??.duration;
    Ok(position.resolve(duration).min(just_before(duration)))
}
