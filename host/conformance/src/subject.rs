//! What is checked: one type of a plugin, and direct calls of it.

use std::sync::OnceLock;

use anyhow::Context as _;
use futures::executor::block_on;
use senren_engine::{Answer, Call, CallError, Limits, Plugin, ResourceType, wit};
use senren_schema::Schema;
use serde_json::Value;

use crate::{
    checks::change::{self, Tried},
    readable,
    report::Problem,
    shrink::shrink,
    world::life::{self, Life},
};

/// How many calls a reproduction may cost.
pub(crate) const SHRINK_BUDGET: usize = 600;

/// One type of a plugin.
pub(crate) struct Subject {
    pub plugin: Plugin,
    pub ty: ResourceType,
    /// What its calls are held to.
    pub limits: Limits,
    /// The schema of the spec, as the plugin wrote it.
    pub schema: Value,
    /// The example, as `admit` answered it.
    pub example: Value,
    life: OnceLock<anyhow::Result<Life>>,
    changes: OnceLock<anyhow::Result<Vec<Tried>>>,
}

/// What the host and the plugin together make of a spec.
pub(crate) type Admitted = Result<Result<Value, Vec<wit::Violation>>, CallError>;

impl Subject {
    pub(crate) fn new(plugin: &Plugin, ty: &ResourceType, limits: &Limits) -> anyhow::Result<Self> {
        let schema = serde_json::from_str(&ty.wit.spec_schema).context("the schema")?;
        let mut subject = Self {
            plugin: plugin.clone(),
            ty: ty.clone(),
            limits: limits.clone(),
            schema,
            example: Value::Null,
            life: OnceLock::new(),
            changes: OnceLock::new(),
        };
        let example: Value = serde_json::from_str(&ty.wit.example).context("the example")?;
        subject.example = match subject.admit(&example) {
            Ok(Ok(admitted)) => admitted,
            _ => example,
        };
        Ok(subject)
    }

    pub(crate) fn name(&self) -> &str {
        &self.ty.wit.name
    }

    pub(crate) fn parsed_schema(&self) -> &Schema {
        &self.ty.schema
    }

    /// How the example lives: brought about once, looked at by several checks.
    pub(crate) fn life(&self) -> anyhow::Result<&Life> {
        self.life.get_or_init(|| life::live(self)).as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))
    }

    /// What comes of every change of the example: tried once, looked at by several checks.
    pub(crate) fn changes(&self) -> anyhow::Result<&[Tried]> {
        let tried = self.changes.get_or_init(|| change::try_all(self)).as_ref();
        tried.map(Vec::as_slice).map_err(|error| anyhow::anyhow!("{error:#}"))
    }

    /// A change that leads to ready, on a way that is worth another look: the shortest of those that replace or add pods;
    /// of a plugin without such, the one that takes the most writes.
    pub(crate) fn lively_change(&self) -> anyhow::Result<Option<&Tried>> {
        let made = || self.changes().map(|all| all.iter().filter(|tried| tried.end.is_some()));
        let shortest = made()?.filter(|tried| tried.new_pods).min_by_key(|tried| tried.writes);
        Ok(shortest.or(made()?.max_by_key(|tried| tried.writes)))
    }

    /// What the region makes of a spec: the schema's defaults and rules, then the plugin's.
    pub(crate) fn admit(&self, spec: &Value) -> Admitted {
        let admitted = block_on(self.plugin.admit(self.name(), &spec.to_string()))?;
        Ok(admitted.map(|spec| serde_json::from_str(&spec).unwrap_or_default()))
    }

    /// As [`Self::admit`], where only the admitted spec matters.
    pub(crate) fn admitted(&self, spec: &Value) -> Option<Value> {
        self.admit(spec).ok()?.ok()
    }

    /// What going from one admitted spec to another means, held to the contract as the host does.
    pub(crate) fn diff(
        &self,
        current: Option<&Value>,
        desired: Option<&Value>,
    ) -> Result<wit::Change, CallError> {
        let text = |spec: Option<&Value>| spec.map(Value::to_string);
        block_on(self.plugin.diff(self.name(), text(current).as_deref(), text(desired).as_deref()))
    }

    /// Makes a call in an instance of its own; what is answered is not judged.
    pub(crate) fn call(&self, call: Call) -> Result<Answer, CallError> {
        block_on(self.plugin.answer(call))
    }

    pub(crate) fn admit_call(&self, spec: &Value) -> Call {
        Call::Admit { resource_type: self.name().to_owned(), spec: spec.to_string() }
    }

    pub(crate) fn diff_call(&self, current: Option<&Value>, desired: Option<&Value>) -> Call {
        let text = |spec: Option<&Value>| spec.map(Value::to_string);
        Call::Diff { resource_type: self.name().to_owned(), current: text(current), desired: text(desired) }
    }

    /// The smallest of what `call` can be cut down to such that `shows` holds, which it does for `call`, with what
    /// is answered to it. `keep` is left alone: JSON Pointers into the readable call.
    pub(crate) fn smallest(
        &self,
        call: &Call,
        keep: &dyn Fn(&str) -> bool,
        shows: impl Fn(&Call, &Result<Answer, CallError>) -> bool,
    ) -> (Call, Value) {
        let small = shrink(&readable::of(call), SHRINK_BUDGET, keep, |smaller| {
            let Ok(call) = readable::call(smaller) else { return false };
            self.may_be_asked(&call) && shows(&call, &self.call(call.clone()))
        });
        let small = readable::call(&small).unwrap_or_else(|_| call.clone());
        let answered = readable::answer(&self.call(small.clone()));
        (small, answered)
    }

    /// True where a host might make this call: the specs in it satisfy the schema.
    fn may_be_asked(&self, call: &Call) -> bool {
        let valid = |spec: &str| {
            serde_json::from_str(spec).is_ok_and(|spec| self.ty.schema.validate(&spec).is_empty())
        };
        match call {
            Call::Describe {} => true,
            Call::Admit { spec, .. } => valid(spec),
            Call::Diff { current, desired, .. } => current.iter().chain(desired).all(|spec| valid(spec)),
            Call::Reconcile(input) => {
                let config = serde_json::from_str(&input.config).ok();
                let complete = config.as_ref().is_some_and(|config| {
                    self.plugin.configure(Some(config)).is_ok_and(|configured| configured == *config)
                });
                complete && self.is_admitted(&input.spec)
            }
        }
    }

    /// `reconcile` only ever sees what `admit` answered.
    fn is_admitted(&self, spec: &str) -> bool {
        let Ok(spec) = serde_json::from_str::<Value>(spec) else { return false };
        self.admitted(&spec).is_some_and(|admitted| admitted == spec)
    }

    /// A problem of this type.
    pub(crate) fn problem(&self, message: impl Into<String>, fix: impl Into<String>) -> Problem {
        let mut problem = Problem::new(message, fix);
        problem.resource_type = Some(self.name().to_owned());
        problem
    }
}
