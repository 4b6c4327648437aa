//! A run of frames laid into slots of one size, so that how long it is does not depend on how it was coded.
//!
//! Each frame keeps its side information and its main data, and so what it decodes to; its bit rate becomes the largest that there is, and its main data lies where it fits: behind that of the frame before, and no further
//! back than `main_data_begin` can say. What the frame after the run points back into stands at the end of the run, so that this frame stays as it is; so do those before it.

use super::header::Header;
use super::repack::{RepackError, header_of};
use super::side_info::{SideInfo, set_crc, set_main_data_begin};

/// Bytes of a slot of the stream that a header belongs to.
pub fn slot_len(header: Header) -> usize {
    header.with_most_room().frame_len()
}

/// A frame of this stream that is silent, and as short as there is one.
pub fn silent(header: Header) -> Result<Vec<u8>, RepackError> {
    super::carrier(header, &[])
}

/// Lays `frames` into slots. `before` are the frames before them, as many as they point back into, which stay where they are, and `next` is the one after them. A frame whose data is not there becomes silent.
///
/// # Errors
/// When a frame is not whole, or its data does not fit: never when all of them could follow each other at the largest bit rate.
pub fn lay_in_slots(before: &[&[u8]], frames: &[&[u8]], next: Option<&[u8]>) -> Result<Vec<u8>, RepackError> {
    // All main data as it is, without what is between it.
    let mut stream = Vec::new();
    for frame in before {
        stream.extend_from_slice(&frame[header_of(frame)?.main_data_start()..]);
    }
    let mut parts = Vec::with_capacity(frames.len());
    for frame in frames {
        let header = header_of(frame)?;
        let side = SideInfo::of(header, frame);
        let own = stream.len();
        stream.extend_from_slice(&frame[header.main_data_start()..]);
        let start = own.checked_sub(side.main_data_begin);
        let data = start.map(|start| start..start + side.main_data_len);
        parts.push((
            header,
            side.main_data_begin,
            data.filter(|data| data.end <= stream.len()),
        ));
    }
    let reach = match next {
        Some(next) => SideInfo::of(header_of(next)?, next).main_data_begin,
        None => 0,
    };
    let kept = &stream[stream.len() - reach.min(stream.len())..];

    // Positions in the slots' main data; what lies before the first slot has numbers below zero, and is there.
    let room: usize = parts
        .iter()
        .map(|(header, ..)| header.with_most_room().main_data_len())
        .sum();
    let mut area = vec![0; room];
    let (mut slot, mut end) = (0_usize, 0_isize);
    let mut out =
        Vec::with_capacity(parts.first().map_or(0, |(header, ..)| slot_len(*header)) * frames.len());
    let mut heads = Vec::with_capacity(frames.len());
    for (i, ((header, begin, data), frame)) in parts.into_iter().zip(frames).enumerate() {
        let largest = header.with_most_room();
        let mut head = frame[..header.main_data_start()].to_vec();
        head[..4].copy_from_slice(&largest.bytes());
        let mut back = 0;
        if let Some(data) = data {
            let earliest = slot as isize - header.max_reservoir() as isize;
            let place = if i == 0 {
                -(begin as isize)
            } else {
                end.max(earliest)
            };
            end = place + data.len() as isize;
            let within = slot + largest.main_data_len();
            if place > slot as isize || end > within as isize {
                return Err(RepackError::TooBig { needed: data.len() });
            }
            back = (slot as isize - place) as usize;
            let there = (-place).clamp(0, data.len() as isize) as usize;
            let at = place.max(0) as usize;
            area[at..at + data.len() - there].copy_from_slice(&stream[data.start + there..data.end]);
        } else {
            head[header.side_info_start()..].fill(0);
        }
        set_main_data_begin(largest, &mut head, back);
        set_crc(largest, &mut head);
        slot += largest.main_data_len();
        heads.push((head, slot));
    }
    let Some(at) = room.checked_sub(kept.len()).filter(|at| end <= *at as isize) else {
        return Err(RepackError::TooBig { needed: kept.len() });
    };
    area[at..].copy_from_slice(kept);
    let mut from = 0;
    for (head, to) in heads {
        out.extend(head);
        out.extend_from_slice(&area[from..to]);
        from = to;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::mp3::repack::tests::frame_of as frame;
    use proptest::prelude::*;

    /// The main data of each frame.
    fn main_data(frames: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let mut stream = Vec::new();
        let mut parts = Vec::new();
        for frame in frames {
            let header = Header::of(frame).unwrap();
            let side = SideInfo::of(header, frame);
            let own = stream.len();
            stream.extend_from_slice(&frame[header.main_data_start()..]);
            let data = own.checked_sub(side.main_data_begin);
            parts.push(data.and_then(|at| Some(stream.get(at..at + side.main_data_len)?.to_vec())));
        }
        parts
    }

    proptest! {
        /// Frames of an encoder with a reservoir keep their data, whatever of them is laid into slots, and those around stay as they are.
        #[test]
        fn data_stays(rate in 5_u8..15, lens in proptest::collection::vec(0_usize..1_500, 4..40), from in 1_usize..3) {
            let room = Header::parse([0xFF, 0xFB, rate << 4, 0x64]).unwrap().main_data_len();
            let mut saved = 0;
            let frames: Vec<Vec<u8>> = lens
                .iter()
                .enumerate()
                .map(|(i, len)| {
                    let begin = saved;
                    // A granule of a channel has at most 4,095 bits.
                    let len = (*len).min(begin + room);
                    saved = (begin + room - len).min(511);
                    // What would be further back is stuffing: it comes first here, so all of it is used.
                    let len = begin + room - saved;
                    frame(rate, begin, len.min(2_047), i as u8)
                })
                .collect();
            let refs: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
            let to = refs.len() - 1;
            let laid = lay_in_slots(&refs[..from], &refs[from..to], Some(refs[to])).unwrap();
            let len = slot_len(Header::of(refs[0]).unwrap());
            prop_assert_eq!(laid.len(), len * (to - from));
            let whole: Vec<&[u8]> = refs[..from].iter().copied().chain(laid.chunks(len)).chain([refs[to]]).collect();
            prop_assert_eq!(main_data(&whole), main_data(&refs));
        }

        #[test]
        fn never_panics(mut frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 417), 2..8), from in 0_usize..8) {
            for frame in &mut frames {
                frame[..4].copy_from_slice(&[0xFF, 0xFB, 0x90, 0x64]);
            }
            let refs: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
            let from = from.min(refs.len() - 1);
            let _ = lay_in_slots(&refs[..from], &refs[from..refs.len() - 1], refs.last().copied());
        }
    }

    #[test]
    fn what_is_missing_is_silent() {
        let lost = frame(9, 200, 300, 1);
        let laid = lay_in_slots(&[], &[&lost, &frame(9, 0, 300, 2)], None).unwrap();
        let header = Header::of(&laid).unwrap();
        assert_eq!(SideInfo::of(header, &laid).main_data_len, 0);
        let second = &laid[slot_len(header)..];
        assert_eq!(SideInfo::of(header, second).main_data_len, 300);
    }
}
