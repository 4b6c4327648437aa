//! What a program and its coding child tell each other over pipes: messages of a number, a description in JSON, and bytes. Pure but for the reading and writing.
//!
//! Whoever reads takes nothing on trust: memory grows as bytes come, and lengths have bounds.

use std::borrow::Cow;
use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::task::Media;

/// The longest description.
const MOST_DESCRIBED: u64 = 64 << 20;
/// The most that goes with one.
const MOST_BYTES: u64 = 4 << 30;

/// How large a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Most {
    /// Packets, or clips.
    pub(super) parts: u64,
    /// Of all of them.
    pub(super) bytes: u64,
}

impl Most {
    /// A description alone.
    pub(super) const NOTHING: Self = Self { parts: 0, bytes: 0 };
    /// As large as one can be.
    pub(super) const ALL: Self = Self {
        parts: u64::MAX,
        bytes: MOST_BYTES,
    };

    /// How long a description may be: it says how long each part is, or why there are none.
    fn described(self) -> u64 {
        let lengths = self.parts.saturating_mul(24);
        lengths.saturating_add(64 << 10).min(MOST_DESCRIBED)
    }
}
/// Samples that are turned into bytes, or back, at once.
const AT_ONCE: usize = 16 << 10;

/// How media are laid out behind a description: how long each part is.
#[derive(Debug, Serialize, Deserialize)]
enum Shape {
    /// In bytes.
    Packets(Vec<u64>),
    /// In samples.
    Samples(Vec<u64>),
    Nothing,
}

#[derive(Serialize, Deserialize)]
struct Described<T> {
    what: T,
    shape: Shape,
}

/// Writes a message.
pub(super) fn write<T: Serialize>(
    out: &mut impl Write,
    number: u64,
    what: &T,
    media: Option<&Media<'_>>,
) -> io::Result<()> {
    let lengths = |lengths: &mut dyn Iterator<Item = usize>| lengths.map(|len| len as u64).collect();
    let shape = match media {
        Some(Media::Packets(packets)) => Shape::Packets(lengths(&mut packets.iter().map(|p| p.len()))),
        Some(Media::Samples(clips)) => Shape::Samples(lengths(&mut clips.iter().map(|c| c.len()))),
        None => Shape::Nothing,
    };
    let described = serde_json::to_vec(&Described { what, shape })?;
    out.write_all(&number.to_le_bytes())?;
    out.write_all(&(described.len() as u64).to_le_bytes())?;
    out.write_all(&described)?;
    match media {
        Some(Media::Packets(packets)) => packets.iter().try_for_each(|packet| out.write_all(packet))?,
        Some(Media::Samples(clips)) => {
            let mut bytes = Vec::with_capacity(AT_ONCE * 4);
            for samples in clips.iter().flat_map(|clip| clip.chunks(AT_ONCE)) {
                bytes.clear();
                bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
                out.write_all(&bytes)?;
            }
        }
        None => {}
    }
    out.flush()
}

/// A message: its number, what it says, and what came with it.
pub(super) type Message<T> = (u64, T, Option<Media<'static>>);

/// Reads the next message; `None` at the end. `most` says how large the one with a number may be, and gives `None` for one that there should not be.
pub(super) fn read<T: DeserializeOwned>(
    input: &mut impl Read,
    most: impl FnOnce(u64) -> Option<Most>,
) -> io::Result<Option<Message<T>>> {
    let mut number = [0; 8];
    match input.read_exact(&mut number) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let number = u64::from_le_bytes(number);
    let Some(most) = most(number) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message that nobody waits for",
        ));
    };
    let mut len = [0; 8];
    input.read_exact(&mut len)?;
    let len = u64::from_le_bytes(len);
    if len > most.described() {
        return Err(too_long());
    }
    let Described { what, shape } = serde_json::from_slice(&part(input, len)?)?;
    let media = match shape {
        Shape::Packets(lengths) => {
            bounded(&lengths, 1, most)?;
            let packets = lengths.iter().map(|len| part(input, *len).map(Cow::Owned));
            Some(Media::Packets(packets.collect::<io::Result<_>>()?))
        }
        Shape::Samples(lengths) => {
            bounded(&lengths, 4, most)?;
            let clips = lengths.iter().map(|len| samples(input, *len).map(Cow::Owned));
            Some(Media::Samples(clips.collect::<io::Result<_>>()?))
        }
        Shape::Nothing => None,
    };
    Ok(Some((number, what, media)))
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message is too long")
}

fn bounded(lengths: &[u64], size: u64, most: Most) -> io::Result<()> {
    let all = lengths.iter().try_fold(0_u64, |sum, len| sum.checked_add(*len));
    match all.and_then(|all| all.checked_mul(size)) {
        Some(bytes) if bytes <= most.bytes.min(MOST_BYTES) && lengths.len() as u64 <= most.parts => Ok(()),
        _ => Err(too_long()),
    }
}

/// So many bytes.
fn part(input: &mut impl Read, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len.min(1 << 20) as usize);
    input.take(len).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == len {
        return Ok(bytes);
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// So many samples.
fn samples(input: &mut impl Read, count: u64) -> io::Result<Vec<f32>> {
    let mut samples = Vec::with_capacity(count.min(1 << 20) as usize);
    let mut bytes = vec![0; AT_ONCE.min(count as usize) * 4];
    let mut left = count;
    while left > 0 {
        let now = left.min(AT_ONCE as u64) as usize;
        input.read_exact(&mut bytes[..now * 4])?;
        samples.extend(
            bytes[..now * 4]
                .as_chunks()
                .0
                .iter()
                .copied()
                .map(f32::from_le_bytes),
        );
        left -= now as u64;
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_of(input: &mut &[u8]) -> io::Result<Option<Message<(String, usize)>>> {
        read(input, |_| Some(Most::ALL))
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let clip: Vec<f32> = (0..AT_ONCE + 5).map(|i| i as f32 / 7.0).collect();
        let packets = [vec![1, 2, 3], vec![], vec![9; 70_000]];
        let all = [
            Some(Media::of(&packets)),
            Some(Media::Samples(vec![
                Cow::Borrowed(&clip),
                Cow::Borrowed(&clip[..1]),
            ])),
            None,
        ];
        let mut written = Vec::new();
        for (number, media) in all.iter().enumerate() {
            write(&mut written, number as u64 + 7, &("said", number), media.as_ref()).unwrap();
        }
        let mut rest = &written[..];
        for (number, media) in all.iter().enumerate() {
            let read: Message<(String, usize)> = read(&mut rest, |_| Some(Most::ALL)).unwrap().unwrap();
            assert_eq!(read.0, number as u64 + 7);
            assert_eq!(read.1, ("said".to_owned(), number));
            assert_eq!(&read.2, media);
        }
        assert!(all_of(&mut rest).unwrap().is_none());
        for cut in [9, 20, 60, written.len() - 1] {
            let mut rest = &written[..cut];
            let ended =
                std::iter::repeat_with(|| all_of(&mut rest)).find(|read| !matches!(read, Ok(Some(_))));
            assert!(matches!(ended, Some(Err(_))), "cut at {cut}");
        }
    }

    #[test]
    fn lengths_that_nothing_follows_cost_no_memory() {
        for shape in [
            r#"{"Packets":[4000000000]}"#,
            r#"{"Samples":[1000000000]}"#,
            r#"{"Packets":[18446744073709551615,2]}"#,
        ] {
            let described = format!(r#"{{"what":0,"shape":{shape}}}"#);
            let mut message = 1_u64.to_le_bytes().to_vec();
            message.extend((described.len() as u64).to_le_bytes());
            message.extend(described.as_bytes());
            assert!(
                read::<u8>(&mut &message[..], |_| Some(Most::ALL)).is_err(),
                "{shape}"
            );
        }
        let endless = [&[0; 8][..], &[0xff; 8]].concat();
        assert!(read::<u8>(&mut &endless[..], |_| Some(Most::ALL)).is_err());
    }

    #[test]
    fn no_more_is_read_than_was_asked_for() {
        let packets = [vec![1, 2, 3], vec![4]];
        let samples = [0.5; 3];
        for (media, parts, bytes) in [
            (Some(Media::of(&packets)), 2, 4),
            (Some(Media::clip(&samples)), 1, 12),
            (None, 0, 0),
        ] {
            let mut message = Vec::new();
            write(&mut message, 9, &7, media.as_ref()).unwrap();
            let read = |parts, bytes| {
                let most = |number| (number == 9).then_some(Most { parts, bytes });
                read::<u8>(&mut &message[..], most).map(|read| read.unwrap().2)
            };
            assert_eq!(read(parts, bytes).unwrap(), media);
            if media.is_some() {
                assert!(read(parts, bytes - 1).is_err(), "{bytes} bytes");
                assert!(read(parts - 1, bytes).is_err(), "{parts} parts");
            }
        }
        let mut message = Vec::new();
        write(&mut message, 9, &"x".repeat(70_000), None).unwrap();
        let read = |most| read::<String>(&mut &message[..], |_| most);
        assert!(read(Some(Most::NOTHING)).is_err(), "a long description");
        assert!(read(None).is_err(), "nobody waits for it");
        assert!(read(Some(Most::ALL)).is_ok());
    }
}
