//! H.264 (ITU-T H.264, ISO/IEC 14496-15): parameter sets, and what kinds of slices an access unit holds. Pure; nothing is decoded.

use std::collections::BTreeSet;

use h264_reader::nal::sps::{ChromaFormat, FrameMbsFlags, SeqParameterSet};
use h264_reader::nal::{Nal, RefNal};

use crate::picture::{Colour, H264Profile};

/// Types of NAL units.
const SLICE: u8 = 1;
const IDR: u8 = 5;
const INFORMATION: u8 = 6;
const SEQUENCE_SET: u8 = 7;
const PICTURE_SET: u8 = 8;
const DELIMITER: u8 = 9;
const FILLER: u8 = 12;

/// The decoder configuration of a track (`avcC`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sets {
    /// Version, profile, compatibility, level.
    head: [u8; 4],
    /// Bytes of the length before each NAL unit.
    pub(crate) length_size: u8,
    pub(crate) sequence: Vec<Vec<u8>>,
    pub(crate) picture: Vec<Vec<u8>>,
    /// What stands after the sets.
    tail: Vec<u8>,
}

/// What the content's pictures are like, as far as ads have to be like them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) pixel: (u32, u32),
    pub(crate) profile: H264Profile,
    pub(crate) colour: Colour,
    pub(crate) full_range: bool,
}

/// What a file tells of pictures, as far as it does. The shape of a pixel counts before what the pictures tell, as players have it; colours where
/// the pictures tell nothing, but for HDR, which is heeded wherever it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Primaries, transfer and matrix by the numbers of ISO/IEC 23091-2.
    pub(crate) colour: Option<(u8, u8, u8)>,
    pub(crate) full_range: Option<bool>,
    pub(crate) pixel: Option<(u32, u32)>,
}

impl Sets {
    pub(crate) fn parse(avcc: &[u8]) -> Result<Self, String> {
        Self::read(avcc).ok_or_else(|| "its decoder configuration makes no sense".into())
    }

    fn read(avcc: &[u8]) -> Option<Self> {
        let ([head @ .., length, count], mut rest) = avcc.split_first_chunk::<6>()?;
        let sequence = take_sets(&mut rest, count & 0x1F)?;
        let (count, after) = rest.split_first()?;
        rest = after;
        let picture = take_sets(&mut rest, *count)?;
        Some(Self {
            head: *head,
            length_size: (length & 3) + 1,
            sequence,
            picture,
            tail: rest.to_vec(),
        })
    }

    /// The numbers that sequence and picture parameter sets go by.
    pub(crate) fn numbers(&self) -> Result<(BTreeSet<u8>, BTreeSet<u8>), String> {
        let missing = || "a parameter set has no number".to_owned();
        let number = |bytes: Option<&[u8]>| {
            bytes
                .and_then(exp_golomb)
                .and_then(|number| u8::try_from(number).ok())
                .ok_or_else(missing)
        };
        // Profile, compatibility and level come first in a sequence parameter set.
        let sequence = self.sequence.iter().map(|set| number(set.get(4..)));
        let picture = self.picture.iter().map(|set| number(set.get(1..)));
        Ok((
            sequence.collect::<Result<_, _>>()?,
            picture.collect::<Result<_, _>>()?,
        ))
    }

    /// Adds the sets of an ad. The decoder has to be able to do what either asks for.
    pub(crate) fn add(&mut self, sequence: &[u8], picture: &[u8]) {
        if !self.sequence.iter().any(|set| set == sequence) {
            self.sequence.push(sequence.to_vec());
        }
        if !self.picture.iter().any(|set| set == picture) {
            self.picture.push(picture.to_vec());
        }
        self.head[3] = self.head[3].max(sequence.get(3).copied().unwrap_or(0));
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = self.head.to_vec();
        out.push(0xFC | (self.length_size - 1));
        // Counts and lengths were read from such fields; ads add one each.
        out.push(0xE0 | (self.sequence.len() as u8 & 0x1F));
        let put = |out: &mut Vec<u8>, set: &[u8]| {
            out.extend((set.len() as u16).to_be_bytes());
            out.extend(set);
        };
        self.sequence.iter().for_each(|set| put(&mut out, set));
        out.push(self.picture.len() as u8);
        self.picture.iter().for_each(|set| put(&mut out, set));
        out.extend(&self.tail);
        out
    }
}

fn take_sets(rest: &mut &[u8], count: u8) -> Option<Vec<Vec<u8>>> {
    let one = |_| {
        let (len, after) = rest.split_first_chunk::<2>()?;
        let (set, after) = after.split_at_checked(u16::from_be_bytes(*len).into())?;
        *rest = after;
        (!set.is_empty()).then(|| set.to_vec())
    };
    (0..count).map(one).collect()
}

/// The first unsigned Exp-Golomb number of a bit string; those of sets are so small that no emulation prevention can stand before them.
fn exp_golomb(bytes: &[u8]) -> Option<u32> {
    let mut bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |i| u32::from(byte >> i & 1)));
    let zeros = bits.by_ref().take(17).position(|bit| bit == 1)?;
    let (value, count) = bits
        .take(zeros)
        .fold((0, 0), |(value, count), bit| (value << 1 | bit, count + 1));
    (count == zeros).then_some((1 << zeros) - 1 + value)
}

/// What all sequence parameter sets, and what is `told` beside them, agree on.
pub(crate) fn describe(sets: &Sets, told: &Told) -> Result<Description, String> {
    let mut found = None;
    for set in &sets.sequence {
        let described = describe_one(set, told)?;
        if found.is_some_and(|found| found != described) {
            return Err("it changes its size or profile".into());
        }
        found = Some(described);
    }
    found.ok_or_else(|| "it has no parameter sets".into())
}

fn describe_one(set: &[u8], outside: &Told) -> Result<Description, String> {
    let sps = SeqParameterSet::from_bits(RefNal::new(set, &[], true).rbsp_bits())
        .map_err(|error| format!("a parameter set makes no sense ({error:?})"))?;
    let profile = match sps.profile_idc.into() {
        66_u8 => H264Profile::Baseline,
        77 => H264Profile::Main,
        100 => H264Profile::High,
        other => {
            let name = match other {
                88 => "Extended".to_owned(),
                110 => "High 10 (ten bits)".to_owned(),
                122 => "High 4:2:2".to_owned(),
                244 => "High 4:4:4 Predictive".to_owned(),
                other => format!("number {other}"),
            };
            return Err(format!(
                "its H.264 profile is {name}, and ads can be put into Baseline, Main and High (4:2:0 of eight bits)"
            ));
        }
    };
    let eight_bit =
        sps.chroma_info.bit_depth_luma_minus8 == 0 && sps.chroma_info.bit_depth_chroma_minus8 == 0;
    if sps.chroma_info.chroma_format != ChromaFormat::YUV420 || !eight_bit {
        return Err("its pictures are not 4:2:0 of eight bits".into());
    }
    if sps.frame_mbs_flags != FrameMbsFlags::Frames {
        return Err("it is interlaced".into());
    }
    let (width, height) = sps
        .pixel_dimensions()
        .map_err(|error| format!("its size makes no sense ({error:?})"))?;
    if width % 2 == 1 || height % 2 == 1 || !(16..=8192).contains(&width) || !(16..=8192).contains(&height) {
        return Err(format!("its size is {width}x{height}"));
    }
    let vui = sps.vui_parameters.as_ref();
    let own = vui
        .and_then(|vui| vui.aspect_ratio_info.as_ref())
        .and_then(h264_reader::nal::sps::AspectRatioInfo::get)
        .map(|(wide, high)| (wide.into(), high.into()));
    let pixel = [outside.pixel, own]
        .into_iter()
        .flatten()
        .find(|(wide, high)| (1..1 << 16).contains(wide) && (1..1 << 16).contains(high))
        .unwrap_or((1, 1));
    let signal = vui.and_then(|vui| vui.video_signal_type.as_ref());
    let told = signal
        .and_then(|signal| signal.colour_description.as_ref())
        .map(|told| {
            (
                told.colour_primaries,
                told.transfer_characteristics,
                told.matrix_coefficients,
            )
        })
        .filter(|told| *told != (2, 2, 2))
        .or(outside.colour);
    if [told, outside.colour]
        .iter()
        .any(|told| matches!(told, Some((_, 16 | 18, _))))
    {
        return Err("its colours are HDR, and ads are not made in HDR".into());
    }
    // Where nothing is told players go by the size.
    let by_size = if height >= 720 || width >= 1280 {
        Colour::Bt709
    } else {
        Colour::Bt601
    };
    let colour = told
        .and_then(|(primaries, transfer, matrix)| Colour::told(primaries, transfer, matrix))
        .unwrap_or(by_size);
    Ok(Description {
        width,
        height,
        pixel,
        profile,
        colour,
        full_range: signal.map_or(outside.full_range == Some(true), |signal| {
            signal.video_full_range_flag
        }),
    })
}

/// The NAL units of an access unit as MP4 has it; an item is `None` where it makes no sense.
fn units(mut unit: &[u8], length_size: u8) -> impl Iterator<Item = Option<&[u8]>> {
    let size = usize::from(length_size);
    std::iter::from_fn(move || {
        if unit.is_empty() {
            return None;
        }
        let split = unit.split_at_checked(size).and_then(|(len, rest)| {
            let len = len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
            rest.split_at_checked(len)
        });
        let (found, rest) = split.map_or((None, &[][..]), |(found, rest)| (Some(found), rest));
        unit = rest;
        Some(found)
    })
}

fn kind(nal: &[u8]) -> Option<u8> {
    nal.first().map(|byte| byte & 0x1F)
}

/// The size that a parameter set within a sample tells, with lengths of four bytes; `None` when there is none, or it makes no sense. `head` may end before the sample does.
pub(crate) fn size_within(head: &[u8]) -> Option<(u32, u32)> {
    let set = units(head, 4)
        .flatten()
        .find(|nal| kind(nal) == Some(SEQUENCE_SET))?;
    let told = describe_one(set, &Told::default()).ok()?;
    Some((told.width, told.height))
}

/// Whether the picture that a sample holds from here on is an IDR picture. `Err` says how many bytes on the next unit is, when `head` ends before a slice is seen.
pub(crate) fn is_idr(head: &[u8], length_size: u8) -> Result<bool, u64> {
    let (mut at, mut passed) = (head, 0);
    let size = usize::from(length_size);
    while let Some((len, rest)) = at.split_at_checked(size) {
        match rest.first().map(|byte| byte & 0x1F) {
            Some(IDR) => return Ok(true),
            Some(SLICE) => return Ok(false),
            None => break,
            Some(_) => {
                let len = len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
                passed += (size + len) as u64;
                at = rest.get(len..).unwrap_or_default();
            }
        }
    }
    Err(passed)
}

/// Appends of an access unit with lengths of four bytes its slices alone, and says whether they are an IDR picture's. `None` when there is anything in it that is neither slices nor known to be needless.
pub(crate) fn slices_only(unit: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    let (mut idr, mut slices) = (0, 0);
    for nal in units(unit, 4) {
        let nal = nal?;
        match kind(nal)? {
            found @ (SLICE | IDR) => {
                slices += 1;
                idr += u32::from(found == IDR);
                out.extend((nal.len() as u32).to_be_bytes());
                out.extend(nal);
            }
            INFORMATION | SEQUENCE_SET | PICTURE_SET | DELIMITER | FILLER => {}
            _ => return None,
        }
    }
    (slices > 0 && (idr == 0 || idr == slices)).then_some(idr > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 320x180, High, as x264 writes it.
    const SEQUENCE: &[u8] = &[
        0x67, 0x64, 0x00, 0x0c, 0xac, 0xd9, 0x41, 0x41, 0x9f, 0x9f, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10,
        0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x42, 0x99, 0x60,
    ];
    const PICTURE: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];

    fn avcc() -> Vec<u8> {
        let mut out = vec![1, 0x64, 0, 12, 0xFF, 0xE1];
        out.extend((SEQUENCE.len() as u16).to_be_bytes());
        out.extend(SEQUENCE);
        out.push(1);
        out.extend((PICTURE.len() as u16).to_be_bytes());
        out.extend(PICTURE);
        out.extend([0xFD, 0xF8, 0xF8, 0]);
        out
    }

    #[test]
    fn sets_are_written_as_they_were_read_and_others_stand_beside_them() {
        let mut sets = Sets::parse(&avcc()).unwrap();
        assert_eq!(sets.write(), avcc());
        assert_eq!(sets.numbers().unwrap(), ([0].into(), [0].into()));
        let other = [&SEQUENCE[..3], &[31], &SEQUENCE[4..]].concat();
        sets.add(&other, PICTURE);
        let again = Sets::parse(&sets.write()).unwrap();
        assert_eq!((again.sequence.len(), again.picture.len()), (2, 1));
        assert_eq!(again.head[3], 31);
        assert_eq!(again.tail, [0xFD, 0xF8, 0xF8, 0]);
    }

    #[test]
    fn numbers_are_exp_golomb() {
        for (bytes, number) in [
            (&[0x80][..], Some(0)),
            (&[0x40], Some(1)),
            (&[0x60], Some(2)),
            (&[0x04, 0x00], Some(31)),
            (&[0x00], None),
            (&[], None),
        ] {
            assert_eq!(exp_golomb(bytes), number, "{bytes:?}");
        }
    }

    #[test]
    fn only_slices_are_kept() {
        let unit =
            |kinds: &[u8]| -> Vec<u8> { kinds.iter().flat_map(|kind| [0, 0, 0, 2, *kind, 7]).collect() };
        let kept = |unit: &[u8]| {
            let mut out = Vec::new();
            slices_only(unit, &mut out).map(|idr| (out, idr))
        };
        assert_eq!(kept(&unit(&[9, 6, 0x65])), Some((unit(&[0x65]), true)));
        assert_eq!(kept(&unit(&[0x41, 0x41])), Some((unit(&[0x41, 0x41]), false)));
        assert_eq!(kept(&unit(&[0x41, 0x65])), None);
        assert_eq!(kept(&unit(&[9])), None);
        assert_eq!(kept(&unit(&[0x74])), None);
        assert_eq!(kept(&unit(&[0x41])[..5]), None);
        assert_eq!(is_idr(&unit(&[9, 6, 0x65]), 4), Ok(true));
        assert_eq!(is_idr(&unit(&[9, 0x65])[..11], 4), Ok(true));
        assert_eq!(is_idr(&unit(&[6, 0x41]), 4), Ok(false));
        // A unit that is longer than what was read.
        let long = [&[0, 0, 0x13, 0x88, 6][..], &[0; 4999], &[0, 0, 0, 2, 0x65, 7]].concat();
        assert_eq!(is_idr(&long[..4096], 4), Err(5004));
        assert_eq!(is_idr(&long[5004..], 4), Ok(true));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100), size in 1_u8..5) {
            if let Ok(sets) = Sets::parse(&bytes) {
                let _ = (describe(&sets, &Told::default()), sets.numbers(), sets.write());
            }
            let _ = (is_idr(&bytes, size), slices_only(&bytes, &mut Vec::new()));
        }
    }
}
