//! Opus packets of one length as [`Coding`], whatever container they come out of. All positions are samples at 48 kHz. The stream's output gain stays, so ads are coded with the gain taken off.

use std::ops::Range;

use super::SpliceError;
use super::bridged::{Coding, Instead};
use super::joins::Grid;
use super::speech::Given;
use crate::bridge::BridgeError;
use crate::bridge::opus::{self as bridge, Decoder, Speech};
use crate::frames::opus::{Head, samples, speech};

/// How many decoded samples it takes until nothing is heard of where decoding began: 240 ms.
const SETTLING: u64 = 11_520;
/// How long after an exit the join is listened to: 100 ms.
const CHECKED: u64 = 4_800;
/// Most samples of packets that can be made.
const MOST_MADE: u32 = 2_880;

/// The packets of a container.
pub(super) trait Packets: Sync {
    /// How many there are.
    fn count(&self) -> u64;

    /// Those of this range.
    fn read(&self, packets: Range<u64>) -> Result<Vec<Vec<u8>>, SpliceError>;
}

/// Sees that all packets have one length.
#[derive(Debug, Default)]
pub(super) struct Length(Option<u32>);

impl Length {
    /// Looks at the beginning of a packet.
    pub(super) fn look(&mut self, packet: &[u8], offset: u64) -> Result<(), SpliceError> {
        let own = samples(packet).ok_or(SpliceError::Corrupt { offset })?;
        if *self.0.get_or_insert(own) != own {
            return Err(SpliceError::Unsupported(format!(
                "the length of the Opus packets changes at byte {offset}, and ads can be put into streams with packets of one length"
            )));
        }
        Ok(())
    }

    /// Packets of so many samples were seen.
    pub(super) fn is(&mut self, samples: u32) {
        self.0 = Some(samples);
    }

    /// Samples of a packet.
    pub(super) fn samples(&self) -> Result<u32, SpliceError> {
        let size = self.0.ok_or_else(silent)?;
        if size > MOST_MADE {
            return Err(SpliceError::Unsupported(format!(
                "the Opus packets are of {} ms, and ads can be put into streams with packets of up to 60 ms",
                size / 48
            )));
        }
        Ok(size)
    }
}

/// Nothing can be heard.
pub(super) fn silent() -> SpliceError {
    SpliceError::NotAudio("the Opus file holds no sound".into())
}

/// A stream of packets.
pub(super) struct Sound<P> {
    pub(super) head: Head,
    /// Samples of a packet.
    pub(super) size: u32,
    /// Decoded samples before content time 0.
    pub(super) skip: u64,
    /// Decoded sample at which the content ends.
    pub(super) end: u64,
    pub(super) packets: P,
}

impl<P: Packets> Coding for Sound<P> {
    fn grid(&self) -> Grid {
        let size = u64::from(self.size);
        Grid {
            size,
            frames: self.packets.count(),
            end: self.end,
            fade: 0,
            // Where an entry is at the packet that holds the cue, only what is before it is content.
            overlap: 0,
            checked: CHECKED.div_ceil(size),
            reach: 0,
        }
    }

    fn skip(&self) -> u64 {
        self.skip
    }

    fn channels(&self) -> usize {
        self.head.channels.into()
    }

    fn delay(&self) -> u64 {
        bridge::DELAY.into()
    }

    fn unsettled(&self) -> u64 {
        SETTLING.div_ceil(self.size.into())
    }

    fn preroll(&self) -> u64 {
        SETTLING.div_ceil(self.size.into())
    }

    fn read(&self, packets: Range<u64>) -> Result<Vec<Vec<u8>>, SpliceError> {
        self.packets.read(packets)
    }

    fn decode(&self, clips: &[Vec<Vec<u8>>]) -> Result<Vec<Vec<f32>>, BridgeError> {
        Ok(self.played(bridge::decode(self.head, clips)?))
    }

    fn decode_otherwise(&self, clips: &[Vec<Vec<u8>>]) -> Result<Option<Vec<Vec<f32>>>, BridgeError> {
        if !clips.iter().flatten().any(|packet| speech(packet).is_some()) {
            return Ok(None);
        }
        match bridge::decode_by(Decoder::Libav, self.head, clips) {
            Ok(decoded) => Ok(Some(self.played(decoded))),
            Err(error) if error.is_process() => Err(error),
            // It knows less than libopus.
            Err(_) => Ok(None),
        }
    }

    fn encode(
        &self,
        pcm: &[f32],
        ads: &Range<usize>,
        _: &[Range<usize>],
        beside: &[Vec<u8>],
    ) -> Result<Vec<Vec<u8>>, BridgeError> {
        let bandwidth = beside.iter().find_map(|packet| speech(packet));
        let music = bandwidth.map(|bandwidth| Speech {
            bandwidth,
            packets: 0..0,
        });
        self.encoded(pcm, ads.end, music)
    }

    fn leaving(&self, given: &Given<'_>, from: usize, last: &[Vec<u8>]) -> Result<Vec<Instead>, BridgeError> {
        Sound::leaving(self, given, from, last)
    }

    fn returning(
        &self,
        given: &Given<'_>,
        from: usize,
        next: &[Vec<u8>],
    ) -> Result<Vec<Instead>, BridgeError> {
        Sound::returning(self, given, from, next)
    }
}

impl<P> Sound<P> {
    /// Samples as loud as players make them.
    fn played(&self, mut decoded: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
        let factor = self.head.factor();
        if self.head.gain != 0 {
            decoded.iter_mut().flatten().for_each(|sample| *sample *= factor);
        }
        decoded
    }

    /// Encodes samples, which are content alone from sample `resumes` on.
    pub(super) fn encoded(
        &self,
        pcm: &[f32],
        resumes: usize,
        beside: Option<Speech>,
    ) -> Result<Vec<Vec<u8>>, BridgeError> {
        let factor = self.head.factor();
        let scaled: Vec<f32> = pcm.iter().map(|sample| sample / factor).collect();
        bridge::encode(self.head, self.size, &scaled, resumes, beside)
    }
}
