//! Custom resource definitions: what a resource type looks like in a region's Kubernetes API.
//!
//! One definition per type, derived from the plugin's description and nothing else, so that every plane that serves
//! the same plugin applies the same definition.

use std::time::Duration;

use anyhow::Context as _;
use futures::future::join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::wait::{await_condition, conditions},
};
use senren_engine::{PluginSet, ResourceType};
use serde_json::{Value, json};

use crate::{api::within, names};

/// How long the API server may take to serve a new definition.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(30);

/// Applies the definition of every type in `plugins` and waits until the API server serves them. One that fails keeps
/// none of the others back.
pub async fn install(client: Client, plugins: &PluginSet) -> anyhow::Result<()> {
    let installs = plugins.iter().map(|(_, served)| install_type(client.clone(), &served.resource_type));
    let failures: Vec<String> = join_all(installs)
        .await
        .into_iter()
        .filter_map(|result| Some(format!("{:#}", result.err()?)))
        .collect();
    anyhow::ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}

/// Applies the definition of one type and waits until the API server serves it.
pub async fn install_type(client: Client, resource_type: &ResourceType) -> anyhow::Result<()> {
    install_one(client, definition(resource_type)?).await
}

async fn install_one(client: Client, definition: Value) -> anyhow::Result<()> {
    let name = definition.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let params = PatchParams::apply(names::CRD_MANAGER).force();
    let applied = within(api.patch(name, &params, &Patch::Apply(&definition)))
        .await
        .with_context(|| format!("custom resource definition {name} can't be installed"))?;
    let established = conditions::is_crd_established();
    if kube::runtime::wait::Condition::matches_object(&established, Some(&applied)) {
        return Ok(());
    }
    tokio::time::timeout(ESTABLISH_TIMEOUT, await_condition(api, name, established))
        .await
        .with_context(|| {
            format!("custom resource definition {name} is not served after {ESTABLISH_TIMEOUT:?}")
        })?
        .with_context(|| format!("custom resource definition {name} can't be watched"))?;
    Ok(())
}

/// The definition of one type, as JSON.
pub fn definition(resource_type: &ResourceType) -> anyhow::Result<Value> {
    let wit = &resource_type.wit;
    let columns = printer_columns(&wit.printer_columns)
        .with_context(|| format!("printer columns of type {}", wit.name))?;
    Ok(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{}", wit.plural, senren_api::GROUP),
            "labels": { names::MANAGED_BY: names::MANAGER, names::TYPE: wit.name },
        },
        "spec": {
            "group": senren_api::GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": wit.kind,
                "listKind": format!("{}List", wit.kind),
                "plural": wit.plural,
                "singular": wit.kind.to_lowercase(),
                "shortNames": wit.short_names,
                "categories": ["senren"],
            },
            "versions": [{
                "name": senren_api::CR_VERSION,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": columns,
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": { "spec": resource_type.schema.to_crd(), "status": status_schema() },
                } },
            }],
        },
    }))
}

/// What every type shows, around the plugin's own columns.
fn printer_columns(plugin: &str) -> anyhow::Result<Vec<Value>> {
    let own: Vec<Value> = if plugin.trim().is_empty() { vec![] } else { serde_json::from_str(plugin)? };
    let column = |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
    let mut columns =
        vec![column("Phase", "string", ".status.phase"), column("Ready", "boolean", ".status.ready")];
    let taken = |own: &Value| ["Phase", "Ready", "Age"].iter().any(|name| own["name"] == *name);
    columns.extend(own.into_iter().filter(|own| !taken(own)));
    columns.push(column("Age", "date", ".metadata.creationTimestamp"));
    Ok(columns)
}

/// Structural schema of [`crate::status::Status`].
fn status_schema() -> Value {
    let text = json!({"type": "string"});
    let port = json!({"type": "integer", "format": "int32", "minimum": 0, "maximum": 65535});
    let list =
        |properties: Value| json!({"type": "array", "items": {"type": "object", "properties": properties}});
    let mut conditions = list(json!({
        "type": text, "status": text, "reason": text, "message": text,
        "lastTransitionTime": {"type": "string", "format": "date-time"},
    }));
    conditions["x-kubernetes-list-type"] = json!("map");
    conditions["x-kubernetes-list-map-keys"] = json!(["type"]);
    conditions["items"]["required"] = json!(["type", "status"]);
    json!({
        "type": "object",
        "properties": {
            "observedGeneration": {"type": "integer", "format": "int64"},
            "senrenGeneration": {"type": "integer", "format": "int64"},
            "phase": text,
            "ready": {"type": "boolean"},
            "host": text,
            "port": port,
            "reason": text,
            "message": text,
            "endpoints": list(json!({"name": text, "host": text, "port": port})),
            "conditions": conditions,
            "details": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "inventory": list(json!({"apiVersion": text, "kind": text, "name": text, "uid": text})),
            "secrets": list(json!({"name": text, "version": text, "kind": text})),
        },
    })
}
