//! What must differ between two servers, made the same: uids, revisions, times, addresses, generated names.
//!
//! Equal things stay equal and revisions keep their order: a uid becomes the number of its first appearance, an
//! object's resourceVersion its rank among those seen in the chapter, a list's the number of changes it is not older
//! than. Everything else is left as the server said it.

use std::collections::BTreeSet;

use regex::{Captures, Regex};
use serde_json::Value;

use crate::driver::Answer;

/// Makes the answers of one run of a chapter comparable with those of another.
pub fn normalize(answers: &mut [Answer]) {
    let generated = generated(answers);
    let mut uids = Vec::new();
    for answer in &mut *answers {
        let mut text = answer.body.to_string();
        for (name, shown) in &generated {
            text = text.replace(name, shown);
        }
        answer.body = serde_json::from_str(&words(&text, &mut uids)).expect("still JSON");
    }
    let mut seen = BTreeSet::new();
    answers.iter().for_each(|answer| collect(&answer.body, &mut seen));
    for answer in answers {
        // Those that only say how far a watch is come when the server likes.
        if let Value::Array(events) = &mut answer.body {
            events.retain(|event| {
                event["type"] != "BOOKMARK" || event["object"]["metadata"]["annotations"].is_object()
            });
        }
        rank(&mut answer.body, &seen);
        tidy(&mut answer.body);
    }
}

/// Names that the server made from a prefix, and how they are shown.
fn generated(answers: &[Answer]) -> Vec<(String, String)> {
    fn find(value: &Value, found: &mut Vec<(String, String)>) {
        if let (Some(prefix), Some(name)) = (value["generateName"].as_str(), value["name"].as_str())
            && let Some(random) = name.strip_prefix(prefix)
            && random.len() == 5
            && random.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
        {
            found.push((name.to_owned(), format!("{prefix}<random>")));
        }
        children(value).for_each(|child| find(child, found));
    }
    let mut found = Vec::new();
    answers.iter().for_each(|answer| find(&answer.body, &mut found));
    found
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Object(fields) => Box::new(fields.values()),
        Value::Array(items) => Box::new(items.iter()),
        _ => Box::new(std::iter::empty()),
    }
}

/// What can be told by its form alone, wherever it stands, in keys and messages too.
fn words(text: &str, uids: &mut Vec<String>) -> String {
    let replace = |pattern: &str, text: &str, with: &str| {
        Regex::new(pattern).expect("a pattern").replace_all(text, with).into_owned()
    };
    let uid = Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").expect("a pattern");
    let text = uid.replace_all(text, |of: &Captures<'_>| {
        let at = uids.iter().position(|known| *known == of[0]).unwrap_or_else(|| {
            uids.push(of[0].to_owned());
            uids.len() - 1
        });
        format!("<uid {}>", at + 1)
    });
    let text = replace(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", &text, "<time>");
    let text = replace(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", &text, "<microtime>");
    let text = replace(r"\b\d+\.\d+\.\d+\.\d+\b", &text, "<address>");
    let text = replace(r"(esource version: \d+ \()\d+", &text, "${1}<oldest>");
    let text = replace(r"(esource version: \d+, current: )\d+", &text, "${1}<newest>");
    let text = replace(r"(in record \()\d+", &text, "${1}<revision>");
    let text = replace(r#"(resourceVersion\\+":\\+")\d+"#, &text, "${1}<revision>");
    let text = numbered(&text, r#"("(?:current|update)Revision":"[a-z0-9-]+?-)([a-z0-9]{8,10})""#);
    let text = replace("(kube-api-access-)[a-z0-9]{5}", &text, "${1}<random>");
    replace(r"(ResourceVersion in object meta: )\d+", &text, "${1}<revision>")
}

/// Hashes, in the order in which they appear.
fn numbered(text: &str, pattern: &str) -> String {
    let mut seen: Vec<String> = Vec::new();
    let number = |of: &Captures<'_>| {
        let at = seen.iter().position(|known| *known == of[2]).unwrap_or_else(|| {
            seen.push(of[2].to_owned());
            seen.len() - 1
        });
        format!("{}<hash {}>\"", &of[1], at + 1)
    };
    Regex::new(pattern).expect("a pattern").replace_all(text, number).into_owned()
}

/// Whether a value's resourceVersion is that of a collection, which may be newer than everything in it.
fn is_collection(value: &Value) -> bool {
    let kind = value["kind"].as_str().unwrap_or_default();
    kind.ends_with("List") || kind == "Table"
}

fn revision_of(value: &Value) -> Option<u64> {
    value["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

/// The revisions at which objects were changed.
fn collect(value: &Value, seen: &mut BTreeSet<u64>) {
    if value["type"] == "BOOKMARK" {
        return;
    }
    if let Some(revision) = revision_of(value)
        && !is_collection(value)
    {
        seen.insert(revision);
    }
    children(value).for_each(|child| collect(child, seen));
}

fn rank(value: &mut Value, seen: &BTreeSet<u64>) {
    if value["type"] == "BOOKMARK" {
        // Like a list, it says how far everything is.
        value["object"]["kind"] =
            format!("{}List", value["object"]["kind"].as_str().unwrap_or_default()).into();
    }
    if let Some(revision) = revision_of(value) {
        let rank = seen.range(..=revision).count();
        let exact = seen.contains(&revision) && !is_collection(value);
        let shown = if exact { format!("<{rank}>") } else { format!("<not older than {rank}>") };
        value["metadata"]["resourceVersion"] = shown.into();
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|child| rank(child, seen)),
        Value::Array(items) => items.iter_mut().for_each(|child| rank(child, seen)),
        _ => (),
    }
}

/// What depends on when something happened within a second, and tokens that only their server can read.
fn tidy(value: &mut Value) {
    if let Some(Value::Array(entries)) = value.get_mut("managedFields") {
        entries.sort_by_key(|entry| {
            ["operation", "manager", "subresource", "apiVersion"].map(|field| entry[field].to_string())
        });
    }
    if let Some(Value::Array(causes)) = value.get_mut("causes") {
        causes.sort_by_key(|cause| ["field", "reason", "message"].map(|field| cause[field].to_string()));
    }
    if value.get("storageVersionHash").is_some() {
        value["storageVersionHash"] = "<hash>".into();
    }
    if let Some(message) = value["message"].as_str().map(|message| in_order(message, value)) {
        value["message"] = message.into();
    }
    if value["continue"].as_str().is_some_and(|token| !token.is_empty()) {
        value["continue"] = "<token>".into();
    }
    if let Some(Value::Array(cells)) = value.get_mut("cells") {
        let age = Regex::new(r"^(\d+[smhdy])+$").expect("a pattern");
        for cell in cells.iter_mut().filter(|cell| cell.as_str().is_some_and(|text| age.is_match(text))) {
            *cell = "<age>".into();
        }
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(tidy),
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => (),
    }
}

/// A message that lists several things, which a server finds in an order of chance: its causes stand for themselves.
fn in_order(message: &str, status: &Value) -> String {
    let causes = status["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    if let Some((head, list)) = message.split_once(" is invalid: [") {
        let mut rest = list.len() - 1;
        for cause in causes {
            let text = |part: &str| cause[part].as_str().unwrap_or_default().to_owned();
            let told = format!("{}: {}", text("field"), text("message"));
            rest = if list.contains(&told) { rest.saturating_sub(told.len()) } else { usize::MAX };
        }
        if rest == ", ".len() * (causes.len() - 1) {
            return format!("{head} is invalid: [<its causes>]");
        }
    }
    let mut lines: Vec<&str> = message.split('\n').collect();
    if lines.len() > 1 {
        lines[1..].sort_unstable();
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn normal(bodies: &[Value]) -> Vec<Value> {
        let answer = |body: &Value| Answer {
            step: String::new(),
            code: 200,
            warnings: Vec::new(),
            format: None,
            never: false,
            body: body.clone(),
        };
        let mut answers: Vec<Answer> = bodies.iter().map(answer).collect();
        normalize(&mut answers);
        answers.into_iter().map(|answer| answer.body).collect()
    }

    #[test]
    fn revisions_keep_their_order_and_equality_and_nothing_else() {
        let object = |revision: &str| json!({"metadata": {"resourceVersion": revision}});
        let list = |revision: &str| json!({"kind": "XList", "metadata": {"resourceVersion": revision}});
        let one = normal(&[object("7"), object("90"), object("7"), list("90"), list("8")]);
        let other = normal(&[object("700"), object("900"), object("700"), list("950"), list("700")]);
        assert_eq!(one, other);
        assert_ne!(one, normal(&[object("7"), object("90"), object("8"), list("90"), list("8")]));
        assert_ne!(one, normal(&[object("7"), object("90"), object("7"), list("8"), list("8")]));
    }

    #[test]
    fn uids_are_told_apart_but_not_compared() {
        let uid = |digit: &str| json!({"uid": format!("{}-0000-4000-8000-000000000000", digit.repeat(8))});
        assert_eq!(normal(&[uid("1"), uid("2"), uid("1")]), normal(&[uid("3"), uid("1"), uid("3")]));
        assert_ne!(normal(&[uid("1"), uid("2"), uid("1")]), normal(&[uid("1"), uid("2"), uid("2")]));
    }
}
