//! By how much players turn the content's pictures before they show them, as telephones record them: ads are fitted in as they are seen, and then turned the other way.

use serde::{Deserialize, Serialize};

/// How pictures are turned to be shown, clockwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Turn {
    /// They are shown as they are stored.
    #[default]
    None,
    /// By a quarter.
    Quarter,
    /// By half.
    Half,
    /// By three quarters.
    ThreeQuarters,
}

impl Turn {
    /// From the matrix of a track header (ISO/IEC 14496-12 §8.3.2): nine numbers of four bytes. What only scales or mirrors is no turn.
    pub(crate) fn of_matrix(matrix: &[u8]) -> Self {
        let part = |i: usize| {
            let bytes = matrix.get(4 * i..4 * i + 4)?;
            Some(i32::from_be_bytes(bytes.try_into().ok()?).signum())
        };
        match [part(0), part(1), part(3), part(4)] {
            [Some(0), Some(1), Some(-1), Some(0)] => Self::Quarter,
            [Some(-1), Some(0), Some(0), Some(-1)] => Self::Half,
            [Some(0), Some(-1), Some(1), Some(0)] => Self::ThreeQuarters,
            _ => Self::None,
        }
    }

    /// What turns it the other way, as GStreamer names it.
    pub(crate) fn back(self) -> &'static str {
        match self {
            Self::None => "identity",
            Self::Quarter => "90l",
            Self::Half => "180",
            Self::ThreeQuarters => "90r",
        }
    }

    /// Whether width and height are exchanged.
    pub(crate) fn is_sideways(self) -> bool {
        matches!(self, Self::Quarter | Self::ThreeQuarters)
    }

    /// A plane of this size, turned the other way.
    pub(crate) fn turn_back(self, plane: &[u8], (width, height): (usize, usize)) -> Vec<u8> {
        let at = |x: usize, y: usize| plane[y * width + x];
        match self {
            Self::None => plane.to_vec(),
            Self::Half => plane.iter().rev().copied().collect(),
            Self::Quarter => (0..width)
                .flat_map(|row| (0..height).map(move |column| at(width - 1 - row, column)))
                .collect(),
            Self::ThreeQuarters => (0..width)
                .flat_map(|row| (0..height).map(move |column| at(row, height - 1 - column)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_turned_the_other_way() {
        let plane = [1, 2, 3, 4, 5, 6];
        for (turn, turned) in [
            (Turn::None, [1, 2, 3, 4, 5, 6]),
            (Turn::Quarter, [3, 6, 2, 5, 1, 4]),
            (Turn::Half, [6, 5, 4, 3, 2, 1]),
            (Turn::ThreeQuarters, [4, 1, 5, 2, 6, 3]),
        ] {
            assert_eq!(turn.turn_back(&plane, (3, 2)), turned, "{turn:?}");
        }
    }

    #[test]
    fn turns_are_read_from_matrices() {
        let matrix = |a: i32, b: i32, c: i32, d: i32| {
            let parts = [a, b, 0, c, d, 0, 0, 0, 1 << 14];
            parts.map(|part| (part << 16).to_be_bytes()).concat()
        };
        for (bytes, turn) in [
            (matrix(1, 0, 0, 1), Turn::None),
            (matrix(0, 1, -1, 0), Turn::Quarter),
            (matrix(-1, 0, 0, -1), Turn::Half),
            (matrix(0, -1, 1, 0), Turn::ThreeQuarters),
            (matrix(-1, 0, 0, 1), Turn::None),
            (vec![0; 7], Turn::None),
        ] {
            assert_eq!(Turn::of_matrix(&bytes), turn);
        }
    }
}
