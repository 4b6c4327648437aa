//! Runs: what a rendition is made of, in order and without gaps.

use std::io;
use std::time::Duration;

use bytes::Bytes;

use super::{Moved, Renumbered, Shifted};
use crate::content::Content;

/// Where the bytes of a piece of a rendition come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The content's bytes from this offset on, unchanged.
    Content(u64),
    /// Bytes that were made: tags, bridges, repacked frames.
    Made(Bytes),
    /// Pages of Ogg as the content has them, but for their numbers and positions.
    Pages(Moved),
    /// Clusters of WebM as the content has them, but for their times.
    Clusters(Shifted),
    /// Frames of FLAC as the content has them, but for their numbers.
    Frames(Renumbered),
    /// A bridge that is made when it is read, by its number, from one of its bytes on.
    Bridge {
        /// Which one.
        number: usize,
        /// Its first byte here.
        from: u64,
    },
}

impl Source {
    /// Where its first byte is in the content, of what is the content's own, changed or not; `None` of what was made.
    pub fn content_offset(&self) -> Option<u64> {
        match self {
            Self::Content(from) => Some(*from),
            Self::Pages(pages) => Some(pages.from),
            Self::Clusters(clusters) => Some(clusters.from),
            Self::Frames(frames) => Some(frames.from),
            Self::Made(_) | Self::Bridge { .. } => None,
        }
    }
}

/// A run of bytes of a rendition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where it begins in the rendition.
    pub start: u64,
    /// Its length in bytes, never 0.
    pub len: u64,
    /// Where its bytes come from.
    pub source: Source,
}

impl Run {
    /// How many of so many bytes it has from one of its own on.
    pub(super) fn at_most(&self, within: u64, wanted: usize) -> usize {
        let left = self.len.saturating_sub(within);
        usize::try_from(left).unwrap_or(usize::MAX).min(wanted)
    }

    /// Reads some of its bytes from one of them on, and says how many: 0 only at its end or for an empty buffer. `None` of a bridge, which is not here.
    pub(crate) fn read_at(
        &self,
        content: &dyn Content,
        within: u64,
        buffer: &mut [u8],
        deadline: Duration,
    ) -> io::Result<Option<usize>> {
        let count = self.at_most(within, buffer.len());
        let buffer = &mut buffer[..count];
        match &self.source {
            Source::Bridge { .. } => Ok(None),
            _ if buffer.is_empty() => Ok(Some(0)),
            Source::Content(from) => match content.read_at(from + within, buffer, deadline)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                read => Ok(Some(read)),
            },
            Source::Made(bytes) => {
                // A run's length is that of its bytes, so this lies within them.
                buffer.copy_from_slice(&bytes[within as usize..][..count]);
                Ok(Some(count))
            }
            Source::Pages(pages) => pages
                .read_at(content, (within, self.len), buffer, deadline)
                .map(Some),
            Source::Clusters(clusters) => clusters
                .read_at(content, (within, self.len), buffer, deadline)
                .map(Some),
            Source::Frames(frames) => frames.read_at(content, within, buffer, deadline).map(Some),
        }
    }
}
