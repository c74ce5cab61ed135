//! What the tests share: clusters, objects, and the waiting for what happens asynchronously.

use std::future::Future;
use std::time::Duration;

use kube::api::{Api, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind, Status};
use kube::{Client, Error};
use senren_kubesim::{Config, KubeSim};
use serde_json::{Value, json};

pub async fn cluster() -> KubeSim {
    KubeSim::start(Config::default()).await.unwrap()
}

pub fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// All objects of a kind in `default`, untyped.
pub fn api(client: &Client, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), "default", &resource(group, version, kind))
}

pub fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

pub fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

pub fn config_maps(client: &Client) -> Api<DynamicObject> {
    api(client, "", "v1", "ConfigMap")
}

pub fn stateful_sets(client: &Client) -> Api<DynamicObject> {
    api(client, "apps", "v1", "StatefulSet")
}

pub fn stateful_set(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": {
        "serviceName": name, "replicas": 1, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [
            {"name": "main", "image": "redis:7", "ports": [{"containerPort": 6379, "name": "redis"}]}]}}}})
}

pub async fn create(api: &Api<DynamicObject>, value: Value) -> DynamicObject {
    api.create(&PostParams::default(), &object(value)).await.unwrap()
}

/// Server-side apply, without force.
pub async fn apply(api: &Api<DynamicObject>, manager: &str, value: Value) -> Result<DynamicObject, Error> {
    let name = value["metadata"]["name"].as_str().unwrap().to_owned();
    api.patch(&name, &PatchParams::apply(manager), &Patch::Apply(&value)).await
}

/// Server-side apply, with force.
pub async fn force(api: &Api<DynamicObject>, manager: &str, value: Value) -> Result<DynamicObject, Error> {
    let name = value["metadata"]["name"].as_str().unwrap().to_owned();
    api.patch(&name, &PatchParams::apply(manager).force(), &Patch::Apply(&value)).await
}

pub fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Status {
    match result {
        Err(Error::Api(status)) => *status,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

pub fn version(object: &DynamicObject) -> String {
    object.metadata.resource_version.clone().unwrap()
}

/// `metadata.managedFields` as (manager, operation, subresource, fieldsV1).
pub fn managers(object: &DynamicObject) -> Vec<(String, String, String, Value)> {
    let entries = object.metadata.managed_fields.clone().unwrap_or_default();
    entries
        .into_iter()
        .map(|e| {
            let fields = e.fields_v1.map(|f| f.0).unwrap_or_default();
            (e.manager.unwrap(), e.operation.unwrap(), e.subresource.unwrap_or_default(), fields)
        })
        .collect()
}

pub fn fields_of(object: &DynamicObject, manager: &str) -> Option<Value> {
    managers(object).into_iter().find(|(name, ..)| name == manager).map(|(.., fields)| fields)
}

/// Waits for something that happens by itself, soon.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut happened: impl FnMut() -> F) {
    for _ in 0..500 {
        if happened().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("did not happen: {what}");
}

pub async fn gone(api: &Api<DynamicObject>, name: &str) {
    eventually(&format!("{name} is gone"), || async { api.get_opt(name).await.unwrap().is_none() }).await;
}

pub fn definition(schema: Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
        "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": schema},
            "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]}]}})
}

pub fn widget_schema() -> Value {
    json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1},
            "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "count": {"type": "integer"}}}},
            "limits": {"type": "object", "additionalProperties": {"type": "string"}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
        "status": {"type": "object", "properties": {"phase": {"type": "string"}, "seen": {"type": "integer"}}}}})
}

pub fn definitions(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition"))
}

pub fn widgets(client: &Client) -> Api<DynamicObject> {
    api(client, "example.com", "v1", "Widget")
}

pub fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

/// A cluster that serves widgets.
pub async fn with_widgets() -> (KubeSim, Client) {
    let sim = cluster().await;
    let client = sim.client();
    create(&definitions(&client), definition(widget_schema())).await;
    established(&client).await;
    (sim, client)
}

pub async fn established(client: &Client) {
    let definitions = definitions(client);
    eventually("the definition is established", || async {
        let definition = definitions.get("widgets.example.com").await.unwrap();
        let conditions = definition.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
    })
    .await;
}

pub fn owned_by(value: Value, owner: &DynamicObject) -> Value {
    let mut value = value;
    let types = owner.types.clone().unwrap();
    value["metadata"]["ownerReferences"] = json!([{"apiVersion": types.api_version, "kind": types.kind,
        "name": owner.metadata.name, "uid": owner.metadata.uid, "controller": true, "blockOwnerDeletion": true}]);
    value
}

pub fn meta(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() }
}
