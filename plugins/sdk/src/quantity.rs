//! Sizes as Kubernetes writes them.

/// `512Mi`, `1.5Gi`, `10G`, `4096` in bytes; nothing if it is no size.
pub fn bytes(quantity: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 9] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("", 1),
    ];
    let (digits, unit) =
        UNITS.iter().find_map(|(unit, factor)| Some((quantity.strip_suffix(unit)?, *factor)))?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let number =
        |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?;
    let fraction = match fraction {
        "" => 0,
        digits => {
            number(digits)?.checked_mul(unit)? / 10u64.checked_pow(u32::try_from(digits.len()).ok()?)?
        }
    };
    number(whole)?.checked_mul(unit)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_read_as_kubernetes_writes_them() {
        for (text, size) in [
            ("4096", Some(4096)),
            ("512Mi", Some(512 << 20)),
            ("1.5Gi", Some(3 << 29)),
            ("10G", Some(10_000_000_000)),
            ("2Ti", Some(2 << 40)),
            ("Gi", None),
            ("", None),
            ("-1Gi", None),
            ("1 Gi", None),
            ("99999999999Ti", None),
        ] {
            assert_eq!(bytes(text), size, "{text:?}");
        }
    }
}
