//! From samples to a frame: fixed predictors and partitioned Rice codes (RFC 9639 §9.2.5 and §9.2.7). Lossless, and small enough for the few blocks at a join.

use super::bits::BitWriter;
use super::crc::crc16;
use super::header::{Channels, Header};

/// Highest order of partitions.
const MOST_PARTITIONS: u32 = 6;

/// How one channel of a block is stored.
enum Plan {
    Constant(i32),
    Verbatim,
    Fixed {
        order: usize,
        residual: Vec<i32>,
        partition_order: u32,
        parameters: Vec<u32>,
    },
}

/// Encodes a block: one slice a channel, all of `like`'s block size. `like` says everything else about the header, its channels aside.
pub(crate) fn encode(like: &Header, channels: &[Vec<i32>], bits: u32) -> Vec<u8> {
    let mut header = *like;
    let alone: Vec<_> = channels.iter().map(|samples| plan(samples, bits)).collect();
    let mut chosen: Vec<(u64, Plan, Vec<i32>, u32)> = alone
        .into_iter()
        .zip(channels)
        .map(|((cost, plan), samples)| (cost, plan, samples.clone(), bits))
        .collect();
    header.channels = Channels::Independent(channels.len() as u8);
    if let [left, right] = channels {
        let side: Vec<i32> = left.iter().zip(right).map(|(l, r)| l.wrapping_sub(*r)).collect();
        let mid: Vec<i32> = left
            .iter()
            .zip(right)
            .map(|(l, r)| l.wrapping_add(*r) >> 1)
            .collect();
        let ((side_cost, side_plan), (mid_cost, mid_plan)) = (plan(&side, bits + 1), plan(&mid, bits));
        let (left_cost, right_cost) = (chosen[0].0, chosen[1].0);
        let best = (left_cost + right_cost)
            .min(left_cost + side_cost)
            .min(side_cost + right_cost)
            .min(mid_cost + side_cost);
        let side = (side_cost, side_plan, side, bits + 1);
        if best == left_cost + right_cost {
        } else if best == mid_cost + side_cost {
            header.channels = Channels::MidSide;
            chosen = vec![(mid_cost, mid_plan, mid, bits), side];
        } else if best == left_cost + side_cost {
            header.channels = Channels::LeftSide;
            chosen[1] = side;
        } else {
            header.channels = Channels::SideRight;
            chosen[0] = side;
        }
    }
    let mut writer = BitWriter::after(header.write());
    for (_, plan, samples, bits) in &chosen {
        subframe(&mut writer, plan, samples, *bits);
    }
    writer.align();
    let mut frame = writer.bytes;
    let crc = crc16(&frame);
    frame.extend(crc.to_be_bytes());
    frame
}

fn zigzag(value: i32) -> u32 {
    (value << 1 ^ value >> 31) as u32
}

/// The best way to store a channel, and its cost in bits.
fn plan(samples: &[i32], bits: u32) -> (u64, Plan) {
    let first = samples.first().copied().unwrap_or(0);
    if samples.iter().all(|sample| *sample == first) {
        return (8 + u64::from(bits), Plan::Constant(first));
    }
    let mut best = (8 + samples.len() as u64 * u64::from(bits), Plan::Verbatim);
    // The order whose residual is smallest.
    let mut differences = samples.to_vec();
    let mut smallest: Option<(u64, usize, Vec<i32>)> = None;
    for order in 0..=4.min(samples.len().saturating_sub(1)) {
        if order > 0 {
            differences = differences
                .windows(2)
                .map(|pair| pair[1].wrapping_sub(pair[0]))
                .collect();
        }
        let size = differences
            .iter()
            .map(|value| u64::from(value.unsigned_abs()))
            .sum();
        if smallest.as_ref().is_none_or(|(least, _, _)| size < *least) {
            smallest = Some((size, order, differences.clone()));
        }
    }
    let Some((_, order, residual)) = smallest else {
        return best;
    };
    for partition_order in 0..=MOST_PARTITIONS {
        let partitions = 1 << partition_order;
        if !samples.len().is_multiple_of(partitions) || samples.len() / partitions <= order {
            break;
        }
        let size = samples.len() / partitions;
        let mut cost = 8 + order as u64 * u64::from(bits) + 6;
        let mut parameters = Vec::with_capacity(partitions);
        let mut rest = &residual[..];
        for partition in 0..partitions {
            let (part, tail) = rest.split_at(if partition == 0 { size - order } else { size });
            rest = tail;
            let sum: u64 = part.iter().map(|value| u64::from(zigzag(*value))).sum();
            let mean = sum / part.len().max(1) as u64;
            let guess = u64::BITS - (mean + 1).leading_zeros();
            let exact = |parameter: u32| {
                part.iter()
                    .map(|value| u64::from(zigzag(*value) >> parameter) + 1 + u64::from(parameter))
                    .sum::<u64>()
            };
            let (bits, parameter) = (guess.saturating_sub(2)..=guess.min(30))
                .map(|parameter| (exact(parameter), parameter))
                .min()
                .unwrap_or((exact(0), 0));
            cost += bits + 5;
            parameters.push(parameter);
        }
        if cost < best.0 {
            let residual = residual.clone();
            best = (
                cost,
                Plan::Fixed {
                    order,
                    residual,
                    partition_order,
                    parameters,
                },
            );
        }
    }
    best
}

fn subframe(writer: &mut BitWriter, plan: &Plan, samples: &[i32], bits: u32) {
    match plan {
        Plan::Constant(value) => {
            writer.write(0, 8);
            writer.signed(*value, bits);
        }
        Plan::Verbatim => {
            writer.write(1 << 1, 8);
            for sample in samples {
                writer.signed(*sample, bits);
            }
        }
        Plan::Fixed {
            order,
            residual,
            partition_order,
            parameters,
        } => {
            writer.write((8 + *order as u32) << 1, 8);
            for sample in &samples[..*order] {
                writer.signed(*sample, bits);
            }
            // Five bits a parameter, for samples of 24 bits.
            writer.write(1, 2);
            writer.write(*partition_order, 4);
            let size = samples.len() >> partition_order;
            let mut rest = &residual[..];
            for (partition, parameter) in parameters.iter().enumerate() {
                let (part, tail) = rest.split_at(if partition == 0 { size - order } else { size });
                rest = tail;
                writer.write(*parameter, 5);
                for value in part {
                    let value = zigzag(*value);
                    writer.unary(value >> parameter);
                    writer.write(value, *parameter);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::decode;
    use super::*;
    use proptest::prelude::*;

    /// A header of 16 or 24 bits with its size left open.
    fn header(bits: u32, size: u32) -> Header {
        let mut bytes = vec![0xFF, 0xF8, 0x79, if bits == 16 { 0x18 } else { 0x1C }, 0, 0, 0];
        bytes[5..7].copy_from_slice(&((size - 1) as u16).to_be_bytes());
        bytes.push(super::super::crc::crc8(&bytes));
        Header::parse(&bytes).unwrap()
    }

    #[test]
    fn samples_that_no_file_may_hold_are_no_reason_to_stop() {
        // As a damaged predictor makes them.
        let channels = [vec![i32::MIN, i32::MAX, 0], vec![i32::MAX, i32::MIN, 1]];
        assert!(!encode(&header(16, 3), &channels, 16).is_empty());
    }

    proptest! {
        #[test]
        fn nothing_is_lost(
            seed in any::<u32>(),
            loud in 0u32..24,
            size in prop::sample::select(vec![1u32, 2, 3, 5, 16, 192, 1000, 4096, 4608]),
            channels in 1usize..=3,
            wide in any::<bool>(),
        ) {
            let bits = if wide { 24 } else { 16 };
            let mut state = seed;
            let mut wave = 0_i64;
            let limit = 1_i64 << (bits - 1);
            let pcm: Vec<Vec<i32>> = (0..channels)
                .map(|_| {
                    (0..size)
                        .map(|_| {
                            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                            wave += i64::from(state as i32) >> (31 - loud.min(bits));
                            (wave.rem_euclid(2 * limit) - limit) as i32
                        })
                        .collect()
                })
                .collect();
            let frame = encode(&header(bits, size), &pcm, bits);
            prop_assert_eq!(decode(&frame, bits).unwrap(), pcm);
        }

        #[test]
        fn damage_never_panics(changes in proptest::collection::vec((0usize..600, any::<u8>()), 0..9), keep in 0usize..600) {
            let pcm = vec![(0..192).map(|i| (i * i * 37) % 4001 - 2000).collect::<Vec<i32>>(); 2];
            let mut frame = encode(&header(16, 192), &pcm, 16);
            for (at, byte) in changes {
                let len = frame.len();
                frame[at % len] = byte;
            }
            frame.truncate(keep);
            let _ = decode(&frame, 16);
            // With a checksum that is right the samples are read too.
            let end = frame.len().saturating_sub(2);
            let crc = crc16(&frame[..end]).to_be_bytes();
            frame.truncate(end);
            frame.extend(crc);
            let _ = decode(&frame, 16);
        }
    }
}
