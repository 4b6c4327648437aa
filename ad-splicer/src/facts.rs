//! Facts about content that the publisher works out once, so that a viewer need not: where the frames around each cue are, how loud it is there, where the nearest pause is.
//!
//! Facts travel in the signed cue sheet as bencode, so they hold integers and text only. They are hints: whoever uses one checks it against the content, and false facts give the same output as none.

use serde::{Deserialize, Serialize};

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

/// Works out the facts of `content` for cues at `cues`. Reads and decodes what it needs; takes a few seconds for an hour of audio.
pub fn survey(
    _content: &dyn crate::content::Content,
    _cues: &[crate::splice::At],
) -> Result<Facts, crate::splice::SpliceError> {
    Err(crate::splice::SpliceError::Unsupported(
        "surveying is not written yet".into(),
    ))
}
