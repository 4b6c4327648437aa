//! From a frame to its samples (RFC 9639 §9.2).

use super::FrameError;
use super::bits::BitReader;
use super::crc::crc16;
use super::header::{Channels, Header};

/// Decodes a whole frame. Gives one vector a channel, each of the block's size. `bits` are STREAMINFO's bits a sample.
pub(crate) fn decode(frame: &[u8], bits: u32) -> Result<Vec<Vec<i32>>, FrameError> {
    let header = Header::parse(frame)?;
    let bits = header.bits.unwrap_or(bits);
    if !(4..=24).contains(&bits) {
        return Err(FrameError("its samples are too wide"));
    }
    if crc16(frame) != 0 {
        return Err(FrameError("its checksum is wrong"));
    }
    let mut reader = BitReader::new(&frame[header.len..]);
    let size = header.block_size as usize;
    let mut channels = Vec::with_capacity(header.channel_count());
    for channel in 0..header.channel_count() {
        // The difference of two channels takes one bit more.
        let side = matches!(
            (header.channels, channel),
            (Channels::LeftSide | Channels::MidSide, 1) | (Channels::SideRight, 0)
        );
        channels.push(subframe(&mut reader, size, bits + u32::from(side))?);
    }
    if header.len + reader.position() + 2 != frame.len() {
        return Err(FrameError("it does not end where its samples do"));
    }
    if let [a, b] = &mut channels[..] {
        match header.channels {
            Channels::Independent(_) => {}
            Channels::LeftSide => a.iter().zip(b).for_each(|(l, s)| *s = l.wrapping_sub(*s)),
            Channels::SideRight => a.iter_mut().zip(b).for_each(|(s, r)| *s = s.wrapping_add(*r)),
            Channels::MidSide => {
                for (m, s) in a.iter_mut().zip(b) {
                    let (mid, side) = ((*m << 1) | (*s & 1), *s);
                    *m = mid.wrapping_add(side) >> 1;
                    *s = mid.wrapping_sub(side) >> 1;
                }
            }
        }
    }
    Ok(channels)
}

fn subframe(reader: &mut BitReader<'_>, size: usize, bits: u32) -> Result<Vec<i32>, FrameError> {
    if reader.read(1)? != 0 {
        return Err(FrameError("a subframe has no beginning"));
    }
    let kind = reader.read(6)?;
    let wasted = if reader.read(1)? == 1 {
        reader.unary()? + 1
    } else {
        0
    };
    let bits = bits
        .checked_sub(wasted)
        .filter(|bits| *bits > 0)
        .ok_or(FrameError("a subframe wastes all of its bits"))?;
    let mut samples = Vec::with_capacity(size);
    match kind {
        0 => samples.resize(size, reader.signed(bits)?),
        1 => {
            for _ in 0..size {
                samples.push(reader.signed(bits)?);
            }
        }
        8..=12 => {
            let order = (kind - 8) as usize;
            warm_up(reader, &mut samples, order.min(size), order, bits)?;
            residual(reader, &mut samples, order, size)?;
            fixed(&mut samples, order);
        }
        32..=63 => {
            let order = (kind - 31) as usize;
            warm_up(reader, &mut samples, order.min(size), order, bits)?;
            let precision = reader.read(4)? + 1;
            if precision == 16 {
                return Err(FrameError("a predictor's precision is forbidden"));
            }
            let shift = reader.signed(5)?;
            if shift < 0 {
                return Err(FrameError("a predictor's shift is negative"));
            }
            let mut coefficients = [0_i32; 32];
            for coefficient in &mut coefficients[..order] {
                *coefficient = reader.signed(precision)?;
            }
            residual(reader, &mut samples, order, size)?;
            predict(&mut samples, &coefficients[..order], shift as u32);
        }
        _ => return Err(FrameError("a subframe's kind is reserved")),
    }
    if wasted > 0 {
        for sample in &mut samples {
            *sample <<= wasted;
        }
    }
    Ok(samples)
}

fn warm_up(
    reader: &mut BitReader<'_>,
    samples: &mut Vec<i32>,
    count: usize,
    order: usize,
    bits: u32,
) -> Result<(), FrameError> {
    if count < order {
        return Err(FrameError("a predictor is longer than its block"));
    }
    for _ in 0..count {
        samples.push(reader.signed(bits)?);
    }
    Ok(())
}

/// Appends the residual, so that there are `size` numbers.
fn residual(
    reader: &mut BitReader<'_>,
    out: &mut Vec<i32>,
    order: usize,
    size: usize,
) -> Result<(), FrameError> {
    let (width, escape) = match reader.read(2)? {
        0 => (4, 15),
        1 => (5, 31),
        _ => return Err(FrameError("a residual's coding is reserved")),
    };
    let partition_order = reader.read(4)?;
    let partitions = 1_usize << partition_order;
    if !size.is_multiple_of(partitions) || size / partitions < order {
        return Err(FrameError("a residual's partitions do not fit the block"));
    }
    for partition in 0..partitions {
        let count = size / partitions - if partition == 0 { order } else { 0 };
        let parameter = reader.read(width)?;
        if parameter == escape {
            let bits = reader.read(5)?;
            for _ in 0..count {
                out.push(reader.signed(bits)?);
            }
        } else {
            for _ in 0..count {
                let high = reader.unary()?;
                let low = reader.read(parameter)?;
                let value = high.wrapping_shl(parameter) | low;
                out.push((value >> 1) as i32 ^ -((value & 1) as i32));
            }
        }
    }
    Ok(())
}

fn fixed(samples: &mut [i32], order: usize) {
    // Each pass of running sums undoes one difference.
    for pass in (0..order).rev() {
        // The running sum starts from the difference of order `pass` at the last warm-up sample.
        let mut differences: Vec<i32> = samples[..order].to_vec();
        for _ in 0..pass {
            differences = differences.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
        }
        let mut sum = differences.last().copied().unwrap_or(0);
        for sample in &mut samples[order..] {
            sum = sum.wrapping_add(*sample);
            *sample = sum;
        }
    }
}

fn predict(samples: &mut [i32], coefficients: &[i32], shift: u32) {
    let order = coefficients.len();
    for at in order..samples.len() {
        let (past, rest) = samples.split_at_mut(at);
        let sum: i64 = past[at - order..]
            .iter()
            .rev()
            .zip(coefficients)
            .map(|(sample, coefficient)| i64::from(*sample) * i64::from(*coefficient))
            .sum();
        rest[0] = rest[0].wrapping_add((sum >> shift) as i32);
    }
}
