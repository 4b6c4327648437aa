//! Where delivery and ads meet: content that is still arriving, and ads that are decided meanwhile, become one frozen rendition.
//!
//! Invariants: the rendition is frozen before its first byte is written; ads are as loud as the content around them, which is measured here, in
//! the content itself; nothing partial ever stands under the final name; ads that are not
//! ready in time leave their break empty, and content never waits for ads longer than the freeze time.
//!
//! Not for: deciding, fetching and fitting ads (`breaks`), or how bytes come here (`engine`).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ad_splicer::content::{Content, Findings};
use ad_splicer::decide::{Problem, VastCode};
use ad_splicer::frame_index::FrameIndex;
use ad_splicer::loudness::Leveled;
use ad_splicer::pcm::Pcm;
use ad_splicer::splice::{self, Options, Rendition, SpliceError};
use anyhow::Context as _;
use engine::node::{BlockingReader, Torrent};
use engine::swarm::Demand;
use serde::Serialize;

use crate::breaks::{Failure, Prepared, Ready, Skipped, Spot};
use crate::files::{Whole, write_file};
use crate::output::reader_gone;
use crate::placing::Placing;

/// Where the result goes.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    /// Under this name, whole or not at all.
    File(PathBuf),
    /// To stdout, as it is made.
    Stdout,
}

/// One ad of the result, as `--json` has it. Times are seconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PlacedAd {
    /// The cue point's id.
    #[serde(rename = "break")]
    pub(crate) break_id: String,
    /// The cue, in content time.
    pub(crate) cue: f64,
    /// Where the ad starts, in presentation time.
    pub(crate) start: f64,
    pub(crate) duration: f64,
    /// The ad server's id, or what the ad is called when it has none.
    pub(crate) ad_id: String,
    pub(crate) title: Option<String>,
    pub(crate) advertiser: Option<String>,
    pub(crate) creative_sha256: String,
    pub(crate) gain_db: f64,
    pub(crate) limited_db: f64,
    /// By how much it stayed quieter than it should be, in LU.
    pub(crate) shortfall_lu: f64,
    /// How loud the content around it is, in LUFS, when it was made as loud as that, or as nearly as may be.
    #[serde(skip)]
    pub(crate) heard: Option<f64>,
}

impl PlacedAd {
    /// What was done to its loudness, for people.
    pub(crate) fn loudness(&self) -> String {
        let limited = match self.limited_db {
            limited if limited > 0.0 => format!(", peaks limited by {limited:.1} dB"),
            _ => String::new(),
        };
        let short = match self.shortfall_lu {
            short if short > 0.0 => format!(", still {short:.1} LU quieter than it should be"),
            _ => String::new(),
        };
        format!("{:+.1} dB{limited}{short}", self.gain_db)
    }
}

/// The result, and what of it is to be reported.
#[derive(Debug)]
pub(crate) struct Made {
    /// Bytes of the result.
    pub(crate) bytes: u64,
    /// How long it plays; `None` for what is not spliced and so was not looked into.
    pub(crate) duration: Option<Duration>,
    pub(crate) ads: Vec<PlacedAd>,
    /// The ads that are in it, in the same order, for beacons.
    pub(crate) delivered: Vec<Ready>,
    pub(crate) skipped: Vec<Skipped>,
    /// What went wrong while splicing.
    pub(crate) failures: Vec<Failure>,
}

impl Made {
    /// The content as it is, of so many bytes; none of what was prepared is in it.
    pub(crate) fn plain(bytes: u64, prepared: Prepared) -> Self {
        Self {
            bytes,
            duration: None,
            ads: Vec::new(),
            delivered: Vec::new(),
            skipped: prepared.skipped,
            failures: prepared.failures,
        }
    }
}

/// A rendition whose every byte is determined, and what is in it.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) rendition: Rendition,
    /// Its breaks.
    pub(crate) spots: Vec<Spot>,
    /// The ads that are in it, each with what was done to its sound.
    pub(crate) ready: Vec<(Ready, Leveled)>,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) failures: Vec<Failure>,
}

/// Content of a torrent as the splicer reads it.
pub(crate) struct Arriving {
    reader: BlockingReader,
    frame_index: Option<FrameIndex>,
    findings: Findings,
}

impl Arriving {
    /// Reads in order, as fast as data comes.
    pub(crate) fn new(torrent: &Torrent) -> Self {
        Self::of(torrent, 0)
    }

    /// The same of one file of several.
    pub(crate) fn of(torrent: &Torrent, file: usize) -> Self {
        Arriving {
            reader: torrent
                .reader_of(file, Demand::Whenever)
                .blocking(tokio::runtime::Handle::current()),
            frame_index: torrent.metainfo().frame_index().and_then(FrameIndex::parse),
            findings: Findings::default(),
        }
    }
}

impl Content for Arriving {
    fn len(&self) -> u64 {
        self.reader.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
        self.reader.read_at(offset, buffer, deadline)
    }

    fn frame_index(&self) -> Option<&FrameIndex> {
        self.frame_index.as_ref()
    }

    fn findings(&self) -> Option<&Findings> {
        Some(&self.findings)
    }
}

/// Bytes that are copied at once of content that needs no splicing.
const COPIED_AT_ONCE: u64 = 1 << 20;

/// How long one read may wait. A block of a large download may come last; when the download fails its readers are told at once.
pub(crate) const PATIENT: Options = Options {
    read_deadline: Duration::from_secs(7 * 86_400),
    fade: Duration::from_millis(5),
    growing: false,
    measured: false,
    later: false,
    ad_chapters: false,
};

/// The same for what is given as it is made: the first byte does not wait for what comes later.
pub(crate) const AS_READ: Options = Options {
    later: true,
    ..PATIENT
};

/// The same for what is played as it is.
pub(crate) const PLAYED: Options = Options {
    measured: true,
    ..PATIENT
};

/// The same for a rendition that grows while it is played.
pub(crate) const GROWING: Options = Options {
    growing: true,
    ..PLAYED
};

/// Freezes the rendition, with ads that are as loud as the content around their cues. Blocks, and may read all of the content when
/// there are ads: for a thread of its own.
///
/// A break that cannot be spliced stays empty and says why; so do all of them in content that nothing can be spliced into. Content that is
/// no audio at all is an error.
pub(crate) fn freeze(
    content: &dyn Content,
    prepared: Prepared,
    options: &Options,
) -> Result<Frozen, SpliceError> {
    freeze_into(content, prepared, options, None)
}

/// The same; with a file, what has ads is written there meanwhile.
fn freeze_into(
    content: &dyn Content,
    prepared: Prepared,
    options: &Options,
    out: Option<&File>,
) -> Result<Frozen, SpliceError> {
    let Prepared {
        spots,
        ready,
        skipped,
        failures,
        preview,
        all_or_nothing,
        synced: _,
        ad_chapters: _,
        late: _,
    } = prepared;
    let mut options = options;
    let plain = match splice::prepare(content, &[], options) {
        // What nothing can be put into is played as it is.
        Err(error) if options.growing && !matches!(error, SpliceError::Read { .. }) => {
            options = &PLAYED;
            splice::prepare(content, &[], options)
        }
        other => other,
    };
    let mut frozen = Frozen {
        rendition: plain?,
        spots: Vec::new(),
        ready: Vec::new(),
        skipped,
        failures,
    };
    if ready.is_empty() {
        return Ok(frozen);
    }
    match with_ads(content, (&spots, &ready, preview), options, out, &mut frozen) {
        Ok(rendition) => frozen.rendition = rendition,
        Err(error) if all_or_nothing => return Err(error),
        Err(error @ (SpliceError::Read { .. } | SpliceError::Write(_))) => return Err(error),
        Err(error) => {
            frozen.ready.clear();
            for ad in &ready {
                frozen.leave_out(&spots, ad, &error.to_string());
            }
        }
    }
    frozen.spots = spots;
    Ok(frozen)
}

fn with_ads(
    content: &dyn Content,
    (spots, ready, preview): (&[Spot], &[Ready], Option<Duration>),
    options: &Options,
    out: Option<&File>,
    frozen: &mut Frozen,
) -> Result<Rendition, SpliceError> {
    let mut breaks = Vec::new();
    for spot in spots {
        let mut ads = Vec::new();
        for ad in ready.iter().filter(|ad| ad.break_index == spot.index) {
            let leveled = Leveled::new(ad.creative.clone(), spot.cue.loudness, spot.heard);
            ads.push(splice::Ad {
                id: ad.key.clone(),
                pcm: Pcm::from(leveled.clone()),
                picture: ad.picture.clone(),
            });
            frozen.ready.push((ad.clone(), leveled));
        }
        breaks.push(splice::Break {
            at: spot.at,
            replace: spot.replace,
            ads,
        });
    }
    if let Some(around) = preview {
        let cuts = splice::preview::cuts(content, &breaks, around, options)?;
        breaks.extend(cuts);
    }
    let (rendition, left_out) = match out {
        Some(out) => splice::write_what_fits(content, &breaks, options, out)?,
        None => splice::prepare_what_fits(content, &breaks, options)?,
    };
    for (index, error) in left_out {
        let is_left_out = |ready: &Ready| breaks[index].ads.iter().any(|ad| ad.id == ready.key);
        frozen.ready.retain(|(ready, _)| !is_left_out(ready));
        for ad in ready.iter().filter(|ad| is_left_out(ad)) {
            frozen.leave_out(spots, ad, &error.to_string());
        }
    }
    Ok(rendition)
}

impl Frozen {
    /// Notes that an ad which was ready could not be spliced in.
    fn leave_out(&mut self, spots: &[Spot], ad: &Ready, reason: &str) {
        let (skipped, failure) = left_out(spots, ad, reason);
        self.skipped.push(skipped);
        self.failures.extend(failure);
    }

    /// Leaves out what turned out to be silence when it was read.
    fn lose(&mut self) {
        let spots = std::mem::take(&mut self.spots);
        for lost in self.rendition.lost() {
            let place = self.ready.iter().position(|(ready, _)| ready.key == lost.id);
            if let Some(place) = place {
                let (ad, _) = self.ready.remove(place);
                self.leave_out(&spots, &ad, &lost.reason);
            }
        }
        self.spots = spots;
    }
}

/// What is said, and reported, of an ad that was ready and is not in the rendition for this reason.
pub(crate) fn left_out(spots: &[Spot], ad: &Ready, reason: &str) -> (Skipped, Option<Failure>) {
    let skipped = Skipped::new(&ad.break_id, reason, Some(VastCode::LINEAR.0));
    let spot = spots.iter().find(|spot| spot.index == ad.break_index);
    let failure = spot.map(|spot| Failure {
        cue: spot.cue.clone(),
        break_index: ad.break_index,
        at: ad.at,
        content_duration: ad.content_duration,
        problems: vec![Problem {
            code: VastCode::LINEAR,
            text: reason.to_owned(),
            error_urls: ad.ad.errors.clone(),
            ad_id: ad.ad.ad_id.clone(),
        }],
        not_used: Vec::new(),
        empty: None,
    });
    (skipped, failure)
}

/// Freezes and writes the rendition. Blocks: for a thread of its own.
///
/// Content that cannot be spliced after all is given as it is, without ads, and each break says why.
pub(crate) fn write(
    content: &Arc<dyn Content>,
    prepared: Prepared,
    destination: &Destination,
    placing: &Placing,
) -> anyhow::Result<Made> {
    match destination {
        Destination::File(path) => {
            let mut whole = Whole::begin(path)?;
            let synced = prepared.synced;
            let found = Found::new(content.as_ref(), prepared, Some(whole.file()));
            let found = found.map_err(|error| match error.downcast_ref() {
                Some(SpliceError::Write(_)) => error.context(whole.doing()),
                _ => error,
            })?;
            let bytes = if let Some(written) = found.spliced() {
                written.len()
            } else {
                let file = whole.file();
                // An attempt to put ads in may have left something.
                let poured = file.set_len(0).map_err(anyhow::Error::from);
                let poured = poured.and_then(|()| pour(content.as_ref(), None, file));
                poured.with_context(|| whole.doing())?
            };
            whole.finish(placing, synced)?;
            Ok(found.made(bytes))
        }
        Destination::Stdout => {
            let mut found = Found::new(content.as_ref(), prepared, None)?;
            let mut out = io::stdout().lock();
            let bytes = pour(content.as_ref(), found.spliced(), &mut out).map_err(reader_gone)?;
            placing.begin()?;
            found.lose();
            Ok(found.made(bytes))
        }
    }
}

/// What became of what was prepared, once nothing about it changes any more.
struct Found {
    /// `None` when there were no ads: then nothing needs to be known about the content, it may be anything.
    frozen: Option<Frozen>,
    skipped: Vec<Skipped>,
    failures: Vec<Failure>,
}

impl Found {
    fn new(content: &dyn Content, prepared: Prepared, out: Option<&File>) -> anyhow::Result<Self> {
        let all_or_nothing = prepared.all_or_nothing;
        let found = if prepared.ready.is_empty() {
            Self {
                frozen: None,
                skipped: prepared.skipped,
                failures: prepared.failures,
            }
        } else {
            let options = Options {
                ad_chapters: prepared.ad_chapters,
                ..if out.is_some() { PATIENT } else { AS_READ }
            };
            let mut frozen = freeze_into(content, prepared, &options, out)?;
            if options.ad_chapters {
                tell_unlisted(&frozen.rendition);
            }
            Self {
                skipped: std::mem::take(&mut frozen.skipped),
                failures: std::mem::take(&mut frozen.failures),
                frozen: Some(frozen),
            }
        };
        match found.skipped.first().filter(|_| all_or_nothing) {
            Some(missing) => anyhow::bail!("{}", missing.reason),
            None => Ok(found),
        }
    }

    /// Everything was read: what became silence is not in it.
    fn lose(&mut self) {
        if let Some(frozen) = &mut self.frozen {
            frozen.lose();
            self.skipped.append(&mut frozen.skipped);
            self.failures.append(&mut frozen.failures);
        }
    }

    /// The rendition, if there are ads in it.
    fn spliced(&self) -> Option<&Rendition> {
        let rendition = self.frozen.as_ref().map(|frozen| &frozen.rendition);
        rendition.filter(|rendition| !rendition.report().ads.is_empty())
    }

    fn made(self, bytes: u64) -> Made {
        Made {
            bytes,
            duration: self.spliced().map(|rendition| rendition.report().duration),
            ads: self.frozen.as_ref().map_or_else(Vec::new, placed),
            delivered: self.frozen.map_or_else(Vec::new, |frozen| {
                frozen.ready.into_iter().map(|(ready, _)| ready).collect()
            }),
            skipped: self.skipped,
            failures: self.failures,
        }
    }
}

/// Says why no break became a chapter.
fn tell_unlisted(rendition: &Rendition) {
    if rendition.report().ads.is_empty() {
        return;
    }
    if rendition.report().chapters.is_empty() {
        eprintln!("note: --ad-chapters does nothing: the content has no chapters that ads could stand among");
    } else if !rendition.report().lists_breaks() {
        eprintln!("note: --ad-chapters does nothing: breaks are listed among chapters in ID3 and MP4 only");
    }
}

/// Writes content into a file as it comes, in any order, so that hardly anything is left to do when the last of it is
/// here: what is not spliced needs no order.
pub(crate) fn copy(
    content: &Arriving,
    prepared: Prepared,
    path: &Path,
    placing: &Placing,
) -> anyhow::Result<Made> {
    let bytes = write_file(path, placing, |file| {
        let mut left: VecDeque<u64> = (0..content.reader.len())
            .step_by(COPIED_AT_ONCE as usize)
            .collect();
        let part = |left: &mut VecDeque<u64>| content.reader.read_any(left, COPIED_AT_ONCE);
        while let Some((offset, bytes)) = part(&mut left).context("cannot read the content")? {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(&bytes)?;
        }
        Ok(content.reader.len())
    })?;
    Ok(Made::plain(bytes, prepared))
}

/// The report's ads with what was done to each.
pub(crate) fn placed(frozen: &Frozen) -> Vec<PlacedAd> {
    let spliced = frozen.rendition.report().ads.iter();
    spliced
        .filter_map(|ad| {
            let (what, leveled) = frozen.ready.iter().find(|(ready, _)| ready.key == ad.id)?;
            let applied = leveled.applied().unwrap_or_default();
            Some(PlacedAd {
                break_id: what.break_id.clone(),
                cue: ad.content.as_secs_f64(),
                start: ad.presentation.as_secs_f64(),
                duration: ad.duration.as_secs_f64(),
                ad_id: what
                    .ad
                    .ad_id
                    .clone()
                    .or_else(|| what.ad.title.clone())
                    .unwrap_or_default(),
                advertiser: what.ad.advertiser.clone(),
                title: what.ad.title.clone(),
                creative_sha256: what.sha256.to_string(),
                gain_db: round(applied.gain_db),
                limited_db: round(applied.limited_db),
                shortfall_lu: round(applied.shortfall_lu),
                heard: leveled.heard(),
            })
        })
        .collect()
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn pour(content: &dyn Content, rendition: Option<&Rendition>, out: &mut dyn Write) -> anyhow::Result<u64> {
    if let Some(rendition) = rendition {
        rendition.write_to(content, out, &PATIENT)?;
        return Ok(rendition.len());
    }
    let mut buffer = vec![0; 256 * 1024];
    let mut offset = 0;
    while offset < content.len() {
        let count = content
            .read_at(offset, &mut buffer, PATIENT.read_deadline)
            .with_context(|| format!("cannot read the content at byte {offset}"))?;
        anyhow::ensure!(count > 0, "the content ends at byte {offset}, before its length");
        out.write_all(&buffer[..count])
            .context("cannot write the result")?;
        offset += count as u64;
    }
    out.flush().context("cannot write the result")?;
    Ok(offset)
}
