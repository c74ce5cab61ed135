//! The Job controller: pods that are to end well, tried again until they do or the limit is reached.
//!
//! Minimal: non-indexed jobs with parallelism, completions and backoffLimit. What else a job can ask for is
//! refused when it is written (`admit::jobs`).

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobSpec},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    feed::{Feed, typed},
    names::{controller_of, controller_reference, is_terminating},
    pod_state::{is_ready, phase_of},
    process::backoff::Policy,
    recorder::{Level, Recorder},
};
use crate::{
    kinds::{JOBS, PODS},
    status::Result,
    store::{DeleteOptions, Key, Object, Part, Store, Write, key_of, uid_of},
    write::CONTROLLERS,
};

const BY: &str = "job-controller";
const KIND: (&str, &str) = ("batch/v1", "Job");

/// Runs all Jobs until stopped; failed pods are replaced after the delays of `policy`.
pub async fn run(store: Store, policy: Policy, stop: CancellationToken) -> anyhow::Result<()> {
    let mut jobs = Feed::open(&store, &JOBS)?;
    let mut pods = Feed::open(&store, &PODS)?;
    let (again, mut due) = mpsc::unbounded_channel();
    let recorder = Recorder::new(&store, BY);
    let mut controller = Controller { recorder, store, policy, again, delays: HashMap::new() };
    let mut queue = BTreeSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(change) = jobs.next() => {
                if change.gone {
                    controller.delays.remove(uid_of(&change.object).unwrap_or_default());
                }
                queue.insert(key_of(&change.object));
            }
            Some(change) = pods.next() => { queue.extend(job_of(&change.object)); }
            Some(key) = due.recv() => { queue.insert(key); }
            else => return Ok(()),
        }
        while let Some(key) = queue.pop_first() {
            if let Err(status) = controller.reconcile(&key) {
                tracing::warn!(error = status.message, job = key.name, "a Job could not be looked after");
            }
        }
    }
}

fn job_of(pod: &Object) -> Option<Key> {
    let owners = pod["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true && owner["kind"] == "Job")?;
    Some(Key::new(key_of(pod).namespace, owner["name"].as_str()?))
}

struct Controller {
    store: Store,
    recorder: Recorder,
    policy: Policy,
    again: mpsc::UnboundedSender<Key>,
    /// Per job: how many failures it had, and when the next pod may start.
    delays: HashMap<String, (usize, Instant)>,
}

/// The pods of a job, by how they are.
#[derive(Default)]
struct Pods {
    active: Vec<(Object, Pod)>,
    succeeded: usize,
    failed: usize,
}

impl Controller {
    fn reconcile(&mut self, key: &Key) -> Result<()> {
        let Ok(object) = self.store.get(&JOBS, &key.namespace, &key.name) else { return Ok(()) };
        let Some(job) = typed::<Job>(&object) else { return Ok(()) };
        if is_terminating(&object) || is_over(&job) {
            return Ok(());
        }
        let spec = job.spec.clone().unwrap_or_default();
        let pods = self.pods_of(&object, &spec);
        let parallelism = count(spec.parallelism, 1);
        let wanted = spec.completions.map(|completions| count(Some(completions), 1));
        let limit = count(spec.backoff_limit, 6);
        let done = match wanted {
            Some(completions) => pods.succeeded >= completions,
            None => pods.succeeded > 0 && pods.active.is_empty(),
        };
        let verdict = if pods.failed > limit {
            Some(("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"))
        } else {
            done.then_some(("Complete", "CompletionsReached", "Reached expected number of succeeded pods"))
        };
        if verdict.is_some() {
            self.delete_all(key, &pods.active)?;
        } else {
            let open =
                wanted.map_or(parallelism, |wanted| wanted.saturating_sub(pods.succeeded).min(parallelism));
            let open = if wanted.is_none() && pods.succeeded > 0 { 0 } else { open };
            if spec.suspend != Some(true)
                && pods.active.len() < open
                && self.may_start(key, &object, pods.failed)
            {
                for _ in pods.active.len()..open {
                    self.create(key, &object)?;
                }
            }
        }
        self.write_status(key, &object, &job, verdict)
    }

    fn pods_of(&self, job: &Object, spec: &JobSpec) -> Pods {
        let uid = uid_of(job).unwrap_or_default();
        let mut pods = Pods::default();
        let restarts_in_place = spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        let restarts_in_place = restarts_in_place == Some("OnFailure");
        for place in self.store.inspect(|state| state.dependents_of(uid)) {
            let Ok(object) = self.store.get(&place.resource, &place.key.namespace, &place.key.name) else {
                continue;
            };
            if place.resource != PODS || controller_of(&object) != Some(uid) {
                continue;
            }
            let Some(pod) = typed::<Pod>(&object) else { continue };
            if restarts_in_place {
                let statuses =
                    pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
                pods.failed += statuses.map(|status| count(Some(status.restart_count), 0)).sum::<usize>();
            }
            match phase_of(&pod) {
                "Succeeded" => pods.succeeded += 1,
                "Failed" => pods.failed += 1,
                _ if is_terminating(&object) => {}
                _ => pods.active.push((object, pod)),
            }
        }
        pods
    }

    /// Whether the next pod may start now; if not, the job comes again when it may.
    fn may_start(&mut self, key: &Key, job: &Object, failed: usize) -> bool {
        if failed == 0 {
            return true;
        }
        let uid = uid_of(job).unwrap_or_default().to_owned();
        let (counted, ready) = self.delays.entry(uid).or_insert((0, Instant::now()));
        if *counted < failed {
            *counted = failed;
            let doubled =
                u32::try_from(failed - 1).ok().and_then(|n| 2u32.checked_pow(n)).unwrap_or(u32::MAX);
            let wait = self.policy.base.saturating_mul(doubled).min(self.policy.limit);
            *ready = Instant::now() + wait;
        }
        let wait = ready.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return true;
        }
        let (again, key) = (self.again.clone(), key.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait + Duration::from_millis(1)).await;
            // The controller has stopped.
            let _ = again.send(key);
        });
        false
    }

    fn create(&self, key: &Key, job: &Object) -> Result<()> {
        let template = &job["spec"]["template"];
        let mut metadata = json!({
            "generateName": format!("{}-", key.name), "namespace": key.namespace,
            "labels": json!(template["metadata"]["labels"].as_object().cloned().unwrap_or_default()),
            "ownerReferences": [controller_reference(KIND.0, KIND.1, job)],
        });
        if let Some(annotations) = template["metadata"].get("annotations") {
            metadata["annotations"] = annotations.clone();
        }
        for (label, value) in
            [("job-name", json!(key.name)), ("controller-uid", job["metadata"]["uid"].clone())]
        {
            metadata["labels"][label] = value.clone();
            metadata["labels"][format!("batch.kubernetes.io/{label}")] = value;
        }
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]});
        let created = self.store.create(&PODS, &key.namespace, pod, &Write::by(CONTROLLERS))?;
        let message = format!("Created pod: {}", key_of(&created).name);
        self.recorder.record(KIND, job, None, Level::Normal, "SuccessfulCreate", &message);
        Ok(())
    }

    fn delete_all(&self, key: &Key, pods: &[(Object, Pod)]) -> Result<()> {
        for (object, _) in pods {
            let options = DeleteOptions { uid: uid_of(object).map(Into::into), ..DeleteOptions::default() };
            self.store.delete(&PODS, &key.namespace, &key_of(object).name, &options)?;
        }
        Ok(())
    }

    fn write_status(
        &self,
        key: &Key,
        object: &Object,
        job: &Job,
        verdict: Option<(&str, &str, &str)>,
    ) -> Result<()> {
        let spec = job.spec.clone().unwrap_or_default();
        let pods = self.pods_of(object, &spec);
        let mut status = job.status.clone().unwrap_or_default();
        let now = Time(Timestamp::now());
        let number = |count: usize| Some(i32::try_from(count).unwrap_or(i32::MAX));
        status.start_time = status.start_time.or_else(|| Some(now.clone()));
        status.active = if verdict.is_some() { None } else { number(pods.active.len()) };
        status.ready = number(pods.active.iter().filter(|(_, pod)| is_ready(pod)).count());
        (status.succeeded, status.failed) = (number(pods.succeeded), number(pods.failed));
        if let Some((kind, reason, message)) = verdict {
            if kind == "Complete" {
                status.completion_time = Some(now.clone());
            }
            let condition = JobCondition {
                type_: kind.into(),
                status: "True".into(),
                reason: Some(reason.into()),
                message: Some(message.into()),
                last_probe_time: Some(now.clone()),
                last_transition_time: Some(now),
            };
            status.conditions.get_or_insert_default().push(condition);
            let (level, event) =
                if kind == "Complete" { (Level::Normal, "Completed") } else { (Level::Warning, reason) };
            let message = if kind == "Complete" { "Job completed" } else { message };
            self.recorder.record(KIND, object, None, level, event, message);
        }
        let status = serde_json::to_value(status).map_err(crate::status::internal)?;
        let change = |object: &mut Value| object["status"] = status;
        self.store
            .modify(&JOBS, Part::Status, &key.namespace, &key.name, &Write::by(CONTROLLERS), change)
            .map(drop)
    }
}

fn is_over(job: &Job) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")
}

fn count(value: Option<i32>, default: usize) -> usize {
    value.map_or(default, |value| usize::try_from(value).unwrap_or(0))
}
