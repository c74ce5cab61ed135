//! Between a plane and its API server: names what it writes, and sees to the moments around each write.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Method, Request};
use kube::client::Body;
use parking_lot::Mutex;
use senren_kubesim::{ApiResponse, faults::RevisionsBack};
use tower::{BoxError, Layer, Service};

use super::moment::{Cuts, Scene};

/// See the module. Clones are the same tap.
#[derive(Clone, Default)]
pub(crate) struct Tap(Arc<State>);

#[derive(Default)]
struct State {
    writes: Mutex<Vec<String>>,
    cuts: Mutex<Option<(Arc<Scene>, Cuts)>>,
    late: AtomicBool,
    reads: AtomicUsize,
}

/// So many revisions back are reads of a plane that sees things late, one after the other. As many as no plugin has kinds
/// to read, so that each is seen now early, now late.
const BACK: [u64; 13] = [0, 3, 0, 8, 1, 0, 21, 5, 0, 2, 55, 0, 13];

impl Tap {
    /// From now on every moment is taken in which the plane could die.
    pub(super) fn cut_into(&self, scene: Arc<Scene>, cuts: Cuts) {
        *self.0.cuts.lock() = Some((scene, cuts));
    }

    /// Whether reads see what was a moment ago.
    pub(crate) fn see_late(&self, late: bool) {
        self.0.late.store(late, Ordering::Relaxed);
    }

    /// What was written, in order: `PATCH configmaps/check`.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.0.writes.lock().clone()
    }

    /// What was written lately, each once.
    pub(crate) fn latest(&self) -> Vec<String> {
        let writes = self.0.writes.lock();
        let latest: BTreeSet<String> = writes.iter().rev().take(12).cloned().collect();
        latest.into_iter().collect()
    }

    /// Takes a write down: its number, counted from 1, and its name. `None` for what is no write.
    fn note(&self, request: &Request<Body>) -> Option<(usize, String)> {
        if *request.method() == Method::GET {
            return None;
        }
        let write = format!("{} {}", request.method(), short(request.uri().path()));
        let mut writes = self.0.writes.lock();
        writes.push(write.clone());
        Some((writes.len(), write))
    }

    /// Lets a read see what was a moment ago.
    fn delay(&self, request: &mut Request<Body>) {
        if *request.method() == Method::GET && self.0.late.load(Ordering::Relaxed) {
            let read = self.0.reads.fetch_add(1, Ordering::Relaxed);
            request.extensions_mut().insert(RevisionsBack(BACK[read % BACK.len()]));
        }
    }

    fn cut(&self, when: impl FnOnce() -> String) {
        if let Some((scene, cuts)) = &*self.0.cuts.lock() {
            cuts.take(scene, when);
        }
    }
}

/// `/apis/apps/v1/namespaces/x/statefulsets/check` → `statefulsets/check`
fn short(path: &str) -> &str {
    path.split_once("/namespaces/").and_then(|(_, rest)| rest.split_once('/')).map_or(path, |(_, rest)| rest)
}

impl<S> Layer<S> for Tap {
    type Service = Tapped<S>;

    fn layer(&self, inner: S) -> Tapped<S> {
        Tapped { inner, tap: self.clone() }
    }
}

/// A service with a tap.
#[derive(Clone)]
pub(crate) struct Tapped<S> {
    inner: S,
    tap: Tap,
}

impl<S> Service<Request<Body>> for Tapped<S>
where
    S: Service<Request<Body>, Response = ApiResponse>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = ApiResponse;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<ApiResponse, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        self.tap.delay(&mut request);
        let write = self.tap.note(&request);
        if let Some((number, write)) = &write {
            self.tap.cut(|| format!("before its write {number}, {write}"));
        }
        let (tap, call) = (self.tap.clone(), self.inner.call(request));
        Box::pin(async move {
            let answer = call.await.map_err(Into::into);
            if let Some((number, write)) = write {
                tap.cut(|| format!("after its write {number}, {write}, before the answer"));
            }
            answer
        })
    }
}
