//! HTTP requests in, verbs out: the API as a tower service, which is what a `kube::Client` sits on.
//!
//! Routing and formats only; every rule is in the verbs.

mod body;
mod discovery;
mod exec;
mod list;
mod logs;
mod openapi;
mod patches;
mod protobuf;
mod query;
pub(crate) mod route;
mod scale;
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
use serde::Serializer as _;
use serde_json::{Value, json};

use crate::events;
use crate::faults::RevisionsBack;
use crate::kinds::{GroupResource, Kind, PODS, STATEFUL_SETS};
use crate::status::{self, Result};
use crate::store::{Deletion, Key, Part, Store, Told, Write};
use crate::workloads::Running;
use body::Given;
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
            told: Told::default(),
        }
    }

    /// An answer to a write, with what its author should be told beside it.
    fn answered(&self, code: StatusCode, object: &Value, by: &Write) -> ApiResponse {
        let mut response = json_response(code, self.written(object));
        if self.query.get("fieldValidation") != Some("Ignore") {
            let warnings = by.told.words().into_iter().map(|words| format!("299 - {words:?}"));
            for warning in warnings.filter_map(|words| header::HeaderValue::try_from(words).ok()) {
                response.headers_mut().append(header::WARNING, warning);
            }
        }
        response
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

    /// An object among others: the list says of which kind those of built-in kinds are.
    fn listed(&self, object: &Value) -> Vec<u8> {
        if self.view != View::Whole || self.event_view || self.kind.custom.is_some() {
            return self.written(object);
        }
        let Some(fields) = object.as_object() else { return self.written(object) };
        let own = fields.iter().filter(|(name, _)| !["apiVersion", "kind"].contains(&name.as_str()));
        let mut out = Vec::new();
        let mut writer = serde_json::Serializer::new(&mut out);
        // Writing a value into memory doesn't fail.
        let _written = writer.collect_map(own);
        out
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
        let Some(kind) = self.store.kind(&what) else { return route::not_served(&target) };
        let event_view = events::is_view(&target.group, &target.plural);
        let served =
            if event_view { target.version == "v1" } else { kind.versions.contains(&target.version) };
        if !served || (target.scoped && !kind.namespaced) {
            return Err(status::no_such_path());
        }
        query.check(&head.method)?;
        let stale_by = head.extensions.get::<RevisionsBack>().map(|back| back.0);
        let view = View::of(&head.headers, &query)?;
        let call = Call { target, kind, query, view, event_view, stale_by };
        if call.kind.resource == PODS && call.target.subresource.as_deref() == Some("exec") {
            return exec::answer(self, &call, &mut head).await;
        }
        let body = body.collect().await.map_err(status::internal)?.to_bytes();
        let content_type =
            head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        self.perform(&head.method, call, &Given { bytes: &body, format: content_type }).await
    }

    async fn perform(&self, method: &Method, call: Call, given: &Given<'_>) -> Result<ApiResponse> {
        let part = match call.target.subresource.as_deref() {
            None => Part::Main,
            Some("status") => Part::Status,
            Some("scale") if call.kind.resource == STATEFUL_SETS => {
                return scale::answer(self, method, &call, given);
            }
            Some("log") if call.kind.resource == PODS && method == Method::GET => {
                return logs::answer(self, &call).await;
            }
            Some(other) => {
                return Err(status::not_implemented(format!("{method} of {}/{other}", call.kind.resource)));
            }
        };
        if part == Part::Status && !call.kind.status {
            return Err(status::no_such_path());
        }
        match (method.as_str(), call.target.name.is_some()) {
            ("GET", true) => self.get(&call),
            ("GET", false) if call.query.is_on("watch") => stream::answer(&self.store, call),
            ("GET", false) => list::answer(&self.store, &call),
            ("POST", false) => self.create(&call, given),
            ("PUT", true) => self.replace(&call, part, given),
            ("PATCH", true) => self.patch(&call, part, given),
            ("DELETE", true) if part == Part::Main => self.delete(&call, given),
            ("DELETE", false) => self.delete_collection(&call, given),
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

    fn create(&self, call: &Call, given: &Given<'_>) -> Result<ApiResponse> {
        if call.kind.namespaced && !call.target.scoped {
            return Err(status::method_not_allowed());
        }
        let object = given.object(call)?;
        let by = call.write();
        let stored = self.store.create(self.what(call), &call.target.namespace, object, &by)?;
        Ok(call.answered(StatusCode::CREATED, &stored, &by))
    }

    fn replace(&self, call: &Call, part: Part, given: &Given<'_>) -> Result<ApiResponse> {
        let object = given.object(call)?;
        let by = call.write();
        let stored = self.store.replace(self.what(call), part, &call.key(), object, &by)?;
        Ok(call.answered(StatusCode::OK, &stored, &by))
    }

    fn delete(&self, call: &Call, given: &Given<'_>) -> Result<ApiResponse> {
        let options = given.delete_options(call)?;
        let key = call.key();
        let what = self.what(call);
        match self.store.delete(what, &key.namespace, &key.name, &options)? {
            Deletion::Pending(object) => Ok(json_response(StatusCode::OK, call.written(&object))),
            Deletion::Gone(object) if returns_deleted(what) => {
                Ok(json_response(StatusCode::OK, call.written(&object)))
            }
            Deletion::Gone(object) => {
                let mut answer = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                    "details": {"name": key.name, "kind": what.plural, "uid": object["metadata"]["uid"]}});
                if !what.group.is_empty() {
                    answer["details"]["group"] = what.group.clone().into();
                }
                Ok(json_response(StatusCode::OK, to_bytes(&answer)))
            }
        }
    }

    fn delete_collection(&self, call: &Call, given: &Given<'_>) -> Result<ApiResponse> {
        let options = given.delete_options(call)?;
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
}

/// Kinds whose deletion answers with the object instead of a Status.
fn returns_deleted(what: &GroupResource) -> bool {
    use crate::kinds::{CLAIMS, PODS, SERVICE_ACCOUNTS, SERVICES};
    [PODS, SERVICES, CLAIMS, SERVICE_ACCOUNTS].contains(what)
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

/// The answer of a path that nothing stands behind.
fn no_page() -> ApiResponse {
    let mut response = Response::new(full(b"404 page not found\n".to_vec()));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let format = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, format);
    response
}

/// A refusal as a response; also what the fault layers answer with.
pub(crate) fn refuse(refusal: &Status) -> ApiResponse {
    let mut body = serde_json::to_value(refusal).unwrap_or_default();
    body["kind"] = "Status".into();
    body["apiVersion"] = "v1".into();
    body["metadata"] = json!({});
    if refusal.reason.is_empty()
        && let Some(fields) = body.as_object_mut()
    {
        fields.remove("reason");
    }
    let code = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(code, to_bytes(&body));
    let after = refusal.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if after > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(after));
    }
    response
}
