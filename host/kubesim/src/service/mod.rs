//! HTTP requests in, verbs out: the API as a tower service, which is what a `kube::Client` sits on.
//!
//! Routing and formats only; every rule is in the verbs.

mod discovery;
mod exec;
mod list;
mod openapi;
mod query;
pub(crate) mod route;
mod stream;
mod table;
mod upgrade;
mod view;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use kube::core::Status;
use serde_json::{Value, json};

use crate::faults::RevisionsBack;
use crate::kinds::{GroupResource, Kind};
use crate::status::{self, Result};
use crate::store::{DeleteOptions, Deletion, Key, Part, Propagation, Store, Write};
use crate::workloads::{LogQuery, Running};
use crate::{events, patch};
use query::Query;
use route::{Route, Target};
use table::Include;
use view::View;

pub(crate) use stream::error_stream;
pub(crate) use table::{Printed, printed};
pub(crate) use upgrade::serve_connection;

/// The body of an answer.
pub type ApiBody = UnsyncBoxBody<Bytes, Infallible>;

/// What the API answers with.
pub type ApiResponse = Response<ApiBody>;

/// The API as a tower service. It never fails as a service: refusals are answers.
#[derive(Clone)]
pub struct ApiService {
    store: Store,
    running: Arc<Running>,
}

impl std::fmt::Debug for ApiService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiService").field("store", &self.store).finish_non_exhaustive()
    }
}

impl tower::Service<Request<Body>> for ApiService {
    type Response = ApiResponse;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<ApiResponse, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move {
            Ok(if request.headers().contains_key(header::UPGRADE) {
                upgrade::over_memory(api, request).await
            } else {
                api.answer(request).await
            })
        })
    }
}

/// A request that is understood: what it is about and how it asks.
pub(crate) struct Call {
    target: Target,
    kind: Arc<Kind>,
    query: Query,
    /// How objects are shown.
    view: View,
    /// Through `events.k8s.io`.
    event_view: bool,
    /// Reads see the state as it was this many revisions ago (a fault).
    stale_by: Option<u64>,
}

impl Call {
    fn write(&self) -> Write {
        let manager = self.query.get("fieldManager").map_or_else(|| self.query.agent.clone(), str::to_owned);
        Write {
            manager,
            dry_run: self.query.get("dryRun").is_some(),
            strict: self.query.get("fieldValidation") == Some("Strict"),
        }
    }

    fn key(&self) -> Key {
        Key::new(self.target.namespace.clone(), self.target.name.clone().unwrap_or_default())
    }

    /// An object as this call wants to see it, written out; without a copy where it is shown as it is.
    fn written(&self, object: &Value) -> Vec<u8> {
        match self.view {
            View::Whole if self.event_view => {
                let mut object = object.clone();
                events::to_view(&mut object);
                to_bytes(&object)
            }
            View::Whole => to_bytes(object),
            View::Metadata => {
                to_bytes(&json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": object["metadata"]}))
            }
            View::Table(include) => self.tabled(object, include, true),
        }
    }

    /// An object as a table of one row.
    fn tabled(&self, object: &Value, include: Include, named: bool) -> Vec<u8> {
        let meta = view::table_meta(object);
        to_bytes(&table::table(&self.kind, std::iter::once(object), meta, include, named))
    }
}

impl ApiService {
    pub(crate) fn new(store: Store, running: Arc<Running>) -> ApiService {
        ApiService { store, running }
    }

    async fn answer(&self, request: Request<Body>) -> ApiResponse {
        match self.dispatch(request).await {
            Ok(response) => response,
            Err(refusal) => refuse(&refusal),
        }
    }

    async fn dispatch(&self, request: Request<Body>) -> Result<ApiResponse> {
        let (mut head, body) = request.into_parts();
        let query = Query::of(&head);
        let target = match route::parse(head.uri.path()) {
            Route::Discovery(path) => return discovery::answer(&self.store, &path, &head.headers),
            Route::Target(target) => target,
        };
        let what = events::stored(&target.group, &target.plural);
        let kind = self.store.kind(&what).ok_or_else(|| route::not_served(&target))?;
        let event_view = events::is_view(&target.group, &target.plural);
        let served =
            if event_view { target.version == "v1" } else { kind.versions.contains(&target.version) };
        if !served || (target.scoped && !kind.namespaced) {
            return Err(status::no_such_path());
        }
        query.check()?;
        let stale_by = head.extensions.get::<RevisionsBack>().map(|back| back.0);
        let view = View::of(&head.headers, &query)?;
        let call = Call { target, kind, query, view, event_view, stale_by };
        if call.kind.resource == crate::kinds::PODS && call.target.subresource.as_deref() == Some("exec") {
            return exec::answer(self, &call, &mut head).await;
        }
        let body = body.collect().await.map_err(status::internal)?.to_bytes();
        let content_type =
            head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        self.perform(&head.method, call, content_type, &body).await
    }

    async fn perform(&self, method: &Method, call: Call, format: &str, body: &Bytes) -> Result<ApiResponse> {
        if let Some(sub) = call.target.subresource.clone()
            && sub != "status"
        {
            return self.subresource(method, &call, &sub).await;
        }
        let part = if call.target.subresource.is_some() { Part::Status } else { Part::Main };
        if part == Part::Status && !call.kind.status {
            return Err(status::no_such_path());
        }
        match (method.as_str(), call.target.name.is_some()) {
            ("GET", true) => self.get(&call),
            ("GET", false) if call.query.is_on("watch") => stream::answer(&self.store, call),
            ("GET", false) => list::answer(&self.store, &call),
            ("POST", false) => self.create(&call, body),
            ("PUT", true) => self.replace(&call, part, body),
            ("PATCH", true) => self.patch(&call, part, format, body),
            ("DELETE", true) if part == Part::Main => self.delete(&call, body),
            ("DELETE", false) => self.delete_collection(&call, body),
            _ => Err(status::method_not_allowed()),
        }
    }

    fn what<'a>(&self, call: &'a Call) -> &'a GroupResource {
        &call.kind.resource
    }

    fn get(&self, call: &Call) -> Result<ApiResponse> {
        let key = call.key();
        if let Some(back) = call.stale_by {
            let listing = list::stale(&self.store, self.what(call), Some(&key.namespace), back)?;
            let found = listing.items.iter().find(|object| crate::store::key_of(object) == key);
            let object = found.ok_or_else(|| status::not_found(self.what(call), &key.name))?;
            return Ok(json_response(StatusCode::OK, call.written(object)));
        }
        let object = self.store.get(self.what(call), &key.namespace, &key.name)?;
        Ok(json_response(StatusCode::OK, call.written(&object)))
    }

    fn create(&self, call: &Call, body: &Bytes) -> Result<ApiResponse> {
        if call.kind.namespaced && !call.target.scoped {
            return Err(status::method_not_allowed());
        }
        let object = parse_object(call, body)?;
        let stored = self.store.create(self.what(call), &call.target.namespace, object, &call.write())?;
        Ok(json_response(StatusCode::CREATED, call.written(&stored)))
    }

    fn replace(&self, call: &Call, part: Part, body: &Bytes) -> Result<ApiResponse> {
        let object = parse_object(call, body)?;
        let stored = self.store.replace(self.what(call), part, &call.key(), object, &call.write())?;
        Ok(json_response(StatusCode::OK, call.written(&stored)))
    }

    fn patch(&self, call: &Call, part: Part, format: &str, body: &Bytes) -> Result<ApiResponse> {
        let what = self.what(call);
        let (key, by) = (call.key(), call.write());
        let format = format.split(';').next().unwrap_or_default().trim();
        if format == "application/apply-patch+yaml" {
            if call.query.get("fieldManager").is_none_or(str::is_empty) {
                let cause = status::Cause::required("fieldManager", "is required for apply patch");
                return Err(status::invalid("PatchOptions", "meta.k8s.io", "", &[cause]));
            }
            let config = parse_object(call, body)?;
            let force = call.query.is_on("force");
            let (stored, created) = self.store.apply(what, part, &key, config, force, &by)?;
            let code = if created { StatusCode::CREATED } else { StatusCode::OK };
            return Ok(json_response(code, call.written(&stored)));
        }
        let mut change: Value = parse_json(body)?;
        let apply: fn(&mut Value, &Value) -> std::result::Result<(), String> = match format {
            "application/merge-patch+json" => |object, change| {
                patch::merge(object, change);
                Ok(())
            },
            "application/json-patch+json" => patch::apply,
            "application/strategic-merge-patch+json" => {
                return Err(status::not_implemented(
                    "strategic merge patches; use merge patches or server-side apply",
                ));
            }
            other => {
                return Err(status::unsupported_media_type(format!(
                    "the body of the request was in an unknown format: {other}"
                )));
            }
        };
        if call.event_view {
            events::to_stored(&mut change);
        }
        let kind = call.kind.clone();
        let stored = self.store.try_modify(what, part, &key, &by, |object| {
            apply(object, &change).map_err(|problem| status::unprocessable(&problem))?;
            crate::write::check_identity(&kind, &key, object)?;
            crate::admit::undefaulted(&kind, object, by.strict)
        })?;
        Ok(json_response(StatusCode::OK, call.written(&stored)))
    }

    fn delete(&self, call: &Call, body: &Bytes) -> Result<ApiResponse> {
        let options = delete_options(call, body)?;
        let key = call.key();
        let what = self.what(call);
        match self.store.delete(what, &key.namespace, &key.name, &options)? {
            Deletion::Pending(object) => Ok(json_response(StatusCode::OK, call.written(&object))),
            Deletion::Gone(object) if returns_deleted(what) => {
                Ok(json_response(StatusCode::OK, call.written(&object)))
            }
            Deletion::Gone(object) => {
                let answer = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                    "details": {"name": key.name, "group": what.group, "kind": what.plural,
                        "uid": object["metadata"]["uid"]}});
                Ok(json_response(StatusCode::OK, to_bytes(&answer)))
            }
        }
    }

    fn delete_collection(&self, call: &Call, body: &Bytes) -> Result<ApiResponse> {
        let options = delete_options(call, body)?;
        let what = self.what(call);
        let page = list::select(&self.store, call)?;
        for object in &page.items {
            let key = crate::store::key_of(object);
            match self.store.delete(what, &key.namespace, &key.name, &options) {
                Err(refusal) if refusal.code != 404 => return Err(refusal),
                _ => (),
            }
        }
        Ok(json_response(StatusCode::OK, list::write(call, &page)))
    }

    async fn subresource(&self, method: &Method, call: &Call, sub: &str) -> Result<ApiResponse> {
        let key = call.key();
        if *self.what(call) != crate::kinds::PODS || sub != "log" || method != Method::GET {
            return Err(status::not_implemented(format!("{method} of {}/{sub}", self.what(call))));
        }
        let unsupported = ["follow", "insecureSkipTLSVerifyBackend", "timestamps"];
        let asked = unsupported.iter().find(|name| call.query.is_on(name));
        let unsupported = ["limitBytes", "sinceSeconds", "sinceTime", "stream"];
        if let Some(name) = asked.or_else(|| unsupported.iter().find(|name| call.query.get(name).is_some())) {
            return Err(status::not_implemented(format!("{name} of logs")));
        }
        let lines = call.query.number("tailLines")?;
        self.store.get(self.what(call), &key.namespace, &key.name)?;
        let log_query = LogQuery {
            container: call.query.get("container").map(str::to_owned),
            previous: call.query.is_on("previous"),
            tail_lines: lines.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
        };
        let text =
            self.running.logs(&key.namespace, &key.name, &log_query).await.map_err(status::bad_request)?;
        let mut response = Response::new(full(text));
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
        Ok(response)
    }
}

/// Kinds whose deletion answers with the object instead of a Status.
fn returns_deleted(what: &GroupResource) -> bool {
    use crate::kinds::{CLAIMS, PODS, SERVICE_ACCOUNTS, SERVICES};
    [PODS, SERVICES, CLAIMS, SERVICE_ACCOUNTS].contains(what)
}

fn delete_options(call: &Call, body: &Bytes) -> Result<DeleteOptions> {
    let given: Value = if body.is_empty() { json!({}) } else { parse_json(body)? };
    let text = |value: &Value| value.as_str().filter(|v| !v.is_empty()).map(str::to_owned);
    let policy =
        text(&given["propagationPolicy"]).or_else(|| call.query.get("propagationPolicy").map(str::to_owned));
    let mut propagation = match policy.as_deref() {
        None => None,
        Some("Background") => Some(Propagation::Background),
        Some("Foreground") => Some(Propagation::Foreground),
        Some("Orphan") => Some(Propagation::Orphan),
        Some(other) => {
            let cause = status::Cause::not_supported(
                "propagationPolicy",
                &Value::from(other),
                &["Foreground", "Background", "Orphan", "nil"],
            );
            return Err(status::invalid("DeleteOptions", "meta.k8s.io", "", &[cause]));
        }
    };
    if let Some(orphan) = given["orphanDependents"].as_bool() {
        propagation = Some(if orphan { Propagation::Orphan } else { Propagation::Background });
    }
    let grace = match given["gracePeriodSeconds"].as_i64() {
        Some(seconds) => Some(seconds),
        None => call.query.number("gracePeriodSeconds")?.and_then(|seconds| i64::try_from(seconds).ok()),
    };
    Ok(DeleteOptions {
        uid: text(&given["preconditions"]["uid"]),
        resource_version: text(&given["preconditions"]["resourceVersion"]),
        propagation,
        grace_period_seconds: grace,
        dry_run: call.query.get("dryRun").is_some()
            || given["dryRun"].as_array().is_some_and(|d| !d.is_empty()),
    })
}

fn parse_json(body: &Bytes) -> Result<Value> {
    serde_json::from_slice(body).map_err(|error| {
        let start = body.iter().find(|b| !b.is_ascii_whitespace());
        if start.is_some_and(|b| b.is_ascii_alphabetic() || *b == b'-' || *b == b'#') {
            return status::not_implemented("bodies in YAML");
        }
        status::bad_request(format!(
            "the object provided is unrecognized: couldn't get version/kind; json parse \
             error: {error}"
        ))
    })
}

/// The object in a body, of the kind and version of the path.
fn parse_object(call: &Call, body: &Bytes) -> Result<Value> {
    let mut object = parse_json(body)?;
    if !object.is_object() {
        return Err(status::bad_request("the object provided is not a JSON object"));
    }
    let wanted = if call.event_view {
        format!("{}/v1", events::GROUP)
    } else {
        call.kind.api_version(&call.target.version)
    };
    match object.get("apiVersion").and_then(Value::as_str) {
        Some(version) if version != wanted => {
            return Err(status::bad_request(format!(
                "the API version in the data ({version}) does not match the expected API version ({wanted})"
            )));
        }
        Some(_) => (),
        None => object["apiVersion"] = wanted.into(),
    }
    if object.get("kind").is_none() {
        object["kind"] = call.kind.kind.clone().into();
    }
    if call.event_view {
        events::to_stored(&mut object);
    }
    Ok(object)
}

fn to_bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

pub(crate) fn full(body: Vec<u8>) -> ApiBody {
    Full::new(Bytes::from(body)).boxed_unsync()
}

pub(crate) fn json_response(code: StatusCode, body: Vec<u8>) -> ApiResponse {
    let mut response = Response::new(full(body));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// A refusal as a response; also what the fault layers answer with.
pub(crate) fn refuse(refusal: &Status) -> ApiResponse {
    let mut body = serde_json::to_value(refusal).unwrap_or_default();
    body["kind"] = "Status".into();
    body["apiVersion"] = "v1".into();
    body["metadata"] = json!({});
    let code = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(code, to_bytes(&body));
    let after = refusal.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if after > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(after));
    }
    response
}
