//! What is served: `/version`, `/api`, `/apis` and the resources of each group version.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{ApiResponse, full, json_response, openapi, to_bytes};
use crate::events;
use crate::kinds::{self, Kind};
use crate::status::{self, Result};
use crate::store::Store;

/// The Kubernetes version whose behaviour is aimed at.
const MINOR: &str = "36";

/// Answers a path that isn't about objects.
pub(crate) fn answer(store: &Store, path: &[String], headers: &HeaderMap) -> Result<ApiResponse> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let body = match path.as_slice() {
        ["version"] => version(),
        ["healthz" | "livez" | "readyz"] => {
            return Ok(http::Response::new(full(b"ok".to_vec())));
        }
        ["api"] if wants_all(headers) => return Ok(everything(store, true)),
        ["apis"] if wants_all(headers) => return Ok(everything(store, false)),
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ["api", "v1"] => resources(store, "", "v1")?,
        ["apis"] => json!({"kind": "APIGroupList", "apiVersion": "v1",
            "groups": groups(store).iter().map(|(name, versions)| group(name, versions)).collect::<Vec<_>>()}),
        ["apis", name] => {
            let groups = groups(store);
            let versions = groups.get(*name).ok_or_else(status::no_such_path)?;
            let mut body = group(name, versions);
            body["kind"] = "APIGroup".into();
            body["apiVersion"] = "v1".into();
            body
        }
        ["apis", name, version] => resources(store, name, version)?,
        ["openapi", rest @ ..] => return openapi::answer(store, rest, headers),
        _ => return Err(status::no_such_path()),
    };
    Ok(json_response(StatusCode::OK, to_bytes(&body)))
}

/// Whether a client takes everything that is served in one answer (aggregated discovery).
fn wants_all(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    accept.flat_map(|value| value.split(',')).any(|range| {
        let has = |word: &str| range.split(';').any(|part| part.trim() == word);
        has("application/json")
            && has("g=apidiscovery.k8s.io")
            && has("v=v2")
            && has("as=APIGroupDiscoveryList")
    })
}

/// What is served, of the core group or of all others.
fn everything(store: &Store, core: bool) -> ApiResponse {
    const TYPE: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let groups = if core { BTreeMap::from([(String::new(), vec!["v1".to_owned()])]) } else { groups(store) };
    let kinds = store.kinds();
    let version = |group: &str, version: &String| {
        let own = kinds.iter().filter(|kind| serves(kind, group, version));
        let resources: Vec<Value> = own.map(|kind| discovered(kind, group, version)).collect();
        json!({"version": version, "freshness": "Current", "resources": resources})
    };
    let items: Vec<Value> = groups
        .iter()
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions.iter().map(|own| version(name, own)).collect();
            json!({"metadata": {"name": name, "creationTimestamp": null}, "versions": versions})
        })
        .collect();
    let body = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": items});
    let mut response = json_response(StatusCode::OK, to_bytes(&body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TYPE));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// Whether a kind is to be found in a group version; events are in two.
pub(super) fn serves(kind: &Kind, group: &str, version: &str) -> bool {
    let event_view = group == events::GROUP && kind.resource == kinds::EVENTS;
    event_view || (kind.resource.group == group && kind.versions.iter().any(|own| own == version))
}

fn discovered(kind: &Kind, group: &str, version: &str) -> Value {
    let scope = if kind.namespaced { "Namespaced" } else { "Cluster" };
    let subresources: Vec<Value> = subresources(kind)
        .into_iter()
        .map(|sub| {
            let (of_group, of_version) = sub.other.unwrap_or((group, version));
            json!({"subresource": sub.name, "verbs": sub.verbs,
                "responseKind": {"group": of_group, "version": of_version, "kind": sub.kind}})
        })
        .collect();
    let mut out = json!({"resource": kind.resource.plural, "scope": scope, "singularResource": kind.singular,
        "responseKind": {"group": group, "version": version, "kind": kind.kind}, "verbs": kind.verbs(),
        "shortNames": kind.short_names, "categories": kind.categories});
    if !subresources.is_empty() {
        out["subresources"] = subresources.into();
    }
    out
}

/// A part of an object with a path of its own.
struct Subresource<'a> {
    name: &'static str,
    kind: &'a str,
    /// The group and version of its kind, where they aren't the object's.
    other: Option<(&'static str, &'static str)>,
    verbs: &'static [&'static str],
}

fn subresources(kind: &Kind) -> Vec<Subresource<'_>> {
    let mut found = Vec::new();
    let own = kind.kind.as_str();
    if kind.status {
        found.push(Subresource {
            name: "status",
            kind: own,
            other: None,
            verbs: &["get", "patch", "update"],
        });
    }
    if kind.resource == kinds::STATEFUL_SETS {
        let other = Some(("autoscaling", "v1"));
        found.push(Subresource { name: "scale", kind: "Scale", other, verbs: &["get", "patch", "update"] });
    }
    if kind.resource == kinds::PODS {
        found.push(Subresource { name: "log", kind: own, other: None, verbs: &["get"] });
        found.push(Subresource {
            name: "exec",
            kind: "PodExecOptions",
            other: None,
            verbs: &["create", "get"],
        });
    }
    found
}

fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": format!("v1.{MINOR}.0+senren"), "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("linux/{}", std::env::consts::ARCH),
    })
}

pub(super) fn groups(store: &Store) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    groups.insert(events::GROUP.into(), vec!["v1".into()]);
    for kind in store.kinds().iter().filter(|kind| !kind.resource.group.is_empty()) {
        let versions = groups.entry(kind.resource.group.to_string()).or_default();
        for version in &kind.versions {
            if !versions.contains(version) {
                versions.push(version.clone());
            }
        }
    }
    groups
}

fn group(name: &str, versions: &[String]) -> Value {
    let of = |version: &String| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": versions.iter().map(of).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(of)})
}

fn resources(store: &Store, group: &str, version: &str) -> Result<Value> {
    let mut found: Vec<Value> = Vec::new();
    for kind in store.kinds().iter().filter(|kind| serves(kind, group, version)) {
        describe(kind, &mut found);
    }
    if found.is_empty() {
        return Err(status::no_such_path());
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Ok(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": found}),
    )
}

fn describe(kind: &Arc<Kind>, out: &mut Vec<Value>) {
    let mut own = json!({
        "name": kind.resource.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": kind.verbs(),
    });
    for (field, names) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
        if !names.is_empty() {
            own[field] = json!(names);
        }
    }
    out.push(own);
    for sub in subresources(kind) {
        let mut entry = json!({"name": format!("{}/{}", kind.resource.plural, sub.name), "singularName": "",
            "namespaced": kind.namespaced, "kind": sub.kind, "verbs": sub.verbs});
        if let Some((group, version)) = sub.other {
            entry["group"] = group.into();
            entry["version"] = version.into();
        }
        out.push(entry);
    }
}
