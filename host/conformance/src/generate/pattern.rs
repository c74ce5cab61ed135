//! Texts that match a pattern.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Repetitions without an end stop after so many more than they need.
const MORE: u32 = 2;

/// Different texts that match `pattern`, at most `count`; none where the pattern is beyond this.
pub(crate) fn matching(pattern: &str, count: usize) -> Vec<String> {
    let Ok(hir) = regex_syntax::parse(pattern) else { return vec![] };
    let mut found: Vec<String> = vec![];
    // Each turn takes other ways through alternatives, classes and repetitions.
    for turn in 0..(count * 8) {
        let mut text = String::new();
        let mut choices = Choices(turn);
        if !write(&hir, &mut choices, &mut text) {
            return found;
        }
        if !found.contains(&text) {
            found.push(text);
        }
        if found.len() == count {
            break;
        }
    }
    found
}

/// A number that is used up as choices are made.
struct Choices(usize);

impl Choices {
    fn choose(&mut self, among: usize) -> usize {
        if among <= 1 {
            return 0;
        }
        let chosen = self.0 % among;
        self.0 /= among;
        chosen
    }
}

fn write(hir: &Hir, choices: &mut Choices, text: &mut String) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(literal) => {
                text.push_str(literal);
                true
            }
            Err(_) => false,
        },
        HirKind::Class(Class::Unicode(class)) => {
            let ranges = class.ranges();
            let Some(range) = ranges.get(choices.choose(ranges.len())) else { return false };
            let (first, last) = (range.start() as u32, range.end() as u32);
            let span = usize::try_from(last - first).unwrap_or(0).min(25) + 1;
            let offset = u32::try_from(choices.choose(span)).unwrap_or(0);
            char::from_u32(first + offset).is_some_and(|c| {
                text.push(c);
                true
            })
        }
        HirKind::Class(Class::Bytes(_)) => false,
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(repetition.min + MORE).min(repetition.min + MORE);
            let span = usize::try_from(most - repetition.min).unwrap_or(0) + 1;
            let times = repetition.min + u32::try_from(choices.choose(span)).unwrap_or(0);
            (0..times).all(|_| write(&repetition.sub, choices, text))
        }
        HirKind::Capture(capture) => write(&capture.sub, choices, text),
        HirKind::Concat(parts) => parts.iter().all(|part| write(part, choices, text)),
        HirKind::Alternation(ways) => {
            let chosen = choices.choose(ways.len());
            ways.get(chosen).is_some_and(|way| write(way, choices, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_match_their_pattern_and_differ() {
        for pattern in [
            r"^(7\.[024]|8\.[0-9])(\.[0-9]{1,2})?$",
            "^[1-9][0-9]{0,5}(Mi|Gi|Ti)$",
            "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
        ] {
            let schema = serde_json::json!({"type": "object", "properties": {"x": {"type": "string", "pattern": pattern}}});
            let schema = senren_schema::Schema::parse(&schema).ok();
            let texts = matching(pattern, 4);
            assert_eq!(texts.len(), 4, "{pattern}: {texts:?}");
            for text in &texts {
                let valid = schema
                    .as_ref()
                    .is_some_and(|schema| schema.validate(&serde_json::json!({"x": text})).is_empty());
                assert!(valid, "{pattern}: {text}");
            }
        }
        assert_eq!(matching("(", 4), Vec::<String>::new());
    }
}
