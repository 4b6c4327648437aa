//! Encoding a long bridge in parts: most time goes into what two channels have in common, which is found anew for each packet at a high bit rate. Where content goes into an ad, and out of it, that makes seams what they are; within
//! ads it is not worth four times as long.
//!
//! Where the parts meet follows from the samples alone, so that the result does not depend on the machine. Decoding shows that the joins add nothing; otherwise all is encoded as one.

use std::ops::Range;

use super::{Coder, decode, encode};
use crate::bridge::BridgeError;
use crate::frames::aac::{Config, SAMPLES};
use crate::side_by_side::side_by_side;
use crate::splice::sound::worst_block;

/// Packets within ads that are encoded as those around them.
const AROUND: usize = 6;
/// Packets within ads from which on parts are worth it.
const WORTH: usize = 64;
/// Packets before the first that is used: the encoder has settled by then.
const SETTLED: usize = 8;
/// Packets after the last that is used, for the encoder's look-ahead.
const AHEAD: usize = 4;
/// Packets on both sides of a join that are decoded to judge it.
const HEARD: usize = 4;
/// A join may be worse than the same packets of one run by so many dB.
const MARGIN_DB: f64 = 1.0;
/// A difference of this many dB of full scale is none.
const UNHEARD_DB: f64 = -90.0;

/// Packets of a run over a part of the samples.
struct Part {
    /// Which of the whole `packets[0]` is.
    first: usize,
    packets: Vec<Vec<u8>>,
}

impl Part {
    /// Packets by their numbers in the whole.
    fn get(&self, range: Range<usize>) -> Option<&[Vec<u8>]> {
        self.packets
            .get(range.start.checked_sub(self.first)?..range.end.checked_sub(self.first)?)
    }

    /// The same of one that is not needed any more: they are not copied.
    fn into_packets(mut self, range: Range<usize>) -> Option<Vec<Vec<u8>>> {
        self.get(range.clone())?;
        self.packets.truncate(range.end - self.first);
        Some(self.packets.split_off(range.start - self.first))
    }
}

/// Encodes interleaved samples, of which those of `ads` are none of the content's.
pub(crate) fn encode_in_parts(
    config: Config,
    pcm: &[f32],
    ads: &Range<usize>,
) -> Result<Vec<Vec<u8>>, BridgeError> {
    let size = SAMPLES as usize;
    // Packet `m` is about the samples from the one before `m * size` to the one after.
    let (enter, leave) = (ads.start / size + AROUND, (ads.end / size).saturating_sub(AROUND));
    if config.channels == 2
        && enter + WORTH < leave
        && let Some(packets) = joined(config, pcm, enter..leave)?
    {
        return Ok(packets);
    }
    encode(config, Coder::Exact, pcm)
}

/// `None` where a join would be heard.
fn joined(config: Config, pcm: &[f32], middle: Range<usize>) -> Result<Option<Vec<Vec<u8>>>, BridgeError> {
    let samples = SAMPLES as usize * usize::from(config.channels);
    let runs = [
        (Coder::Exact, 0, Some(middle.start + AHEAD)),
        (
            Coder::Plain,
            middle.start - SETTLED.min(middle.start),
            Some(middle.end + AHEAD),
        ),
        (Coder::Exact, middle.end - SETTLED, None),
    ];
    let made = side_by_side(&runs, |_, (coder, first, end)| {
        let end = end.map_or(pcm.len(), |end| (end * samples).min(pcm.len()));
        let packets = encode(config, *coder, &pcm[first * samples..end])?;
        Ok(Part {
            first: *first,
            packets,
        })
    });
    let made = made.into_iter().collect::<Result<Vec<Part>, BridgeError>>()?;
    let joins = [
        (middle.start, &made[0], &made[1]),
        (middle.end, &made[1], &made[2]),
    ];
    let mut clips = Vec::new();
    for (at, before, after) in &joins {
        let (start, end) = (at - HEARD, at + HEARD);
        let (Some(lead), Some(rest)) = (before.get(start..*at), after.get(*at..end)) else {
            return Ok(None);
        };
        clips.push([lead, rest].concat());
        // Each alone, as far as it goes.
        let own = |part: &Part| {
            let last = (part.first + part.packets.len()).min(end);
            part.get(start.max(part.first)..last).map(<[_]>::to_vec)
        };
        clips.push(own(before).unwrap_or_default());
        clips.push(own(after).unwrap_or_default());
    }
    let decoded = decode(config, &clips)?;
    for ((at, _, after), heard) in joins.iter().zip(decoded.chunks(3)) {
        let start = at - HEARD;
        let error = |clip: &[f32], first: usize| {
            // The first packet lacks what is before it; what it gives is a packet later than what went in.
            let wanted = pcm.get(first * samples..).unwrap_or_default();
            let heard = clip.get(samples..).unwrap_or_default();
            worst_block(heard, wanted, usize::from(config.channels))
        };
        let whole = error(&heard[1], start).max(error(&heard[2], start.max(after.first)));
        let joined = error(&heard[0], start);
        if joined > UNHEARD_DB.max(whole + MARGIN_DB) {
            return Ok(None);
        }
    }
    let last = middle.end..made[2].first + made[2].packets.len();
    let ranges = [0..middle.start, middle, last];
    let parts = made.into_iter().zip(ranges);
    let parts = parts.map(|(part, range)| part.into_packets(range));
    let parts: Option<Vec<Vec<Vec<u8>>>> = parts.collect();
    Ok(parts.map(|parts| parts.into_iter().flatten().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(config: Config, packets: &[Vec<u8>], pcm: &[f32], packet: usize) -> f64 {
        let (size, channels) = (SAMPLES as usize, usize::from(config.channels));
        let clip = packets[packet - HEARD..packet + HEARD].to_vec();
        let decoded = decode(config, &[clip]).unwrap().remove(0);
        let wanted = &pcm[(packet - HEARD) * size * channels..];
        worst_block(&decoded[size * channels..], wanted, channels)
    }

    #[test]
    fn parts_are_joined_without_a_trace_and_ends_are_as_in_one_run() {
        let config = Config::lc(44_100, 2).unwrap();
        let mut state = 3_u32;
        // Tones with clicks, for which windows are short, and hiss, and something that only one side has.
        let pcm: Vec<f32> = (0..44_100 * 8)
            .flat_map(|i| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let hiss = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
                let t = i as f32 / 44_100.0;
                let click = if i % 7_001 < 40 { 0.4 * hiss } else { 0.002 * hiss };
                let both = 0.3 * (t * 2_000.0).sin() + click;
                [both + 0.05 * (t * 9_000.0).sin(), both]
            })
            .collect();
        let ads = 60_000..300_000;
        let whole = encode(config, Coder::Exact, &pcm).unwrap();
        let parts = encode_in_parts(config, &pcm, &ads).unwrap();
        assert_eq!(parts.len(), whole.len());
        let (enter, leave) = (60_000 / 1024, 300_000 / 1024);
        assert_eq!(parts[..enter + 2], whole[..enter + 2], "content before the ads");
        assert!(
            parts[enter + AROUND..leave - AROUND] != whole[enter + AROUND..leave - AROUND],
            "there are parts"
        );
        for packet in [enter + AROUND, leave - AROUND] {
            let (joined, one) = (
                worst(config, &parts, &pcm, packet),
                worst(config, &whole, &pcm, packet),
            );
            assert!(joined < one + 6.0, "{joined:.1} dBFS where one run has {one:.1}");
        }
        // Short ads are not worth it.
        assert_eq!(encode_in_parts(config, &pcm, &(60_000..100_000)).unwrap(), whole);
    }
}
