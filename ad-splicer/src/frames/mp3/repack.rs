//! The lossless repack: one frame is rewritten so that it needs nothing before it, while every frame after it stays as it is.
//!
//! The frame's main data is gathered from the reservoir; `main_data_begin` becomes 0; the bit rate becomes the smallest whose frame holds
//! \[its main data\]\[stuffing\]\[the last bytes of the old area, which the next frame points back into\]. What the frame decodes to does not change.

use super::header::Header;
use super::side_info::{SideInfo, set_crc, stand_alone};

/// Why a frame cannot be made to stand alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepackError {
    /// Bytes that it points back to are not there.
    #[error("main data begins {missing} bytes before what is there")]
    MissingReservoir {
        /// How many are missing.
        missing: usize,
    },
    /// No frame size holds it.
    #[error("{needed} bytes of main data fit into no frame")]
    TooBig {
        /// How many bytes would have to fit.
        needed: usize,
    },
    /// A frame's header is wrong, or the frame is not whole.
    #[error("not a whole frame")]
    NotAFrame,
}

pub(super) fn header_of(frame: &[u8]) -> Result<Header, RepackError> {
    let header = Header::of_whole(frame).map_err(|_| RepackError::NotAFrame)?;
    if frame.len() != header.frame_len() || frame.len() < header.main_data_start() {
        return Err(RepackError::NotAFrame);
    }
    Ok(header)
}

/// The last `count` bytes of main data up to the end of the last of `frames`.
fn tail(frames: &[&[u8]], count: usize) -> Result<Vec<u8>, RepackError> {
    let mut parts = Vec::new();
    let mut missing = count;
    for frame in frames.iter().rev() {
        if missing == 0 {
            break;
        }
        let area = &frame[header_of(frame)?.main_data_start()..];
        let part = &area[area.len().saturating_sub(missing)..];
        missing -= part.len();
        parts.push(part);
    }
    if missing > 0 {
        return Err(RepackError::MissingReservoir { missing });
    }
    Ok(parts.into_iter().rev().flatten().copied().collect())
}

/// The bytes of main data before frame `index` of `frames` that it points back to.
pub fn reservoir(frames: &[&[u8]], index: usize) -> Result<Vec<u8>, RepackError> {
    let frame = *frames.get(index).ok_or(RepackError::NotAFrame)?;
    tail(
        &frames[..index],
        SideInfo::of(header_of(frame)?, frame).main_data_begin,
    )
}

/// `frame`, the last of its stream, with `reservoir` at the end of its area, so that a frame of another stream that needs those bytes can follow it unchanged. What `frame` decodes to stays the same.
pub fn hand_over(frame: &[u8], reservoir: &[u8]) -> Result<Vec<u8>, RepackError> {
    let header = header_of(frame)?;
    let side = SideInfo::of(header, frame);
    let own = side.main_data_len.saturating_sub(side.main_data_begin);
    let area = frame
        .get(header.main_data_start()..header.main_data_start() + own)
        .ok_or(RepackError::NotAFrame)?;
    let needed = own + reservoir.len();
    let new_header = header
        .with_room_for(needed)
        .ok_or(RepackError::TooBig { needed })?;
    let mut out = vec![0; new_header.frame_len()];
    out[..header.main_data_start()].copy_from_slice(&frame[..header.main_data_start()]);
    out[..4].copy_from_slice(&new_header.bytes());
    out[header.main_data_start()..][..own].copy_from_slice(area);
    let at = out.len() - reservoir.len();
    out[at..].copy_from_slice(reservoir);
    set_crc(new_header, &mut out);
    Ok(out)
}

/// A silent frame of the stream that `header` belongs to, which carries `reservoir` for the frame after it: with it any frame can be decoded.
pub fn carrier(header: Header, reservoir: &[u8]) -> Result<Vec<u8>, RepackError> {
    let too_big = RepackError::TooBig {
        needed: reservoir.len(),
    };
    let header = header.with_room_for(reservoir.len()).ok_or(too_big)?;
    // No side information: no granule has main data.
    let mut out = vec![0; header.frame_len()];
    out[..4].copy_from_slice(&header.bytes());
    let at = out.len() - reservoir.len();
    out[at..].copy_from_slice(reservoir);
    set_crc(header, &mut out);
    Ok(out)
}

/// Makes frame `index` of `frames` stand alone. The frames before it are its reservoir; the one after it, if there is one, keeps finding its main data when it follows the result.
pub fn repack(frames: &[&[u8]], index: usize) -> Result<Vec<u8>, RepackError> {
    let frame = *frames.get(index).ok_or(RepackError::NotAFrame)?;
    let header = header_of(frame)?;
    let side = SideInfo::of(header, frame);
    let next_begin = match frames.get(index + 1) {
        Some(next) => SideInfo::of(header_of(next)?, next).main_data_begin,
        None => 0,
    };
    // Its main data, which may go on into its own area.
    let own = &frame[header.main_data_start()..];
    let mut main_data = tail(&frames[..index], side.main_data_begin)?;
    main_data.extend_from_slice(own);
    if main_data.len() < side.main_data_len {
        return Err(RepackError::NotAFrame);
    }
    main_data.truncate(side.main_data_len);
    // What the next frame points back to, the end of which lies in this frame's area.
    let kept = tail(&frames[..=index], next_begin)?;

    let needed = main_data.len() + kept.len();
    let new_header = header
        .with_room_for(needed)
        .ok_or(RepackError::TooBig { needed })?;
    let mut out = vec![0; new_header.frame_len()];
    out[..4].copy_from_slice(&new_header.bytes());
    let side_range = header.side_info_start()..header.main_data_start();
    out[side_range.clone()].copy_from_slice(&frame[side_range]);
    out[header.main_data_start()..][..main_data.len()].copy_from_slice(&main_data);
    let kept_at = out.len() - kept.len();
    out[kept_at..].copy_from_slice(&kept);
    stand_alone(new_header, &mut out);
    Ok(out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::side_info::set_main_data_begin;
    use super::*;
    use proptest::prelude::*;

    /// A stereo frame of so many kb/s (by its index) whose main data begins `begin` bytes back and is `len` bytes long.
    pub(in crate::frames::mp3) fn frame_of(rate: u8, begin: usize, len: usize, fill: u8) -> Vec<u8> {
        let header = Header::parse([0xFF, 0xFB, rate << 4, 0x64]).unwrap();
        let mut frame = vec![fill; header.frame_len()];
        frame[..4].copy_from_slice(&header.bytes());
        frame[4..36].fill(0);
        set_main_data_begin(header, &mut frame, begin);
        // Four granules of part2_3_length, at bits 20, 79, 138, 197.
        for (i, at) in [20usize, 79, 138, 197].into_iter().enumerate() {
            let bits = (len * 8) / 4 + if i == 0 { len * 8 % 4 } else { 0 };
            for bit in 0..12 {
                if bits >> (11 - bit) & 1 == 1 {
                    frame[4 + (at + bit) / 8] |= 0x80 >> ((at + bit) % 8);
                }
            }
        }
        frame
    }

    /// One of 128 kb/s.
    fn frame(begin: usize, len: usize, fill: u8) -> Vec<u8> {
        frame_of(9, begin, len, fill)
    }

    #[test]
    fn gathers_and_keeps() {
        // 381 bytes of area each. The second's data begins 100 back and is 300 long; the third's begins 181 back.
        let (a, b, c) = (frame(0, 281, 1), frame(100, 300, 2), frame(181, 400, 3));
        let frames = [&a[..], &b, &c];
        let out = repack(&frames, 1).unwrap();
        let header = Header::of(&out).unwrap();
        assert_eq!(
            SideInfo::of(header, &out),
            SideInfo {
                main_data_begin: 0,
                main_data_len: 300
            }
        );
        assert_eq!(&out[36..136], &a[317..]);
        assert_eq!(&out[136..336], &b[36..236]);
        assert_eq!(&out[out.len() - 181..], &b[236..]);
        assert_eq!(header.bit_rate(), 160_000);
        // Nothing more to gather: repacking what stands alone changes no main data.
        let again = repack(&[&out, &c], 0).unwrap();
        assert_eq!(again, out);
    }

    #[test]
    fn hands_over() {
        let (a, b) = (frame(100, 300, 2), frame(381, 400, 3));
        let reservoir = reservoir(&[&a, &b], 1).unwrap();
        assert_eq!(reservoir, a[36..]);
        let out = hand_over(&a, &reservoir).unwrap();
        let header = Header::of(&out).unwrap();
        assert_eq!(
            SideInfo::of(header, &out),
            SideInfo {
                main_data_begin: 100,
                main_data_len: 300
            }
        );
        assert_eq!((&out[36..236], &out[out.len() - 381..]), (&a[36..236], &a[36..]));
        assert!(header.frame_len() >= 36 + 200 + 381);
        assert_eq!(
            hand_over(&a, &[0; 900]),
            Err(RepackError::TooBig { needed: 1100 })
        );
    }

    #[test]
    fn says_what_is_wrong() {
        let (b, c) = (frame(100, 300, 2), frame(511, 400, 3));
        assert_eq!(
            repack(&[&b, &c], 0),
            Err(RepackError::MissingReservoir { missing: 100 })
        );
        assert_eq!(
            repack(&[&b, &c], 1),
            Err(RepackError::MissingReservoir { missing: 130 })
        );
        assert_eq!(repack(&[&b], 1), Err(RepackError::NotAFrame));
        assert_eq!(repack(&[&b[1..]], 0), Err(RepackError::NotAFrame));
        let big = frame(0, 1_000, 0);
        assert_eq!(repack(&[&big], 0), Err(RepackError::NotAFrame));
        let (a, d) = (frame(0, 10, 0), frame(511, 890, 0));
        assert_eq!(
            repack(&[&a, &a, &d, &frame(500, 1, 0)], 2),
            Err(RepackError::TooBig { needed: 1390 })
        );
    }

    proptest! {
        #[test]
        fn never_panics(mut frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 417), 1..5), index in 0usize..5, sync: bool) {
            if sync {
                for frame in &mut frames {
                    frame[..4].copy_from_slice(&[0xFF, 0xFB, 0x90, 0x64]);
                }
            }
            let refs: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
            if let Ok(out) = repack(&refs, index) {
                let header = Header::of(&out).unwrap();
                prop_assert_eq!(SideInfo::of(header, &out).main_data_begin, 0);
                prop_assert_eq!(out.len(), header.frame_len());
            }
        }
    }
}
