//! Facts about content that the publisher works out once, so that a viewer need not: where the frames around each cue are, how loud it is there, where the nearest pause is.
//!
//! Facts travel in the signed cue sheet as bencode, so they hold integers and text only. They are hints: whoever uses one checks it against the content, and false facts give the same output as none.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::creatives::Profile;
use crate::loudness::{self, Leveled, Meter};
use crate::plan::PlanError;
use crate::side_by_side::side_by_side;
use crate::silence;
use crate::splice::format::{Track, recognise, with_same_track, with_track};
use crate::splice::layout::sample_of;
use crate::splice::{At, Break, Codec, Options, SpliceError};
use crate::time::ContentTime;

/// The version of [`Facts`] that this code writes.
pub const VERSION: u32 = 1;

/// What is known about one piece of content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// [`VERSION`].
    pub version: u32,
    /// The coding: a [`crate::splice::Codec::name`].
    pub format: String,
    /// Samples a second.
    pub sample_rate: u32,
    /// How many channels.
    pub channels: u32,
    /// Samples between the declared priming and the declared padding.
    pub samples: u64,
    /// Audio frames, without the Xing or Info frame.
    pub frames: u64,
    /// Samples in a frame.
    pub frame_samples: u32,
    /// Length of the content in bytes.
    pub bytes: u64,
    /// Offset in bytes of the first audio frame.
    pub audio_start: u64,
    /// Bits a second when every frame has the same bit rate, otherwise 0.
    pub bit_rate: u64,
    /// In the order of the cues that were given.
    pub cues: Vec<CueFacts>,
}

/// What is known about the surroundings of one cue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CueFacts {
    /// The cue in content time, in nanoseconds.
    pub position: ContentTime,
    /// The content sample that it falls on.
    pub sample: u64,
    /// Index of the audio frame that decodes to that sample.
    pub frame: u64,
    /// Offset in bytes of that frame.
    pub offset: u64,
    /// Middle of the nearest pause within ten seconds, in content samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<u64>,
    /// Length of that pause in samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence_samples: Option<u64>,
    /// Gated loudness of the 60 seconds around the cue (ITU-R BS.1770-4), in hundredths of LUFS; absent when all of it is below the gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loudness: Option<i32>,
}

/// How much content around a cue its loudness is measured over, half before and half after.
const LOUDNESS_SPAN: Duration = Duration::from_secs(60);
/// How far from a cue a pause is looked for.
const SILENCE_SPAN: Duration = Duration::from_secs(10);

/// How much is decoded at once.
const AT_ONCE: Duration = Duration::from_secs(5);

/// The content sample of the cue with this number in its list.
fn sample_at(track: &dyn Track, number: usize, cue: At) -> Result<u64, SpliceError> {
    let stream = track.stream();
    let sample = sample_of(cue, stream.sample_rate, stream.samples);
    if sample > stream.samples {
        return Err(PlanError::Outside(number).into());
    }
    Ok(sample)
}

/// The content samples up to `span` on both sides of `sample`.
fn around(track: &dyn Track, sample: u64, span: Duration) -> Range<u64> {
    let stream = track.stream();
    let reach = ContentTime::from(span).to_samples(stream.sample_rate);
    sample.saturating_sub(reach)..(sample + reach).min(stream.samples)
}

/// The content that loudness at `sample` is measured over: what is before it, and what is after.
fn heard(track: &dyn Track, sample: u64) -> [Range<u64>; 2] {
    let span = around(track, sample, LOUDNESS_SPAN / 2);
    [span.start..sample, sample..span.end]
}

/// Takes in a range of content samples; `None` when they are nothing that can be measured.
fn listen(track: &dyn Track, span: &Range<u64>) -> Result<Option<Meter>, SpliceError> {
    let stream = track.stream();
    // Whatever can be decoded has a rate and channels that can be measured; what cannot is not known.
    let Ok(mut meter) = Meter::of_loudness(Profile {
        sample_rate: stream.sample_rate,
        channels: stream.channels,
    }) else {
        return Ok(None);
    };
    let step = ContentTime::from(AT_ONCE).to_samples(stream.sample_rate).max(1);
    let mut at = span.start;
    while at < span.end {
        let end = (at + step).min(span.end);
        meter.add(&track.decode(at..end)?);
        at = end;
    }
    Ok(Some(meter))
}

/// Gated loudness around each of these samples in LUFS; `None` when all of it is below the gate, or it cannot be decoded. An error that has a break has the sample's number.
fn loudness_at(track: &dyn Track, samples: &[u64]) -> Result<Vec<Option<f64>>, SpliceError> {
    let spans: Vec<Range<u64>> = samples.iter().flat_map(|sample| heard(track, *sample)).collect();
    let mut meters = side_by_side(&spans, |_, span| listen(track, span)).into_iter();
    (0..samples.len())
        .map(|number| loudness_of(meters.by_ref().take(2)).map_err(|error| error.at_break(number)))
        .collect()
}

/// The loudness of what was taken in, unless it follows from the content that it is not known: what comes of an accident would be other bytes of the same rendition.
fn loudness_of(
    parts: impl Iterator<Item = Result<Option<Meter>, SpliceError>>,
) -> Result<Option<f64>, SpliceError> {
    match parts.collect::<Result<Vec<_>, _>>() {
        Ok(parts) => Ok(Meter::together(&parts.into_iter().flatten().collect::<Vec<_>>())),
        Err(error @ SpliceError::Process { .. }) => Err(error),
        Err(error) if error.break_index().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Finds the gain of the ads of these breaks that it was not found of yet.
///
/// # Errors
/// [`SpliceError::Bridge`] when an ad's samples cannot be read; [`SpliceError::Process`]; those of reading the content.
pub(crate) fn level(track: &dyn Track, breaks: &[(usize, &Break)]) -> Result<(), SpliceError> {
    let leveled = |given: &Break| -> Vec<Leveled> {
        given
            .ads
            .iter()
            .filter_map(|ad| ad.pcm.leveled().cloned())
            .collect()
    };
    let asking: Vec<(usize, u64)> = breaks
        .iter()
        .filter(|(_, given)| leveled(given).iter().any(Leveled::asks_content))
        .map(|(index, given)| sample_at(track, *index, given.at).map(|sample| (*index, sample)))
        .collect::<Result<_, _>>()?;
    let samples: Vec<u64> = asking.iter().map(|(_, sample)| *sample).collect();
    let found = loudness_at(track, &samples).map_err(|error| {
        let asked = error.break_index().and_then(|number| asking.get(number));
        match asked {
            Some((index, _)) => error.at_break(*index),
            None => error,
        }
    })?;
    let ceiling = loudness::ceiling(track.stream().codec);
    for (index, given) in breaks {
        let at = asking.iter().position(|(asked, _)| asked == index);
        let loudness = at.and_then(|at| found.get(at).copied().flatten());
        for ad in leveled(given) {
            ad.level(loudness, ceiling).map_err(|error| SpliceError::Bridge {
                break_index: *index,
                reason: error.to_string(),
            })?;
        }
    }
    Ok(())
}

/// How loud the content is around each cue: gated loudness of up to 60 seconds in LUFS (ITU-R BS.1770-4), `None` where all of it is below the gate, and at a cue where there is nothing
/// that can be decoded. Of the content is read what [`crate::splice::prepare`] needs, and those 60 seconds.
///
/// # Errors
/// Those of [`crate::splice::prepare`] that are no break's fault.
pub fn loudness_around(
    content: &dyn Content,
    cues: &[At],
    options: &Options,
) -> Result<Vec<Option<f64>>, SpliceError> {
    let head = recognise(content, options)?;
    with_track(head.as_ref(), |track| {
        let samples: Vec<Option<u64>> = cues
            .iter()
            .enumerate()
            .map(|(number, cue)| sample_at(track, number, *cue).ok())
            .collect();
        let inside: Vec<u64> = samples.iter().copied().flatten().collect();
        let mut found = loudness_at(track, &inside)?.into_iter();
        Ok(samples
            .iter()
            .map(|sample| sample.and_then(|_| found.next().flatten()))
            .collect())
    })
}

/// Works out the facts of `content` for cues at `cues`, in that order. All of the content is read, where not enough is known of where things are in it; 60 seconds around each cue are decoded.
///
/// # Errors
/// Those of [`crate::splice::prepare`]; a cue after the end is one.
pub fn survey(content: &dyn Content, cues: &[At]) -> Result<Facts, SpliceError> {
    let options = Options::default();
    let head = recognise(content, &options)?;
    let survey = |track: &dyn Track| survey_of(content, track, cues);
    match head.stream().codec {
        // Where the frames are that count, how many there are is not known.
        Codec::OggVorbis => with_same_track(head.as_ref(), true, survey),
        _ => with_track(head.as_ref(), survey),
    }
}

fn survey_of(content: &dyn Content, track: &dyn Track, cues: &[At]) -> Result<Facts, SpliceError> {
    let (stream, frames) = (track.stream(), track.frames());
    let rate = stream.sample_rate;
    let samples = cues
        .iter()
        .enumerate()
        .map(|(number, cue)| sample_at(track, number, *cue))
        .collect::<Result<Vec<_>, SpliceError>>()?;
    let loudness = loudness_at(track, &samples)?;
    let cues = samples
        .into_iter()
        .zip(loudness)
        .map(|(sample, loudness)| {
            let place = track.place(sample)?;
            let near = around(track, sample, SILENCE_SPAN);
            let pause = silence::nearest(
                &track.decode(near.clone())?,
                usize::from(stream.channels),
                rate,
                (sample - near.start) as usize,
                ContentTime::from(SILENCE_SPAN).to_samples(rate) as usize,
            );
            Ok(CueFacts {
                position: ContentTime::from_samples(sample, rate),
                sample,
                frame: place.frame,
                offset: place.offset,
                silence: pause.map(|pause| near.start + pause.start as u64 + pause.samples as u64 / 2),
                silence_samples: pause.map(|pause| pause.samples as u64),
                loudness: loudness.map(|lufs| (lufs * 100.0).round() as i32),
            })
        })
        .collect::<Result<Vec<_>, SpliceError>>()?;
    Ok(Facts {
        version: VERSION,
        format: stream.codec.name().into(),
        sample_rate: rate,
        channels: u32::from(stream.channels),
        samples: stream.samples,
        frames: frames.count,
        frame_samples: frames.steps.size,
        bytes: content.len(),
        audio_start: frames.start,
        bit_rate: frames.bit_rate.map_or(0, u64::from),
        cues,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_content_is_to_blame_for_leaves_loudness_unknown() {
        let profile = Profile {
            sample_rate: 48_000,
            channels: 1,
        };
        let loud = || {
            let mut meter = Meter::of_loudness(profile).unwrap();
            let tone = |i: u32| 0.5 * (i as f32 * 0.1).sin();
            meter.add(&(0..48_000).map(tone).collect::<Vec<_>>());
            Ok(Some(meter))
        };
        let (break_index, reason) = (3, String::new());
        let undecodable = SpliceError::Bridge {
            break_index,
            reason: reason.clone(),
        };
        let accident = SpliceError::Process { break_index, reason };
        let unread = SpliceError::Corrupt { offset: 0 };
        let with = |error| loudness_of([loud(), Err(error)].into_iter());
        assert!(loudness_of([loud(), Ok(None)].into_iter()).unwrap().is_some());
        assert!(with(undecodable).unwrap().is_none());
        assert!(matches!(
            with(accident),
            Err(SpliceError::Process { break_index: 3, .. })
        ));
        assert!(matches!(with(unread), Err(SpliceError::Corrupt { .. })));
    }
}
