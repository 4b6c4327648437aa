//! Opus: each packet says how long it is.

use std::io;
use std::time::Duration;

use gstreamer as gst;

use crate::content::Content;
use crate::frames::ogg::Unpacker;
use crate::frames::opus::{Head, RATE, samples};
use crate::time::duration_of;

use crate::play::PlayError;

/// More than the page with the identification header is long.
const HEAD: usize = 512;

/// The packets of one stream, as they come.
#[derive(Debug)]
pub(in crate::play) struct Opus {
    head: Head,
    pages: Unpacker,
    /// Samples before the next packet.
    position: u64,
}

impl Opus {
    /// Reads the header at the beginning of `media`.
    pub(super) fn new(media: &dyn Content, deadline: Duration) -> Result<Self, PlayError> {
        let mut bytes = vec![0; media.len().min(HEAD as u64) as usize];
        let read = media.read_exact_at(0, &mut bytes, deadline);
        read.map_err(|source| PlayError::Read { offset: 0, source })?;
        let head = Unpacker::default()
            .feed(&bytes)
            .first()
            .and_then(|packet| Head::parse(packet).ok().flatten());
        let head = head.ok_or(PlayError::Read {
            offset: 0,
            source: io::ErrorKind::InvalidData.into(),
        })?;
        Ok(Self {
            head,
            pages: Unpacker::default(),
            position: 0,
        })
    }

    /// What the packets are. The decoder is told of no pre-skip: what is not heard is left out where playback begins.
    pub(super) fn caps(&self) -> gst::Caps {
        let [head, tags] =
            [self.head.plain_with_gain(), b"OpusTags\0\0\0\0\0\0\0\0".to_vec()].map(gst::Buffer::from_slice);
        gst::Caps::builder("audio/x-opus")
            .field("channel-mapping-family", 0)
            .field("rate", RATE as i32)
            .field("channels", i32::from(self.head.channels))
            .field("streamheader", gst::Array::new([head, tags]))
            .build()
    }

    /// What is decoded before content time 0.
    pub(super) fn pre_skip(&self) -> Duration {
        duration_of(self.head.pre_skip.into(), RATE)
    }

    /// The packets that end in these bytes, which follow those before.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<gst::Buffer> {
        let packets = self.pages.feed(bytes).into_iter();
        packets
            .filter(|packet| !packet.starts_with(b"OpusHead") && !packet.starts_with(b"OpusTags"))
            .filter_map(|packet| {
                let count = u64::from(samples(&packet)?);
                let time =
                    |sample: u64| gst::ClockTime::from_nseconds(duration_of(sample, RATE).as_nanos() as u64);
                let (start, end) = (time(self.position), time(self.position + count));
                self.position += count;
                let mut buffer = gst::Buffer::from_slice(packet);
                if let Some(buffer) = buffer.get_mut() {
                    buffer.set_pts(start);
                    buffer.set_duration(end - start);
                }
                Some(buffer)
            })
            .collect()
    }

    /// What is read next is from another place.
    pub(super) fn begin(&mut self) {
        self.pages = Unpacker::default();
        self.position = 0;
    }
}
