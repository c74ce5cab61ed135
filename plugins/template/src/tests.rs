//! The plugin as a host sees it: JSON in, objects and status out. `cargo test` runs it natively.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use senren_plugin::wit::{Input, Outcome};
use senren_plugin::{Plugin as _, Value, json, testing};

use crate::Plugin;

/// What a host passes for a resource called `orders`, with the defaults filled in as it does.
fn input(spec: &Value) -> Input {
    let admitted = Plugin::admit("template".into(), spec.to_string()).unwrap();
    testing::input("template", "orders", &admitted.parse().unwrap())
}

fn reconcile(input: Input) -> Outcome {
    Plugin::reconcile(input).unwrap()
}

#[test]
fn it_keeps_to_the_contract() {
    testing::check::<Plugin>().unwrap();
}

#[test]
fn it_tells_applications_where_to_connect() {
    let outcome = reconcile(input(&json!({"host": "db.example.com"})));
    let object = outcome.object("ConfigMap", "orders").unwrap();
    assert_eq!(object["data"], json!({"host": "db.example.com", "port": "5432", "read-only": "false"}));
}

#[test]
fn it_is_ready_once_kubernetes_has_what_is_wanted_now() {
    let spec = json!({"host": "db.example.com"});
    let first = reconcile(input(&spec));
    assert!(!first.status.ready, "nothing is observed yet");

    let written = first.object("ConfigMap", "orders").unwrap();
    assert!(reconcile(input(&spec).observing(&written)).status.ready);

    let changed = json!({"host": "db.example.com", "port": 6432});
    assert!(!reconcile(input(&changed).observing(&written)).status.ready, "it has the old port");
}

#[test]
fn a_database_on_localhost_is_refused() {
    for (host, refused) in [("localhost", true), ("127.0.0.1", true), ("127-0-0-1.example.com", false)] {
        let admitted = Plugin::admit("template".into(), json!({"host": host}).to_string());
        let paths: Vec<_> = admitted.err().unwrap_or_default().into_iter().map(|one| one.path).collect();
        assert_eq!(paths, if refused { vec!["/host"] } else { vec![] }, "{host}");
    }
}

#[test]
fn a_change_says_what_it_does() {
    let spec = |spec: Value| Some(Plugin::admit("template".into(), spec.to_string()).unwrap());
    let from = || spec(json!({"host": "db.example.com"}));
    for (to, action, disruptive) in [
        (json!({"host": "db.example.com", "port": 5432}), "none", false),
        (json!({"host": "db.example.com", "read_only": true}), "update", false),
        (json!({"host": "db2.example.com"}), "update", true),
    ] {
        let change = Plugin::diff("template".into(), from(), spec(to)).unwrap();
        assert_eq!((change.action.as_str(), change.disruptive), (action, disruptive), "{}", change.summary);
    }
}
