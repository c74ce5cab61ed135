//! Faults between a client and the API, as tower layers: what a network, a busy server or a crash does to code
//! that talks to Kubernetes.
//!
//! Deterministic: what happens follows from the rules, their order and a seed, never from time. Rules are
//! looked at in order and the first that applies to a request acts; layers can be stacked.
//!
//! ```ignore
//! let faults = Faults::new([
//!     Rule::on(Fault::Conflict).verb("PATCH").resource("statefulsets").nth(2),
//!     Rule::on(Fault::LostAnswer).writes().one_in(20, 42),
//! ]);
//! let client = kubesim.client_with(faults.clone());
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use kube::client::Body;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tower::{BoxError, Layer, Service};

use crate::service::{ApiResponse, refuse, route};
use crate::status;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 409, as if someone else had been faster; not executed.
    Conflict,
    /// 410: the history is gone. For a watch an error in its stream; not executed.
    Gone,
    /// 429 with `Retry-After`; not executed.
    TooManyRequests {
        /// Seconds to wait.
        retry_after: u32,
    },
    /// 500; not executed.
    ServerError,
    /// No answer for this long, then a broken connection; not executed.
    Timeout(Duration),
    /// Executed, but the answer never arrives: a broken connection.
    LostAnswer,
    /// A read sees the state as it was this many revisions ago (as far as the history reaches).
    StaleRead {
        /// How many.
        revisions: u64,
    },
    /// A watch breaks off after this many chunks.
    CutWatch {
        /// How many.
        after: usize,
    },
    /// Executed or not, there is never an answer, and none to any later request: this client's process is dead.
    /// [`Faults::crashed`] tells.
    Crash {
        /// Whether the request is still executed.
        executed: bool,
    },
}

/// Which requests a fault happens to.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    verbs: Option<Vec<Method>>,
    resource: Option<String>,
    name: Option<String>,
    watches: Option<bool>,
    choice: Choice,
}

#[derive(Debug, Clone)]
enum Choice {
    Every,
    Nth(u64),
    First(u64),
    OneIn(u64, Box<StdRng>),
}

impl Rule {
    /// A fault that happens to every request, until told more.
    pub fn on(fault: Fault) -> Rule {
        Rule { fault, verbs: None, resource: None, name: None, watches: None, choice: Choice::Every }
    }

    /// Only to requests of this HTTP method.
    pub fn verb(mut self, verb: &str) -> Rule {
        self.verbs = Some(Method::from_bytes(verb.as_bytes()).into_iter().collect());
        self
    }

    /// Only to requests that write.
    pub fn writes(mut self) -> Rule {
        self.verbs = Some(vec![Method::POST, Method::PUT, Method::PATCH, Method::DELETE]);
        self
    }

    /// Only to requests that read, but to no watch.
    pub fn reads(mut self) -> Rule {
        self.verbs = Some(vec![Method::GET]);
        self.watches = Some(false);
        self
    }

    /// Only to watches.
    pub fn watches(mut self) -> Rule {
        self.watches = Some(true);
        self
    }

    /// Only to requests about this resource (a plural), or about one of its subresources (`pods/status`).
    pub fn resource(mut self, plural: &str) -> Rule {
        self.resource = Some(plural.to_owned());
        self
    }

    /// Only to requests about the object of this name.
    pub fn name(mut self, name: &str) -> Rule {
        self.name = Some(name.to_owned());
        self
    }

    /// Only to the n-th of the requests this rule is about, counted from 1.
    pub fn nth(mut self, n: u64) -> Rule {
        self.choice = Choice::Nth(n);
        self
    }

    /// Only to the first n of them.
    pub fn first(mut self, n: u64) -> Rule {
        self.choice = Choice::First(n);
        self
    }

    /// To one in n of them, by chance; the same ones for the same seed.
    pub fn one_in(mut self, n: u64, seed: u64) -> Rule {
        self.choice = Choice::OneIn(n.max(1), Box::new(StdRng::seed_from_u64(seed)));
        self
    }

    fn is_about(&self, asked: &Asked) -> bool {
        self.verbs.as_ref().is_none_or(|verbs| verbs.contains(&asked.method))
            && self.watches.is_none_or(|watches| watches == asked.watch)
            && self.resource.as_ref().is_none_or(|resource| *resource == asked.resource)
            && (self.name.is_none() || self.name == asked.name)
    }

    fn chooses(&mut self, count: u64) -> bool {
        match &mut self.choice {
            Choice::Every => true,
            Choice::Nth(n) => count == *n,
            Choice::First(n) => count <= *n,
            Choice::OneIn(n, chance) => chance.random_range(0..*n) == 0,
        }
    }
}

/// What a request is about.
struct Asked {
    method: Method,
    resource: String,
    name: Option<String>,
    watch: bool,
}

impl Asked {
    fn of(request: &Request<Body>) -> Asked {
        let watch =
            request.uri().query().is_some_and(|q| q.split('&').any(|p| p == "watch=true" || p == "watch=1"));
        let (resource, name) = match route::parse(request.uri().path()) {
            route::Route::Discovery(_) => (String::new(), None),
            route::Route::Target(target) => {
                let resource = match &target.subresource {
                    Some(sub) => format!("{}/{sub}", target.plural),
                    None => target.plural,
                };
                (resource, target.name)
            }
        };
        Asked { method: request.method().clone(), resource, name, watch }
    }
}

/// A fault that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// What.
    pub fault: Fault,
    /// To which request: `PATCH statefulsets/a`.
    pub request: String,
}

#[derive(Debug)]
struct Plan {
    rules: Vec<(Rule, u64)>,
    happened: Vec<Happened>,
}

/// A layer of faults. Clones share their counters, so that one can be kept to look at what happened.
#[derive(Debug, Clone)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
    crash: Arc<watch::Sender<bool>>,
}

impl Faults {
    /// Faults by these rules.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Faults {
        let rules = rules.into_iter().map(|rule| (rule, 0)).collect();
        Faults {
            plan: Arc::new(Mutex::new(Plan { rules, happened: Vec::new() })),
            crash: Arc::new(watch::Sender::new(false)),
        }
    }

    /// A client that dies at its n-th write, counted from 1, before or after it is executed.
    pub fn crash_at_write(n: u64, executed: bool) -> Faults {
        Faults::new([Rule::on(Fault::Crash { executed }).writes().nth(n)])
    }

    /// What has happened so far.
    pub fn happened(&self) -> Vec<Happened> {
        self.plan.lock().happened.clone()
    }

    /// Returns once a [`Fault::Crash`] has happened: the moment to drop the code under test.
    pub async fn crashed(&self) {
        let mut crash = self.crash.subscribe();
        // The sender lives as long as `self`, so that this only ends with a crash.
        let _ended = crash.wait_for(|dead| *dead).await.is_ok();
    }

    fn decide(&self, request: &Request<Body>) -> Option<Fault> {
        let asked = Asked::of(request);
        let mut plan = self.plan.lock();
        let mut chosen = None;
        for (rule, count) in plan.rules.iter_mut().filter(|(rule, _)| rule.is_about(&asked)) {
            *count += 1;
            if chosen.is_none() && rule.chooses(*count) {
                chosen = Some(rule.fault);
            }
        }
        if let Some(fault) = chosen {
            let name = asked.name.map(|name| format!("/{name}")).unwrap_or_default();
            plan.happened
                .push(Happened { fault, request: format!("{} {}{name}", asked.method, asked.resource) });
        }
        chosen
    }
}

impl<S> Layer<S> for Faults {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty { inner, faults: self.clone() }
    }
}

/// How a broken connection looks to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The connection was closed.
    #[error("connection closed before message completed (injected fault)")]
    Closed,
    /// Nothing came in time.
    #[error("operation timed out (injected fault)")]
    TimedOut,
}

/// Asks the API to read as if this many revisions hadn't happened yet. Travels as a request extension.
#[derive(Debug, Clone, Copy)]
pub struct RevisionsBack(pub u64);

/// A service with faults.
#[derive(Debug, Clone)]
pub struct Faulty<S> {
    inner: S,
    faults: Faults,
}

type Answer = Pin<Box<dyn Future<Output = Result<ApiResponse, BoxError>> + Send>>;

impl<S> Service<Request<Body>> for Faulty<S>
where
    S: Service<Request<Body>, Response = ApiResponse>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = ApiResponse;
    type Error = BoxError;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Answer {
        if *self.faults.crash.borrow() {
            return Box::pin(std::future::pending());
        }
        let watch = Asked::of(&request).watch;
        let Some(fault) = self.faults.decide(&request) else { return pass(self.inner.call(request)) };
        match fault {
            Fault::Conflict => answer(refuse(&status::conflict_anywhere())),
            Fault::Gone if watch => answer(crate::service::error_stream(&status::expired(0, 1))),
            Fault::Gone => answer(refuse(&status::expired(0, 1))),
            Fault::TooManyRequests { retry_after } => answer(refuse(&status::too_many_requests(retry_after))),
            Fault::ServerError => answer(refuse(&status::internal("injected fault"))),
            Fault::Timeout(after) => Box::pin(async move {
                tokio::time::sleep(after).await;
                Err(Broken::TimedOut.into())
            }),
            Fault::LostAnswer => {
                let executed = self.inner.call(request);
                Box::pin(async move {
                    executed.await.map_err(Into::into)?;
                    Err(Broken::Closed.into())
                })
            }
            Fault::StaleRead { revisions } => {
                request.extensions_mut().insert(RevisionsBack(revisions));
                pass(self.inner.call(request))
            }
            Fault::CutWatch { after } => {
                let answered = self.inner.call(request);
                Box::pin(async move { Ok(cut(answered.await.map_err(Into::into)?, after)) })
            }
            Fault::Crash { executed } => {
                let last = executed.then(|| self.inner.call(request));
                let crash = self.faults.crash.clone();
                Box::pin(async move {
                    if let Some(last) = last {
                        let _unseen = last.await.is_ok();
                    }
                    crash.send_replace(true);
                    std::future::pending().await
                })
            }
        }
    }
}

fn answer(response: ApiResponse) -> Answer {
    Box::pin(std::future::ready(Ok(response)))
}

fn pass<E: Into<BoxError>>(future: impl Future<Output = Result<ApiResponse, E>> + Send + 'static) -> Answer {
    Box::pin(async move { future.await.map_err(Into::into) })
}

/// Ends a stream after so many chunks, as when a proxy closes an idle connection.
fn cut(response: ApiResponse, after: usize) -> ApiResponse {
    use futures::StreamExt;
    let (head, body) = response.into_parts();
    let frames = body
        .into_data_stream()
        .take(after)
        .map(|chunk: Result<Bytes, Infallible>| chunk.map(http_body::Frame::data));
    Response::from_parts(head, StreamBody::new(frames).boxed_unsync())
}
