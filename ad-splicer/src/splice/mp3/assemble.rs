//! The bytes around the pieces of spliced MP3: tags, the information frame, runs.

use super::{Piece, Track, tags};
use crate::frames::mp3::{Gapless, XingPlan, slot_len};
use crate::plan::SplicePlan;
use crate::splice::SpliceError;
use crate::splice::format::{Runs, Spliced, moved_tag};

/// Puts tags, information frame and pieces together.
pub(super) fn assemble(
    track: &Track<'_>,
    pieces: &[Piece],
    total: u64,
    gapless: Gapless,
    plan: &SplicePlan,
) -> Result<Spliced, SpliceError> {
    let index = &track.index;
    let head = tags(track.content, index.head(), track.options)?;
    let (head, chapters) = moved_tag(&head, plan, track.options);

    let original = index.head().info.as_ref().map(|info| &info.xing);
    let begins_with_content = pieces.iter().find_map(|piece| match piece {
        Piece::Content(range) => (!range.is_empty()).then_some(true),
        Piece::Region(frames) => (*frames > 0).then_some(false),
    });
    let xing = XingPlan {
        original,
        header: match begins_with_content {
            Some(false) if index.header().is_free() => index.header().with_most_room(),
            _ => index.header(),
        },
        gapless,
    };
    let xing_len = xing
        .frame_len()
        .ok_or_else(|| SpliceError::Unsupported("the frames are too small for a Xing header".into()))?
        as u64;
    let slot = slot_len(index.header()) as u64;
    // For each piece: the first frame, and the offset from the information frame.
    let mut starts = Vec::new();
    let (mut frame, mut offset) = (0, xing_len);
    for piece in pieces {
        starts.push((frame, offset));
        match piece {
            Piece::Content(range) => {
                frame += range.end - range.start;
                offset += index.offset(range.end)? - index.offset(range.start)?;
            }
            Piece::Region(frames) => {
                frame += frames;
                offset += frames * slot;
            }
        }
    }
    let offset_of = |wanted: u32| {
        let wanted = u64::from(wanted);
        let at = starts
            .partition_point(|(frame, _)| *frame <= wanted)
            .saturating_sub(1);
        let (frame, offset) = starts[at];
        offset
            + match &pieces[at] {
                Piece::Content(range) => index.about(range.start + wanted - frame) - index.about(range.start),
                Piece::Region(frames) => (wanted - frame).min(*frames) * slot,
            }
    };
    let count = u32::try_from(total).unwrap_or(u32::MAX);
    let info = xing.write(count, u32::try_from(offset).unwrap_or(u32::MAX), offset_of);
    let info =
        info.ok_or_else(|| SpliceError::Unsupported("the frames are too small for a Xing header".into()))?;

    let (mut runs, mut left) = (Runs::default(), Vec::new());
    runs.made(&[head, info].concat());
    for piece in pieces {
        match piece {
            Piece::Content(range) => runs.content(index.offset(range.start)?, index.offset(range.end)?),
            Piece::Region(frames) => {
                runs.bridge(left.len(), 0, frames * slot);
                left.push(frames * slot);
            }
        }
    }
    let tail = index.offset(index.frames())? + index.left_over();
    runs.content(tail, track.content.len());
    Ok(Spliced {
        runs: runs.into_runs(),
        seams: Vec::new(),
        chapters,
        left,
        played: None,
    })
}
