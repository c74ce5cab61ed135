//! The step: one resource, once. Read [`Step::run`] from top to bottom; each of its lines is a file of this crate.
//!
//! Whatever goes wrong ends the step before anything else is changed, and is shown on the resource: nothing is applied
//! or pruned after a fault of the plugin or a refusal of the guard.

use std::{collections::BTreeSet, time::Duration};

use kube::ResourceExt as _;
use senren_engine::{Plugin, Served, wit};
use serde_json::{Map, Value};

use crate::{
    api::Change,
    apply::{self, Settled},
    claims,
    clock::millis,
    events::{self, Said},
    failure::{Failure, Retry, listed},
    finalizer::{self, End},
    guard::{self, Guarded, Rules},
    kind::ObjectId,
    observe::Observed,
    prune,
    reconcile::Reconciler,
    resource::CustomResource,
    rest::Rest,
    secrets,
    status::Status,
};

/// A plugin may be called so often in one step: again with the secrets and answers it asked for.
const ROUNDS: usize = 4;
/// An outage is shown on a resource once it has failed it so often in a row.
const SHOWN_AFTER: u32 = 3;
/// A plugin can't ask to be called more often.
const MIN_REQUEUE: Duration = Duration::from_millis(100);
/// Something that is being deleted is looked at again after this time, though its end should be an event.
const LEAVING: Duration = Duration::from_secs(5);

/// What is remembered of a resource between steps. Losing it costs a few repeated writes and nothing else.
#[derive(Default)]
pub(crate) struct Memo {
    uid: String,
    admitted: Option<Admitted>,
    settled: Settled,
    said: BTreeSet<Said>,
    failures: u32,
    /// The last step came to nothing, on this ground.
    pub(crate) rest: Option<Rest>,
}

/// What a plugin made of a spec.
struct Admitted {
    digest: String,
    stored: Value,
    /// The admitted spec, or what is wrong with it.
    answer: Result<String, String>,
}

/// One resource on its way through a step.
pub(crate) struct Step<'a> {
    reconciler: &'a Reconciler,
    observed: &'a Observed,
    resource: CustomResource,
    /// What its status is to be.
    status: Status,
    said: BTreeSet<Said>,
    memo: Memo,
    gone: bool,
    /// There is news for the plugin that it has yet to see.
    unsettled: bool,
    /// Who was called, and how many answers had come for it.
    called: Option<(Plugin, u64)>,
}

/// What the plugin wants, guarded.
struct Wanted {
    outcome: wit::Outcome,
    details: Map<String, Value>,
    children: Vec<Guarded>,
}

impl<'a> Step<'a> {
    pub(crate) fn new(
        reconciler: &'a Reconciler,
        resource: CustomResource,
        observed: &'a Observed,
        memo: Memo,
    ) -> Self {
        let memo = if memo.uid == resource.uid { memo } else { Memo::default() };
        let status = resource.status.clone();
        Self {
            reconciler,
            observed,
            resource,
            status,
            said: BTreeSet::new(),
            memo,
            gone: false,
            unsettled: false,
            called: None,
        }
    }

    /// The step. Returns when to come back, besides every change.
    pub(crate) async fn run(&mut self) -> Result<Option<Duration>, Failure> {
        if self.resource.deletion_requested && !self.resource.finalizer {
            self.gone = true;
            return Ok(None);
        }
        let plugins = self.reconciler.plugins().current();
        let type_name = &self.resource.key.type_name;
        let Some(served) = plugins.get(type_name) else {
            self.reconciler.asks().forget(&self.resource.key);
            return Err(Failure::NoPlugin(type_name.clone()));
        };

        finalizer::hold(self.reconciler.kube(), &mut self.resource).await?;
        let spec = self.admit(served).await?;
        let wanted = self.ask(served, &spec).await?;
        let applied = self.apply(&wanted.children).await;
        let changed = !matches!(applied, Ok(Change::None)) || self.unsettled;
        self.status.observe(&wanted.outcome.status, wanted.details, changed, self.reconciler.now());
        applied?;
        if self.resource.deleting() && wanted.children.is_empty() {
            return self.finish().await;
        }
        let leaving = self.prune(&wanted.children).await?;

        let asked = wanted.outcome.requeue_after_ms.map(|ms| Duration::from_millis(ms).max(MIN_REQUEUE));
        Ok(if changed { Some(Duration::ZERO) } else { [asked, leaving].into_iter().flatten().min() })
    }

    /// What the plugin makes of the stored spec. Remembered, because it is asked for the same again and again.
    ///
    /// A spec that it refuses and that came through the control plane was once admitted: it runs on as it is, and
    /// says so. One that somebody else wrote never was.
    async fn admit(&mut self, served: &Served) -> Result<String, Failure> {
        let digest = served.plugin.digest();
        let known = self.memo.admitted.as_ref();
        let known = known.filter(|known| known.digest == digest && known.stored == self.resource.spec);
        let answer = match known {
            Some(known) => known.answer.clone(),
            None => {
                let answer = self.ask_to_admit(served).await?;
                let (digest, stored) = (digest.to_owned(), self.resource.spec.clone());
                self.memo.admitted = Some(Admitted { digest, stored, answer: answer.clone() });
                answer
            }
        };
        let violations = answer.as_ref().err().map(String::as_str);
        self.status.set_accepted(violations, self.reconciler.now());
        match answer {
            Ok(admitted) => Ok(admitted),
            Err(_) if self.resource.deleting() || !self.resource.senren_uid.is_empty() => {
                Ok(self.resource.spec.to_string())
            }
            Err(violations) => Err(Failure::InvalidSpec(violations)),
        }
    }

    /// The admitted spec, or what is wrong with it.
    async fn ask_to_admit(&self, served: &Served) -> Result<Result<String, String>, Failure> {
        let (type_name, spec) = (&self.resource.key.type_name, self.resource.spec.to_string());
        let answer = served.plugin.admit(type_name, &spec).await.map_err(Failure::Plugin)?;
        Ok(answer.map_err(|violations| {
            listed(&violations.iter().map(|v| line(&v.path, &v.message)).collect::<Vec<_>>())
        }))
    }

    /// What the operator set for the plugin. A deletion does not wait for it to be corrected: defaults will do.
    fn configure(&self, served: &Served) -> Result<String, Failure> {
        let name = &served.plugin.descriptor().name;
        let configured = match self.reconciler.settings().plugin_config.get(name) {
            Some(settings) => served.plugin.configure(Some(settings)).map(|config| config.to_string()),
            None => served.plugin.config().map(str::to_owned).map_err(<[_]>::to_vec),
        };
        configured.or_else(|violations| {
            let defaults = served.plugin.configure(None).ok().filter(|_| self.resource.deleting());
            defaults.map(|config| config.to_string()).ok_or_else(|| {
                let problems: Vec<_> = violations.iter().map(|v| line(&v.path, &v.message)).collect();
                Failure::Settings { plugin: name.clone(), problems: listed(&problems) }
            })
        })
    }

    /// Calls the plugin, until it has the secrets and answers that it asks for, and guards what it wants. Before
    /// anything is made it is in the inventory.
    async fn ask(&mut self, served: &Served, spec: &str) -> Result<Wanted, Failure> {
        let kube = self.reconciler.kube();
        let config = self.configure(served)?;
        let asks = self.reconciler.asks();
        let (mut states, mut answers) = (secrets::known(self.observed), asks.answers(&self.resource));
        for round in 1.. {
            let input = self.input(served, (spec, &config), &states, &answers);
            let outcome = self.reconciler.call(served, input).await.map_err(Failure::Plugin)?;
            let rules = self.rules(served, &outcome, &states);
            let secrets = secrets::check(&outcome.secrets, &rules)?;
            let children = guard::guard(&outcome.children, &rules).map_err(Failure::GuardRefused)?;
            let wanted = Wanted { details: details(&outcome.status)?, children, outcome };
            self.said = wanted.outcome.events.iter().map(Said::from).collect();
            self.record(&wanted.children, &secrets::ids(&secrets, &rules)).await?;

            let keeper =
                secrets::Keeper::new(kube, &rules, self.observed, &self.resource, self.reconciler.now());
            let ensured = keeper.ensure(&secrets).await?;
            self.status.secrets = secrets::records(&secrets, &ensured, &self.status.secrets);
            let stand = asks.stand(&self.resource, &wanted.outcome.asks, self.observed);
            let (answered, count) = stand.map_err(Failure::BadOutcome)?;
            self.called = Some((served.plugin.clone(), count));
            let news = ensured.iter().any(|state| !states.contains(state)) || answered != answers;
            if !news || round == ROUNDS {
                self.unsettled = news;
                return Ok(wanted);
            }
            states.retain(|state| ensured.iter().all(|new| new.name != state.name));
            states.extend(ensured);
            answers = answered;
        }
        Err(Failure::BadOutcome("it asks without end".into()))
    }

    fn input(
        &self,
        served: &Served,
        (spec, config): (&str, &str),
        secrets: &[wit::SecretState],
        answers: &[wit::Answer],
    ) -> wit::Input {
        let (resource, settings) = (&self.resource, self.reconciler.settings());
        wit::Input {
            resource_type: resource.key.type_name.clone(),
            region: settings.region.to_string(),
            site: resource.site.to_string(),
            namespace: resource.key.namespace.clone(),
            name: resource.key.name.clone(),
            uid: resource.uid.clone(),
            generation: resource.senren_generation,
            spec: spec.to_owned(),
            config: config.to_owned(),
            deleting: resource.deleting(),
            now_ms: millis(self.reconciler.now()),
            last_status: resource.status.hint().map(|status| status.to_string()),
            observed: self.observed.shown_to(&served.resource_type.wit),
            secrets: secrets.to_vec(),
            answers: answers.to_vec(),
            extras: vec![],
        }
    }

    fn rules(&self, served: &Served, outcome: &wit::Outcome, states: &[wit::SecretState]) -> Rules {
        let asked = outcome.secrets.iter().map(|request| &request.name);
        let secrets = asked.chain(states.iter().map(|state| &state.name)).cloned().collect();
        let (labels, allowed) = (self.reconciler.plane_labels(), &self.reconciler.settings().allowed_kinds);
        let claims =
            self.observed.of_kind("v1", "PersistentVolumeClaim").map(|claim| claim.name_any()).collect();
        Rules::new(&self.resource, &served.resource_type.wit, labels, allowed, (secrets, claims))
    }

    /// Writes what is about to be made into the inventory.
    async fn record(&mut self, children: &[Guarded], secrets: &[ObjectId]) -> Result<(), Failure> {
        let ids = children.iter().map(|child| &child.id).chain(secrets);
        let Some(inventory) = prune::extended(&self.status.inventory, ids) else { return Ok(()) };
        self.status.inventory = inventory;
        if self.status.phase.is_empty() {
            self.status.phase = "Pending".into();
        }
        self.reconciler.write_status(&mut self.resource, &self.status).await
    }

    async fn apply(&mut self, children: &[Guarded]) -> Result<Change, Failure> {
        let (kube, settled) = (self.reconciler.kube(), &mut self.memo.settled);
        let change = apply::apply(kube, &self.resource, children, self.observed, settled).await?;
        let grew = claims::expand(kube, &self.resource.key.namespace, children, self.observed).await?;
        Ok(if grew { Change::Made } else { change })
    }

    /// Deletes what is no longer wanted. Secrets stay: a plugin that forgets to ask for one must not cost the data that
    /// it protects.
    async fn prune(&mut self, children: &[Guarded]) -> Result<Option<Duration>, Failure> {
        let wanted: BTreeSet<&ObjectId> = children.iter().map(|child| &child.id).collect();
        let secret = secrets::kind();
        let keep = |id: &ObjectId| wanted.contains(id) || id.kind == secret;
        let pruned = prune::prune(self.reconciler.kube(), &self.resource, self.observed, keep).await?;
        self.status.inventory = pruned.inventory;
        let inventory = &self.status;
        self.memo.settled.retain(|id, _| inventory.lists(id));
        Ok((!pruned.leaving.is_empty()).then_some(LEAVING))
    }

    /// The plugin wants nothing any more: deletes what is left, and lets go once nothing is.
    async fn finish(&mut self) -> Result<Option<Duration>, Failure> {
        match finalizer::finish(self.reconciler.kube(), &mut self.resource, self.observed).await? {
            End::Gone => {
                self.gone = true;
                Ok(None)
            }
            End::Waiting { pruned, message } => {
                self.status.inventory = pruned.inventory;
                self.status.ready = false;
                self.status.reason = "Deleting".into();
                self.status.message = message;
                Ok(Some(LEAVING))
            }
        }
    }

    /// Says on the resource how the step went, where that is news.
    pub(crate) async fn conclude(
        &mut self,
        result: Result<Option<Duration>, Failure>,
    ) -> Result<Option<Duration>, Failure> {
        let failure = result.as_ref().err();
        self.memo.failures = failure.map_or(0, |_| self.memo.failures.saturating_add(1));
        let unsaid = failure.is_some_and(|failure| {
            failure.retry() == Retry::AtOnce || (failure.transient() && self.memo.failures < SHOWN_AFTER)
        });
        if self.gone || unsaid {
            return result;
        }
        let (kube, now) = (self.reconciler.kube(), self.reconciler.now());
        self.status.conclude(&self.resource, failure, now);
        if let Some(failure) = failure {
            self.said.insert(Said::failure(failure));
        }
        let written = match self.status.same_as(&self.resource.status) {
            true => Ok(()),
            false => self.reconciler.write_status(&mut self.resource, &self.status).await,
        };
        events::publish(kube, &self.resource, &self.memo.said, &self.said, now).await;
        self.memo.said = std::mem::take(&mut self.said);
        result.and_then(|requeue| written.map(|()| requeue))
    }

    /// Remembers that the step came to nothing, where it did. `objects` names what it saw.
    pub(crate) fn rest(&mut self, objects: u64, result: &Result<Option<Duration>, Failure>) {
        let quiet = result.as_ref().ok().filter(|again| **again != Some(Duration::ZERO));
        let called = self.called.take().filter(|_| !self.resource.deletion_requested);
        self.memo.rest = quiet.zip(called).map(|(again, (plugin, answers))| {
            Rest::new(plugin, (objects, answers), *again, self.reconciler.now())
        });
    }

    /// What to remember; nothing of a resource that is gone.
    pub(crate) fn remember(mut self) -> Option<Memo> {
        self.memo.uid.clone_from(&self.resource.uid);
        (!self.gone).then_some(self.memo)
    }
}

/// A violation in one line.
fn line(path: &str, message: &str) -> String {
    if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") }
}

fn details(status: &wit::Status) -> Result<Map<String, Value>, Failure> {
    match serde_json::from_str(&status.details) {
        Ok(Value::Object(details)) => Ok(details),
        Ok(Value::Null) => Ok(Map::new()),
        _ if status.details.is_empty() => Ok(Map::new()),
        _ => Err(Failure::BadOutcome("status.details is no JSON object".into())),
    }
}
