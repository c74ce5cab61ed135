//! Times and lists as people read them, in the words of `kubectl`.

use jiff::Timestamp;
use serde_json::Value;

/// How long ago.
pub fn since(at: Timestamp, now: Timestamp) -> String {
    duration(now.as_second() - at.as_second())
}

/// How long ago the time in a field was.
pub fn ago(field: &Value, now: Timestamp) -> String {
    match field.as_str().map(str::parse) {
        Some(Ok(at)) => since(at, now),
        _ => "<unknown>".into(),
    }
}

/// Seconds, in the two units that matter.
pub fn duration(seconds: i64) -> String {
    let two = |high: i64, unit: char, low: i64, lower: char| {
        if low == 0 { format!("{high}{unit}") } else { format!("{high}{unit}{low}{lower}") }
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

/// At most `most` of them, and how many more there are.
pub fn some_of(all: &[String], most: usize) -> String {
    match all.len() {
        0 => "<none>".into(),
        count if count > most => format!("{} + {} more...", all[..most].join(","), count - most),
        _ => all.join(","),
    }
}

/// The strings at a field of each item, joined.
pub fn joined(list: &Value, field: &str) -> String {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|item| item[field].as_str()).collect::<Vec<_>>().join(",")
}

/// Labels as `a=b,c=d`.
pub fn labels(labels: &Value) -> String {
    let pairs: Vec<_> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(label, value)| format!("{label}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

/// A string, or what stands for none.
pub fn or(value: &Value, none: &str) -> String {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(none).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_the_units_that_matter() {
        let check = |seconds, wanted: &str| assert_eq!(duration(seconds), wanted, "{seconds}");
        const DAY: i64 = 86_400;
        check(-5, "<invalid>");
        check(-1, "0s");
        check(119, "119s");
        check(120, "2m");
        check(125, "2m5s");
        check(601, "10m");
        check(3 * 3600 + 61, "3h1m");
        check(8 * 3600, "8h");
        check(2 * DAY + 3601, "2d1h");
        check(9 * DAY, "9d");
        check(800 * DAY, "2y70d");
        check(365 * 9 * DAY, "9y");
    }

    #[test]
    fn a_long_list_says_how_much_of_it_is_missing() {
        let list: Vec<_> = ["a", "b", "c", "d"].map(str::to_owned).into();
        assert_eq!(some_of(&list, 3), "a,b,c + 1 more...");
        assert_eq!(some_of(&list[..2], 3), "a,b");
        assert_eq!(some_of(&[], 3), "<none>");
    }
}
