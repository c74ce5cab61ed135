//! The script: chapters of calls, as `chapters/*.yaml` write them.
//!
//! A chapter has a namespace, `{ns}`, and an API group, `{group}`, of its own, so that chapters can run at once. A step
//! refers to an earlier answer by that step's `id` and a JSON pointer into its body: `{first/metadata/uid}`.

use std::{collections::BTreeMap, path::Path};

use http::{Method, header};
use serde::Deserialize;
use serde_json::Value;

/// A series of calls, each of which may rest on those before.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chapter {
    /// Of its file.
    #[serde(skip)]
    pub name: String,
    /// What it is about.
    #[serde(rename = "about")]
    pub _about: String,
    /// Whether it begins with the definition of `widgets` in `{group}`, which `widgets.yaml` holds.
    #[serde(default)]
    pub widgets: bool,
    pub steps: Vec<Step>,
}

/// One call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What it shows.
    pub name: String,
    /// `GET /api/v1/…`; instead of a method also the four kinds of patch, and WATCH.
    pub call: String,
    /// Sent as JSON.
    pub body: Option<Value>,
    /// Sent as it is.
    pub raw: Option<String>,
    /// The media type of what is sent, where the method doesn't say it.
    pub r#type: Option<String>,
    /// The media type that is wanted.
    pub accept: Option<String>,
    /// By which later steps refer to the answer.
    pub id: Option<String>,
    /// Asked again until the answer is so: JSON pointers into `{code, body}` and the values there; null is absence.
    #[serde(default)]
    pub until: BTreeMap<String, Value>,
    /// The only parts of the body that count, as JSON pointers; all when empty.
    #[serde(default)]
    pub only: Vec<String>,
}

impl Step {
    /// Method, media type of the body, and path.
    pub fn call(&self) -> (Method, &str, &str) {
        let (verb, path) = self.call.split_once(' ').expect("a method and a path");
        let (method, format) = match verb {
            "WATCH" => (Method::GET, ""),
            "APPLY" => (Method::PATCH, "application/apply-patch+yaml"),
            "MERGE" => (Method::PATCH, "application/merge-patch+json"),
            "STEPS" => (Method::PATCH, "application/json-patch+json"),
            "STRATEGIC" => (Method::PATCH, "application/strategic-merge-patch+json"),
            other => (other.parse().expect("a method"), "application/json"),
        };
        (method, self.r#type.as_deref().unwrap_or(format), path)
    }

    /// What is sent beside the body.
    pub fn headers(&self) -> Vec<(header::HeaderName, &str)> {
        let accept = self.accept.as_deref().unwrap_or("application/json");
        vec![
            (header::ACCEPT, accept),
            (header::USER_AGENT, "differential/1"),
            (header::CONTENT_TYPE, self.call().1),
        ]
    }

    /// Whether the answer is one line per event.
    pub fn is_watch(&self) -> bool {
        self.call.starts_with("WATCH ")
    }
}

/// All chapters, by name.
pub fn chapters() -> Vec<Chapter> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/chapters");
    let mut chapters: Vec<Chapter> = std::fs::read_dir(&directory)
        .expect("the chapters")
        .map(|entry| {
            let path = entry.expect("a file").path();
            let mut chapter: Chapter = read(&path);
            chapter.name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            if chapter.widgets {
                let widgets: Vec<Step> = read(&directory.with_file_name("widgets.yaml"));
                chapter.steps.splice(0..0, widgets);
            }
            chapter
        })
        .collect();
    chapters.sort_by(|a, b| a.name.cmp(&b.name));
    chapters
}

/// Reads a file of YAML.
pub fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(&text, options)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
