//! How colours are told: by the numbers of ISO/IEC 23091-2, as content has them, and by GStreamer's.

use serde::{Deserialize, Serialize};

/// How colours are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Colour {
    /// BT.601, as standard definition has it.
    Bt601,
    /// BT.709.
    Bt709,
    /// Anything else, by the numbers of ISO/IEC 23091-2; 2 where something is not told.
    Other {
        /// ColourPrimaries.
        primaries: u8,
        /// TransferCharacteristics.
        transfer: u8,
        /// MatrixCoefficients.
        matrix: u8,
    },
}

impl Colour {
    /// From the three numbers that content tells; `None` when it tells none of them.
    pub(crate) fn told(primaries: u8, transfer: u8, matrix: u8) -> Option<Self> {
        match (primaries, transfer, matrix) {
            (2, 2, 2) => None,
            (1, 1, 1) => Some(Self::Bt709),
            (6, 6, 6) => Some(Self::Bt601),
            _ => Some(Self::Other {
                primaries,
                transfer,
                matrix,
            }),
        }
    }

    /// Primaries, transfer and matrix.
    fn numbers(self) -> [u8; 3] {
        match self {
            Self::Bt601 => [6, 6, 6],
            Self::Bt709 => [1, 1, 1],
            Self::Other {
                primaries,
                transfer,
                matrix,
            } => [primaries, transfer, matrix],
        }
    }

    /// What conditioned pictures are named by.
    pub(crate) fn key(self) -> String {
        let [primaries, transfer, matrix] = self.numbers();
        format!("{primaries}.{transfer}.{matrix}")
    }

    /// As GStreamer writes it: range, matrix, transfer and primaries by its own numbers, 0 for what it does not know.
    pub(crate) fn colorimetry(self, full_range: bool) -> String {
        let [primaries, transfer, matrix] = self.numbers();
        let range = if full_range { 1 } else { 2 };
        let matrix = match matrix {
            1 => 3,
            4 => 2,
            5 | 6 => 4,
            7 => 5,
            9 | 10 => 6,
            _ => 0,
        };
        let transfer = match transfer {
            1 => 5,
            4 => 4,
            5 => 8,
            6 => 16,
            7 => 6,
            8 => 1,
            9 => 9,
            10 => 10,
            13 => 7,
            14 => 13,
            15 => 11,
            _ => 0,
        };
        let primaries = match primaries {
            1 => 1,
            4 => 2,
            5 => 3,
            6 => 4,
            7 => 5,
            8 => 6,
            9 => 7,
            10 => 9,
            11 => 10,
            12 => 11,
            22 => 12,
            _ => 0,
        };
        match (range, matrix, transfer, primaries) {
            (2, 3, 5, 1) => "bt709".to_owned(),
            (2, 4, 16, 4) => "bt601".to_owned(),
            _ => format!("{range}:{matrix}:{transfer}:{primaries}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_s_numbers_become_those_of_gstreamer() {
        for (told, written) in [
            ((1, 1, 1), "bt709"),
            ((6, 6, 6), "bt601"),
            ((9, 14, 9), "2:6:13:7"),
            ((5, 6, 5), "2:4:16:3"),
            ((2, 2, 1), "2:3:0:0"),
        ] {
            let colour = Colour::told(told.0, told.1, told.2).unwrap();
            assert_eq!(colour.colorimetry(false), written);
        }
        assert_eq!(Colour::Bt709.colorimetry(true), "1:3:5:1");
        assert_eq!(Colour::told(2, 2, 2), None);
    }
}
