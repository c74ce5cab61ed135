//! One step, and what can be wrong with it.

use std::sync::atomic::{AtomicU64, Ordering};

use senren_plugin::objects::{self, StatefulSet};
use senren_plugin::wit::{Fault, Input, Outcome, Status};
use senren_plugin::{Phase, Value, json};

use crate::bugs::{HALF_MADE, has};

const PORT: u16 = 4711;

/// What is known, read.
struct Seen<'a> {
    input: &'a Input,
    spec: Value,
    config: Value,
    /// What it said last, if anybody knows.
    last: Value,
    observed: Vec<Value>,
}

impl Seen<'_> {
    fn find(&self, kind: &str) -> Option<&Value> {
        let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == self.input.name;
        self.observed.iter().find(is)
    }

    fn size(&self) -> u64 {
        self.spec["size"].as_u64().unwrap_or(1)
    }

    /// Pods that are ready and of the newest template.
    fn ready_pods(&self) -> u64 {
        let Some(set) = self.find("StatefulSet") else { return 0 };
        let current = set["metadata"]["generation"] == set["status"]["observedGeneration"]
            && set["metadata"]["annotations"]["spec"].as_str() == Some(&*self.spec.to_string());
        let revision = &set["status"]["updateRevision"];
        let ready = |object: &&Value| {
            let conditions = object["status"]["conditions"].as_array();
            let is = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
            object["kind"] == "Pod"
                && object["metadata"]["deletionTimestamp"].is_null()
                && object["metadata"]["labels"]["controller-revision-hash"] == *revision
                && conditions.is_some_and(|conditions| conditions.iter().any(is))
        };
        if current { self.observed.iter().filter(ready).count() as u64 } else { 0 }
    }

    /// Why its pods do not start.
    fn trouble(&self) -> Option<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.observed.iter().filter(|object| object["kind"] == "Pod").find_map(|pod| {
            let container = &pod["status"]["containerStatuses"][0];
            let unscheduled = pod["status"]["conditions"].as_array().into_iter().flatten();
            let unscheduled = unscheduled.filter(|condition| condition["reason"] == "Unschedulable");
            let last = &container["lastState"]["terminated"]["exitCode"];
            text(&container["state"]["waiting"]["reason"])
                .or_else(|| unscheduled.filter_map(|condition| text(&condition["message"])).next())
                .or_else(|| last.as_i64().map(|code| format!("it ended with {code}")))
        })
    }
}

pub(crate) fn reconcile(input: &Input) -> Result<Outcome, Fault> {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let last = input.last_status.as_deref().map(read).unwrap_or_default();
    let seen = Seen {
        input,
        spec: read(&input.spec),
        config: read(&input.config),
        last,
        observed: input.observed.iter().map(|object| read(object)).collect(),
    };
    if input.deleting {
        let stays = || Outcome::gone().child(config_map(&seen));
        return Ok(if has("stays") { stays() } else { Outcome::gone() });
    }
    give_up(&seen)?;
    let name = if has("other-name") { "someone-elses" } else { &input.name };
    let labels =
        json!({"app.kubernetes.io/name": input.resource_type, "app.kubernetes.io/instance": input.name});
    let mut config = config_map(&seen);
    config["metadata"]["name"] = Value::from(name);
    Ok(Outcome::new(status(&seen))
        .child(config)
        .child(objects::headless_service(&input.name, labels.clone(), &[("port", PORT)]))
        .child(stateful_set(&seen, labels)))
}

/// Where it takes what it sees for the end.
fn give_up(seen: &Seen) -> Result<(), Fault> {
    let (config, set) = (seen.find("ConfigMap"), seen.find("StatefulSet"));
    let phase = seen.last["phase"].as_str();
    if has("gives-up") && matches!(phase, Some("Ready" | "Degraded" | "Failed")) && set.is_none() {
        return Err(Fault::permanent("Lost", "the StatefulSet is gone"));
    }
    if has(HALF_MADE) && config.is_some() && set.is_none() && phase != Some("Ready") {
        return Err(Fault::permanent("HalfMade", "there is a ConfigMap, but no StatefulSet"));
    }
    Ok(())
}

fn config_map(seen: &Seen) -> Value {
    let text = |field: &str| seen.spec[field].as_str().unwrap_or_default().to_owned();
    let mut data = vec![("size", seen.size().to_string()), ("note", text("note"))];
    if has("high-water") {
        let before = seen.find("ConfigMap").and_then(|config| config["data"]["most"].as_str()?.parse().ok());
        data.push(("most", seen.size().max(before.unwrap_or(0)).to_string()));
    }
    if has("restless") {
        let before = seen.find("ConfigMap").map(|config| config["data"]["turn"] == "left");
        data.push(("turn", if before == Some(true) { "right" } else { "left" }.to_owned()));
    }
    let mut config = objects::config_map(&seen.input.name, data);
    if has("any-label") {
        config["metadata"]["labels"] = json!({"note": text("note")});
    }
    config
}

fn stateful_set(seen: &Seen, labels: Value) -> Value {
    let name = &seen.input.name;
    let image = format!("{}example:1", seen.config["registry"].as_str().unwrap_or_default());
    let pod = json!({"containers": [{
        "name": "database", "image": image,
        "env": [{"name": "COLOUR", "value": seen.spec["colour"]}],
        "ports": [{"name": "port", "containerPort": PORT}],
    }]});
    let set =
        StatefulSet { service: name, replicas: seen.size() as u32, pod, ..StatefulSet::new(name, labels) };
    let mut set = Value::from(set);
    set["metadata"]["annotations"] = json!({"spec": seen.spec.to_string()});
    if has("restarts") {
        set["spec"]["template"]["metadata"]["annotations"] = json!({"note": seen.spec["note"]});
    }
    set
}

fn status(seen: &Seen) -> Status {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let wanted = if has("no-scaling") { seen.size().min(2) } else { seen.size() };
    let stuck = has("never-ready")
        || (has("no-scaling") && seen.size() > 2)
        || (has("setting") && seen.config["registry"] != "");
    let ready = seen.ready_pods();
    let mut status = if has("always-ready") || (ready >= wanted && !stuck) {
        Status::ready("AllReady")
    } else {
        let trouble = seen.trouble().unwrap_or_else(|| format!("{ready} of {wanted} pods are ready"));
        let phase = if seen.last["phase"].is_null() { Phase::Creating } else { Phase::Updating };
        Status::new(phase, false, "PodsNotReady", trouble)
    };
    let host = format!("{}.{}.svc", seen.input.name, seen.input.namespace);
    status = status.endpoint("primary", host, PORT);
    if has("counts") {
        status = status.details(&json!({"calls": CALLS.fetch_add(1, Ordering::Relaxed)}));
    }
    if has("minutes") {
        status = status.details(&json!({"minute": seen.input.now_ms / 60_000}));
    }
    if has("first") {
        let first = seen.observed.first().map(|object| object["metadata"]["name"].clone());
        status = status.details(&json!({"first": first}));
    }
    if has("labels") {
        let labels = seen.find("ConfigMap").and_then(|config| config["metadata"]["labels"].as_object());
        status = status.details(&json!({"labels": labels.map(|labels| labels.len())}));
    }
    if has("went-back") {
        let before = &seen.last["details"];
        let seen_before = before["generation"].as_u64().unwrap_or(0);
        let set = seen.find("StatefulSet").and_then(|set| set["metadata"]["generation"].as_u64());
        let generation = set.unwrap_or(seen_before);
        if before["restored"] == true || generation < seen_before {
            let status = Status::new(Phase::Failed, false, "Restored", "its StatefulSet is from a backup");
            return status.details(&json!({"generation": seen_before, "restored": true}));
        }
        status = status.details(&json!({"generation": generation}));
    }
    status
}
