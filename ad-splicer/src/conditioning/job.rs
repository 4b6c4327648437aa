//! What parent and child tell each other: a [`Job`] as arguments, a [`Report`] as the last line of standard error.
//!
//! The child is believed in nothing that could do harm: a report only chooses which error is shown, or claims a number
//! of samples that the parent counts itself.

use std::ffi::{OsStr, OsString};

use serde::{Deserialize, Serialize};

use super::MARK;
use crate::again::{Pause, Target};
use crate::creatives::Profile;
use crate::picture::PictureFormat;
use crate::sandbox::Bounds;

/// Samples that belong to the encoder and not to the ad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trim {
    /// Samples a second, as they are counted here: the creative's own rate, or a part of it.
    pub(super) rate: u32,
    /// To leave out at the start.
    pub(super) skip: u64,
    /// To keep after that; everything when it is not known.
    pub(super) keep: Option<u64>,
}

/// One creative to decode, and what that may cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) profile: Profile,
    /// The pictures are wanted in this format, and no sound.
    pub(super) picture: Option<PictureFormat>,
    /// What is read is one image, which is wanted so many times.
    pub(super) still: Option<u32>,
    /// All pictures are wanted as they follow each other, whenever they are shown: none more, none less, and none turned or fitted.
    pub(super) whole: bool,
    /// All of its sound is wanted, coded in such a file.
    pub(super) again: Option<Target>,
    /// The most samples of each channel, or pictures, that are written.
    pub(super) max_samples: u64,
    pub(super) trim: Option<Trim>,
    /// Silence within what is kept, in samples as those are counted.
    pub(super) pauses: Vec<Pause>,
    pub(super) memory: u64,
    pub(super) cpu_seconds: u64,
    pub(super) open_files: u64,
    pub(super) output_bytes: u64,
}

impl Job {
    /// As arguments, after the program's name.
    pub(super) fn to_args(&self) -> [OsString; 2] {
        // A structure of numbers always has a JSON form.
        let json = serde_json::to_string(self).unwrap_or_default();
        [MARK.into(), json.into()]
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            memory: self.memory,
            cpu_seconds: self.cpu_seconds,
            open_files: self.open_files,
            output_bytes: self.output_bytes,
        }
    }

    /// From the argument after the mark.
    pub(super) fn from_arg(arg: &OsStr) -> Option<Self> {
        serde_json::from_str(arg.to_str()?).ok()
    }
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub(super) enum Report {
    Done {
        /// So many samples of each channel, or pictures, or bytes of a file.
        samples: u64,
        /// By how many nanoseconds sound begins later than pictures.
        later: u64,
    },
    NoAudio,
    NoPicture,
    TooLong,
    /// It could be decoded, or is in a format that has a name, but ads cannot be like that.
    Unsupported {
        what: String,
    },
    Undecodable {
        reason: String,
    },
    /// There is no room for what is written.
    Full,
    /// Not the creative's fault.
    Setup {
        reason: String,
    },
}

impl Report {
    /// The report in the last line that is one; libraries may have talked before it.
    pub(super) fn from_lines(said: &str) -> Option<Self> {
        said.lines()
            .rev()
            .find_map(|line| serde_json::from_str(line).ok())
    }

    pub(super) fn print(&self) {
        if let Ok(line) = serde_json::to_string(self) {
            eprintln!("\n{line}");
        }
    }
}
