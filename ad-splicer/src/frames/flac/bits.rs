//! Reading and writing bits, most significant first.

use super::FrameError;

/// Reads bits from a slice.
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Next byte to take into `held`.
    at: usize,
    /// The next bits, at the top.
    held: u64,
    /// How many of them are real.
    count: u32,
}

const SHORT: FrameError = FrameError("it ends early");

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            held: 0,
            count: 0,
        }
    }

    fn fill(&mut self) {
        if let Some(word) = self.bytes.get(self.at..self.at + 8)
            && self.count <= 32
        {
            let word = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
            self.held |= u64::from(word) << (32 - self.count);
            self.count += 32;
            self.at += 4;
        }
        while self.count <= 56 {
            let Some(byte) = self.bytes.get(self.at) else {
                return;
            };
            self.held |= u64::from(*byte) << (56 - self.count);
            self.count += 8;
            self.at += 1;
        }
    }

    /// The next `bits` (at most 32) as a number.
    pub(crate) fn read(&mut self, bits: u32) -> Result<u32, FrameError> {
        if bits == 0 {
            return Ok(0);
        }
        if self.count < bits {
            self.fill();
            if self.count < bits {
                return Err(SHORT);
            }
        }
        let value = (self.held >> (64 - bits)) as u32;
        self.held <<= bits;
        self.count -= bits;
        Ok(value)
    }

    /// The next `bits` (at most 32) as a signed number.
    pub(crate) fn signed(&mut self, bits: u32) -> Result<i32, FrameError> {
        if bits == 0 {
            return Ok(0);
        }
        let value = self.read(bits)?;
        Ok((value << (32 - bits)) as i32 >> (32 - bits))
    }

    /// How many zeros come before the next one; the one is taken too.
    pub(crate) fn unary(&mut self) -> Result<u32, FrameError> {
        let mut zeros = 0;
        loop {
            if self.count == 0 {
                self.fill();
                if self.count == 0 {
                    return Err(SHORT);
                }
            }
            let leading = self.held.leading_zeros();
            if leading < self.count {
                self.held <<= leading;
                self.held <<= 1;
                self.count -= leading + 1;
                return Ok(zeros + leading);
            }
            zeros += self.count;
            self.held = 0;
            self.count = 0;
        }
    }

    /// Bytes taken so far, an incomplete one counted whole.
    pub(crate) fn position(&self) -> usize {
        self.at - (self.count / 8) as usize
    }
}

/// Writes bits into a vector.
#[derive(Debug)]
pub(crate) struct BitWriter {
    pub(crate) bytes: Vec<u8>,
    held: u64,
    count: u32,
}

impl BitWriter {
    /// Goes on after whole bytes.
    pub(crate) fn after(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            held: 0,
            count: 0,
        }
    }

    /// Appends the lowest `bits` (at most 32) of `value`.
    pub(crate) fn write(&mut self, value: u32, bits: u32) {
        if bits == 0 {
            return;
        }
        let value = u64::from(value) & ((1 << bits) - 1);
        self.held = self.held << bits | value;
        self.count += bits;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.held >> self.count) as u8);
        }
    }

    pub(crate) fn signed(&mut self, value: i32, bits: u32) {
        self.write(value as u32, bits);
    }

    /// Appends so many zeros and a one.
    pub(crate) fn unary(&mut self, mut zeros: u32) {
        while zeros >= 32 {
            self.write(0, 32);
            zeros -= 32;
        }
        self.write(1, zeros + 1);
    }

    /// Fills the last byte with zeros.
    pub(crate) fn align(&mut self) {
        let missing = self.count.wrapping_neg() % 8;
        self.write(0, missing);
    }
}
