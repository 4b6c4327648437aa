//! Money as whole millionths of a currency unit, so that sums are exact.
//!
//! Invariants: no floating point after parsing; a price per thousand is kept as the price of one impression, which is
//! exact because a price per thousand may have at most three decimals. Not for currencies: amounts of different
//! currencies never meet in one [`Micros`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in millionths of a currency unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub i64);

/// The largest amount accepted from outside: a million million units, far from overflow in any sum made here.
const LARGEST_UNITS: f64 = 1e12;

impl Micros {
    /// An amount of whole and fractional currency units with at most six decimals, between 0 and 10¹².
    ///
    /// Errors say what is wrong with the number, for a person to read.
    pub fn from_units(units: f64) -> Result<Self, String> {
        scaled(units, 1e6, "six").map(Self)
    }

    /// The price of one impression, from a price per thousand with at most three decimals.
    pub fn per_impression(price_per_thousand: f64) -> Result<Self, String> {
        scaled(price_per_thousand, 1e3, "three").map(Self)
    }
}

fn scaled(number: f64, factor: f64, decimals: &str) -> Result<i64, String> {
    if !(0.0..=LARGEST_UNITS).contains(&number) {
        return Err(format!("{number} is not between 0 and 1000000000000"));
    }
    let whole = (number * factor).round();
    // A decimal fraction is off by its rounding to binary, which is relative to its size; a further decimal is off by more.
    if (number * factor - whole).abs() > 1e-4_f64.max(whole * 1e-15) {
        return Err(format!("{number} has more than {decimals} decimals"));
    }
    Ok(whole as i64)
}

impl Micros {
    /// The price of a thousand impressions, for the price of one: `25.500`.
    pub fn per_thousand(self) -> String {
        format!("{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

impl fmt::Display for Micros {
    /// Units with six decimals: `12.500000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let n = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:06}", n / 1_000_000, n % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        assert_eq!(Micros::from_units(12.5), Ok(Micros(12_500_000)));
        assert_eq!(Micros::from_units(0.1), Ok(Micros(100_000)));
        assert_eq!(Micros::from_units(19_999.99), Ok(Micros(19_999_990_000)));
        assert!(Micros::from_units(0.000_000_1).is_err());
        assert!(Micros::from_units(-1.0).is_err());
        assert!(Micros::from_units(f64::NAN).is_err());
        assert!(Micros::from_units(1e13).is_err());
        // 25 per thousand is 0.025 each.
        assert_eq!(Micros::per_impression(25.0), Ok(Micros(25_000)));
        assert_eq!(Micros::per_impression(0.001), Ok(Micros(1)));
        assert!(Micros::per_impression(0.0005).is_err());
        assert_eq!(Micros(25_000).to_string(), "0.025000");
        assert_eq!(Micros(-1_000_001).to_string(), "-1.000001");
    }
}
