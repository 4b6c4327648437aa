//! The ads side of publishing: cue points from the command line, inline VAST for creatives given with `--ad`, and the facts around each cue.
//!
//! Not for: deciding or splicing; the viewer does both.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ad_splicer::conditioning::Conditioner;
use ad_splicer::content::{Content, FileContent};
use ad_splicer::creatives::{Cache, FetchLimits, Profile};
use ad_splicer::cues::{
    AdArgument, AdSource, BreakLoudness, CueArgument, CuePoint, CueSource, MOST_CUES, PlacedCue, in_order,
    vmap,
};
use ad_splicer::decide::select;
use ad_splicer::decide::vast::inline_for_creative;
use ad_splicer::time::ContentTime;
use ad_splicer::{facts, splice};
use anyhow::Context as _;
use url::Url;

use crate::beforehand;
use crate::breaks::place;
use crate::cli::{MarkArgs, PublishArgs};
use crate::context::Context;
use crate::output::{Explain, bad_input};
use crate::placeable::{self, shown};
use crate::snap::{self, Moved};
use crate::splice::{tell_cut_short, unready, unusable};

/// The cue points of one file, and the creatives that must be uploaded for them.
#[derive(Debug, Default)]
pub(super) struct Cues {
    pub(super) points: Vec<CuePoint>,
    pub(super) uploads: Vec<(PathBuf, Url)>,
    /// What `--snap` did.
    pub(super) snapped: Vec<Moved>,
}

impl Cues {
    /// The cue points as VMAP, the form that is signed.
    pub(super) fn vmap(&self) -> anyhow::Result<String> {
        vmap::write(&self.points).context("writing the cue points as VMAP")
    }
}

/// Collects the cue points: those of `--cue` ask the ad tag of `--ads`, those of `--ad` carry their creative, those of `--cues` say
/// themselves, or ask the ad tag.
pub(super) async fn cues(
    context: &Context,
    args: &PublishArgs,
    media: &Path,
    media_url: &Url,
) -> anyhow::Result<Cues> {
    let mut cues = Cues::default();
    if let Some(tag) = &args.ads {
        check_tag(tag)?;
    }
    // Whose each cue point is, by its id.
    let mut origins = HashMap::new();
    for text in &args.cue {
        let mut argument: CueArgument = text.parse().or_bad_input(|| format!("--cue {text}"))?;
        argument.loudness = argument.loudness.or(args.loudness);
        let mut cue = argument.into_cue(format!("cue-{}", cues.points.len() + 1));
        cue.ads = args.ads.clone().map(AdSource::Tag);
        origins.insert(cue.id.clone(), format!("--cue {text}"));
        cues.points.push(cue);
    }
    for text in &args.ad {
        let given = || format!("--ad {}", text.display());
        let mut argument = AdArgument::parse(text).or_bad_input(given)?;
        argument.cue.loudness = argument.cue.loudness.or(args.loudness);
        let id = format!("cue-{}", cues.points.len() + 1);
        let creative = argument.creative.to_str().ok_or_else(|| {
            let why = "its name is no UTF-8, and viewers are told it in a URL";
            unusable(&argument.creative.display().to_string(), why)
        })?;
        let (vast, upload) = inline(context, creative, media_url).await?;
        let mut cue = argument.cue.into_cue(id);
        cue.ads = Some(AdSource::Inline(vast));
        origins.insert(cue.id.clone(), given());
        cues.points.push(cue);
        cues.uploads.extend(upload);
    }
    for path in &args.cues {
        for mut cue in read_cues(path, &args.marks)? {
            let origin = format!("{} of {}", cue.id, path.display());
            cue.id = unused(&cues.points, cue.id);
            origins.insert(cue.id.clone(), origin);
            if cue.ads.is_none() {
                cue.ads = args.ads.clone().map(AdSource::Tag);
            }
            if cue.loudness == BreakLoudness::Content {
                cue.loudness = args.loudness.unwrap_or_default();
            }
            cues.points.push(cue);
        }
    }
    if cues.points.len() > MOST_CUES {
        return Err(bad_input(format!(
            "there are {} cue points, and one file may have {MOST_CUES}",
            cues.points.len()
        )));
    }
    if args.ads.is_some() && args.cue.is_empty() && args.cues.is_empty() {
        return Err(bad_input(
            "--ads names an ad server, and no --cue says where its ads go",
        ))
        .hint(|| "add --cue TIME for each break".into());
    }
    if args.loudness.is_some() && cues.points.is_empty() {
        return Err(bad_input(
            "--loudness says how loud ads are, and no --cue says where they go",
        ))
        .hint(|| "add --cue TIME for each break".into());
    }
    if !cues.points.is_empty() {
        let format = probe(media).await?;
        let content = FileContent::open(media).or_bad_input(|| format!("cannot read {}", media.display()))?;
        let content: Arc<dyn Content> = Arc::new(content);
        cues.snapped = snap::snap(&content, format.duration, &mut cues.points, args.snap).await?;
        snap::tell(&cues.snapped);
        beforehand::tell(&content, &format, &cues.points).await?;
        let media = media.display().to_string();
        let duration = placeable::check(&cues.points, &content, &format, &media).await?;
        placeable::check_cuts(&cues.points, duration, &content, &media).await?;
        once(&cues.points, duration, &origins)?;
        order(&mut cues.points, duration);
    }
    Ok(cues)
}

/// Viewers could not ask anything else. Macros may stand in all of it but the scheme and the host.
fn check_tag(tag: &str) -> anyhow::Result<()> {
    let usable = Url::parse(tag).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if usable {
        return Ok(());
    }
    Err(bad_input(format!("--ads {tag} is no http or https URL")))
        .hint(|| "it is the ad server's whole URL, as in https://ads.example/vast?max=30".into())
}

/// Refuses two cue points at one time. Only breaks of VMAP, and creatives of `--ad`, play in their order there.
fn once(points: &[CuePoint], duration: ContentTime, origins: &HashMap<String, String>) -> anyhow::Result<()> {
    let placed = in_order(points, duration);
    let both = placed
        .windows(2)
        .filter(|pair| pair[0].at == pair[1].at)
        .find(|pair| {
            let all = |what: fn(&CuePoint) -> bool| pair.iter().all(|placed| what(placed.cue));
            !all(|cue| cue.source == CueSource::Vmap) && !all(is_creative)
        });
    let Some([one, other]) = both else {
        return Ok(());
    };
    let origin = |placed: &PlacedCue<'_>| origins.get(&placed.cue.id).cloned().unwrap_or_default();
    Err(bad_input(format!(
        "there are two cue points at {}: {} and {}",
        shown(one.at),
        origin(one),
        origin(other)
    )))
    .hint(|| {
        if [one, other].iter().any(|placed| is_creative(placed.cue)) {
            "--ad makes a cue point by itself: give no other cue point but --ad for a place".into()
        } else {
            "give --ads to a break with several ads, or a limit: TIME,ads=2".into()
        }
    })
}

/// Whether it comes from `--ad`.
fn is_creative(cue: &CuePoint) -> bool {
    cue.source == CueSource::CommandLine && matches!(cue.ads, Some(AdSource::Inline(_)))
}

/// Puts cue points in the order of their times, those at one time in the order given, and numbers those of the command line by it.
fn order(points: &mut [CuePoint], duration: ContentTime) {
    let at = |cue: &CuePoint| cue.position.resolve(duration);
    let typed = |cue: &CuePoint| cue.source == CueSource::CommandLine;
    points.sort_by_key(at);
    let kept: Vec<String> = points
        .iter()
        .filter(|cue| !typed(cue))
        .map(|cue| cue.id.clone())
        .collect();
    let mut numbers = (1..)
        .map(|number| format!("cue-{number}"))
        .filter(|id| !kept.contains(id));
    for cue in points.iter_mut() {
        if typed(cue) {
            cue.id = numbers.next().unwrap_or_default();
        }
        if cue.ads.is_none() {
            eprintln!(
                "note: nothing can play at {}: --ads URL names an ad server, --ad TIME=CREATIVE a creative",
                shown(at(cue))
            );
        }
    }
}

/// The cue points of a file of marks.
fn read_cues(path: &Path, args: &MarkArgs) -> anyhow::Result<Vec<CuePoint>> {
    let read = crate::cues::read(path, args)?;
    for note in &read.notes {
        eprintln!("note: {}: {note}", path.display());
    }
    let cues: Vec<CuePoint> = read.cues().cloned().collect();
    if cues.is_empty() {
        return Err(bad_input(format!(
            "cannot take cue points from {}: it has no ad break that can be used",
            path.display()
        )))
        .hint(|| format!("`grove cues {}` lists what is in it", path.display()));
    }
    Ok(cues)
}

/// The id, or with a number after it when another cue point has it already: ids are unique in a cue sheet.
fn unused(points: &[CuePoint], id: String) -> String {
    let taken = |id: &str| points.iter().any(|cue| cue.id == id);
    if !taken(&id) {
        return id;
    }
    // One more number than there are ids: one of them is free.
    (2..=points.len() + 2)
        .map(|number| format!("{id}-{number}"))
        .find(|id| !taken(id))
        .unwrap_or(id)
}

async fn probe(media: &Path) -> anyhow::Result<splice::StreamFormat> {
    let path = media.to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let content = FileContent::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        splice::probe_length(&content, &splice::Options::default())
            .or_bad_input(|| format!("ads cannot be put into {}", path.display()))
            .hint(|| "publish it without --cue and --ad".into())
    });
    work.await.context("looking at the file")?
}

/// Works out what every viewer would need around each cue.
pub(super) async fn survey(media: &Path, points: &[CuePoint]) -> anyhow::Result<bt_bencode::Value> {
    let path = media.to_owned();
    let places: Vec<splice::At> = points.iter().map(|cue| place(cue.position)).collect();
    let work = tokio::task::spawn_blocking(move || {
        let content = FileContent::open(&path)?;
        let facts = facts::survey(&content, &places)?;
        anyhow::Ok(facts)
    });
    let facts = work
        .await
        .context("surveying the cues")?
        .or_bad_input(|| format!("ads cannot be put into {}", media.display()))
        .hint(|| "publish a whole copy of the file, or this one without --cue and --ad".into())?;
    let mut told = None;
    for (cue, found) in points.iter().zip(&facts.cues) {
        if let (BreakLoudness::Content, Some(heard)) = (cue.loudness, found.loudness)
            && told.replace(found.position) != Some(found.position)
        {
            let at = Duration::from_nanos(found.position.as_nanos());
            beforehand::tell_loudness(at, f64::from(heard) / 100.0);
        }
    }
    bt_bencode::to_value(&facts).context("cannot write the facts")
}

/// A VAST document for one creative, and where a local file is to be uploaded.
async fn inline(
    context: &Context,
    creative: &str,
    media_url: &Url,
) -> anyhow::Result<(String, Option<(PathBuf, Url)>)> {
    let cache = Cache::open(context.creatives(), Cache::DEFAULT_MAX_BYTES)?;
    let (original, url, upload) = match Url::parse(creative) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            context.gate.trust_url(&url);
            let original = cache
                .fetch(&context.gate, &url, None, FetchLimits::default())
                .await?;
            (original, url, None)
        }
        _ => {
            let path = PathBuf::from(creative);
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .ok_or_else(|| bad_input(format!("{creative} is no file")))?;
            let mut url = media_url.clone();
            url.path_segments_mut()
                .map_err(|()| bad_input("the origin is no http or https URL"))?
                .pop()
                .push(name);
            url.set_query(None);
            let original = cache
                .import(&path, FetchLimits::default())
                .map_err(|error| unready(creative, cache.dir(), error.into()))?;
            (original, url.clone(), Some((path, url)))
        }
    };
    // How long it is only decoding it tells.
    let profile = Profile {
        sample_rate: 48_000,
        channels: 2,
    };
    let conditioned = Conditioner::new(ad_splicer::this_program()?)
        .condition(&cache, &original, profile)
        .await
        .map_err(|error| unready(creative, cache.dir(), error))?;
    tell_cut_short(creative, &original, &conditioned, false);
    let duration = conditioned.duration();
    let name = url
        .path_segments()
        .and_then(|mut segments| segments.next_back())
        .unwrap_or_default()
        .to_owned();
    // Viewers go by the type that is stated.
    let media_type = select::of_name(&name)
        .ok_or_else(|| {
            unusable(
                creative,
                "its name has no ending that says what kind of media it is",
            )
        })
        .hint(|| "name it by what it is: .mp3, .wav, .mp4, .mov…".into())?;
    let vast = inline_for_creative(url.as_str(), duration, Some(original.sha256.0), &name, media_type);
    Ok((vast, upload))
}
