//! PostgreSQL's binary NUMERIC (`src/backend/utils/adt/numeric.c`), as JSONB holds its numbers.
//!
//! A value is a four-byte varlena header, a header of two bytes (short form) or four (long form), and the
//! digits in base 10,000 without leading or trailing zeros. The sum of digits `d[i] * 10000^(weight - i)` is
//! the value; `dscale` is how many decimals are shown.

const BASE_DIGITS: i64 = 4;
const SHORT: u16 = 0x8000;
const SHORT_NEGATIVE: u16 = 0x2000;
const SHORT_WEIGHT_NEGATIVE: u16 = 0x0040;
const LONG_NEGATIVE: u16 = 0x4000;

/// Appends `value`, header included, to `out`. `out`'s length must be a multiple of four.
pub fn push_integer(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0u16; 5];
    let mut rest = value.unsigned_abs();
    let mut first = digits.len();
    while rest > 0 {
        first -= 1;
        digits[first] = (rest % 10_000) as u16;
        rest /= 10_000;
    }
    push(out, value < 0, (digits.len() - first) as i64 - 1, 0, &digits[first..]);
}

/// Appends the number that `text` writes, as `numeric_in` reads it (`-12.50`, `1e-07`), to `out`. Returns
/// `false`, with nothing appended, for what is not plain digits with an optional fraction and exponent (`NaN`,
/// `Infinity`).
pub fn push_decimal(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let (mantissa, exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => {
            let exponent = std::str::from_utf8(&text[at + 1..]).ok().and_then(|e| e.parse::<i64>().ok());
            match exponent {
                // What a NUMERIC can hold stays far below; the bound keeps the arithmetic safe.
                Some(exponent) if exponent.abs() < 100_000 => (&text[..at], exponent),
                _ => return false,
            }
        }
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|b| *b == b'.') {
        Some(dot) => (&mantissa[..dot], &mantissa[dot + 1..]),
        None => (mantissa, &[][..]),
    };
    if whole.is_empty() && fraction.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return false;
    }
    // The power of ten of the first decimal digit, and the base-10,000 digit it falls into.
    let decimal_weight = whole.len() as i64 - 1 + exponent;
    let weight = decimal_weight.div_euclid(BASE_DIGITS);
    let offset = (weight + 1) * BASE_DIGITS - (decimal_weight + 1);
    let mut digits = vec![0u16; (offset as usize + whole.len() + fraction.len()).div_ceil(4)];
    for (index, digit) in whole.iter().chain(fraction).enumerate() {
        let place = offset as usize + index;
        digits[place / 4] += u16::from(digit - b'0') * [1000, 100, 10, 1][place % 4];
    }
    let scale = (fraction.len() as i64 - exponent).max(0);
    push(out, negative, weight, scale, &digits);
    true
}

fn push(out: &mut Vec<u8>, mut negative: bool, mut weight: i64, scale: i64, digits: &[u16]) {
    debug_assert!(out.len().is_multiple_of(4));
    let leading = digits.iter().take_while(|digit| **digit == 0).count();
    let mut digits = &digits[leading..];
    weight -= leading as i64;
    while let [rest @ .., 0] = digits {
        digits = rest;
    }
    if digits.is_empty() {
        (negative, weight) = (false, 0);
    }
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    if (-64..=63).contains(&weight) && scale <= 63 {
        let header = SHORT
            | if negative { SHORT_NEGATIVE } else { 0 }
            | (scale as u16) << 7
            | if weight < 0 { SHORT_WEIGHT_NEGATIVE } else { 0 }
            | (weight as u16 & 0x3f);
        out.extend_from_slice(&header.to_ne_bytes());
    } else {
        let sign = if negative { LONG_NEGATIVE } else { 0 };
        out.extend_from_slice(&(sign | scale as u16 & 0x3fff).to_ne_bytes());
        out.extend_from_slice(&(weight as i16).to_ne_bytes());
    }
    for digit in digits {
        out.extend_from_slice(&digit.to_ne_bytes());
    }
    let header = crate::jsonb::varlena_header(out.len() - start);
    out[start..start + 4].copy_from_slice(&header);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn integer(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        push_integer(&mut out, value);
        out
    }

    fn decimal(text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        push_decimal(&mut out, text.as_bytes()).then_some(out)
    }

    proptest! {
        #[test]
        fn an_integer_is_the_decimal_of_its_text(value: i64) {
            prop_assert_eq!(Some(integer(value)), decimal(&value.to_string()));
        }

        #[test]
        fn an_exponent_only_moves_the_point(digits in "[1-9][0-9]{0,30}", exponent in 0usize..40) {
            prop_assert_eq!(
                decimal(&format!("{digits}e{exponent}")),
                decimal(&format!("{digits}{}", "0".repeat(exponent)))
            );
        }

        #[test]
        fn a_negative_exponent_is_a_fraction(digits in "[1-9][0-9]{0,30}", exponent in 31usize..70) {
            let zeros = "0".repeat(exponent - digits.len());
            prop_assert_eq!(
                decimal(&format!("{digits}e-{exponent}")),
                decimal(&format!("0.{zeros}{digits}"))
            );
        }
    }

    #[test]
    fn known_bytes() {
        // 12.50: digits 12 and 5000, weight 0, two decimals.
        let header = (SHORT | 2 << 7).to_ne_bytes();
        let mut expected = crate::jsonb::varlena_header(10).to_vec();
        expected.extend(header);
        expected.extend(12u16.to_ne_bytes());
        expected.extend(5000u16.to_ne_bytes());
        assert_eq!(decimal("12.50"), Some(expected));
        assert_eq!(decimal("-0"), Some(integer(0)));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["NaN", "Infinity", "-Infinity", "", ".", "-", "1e", "1.2.3", "0x10"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }
}
