//! Why content, or a break, cannot be spliced.

use std::io;

use crate::again::Again;
use crate::content::Content;
use crate::plan::PlanError;

/// Why content could not be spliced.
#[derive(Debug, thiserror::Error)]
pub enum SpliceError {
    /// The content is not of a kind that can be spliced.
    #[error("{0}")]
    NotAudio(String),
    /// The content ends before it should: not all of it was copied, or written.
    #[error("the content is not whole: it ends after {len} {}", missing(*offset, *len, *due))]
    Truncated {
        /// Where what is cut off begins.
        offset: u64,
        /// How many bytes there are.
        len: u64,
        /// How many there should be at least, when it is known.
        due: Option<u64>,
    },
    /// Something that is not audio lies within the audio.
    #[error("no audio frame at byte {offset}, within the audio")]
    Corrupt {
        /// Where a frame was due.
        offset: u64,
    },
    /// The content is fine, but not something that this code handles.
    #[error("{0}")]
    Unsupported(String),
    /// The content has to be coded again as a whole before anything is put in.
    #[error("{0}")]
    Again(Again),
    /// The breaks do not fit the content or each other.
    #[error("cannot lay out the ads: {0}")]
    Plan(#[from] PlanError),
    /// Making or checking a bridge failed.
    #[error("cannot make the bridge at break {break_index}: {reason}")]
    Bridge {
        /// The (first) break of the bridge.
        break_index: usize,
        /// What failed.
        reason: String,
    },
    /// What decodes or encodes did not come to an end of its own, whatever it was given.
    #[error("cannot make the bridge at break {break_index}: {reason}")]
    Process {
        /// The (first) break that it was for.
        break_index: usize,
        /// What happened.
        reason: String,
    },
    /// The content could not be read.
    #[error("cannot read the content at byte {offset}: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The result could not be written.
    #[error("cannot write the spliced audio: {0}")]
    Write(#[source] io::Error),
}

/// What is said of content that ends after so many.
fn missing(offset: u64, len: u64, due: Option<u64>) -> String {
    match due {
        Some(due) => format!("of at least {due} bytes"),
        None if offset < len => format!("bytes, within what begins at byte {offset}"),
        None => "bytes".into(),
    }
}

impl SpliceError {
    /// The content ends within what begins at `offset`, and goes on up to `due` at least, when that is known.
    pub(crate) fn truncated(content: &dyn Content, offset: u64, due: Option<u64>) -> Self {
        let len = content.len();
        let due = due.filter(|due| *due > len);
        Self::Truncated { offset, len, due }
    }

    /// Whether it is the content, or what was asked for, that is wrong, and nothing failed on the way.
    pub fn is_of_input(&self) -> bool {
        match self {
            Self::NotAudio(_)
            | Self::Truncated { .. }
            | Self::Corrupt { .. }
            | Self::Unsupported(_)
            | Self::Again(_)
            | Self::Plan(_) => true,
            Self::Bridge { .. } | Self::Process { .. } | Self::Read { .. } | Self::Write(_) => false,
        }
    }

    /// The break that is at fault, as an index into those given; `None` when it is the content or the result.
    pub fn break_index(&self) -> Option<usize> {
        match self {
            Self::Plan(PlanError::Overlap(index, _) | PlanError::Outside(index))
            | Self::Bridge {
                break_index: index, ..
            }
            | Self::Process {
                break_index: index, ..
            } => Some(*index),
            _ => None,
        }
    }

    /// The same error, of this break.
    pub(crate) fn at_break(self, break_index: usize) -> Self {
        match self {
            Self::Bridge { reason, .. } => Self::Bridge { break_index, reason },
            Self::Process { reason, .. } => Self::Process { break_index, reason },
            other => other,
        }
    }
}
