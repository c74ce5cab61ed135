//! The way back: what a site declares, as the file that would declare it. In one order whatever the order it was
//! written in (databases and settings by name), so that two of them can be compared line by line.

use anyhow::Context as _;
use senren_api::v1::Database;
use serde::Serialize;
use serde_json::Value;

/// What a site declares.
#[derive(Debug, Serialize)]
pub struct Declaration {
    site: String,
    databases: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    r#type: String,
    regions: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deletion_protection: bool,
    spec: Value,
}

impl Declaration {
    /// Of `site`, where an empty name is the default one's.
    pub fn new(site: &str, databases: &[Database]) -> Self {
        let mut databases: Vec<Entry> = databases.iter().map(Entry::from).collect();
        databases.sort_by(|a, b| a.name.cmp(&b.name));
        Self { site: site.to_owned(), databases }
    }

    /// As YAML.
    pub fn to_yaml(&self) -> anyhow::Result<String> {
        serde_saphyr::to_string(self).context("YAML")
    }

    /// As JSON.
    pub fn to_json(&self) -> anyhow::Result<String> {
        serde_json::to_string_pretty(self).context("JSON")
    }
}

impl From<&Database> for Entry {
    fn from(database: &Database) -> Self {
        // As the control plane reads an empty one.
        let spec = serde_json::from_str(&database.spec_json).unwrap_or_else(|_| serde_json::json!({}));
        Self {
            name: database.name.clone(),
            r#type: database.r#type.clone(),
            regions: database.regions.clone(),
            deletion_protection: database.deletion_protection,
            spec: sorted(spec),
        }
    }
}

/// Every mapping by key.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.into_iter().collect()
        }
        Value::Array(values) => values.into_iter().map(sorted).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::document::Document;

    fn database(name: &str, spec: &Value) -> Database {
        Database {
            name: name.into(),
            r#type: "redis".into(),
            spec_json: spec.to_string(),
            regions: vec!["gcp:b".into(), "aws:a".into()],
            deletion_protection: name == "on",
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let spec = serde_json::json!({
            "z": 9_007_199_254_740_993_u64, "a": ["on", "null", "1e3", "0x10", "", " x ", "- a", "a: b", "#", "~"],
            "m": {"y": true, "x": null, "lines": "one\ntwo\n", "é": -1.5}, "e": {}, "l": [], "12": "12", "q": "it's \"q\"",
        });
        let written = [database("on", &spec), database("no", &serde_json::json!({}))];
        let declaration = Declaration::new("shop", &written);
        for text in [declaration.to_yaml().unwrap(), declaration.to_json().unwrap()] {
            let read =
                Document::parse("f", &text).unwrap_or_else(|p| unreachable!("{p:?} in\n{text}")).request;
            assert_eq!(read.site, "shop");
            let again = Declaration::new("shop", &read.databases);
            assert_eq!(again.to_json().unwrap(), declaration.to_json().unwrap(), "{text}");
            assert_eq!(read.databases[1].regions, written[0].regions, "the order of regions is kept");
        }
    }

    #[test]
    fn the_order_in_which_something_is_written_makes_no_difference() {
        let of = |spec: &str, names: [&str; 2]| {
            let database = |name| Database { name, spec_json: spec.into(), ..Database::default() };
            Declaration::new("a", &names.map(|name| database(name.to_owned()))).to_yaml().unwrap()
        };
        assert_eq!(
            of(r#"{"a":1,"b":{"c":1,"d":2}}"#, ["x", "y"]),
            of(r#"{"b":{"d":2,"c":1},"a":1}"#, ["y", "x"])
        );
    }
}
