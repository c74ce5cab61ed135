//! Numbers as JSON has them: compared exactly where both are integers, so that a bound near 2^63 holds.

use serde_json::Number;
use std::cmp::Ordering;

/// Beyond this, not every integer has a double of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

pub(crate) fn integer(number: &Number) -> Option<i128> {
    if let Some(i) = number.as_i64() {
        return Some(i.into());
    }
    if let Some(u) = number.as_u64() {
        return Some(u.into());
    }
    let float = number.as_f64()?;
    // As an apiserver does: 3.0 is an integer.
    (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i128)
}

pub(crate) fn is_integer(number: &Number) -> bool {
    integer(number).is_some()
}

pub(crate) fn compare(a: &Number, b: &Number) -> Ordering {
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => float(a).total_cmp(&float(b)),
    }
}

pub(crate) fn is_multiple(number: &Number, of: &Number) -> bool {
    if let (Some(number), Some(of)) = (integer(number), integer(of)) {
        return of != 0 && number % of == 0;
    }
    let quotient = float(number) / float(of);
    (quotient - quotient.round()).abs() < 1e-9 * quotient.abs().max(1.0)
}

fn float(number: &Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;

    fn number(text: &str) -> Number {
        match serde_json::from_str(text).unwrap() {
            Value::Number(number) => number,
            other => unreachable!("{other}"),
        }
    }

    #[test]
    fn large_integers_are_compared_exactly() {
        assert_eq!(compare(&number("9223372036854775807"), &number("9223372036854775808")), Ordering::Less);
        assert_eq!(compare(&number("3"), &number("3.0")), Ordering::Equal);
        assert_eq!(compare(&number("2.5"), &number("3")), Ordering::Less);
    }

    #[test]
    fn multiples_allow_for_binary_fractions() {
        assert!(is_multiple(&number("0.3"), &number("0.1")));
        assert!(is_multiple(&number("64"), &number("16")));
        assert!(!is_multiple(&number("65"), &number("16")));
        assert!(!is_multiple(&number("5"), &number("0")));
    }
}
