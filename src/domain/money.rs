//! Money in whole micro-dollars, so that sums are exact.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MICROS_PER_USD: i64 = 1_000_000;

/// An amount of US dollars in whole micro-dollars. Printed and serialised as a decimal string (`"0.225"`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

impl Money {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Makes an amount from micro-dollars.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Tells the amount in micro-dollars.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Multiplies by a whole number, saturating.
    pub const fn times(self, n: i64) -> Self {
        Self(self.0.saturating_mul(n))
    }

    /// Reads a decimal such as `0.225` or `2.5e-1`, rounding half up beyond six places.
    ///
    /// Providers report costs as JSON numbers; their shortest decimal form is what was meant.
    pub fn parse_rounded(text: &str) -> Result<Self, MoneyError> {
        let scaled = decimal_times(text, MICROS_PER_USD)?;
        Ok(Self(scaled))
    }

    /// Computes `self × factor` for a decimal factor, rounding half up to a micro-dollar.
    pub fn times_decimal(self, factor: &str) -> Result<Self, MoneyError> {
        decimal_times(factor, self.0).map(Self)
    }
}

/// Why a text is not an amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The text is not a decimal number.
    #[error("not an amount in dollars, write it like 12.50")]
    NotDecimal,
    /// The amount has more than six decimal places.
    #[error("more than six decimal places")]
    TooFine,
    /// The amount does not fit.
    #[error("amount out of range")]
    OutOfRange,
}

impl FromStr for Money {
    type Err = MoneyError;

    /// Reads what a person writes: digits with at most six decimal places, an optional leading `$`.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let text = text.trim();
        let text = text.strip_prefix('$').unwrap_or(text);
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
            return Err(MoneyError::NotDecimal);
        }
        if fraction.len() > 6 {
            return Err(MoneyError::TooFine);
        }
        format!("{whole}{fraction:0<6}")
            .parse()
            .map(Self)
            .map_err(|_| MoneyError::OutOfRange)
    }
}

/// Computes `decimal × scale` in integers, rounding half up. Accepts an exponent, because JSON numbers may have one.
fn decimal_times(decimal: &str, scale: i64) -> Result<i64, MoneyError> {
    let decimal = decimal.trim();
    let (negative, unsigned) = match decimal.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, decimal),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            exponent
                .parse::<i32>()
                .map_err(|_| MoneyError::NotDecimal)?,
        ),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MoneyError::NotDecimal);
    }
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    let places =
        i64::try_from(fraction.len()).map_err(|_| MoneyError::OutOfRange)? - i64::from(exponent);
    let value: i128 = significant.parse().map_err(|_| MoneyError::OutOfRange)?;
    let product = value
        .checked_mul(i128::from(scale))
        .ok_or(MoneyError::OutOfRange)?;
    let power = |n: i64| u32::try_from(n).ok().and_then(|n| 10i128.checked_pow(n));
    let scaled = if places <= 0 {
        power(-places)
            .and_then(|factor| product.checked_mul(factor))
            .ok_or(MoneyError::OutOfRange)?
    } else {
        // A divisor too large to hold leaves nothing of the product.
        power(places).map_or(0, |divisor| {
            let (whole, rest) = (product / divisor, product % divisor);
            whole + i128::from(rest >= divisor - rest)
        })
    };
    let signed = if negative { -scaled } else { scaled };
    i64::try_from(signed).map_err(|_| MoneyError::OutOfRange)
}

/// As a decimal without needless zeros, which other programs read; with `#` as people write it, to the cent at least.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        let (whole, fraction) = (micros / 1_000_000, format!("{:06}", micros % 1_000_000));
        let (cents, further) = fraction.split_at(2);
        let fraction = match further.trim_end_matches('0') {
            "" if f.alternate() => cents.to_owned(),
            "" => cents.trim_end_matches('0').to_owned(),
            further => format!("{cents}{further}"),
        };
        if fraction.is_empty() {
            write!(f, "{sign}{whole}")
        } else {
            write!(f, "{sign}{whole}.{fraction}")
        }
    }
}

impl Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_it_to_the_cent_at_least() {
        for (micros, text) in [
            (0, "0.00"),
            (4_500_000, "4.50"),
            (225_000, "0.225"),
            (236_250, "0.23625"),
            (-1_000_000, "-1.00"),
        ] {
            assert_eq!(format!("{:#}", Money::from_micros(micros)), text);
        }
    }

    #[test]
    fn money_prints_without_trailing_zeros() {
        for (micros, text) in [
            (0, "0"),
            (225_000, "0.225"),
            (1_000_000, "1"),
            (1, "0.000001"),
            (-500_000, "-0.5"),
        ] {
            assert_eq!(Money::from_micros(micros).to_string(), text);
        }
    }

    #[test]
    fn money_read_back_from_its_text_is_the_same() {
        for micros in [0, 1, 225_000, 236_250, 1_000_000, 9_007_199_254_740_993] {
            let money = Money::from_micros(micros);
            assert_eq!(money.to_string().parse(), Ok(money));
        }
    }

    #[test]
    fn what_a_person_writes_is_read_or_refused_but_never_rounded() {
        assert_eq!("$12.5".parse(), Ok(Money::from_micros(12_500_000)));
        assert_eq!(".5".parse(), Ok(Money::from_micros(500_000)));
        assert_eq!("0.0000001".parse::<Money>(), Err(MoneyError::TooFine));
        for text in ["", ".", "-1", "1e3", "12,50", "NaN", "1.2.3"] {
            assert_eq!(text.parse::<Money>(), Err(MoneyError::NotDecimal), "{text}");
        }
        assert_eq!(
            "99999999999999999999".parse::<Money>(),
            Err(MoneyError::OutOfRange)
        );
    }

    #[test]
    fn reported_decimals_round_half_up_and_may_have_exponents() {
        for (text, micros) in [
            ("0.225", 225_000),
            ("2.25e-1", 225_000),
            ("1E1", 10_000_000),
            ("0.0000005", 1),
            ("0.0000004", 0),
            ("1e-400", 0),
        ] {
            assert_eq!(
                Money::parse_rounded(text),
                Ok(Money::from_micros(micros)),
                "{text}"
            );
        }
        assert_eq!(Money::parse_rounded("1e400"), Err(MoneyError::OutOfRange));
        // As many digits as an integer of 128 bits can hold, and a divisor of the same size.
        let many = format!("0.0000017{}", "0".repeat(31));
        assert_eq!(Money::parse_rounded(&many), Ok(Money::from_micros(2)));
        assert_eq!(
            Money::from_micros(45_000).times_decimal("5.0"),
            Ok(Money::from_micros(225_000))
        );
    }
}
