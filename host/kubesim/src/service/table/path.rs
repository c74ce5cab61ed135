//! The paths of printer columns: fields, indices, `[*]`, and `[?(@.type=="Ready")]`.
//!
//! The part of Kubernetes' JSONPath that columns use; a definition that uses more of it is refused.

use serde_json::Value;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// From the end, if negative.
    Index(i64),
    Each,
    /// The items whose field has this value.
    Where(Path, Value),
}

impl Path {
    /// Reads a path; the error says what isn't supported.
    pub fn parse(text: &str) -> Result<Path, String> {
        let whole = text;
        let refuse = || format!("the JSON path {whole:?} of a printer column");
        let mut steps = Vec::new();
        let mut text = text;
        while !text.is_empty() {
            let (step, rest) = match text.strip_prefix('.') {
                Some(rest) if rest.is_empty() && steps.is_empty() => return Ok(Path(steps)),
                Some(rest) => field(rest),
                None => bracket(text),
            }
            .ok_or_else(refuse)?;
            steps.push(step);
            text = rest;
        }
        if steps.is_empty() { Err(refuse()) } else { Ok(Path(steps)) }
    }

    /// The first value at this path.
    pub fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.all(value).first().copied()
    }

    fn all<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.take(value)).collect();
        }
        found
    }
}

impl Step {
    fn take<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let items = || value.as_array().map(Vec::as_slice).unwrap_or_default();
        match self {
            Step::Field(name) => value.get(name).into_iter().collect(),
            Step::Index(at) => {
                let length = i64::try_from(items().len()).unwrap_or_default();
                let at = if *at < 0 { length + at } else { *at };
                usize::try_from(at).ok().and_then(|at| items().get(at)).into_iter().collect()
            }
            Step::Each => match value {
                Value::Object(fields) => fields.values().collect(),
                _ => items().iter().collect(),
            },
            Step::Where(path, wanted) => {
                items().iter().filter(|item| path.find(item) == Some(wanted)).collect()
            }
        }
    }
}

/// A field's name, in which a backslash takes the meaning from a dot.
fn field(text: &str) -> Option<(Step, &str)> {
    let mut name = String::new();
    let mut rest = text.char_indices();
    while let Some((at, next)) = rest.next() {
        match next {
            '.' | '[' => return named(name, &text[at..]),
            '\\' => name.push(rest.next()?.1),
            '{' | '}' | '(' | ')' | '@' | '$' | ' ' => return None,
            other => name.push(other),
        }
    }
    named(name, "")
}

fn named(name: String, rest: &str) -> Option<(Step, &str)> {
    match name.as_str() {
        "" => None,
        "*" => Some((Step::Each, rest)),
        _ => Some((Step::Field(name), rest)),
    }
}

/// What stands in square brackets.
fn bracket(text: &str) -> Option<(Step, &str)> {
    let text = text.strip_prefix('[')?;
    if let Some(filter) = text.strip_prefix("?(@") {
        let (path, rest) = filter.split_once("==")?;
        let rest = rest.trim_start();
        let (value, rest) = match quoted(rest) {
            Some((value, rest)) => (Value::from(value), rest),
            None => {
                let end = rest.find(')')?;
                (serde_json::from_str(rest[..end].trim()).ok()?, &rest[end..])
            }
        };
        let rest = rest.trim_start().strip_prefix(")]")?;
        return Some((Step::Where(Path::parse(path.trim_end()).ok()?, value), rest));
    }
    if let Some((name, rest)) = quoted(text) {
        return Some((Step::Field(name.replace("\\.", ".")), rest.strip_prefix(']')?));
    }
    let (inside, rest) = text.split_once(']')?;
    match inside {
        "*" => Some((Step::Each, rest)),
        number => Some((Step::Index(number.parse().ok()?), rest)),
    }
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|first| ['\'', '"'].contains(first))?;
    text[1..].split_once(quote)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_finds_the_first_value_it_leads_to() {
        let object = json!({"spec": {"size": 3, "list": [{"type": "A", "is": "x"}, {"type": "B", "is": "y"}]},
            "metadata": {"labels": {"a.b/c": "l"}}});
        let check = |path: &str, wanted: Option<Value>| {
            assert_eq!(Path::parse(path).unwrap().find(&object).cloned(), wanted, "{path}");
        };
        check(".spec.size", Some(json!(3)));
        check(".spec.none", None);
        check(".spec.list[1].is", Some(json!("y")));
        check(".spec.list[-1].type", Some(json!("B")));
        check(".spec.list[7].is", None);
        check(".spec.list[*].is", Some(json!("x")));
        check(".spec.list[?(@.type==\"B\")].is", Some(json!("y")));
        check(".spec.list[?(@.type == 'B')].is", Some(json!("y")));
        check(".spec.list[?(@.type=='C')].is", None);
        check(".metadata.labels['a\\.b/c']", Some(json!("l")));
        check(".metadata.labels.a\\.b/c", Some(json!("l")));
    }

    #[test]
    fn what_is_not_supported_is_refused_when_it_is_read() {
        for path in ["", "spec", ".a..b", ".a[", ".a[?(@.x>1)].b", "{.a}", ".a[1:2]", ".a[x]"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }
}
