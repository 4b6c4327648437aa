//! Encoding a long bridge in parts, side by side. Where the parts meet follows from the samples alone, so that the result does not depend on the machine.
//!
//! Each part is encoded with some frames more than are used of it, so that two parts share a few frames; they are joined at the one of these where it is heard least, by decoding.
//! When no place is good, all of it is encoded as one.

use std::ops::Range;
use std::slice;

use crate::bridge::BridgeError;
use crate::frames::mp3::{Header, carrier, repack, reservoir};
use crate::side_by_side::side_by_side;
use crate::splice::sound::worst_block;

/// Frames in a part, about six seconds. A shorter one is not worth a pipeline.
const PART: usize = 240;
/// Frames before the first that is used: the encoder has settled by then.
const SETTLED: usize = 8;
/// How many places are tried for each join.
const CHOICE: usize = 6;
/// Frames after the last that is used, for the encoder's look-ahead.
const AHEAD: usize = 4;
/// Frames on both sides of a join that are decoded to judge it.
const HEARD: usize = 4;
/// Frames at the beginning of a clip that do not decode to what they should.
const UNSETTLED: usize = 3;
/// A join may differ from one coding by this many dB more than the other coding does.
const MARGIN_DB: f64 = 2.0;
/// A difference of this many dB of full scale is none.
const UNHEARD_DB: f64 = -75.0;

/// Frames of a part.
struct Part {
    /// Which of the whole `frames[0]` is.
    first: usize,
    frames: Vec<Vec<u8>>,
}

impl Part {
    /// Frames by their numbers in the whole.
    fn get(&self, range: Range<usize>) -> Option<&[Vec<u8>]> {
        self.frames
            .get(range.start.checked_sub(self.first)?..range.end.checked_sub(self.first)?)
    }

    /// A frame with the reservoir of the one with this number, to be decoded before it.
    fn lead(&self, header: Header, number: usize) -> Option<Vec<u8>> {
        let refs: Vec<&[u8]> = self.frames.iter().map(Vec::as_slice).collect();
        let reservoir = reservoir(&refs, number.checked_sub(self.first)?).ok()?;
        carrier(header, &reservoir).ok()
    }

    /// The frame with this number, made to stand alone, if it fits.
    fn standing_alone(&self, number: usize) -> Option<Vec<u8>> {
        let at = number.checked_sub(self.first)?;
        let refs: Vec<&[u8]> = self.frames.iter().take(at + 2).map(Vec::as_slice).collect();
        repack(&refs, at).ok()
    }
}

/// What `encode` makes of `pcm`, or nearly: it is called for several parts at once. `pcm` is interleaved.
pub(super) fn encode<T: Sync>(
    header: Header,
    pcm: &[T],
    encode: impl Fn(&[T]) -> Result<Vec<Vec<u8>>, BridgeError> + Sync,
) -> Result<Vec<Vec<u8>>, BridgeError> {
    let step = header.samples() as usize * usize::from(header.channels());
    let count = pcm.len() / step / PART;
    if count < 2 {
        return encode(pcm);
    }
    let starts: Vec<usize> = (0..count).map(|part| part * PART).collect();
    let parts = side_by_side(&starts, |number, start| {
        let first = start.saturating_sub(SETTLED);
        let samples = match starts.get(number + 1) {
            Some(next) => &pcm[first * step..(next + CHOICE + HEARD + AHEAD) * step],
            None => &pcm[first * step..],
        };
        encode(samples).map(|frames| Part { first, frames })
    });
    let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
    match joined(header, parts)? {
        Some(frames) => Ok(frames),
        None => encode(pcm),
    }
}

/// The parts' frames as one run; `None` when two of them cannot be joined well.
fn joined(header: Header, parts: Vec<Part>) -> Result<Option<Vec<Vec<u8>>>, BridgeError> {
    let mut parts = parts.into_iter();
    let Some(mut whole) = parts.next() else {
        return Ok(None);
    };
    for (number, mut part) in parts.enumerate() {
        let Some((place, first)) = place(header, &whole, &part, (number + 1) * PART)? else {
            return Ok(None);
        };
        whole.frames.truncate(place);
        whole.frames.push(first);
        whole.frames.extend(part.frames.drain(place + 1 - part.first..));
    }
    Ok(Some(whole.frames))
}

/// The frame from `earliest` on where `b` can best follow `a`, made to stand alone.
fn place(
    header: Header,
    a: &Part,
    b: &Part,
    earliest: usize,
) -> Result<Option<(usize, Vec<u8>)>, BridgeError> {
    let (mut clips, mut places) = (Vec::new(), Vec::new());
    for place in earliest..earliest + CHOICE {
        let Some(first) = b.standing_alone(place) else {
            continue;
        };
        let around = place - HEARD..place + HEARD;
        let (Some(lead), Some(before), Some(whole), Some(after), Some(other_lead), Some(other)) = (
            a.lead(header, around.start),
            a.get(around.start..place),
            a.get(around.clone()),
            b.get(place + 1..around.end),
            b.lead(header, around.start),
            b.get(around),
        ) else {
            continue;
        };
        clips.push([slice::from_ref(&lead), whole].concat());
        clips.push([slice::from_ref(&lead), before, slice::from_ref(&first), after].concat());
        clips.push([slice::from_ref(&other_lead), other].concat());
        places.push((place, first));
    }
    let decoded = super::decode(&clips)?;
    let channels = usize::from(header.channels());
    let best = places
        .into_iter()
        .zip(decoded.chunks_exact(3))
        .filter_map(|(place, clips)| {
            // What the overlap with the frames before the clips cannot touch.
            let settled = UNSETTLED * header.samples() as usize * channels;
            let [a, joined, b] = [0, 1, 2].map(|clip| clips[clip].get(settled..).unwrap_or_default());
            let (join, codings) = (worst_block(a, joined, channels), worst_block(a, b, channels));
            (join <= UNHEARD_DB.max(codings + MARGIN_DB)).then_some((place, join))
        })
        .min_by(|a, b| a.1.total_cmp(&b.1));
    Ok(best.map(|(place, _)| place))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::bridge::mp3::{decode, lame};

    #[test]
    fn parts_are_as_near_to_the_sound_as_the_whole() {
        let header = Header::parse([0xFF, 0xFB, 0x90, 0x44]).unwrap();
        let (size, delay) = (header.samples() as usize, 1105);
        let value = |i: usize, side: f32| {
            let t = i as f32 / 44_100.0;
            let tone = |hertz: f32| (t * hertz * std::f32::consts::TAU + side).sin();
            8_000.0 * tone(220.0) * (1.0 + tone(3.0)) / 2.0 + 4_000.0 * tone(300.0 + 40.0 * t)
        };
        let pcm: Vec<i16> = (0..size * (3 * PART + 20))
            .flat_map(|i| [value(i, 0.0) as i16, value(i, 1.0) as i16])
            .collect();
        let calls = AtomicUsize::new(0);
        let made = encode(header, &pcm, |samples| {
            calls.fetch_add(1, Ordering::Relaxed);
            lame(header, 256, samples)
        })
        .unwrap();
        assert_eq!(calls.into_inner(), 3, "parts, and not the whole");
        let whole = lame(header, 256, &pcm).unwrap();
        assert!(
            made.len() >= whole.len(),
            "{} frames of {}",
            made.len(),
            whole.len()
        );
        let floats: Vec<f32> = pcm.iter().map(|sample| f32::from(*sample) / 32_767.0).collect();
        let error = |frames: Vec<Vec<u8>>| {
            let decoded = decode(&[frames]).unwrap().remove(0);
            worst_block(&floats, &decoded[2 * delay..], 2)
        };
        let (made, whole) = (error(made), error(whole));
        assert!(made <= whole + MARGIN_DB, "{made} dB in parts, {whole} dB as one");
    }
}
