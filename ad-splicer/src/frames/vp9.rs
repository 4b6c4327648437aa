//! VP9 (bitstream specification, version 0.7): what the uncompressed header of a frame tells. Pure; nothing is decoded.
//!
//! A key frame fills every slot that later frames may refer to, so decoding can begin at one whatever came before, as at an IDR picture of H.264. Frames that are not shown stand in one packet with one that is,
//! so each packet shows one picture, and packets are in the order of showing.

/// What stands before a key frame's description.
const SYNC: u32 = 0x49_83_42;
/// A colour space by that number is RGB.
const RGB: u32 = 7;

/// The first frame of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Decoding can begin with it.
    Key(Key),
    /// It refers to others, or shows one of them.
    Other,
}

/// What a key frame says of itself and of the frames after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// 0 is 4:2:0 of eight bits.
    pub(crate) profile: u8,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// By the numbers of the specification: 1 is BT.601, 2 BT.709, 3 and 4 nearly BT.601, 5 BT.2020; 0 does not tell.
    pub(crate) colour: u8,
    pub(crate) full_range: bool,
}

/// Reads bits, the highest first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        (0..count).try_fold(0, |value, _| {
            let byte = self.bytes.get(self.at / 8)?;
            let bit = byte >> (7 - self.at % 8) & 1;
            self.at += 1;
            Some(value << 1 | u32::from(bit))
        })
    }

    fn flag(&mut self) -> Option<bool> {
        self.take(1).map(|bit| bit == 1)
    }
}

impl Frame {
    /// `None` when it is no frame of VP9. The packet may end before its first frame does.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let mut bits = Bits { bytes: packet, at: 0 };
        if bits.take(2)? != 2 {
            return None;
        }
        let profile = bits.take(1)? | bits.take(1)? << 1;
        if profile == 3 && bits.flag()? {
            return None;
        }
        let (shows_existing, other) = (bits.flag()?, bits.flag()?);
        if shows_existing || other {
            return Some(Self::Other);
        }
        // Whether it is shown, and whether it is resilient against errors.
        bits.take(2)?;
        if bits.take(24)? != SYNC {
            return None;
        }
        if profile >= 2 {
            bits.take(1)?;
        }
        let colour = bits.take(3)?;
        let full_range = if colour == RGB { true } else { bits.flag()? };
        if profile & 1 == 1 {
            bits.take(if colour == RGB { 1 } else { 3 })?;
        }
        Some(Self::Key(Key {
            profile: profile as u8,
            width: bits.take(16)? + 1,
            height: bits.take(16)? + 1,
            colour: colour as u8,
            full_range,
        }))
    }
}

/// Whether a packet is one frame alone, and that one is shown.
pub(crate) fn is_one_picture(packet: &[u8]) -> bool {
    let several = packet.last().is_some_and(|last| {
        // The list of a superframe begins and ends with the same byte.
        let (count, bytes) = (usize::from(last & 7) + 1, usize::from(last >> 3 & 3) + 1);
        let first = packet.len().checked_sub(2 + count * bytes).map(|at| packet[at]);
        last >> 5 == 6 && first == Some(*last)
    });
    let mut bits = Bits { bytes: packet, at: 4 };
    let shown = (|| {
        let profile_3 = packet.first()? >> 4 & 3 == 3;
        bits.take(usize::from(profile_3))?;
        let (shows_existing, _, shown) = (bits.flag()?, bits.flag()?, bits.flag()?);
        Some(shows_existing || shown)
    })();
    !several && shown == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 160x90, as libvpx begins it.
    const KEY: &[u8] = &[0x82, 0x49, 0x83, 0x42, 0x40, 0x09, 0xF0, 0x05, 0x90, 0x00];

    #[test]
    fn a_key_frame_says_its_size_and_colours() {
        let key = Key {
            profile: 0,
            width: 160,
            height: 90,
            colour: 2,
            full_range: false,
        };
        assert_eq!(Frame::parse(KEY), Some(Frame::Key(key)));
        assert!(is_one_picture(KEY));
        // One that refers to others, one that shows another, none.
        assert_eq!(Frame::parse(&[0x86, 0]), Some(Frame::Other));
        assert_eq!(Frame::parse(&[0x88, 0]), Some(Frame::Other));
        assert_eq!(Frame::parse(&[0x42, 0x49, 0x83, 0x42]), None);
        assert_eq!(Frame::parse(&KEY[..8]), None);
        assert_eq!(Frame::parse(&[0x82, 0x49, 0x83, 0x43, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn what_is_not_one_shown_picture_is_told() {
        // Two frames of 10 bytes and 1: the list of their sizes follows.
        let two = [KEY, &[0x86], &[0xC1, 10, 1, 0xC1]].concat();
        assert!(!is_one_picture(&two));
        assert!(is_one_picture(&two[..14]));
        assert!(!is_one_picture(&[0x84, 0]));
        assert!(is_one_picture(&[0x86, 0]));
        assert!(!is_one_picture(&[]));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (Frame::parse(&bytes), is_one_picture(&bytes));
        }
    }
}
