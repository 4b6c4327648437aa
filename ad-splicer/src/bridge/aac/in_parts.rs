//! Encoding a long bridge in parts: content and what is around it with as many bits as there may be, since that makes seams what they are; what is within ads with as many as it needs.
//!
//! Packets of ads have a length that was laid out before. The few that libav makes longer (where sound begins after a pause) are coded once more with fewer bits, in parts of their own: all others stay as they are.
//!
//! Where the parts meet follows from the samples alone, so that the result does not depend on the machine: of a few places where they may, the first at which decoding shows that the join adds nothing, else the best.

use std::ops::Range;

use super::{Coder, decode, encode};
use crate::bridge::BridgeError;
use crate::frames::aac::{Config, SAMPLES};
use crate::frames::padding::ad_bytes;
use crate::side_by_side::side_by_side;
use crate::splice::sound::worst_block;

/// Packets before the first that is used: the encoder has settled by then.
const SETTLED: usize = 8;
/// Packets after the last that is used, for the encoder's look-ahead.
const AHEAD: usize = 4;
/// Packets by which parts may meet further away from ads, or from packets that were too long.
const MOVE: usize = 3;
/// Packets of ads that are coded in one run, about.
const STRETCH: usize = 300;
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
}

/// Where two parts meet.
struct Place {
    at: usize,
    /// By how many dB it is worse than it should be.
    excess: f64,
}

/// Encodes interleaved samples, of which these packets hold nothing but ads: those have no more than [`ad_bytes`], if that can be.
pub(crate) fn encode_in_parts(
    config: Config,
    pcm: &[f32],
    inner: &[Range<usize>],
) -> Result<Vec<Vec<u8>>, BridgeError> {
    let edges: Vec<usize> = edges(inner);
    let turns: Vec<(usize, Option<usize>)> = (0..=edges.len())
        .map(|i| {
            let first = i.checked_sub(1).map_or(0, |before| edges[before]);
            (first, edges.get(i).copied())
        })
        .collect();
    let made = side_by_side(&turns, |i, (first, end)| {
        match inner.get(i / 2).filter(|_| i % 2 == 1) {
            Some(inner) => fitting(config, pcm, stretches(config, pcm, inner)?, inner),
            None => part(config, Coder::Exact, pcm, (*first, *end)),
        }
    });
    let parts = made.into_iter().collect::<Result<Vec<Part>, BridgeError>>()?;
    whole(config, pcm, &edges, &parts.iter().collect::<Vec<_>>())
}

fn edges(runs: &[Range<usize>]) -> Vec<usize> {
    runs.iter().flat_map(|run| [run.start, run.end]).collect()
}

/// Codes packets from one on, up to one or to the end, with as many around them as it takes to join them.
fn part(
    config: Config,
    coder: Coder,
    pcm: &[f32],
    (first, end): (usize, Option<usize>),
) -> Result<Part, BridgeError> {
    let samples = SAMPLES as usize * usize::from(config.channels);
    let first = first.saturating_sub(MOVE + SETTLED);
    let end = end.map_or(pcm.len(), |end| ((end + MOVE + AHEAD) * samples).min(pcm.len()));
    let packets = encode(config, coder, pcm.get(first * samples..end).unwrap_or_default())?;
    Ok(Part { first, packets })
}

/// Codes packets of ads alone, long ones in stretches that are made at the same time.
fn stretches(config: Config, pcm: &[f32], ads: &Range<usize>) -> Result<Part, BridgeError> {
    let count = (ads.len() / STRETCH).max(1);
    let edge = |i: usize| ads.start + ads.len() * i / count;
    let ranges: Vec<Range<usize>> = (0..count).map(|i| edge(i)..edge(i + 1)).collect();
    let made = side_by_side(&ranges, |_, range| {
        part(config, Coder::ads(config), pcm, (range.start, Some(range.end)))
    });
    let made = made.into_iter().collect::<Result<Vec<Part>, BridgeError>>()?;
    let meet: Vec<usize> = (1..count).map(edge).collect();
    let packets = whole(config, pcm, &meet, &made.iter().collect::<Vec<_>>())?;
    let first = made.first().map_or(ads.start, |part| part.first);
    Ok(Part { first, packets })
}

/// A part of ads with fewer bits where packets of `inner` are too long.
fn fitting(config: Config, pcm: &[f32], mut part: Part, inner: &Range<usize>) -> Result<Part, BridgeError> {
    let mut coder = Coder::ads(config);
    loop {
        let runs = too_long(&part, inner, ad_bytes(config));
        let Some(fewer) = coder.with_fewer_bits().filter(|_| !runs.is_empty()) else {
            // What is too long all the same is found out where it is laid out.
            return Ok(part);
        };
        coder = fewer;
        let made = side_by_side(&runs, |_, run| {
            self::part(config, coder, pcm, (run.start, Some(run.end)))
        });
        let made = made.into_iter().collect::<Result<Vec<Part>, BridgeError>>()?;
        let between = made.iter().flat_map(|shorter| [shorter, &part]);
        let parts: Vec<&Part> = [&part].into_iter().chain(between).collect();
        let packets = whole(config, pcm, &edges(&runs), &parts)?;
        part = Part {
            first: part.first,
            packets,
        };
    }
}

/// Runs of packets that have more bytes than `most`, or stand between two such: so far apart that parts which begin and end there can be joined.
fn too_long(part: &Part, among: &Range<usize>, most: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let packets = part.packets.iter().enumerate();
    for (i, _) in packets.filter(|(_, packet)| packet.len() > most) {
        let at = part.first + i;
        match runs.last_mut() {
            _ if !among.contains(&at) => {}
            Some(last) if at <= last.end + 2 * MOVE => last.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

/// The packets of parts that meet at these edges: those of the second part between the first two edges, and so on.
fn whole(config: Config, pcm: &[f32], edges: &[usize], parts: &[&Part]) -> Result<Vec<Vec<u8>>, BridgeError> {
    let places = places(config, pcm, edges, parts)?;
    let mut whole = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let first = i.checked_sub(1).map_or(part.first, |before| places[before].at);
        let end = places
            .get(i)
            .map_or(part.first + part.packets.len(), |place| place.at);
        let packets = part.get(first..end);
        whole.extend_from_slice(
            packets.ok_or_else(|| BridgeError::WrongStream("too few packets came out".into()))?,
        );
    }
    Ok(whole)
}

/// Where neighbouring parts meet: at an edge, or a little further away from every second part.
fn places(config: Config, pcm: &[f32], edges: &[usize], parts: &[&Part]) -> Result<Vec<Place>, BridgeError> {
    let edge = |at: &usize| Place {
        at: *at,
        excess: f64::INFINITY,
    };
    let mut places: Vec<Place> = edges.iter().map(edge).collect();
    for further in 0..=MOVE {
        let (mut clips, mut tried) = (Vec::new(), Vec::new());
        for i in (0..edges.len()).filter(|i| places[*i].excess > 0.0) {
            let at = if i % 2 == 0 {
                edges[i].saturating_sub(further)
            } else {
                edges[i] + further
            };
            let (before, after, start) = (parts[i], parts[i + 1], at.saturating_sub(HEARD));
            let (Some(lead), Some(rest)) = (before.get(start..at), after.get(at..at + HEARD)) else {
                continue;
            };
            clips.push([lead, rest].concat());
            // Each alone, as far as it goes.
            let own = |part: &Part| {
                let last = (part.first + part.packets.len()).min(at + HEARD);
                let alone = part.get(start.max(part.first)..last);
                alone.map(<[_]>::to_vec).unwrap_or_default()
            };
            clips.extend([own(before), own(after)]);
            tried.push((i, at));
        }
        if tried.is_empty() {
            break;
        }
        let decoded = decode(config, &clips)?;
        for ((i, at), heard) in tried.into_iter().zip(decoded.chunks(3)) {
            let start = at.saturating_sub(HEARD);
            let error = |clip: &[f32], first: usize| {
                let samples = SAMPLES as usize * usize::from(config.channels);
                // The first packet lacks what is before it; what it gives is a packet later than what went in.
                let wanted = pcm.get(first * samples..).unwrap_or_default();
                let heard = clip.get(samples..).unwrap_or_default();
                worst_block(heard, wanted, usize::from(config.channels))
            };
            let whole = error(&heard[1], start).max(error(&heard[2], start.max(parts[i + 1].first)));
            let excess = error(&heard[0], start) - UNHEARD_DB.max(whole + MARGIN_DB);
            if excess < places[i].excess {
                places[i] = Place { at, excess };
            }
        }
    }
    Ok(places)
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
        let ads = 65..287;
        let whole = encode(config, Coder::Exact, &pcm).unwrap();
        let parts = encode_in_parts(config, &pcm, std::slice::from_ref(&ads)).unwrap();
        assert_eq!(parts.len(), whole.len());
        let (enter, leave) = (ads.start - MOVE, ads.end + MOVE);
        assert_eq!(parts[..enter], whole[..enter], "content before the ads");
        let most = ad_bytes(config);
        assert!(parts[ads.clone()].iter().all(|packet| packet.len() <= most));
        let all: usize = parts[ads.clone()].iter().map(Vec::len).sum();
        assert!(all * 2 > most * ads.len(), "{all} bytes of {}", most * ads.len());
        // As good as the ads are by themselves.
        let apart = encode(config, Coder::ads(config), &pcm).unwrap();
        let alone = (enter..leave).map(|packet| worst(config, &apart, &pcm, packet));
        let alone = alone.fold(f64::NEG_INFINITY, f64::max);
        for packet in (enter..=ads.start).chain(ads.end..=leave) {
            let joined = worst(config, &parts, &pcm, packet);
            assert!(joined < alone + 1.0, "{joined:.1} dBFS where ads have {alone:.1}");
        }
        // Nothing but content, or short ads.
        assert_eq!(encode_in_parts(config, &pcm, &[]).unwrap(), whole);
    }

    #[test]
    fn long_ads_are_made_in_stretches_that_are_joined_without_a_trace() {
        let config = Config::lc(44_100, 2).unwrap();
        let pcm: Vec<f32> = (0..44_100 * 16)
            .flat_map(|i| {
                let t = i as f32 / 44_100.0;
                let tone = 0.3 * (t * 2_000.0).sin();
                // It grows and fades several times a second, and nothing else is as loud.
                let other = 0.2 * (t * 5_100.0).sin() * (t * 9.0).sin();
                [tone + other, tone - other]
            })
            .collect();
        let ads = 20..20 + 2 * STRETCH + 7;
        let made = stretches(config, &pcm, &ads).unwrap();
        let packets = made.get(ads.start..ads.end).unwrap();
        let alone = encode(config, Coder::ads(config), &pcm).unwrap();
        // Each stretch has its own beginning, by which it differs.
        assert!(packets[..STRETCH / 2] != alone[ads.start..ads.start + STRETCH / 2]);
        let error = |packets: &[Vec<u8>], at: usize| worst(config, packets, &pcm[ads.start * 2_048..], at);
        let numbers = HEARD..ads.len() - HEARD;
        let worst_of = |packets: &[Vec<u8>]| {
            let errors = numbers.clone().map(|at| error(packets, at));
            errors.fold(f64::NEG_INFINITY, f64::max)
        };
        let (joined, whole) = (worst_of(packets), worst_of(&alone[ads.clone()]));
        println!("{joined:.1} dBFS in stretches, {whole:.1} in one run");
        assert!(joined < whole + MARGIN_DB);
    }

    #[test]
    fn only_what_is_too_long_is_coded_with_fewer_bits() {
        let config = Config::lc(48_000, 2).unwrap();
        let size = SAMPLES as usize;
        let mut state = 7_u32;
        // Noise with pauses, each of which ends at once; content begins after the last of them.
        let pauses = [100, 101, 180, 299];
        let pcm: Vec<f32> = (0..size * 330)
            .flat_map(|i| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
                let packet = i / size;
                let is_pause = pauses.iter().any(|end| (end - 12..*end).contains(&packet));
                let loud = if is_pause { 0.0 } else { 0.5 };
                [loud * noise, loud * noise]
            })
            .collect();
        let (ads, most) = (65..293, ad_bytes(config));
        let once = encode(config, Coder::ads(config), &pcm).unwrap();
        let over = |packets: &[Vec<u8>]| {
            let long = ads.clone().filter(|at| packets[*at].len() > most);
            long.collect::<Vec<_>>()
        };
        let long = over(&once);
        println!("too long: {long:?}");
        assert!(!long.is_empty(), "libav has learned it");
        let beyond = (ads.end..ads.end + MOVE + AHEAD).any(|at| once[at].len() > most);
        assert!(beyond, "nothing that is not used is too long");

        let parts = encode_in_parts(config, &pcm, std::slice::from_ref(&ads)).unwrap();
        assert_eq!(over(&parts), [0; 0]);
        let own = part(config, Coder::ads(config), &pcm, (ads.start, Some(ads.end))).unwrap();
        let own = own.get(ads.clone()).unwrap();
        let changed: Vec<usize> = (ads.clone().zip(own))
            .filter_map(|(at, packet)| (parts[at] != *packet).then_some(at))
            .collect();
        println!("coded again: {changed:?}");
        let near = |at: &usize| long.iter().any(|long| at.abs_diff(*long) <= 2 * MOVE);
        assert!(changed.iter().all(near), "{changed:?}");
    }

    #[test]
    fn what_begins_out_of_digital_silence_fits() {
        for channels in [1, 2] {
            let config = Config::lc(48_000, channels).unwrap();
            let pcm: Vec<f32> = (0..48_000 * 5)
                .flat_map(|i| {
                    let is_on = (i + 24_000) % 48_000 < 1_920;
                    let beep = if is_on { (i as f32 * 0.131).sin() } else { 0.0 };
                    std::iter::repeat_n(0.5 * beep, channels.into())
                })
                .collect();
            let (ads, most) = (20..220, ad_bytes(config));
            let long = |packets: &[Vec<u8>]| packets.iter().filter(|packet| packet.len() > most).count();
            let once = encode(config, Coder::ads(config), &pcm).unwrap();
            assert!(long(&once[ads.clone()]) > 0, "libav has learned it");
            let parts = encode_in_parts(config, &pcm, std::slice::from_ref(&ads)).unwrap();
            assert_eq!(long(&parts[ads]), 0, "{channels}");
        }
    }
}
