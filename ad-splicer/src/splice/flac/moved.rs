//! Frames of content under other numbers: made when they are read, since where each frame is was not looked at when they were laid out.
//!
//! A number takes more bytes the larger it is, so frames move by more and more; by how much follows from their own numbers. A read that begins within a frame has to find where that one does, and a frame's checksum is of all of it: so some more of the
//! content is read than is given.

use std::io;
use std::time::Duration;

use crate::content::Content;
use crate::frames::flac::{Header, MAX_HEADER, Numbering, end_of, frame_at, is_like, number_len, renumber};
use crate::frames::window::Window;
use crate::splice::SpliceError;

/// Frames of blocks of one size that follow each other, and what they are numbered by in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renumbered {
    /// Where the first one begins in the content.
    pub from: u64,
    /// How many bytes they are in the content.
    pub(crate) bytes: u64,
    /// How many they are.
    pub(crate) frames: u64,
    /// The first one's number,
    pub(crate) first: u64,
    /// and what it becomes;
    pub(crate) number: u64,
    /// the next ones' are by so much higher each.
    pub(crate) step: u64,
    pub(crate) numbering: Numbering,
    /// What their headers are like.
    pub(crate) like: Header,
}

/// So far before a place a frame is looked for, first and at last.
const BEFORE: [u64; 4] = [24 << 10, 96 << 10, 512 << 10, 4 << 20];
/// How much is made at once.
const AT_ONCE: usize = 256 << 10;
/// From here on numbers take one byte more each.
const LONGER: [u64; 6] = [1 << 7, 1 << 11, 1 << 16, 1 << 21, 1 << 26, 1 << 31];

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the FLAC frames are not what they were laid out from",
    )
}

/// How many bytes the first `count` of numbers take that grow in steps.
fn lengths(first: u64, step: u64, count: u64) -> u64 {
    let longer = |from: &u64| count - from.saturating_sub(first).div_ceil(step.max(1)).min(count);
    count + LONGER.iter().map(longer).sum::<u64>()
}

impl Renumbered {
    /// By how many bytes what follows the first `count` frames stands later than in the content.
    fn growth(&self, count: u64) -> i64 {
        // A header may be written in another way than it was.
        let own = self.like.len as i64 - number_len(self.like.number) as i64;
        let now = self.header(&self.like, 0);
        let written = now.write().len() as i64 - number_len(now.number) as i64;
        let numbers = lengths(self.number, self.step, count) as i64 - lengths(self.first, 1, count) as i64;
        numbers + count as i64 * (written - own)
    }

    /// Whether both hold the same as far as both go.
    pub(crate) fn begins_like(&self, other: &Self) -> bool {
        let whole = |run: &Self| Self {
            bytes: 0,
            frames: 0,
            ..*run
        };
        whole(self) == whole(other)
    }

    /// Whether nothing changes.
    pub(crate) fn is_as_it_was(&self) -> bool {
        let is_written_so = self.like.write().len() == self.like.len;
        is_written_so && (self.numbering, self.number, self.step) == (self.like.numbering, self.first, 1)
    }

    /// How many bytes they are in the result.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.saturating_add_signed(self.growth(self.frames))
    }

    /// Where in the result a frame begins that is at an offset of the content, from where the first one is.
    pub(crate) fn moved(&self, frame: u64, offset: u64) -> u64 {
        let before = frame.saturating_sub(self.first).min(self.frames);
        offset
            .saturating_sub(self.from)
            .saturating_add_signed(self.growth(before))
    }

    /// What the header becomes of the frame that is so many after the first.
    fn header(&self, header: &Header, after: u64) -> Header {
        Header {
            numbering: self.numbering,
            number: self.number + after * self.step,
            ..*header
        }
    }

    /// Reads some bytes from one of them on.
    pub(crate) fn read_at(
        &self,
        content: &dyn Content,
        within: u64,
        buffer: &mut [u8],
        deadline: Duration,
    ) -> io::Result<usize> {
        let most = (self.len() - within).min(buffer.len().min(AT_ONCE) as u64) as usize;
        let mut read = || -> Result<Option<usize>, SpliceError> {
            let (mut frame, mut offset) = self.frame_before(content, within, deadline)?;
            let mut window = Window::new(content, deadline);
            let end = self.from + self.bytes;
            let mut done = 0;
            while done < most {
                let after = frame - self.first;
                let header = Header::parse(window.get(offset, MAX_HEADER)?).ok();
                let as_due = |header: &Header| {
                    is_like(header, &self.like)
                        && header.number == frame
                        && header.len - number_len(frame) == self.like.len - number_len(self.like.number)
                };
                let Some(header) = header.filter(as_due) else {
                    return Ok(None);
                };
                // The last of them ends with the run.
                let Some((next, _)) = end_of(&mut window, end, offset, &header, 0)? else {
                    return Ok(None);
                };
                let bytes = window.get(offset, (next - offset) as usize)?;
                let (head, tail) = renumber(
                    bytes,
                    &self.header(&header, after),
                    self.number + after * self.step,
                );
                let mut at = self.moved(frame, offset);
                for part in [&head[..], &bytes[header.len..bytes.len() - 2], &tail] {
                    let skip = (within + done as u64).saturating_sub(at).min(part.len() as u64) as usize;
                    let count = (part.len() - skip).min(most - done);
                    buffer[done..done + count].copy_from_slice(&part[skip..skip + count]);
                    done += count;
                    at += part.len() as u64;
                }
                (frame, offset) = (frame + 1, next);
            }
            Ok(Some(done))
        };
        match read() {
            Ok(Some(count)) => Ok(count),
            Err(SpliceError::Read { source, .. }) => Err(source),
            Ok(None) | Err(_) => Err(damaged()),
        }
    }

    /// A frame that begins in the result at or before one of its bytes, and is near it.
    fn frame_before(
        &self,
        content: &dyn Content,
        within: u64,
        deadline: Duration,
    ) -> Result<(u64, u64), SpliceError> {
        let about = (u128::from(within) * u128::from(self.frames) / u128::from(self.len().max(1))) as u64;
        let place = (self.from + within).saturating_add_signed(-self.growth(about));
        for before in BEFORE {
            let from = place.saturating_sub(before);
            if from <= self.from {
                return Ok((self.first, self.from));
            }
            let until = self.from + self.bytes;
            let found = frame_at(content, deadline, &self.like, (from, until))?;
            let is_one = |(frame, _): &(u64, u64)| (self.first..self.first + self.frames).contains(frame);
            if let Some((frame, offset)) = found.filter(is_one)
                && self.moved(frame, offset) <= within
            {
                return Ok((frame, offset));
            }
        }
        Err(SpliceError::Corrupt { offset: place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::flac::{Index, head, parted};

    #[test]
    fn frames_are_what_each_of_them_becomes_wherever_one_begins_to_read() {
        let (bytes, frames) = parted::tests::file();
        let head = head(&bytes, Duration::ZERO).unwrap().unwrap();
        let index = Index::scan(&bytes, &head, Duration::ZERO).unwrap();
        let offset = |frame| index.offset(&bytes, Duration::ZERO, frame).unwrap();
        // Around places where numbers become longer.
        for (first, number, step, numbering) in [
            (0, 0, 576, Numbering::Sample),
            (100, (1 << 26) - 576 * 700, 576, Numbering::Sample),
            (2_000, 2_017, 1, Numbering::Frame),
            (130, 100, 1, Numbering::Frame),
        ] {
            let last = frames - 1;
            let run = Renumbered {
                from: offset(first),
                bytes: offset(last) - offset(first),
                frames: last - first,
                first,
                number,
                step,
                numbering,
                like: index.first,
            };
            let mut expected = Vec::new();
            for frame in first..last {
                assert_eq!(run.moved(frame, offset(frame)), expected.len() as u64, "{frame}");
                let frame_bytes = &bytes[offset(frame) as usize..offset(frame + 1) as usize];
                let header = Header {
                    numbering,
                    ..Header::parse(frame_bytes).unwrap()
                };
                let (head, tail) = renumber(frame_bytes, &header, number + (frame - first) * step);
                expected.extend(head);
                expected.extend(&frame_bytes[header.len..frame_bytes.len() - 2]);
                expected.extend(tail);
            }
            assert_eq!(run.len(), expected.len() as u64);
            let mut at = 0;
            while at < expected.len() {
                for len in [1, 7_000] {
                    let mut buffer = vec![0; len];
                    let count = run
                        .read_at(&bytes, at as u64, &mut buffer, Duration::ZERO)
                        .unwrap();
                    assert!(count > 0);
                    assert_eq!(buffer[..count], expected[at..at + count], "{at}");
                }
                at += 9_973;
            }
        }
    }

    #[test]
    fn other_frames_than_were_laid_out_are_an_error() {
        let (mut bytes, frames) = parted::tests::file();
        let head = head(&bytes, Duration::ZERO).unwrap().unwrap();
        let index = Index::scan(&bytes, &head, Duration::ZERO).unwrap();
        let offset = |frame| index.offset(&bytes, Duration::ZERO, frame).unwrap();
        let run = Renumbered {
            from: offset(0),
            bytes: offset(frames - 1) - offset(0),
            frames: frames - 1,
            first: 0,
            number: 0,
            step: 576,
            numbering: Numbering::Sample,
            like: index.first,
        };
        bytes[100_000..500_000].fill(0xFF);
        let read = run.read_at(&bytes, 300_000, &mut [0; 10], Duration::ZERO);
        assert_eq!(
            read.map_err(|error| error.kind()),
            Err(io::ErrorKind::InvalidData)
        );
    }
}
