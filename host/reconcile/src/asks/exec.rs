//! A command in a pod of the resource that asks for it, and what it left.
//!
//! It must never run in anybody else's pod, whatever labels that carries: the pod is read anew, and the chain of its
//! controllers must end at the resource, by uid. What it answers is bounded in time and size. Output is the database's
//! own, and may hold its secrets: none of it is logged.

use std::{collections::BTreeSet, fmt};

use futures::future::try_join;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api, ResourceExt as _,
    api::{AttachParams, AttachedProcess, DynamicObject},
};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::params::Exec;
use crate::{
    api::Kube,
    failure::explain,
    kind::{ApiKind, ObjectId},
    observe::controller,
};

/// Above a pod there are at most a Job and a CronJob, or a ReplicaSet and a Deployment, and then the resource.
const GENERATIONS: usize = 4;
/// How much of a stream is read at once.
const CHUNK: usize = 16 * 1024;

/// Whose pods are meant.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub namespace: String,
    /// Of the resource.
    pub uid: String,
    /// uids of the objects that the resource was seen to control: knowing them saves reading them.
    pub controls: BTreeSet<String>,
}

/// Runs a command. `Ok` is the output of a command that was run, however it ended; `Err` says why it was not.
pub(crate) async fn run(kube: &Kube, owner: &Owner, exec: &Exec, most: usize) -> Result<Value, String> {
    match tokio::time::timeout(exec.timeout, attempt(kube, owner, exec, most)).await {
        Ok(result) => result,
        Err(_) => Err(format!("pod {}: the command did not end within {:?}", exec.pod, exec.timeout)),
    }
}

async fn attempt(kube: &Kube, owner: &Owner, exec: &Exec, most: usize) -> Result<Value, String> {
    let about = |problem: &dyn fmt::Display| format!("pod {}: {problem}", exec.pod);
    let id = ObjectId::new(ApiKind::new("v1", "Pod"), &exec.pod);
    let unreadable = |error: kube::Error| about(&format!("it can't be read: {}", explain(&error)));
    let pod = kube.get(&owner.namespace, &id).await.map_err(unreadable)?;
    let pod = pod.ok_or_else(|| about(&"there is no such pod"))?;
    let container = container(&pod, exec.container.as_deref()).map_err(|problem| about(&problem))?;
    if !is_of(kube, &pod, owner).await.map_err(unreadable)? {
        return Err(about(&"it does not belong to this resource"));
    }
    let pods: Api<Pod> = Api::namespaced(kube.client(), &owner.namespace);
    let params =
        AttachParams::default().container(container).max_stdout_buf_size(CHUNK).max_stderr_buf_size(CHUNK);
    let process = pods.exec(&exec.pod, &exec.command, &params).await;
    let process = process.map_err(|error| about(&refusal(&error)))?;
    collect(process, most).await.map_err(|problem| about(&problem))
}

/// The container that is meant.
fn container(pod: &DynamicObject, wanted: Option<&str>) -> Result<String, String> {
    let containers = pod.data.pointer("/spec/containers").and_then(Value::as_array);
    let names: Vec<&str> =
        containers.into_iter().flatten().filter_map(|container| container["name"].as_str()).collect();
    let default = || pod.annotations().get("kubectl.kubernetes.io/default-container").map(String::as_str);
    let first = || default().filter(|name| names.contains(name)).or_else(|| names.first().copied());
    match wanted.or_else(first) {
        Some(name) if names.contains(&name) => Ok(name.to_owned()),
        Some(name) => Err(format!("it has no container {name:?}, only {}", names.join(", "))),
        None => Err("it has no container".into()),
    }
}

/// True where the chain of controllers above `pod` ends at the resource.
async fn is_of(kube: &Kube, pod: &DynamicObject, owner: &Owner) -> Result<bool, kube::Error> {
    let mut above = controller(pod).cloned();
    for _ in 0..GENERATIONS {
        let Some(by) = above else { return Ok(false) };
        if by.uid == owner.uid || owner.controls.contains(&by.uid) {
            return Ok(true);
        }
        let id = ObjectId::new(ApiKind::new(by.api_version, by.kind), by.name);
        let parent = kube.get(&owner.namespace, &id).await?;
        let Some(parent) = parent.filter(|parent| parent.uid().as_ref() == Some(&by.uid)) else {
            return Ok(false);
        };
        above = controller(&parent).cloned();
    }
    Ok(false)
}

fn refusal(error: &kube::Error) -> String {
    match error {
        kube::Error::UpgradeConnection(error) => format!("the command can't be run: {error}"),
        error => format!("the command can't be run: {}", explain(error)),
    }
}

/// Reads both streams to their ends.
async fn collect(mut process: AttachedProcess, most: usize) -> Result<Value, String> {
    let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
    let (Some(stdout), Some(stderr), Some(status)) = (stdout, stderr, status) else {
        return Err("the connection has no streams".into());
    };
    let read =
        async { try_join(read(stdout, most), read(stderr, most)).await.map_err(|error| error.to_string()) };
    // The streams of a connection that breaks have no end: no status says so.
    let status = async { status.await.ok_or_else(String::new) };
    match try_join(read, status).await {
        Ok((((stdout, cut), (stderr, also_cut)), status)) => Ok(json!({
            "exit-code": exit_code(&status)?,
            "stdout": stdout,
            "stderr": stderr,
            "truncated": cut || also_cut,
        })),
        Err(problem) if !problem.is_empty() => Err(problem),
        Err(_) => {
            let why = process.join().await.err().map_or_else(String::new, |error| format!(": {error}"));
            Err(format!("the connection broke off before the command ended{why}"))
        }
    }
}

/// The first `most` bytes as text, and whether there were more. Reads on to the end, lest the command wait for a reader.
async fn read(mut stream: impl AsyncRead + Unpin, most: usize) -> std::io::Result<(String, bool)> {
    let (mut kept, mut cut, mut chunk) = (vec![], false, vec![0; CHUNK]);
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            break;
        }
        let room = most - kept.len();
        cut |= length > room;
        kept.extend(chunk.iter().take(length.min(room)));
    }
    let mut text = String::from_utf8_lossy(&kept).into_owned();
    if cut && text.ends_with(char::REPLACEMENT_CHARACTER) {
        text.pop(); // half a character
    }
    Ok((text, cut))
}

/// What Kubernetes says of the end of a command.
fn exit_code(status: &Status) -> Result<i32, String> {
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let code = causes
        .filter(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .find_map(|cause| cause.message.as_deref()?.parse().ok());
    let message =
        || status.message.as_deref().unwrap_or("the command failed, and nothing says how").to_owned();
    code.ok_or_else(message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check_status(status: Value, expected: Result<i32, &str>) {
        let parsed: Status = serde_json::from_value(status.clone()).unwrap();
        assert_eq!(exit_code(&parsed), expected.map_err(str::to_owned), "{status}");
    }

    #[test]
    fn a_command_that_failed_was_run_and_one_that_could_not_start_was_not() {
        let details =
            |reason: &str, message: &str| json!({"causes": [{"reason": reason, "message": message}]});
        check_status(json!({"status": "Success"}), Ok(0));
        check_status(
            json!({"status": "Failure", "reason": "NonZeroExitCode", "details": details("ExitCode", "137")}),
            Ok(137),
        );
        check_status(json!({"status": "Failure", "message": "no such file"}), Err("no such file"));
        check_status(
            json!({"status": "Failure", "message": "odd", "details": details("ExitCode", "many")}),
            Err("odd"),
        );
    }

    async fn check_read(text: &[u8], most: usize, expected: (&str, bool)) {
        assert_eq!(read(text, most).await.unwrap(), (expected.0.to_owned(), expected.1), "{text:?}");
    }

    #[tokio::test]
    async fn output_is_cut_between_characters_and_says_so() {
        check_read(b"PONG\n", 5, ("PONG\n", false)).await;
        check_read(b"PONG\n", 4, ("PONG", true)).await;
        check_read("aé".as_bytes(), 2, ("a", true)).await;
        check_read(b"\xff", 5, ("\u{fffd}", false)).await;
        check_read(&vec![b'x'; 100_000], 3, ("xxx", true)).await;
    }

    #[test]
    fn the_container_is_the_named_or_the_default_or_the_first() {
        let pod = |annotations: Value| -> DynamicObject {
            let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
            serde_json::from_value(json!({"metadata": {"annotations": annotations}, "spec": spec})).unwrap()
        };
        let plain = pod(json!({}));
        assert_eq!(container(&plain, Some("b")), Ok("b".into()));
        assert_eq!(container(&plain, None), Ok("a".into()));
        assert_eq!(
            container(&pod(json!({"kubectl.kubernetes.io/default-container": "b"})), None),
            Ok("b".into())
        );
        assert_eq!(container(&plain, Some("c")), Err("it has no container \"c\", only a, b".into()));
    }
}
