//! What a track of pictures says of how they are to be shown.

use super::ebml::{self, Node};
use crate::frames::vp9::Key;
use crate::picture::Colour;

/// How pictures are to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Display {
    /// How wide a pixel is by how high.
    pub(crate) pixel: (u32, u32),
    /// Nanoseconds from one picture to the next, when it is said.
    pub(crate) step: Option<u64>,
    /// By the numbers of ISO/IEC 23091-2.
    matrix: Option<u64>,
    transfer: Option<u64>,
    /// 1 is studio range, 2 full range.
    range: Option<u64>,
    /// Whether there is more than one picture at a time, or part of it is seen through.
    several: bool,
}

/// The whole shape of pixels that is told by the sizes shown and coded.
fn pixel(video: &Node) -> Option<(u32, u32)> {
    let (coded, shown) = (
        (
            video.unsigned(ebml::PIXEL_WIDTH)?,
            video.unsigned(ebml::PIXEL_HEIGHT)?,
        ),
        (
            video.unsigned(ebml::DISPLAY_WIDTH)?,
            video.unsigned(ebml::DISPLAY_HEIGHT)?,
        ),
    );
    let (wide, high) = (shown.0.checked_mul(coded.1)?, shown.1.checked_mul(coded.0)?);
    let (mut divisor, mut rest) = (wide, high);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    let small = |side: u64| {
        let side = u32::try_from(side / divisor.max(1)).ok()?;
        (1..1 << 16).contains(&side).then_some(side)
    };
    // Sizes shown are whole numbers: what is that near to square is meant to be it.
    let near = wide.abs_diff(high) <= wide.max(high) / coded.0.min(coded.1).max(1);
    if near {
        return Some((1, 1));
    }
    Some((small(wide)?, small(high)?))
}

impl Display {
    /// Of the entry of a track of pictures.
    pub(super) fn read(entry: &Node) -> Self {
        let video = entry.all(ebml::VIDEO).next();
        let colour = video.and_then(|video| video.all(ebml::COLOUR).next());
        let of_colour = |id| colour.and_then(|colour| colour.unsigned(id));
        let of_video = |id| video.and_then(|video| video.unsigned(id)).unwrap_or(0);
        Self {
            pixel: video.and_then(pixel).unwrap_or((1, 1)),
            step: entry.unsigned(ebml::DEFAULT_DURATION).filter(|step| *step > 0),
            matrix: of_colour(ebml::MATRIX),
            transfer: of_colour(ebml::TRANSFER),
            range: of_colour(ebml::RANGE),
            several: of_video(ebml::ALPHA_MODE) > 0 || of_video(ebml::STEREO_MODE) > 0,
        }
    }

    /// How colours are told, and whether in full range; or why no ads can be put among such pictures. What the file says goes before what its pictures do.
    pub(crate) fn colours(&self, key: &Key) -> Result<(Colour, bool), String> {
        if self.several {
            return Err("it is in three dimensions or can be seen through".into());
        }
        if key.profile != 0 {
            return Err(format!(
                "its VP9 profile is {}, and ads can be put into profile 0 (4:2:0 of eight bits)",
                key.profile
            ));
        }
        if matches!(self.transfer, Some(16 | 18)) {
            return Err("its colours are HDR, and ads are not made in HDR".into());
        }
        // 2 does not tell.
        let colour = match (self.matrix.filter(|matrix| *matrix != 2), key.colour) {
            (Some(1), _) | (None, 2) => Colour::Bt709,
            (Some(5..=7), _) | (None, 1 | 3 | 4) => Colour::Bt601,
            (Some(9 | 10), _) | (None, 5) => return Err("its colours are those of BT.2020".into()),
            // Nothing useful is told: players go by the size.
            _ if key.height >= 720 || key.width >= 1280 => Colour::Bt709,
            _ => Colour::Bt601,
        };
        let full_range = match self.range {
            Some(1) => false,
            Some(2) => true,
            _ => key.full_range,
        };
        Ok((colour, full_range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebml::{element, unsigned_element};

    fn entry(video: &[(u32, u64)], colour: &[(u32, u64)]) -> Display {
        let written = |values: &[(u32, u64)]| -> Vec<u8> {
            values
                .iter()
                .flat_map(|(id, value)| unsigned_element(*id, *value))
                .collect()
        };
        let body = [written(video), element(ebml::COLOUR, &written(colour))].concat();
        Display::read(&Node::parse(ebml::TRACK_ENTRY, &element(ebml::VIDEO, &body)).unwrap())
    }

    const KEY: Key = Key {
        profile: 0,
        width: 720,
        height: 576,
        colour: 2,
        full_range: false,
    };

    #[test]
    fn pixels_have_the_shape_that_the_sizes_tell() {
        for (coded, shown, shape) in [
            ((720, 576), Some((1024, 576)), (64, 45)),
            ((1280, 720), Some((1280, 720)), (1, 1)),
            ((1280, 720), None, (1, 1)),
            // As an aspect, and one that had to be rounded.
            ((1440, 1080), Some((16, 9)), (4, 3)),
            ((854, 480), Some((16, 9)), (1, 1)),
        ] {
            let mut sizes = vec![(ebml::PIXEL_WIDTH, coded.0), (ebml::PIXEL_HEIGHT, coded.1)];
            if let Some(shown) = shown {
                sizes.extend([(ebml::DISPLAY_WIDTH, shown.0), (ebml::DISPLAY_HEIGHT, shown.1)]);
            }
            assert_eq!(entry(&sizes, &[]).pixel, shape, "{coded:?} {shown:?}");
        }
    }

    #[test]
    fn colours_are_told_or_refused() {
        assert_eq!(entry(&[], &[]).colours(&KEY), Ok((Colour::Bt709, false)));
        let told = entry(&[], &[(ebml::MATRIX, 6), (ebml::RANGE, 2)]);
        assert_eq!(told.colours(&KEY), Ok((Colour::Bt601, true)));
        let unknown = Key { colour: 0, ..KEY };
        assert_eq!(entry(&[], &[]).colours(&unknown), Ok((Colour::Bt601, false)));
        for (video, colour, key, says) in [
            (vec![], vec![(ebml::TRANSFER, 16)], KEY, "HDR"),
            (vec![], vec![], Key { profile: 2, ..KEY }, "profile is 2"),
            (vec![], vec![], Key { colour: 5, ..KEY }, "BT.2020"),
            (vec![(ebml::ALPHA_MODE, 1)], vec![], KEY, "seen through"),
        ] {
            let error = entry(&video, &colour).colours(&key).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
