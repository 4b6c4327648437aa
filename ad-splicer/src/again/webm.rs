//! WebM whose sound is coded again beside its pictures: Vorbis becomes Opus. Each block of pictures stays as it is, at its time.
//!
//! The sound is all that its packets decode to, from the time on at which the first of that is heard. A file tells times to the unit of its clock, often a millisecond; how long packets are tells the same
//! exactly. Pure but for reading.

use std::ops::Range;

use super::DEADLINE;
use super::pictures::{Taken, failed};
use crate::content::Content;
use crate::frames::opus::{Head, RATE};
use crate::frames::vorbis;
use crate::frames::webm::ebml::{self, Body, Node};
use crate::frames::webm::{Index, Kind, Webm};
use crate::splice::SpliceError;
use crate::splice::clusters::{Bytes, Frame, Writer};
use crate::splice::format::Runs;

/// Samples of a packet of Opus as it is coded here.
const PACKET: u64 = 960;
/// How far the times of packets may be from what is said by how long they are, in nanoseconds.
const JITTER: i64 = 30_000_000;
/// What says how sound is coded.
const OF_CODING: [u32; 5] = [
    ebml::CODEC_ID,
    ebml::CODEC_PRIVATE,
    ebml::CODEC_DELAY,
    ebml::SEEK_PRE_ROLL,
    ebml::AUDIO,
];

fn unsupported(what: impl Into<String>) -> SpliceError {
    SpliceError::Unsupported(what.into())
}

fn damaged() -> SpliceError {
    unsupported("the WebM file cannot be coded again: it makes no sense")
}

/// What the headers of Vorbis say: they stand one after another, with the lengths of the first two before them (as in Xiph's lacing).
fn headers(private: &[u8]) -> Result<vorbis::Head, SpliceError> {
    let lengths = || {
        let (count, mut rest) = private.split_first()?;
        let mut lengths = [0_usize; 2];
        for length in &mut lengths {
            loop {
                let (byte, after) = rest.split_first()?;
                rest = after;
                *length += usize::from(*byte);
                if *byte < 255 {
                    break;
                }
            }
        }
        let (identification, rest) = rest.split_at_checked(lengths[0])?;
        let setup = rest.get(lengths[1]..)?;
        (*count == 2).then_some((identification, setup))
    };
    let (identification, setup) = lengths().ok_or_else(damaged)?;
    vorbis::Head::parse(identification, setup)?.ok_or_else(damaged)
}

/// The sound of a file as its packets say that it is.
struct Heard {
    /// Samples that they decode to.
    samples: u64,
    rate: u32,
    /// When the first of them is heard, in nanoseconds.
    begins: i64,
}

/// Finds all blocks, and measures the sound.
fn measure(webm: &mut Webm, sound: usize, content: &dyn Content) -> Result<(Index, Heard), SpliceError> {
    let head = headers(&webm.tracks[sound].private)?;
    let scale = webm.scale as i64;
    let (mut samples, mut before) = (0_u64, None);
    let mut begins: Option<Range<i64>> = None;
    let index = Index::scan(webm, content, DEADLINE, &mut |block, packet| {
        if block.track() != sound {
            return Ok(());
        }
        let offset = block.offset;
        let size = head.block(packet).ok_or(SpliceError::Corrupt { offset })?;
        // The first gives nothing.
        let Some(before) = before.replace(size) else {
            return Ok(());
        };
        if !block.shares() {
            let after = u128::from(samples) * 1_000_000_000 / u128::from(head.rate);
            let begin = block.time * scale - after as i64;
            let all = begins
                .take()
                .map_or(begin..begin, |all| all.start.min(begin)..all.end.max(begin));
            if all.end - all.start > 2 * JITTER {
                return Err(unsupported(format!(
                    "the sound of the WebM file cannot be coded again: it has a gap before byte {offset}"
                )));
            }
            begins = Some(all);
        }
        samples += u64::from(before + size) / 4;
        Ok(())
    })?;
    let begins = begins.ok_or_else(|| SpliceError::NotAudio("the content holds no audio samples".into()))?;
    Ok((
        index,
        Heard {
            samples,
            rate: head.rate,
            begins: i64::midpoint(begins.start, begins.end),
        },
    ))
}

/// The only track of a kind.
fn only(webm: &Webm, kind: Kind) -> Result<usize, SpliceError> {
    let mut found = (0..webm.tracks.len()).filter(|track| webm.tracks[*track].kind == kind);
    match (found.next(), found.next()) {
        (Some(track), None) => Ok(track),
        _ => Err(damaged()),
    }
}

/// The list of tracks with this one described as the only one of another file is.
fn described(tracks: &Node, number: u64, made: &Node) -> Node {
    let mut tracks = tracks.clone();
    let made = made.all(ebml::TRACK_ENTRY).next().map_or(&[][..], Node::children);
    for entry in tracks.children_mut() {
        if entry.id != ebml::TRACK_ENTRY || entry.unsigned(ebml::TRACK_NUMBER) != Some(number) {
            continue;
        }
        if let Body::Children(children) = &mut entry.body {
            let is_old =
                |id: u32| OF_CODING.contains(&id) || matches!(id, ebml::CODEC_NAME | ebml::DEFAULT_DURATION);
            children.retain(|child| !is_old(child.id));
            children.extend(made.iter().filter(|child| OF_CODING.contains(&child.id)).cloned());
        }
    }
    tracks
}

/// The file with its sound as Opus: of the content's bytes, and of those of what was coded, which follow them.
pub(super) fn with_sound(content: &dyn Content, coded: &dyn Content) -> Result<Runs, SpliceError> {
    let mut old = Webm::read(content, DEADLINE)?.ok_or_else(damaged)?;
    let (sound, pictures) = (only(&old, Kind::Audio)?, only(&old, Kind::Video)?);
    let (index, heard) = measure(&mut old, sound, content)?;
    let mut new = Webm::read(coded, DEADLINE)?.ok_or_else(damaged)?;
    let made = Index::scan(&mut new, coded, DEADLINE, &mut |_, _| Ok(()))?;
    let skip = new.tracks.first().map(|entry| Head::parse(&entry.private));
    let skip = skip.transpose()?.flatten().ok_or_else(damaged)?.pre_skip;
    // What comes out is as long as what went in, or packets are missing.
    let samples = heard.samples * u64::from(RATE) / u64::from(heard.rate.max(1)) + u64::from(skip);
    let packets = made.blocks.len() as u64;
    if packets.abs_diff(samples.div_ceil(PACKET)) > 1 {
        return Err(unsupported(
            "the sound of the WebM file cannot be coded again: not all of its packets can be decoded",
        ));
    }

    let units = |nanos: i64| {
        let scale = old.scale as i64;
        nanos.saturating_add(scale / 2).div_euclid(scale.max(1))
    };
    let frames = made.blocks.iter().enumerate().map(|(packet, block)| Frame {
        track: sound,
        time: units(heard.begins + packet as i64 * (PACKET * 1_000_000_000 / u64::from(RATE)) as i64),
        key: true,
        bytes: Bytes::At(content.len() + block.offset, block.size),
        discard: made
            .discard
            .filter(|(last, _)| *last == packet)
            .map_or(0, |(_, nanos)| nanos),
    });
    let mut frames = frames.peekable();
    let mut writer = Writer::new(&old, &index, Some(pictures), false);
    for (i, block) in index.blocks.iter().enumerate() {
        if block.track() != pictures {
            continue;
        }
        while let Some(frame) = frames.next_if(|frame| frame.time < block.time) {
            writer.push(&frame);
        }
        writer.push(&Frame {
            track: pictures,
            time: block.time,
            key: block.key(),
            bytes: Bytes::Content(i),
            discard: 0,
        });
    }
    frames.for_each(|frame| writer.push(&frame));

    let number = old.tracks[sound].number;
    let description = new.node(ebml::TRACKS).ok_or_else(damaged)?;
    let nodes: Vec<_> = old
        .nodes
        .iter()
        .map(|(_, node)| match node.id {
            ebml::TRACKS => (node.id, described(node, number, description).write()),
            _ => (node.id, node.write()),
        })
        .collect();
    Ok(writer.finish(&nodes))
}

/// The file with its pictures coded again, each shown when it was: of the content's bytes, and of those of what was taken, which follow them.
pub(super) fn with_pictures(content: &dyn Content, taken: &Taken) -> Result<Runs, SpliceError> {
    let mut old = Webm::read(content, DEADLINE)?.ok_or_else(damaged)?;
    let pictures = only(&old, Kind::Video)?;
    let index = Index::scan(&mut old, content, DEADLINE, &mut |_, _| Ok(()))?;
    let count = index
        .blocks
        .iter()
        .filter(|block| block.track() == pictures)
        .count();
    let samples = &taken.samples;
    if count != samples.sizes.len() {
        return Err(failed("not all of them can be decoded"));
    }
    let mut writer = Writer::new(&old, &index, Some(pictures), false);
    let mut picture = 0;
    for (i, block) in index.blocks.iter().enumerate() {
        let discard = index
            .discard
            .filter(|(last, _)| *last == i)
            .map_or(0, |(_, nanos)| nanos);
        let mut frame = Frame {
            track: block.track(),
            time: block.time,
            key: block.key(),
            bytes: Bytes::At(block.offset, block.size),
            discard,
        };
        if block.track() == pictures {
            let key = u32::try_from(picture).unwrap_or(u32::MAX);
            frame.key = samples
                .sync
                .as_ref()
                .is_none_or(|sync| sync.binary_search(&key).is_ok());
            frame.bytes = Bytes::At(
                content.len() + samples.offsets.at(picture),
                samples.sizes[picture],
            );
            picture += 1;
        }
        writer.push(&frame);
    }
    let nodes: Vec<_> = old
        .nodes
        .iter()
        .map(|(_, node)| (node.id, node.write()))
        .collect();
    Ok(writer.finish(&nodes))
}
