//! OpenAPI documents, as far as clients decide by them: which kinds can be patched, with which parameters, and the
//! schemas of custom resources.
//!
//! There are no schemas of built-in kinds: `kubectl` has its own of those, and what it leaves to the server is checked
//! there. The old document (`/openapi/v2`) is read by `kubectl` in its protobuf form only.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::{ApiResponse, discovery, full, json_response, to_bytes};
use crate::kinds::Kind;
use crate::status::{self, Result};
use crate::store::Store;

/// Parameters that every patch takes.
const PARAMETERS: [&str; 4] = ["dryRun", "fieldManager", "fieldValidation", "force"];

/// Answers a path below `/openapi`.
pub(super) fn answer(store: &Store, path: &[&str], headers: &HeaderMap) -> Result<ApiResponse> {
    match path {
        ["v2"] => Ok(v2(store, headers)),
        ["v3"] => Ok(json_response(StatusCode::OK, to_bytes(&index(store)))),
        ["v3", "api", "v1"] => v3(store, "", "v1"),
        ["v3", "apis", group, version] => v3(store, group, version),
        _ => Err(status::no_such_path()),
    }
}

fn index(store: &Store) -> Value {
    // The documents change with the definitions; clients keep them for as long as the address is the same.
    let revision = store.revision();
    let mut paths = Map::new();
    let mut add = |path: String| {
        let address = json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={revision}")});
        paths.insert(path, address);
    };
    add("api/v1".into());
    for (group, versions) in discovery::groups(store) {
        versions.iter().for_each(|version| add(format!("apis/{group}/{version}")));
    }
    json!({"paths": paths})
}

fn v3(store: &Store, group: &str, version: &str) -> Result<ApiResponse> {
    let kinds = store.kinds();
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for kind in kinds.iter().filter(|kind| discovery::serves(kind, group, version)) {
        let identity = json!({"group": group, "version": version, "kind": kind.kind});
        let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
        let patch = json!({"parameters": PARAMETERS.map(parameter), "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": identity});
        paths.insert(path_of(kind, group, version), json!({"patch": patch}));
        if let Some(custom) = &kind.custom {
            let mut schema = custom.source().clone();
            let text = json!({"type": "string"});
            schema["properties"]["apiVersion"] = text.clone();
            schema["properties"]["kind"] = text;
            schema["properties"]["metadata"] = json!({"type": "object"});
            schema["x-kubernetes-group-version-kind"] = json!([identity]);
            schemas.insert(format!("{group}.{version}.{}", kind.kind), schema);
        }
    }
    if paths.is_empty() {
        return Err(status::no_such_path());
    }
    let body = json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "unversioned"}, "paths": paths,
        "components": {"schemas": schemas}});
    Ok(json_response(StatusCode::OK, to_bytes(&body)))
}

fn path_of(kind: &Kind, group: &str, version: &str) -> String {
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let namespace = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    format!("{root}{namespace}/{}/{{name}}", kind.resource.plural)
}

fn v2(store: &Store, headers: &HeaderMap) -> ApiResponse {
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kinds = store.kinds();
    if !accept.contains("+protobuf") {
        let paths: Map<String, Value> = kinds
            .iter()
            .map(|kind| (path_of(kind, &kind.resource.group, &kind.storage), in_json(kind)))
            .collect();
        let body = json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "unversioned"}, "paths": paths});
        return json_response(StatusCode::OK, to_bytes(&body));
    }
    let paths: Vec<u8> = kinds.iter().flat_map(|kind| bytes(2, &in_protobuf(kind))).collect();
    let info = [bytes(1, b"Kubernetes"), bytes(2, b"unversioned")].concat();
    let body = [bytes(1, b"2.0"), bytes(2, &info), bytes(8, &paths), bytes(9, b"")].concat();
    let mut response = http::Response::new(full(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    response
}

fn in_json(kind: &Kind) -> Value {
    let parameter = |name: &str| json!({"name": name, "in": "query", "type": "string", "uniqueItems": true});
    json!({"patch": {"parameters": PARAMETERS.map(parameter), "responses": {"200": {"description": "OK"}},
        "x-kubernetes-group-version-kind":
            {"group": kind.resource.group, "version": kind.storage, "kind": kind.kind}}})
}

/// A path as gnostic's `NamedPathItem`, `openapiv2/OpenAPIv2.proto`; the numbers are its fields'.
fn in_protobuf(kind: &Kind) -> Vec<u8> {
    let parameter = |name: &str| {
        let query = [bytes(2, b"query"), bytes(4, name.as_bytes()), bytes(6, b"string")].concat();
        // ParametersItem.parameter, Parameter.non_body_parameter, .query_parameter_sub_schema
        bytes(8, &bytes(1, &bytes(2, &bytes(3, &query))))
    };
    let (group, version, kind_name) = (&kind.resource.group, &kind.storage, &kind.kind);
    let yaml = format!("group: {group:?}\nkind: {kind_name}\nversion: {version}\n");
    let extension =
        [bytes(1, b"x-kubernetes-group-version-kind"), bytes(2, &bytes(2, yaml.as_bytes()))].concat();
    let operation = [PARAMETERS.map(parameter).concat(), bytes(13, &extension)].concat();
    let path = path_of(kind, group, version);
    [bytes(1, path.as_bytes()), bytes(2, &bytes(8, &operation))].concat()
}

/// A field of protobuf that has a length.
fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(content);
    out
}
