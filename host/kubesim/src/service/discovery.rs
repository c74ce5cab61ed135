//! What is served: `/version`, `/api`, `/apis` and the resources of each group version.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::{ApiResponse, full, json_response, to_bytes};
use crate::events;
use crate::kinds::{self, Kind};
use crate::status::{self, Result};
use crate::store::Store;

/// The Kubernetes version whose behaviour is aimed at.
const MINOR: &str = "35";

/// Answers a path that isn't about objects.
pub(crate) fn answer(store: &Store, path: &[String]) -> Result<ApiResponse> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let body = match path.as_slice() {
        ["version"] => version(),
        ["healthz" | "livez" | "readyz"] => {
            return Ok(http::Response::new(full(b"ok".to_vec())));
        }
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
        ["openapi", ..] => return Err(status::not_implemented("OpenAPI documents")),
        _ => return Err(status::no_such_path()),
    };
    Ok(json_response(StatusCode::OK, to_bytes(&body)))
}

fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": format!("v1.{MINOR}.0+senren"), "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("linux/{}", std::env::consts::ARCH),
    })
}

fn groups(store: &Store) -> BTreeMap<String, Vec<String>> {
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
    for kind in store.kinds() {
        let event_view = group == events::GROUP && kind.resource == kinds::EVENTS;
        if event_view || (kind.resource.group == group && kind.versions.iter().any(|v| v == version)) {
            describe(&kind, &mut found);
        }
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
    out.push(json!({
        "name": kind.resource.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": kind.verbs(), "shortNames": kind.short_names, "categories": kind.categories,
    }));
    if kind.status {
        out.push(json!({"name": format!("{}/status", kind.resource.plural), "singularName": "",
            "namespaced": kind.namespaced, "kind": kind.kind, "verbs": ["get", "patch", "update"]}));
    }
    if kind.resource == kinds::PODS {
        out.push(json!({"name": "pods/log", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["get"]}));
        out.push(
            json!({"name": "pods/exec", "singularName": "", "namespaced": true, "kind": "PodExecOptions",
            "verbs": ["create", "get"]}),
        );
    }
}
