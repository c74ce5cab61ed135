//! A loaded plugin: what it serves, and its functions.
//!
//! Answers are held to the contract here as far as that takes nothing but the answer: a caller may rely on JSON
//! where the contract says so, on an action that it knows, on an outcome that deletes nothing by mistake.

use crate::{
    CallError, Engine, Limits,
    call::{self, Guard},
    pool::{Conduct, Full, LaneId, Start},
    wit,
};
use metrics::Histogram;
use senren_schema::{Schema, Violation};
use serde::de::IgnoredAny;
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Lower};

/// A plugin that can be called; cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    pub(crate) inner: Arc<Inner>,
    pub(crate) tuning: Arc<Tuning>,
}

/// What an operator decided about a plugin.
#[derive(Debug, PartialEq)]
pub(crate) struct Tuning {
    pub limits: Limits,
    /// The settings as the plugin is to see them, or what is wrong with them.
    config: Result<String, Vec<Violation>>,
}

impl Tuning {
    pub fn of(schema: &Schema, limits: Limits, settings: Option<&Value>) -> Tuning {
        let mut config = settings.cloned().unwrap_or_else(|| Value::Object(Default::default()));
        schema.apply_defaults(&mut config);
        let violations = schema.validate(&config);
        let config = if violations.is_empty() { Ok(config.to_string()) } else { Err(violations) };
        Tuning { limits, config }
    }
}

/// A type that a plugin serves.
#[derive(Debug, Clone)]
pub struct ResourceType {
    /// As the plugin describes it.
    pub wit: wit::ResourceType,
    /// Its `spec-schema`, parsed.
    pub schema: Schema,
}

/// Where in the component the functions are.
pub(crate) struct Exports {
    pub describe: ComponentExportIndex,
    pub admit: ComponentExportIndex,
    pub diff: ComponentExportIndex,
    pub reconcile: ComponentExportIndex,
    /// Of the interface that only some plugins have.
    pub simulate: Option<ComponentExportIndex>,
}

pub(crate) struct Inner {
    pub engine: Engine,
    pub lane: LaneId,
    pub origin: String,
    pub digest: String,
    pub component: InstancePre<Guard>,
    pub exports: Exports,
    pub descriptor: wit::Descriptor,
    pub types: Vec<ResourceType>,
    /// What an operator may set.
    pub config: Schema,
    pub durations: Durations,
}

/// How long the calls of a plugin take, by function.
pub(crate) struct Durations {
    admit: Histogram,
    diff: Histogram,
    reconcile: Histogram,
    simulate: Histogram,
}

impl Durations {
    /// Looked up once: that takes as long as a small call.
    pub fn of(plugin: &str) -> Durations {
        let of = |function: Function| {
            metrics::histogram!("senren_plugin_call_seconds",
                "plugin" => plugin.to_owned(), "function" => function.name())
        };
        Durations {
            admit: of(Function::Admit),
            diff: of(Function::Diff),
            reconcile: of(Function::Reconcile),
            simulate: of(Function::Simulate),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Function {
    Admit,
    Diff,
    Reconcile,
    Simulate,
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Function::Admit => "admit",
            Function::Diff => "diff",
            Function::Reconcile => "reconcile",
            Function::Simulate => "simulate",
        }
    }

    /// `None`: the plugin has no such function.
    fn of(self, inner: &Inner) -> Option<(&ComponentExportIndex, &Histogram)> {
        let (exports, durations) = (&inner.exports, &inner.durations);
        Some(match self {
            Function::Admit => (&exports.admit, &durations.admit),
            Function::Diff => (&exports.diff, &durations.diff),
            Function::Reconcile => (&exports.reconcile, &durations.reconcile),
            Function::Simulate => (exports.simulate.as_ref()?, &durations.simulate),
        })
    }
}

impl Plugin {
    pub(crate) fn new(inner: Inner, tuning: Tuning) -> Plugin {
        Plugin { inner: Arc::new(inner), tuning: Arc::new(tuning) }
    }

    /// The same plugin, held to these limits and given these settings. Calls that are under way are not affected.
    pub fn tuned(&self, limits: Limits, settings: Option<&Value>) -> Plugin {
        let tuning = Tuning::of(&self.inner.config, limits, settings);
        Plugin { tuning: Arc::new(tuning), ..self.clone() }
    }

    /// True where both do the same: the same component, with the same limits and settings.
    pub fn same_as(&self, other: &Plugin) -> bool {
        self.inner.digest == other.inner.digest && self.tuning == other.tuning
    }

    /// The operator's settings as `reconcile` is to see them, with defaults, as JSON, or what is wrong with them.
    pub fn config(&self) -> Result<&str, &[Violation]> {
        self.tuning.config.as_deref().map_err(Vec::as_slice)
    }

    /// SHA-256 of the component, in hexadecimal: what identifies a plugin.
    pub fn digest(&self) -> &str {
        &self.inner.digest
    }

    /// Where it was loaded from, as given to [`Engine::load`].
    pub fn origin(&self) -> &str {
        &self.inner.origin
    }

    /// What it says about itself.
    pub fn descriptor(&self) -> &wit::Descriptor {
        &self.inner.descriptor
    }

    /// What it serves.
    pub fn types(&self) -> &[ResourceType] {
        &self.inner.types
    }

    /// An operator's settings as the plugin is to see them, with defaults, or what is wrong with them.
    pub fn configure(&self, settings: Option<&Value>) -> Result<Value, Vec<Violation>> {
        let mut config = settings.cloned().unwrap_or_else(|| Value::Object(Default::default()));
        self.inner.config.apply_defaults(&mut config);
        let violations = self.inner.config.validate(&config);
        if violations.is_empty() { Ok(config) } else { Err(violations) }
    }

    /// The spec as it shall be kept, with defaults, or what is wrong with it. Judged by the schema before and after, so
    /// that the plugin only ever sees a spec that satisfies it, and so does everybody else.
    pub async fn admit(
        &self,
        type_name: &str,
        spec: &str,
    ) -> Result<Result<String, Vec<wit::Violation>>, CallError> {
        let Some(ty) = self.inner.types.iter().find(|ty| ty.wit.name == type_name) else {
            let message = format!("is not served by the plugin {}", self.inner.descriptor.name);
            return Ok(Err(vec![violation("", "unknown-type", message)]));
        };
        let mut document = match serde_json::from_str::<Value>(spec) {
            Ok(document) => document,
            Err(error) => return Ok(Err(vec![violation("", "json", format!("is not JSON: {error}"))])),
        };
        ty.schema.apply_defaults(&mut document);
        let violations = ty.schema.validate(&document);
        if !violations.is_empty() {
            return Ok(Err(violations.into_iter().map(|v| violation(&v.path, &v.code, v.message)).collect()));
        }
        let params = (type_name.to_owned(), document.to_string());
        let check = |(answer,): (Admission,)| check_admitted(&ty.schema, answer);
        self.call(Function::Admit, params, check).await
    }

    /// What going from one admitted spec to another means; an absent one is no database at all.
    pub async fn diff(
        &self,
        type_name: &str,
        current: Option<&str>,
        desired: Option<&str>,
    ) -> Result<wit::Change, CallError> {
        let params = (type_name.to_owned(), current.map(str::to_owned), desired.map(str::to_owned));
        let check = |(answer,): (Result<wit::Change, wit::Fault>,)| {
            let change = answer.map_err(CallError::Fault)?;
            check_change(&change, current.is_some(), desired.is_some())?;
            Ok(change)
        };
        self.call(Function::Diff, params, check).await
    }

    /// One level-triggered step.
    pub async fn reconcile(&self, input: wit::Input) -> Result<wit::Outcome, CallError> {
        let deleting = input.deleting;
        let check = |(answer,): (Result<wit::Outcome, wit::Fault>,)| {
            let outcome = answer.map_err(CallError::Fault)?;
            check_outcome(&outcome, deleting)?;
            Ok(outcome)
        };
        self.call(Function::Reconcile, (input,), check).await
    }

    /// True where the plugin can play its databases on a host that simulates pods.
    pub fn simulates(&self) -> bool {
        self.inner.exports.simulate.is_some()
    }

    /// What a command in a pod of a simulated database leaves. Fails where the plugin does not simulate.
    pub async fn simulate(&self, call: wit::ExecCall) -> Result<wit::ExecResult, CallError> {
        let check = |(result,): (wit::ExecResult,)| match serde_json::from_str::<IgnoredAny>(&result.state) {
            Ok(_) => Ok(result),
            Err(error) => Err(bad(format!("the state that `exec` answers is not JSON: {error}"))),
        };
        self.call(Function::Simulate, (call,), check).await
    }

    /// Waits for one of the plugin threads to make the call, then judges the answer.
    async fn call<P, R, T>(
        &self,
        function: Function,
        params: P,
        check: impl FnOnce(R) -> Result<T, CallError>,
    ) -> Result<T, CallError>
    where
        P: ComponentNamedList + Lower + Send + 'static,
        R: ComponentNamedList + Lift + Send + 'static,
    {
        let (answer, mut answered) = oneshot::channel();
        let (inner, tuning) = (Arc::clone(&self.inner), Arc::clone(&self.tuning));
        let job = Box::new(move || {
            // Whoever asked has gone away meanwhile.
            if answer.is_closed() {
                return Conduct::Skipped;
            }
            let Some((export, duration)) = function.of(&inner) else {
                let _ = answer.send(Err(bad(format!("it has no function `{}`", function.name()))));
                return Conduct::Skipped;
            };
            let started = Instant::now();
            let result = call::call::<P, R>(&inner.component, export, &tuning.limits, params);
            duration.record(started.elapsed());
            let conduct = result.as_ref().map_or_else(CallError::conduct, |_| Conduct::Answered);
            let _ = answer.send(result);
            conduct
        });
        let result = match self.inner.engine.inner.pool.submit(self.inner.lane, job) {
            Ok(start) => {
                if start == Start::AtOnce {
                    wait_briefly(&mut answered);
                }
                answered.await.unwrap_or(Err(CallError::Stopped))
            }
            Err(Full) => Err(CallError::Overloaded),
        };
        result.and_then(check).inspect_err(|error| self.failed(function, error))
    }

    fn failed(&self, function: Function, error: &CallError) {
        // The codes of faults are the plugin's, and may be as many as it likes.
        let reason = match error {
            CallError::Fault(_) => "Fault".to_owned(),
            other => other.reason().to_owned(),
        };
        let plugin = self.inner.descriptor.name.clone();
        metrics::counter!("senren_plugin_call_failures_total",
            "plugin" => plugin, "function" => function.name(), "reason" => reason)
        .increment(1);
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wit::Descriptor { name, version, .. } = &self.inner.descriptor;
        write!(f, "Plugin({name} {version} from {})", self.inner.origin)
    }
}

/// Lets a small call that is under way already come to its end: for the asking task, to be suspended and woken up
/// takes longer than that, and suspending a neighbour for these few microseconds is nothing new to it.
fn wait_briefly<T>(answered: &mut oneshot::Receiver<T>) {
    const BRIEFLY: Duration = Duration::from_micros(30);
    let started = Instant::now();
    while answered.is_empty() && started.elapsed() < BRIEFLY {
        std::hint::spin_loop();
    }
}

type Admission = Result<String, Vec<wit::Violation>>;

fn check_admitted(schema: &Schema, answer: Admission) -> Result<Admission, CallError> {
    let spec = match answer {
        Ok(spec) => spec,
        Err(violations) if violations.is_empty() => {
            return Err(bad("`admit` refuses the spec, but names no violation"));
        }
        Err(violations) => return Ok(Err(violations)),
    };
    let mut spec = serde_json::from_str(&spec)
        .map_err(|error| bad(format!("the spec that `admit` answers is not JSON: {error}")))?;
    schema.apply_defaults(&mut spec);
    match schema.validate(&spec).first() {
        None => Ok(Ok(spec.to_string())),
        Some(violation) => Err(bad(format!(
            "the spec that `admit` answers is not valid under its schema: {} {}",
            violation.path, violation.message
        ))),
    }
}

fn check_change(change: &wit::Change, current: bool, desired: bool) -> Result<(), CallError> {
    let possible: &[&str] = match (current, desired) {
        (false, true) => &["create"],
        (true, false) => &["delete"],
        _ => &["none", "update", "replace"],
    };
    if possible.contains(&change.action.as_str()) {
        return Ok(());
    }
    let possible = possible.join("`, `");
    Err(bad(format!("the action of `diff` is `{}`, where only `{possible}` can be", change.action)))
}

fn check_outcome(outcome: &wit::Outcome, deleting: bool) -> Result<(), CallError> {
    if outcome.children.is_empty() && !deleting {
        return Err(bad(
            "the outcome has no children, which would delete the database, though nobody asked for that",
        ));
    }
    if outcome.status.ready && outcome.status.endpoints.is_empty() {
        return Err(bad("the status says ready, but has no endpoint to connect to"));
    }
    if let Some(endpoint) = outcome.status.endpoints.iter().find(|endpoint| endpoint.port == 0) {
        let name = &endpoint.name;
        return Err(bad(format!("the endpoint {name:?} has the port 0, to which nobody can connect")));
    }
    Ok(())
}

fn bad(message: impl Into<String>) -> CallError {
    CallError::BadAnswer { message: message.into() }
}

fn violation(path: &str, code: &str, message: String) -> wit::Violation {
    wit::Violation { path: path.to_owned(), code: code.to_owned(), message }
}
