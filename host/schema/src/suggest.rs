//! "Did you mean": the known name that is closest to a mistyped one.

/// The candidate that is near enough to `name` to be what was meant: a third of its letters wrong at most,
/// case and the choice between `-` and `_` not counted.
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = normalized(name);
    candidates
        .into_iter()
        .map(|candidate| (distance(&name, &normalized(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn normalized(name: &str) -> Vec<char> {
    // Enough for any real name; a megabyte of key must not cost a quadratic search.
    name.chars().take(64).filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// Edits from one to the other, where swapping two neighbours is one edit (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substituted = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substituted.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_what_was_meant_and_nonsense_finds_nothing() {
        let known = ["memory_mb", "replicas", "version", "password"];
        let check = |name, meant| assert_eq!(closest(name, known), meant, "{name}");
        check("memoryMb", Some("memory_mb"));
        check("memroy_mb", Some("memory_mb"));
        check("replica", Some("replicas"));
        check("vresion", Some("version"));
        check("color", None);
        check("", None);
    }
}
