//! Label and field selectors, as queries write them and as objects hold them.

use serde_json::Value;

use crate::admit::label_value;
use crate::status::{self, Result};

/// One requirement on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Requirement {
    /// Refuses values that no label can have.
    fn check(&self) -> Result<()> {
        let (Requirement::In(key, values) | Requirement::NotIn(key, values)) = self else { return Ok(()) };
        for (at, value) in values.iter().enumerate() {
            if let Some(problem) = label_value(value) {
                return Err(status::bad_request(format!(
                    "unable to parse requirement: values[{at}][{key}]: Invalid value: {value:?}: {problem}"
                )));
            }
        }
        Ok(())
    }

    fn holds(&self, labels: &Value) -> bool {
        let value = |key: &str| labels.get(key).and_then(Value::as_str);
        let among = |value: &str, values: &[String]| values.iter().any(|v| v == value);
        match self {
            Requirement::In(key, values) => value(key).is_some_and(|v| among(v, values)),
            Requirement::NotIn(key, values) => value(key).is_none_or(|v| !among(v, values)),
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::Absent(key) => value(key).is_none(),
        }
    }
}

/// All requirements must hold; none at all selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Reads `a=b,c in (d,e),!f`.
    pub fn parse(text: &str) -> Result<LabelSelector> {
        let refuse =
            |what: &str| status::bad_request(format!("unable to parse requirement: {what:?} in {text:?}"));
        split_outside_parentheses(text)
            .into_iter()
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| {
                let requirement = parse_requirement(part).ok_or_else(|| refuse(part))?;
                requirement.check()?;
                Ok(requirement)
            })
            .collect::<Result<_>>()
            .map(LabelSelector)
    }

    /// Reads `matchLabels` and `matchExpressions`.
    pub fn of_object(selector: &Value) -> std::result::Result<LabelSelector, String> {
        let mut all = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            all.push(Requirement::In(key.clone(), vec![value.as_str().unwrap_or_default().to_owned()]));
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default().to_owned();
            let values = expression["values"].as_array().map(Vec::as_slice).unwrap_or_default();
            let values = values.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            all.push(match expression["operator"].as_str() {
                Some("In") => Requirement::In(key, values),
                Some("NotIn") => Requirement::NotIn(key, values),
                Some("Exists") => Requirement::Exists(key),
                Some("DoesNotExist") => Requirement::Absent(key),
                other => {
                    return Err(format!(
                        "{} is not a valid label selector operator",
                        other.unwrap_or("\"\"")
                    ));
                }
            });
        }
        Ok(LabelSelector(all))
    }

    /// Whether these labels (an object of strings, or nothing) are selected.
    pub fn matches_labels(&self, labels: &Value) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }

    /// Whether an object's labels are selected.
    pub fn matches(&self, object: &Value) -> bool {
        self.matches_labels(&object["metadata"]["labels"])
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => (),
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_requirement(part: &str) -> Option<Requirement> {
    let key = |text: &str| {
        let text = text.trim();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        (!text.is_empty() && text.chars().all(allowed)).then(|| text.to_owned())
    };
    if let Some(rest) = part.strip_prefix('!') {
        return key(rest).map(Requirement::Absent);
    }
    if let Some(rest) = part.strip_suffix(')') {
        let (head, values) = rest.split_once('(')?;
        let values = values.split(',').map(|v| v.trim().to_owned()).collect();
        let (name, operator) = head.trim().rsplit_once(char::is_whitespace)?;
        return match operator {
            "in" => Some(Requirement::In(key(name)?, values)),
            "notin" => Some(Requirement::NotIn(key(name)?, values)),
            _ => None,
        };
    }
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((name, value)) = part.split_once("!=") {
        return Some(Requirement::NotIn(key(name)?, one(value)));
    }
    if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Requirement::In(key(name)?, one(value)));
    }
    key(part).map(Requirement::Exists)
}

/// Equalities of fields; of the few that every kind can be selected by, and a few of single kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<(String, String, bool)>);

impl FieldSelector {
    /// Reads `metadata.name=a,spec.nodeName!=b`; refuses fields that can't be selected by.
    pub fn parse(text: &str, kind: &str, custom: bool) -> Result<FieldSelector> {
        let mut all = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (field, value, true)
            } else {
                return Err(status::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            if !is_selectable(field, kind) {
                return Err(status::bad_request(if OWN_FIELDS.contains(&kind) || custom {
                    format!("field label not supported: {field}")
                } else {
                    format!(
                        "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                    )
                }));
            }
            all.push((field.to_owned(), value.to_owned(), equal));
        }
        Ok(FieldSelector(all))
    }

    /// Whether an object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, wanted, equal)| {
            let value = field.split('.').fold(object, |value, part| &value[part]);
            (value.as_str().unwrap_or_default() == wanted) == *equal
        })
    }
}

/// Kinds with more fields than those that every object has.
const OWN_FIELDS: [&str; 4] = ["Pod", "Namespace", "Secret", "Event"];

fn is_selectable(field: &str, kind: &str) -> bool {
    match (kind, field) {
        (_, "metadata.name" | "metadata.namespace") => true,
        (
            "Pod",
            "status.phase"
            | "spec.nodeName"
            | "spec.restartPolicy"
            | "spec.serviceAccountName"
            | "status.podIP",
        ) => true,
        ("Namespace", "status.phase") | ("Secret", "type") => true,
        ("Event", "reason" | "type" | "reportingComponent") => true,
        ("Event", field) => field.starts_with("involvedObject."),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn check(selector: &str, selected: bool) {
        let labels = json!({"metadata": {"labels": {"a": "b", "x/y": ""}}});
        assert_eq!(LabelSelector::parse(selector).unwrap().matches(&labels), selected, "{selector}");
    }

    #[test]
    fn all_operators_of_label_selectors_work() {
        for (selector, selected) in [
            ("", true),
            ("a=b", true),
            ("a==b", true),
            ("a = b", true),
            ("a=c", false),
            ("a!=c", true),
            ("z!=c", true),
            ("a!=b", false),
            ("a", true),
            ("z", false),
            ("!z", true),
            ("!a", false),
            ("a in (c, b)", true),
            ("a in (c)", false),
            ("a notin (c)", true),
            ("z notin (c)", true),
            ("a=b,x/y=", true),
            ("a=b,z", false),
        ] {
            check(selector, selected);
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["a b", "a in b", "=x", "a of (b)"] {
            assert_eq!(LabelSelector::parse(text).unwrap_err().code, 400, "{text}");
        }
        assert_eq!(FieldSelector::parse("spec.replicas=1", "StatefulSet", false).unwrap_err().code, 400);
    }
}
