//! Facts about content that the publisher works out once, so that a viewer need not: where the frames around each cue are, how loud it is there, where the nearest pause is.
//!
//! Facts travel in the signed cue sheet as bencode, so they hold integers and text only. They are hints: whoever uses one checks it against the content, and false facts give the same output as none.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::creatives::Profile;
use crate::frames::mp3::Index;
use crate::loudness;
use crate::plan::PlanError;
use crate::silence;
use crate::splice::mp3::Decoder;
use crate::splice::{At, Options, SpliceError, sample_of};
use crate::time::ContentTime;

/// The version of [`Facts`] that this code writes.
pub const VERSION: u32 = 1;

/// What is known about one piece of content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// [`VERSION`].
    pub version: u32,
    /// The coding: `mp3`.
    pub format: String,
    /// Samples a second.
    pub sample_rate: u32,
    /// 1 or 2.
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
    /// Gated loudness of the 90 seconds around the cue (ITU-R BS.1770-4), in hundredths of LUFS; absent when all of it is below the gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loudness: Option<i32>,
}

/// How much content around a cue its loudness is measured over, half before and half after.
const LOUDNESS_SPAN: Duration = Duration::from_secs(90);
/// How far from a cue a pause is looked for.
const SILENCE_SPAN: Duration = Duration::from_secs(10);

/// Decoded content around a cue.
struct Around {
    /// The content sample of the cue.
    sample: u64,
    /// The first content sample of `pcm`.
    start: u64,
    /// Interleaved samples: up to half of [`LOUDNESS_SPAN`] on both sides.
    pcm: Vec<f32>,
    profile: Profile,
}

impl Around {
    /// Decodes around the cue with this number in its list.
    fn decode(
        content: &dyn Content,
        index: &Index,
        options: &Options,
        number: usize,
        cue: At,
    ) -> Result<Self, SpliceError> {
        let header = index.header();
        let (rate, samples) = (header.sample_rate(), index.samples());
        let sample = sample_of(cue, rate, samples);
        if sample > samples {
            return Err(PlanError::Outside(number).into());
        }
        let half = ContentTime::from(LOUDNESS_SPAN / 2).to_samples(rate);
        let (start, end) = (sample.saturating_sub(half), (sample + half).min(samples));
        let decoder = Decoder {
            content,
            index,
            options,
        };
        let pcm = decoder.decode((start + index.skip()) as i64..(end + index.skip()) as i64)?;
        Ok(Self {
            sample,
            start,
            pcm,
            profile: Profile {
                sample_rate: rate,
                channels: header.channels(),
            },
        })
    }

    /// Gated loudness in LUFS; `None` when all of it is below the gate.
    fn loudness(&self) -> Option<f64> {
        // Whatever can be decoded has a rate and channels that can be measured; what cannot is not known.
        loudness::loudness_of(&self.pcm, self.profile).ok().flatten()
    }
}

/// How loud the content is around each cue: gated loudness of up to 90 seconds in LUFS (ITU-R BS.1770-4), `None` where all of it is below the gate, and at a cue where there is nothing
/// that can be decoded. All of the content is read.
///
/// # Errors
/// Those of [`crate::splice::prepare`] that are no break's fault.
pub fn loudness_around(
    content: &dyn Content,
    cues: &[At],
    options: &Options,
) -> Result<Vec<Option<f64>>, SpliceError> {
    let index = Index::scan(content, options.read_deadline)?;
    cues.iter()
        .enumerate()
        .map(
            |(number, cue)| match Around::decode(content, &index, options, number, *cue) {
                Ok(around) => Ok(around.loudness()),
                Err(error) if error.break_index().is_some() => Ok(None),
                Err(error) => Err(error),
            },
        )
        .collect()
}

/// Works out the facts of `content` for cues at `cues`, in that order. All of the content is read, 90 seconds around each cue are decoded.
///
/// # Errors
/// Those of [`crate::splice::prepare`]; a cue after the end is one.
pub fn survey(content: &dyn Content, cues: &[At]) -> Result<Facts, SpliceError> {
    let options = Options::default();
    let index = Index::scan(content, options.read_deadline)?;
    let header = index.header();
    let rate = header.sample_rate();
    let frame_samples = header.samples();
    let cues = cues
        .iter()
        .enumerate()
        .map(|(number, cue)| {
            let around = Around::decode(content, &index, &options, number, *cue)?;
            let (sample, start) = (around.sample, around.start);
            let frame = ((sample + index.skip()) / u64::from(frame_samples)).min(index.frames() - 1);
            let reach = ContentTime::from(SILENCE_SPAN).to_samples(rate);
            let pause = silence::nearest(
                &around.pcm,
                usize::from(header.channels()),
                rate,
                (sample - start) as usize,
                reach as usize,
            );
            Ok(CueFacts {
                position: ContentTime::from_samples(sample, rate),
                sample,
                frame,
                offset: index.offset(frame),
                silence: pause.map(|pause| start + pause.start as u64 + pause.samples as u64 / 2),
                silence_samples: pause.map(|pause| pause.samples as u64),
                loudness: around.loudness().map(|lufs| (lufs * 100.0).round() as i32),
            })
        })
        .collect::<Result<Vec<_>, SpliceError>>()?;
    Ok(Facts {
        version: VERSION,
        format: "mp3".into(),
        sample_rate: rate,
        channels: u32::from(header.channels()),
        samples: index.samples(),
        frames: index.frames(),
        frame_samples,
        bytes: content.len(),
        audio_start: index.offset(0),
        bit_rate: index.constant_bit_rate().map_or(0, u64::from),
        cues,
    })
}
