//! What the machine and its kube-apiserver take by themselves.

use std::{
    fs::File,
    io::Write as _,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::PostParams};
use serde_json::json;

/// Flushes of 8 KiB each, where the servers' data are.
pub fn fsyncs(count: usize) -> Vec<Duration> {
    let mut file: File = tempfile::tempfile().unwrap();
    let once = |_| {
        let began = Instant::now();
        file.write_all(&[0; 8192]).unwrap();
        file.sync_data().unwrap();
        began.elapsed()
    };
    (0..count).map(once).collect()
}

/// ConfigMaps, one after the other.
pub async fn writes(client: &kube::Client, count: usize) -> Vec<Duration> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let mut times = vec![];
    for _ in 0..count {
        let object = json!({"metadata": {"generateName": "bare-"}, "data": {"host": "db.example.com", "port": "5001"}});
        let object = serde_json::from_value(object).unwrap();
        let began = Instant::now();
        let made = api.create(&PostParams::default(), &object).await.unwrap();
        times.push(began.elapsed());
        api.delete(&made.metadata.name.unwrap(), &Default::default()).await.unwrap();
    }
    times
}

/// Requests so far that changed something, or would have, by kube-apiserver's own count; renewals of leases and what
/// it writes for itself left out.
pub async fn writes_so_far(client: &kube::Client) -> f64 {
    let request = http::Request::get("/metrics").body(vec![]).unwrap();
    let text = client.request_text(request).await.unwrap();
    let requests = text.lines().filter(|line| line.starts_with("apiserver_request_total{"));
    let changes = requests.filter(|line| {
        let is = |label: &str, value: &str| line.contains(&format!("{label}=\"{value}\""));
        ["POST", "PUT", "PATCH", "APPLY", "DELETE"].iter().any(|verb| is("verb", verb))
            && !is("resource", "leases")
            && !is("resource", "subjectaccessreviews")
            && !is("resource", "tokenreviews")
    });
    changes.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}
