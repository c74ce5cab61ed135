//! Quantities (`500m`, `1Gi`) in the one form that a server stores, whatever a client wrote.

use serde_json::Value;

use crate::kinds::{self, GroupResource};

/// Nothing smaller than a billionth is kept; it is rounded away from zero.
const NANO: i128 = 1_000_000_000;
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

/// Fields that hold quantities by name, in all of these kinds.
const MAPS: [&str; 6] =
    ["limits", "requests", "capacity", "overhead", "allocatedResources", "defaultRequest"];

/// Whether a kind has quantities in its spec at all.
pub fn in_spec_of(what: &GroupResource) -> bool {
    [kinds::PODS, kinds::STATEFUL_SETS, kinds::JOBS, kinds::CLAIMS].contains(what)
}

/// Puts all quantities below a value into their canonical form.
pub fn canonicalize(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                if MAPS.contains(&name.as_str()) {
                    inner.as_object_mut().into_iter().flatten().for_each(|(_, quantity)| replace(quantity));
                } else if name == "sizeLimit" {
                    replace(inner);
                } else {
                    canonicalize(inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(canonicalize),
        _ => (),
    }
}

/// The first text that should be a quantity and is none.
pub fn invalid(value: &Value) -> Option<&str> {
    let check = |quantity: &'_ Value| quantity.as_str().is_some_and(|text| parse(text).is_none());
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, inner)| {
            if MAPS.contains(&name.as_str()) {
                inner.as_object()?.values().find(|quantity| check(quantity)).and_then(Value::as_str)
            } else if name == "sizeLimit" {
                Some(inner).filter(|inner| check(inner)).and_then(|inner| inner.as_str())
            } else {
                invalid(inner)
            }
        }),
        Value::Array(items) => items.iter().find_map(invalid),
        _ => None,
    }
}

/// Whether a quantity is larger than a limit, if there is one.
pub fn exceeds(quantity: &str, limit: &str) -> bool {
    matches!((parse(quantity), parse(limit)), (Some((is, _)), Some((most, _))) if is > most)
}

fn replace(quantity: &mut Value) {
    if let Some(canonical) = quantity.as_str().and_then(canonical) {
        *quantity = canonical.into();
    }
}

/// The canonical form; `None` for what is no quantity. Exponents (`1e3`) stay as they are.
fn canonical(text: &str) -> Option<String> {
    let (nanos, form) = parse(text)?;
    match form {
        Form::Exponent => Some(text.to_owned()),
        Form::Binary if nanos.abs() >= 1024 * NANO => Some(binary(nanos)),
        Form::Binary | Form::Decimal => Some(decimal(nanos)),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Decimal,
    Binary,
    Exponent,
}

/// A quantity in billionths, and the form it was written in.
fn parse(text: &str) -> Option<(i128, Form)> {
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !plain(whole) || !plain(fraction) || digits.len() > 30 {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let places = u32::try_from(fraction.len()).ok()?;
    let (numerator, denominator, form) = scale(suffix)?;
    let denominator = denominator.checked_mul(10_i128.checked_pow(places)?)?;
    let numerator = mantissa.checked_mul(numerator)?;
    let nanos = numerator / denominator + i128::from(numerator % denominator != 0);
    Some((if negative { -nanos } else { nanos }, form))
}

/// What a suffix multiplies billionths by, as a fraction.
fn scale(suffix: &str) -> Option<(i128, i128, Form)> {
    if let Some(at) = BINARY.iter().position(|own| *own == suffix) {
        return Some((NANO << (10 * (at + 1)), 1, Form::Binary));
    }
    if let Some(at) = DECIMAL.iter().position(|own| *own == suffix) {
        return Some((1000_i128.checked_pow(u32::try_from(at).ok()?)?, 1, Form::Decimal));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    Some(if exponent >= 0 {
        (NANO.checked_mul(power)?, 1, Form::Exponent)
    } else {
        (NANO, power, Form::Exponent)
    })
}

fn decimal(nanos: i128) -> String {
    let (mut value, mut at) = (nanos, 0);
    while value != 0 && value % 1000 == 0 && at + 1 < DECIMAL.len() {
        value /= 1000;
        at += 1;
    }
    if value == 0 { "0".to_owned() } else { format!("{value}{}", DECIMAL[at]) }
}

fn binary(nanos: i128) -> String {
    let (mut value, mut at) = (nanos / NANO + i128::from(nanos % NANO != 0), 0);
    while value % 1024 == 0 && at < BINARY.len() {
        value /= 1024;
        at += 1;
    }
    if at == 0 { value.to_string() } else { format!("{value}{}", BINARY[at - 1]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(canonical(text).as_deref(), expected, "{text}");
    }

    #[test]
    fn quantities_are_stored_in_one_form() {
        for (text, expected) in [
            ("1", "1"),
            ("1000m", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1500m", "1500m"),
            ("1000", "1k"),
            ("100M", "100M"),
            ("1024Mi", "1Gi"),
            ("0.5Gi", "512Mi"),
            ("1.5Gi", "1536Mi"),
            ("64Mi", "64Mi"),
            ("0", "0"),
            ("0Mi", "0"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("-1500m", "-1500m"),
            ("0.0000000001", "1n"),
            ("1e3", "1e3"),
        ] {
            check(text, Some(expected));
        }
    }

    #[test]
    fn what_is_no_quantity_is_none() {
        for text in ["", "1 Gi", "Gi", "1gb", "1.2.3", "1-2", "0x10"] {
            check(text, None);
        }
    }
}
