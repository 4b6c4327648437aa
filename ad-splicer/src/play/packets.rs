//! Packets of Ogg for the player, out of the pages that are read. A demuxer of Ogg wants to see the end first, which is not there yet while a rendition grows, and loses its way in chains.
//!
//! Time begins at zero with the first packet, wherever in the stream that is. Not for: where to begin (`Growing::locate`).

mod opus;
mod vorbis;

use std::time::Duration;

use gstreamer as gst;

use super::PlayError;
use crate::content::Content;
use crate::splice::Codec;

use opus::Opus;
use vorbis::Vorbis;

pub(super) use vorbis::Ends;

/// The packets of a rendition, as they come.
#[derive(Debug)]
pub(super) enum Packets {
    Opus(Opus),
    Vorbis(Vorbis),
}

impl Packets {
    /// `None` for what is read as it is. Reads the beginning of `media`.
    pub(super) fn of(
        codec: Codec,
        media: &dyn Content,
        deadline: Duration,
    ) -> Result<Option<Self>, PlayError> {
        Ok(match codec {
            Codec::OggOpus => Some(Self::Opus(Opus::new(media, deadline)?)),
            Codec::OggVorbis => Some(Self::Vorbis(Vorbis::default())),
            _ => None,
        })
    }

    /// What the packets are.
    pub(super) fn caps(&self) -> gst::Caps {
        match self {
            Self::Opus(opus) => opus.caps(),
            Self::Vorbis(_) => gst::Caps::new_empty_simple("audio/x-vorbis"),
        }
    }

    /// What is decoded before content time 0.
    pub(super) fn pre_skip(&self) -> Duration {
        match self {
            Self::Opus(opus) => opus.pre_skip(),
            // It is found where playback begins.
            Self::Vorbis(_) => Duration::ZERO,
        }
    }

    /// Where streams end within what is decoded from their last packets.
    pub(super) fn ends(&self) -> Ends {
        match self {
            Self::Opus(_) => Ends::default(),
            Self::Vorbis(vorbis) => vorbis.ends(),
        }
    }

    /// The packets that end in these bytes, which follow those before.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<gst::Buffer> {
        match self {
            Self::Opus(opus) => opus.feed(bytes),
            Self::Vorbis(vorbis) => vorbis.feed(bytes),
        }
    }

    /// What is read next is from another place.
    pub(super) fn begin(&mut self) {
        match self {
            Self::Opus(opus) => opus.begin(),
            Self::Vorbis(vorbis) => vorbis.begin(),
        }
    }
}
