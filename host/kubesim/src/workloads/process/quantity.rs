//! Kubernetes quantities (`100m`, `64Mi`, `1e3`) as integers, and what this machine has of them.

/// A quantity in thousandths, rounded up; `None` if it is none or does not fit.
#[must_use]
pub fn milli(text: &str) -> Option<i128> {
    let text = text.trim();
    let number_ends =
        text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+' || c == '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(number_ends);
    let (numerator, denominator) = scale(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 18 || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let negative = whole.starts_with('-');
    let whole: i128 = if matches!(whole, "" | "+" | "-") { 0 } else { whole.parse().ok()? };
    let ten: i128 = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let digits = whole.checked_mul(ten)?.checked_add(if negative { -fraction } else { fraction })?;
    let scaled = digits.checked_mul(numerator)?.checked_mul(1000)?;
    let divisor = ten.checked_mul(denominator)?;
    Some(scaled.div_euclid(divisor) + i128::from(scaled.rem_euclid(divisor) != 0))
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let ten = 10i128.checked_pow(power.unsigned_abs())?;
            if power < 0 { (1, ten) } else { (ten, 1) }
        }
    })
}

/// The machine's processors, in thousandths.
#[must_use]
pub fn machine_millicores() -> i128 {
    std::thread::available_parallelism().map_or(1000, |cores| cores.get() as i128 * 1000)
}

/// The machine's memory in bytes.
#[must_use]
pub fn machine_memory() -> i128 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes =
        total.and_then(|rest| rest.trim().strip_suffix("kB")).and_then(|number| number.trim().parse().ok());
    kibibytes.unwrap_or(0i128) * 1024
}

#[cfg(test)]
mod tests {
    use super::milli;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        let check = |text: &str, wanted: Option<i128>| assert_eq!(milli(text), wanted, "{text}");
        check("1", Some(1000));
        check("100m", Some(100));
        check("1.5", Some(1500));
        check(".5", Some(500));
        check("-.5", Some(-500));
        check("64Mi", Some(67_108_864_000));
        check("1e3", Some(1_000_000));
        check("1E", Some(1_000_000_000_000_000_000_000));
        check("1u", Some(1));
        check("", None);
        check("Mi", None);
        check("1x", None);
    }
}
