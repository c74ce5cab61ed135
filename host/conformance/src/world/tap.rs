//! Between a plane and its API server: counts and names what it writes, and lets it die at a write.

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
use senren_kubesim::ApiResponse;
use tower::{BoxError, Layer, Service};

/// When a plane dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    Never,
    /// Before the write with this number, counted from 0, reaches the API server.
    Before(usize),
    /// After it: the write happens, and its answer is never heard.
    After(usize),
}

/// See the module. Clones are the same tap.
#[derive(Debug, Clone)]
pub(crate) struct Tap {
    crash: Crash,
    count: Arc<AtomicUsize>,
    crashed: Arc<AtomicBool>,
    writes: Arc<Mutex<Vec<String>>>,
}

impl Tap {
    pub(crate) fn new(crash: Crash) -> Self {
        Self { crash, count: Arc::default(), crashed: Arc::default(), writes: Arc::default() }
    }

    /// True once the plane is dead.
    pub(crate) fn crashed(&self) -> bool {
        self.crashed.load(Ordering::SeqCst)
    }

    /// What was written, in order: `PATCH configmaps/check`.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.writes.lock().clone()
    }

    /// What was written lately, each once.
    pub(crate) fn latest(&self) -> Vec<String> {
        let writes = self.writes.lock();
        let latest: BTreeSet<String> = writes.iter().rev().take(12).cloned().collect();
        latest.into_iter().collect()
    }

    /// Takes a write down, and says what becomes of it.
    fn admit(&self, request: &Request<Body>) -> Crash {
        if *request.method() == Method::GET {
            return Crash::Never;
        }
        self.writes.lock().push(format!("{} {}", request.method(), short(request.uri().path())));
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let fate = match self.crash {
            Crash::Before(at) | Crash::After(at) if at == number => self.crash,
            _ => return Crash::Never,
        };
        self.crashed.store(true, Ordering::SeqCst);
        fate
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

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let dead = || Box::pin(async { Err("the plane is dead".into()) });
        if self.tap.crashed() {
            return dead();
        }
        match self.tap.admit(&request) {
            Crash::Before(_) => dead(),
            Crash::After(_) => {
                let last = self.inner.call(request);
                Box::pin(async move {
                    last.await.map_err(Into::into)?;
                    Err("the plane is dead".into())
                })
            }
            Crash::Never => {
                let call = self.inner.call(request);
                Box::pin(async move { call.await.map_err(Into::into) })
            }
        }
    }
}
