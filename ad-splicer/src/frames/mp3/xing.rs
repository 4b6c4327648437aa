//! The Xing, Info or VBRI frame that precedes the audio and describes it, with LAME's extension.
//!
//! It looks like a frame of silence; decoders that know it do not play it. Fields as LAME writes them: tag, flags, frames, bytes, a table of contents of 100 entries, quality; then the encoder's name,
//! among other things its delay and padding in samples, and two CRCs.

use super::header::Header;

/// Samples to drop at both ends, as LAME declares them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gapless {
    /// The encoder's delay, 0–4095; a decoder adds its own [`super::DECODER_DELAY`].
    pub delay: u16,
    /// Samples after the last one that counts, 0–4095.
    pub padding: u16,
}

/// Length of LAME's extension, its CRC included.
const LAME_LEN: usize = 36;
const TOC_LEN: usize = 100;

/// What an information frame says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xing {
    /// Audio frames, without this one.
    pub frames: Option<u32>,
    /// Bytes from the beginning of this frame on.
    pub bytes: Option<u32>,
    /// Whether it calls itself `Info`, as writers do when every frame has the same bit rate.
    pub constant: bool,
    quality: Option<[u8; 4]>,
    lame: Option<[u8; LAME_LEN]>,
}

impl Xing {
    /// Reads a whole frame; `None` when it is ordinary audio.
    pub fn parse(header: Header, frame: &[u8]) -> Option<Self> {
        // Fraunhofer's has a fixed place.
        if frame.get(36..40) == Some(b"VBRI") {
            return Some(Self::default());
        }
        let mut rest = frame.get(header.main_data_start()..)?;
        // Writers disagree on whether a CRC moves the tag; it stands where there is no CRC in nearly all.
        if !matches!(rest.get(..4), Some(b"Xing" | b"Info")) && header.has_crc() {
            rest = frame.get(header.main_data_start() - 2..)?;
        }
        let tag = take(&mut rest, 4)?;
        if !matches!(tag, b"Xing" | b"Info") {
            return None;
        }
        let mut xing = Self {
            constant: tag == b"Info",
            ..Self::default()
        };
        let flags = word(&mut rest).unwrap_or(0);
        if flags & 1 != 0 {
            xing.frames = word(&mut rest);
        }
        if flags & 2 != 0 {
            xing.bytes = word(&mut rest);
        }
        if flags & 4 != 0 {
            take(&mut rest, TOC_LEN);
        }
        if flags & 8 != 0 {
            xing.quality = take(&mut rest, 4).and_then(|bytes| bytes.try_into().ok());
        }
        if [&b"LAME"[..], b"Lavf", b"Lavc"]
            .iter()
            .any(|name| rest.starts_with(name))
        {
            xing.lame = take(&mut rest, LAME_LEN).and_then(|bytes| bytes.try_into().ok());
        }
        Some(xing)
    }

    /// The declared delay and padding; `None` when there is no declaration, so that the first decoded sample counts.
    pub fn gapless(&self) -> Option<Gapless> {
        self.lame.map(|lame| {
            let (a, b, c) = (u16::from(lame[21]), u16::from(lame[22]), u16::from(lame[23]));
            Gapless {
                delay: a << 4 | b >> 4,
                padding: (b & 0xF) << 8 | c,
            }
        })
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

fn word(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_be_bytes)
}

/// What a new information frame is to say.
#[derive(Debug)]
pub struct XingPlan<'a> {
    /// What the content's own one said, if it had one.
    pub original: Option<&'a Xing>,
    /// A header of the stream: the new frame has its version, rate and channels. Of free format when the next frame is: how long such frames are is seen between the first two.
    pub header: Header,
    /// Delay and padding of the result; written only when the original declared them.
    pub gapless: Gapless,
}

impl XingPlan<'_> {
    fn new_header(&self) -> Option<Header> {
        // Without CRC, so that the tag is where every reader looks for it.
        let mut bytes = self.header.bytes();
        bytes[1] |= 1;
        let needed = 16 + TOC_LEN + LAME_LEN;
        let header = if self.header.is_free() {
            Header::of_free(
                [bytes[0], bytes[1], bytes[2] & !2, bytes[3]],
                self.header.frame_len() - usize::from(bytes[2] >> 1 & 1),
            )?
        } else {
            Header::parse(bytes).ok()?
        };
        // Keep the size where possible.
        if header.main_data_len() >= needed {
            Some(header)
        } else {
            header.with_room_for(needed)
        }
    }

    /// Length of the frame in bytes; `None` when the stream's frames are all too small for one.
    pub fn frame_len(&self) -> Option<usize> {
        self.new_header().map(Header::frame_len)
    }

    /// Writes the frame. `bytes` counts from its own beginning; `offset_of(n)` is the offset of audio frame `n`, from the same point. The tag is `Xing`: with bridges in it no stream has one bit rate.
    /// LAME's CRC of the music is 0, which says nothing: it stands before the music, and what is given as it is made cannot know it.
    pub fn write(&self, frames: u32, bytes: u32, offset_of: impl Fn(u32) -> u64) -> Option<Vec<u8>> {
        let header = self.new_header()?;
        let mut out = Vec::with_capacity(header.frame_len());
        out.extend_from_slice(&header.bytes());
        out.resize(header.main_data_start(), 0);
        let quality = self.original.and_then(|original| original.quality);
        out.extend_from_slice(b"Xing");
        out.extend_from_slice(&(if quality.is_some() { 15_u32 } else { 7 }).to_be_bytes());
        out.extend_from_slice(&frames.to_be_bytes());
        out.extend_from_slice(&bytes.to_be_bytes());
        for percent in 0..TOC_LEN as u64 {
            let frame = (percent * u64::from(frames) / TOC_LEN as u64) as u32;
            out.push((offset_of(frame) * 256 / u64::from(bytes.max(1))).min(255) as u8);
        }
        out.extend(quality.into_iter().flatten());
        if let Some(mut lame) = self.original.and_then(|original| original.lame) {
            // Constant bit rate (1, 8) becomes average (2, 9).
            lame[9] = match lame[9] & 0xF {
                1 | 8 => lame[9] + 1,
                _ => lame[9],
            };
            let Gapless { delay, padding } = self.gapless;
            lame[21..24].copy_from_slice(&[
                (delay >> 4) as u8,
                (delay << 4) as u8 | (padding >> 8) as u8,
                padding as u8,
            ]);
            lame[28..32].copy_from_slice(&bytes.to_be_bytes());
            lame[32..36].fill(0);
            out.extend_from_slice(&lame[..34]);
            let crc = crc16(&out);
            out.extend_from_slice(&crc.to_be_bytes());
        }
        out.resize(header.frame_len(), 0);
        Some(out)
    }
}

/// CRC-16/ARC, which LAME uses for its tag.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xA001 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header::parse([0xFF, 0xFB, 0x90, 0x64]).unwrap()
    }

    #[test]
    fn the_crc_is_arc() {
        assert_eq!(crc16(b"123456789"), 0xBB3D);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut lame = [0; LAME_LEN];
        lame[..9].copy_from_slice(b"LAME3.100");
        lame[9] = 1;
        let original = Xing {
            frames: Some(1),
            bytes: Some(2),
            constant: true,
            quality: Some([0, 0, 0, 57]),
            lame: Some(lame),
        };
        let gapless = Gapless {
            delay: 576,
            padding: 1999,
        };
        let plan = XingPlan {
            original: Some(&original),
            header: header(),
            gapless,
        };
        let frame = plan.write(1000, 417_417, |n| 417 + u64::from(n) * 417).unwrap();
        assert_eq!(Some(frame.len()), plan.frame_len());
        let read = Xing::parse(header(), &frame).unwrap();
        assert_eq!(
            (read.frames, read.bytes, read.gapless()),
            (Some(1000), Some(417_417), Some(gapless))
        );
        assert_eq!(read.quality, original.quality);
        assert_eq!(frame[52 + 50], 128);
        assert_eq!(crc16(&frame[..190]).to_be_bytes(), frame[190..192]);
        assert_eq!(read.lame.unwrap()[9], 2);
    }

    #[test]
    fn a_small_stream_gets_a_larger_frame() {
        let header = Header::parse([0xFF, 0xE3, 0x18, 0xC4]).unwrap();
        let plan = XingPlan {
            original: None,
            header,
            gapless: Gapless::default(),
        };
        let frame = plan.write(10, 1000, |_| 0).unwrap();
        assert_eq!(
            Xing::parse(Header::of(&frame).unwrap(), &frame)
                .unwrap()
                .gapless(),
            None
        );
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = Xing::parse(header(), &bytes);
            let mut tagged = vec![0; 36];
            tagged.extend_from_slice(b"Info");
            tagged.extend_from_slice(&bytes);
            if let Some(xing) = Xing::parse(header(), &tagged) {
                let _ = xing.gapless();
            }
        }
    }
}
