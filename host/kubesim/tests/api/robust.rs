use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};

use crate::support::*;

async fn send(client: &Client, method: Method, path: &str, body: &[u8]) -> Result<Value, kube::Error> {
    let format = if method == Method::PATCH { "application/apply-patch+yaml" } else { "application/json" };
    let request = Request::builder().method(method).uri(path).header("content-type", format);
    client.request(request.body(body.to_vec()).unwrap()).await
}

const COLLECTIONS: [&str; 14] = [
    "/api/v1/namespaces",
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces/default/secrets",
    "/api/v1/namespaces/default/services",
    "/api/v1/namespaces/default/pods",
    "/api/v1/namespaces/default/persistentvolumeclaims",
    "/api/v1/namespaces/default/events",
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
    "/apis/apps/v1/namespaces/default/statefulsets",
    "/apis/batch/v1/namespaces/default/jobs",
    "/apis/coordination.k8s.io/v1/namespaces/default/leases",
    "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/example.com/v1/namespaces/default/widgets",
];

fn bodies() -> Vec<Vec<u8>> {
    let odd = [json!(null), json!(5), json!("x"), json!([]), json!([null]), json!({}), json!({"a": null})];
    let mut bodies: Vec<Vec<u8>> = vec![b"".to_vec(), b"{".to_vec(), b"kind: Pod".to_vec(), vec![0xff]];
    for value in &odd {
        bodies.push(value.to_string().into_bytes());
        for field in ["metadata", "spec", "status", "data", "apiVersion", "kind"] {
            let mut body = json!({"metadata": {"name": "a"}});
            body[field] = value.clone();
            bodies.push(body.to_string().into_bytes());
        }
        for field in
            ["labels", "finalizers", "ownerReferences", "managedFields", "generateName", "resourceVersion"]
        {
            bodies.push(json!({"metadata": {"name": "a", field: value}}).to_string().into_bytes());
        }
        for field in [
            "template",
            "containers",
            "selector",
            "ports",
            "names",
            "versions",
            "volumeClaimTemplates",
            "size",
        ] {
            let template = json!({"spec": {field: value}});
            bodies.push(json!({"metadata": {"name": "a"}, "spec": {field: value}}).to_string().into_bytes());
            bodies.push(
                json!({"metadata": {"name": "a"}, "spec": {"template": template}}).to_string().into_bytes(),
            );
        }
    }
    bodies
}

#[tokio::test]
async fn no_body_does_more_harm_than_to_be_refused() {
    let (_sim, client) = with_widgets().await;
    for collection in COLLECTIONS {
        for body in bodies() {
            let text = String::from_utf8_lossy(&body).into_owned();
            for (method, path) in [
                (Method::POST, collection.to_owned()),
                (Method::PUT, format!("{collection}/a")),
                (Method::PATCH, format!("{collection}/a?fieldManager=x&force=true")),
            ] {
                match send(&client, method.clone(), &path, &body).await {
                    Ok(_) => (),
                    Err(kube::Error::Api(status)) => {
                        assert!((400..=501).contains(&status.code), "{method} {path} {text}: {status:?}");
                    }
                    Err(other) => panic!("{method} {path} {text}: {other}"),
                }
            }
            let _left = send(&client, Method::DELETE, &format!("{collection}/a"), b"{}").await;
        }
    }
    assert!(config_maps(&client).get_opt("x").await.unwrap().is_none());
}

#[tokio::test]
async fn queries_that_make_no_sense_are_refused() {
    let sim = cluster().await;
    let client = sim.client();
    for (query, code) in [
        ("labelSelector=a%20b", 400),
        ("fieldSelector=spec.x%3D1", 400),
        ("resourceVersion=abc", 400),
        ("resourceVersion=999999", 504),
        ("continue=zz", 400),
        ("dryRun=Some", 422),
        ("watch=1&sendInitialEvents=true", 422),
        ("watch=1&resourceVersion=1&resourceVersionMatch=NotOlderThan", 422),
        ("sendInitialEvents=true", 422),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("resourceVersion=1&resourceVersionMatch=Near", 422),
    ] {
        let path = format!("/api/v1/namespaces/default/configmaps?{query}");
        let status = refusal(send(&client, Method::GET, &path, b"").await);
        assert_eq!(status.code, code, "{query}: {status:?}");
    }
}

#[tokio::test]
async fn of_a_log_only_what_can_be_given_is_promised() {
    let sim = cluster().await;
    let client = sim.client();
    for (query, code) in [
        ("follow=true", 404),
        ("timestamps=true", 501),
        ("sinceSeconds=5", 501),
        ("limitBytes=5", 404),
        ("limitBytes=x", 400),
        ("stream=Stderr", 501),
        ("tailLines=x", 400),
        ("tailLines=5", 404),
    ] {
        let path = format!("/api/v1/namespaces/default/pods/none/log?{query}");
        assert_eq!(refusal(send(&client, Method::GET, &path, b"").await).code, code, "{query}");
    }
}

#[tokio::test]
async fn numbers_beyond_all_clocks_do_no_harm() {
    let sim = cluster().await;
    let client = sim.client();
    let pods = api(&client, "", "v1", "Pod");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"nodeName": "n", "containers": [{"name": "main", "image": "x"}]}});
    create(&pods, pod).await;
    let most = i64::MAX;
    let path = format!("/api/v1/namespaces/default/pods/a?gracePeriodSeconds={most}");
    assert_eq!(send(&client, Method::DELETE, &path, b"").await.unwrap()["metadata"]["name"], "a");
    let path =
        format!("/api/v1/namespaces/default/pods?watch=1&resourceVersion=1&timeoutSeconds={}", u64::MAX);
    let request = Request::builder().uri(path).body(kube::client::Body::empty()).unwrap();
    assert_eq!(client.send(request).await.unwrap().status(), 200);
}
