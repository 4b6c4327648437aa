//! `grove splice`: ads into a local file, without any network: for previews and tests.
//!
//! The same conditioning, loudness and splicing as a download has; the result has the bytes that a viewer would get, or with `--preview` what they are around the breaks.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ad_splicer::bridge;
use ad_splicer::conditioning::{ConditionError, Conditioner, Standing};
use ad_splicer::content::{Content, FileContent};
use ad_splicer::creatives::{Cache, ContentHash, Creative, FetchLimits, Original, Profile};
use ad_splicer::cues::{AdArgument, CuePoint, PlacedCue, in_order};
use ad_splicer::decide::Ad;
use ad_splicer::facts::loudness_around;
use ad_splicer::picture::{Picture, PictureFormat};
use ad_splicer::splice::{self, At, Codec};
use ad_splicer::time::ContentTime;
use anyhow::Context as _;
use futures_util::stream;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::again;
use crate::beforehand;
use crate::breaks::{Prepared, Ready, Spot, place, spot};
use crate::cli::SpliceArgs;
use crate::context::{creatives_in, data_folder};
use crate::files::{Synced, can_write, is_same_file, tell_new_folder};
use crate::media_type;
use crate::output::{
    ExitStatus, Explain, Outcome, WRITABLE, bad_input, interrupted, is_full, print_json, with_hint,
};
use crate::placeable;
use crate::placing::Placing;
use crate::rendition::{self, Destination, Made, PATIENT};
use crate::scratch::Scratch;
use crate::snap::{self, Moved};
use crate::units::{human_bytes, human_time};

/// Below this true peak, in dBTP, nothing is heard.
const HEARD: f64 = -70.0;

/// Splices the creatives in, in the order of their cues. Who interrupts it finds nothing of the result.
pub(crate) async fn run(args: &SpliceArgs, json: bool) -> Outcome {
    let placing = Placing::default();
    let mut spliced = Box::pin(splice_in(args, &placing, json));
    tokio::select! {
        biased;
        () = interrupted() => {}
        outcome = &mut spliced => return outcome,
    }
    if placing.stop() {
        return Ok(ExitStatus::Interrupted);
    }
    spliced.await
}

async fn splice_in(args: &SpliceArgs, placing: &Placing, json: bool) -> Outcome {
    let to_stdout = args.output.as_os_str() == "-";
    if to_stdout && json {
        return Err(bad_input(
            "with -o - the file itself goes to stdout, so there is no room for --json",
        ));
    }
    let mut wanted: Vec<(CuePoint, PathBuf)> = Vec::new();
    for text in &args.ad {
        let argument = AdArgument::parse(text).or_bad_input(|| format!("--ad {}", text.display()))?;
        // Ads at one place make one break, in the order given.
        wanted.push((
            argument.cue.into_cue(format!("cue-{}", wanted.len() + 1)),
            argument.creative.into(),
        ));
    }
    let creatives = wanted.iter().map(|(_, creative)| creative.as_path());
    for from in creatives.chain([args.content.as_path()]) {
        if is_same_file(from, &args.output) {
            return Err(bad_input(format!(
                "{} would be overwritten by its own result",
                from.display()
            )))
            .hint(|| "name another file with -o".into());
        }
    }
    if args.output.is_dir() {
        return Err(bad_input(format!("{} is a folder", args.output.display())))
            .hint(|| "name a file with -o".into());
    }
    if !to_stdout {
        can_write(&args.output)?;
    }
    let content = FileContent::open(&args.content)
        .or_bad_input(|| format!("cannot read {}", args.content.display()))?;
    let conditioner = Conditioner::new(ad_splicer::this_program().context("finding this program")?);
    let mut cues: Vec<CuePoint> = wanted.iter().map(|(cue, _)| cue.clone()).collect();
    let places = cues.iter().map(|cue| place(cue.position)).collect();
    let content = again::ready(Arc::new(content), &args.content, &conditioner, places).await?;
    let format = probe(&content, &args.content.display().to_string()).await?;
    bridge::get_ready(format.codec);
    if !to_stdout {
        tell_new_folder(&args.output);
        media_type::tell_misnamed(&args.output, media_type::of_codec(format.codec));
    }
    let name = args.content.display().to_string();
    let duration = placeable::check(&cues, &content, &format, &name).await?;
    let moved = snap::snap(&content, duration, &mut cues, args.snap).await?;
    snap::tell(&moved);
    placeable::check_cuts(&cues, duration, &content, &name).await?;
    beforehand::tell(&content, &format, &cues).await?;
    let profile = Profile {
        sample_rate: format.sample_rate,
        channels: format.channels,
    };

    // The folder is there as long as it is needed.
    let (cache, _scratch) = cache(args.data.as_deref())?;
    bridge::keep_in(cache.clone());
    let mut prepared = Prepared {
        preview: args.preview,
        all_or_nothing: true,
        synced: Synced::Replacing,
        ad_chapters: args.ad_chapters,
        ..Prepared::default()
    };
    let placed = in_order(&cues, duration);
    prepared.spots = placed
        .iter()
        .enumerate()
        .map(|(index, placed)| spot(index, placed))
        .collect();
    // Meanwhile decoders of creatives are busy in processes of their own.
    let hearing = hear(&content, format.codec, &prepared.spots);
    // Each is read and conditioned once, however often it is named; all are read while there is still something else to wait for.
    let mut originals = HashMap::new();
    for creative in wanted.iter().map(|(_, creative)| creative.as_path()) {
        if !originals.contains_key(creative) {
            originals.insert(creative, import(&cache, creative)?);
        }
    }
    let mut conditioned: HashMap<&Path, (Creative, Option<Arc<Picture>>)> = HashMap::new();
    for (index, placed) in placed.into_iter().enumerate() {
        let Some((_, path)) = wanted.iter().find(|(cue, _)| cue.id == placed.cue.id) else {
            continue;
        };
        let (path, name) = (path.as_path(), &path.display().to_string());
        let original = &originals[path];
        if !conditioned.contains_key(path) {
            let fitted = condition(&cache, &conditioner, (profile, format.picture), name, original);
            let fitted = fitted.await?;
            tell_cut_short(name, original, &fitted.0, format.picture.is_some());
            tell_silent(name, &fitted.0, profile);
            conditioned.insert(path, fitted);
        }
        fits(placed.cue, name, &conditioned[path].0)?;
        let (creative, picture) = conditioned[path].clone();
        let (sha256, lasts) = (original.sha256, duration);
        prepared
            .ready
            .push(ready((&placed, index), name, sha256, lasts, creative, picture));
    }
    // What cannot be measured is said when it is spliced.
    for (spot, heard) in prepared.spots.iter_mut().zip(hearing.await.unwrap_or_default()) {
        spot.heard = Some(heard.unwrap_or(f64::NEG_INFINITY));
    }
    let destination = if to_stdout {
        Destination::Stdout
    } else {
        Destination::File(args.output.clone())
    };
    let (to, placing) = (destination.clone(), placing.clone());
    let began = std::time::Instant::now();
    let made = tokio::task::spawn_blocking(move || rendition::write(&content, prepared, &to, &placing))
        .await
        .context("splicing")?
        .with_context(|| format!("cannot splice into {}", args.content.display()))?;
    let took = began.elapsed();
    tell(&made, &moved, args, took, json);
    Ok(ExitStatus::Done)
}

/// The cache of creatives that other commands have too; where nobody named a folder for it and the platform's cannot be written, one that goes away with the command.
fn cache(data: Option<&Path>) -> anyhow::Result<(Cache, Option<Scratch>)> {
    let kept = data_folder(data).and_then(|folder| kept_in(&folder));
    match kept {
        Ok(cache) => Ok((cache, None)),
        Err(error) if data.is_some() && is_full(&error) => Err(error),
        Err(error) if data.is_some() => Err(with_hint(error, WRITABLE)),
        Err(error) => {
            tracing::debug!(
                error = format!("{error:#}"),
                "creatives are not kept for the next time"
            );
            let scratch = Scratch::new().context("cannot make a temporary folder")?;
            let cache = Cache::open(scratch.path(), Cache::DEFAULT_MAX_BYTES)?;
            Ok((cache, Some(scratch)))
        }
    }
}

/// The cache in this data folder, which can be written.
fn kept_in(data: &Path) -> anyhow::Result<Cache> {
    let cache = Cache::open(creatives_in(data), Cache::DEFAULT_MAX_BYTES)?;
    disk::takes_files(cache.dir()).with_context(|| format!("cannot write into {}", cache.dir().display()))?;
    Ok(cache)
}

async fn probe(content: &Arc<dyn Content>, name: &str) -> anyhow::Result<splice::StreamFormat> {
    let content = content.clone();
    tokio::task::spawn_blocking(move || splice::probe_length(content.as_ref(), &PATIENT))
        .await
        .context("looking at the content")?
        .or_bad_input(|| format!("ads cannot be put into {name}"))
}

/// Begins to measure how loud the content is around each spot: nothing, when that is not possible, or would mean to read all of it once more.
fn hear(content: &Arc<dyn Content>, codec: Codec, spots: &[Spot]) -> JoinHandle<Vec<Option<f64>>> {
    let content = content.clone();
    let places: Vec<At> = spots.iter().map(|spot| spot.at).collect();
    tokio::task::spawn_blocking(move || match codec {
        Codec::Mp3 | Codec::Adts | Codec::M4a | Codec::Mp4 => {
            loudness_around(content.as_ref(), &places, &PATIENT).unwrap_or_default()
        }
        _ => Vec::new(),
    })
}

/// Takes in the creative that a person named.
fn import(cache: &Cache, creative: &Path) -> anyhow::Result<Original> {
    let name = creative.display().to_string();
    if name.starts_with("http://") || name.starts_with("https://") {
        return Err(bad_input(format!("the creative {name} is a URL")))
            .hint(|| "`grove splice` works on local files, without a network: fetch it first".into());
    }
    cache
        .import(creative, FetchLimits::default())
        .map_err(|error| unready(&name, cache.dir(), error.into()))
}

async fn condition(
    cache: &Cache,
    conditioner: &Conditioner,
    wanted: (Profile, Option<PictureFormat>),
    name: &str,
    original: &Original,
) -> anyhow::Result<(Creative, Option<Arc<Picture>>)> {
    let stem = Path::new(name).file_stem().unwrap_or_default();
    let standing = Standing {
        images: stream::empty(),
        name: &stem.to_string_lossy(),
    };
    let conditioned = conditioner.condition_for(cache, original, wanted, standing).await;
    conditioned.map_err(|error| unready(name, cache.dir(), error))
}

/// Refuses what viewers would leave out: a break that states how long it may be takes no ad that is longer.
fn fits(cue: &CuePoint, name: &str, creative: &Creative) -> anyhow::Result<()> {
    match cue.max_duration {
        Some(most) if creative.duration() > most => Err(bad_input(format!(
            "the creative {name} lasts {}, and its break takes {} at most",
            human_time(creative.duration()),
            human_time(most)
        ))),
        _ => Ok(()),
    }
}

/// Says when much less of a creative could be decoded than its tables say that there is: it is a part of a file.
pub(crate) fn tell_cut_short(name: &str, original: &Original, creative: &Creative, seen: bool) {
    if original.ends_too_early() {
        eprintln!(
            "note: {name} ends within a page of Ogg: it is not whole, and {} of it could be decoded",
            human_time(creative.duration())
        );
    }
    if let Some(stated) = original.stated_length(seen)
        && stated > creative.duration()
        && !creative.agrees_with(stated)
    {
        eprintln!(
            "note: {name} says it lasts {}, and {} of it could be decoded",
            human_time(stated),
            human_time(creative.duration())
        );
    }
}

/// Says when nothing of a creative is heard: in mono both sides of stereo may cancel each other out.
fn tell_silent(name: &str, creative: &Creative, profile: Profile) {
    if creative.true_peak < HEARD {
        let mono = if profile.channels == 1 { " in mono" } else { "" };
        eprintln!("note: {name} is silent{mono}");
    }
}

/// An ad for a break of content of this length.
fn ready(
    (placed, index): (&PlacedCue<'_>, usize),
    name: &str,
    sha256: ContentHash,
    content_duration: ContentTime,
    creative: Creative,
    picture: Option<Arc<Picture>>,
) -> Ready {
    let title = Path::new(name).file_name();
    Ready {
        key: index.to_string(),
        break_id: placed.cue.id.clone(),
        break_index: index,
        at: placed.at,
        content_duration,
        place: 0,
        impressions_on: None,
        decided_for: None,
        ad: Ad {
            title: title.map(|name| name.to_string_lossy().into_owned()),
            ..Ad::default()
        },
        sha256,
        duration: creative.duration(),
        creative,
        picture,
    }
}

/// The creative that a person named cannot be made ready: it is no good, or there is something amiss here, with the folder where it is kept perhaps.
pub(crate) fn unready(creative: &str, folder: &Path, error: ConditionError) -> anyhow::Error {
    if error.is_of_creative() {
        return unusable(creative, &error.reason());
    }
    failed_in(
        folder,
        &format!("cannot make the creative {creative} ready"),
        error.into(),
    )
}

/// What could not be done, as something failed that may have to do with how much room there is in this folder.
pub(crate) fn failed_in(folder: &Path, doing: &str, error: anyhow::Error) -> anyhow::Error {
    if !is_full(&error) {
        return error.context(doing.to_owned());
    }
    let folder = folder.display();
    let full = anyhow::anyhow!("{doing}: the disk with the folder {folder} is full");
    with_hint(
        full,
        "make room there, or name a folder on another disk with --data DIR (with TMPDIR, when it is the one for temporary files)",
    )
}

/// The creative that a person named is no good.
pub(crate) fn unusable(creative: &str, reason: &str) -> anyhow::Error {
    bad_input(format!("the creative {creative} cannot be used: {reason}"))
}

/// `took`: levelling, laying out and writing. Conditioning is done before, and so is measuring the content, meanwhile.
fn tell(made: &Made, moved: &[Moved], args: &SpliceArgs, took: Duration, json: bool) {
    let output = &args.output;
    let mut told = None;
    for ad in &made.ads {
        if let Some(heard) = ad.heard
            && told.replace(ad.cue) != Some(ad.cue)
        {
            beforehand::tell_loudness(Duration::from_secs_f64(ad.cue.max(0.0)), heard);
        }
    }
    if json {
        print_json(&json!({
            "event": "complete",
            "path": output.to_string_lossy(),
            "bytes": made.bytes,
            "duration": made.duration.map(|duration| duration.as_secs_f64()),
            "preview": args.preview.map(|around| around.as_secs_f64()),
            "snapped": moved,
            "seconds": took.as_secs_f64(),
            "ads": made.ads,
        }));
        return;
    }
    eprintln!("{}: {}", output.display(), human_bytes(made.bytes));
    for ad in &made.ads {
        eprintln!(
            "  ad at {} (cue {}): {} ({:.1} s, {})",
            human_time(Duration::from_secs_f64(ad.start.max(0.0))),
            human_time(Duration::from_secs_f64(ad.cue.max(0.0))),
            ad.title.as_deref().unwrap_or_default(),
            ad.duration,
            ad.loudness()
        );
    }
}
