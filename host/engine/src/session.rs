//! Calls as data, and several of them in *one* instance: for checks and benchmarks of plugins, never for reconciling.
//!
//! Answers are as the plugin gave them: nothing is filled in before or judged after, so that a checker sees what a
//! plugin does and not what the host makes of it. The limits hold as for any call.

use crate::{
    CallError, Plugin,
    bindings::{self, exports::senren::plugin::controller::Guest as Controller},
    call::{self, Guard},
    config::Limits,
    pool::Conduct,
    wit,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use wasmtime::Store;

/// A call of one of a plugin's functions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// `describe`
    Describe {},
    /// `admit`
    Admit {
        /// Which type.
        resource_type: String,
        /// What somebody wrote, with the schema's defaults.
        spec: String,
    },
    /// `diff`
    Diff {
        /// Which type.
        resource_type: String,
        /// What is, if anything.
        current: Option<String>,
        /// What shall be, if anything.
        desired: Option<String>,
    },
    /// `reconcile`
    Reconcile(Box<wit::Input>),
}

/// What a plugin answers to a [`Call`] of the same name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Of `describe`.
    Describe(Box<wit::Descriptor>),
    /// Of `admit`.
    Admit(Result<String, Vec<wit::Violation>>),
    /// Of `diff`.
    Diff(Result<wit::Change, wit::Fault>),
    /// Of `reconcile`.
    Reconcile(Box<Result<wit::Outcome, wit::Fault>>),
}

/// What became of calls in one instance.
#[derive(Debug)]
pub struct Session {
    /// One for each call, up to the first error, after which an instance is of no more use.
    pub answers: Vec<Result<Answer, CallError>>,
    /// How long each took, in the same order; the first without the making of the instance.
    pub durations: Vec<Duration>,
    /// The most memory that the instance had.
    pub memory_bytes: usize,
}

impl Plugin {
    /// Makes `calls` one after the other in one fresh instance. The contract promises a plugin an instance for every
    /// call; one that keeps nothing between calls answers the same here.
    pub async fn session(&self, calls: Vec<Call>) -> Result<Session, CallError> {
        let (answer, answered) = oneshot::channel();
        let (inner, tuning) = (self.inner.clone(), self.tuning.clone());
        let job = Box::new(move || {
            let session = run(&inner.component, &tuning.limits, calls);
            let conduct = match session.as_ref().map(|session| session.answers.last()) {
                Ok(Some(Err(error))) => error.conduct(),
                Ok(_) => Conduct::Answered,
                Err(error) => error.conduct(),
            };
            let _ = answer.send(session);
            conduct
        });
        self.inner.engine.inner.pool.submit(self.inner.lane, job).map_err(|_| CallError::Overloaded)?;
        answered.await.unwrap_or(Err(CallError::Stopped))
    }

    /// Makes one call, in an instance of its own.
    pub async fn answer(&self, call: Call) -> Result<Answer, CallError> {
        self.session(vec![call]).await?.answers.pop().unwrap_or(Err(CallError::Stopped))
    }
}

fn run(
    component: &wasmtime::component::InstancePre<Guard>,
    limits: &Limits,
    calls: Vec<Call>,
) -> Result<Session, CallError> {
    let (mut store, instance) = call::instantiate(component, limits)?;
    // Looked up once, as their types were compared once, when the plugin was loaded.
    let exports =
        bindings::Plugin::new(&mut store, &instance).map_err(|error| call::failed(&error, limits))?;
    let controller = exports.senren_plugin_controller();
    let mut session = Session { answers: vec![], durations: vec![], memory_bytes: 0 };
    for call in calls {
        store.set_epoch_deadline(crate::epoch::ticks(limits.deadline));
        store.set_hostcall_fuel(limits.output_bytes);
        let started = Instant::now();
        let answer = answer(&mut store, controller, call).map_err(|error| call::failed(&error, limits));
        session.durations.push(started.elapsed());
        let failed = answer.is_err();
        session.answers.push(answer);
        if failed {
            break;
        }
    }
    session.memory_bytes = store.data().peak_memory_bytes;
    Ok(session)
}

fn answer(store: &mut Store<Guard>, controller: &Controller, call: Call) -> wasmtime::Result<Answer> {
    Ok(match call {
        Call::Describe {} => Answer::Describe(controller.call_describe(store)?.into()),
        Call::Admit { resource_type, spec } => {
            Answer::Admit(controller.call_admit(store, &resource_type, &spec)?)
        }
        Call::Diff { resource_type, current, desired } => {
            let (current, desired) = (current.as_ref(), desired.as_ref());
            Answer::Diff(controller.call_diff(store, &resource_type, current, desired)?)
        }
        Call::Reconcile(input) => Answer::Reconcile(controller.call_reconcile(store, &input)?.into()),
    })
}
