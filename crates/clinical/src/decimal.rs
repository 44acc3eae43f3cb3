//! Exact decimals: a whole number and how many of its digits are a fraction.
//!
//! Amounts and laboratory values are decimals in FHIR, and 0.1 + 0.2 must be
//! 0.3; binary floating point never comes near them here.

use std::cmp::Ordering;
use std::fmt;

/// The most digits after the point, and the most digits of an Arrow decimal.
pub const MAX_DIGITS: u32 = 38;

/// A quotient has at least this many digits after the point before trailing
/// zeros go (FHIRPath N1, Decimal: steps of 10⁻⁸).
const QUOTIENT_DIGITS: u32 = 8;

/// `mantissa × 10^-scale`.
#[derive(Debug, Clone, Copy)]
pub struct Decimal {
    mantissa: i128,
    scale: u32,
}

impl Decimal {
    /// Reads a number of JSON or FHIRPath; `None` if it is no number or has more
    /// than [`MAX_DIGITS`] digits.
    pub fn parse(lexeme: &str) -> Option<Decimal> {
        let (number, exponent) = match lexeme.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (lexeme, 0),
        };
        let (negative, digits) = match number.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || digits.ends_with('.') {
            return None;
        }
        let mut mantissa = 0_i128;
        for digit in whole.bytes().chain(fraction.bytes()) {
            let digit = i128::from(char::from(digit).to_digit(10)?);
            mantissa = mantissa.checked_mul(10)?.checked_add(digit)?;
        }
        if negative {
            mantissa = -mantissa;
        }
        let scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
        match u32::try_from(scale) {
            Ok(scale) if scale <= MAX_DIGITS => Some(Decimal { mantissa, scale }),
            Ok(_) => None,
            Err(_) => Some(Decimal {
                mantissa: mantissa.checked_mul(power(u32::try_from(-scale).ok()?)?)?,
                scale: 0,
            }),
        }
    }

    /// The sum, or `None` on overflow.
    pub fn plus(self, other: Decimal) -> Option<Decimal> {
        let (left, right, scale) = self.aligned(other)?;
        Decimal::made(left.checked_add(right)?, scale)
    }

    /// The difference, or `None` on overflow.
    pub fn minus(self, other: Decimal) -> Option<Decimal> {
        let (left, right, scale) = self.aligned(other)?;
        Decimal::made(left.checked_sub(right)?, scale)
    }

    /// The product, or `None` on overflow.
    pub fn times(self, other: Decimal) -> Option<Decimal> {
        let (left, right) = (self.trimmed(), other.trimmed());
        let mantissa = left.mantissa.checked_mul(right.mantissa)?;
        Decimal::made(mantissa, left.scale + right.scale)
    }

    /// The quotient, rounded half away from zero; `None` for a division by zero
    /// or on overflow.
    pub fn divided_by(self, other: Decimal) -> Option<Decimal> {
        let (left, right) = (self.trimmed(), other.trimmed());
        let scale = QUOTIENT_DIGITS.max(left.scale);
        // left/10^ls ÷ right/10^rs × 10^scale = left × 10^(scale+rs-ls) ÷ right
        let shift = power(scale + right.scale - left.scale)?;
        let quotient = rounded_quotient(left.mantissa.checked_mul(shift)?, right.mantissa)?;
        Some(Decimal::made(quotient, scale)?.trimmed())
    }

    /// The quotient without its fraction (`div`).
    pub fn whole_quotient(self, other: Decimal) -> Option<i64> {
        let (left, right, _) = self.aligned(other)?;
        i64::try_from(left.checked_div(right)?).ok()
    }

    /// What `div` leaves over (`mod`).
    pub fn remainder(self, other: Decimal) -> Option<Decimal> {
        let (left, right, scale) = self.aligned(other)?;
        Decimal::made(left.checked_rem(right)?, scale)
    }

    /// The value with its sign turned.
    pub fn negated(self) -> Decimal {
        Decimal {
            // A mantissa of i128::MIN cannot be parsed or computed without its
            // positive twin overflowing first, so saturation never shows.
            mantissa: self.mantissa.saturating_neg(),
            scale: self.scale,
        }
    }

    /// The mantissa for exactly `scale` digits after the point, rounded half away
    /// from zero, and whether rounding changed the value; `None` on overflow.
    pub fn with_scale(self, scale: u32) -> Option<(i128, bool)> {
        if scale >= self.scale {
            let mantissa = self.mantissa.checked_mul(power(scale - self.scale)?)?;
            return Some((mantissa, false));
        }
        let divisor = power(self.scale - scale)?;
        let mantissa = rounded_quotient(self.mantissa, divisor)?;
        Some((mantissa, self.mantissa % divisor != 0))
    }

    /// The value as an integer, if it is one.
    pub fn to_integer(self) -> Option<i64> {
        let whole = self.trimmed();
        match whole.scale {
            0 => i64::try_from(whole.mantissa).ok(),
            _ => None,
        }
    }

    fn made(mantissa: i128, scale: u32) -> Option<Decimal> {
        let made = Decimal { mantissa, scale };
        match scale {
            0..=MAX_DIGITS => Some(made),
            _ => Some(made.trimmed()).filter(|made| made.scale <= MAX_DIGITS),
        }
    }

    /// Without trailing zeros after the point.
    fn trimmed(self) -> Decimal {
        let Decimal { mut mantissa, mut scale } = self;
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        Decimal { mantissa, scale }
    }

    fn aligned(self, other: Decimal) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        let left = self.mantissa.checked_mul(power(scale - self.scale)?)?;
        let right = other.mantissa.checked_mul(power(scale - other.scale)?)?;
        Some((left, right, scale))
    }
}

impl From<i64> for Decimal {
    fn from(integer: i64) -> Decimal {
        Decimal { mantissa: integer.into(), scale: 0 }
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Decimal) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        let (left, right) = (self.trimmed(), other.trimmed());
        match left.aligned(right) {
            Some((left, right, _)) => left.cmp(&right),
            // The side with fewer digits after the point outgrew i128: it is the
            // larger in magnitude, whatever the other is.
            None if left.scale < right.scale => left.mantissa.cmp(&0),
            None => 0.cmp(&right.mantissa),
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.mantissa.unsigned_abs().to_string();
        let width = self.scale as usize + 1;
        let padded = format!("{digits:0>width$}");
        let (whole, fraction) = padded.split_at(padded.len() - self.scale as usize);
        let sign = if self.mantissa < 0 { "-" } else { "" };
        match fraction {
            "" => write!(f, "{sign}{whole}"),
            _ => write!(f, "{sign}{whole}.{fraction}"),
        }
    }
}

fn power(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

fn rounded_quotient(dividend: i128, divisor: i128) -> Option<i128> {
    let quotient = dividend.checked_div(divisor)?;
    let remainder = dividend.checked_rem(divisor)?;
    let doubled = remainder.unsigned_abs().checked_mul(2)?;
    match doubled >= divisor.unsigned_abs() {
        true => quotient.checked_add(if (dividend < 0) == (divisor < 0) { 1 } else { -1 }),
        false => Some(quotient),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(lexeme: &str) -> Decimal {
        Decimal::parse(lexeme).expect(lexeme)
    }

    #[test]
    fn arithmetic_is_exact() {
        let cases: [(&str, Option<Decimal>, &str); 9] = [
            ("0.1+0.2", decimal("0.1").plus(decimal("0.2")), "0.3"),
            ("1-0.9", decimal("1").minus(decimal("0.9")), "0.1"),
            ("1.10*2.0", decimal("1.10").times(decimal("2.0")), "2.2"),
            ("3/2", decimal("3").divided_by(decimal("2")), "1.5"),
            ("1/3", decimal("1").divided_by(decimal("3")), "0.33333333"),
            ("2/3", decimal("2").divided_by(decimal("3")), "0.66666667"),
            ("-2/3", decimal("-2").divided_by(decimal("3")), "-0.66666667"),
            ("0.30/0.1", decimal("0.30").divided_by(decimal("0.1")), "3"),
            ("-(-0.05)", Some(decimal("-0.05").negated()), "0.05"),
        ];
        for (what, result, expected) in cases {
            assert_eq!(result.expect(what).to_string(), expected, "{what}");
        }
    }

    #[test]
    fn overflow_and_division_by_zero_have_no_result() {
        let largest = Decimal::parse(&i128::MAX.to_string()).expect("fits");
        assert!(largest.plus(decimal("1")).is_none());
        assert!(largest.times(decimal("2")).is_none());
        assert!(decimal("1").divided_by(decimal("0.00")).is_none());
    }

    #[test]
    fn lexemes_are_read_with_their_exponent() {
        for (lexeme, expected) in
            [("1.50", "1.50"), ("15e-1", "1.5"), ("1.5E+3", "1500"), ("-0", "0")]
        {
            assert_eq!(decimal(lexeme).to_string(), expected);
        }
        for lexeme in ["", "-", ".5", "5.", "1e", "1e99", "1e-99", "1_0", "0x1", "+1", "1.2.3"] {
            assert!(Decimal::parse(lexeme).is_none(), "{lexeme}");
        }
    }

    #[test]
    fn order_holds_even_where_alignment_overflows() {
        let huge = decimal("100000000000000000000000000000000000000");
        let tiny = decimal("0.00000000000000000000000000000000000001");
        assert!(huge > tiny);
        assert!(tiny < huge);
        assert!(huge.negated() < tiny);
        assert!(tiny > huge.negated());
        assert_eq!(decimal("1.0"), decimal("1.000"));
    }

    #[test]
    fn a_scale_rounds_half_away_from_zero_and_says_so() {
        assert_eq!(decimal("1.25").with_scale(1), Some((13, true)));
        assert_eq!(decimal("-1.25").with_scale(1), Some((-13, true)));
        assert_eq!(decimal("1.20").with_scale(1), Some((12, false)));
        assert_eq!(decimal("7").with_scale(2), Some((700, false)));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(mantissa in any::<i64>(), scale in 0..20_u32) {
            let value = Decimal { mantissa: mantissa.into(), scale };
            let back = Decimal::parse(&value.to_string()).expect("printed");
            prop_assert_eq!((back.mantissa, back.scale), (value.mantissa, value.scale));
        }

        #[test]
        fn order_agrees_with_subtraction(a in any::<i32>(), b in any::<i32>(), s in 0..9_u32, t in 0..9_u32) {
            let (left, right) = (Decimal { mantissa: a.into(), scale: s }, Decimal { mantissa: b.into(), scale: t });
            let difference = left.minus(right).expect("small");
            prop_assert_eq!(left.cmp(&right), difference.mantissa.cmp(&0));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[-+0-9.eE]{0,60}") {
            let _ = Decimal::parse(&text);
        }
    }
}
