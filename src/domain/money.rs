//! Money as a whole number of micro-dollars, so that sums are exact.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MICROS_PER_USD: i64 = 1_000_000;

/// Number of decimal places of a dollar amount: one micro-dollar is the smallest unit.
const DECIMAL_PLACES: usize = 6;

/// An amount of US dollars, in whole micro-dollars.
///
/// Formatted and serialised as a decimal string without trailing zeros (`"0.225"`); the alternate
/// format (`{:#}`) shows at least cents (`"4.50"`). Arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

impl Money {
    /// Zero dollars.
    pub const ZERO: Self = Self(0);

    /// Creates an amount from micro-dollars.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns the amount in micro-dollars.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Multiplies the amount by a whole number, saturating at the numeric bounds.
    pub const fn saturating_mul(self, factor: i64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// Parses a decimal such as `0.225` or `2.5e-1`, rounding to a micro-dollar, half away from
    /// zero.
    ///
    /// For costs that providers report as JSON numbers: pass the shortest decimal form of the
    /// number.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not a decimal number or the amount is out of range.
    pub fn parse_rounded(text: &str) -> Result<Self, MoneyError> {
        scale_decimal(text, MICROS_PER_USD).map(Self)
    }

    /// Multiplies a non-negative amount by a decimal factor, rounding to a micro-dollar, half away
    /// from zero.
    ///
    /// # Errors
    ///
    /// Returns an error if the factor is not a decimal number or the product is out of range.
    pub fn mul_decimal(self, factor: &str) -> Result<Self, MoneyError> {
        scale_decimal(factor, self.0).map(Self)
    }
}

/// Why a text is not a valid amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The text is not a decimal number.
    #[error("not an amount in dollars; write it like 12.50")]
    NotDecimal,
    /// The amount has more than six decimal places.
    #[error("more than six decimal places")]
    TooFine,
    /// The amount does not fit into 64 bits of micro-dollars.
    #[error("amount out of range")]
    OutOfRange,
}

impl FromStr for Money {
    type Err = MoneyError;

    /// Parses an amount as a user writes it: digits with at most six decimal places and an optional
    /// leading `$`. Never rounds.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let text = text.trim();
        let text = text.strip_prefix('$').unwrap_or(text);
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
            return Err(MoneyError::NotDecimal);
        }
        if fraction.len() > DECIMAL_PLACES {
            return Err(MoneyError::TooFine);
        }
        format!("{whole}{fraction:0<DECIMAL_PLACES$}")
            .parse()
            .map(Self)
            .map_err(|_| MoneyError::OutOfRange)
    }
}

/// Returns `decimal × scale` for a non-negative scale in integer arithmetic, rounding half away
/// from zero. Accepts an exponent, because JSON numbers may have one.
fn scale_decimal(decimal: &str, scale: i64) -> Result<i64, MoneyError> {
    let decimal = decimal.trim();
    let (is_negative, unsigned) = match decimal.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
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
    let power_of_ten = |n: i64| u32::try_from(n).ok().and_then(|n| 10i128.checked_pow(n));
    let scaled = if places <= 0 {
        power_of_ten(-places)
            .and_then(|factor| product.checked_mul(factor))
            .ok_or(MoneyError::OutOfRange)?
    } else {
        // If the divisor is too large to represent, the quotient rounds to zero.
        power_of_ten(places).map_or(0, |divisor| {
            let quotient = product / divisor;
            let remainder = product % divisor;
            quotient + i128::from(remainder >= divisor - remainder)
        })
    };
    let signed = if is_negative { -scaled } else { scaled };
    i64::try_from(signed).map_err(|_| MoneyError::OutOfRange)
}

/// Formats the amount as a decimal without trailing zeros, for other programs to parse. The
/// alternate format (`{:#}`) is for users and shows at least cents.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        let whole = micros / MICROS_PER_USD.unsigned_abs();
        let fraction = micros % MICROS_PER_USD.unsigned_abs();
        let fraction = format!("{fraction:0DECIMAL_PLACES$}");
        let (cents, sub_cents) = fraction.split_at(2);
        let fraction = match sub_cents.trim_end_matches('0') {
            "" if f.alternate() => cents.to_owned(),
            "" => cents.trim_end_matches('0').to_owned(),
            sub_cents => format!("{cents}{sub_cents}"),
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
    fn the_alternate_format_shows_at_least_cents() {
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
    fn formatted_amounts_parse_back_to_themselves() {
        for micros in [0, 1, 225_000, 236_250, 1_000_000, 9_007_199_254_740_993] {
            let money = Money::from_micros(micros);
            assert_eq!(money.to_string().parse(), Ok(money));
        }
    }

    #[test]
    fn user_input_is_parsed_or_refused_but_never_rounded() {
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
    fn reported_decimals_are_rounded_and_may_have_exponents() {
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
        // As many digits as fit into 128 bits, and a divisor of the same size.
        let long = format!("0.0000017{}", "0".repeat(31));
        assert_eq!(Money::parse_rounded(&long), Ok(Money::from_micros(2)));
        assert_eq!(
            Money::from_micros(45_000).mul_decimal("5.0"),
            Ok(Money::from_micros(225_000))
        );
    }
}
