//! Drawing a card: a dark blue field with a name in the middle. Pure.

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};

use super::Turn;

/// Pixels of a letter, in both directions.
const LETTER: usize = 8;
/// Letters of a name that are drawn.
const MOST_LETTERS: usize = 48;
/// Brightness and colour of the field, brightness of letters, in studio range.
const FIELD: (u8, u8, u8) = (40, 150, 118);
const INK: u8 = 225;

/// The three planes (I420) of a card of this size, whose sides are even, stored so that the name is seen upright when they are turned. Lines are of whole words of four bytes, as GStreamer takes them.
pub(super) fn draw((width, height): (usize, usize), name: &str, turn: Turn) -> Vec<u8> {
    let seen = if turn.is_sideways() {
        (height, width)
    } else {
        (width, height)
    };
    let brightness = turn.turn_back(&write(seen, name), seen);
    let padding = width.next_multiple_of(4) - width;
    let mut planes = Vec::with_capacity((width + padding) * height * 2);
    for line in brightness.chunks_exact(width) {
        planes.extend_from_slice(line);
        planes.extend(std::iter::repeat_n(FIELD.0, padding));
    }
    let colours = (width / 2).next_multiple_of(4) * (height / 2);
    planes.extend(std::iter::repeat_n(FIELD.1, colours));
    planes.extend(std::iter::repeat_n(FIELD.2, colours));
    planes
}

/// The brightness of a card of this size.
fn write((width, height): (usize, usize), name: &str) -> Vec<u8> {
    let mut plane = vec![FIELD.0; width * height];
    let letters: Vec<[u8; LETTER]> = name
        .chars()
        .filter(|letter| !letter.is_control())
        .take(MOST_LETTERS)
        .map(|letter| {
            let known = BASIC_FONTS.get(letter).or_else(|| LATIN_FONTS.get(letter));
            known.or_else(|| BASIC_FONTS.get('?')).unwrap_or_default()
        })
        .collect();
    // Four fifths of the width, and an eighth of the height.
    let fits = (width * 4 / 5) / (LETTER * letters.len().max(1));
    let scale = fits.min(height / (8 * LETTER)).max(1);
    let left = width.saturating_sub(letters.len() * LETTER * scale) / 2;
    let top = height.saturating_sub(LETTER * scale) / 2;
    for (i, letter) in letters.iter().enumerate() {
        for (y, row) in letter.iter().enumerate() {
            for x in (0..LETTER).filter(|x| row >> x & 1 == 1) {
                let from = left + (i * LETTER + x) * scale;
                for line in top + y * scale..(top + (y + 1) * scale).min(height) {
                    let (from, to) = (from.min(width), (from + scale).min(width));
                    plane[line * width + from..line * width + to].fill(INK);
                }
            }
        }
    }
    plane
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_the_middle_and_never_beside_the_card() {
        for (width, height, name) in [
            (320, 180, "Acme"),
            (16, 16, "A name that is far too long for such a card"),
            (1920, 1080, ""),
            (64, 64, "\u{1F600}\n\u{e9}"),
        ] {
            let planes = draw((width, height), name, Turn::None);
            assert_eq!(planes.len(), width * height * 3 / 2);
        }
        assert_eq!(
            draw((854, 480), "Acme", Turn::None).len(),
            856 * 480 + 2 * 428 * 240
        );
        assert_eq!(
            draw((426, 240), "Acme", Turn::None).len(),
            428 * 240 + 2 * 216 * 120
        );
        assert_eq!(
            draw((180, 320), "A", Turn::Quarter).len(),
            180 * 320 + 2 * 92 * 160
        );
        let planes = draw((320, 180), "HHH", Turn::None);
        let inked = |row: usize| planes[row * 320..(row + 1) * 320].contains(&INK);
        assert!(inked(90) && !inked(10) && !inked(170));
        let first = planes.iter().position(|pixel| *pixel == INK).unwrap() % 320;
        assert!((100..160).contains(&first), "{first}");
    }
}
