//! Pods as rows: what a pod's state is called is a rule of its own.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::human::{or, since};

/// Ready containers of all, state, restarts.
pub fn state(pod: &Value, now: Timestamp) -> [Value; 3] {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (init, main) = (list(&status["initContainerStatuses"]), list(&status["containerStatuses"]));
    let mut reason = or(&status["reason"], status["phase"].as_str().unwrap_or_default());
    let (mut restarts, mut ready) = (count(&init), 0);
    let initializing = initializing(&init, list(&spec["initContainers"]).len());
    let (last, initialized) = (last_restart(init.iter().chain(&main)), condition(status, "Initialized"));
    if let Some(step) = &initializing {
        reason.clone_from(step);
    }
    if initializing.is_none() || initialized {
        restarts = count(&main);
        let mut running = false;
        for container in main.iter().rev() {
            match of_container(&container["state"]) {
                Some(why) => reason = why,
                None if container["ready"] == true => (ready, running) = (ready + 1, true),
                None => {}
            }
        }
        if reason == "Completed" && running {
            reason = if condition(status, "Ready") { "Running" } else { "NotReady" }.into();
        }
    }
    let over = ["Succeeded", "Failed"].contains(&status["phase"].as_str().unwrap_or_default());
    if pod["metadata"].get("deletionTimestamp").is_some() && !over {
        reason = "Terminating".into();
    }
    let restarts = match last {
        Some(at) if restarts > 0 => json!(format!("{restarts} ({} ago)", since(at, now))),
        _ => json!(restarts.to_string()),
    };
    [json!(format!("{ready}/{}", list(&spec["containers"]).len())), json!(reason), restarts]
}

/// How far the first init container is that isn't done.
fn initializing(statuses: &[Value], all: usize) -> Option<String> {
    let done = |status: &Value| status["state"]["terminated"]["exitCode"] == 0;
    let (at, status) = statuses.iter().enumerate().find(|(_, status)| !done(status))?;
    Some(match of_container(&status["state"]) {
        Some(why) if why != "PodInitializing" => format!("Init:{why}"),
        _ => format!("Init:{at}/{all}"),
    })
}

/// Why a container doesn't run.
fn of_container(state: &Value) -> Option<String> {
    if let Some(reason) = state["waiting"]["reason"].as_str().filter(|reason| !reason.is_empty()) {
        return Some(reason.to_owned());
    }
    let terminated = state.get("terminated").filter(|terminated| terminated.is_object())?;
    match terminated["reason"].as_str().filter(|reason| !reason.is_empty()) {
        Some(reason) => Some(reason.to_owned()),
        None => Some(match terminated["signal"].as_i64().filter(|signal| *signal != 0) {
            Some(signal) => format!("Signal:{signal}"),
            None => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or_default()),
        }),
    }
}

fn count(statuses: &[Value]) -> i64 {
    statuses.iter().filter_map(|status| status["restartCount"].as_i64()).sum()
}

fn last_restart<'a>(statuses: impl Iterator<Item = &'a Value>) -> Option<Timestamp> {
    statuses.filter_map(|status| status["lastState"]["terminated"]["finishedAt"].as_str()?.parse().ok()).max()
}

fn condition(status: &Value, kind: &str) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(phase: &str, init: Value, main: Value, wanted: [&str; 3]) {
        let pod = json!({"metadata": {"name": "p"}, "status": {"phase": phase, "initContainerStatuses": init,
            "containerStatuses": main}, "spec": {"containers": [{}, {}], "initContainers": [{}]}});
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap_or_default();
        assert_eq!(state(&pod, now), wanted.map(|cell| json!(cell)), "{pod}");
    }

    #[test]
    fn a_pod_is_what_its_most_interesting_container_is() {
        let running = json!({"ready": true, "restartCount": 0, "state": {"running": {}}});
        let init = json!([{"state": {"terminated": {"exitCode": 0}}}]);
        let crashed = json!({"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"finishedAt": "2026-01-01T00:00:18Z"}}});
        let failed = json!({"state": {"terminated": {"exitCode": 2}}});
        check("Running", init.clone(), json!([running, running]), ["2/2", "Running", "0"]);
        check("Running", init.clone(), json!([running, crashed]), ["1/2", "CrashLoopBackOff", "3 (42s ago)"]);
        check("Failed", init.clone(), json!([failed, failed]), ["0/2", "ExitCode:2", "0"]);
        let waiting = json!({"state": {"waiting": {"reason": "PodInitializing"}}});
        check("Pending", json!([{"state": {"running": {}}}]), json!([waiting]), ["0/2", "Init:0/1", "0"]);
        check("Pending", json!([failed]), json!([]), ["0/2", "Init:ExitCode:2", "0"]);
        check("Pending", json!([]), json!([]), ["0/2", "Pending", "0"]);
    }
}
