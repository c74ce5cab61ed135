//! Secrets that plugins ask for: made once, renewed in time, made anew when somebody says so, and seen by nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use common::{Cluster, NAMESPACE};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use senren_reconcile::{Clock, Reconciler, Surroundings, names, resource::Key};
use serde_json::{Value, json};

const DAY: i64 = 86_400;

/// A clock that stands until it is moved.
struct Moved(AtomicI64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// A region without a driver, whose time the test makes.
struct Region {
    cluster: Cluster,
    clock: Arc<Moved>,
    reconciler: Reconciler,
}

impl Region {
    async fn start() -> Self {
        let cluster = Cluster::of_misbehaving().await;
        let clock = Arc::new(Moved(AtomicI64::new(1_800_000_000)));
        let surroundings = Surroundings { clock: clock.clone(), ..Surroundings::default() };
        let reconciler = Reconciler::within(
            surroundings,
            cluster.client.clone(),
            cluster.plugins.clone(),
            Cluster::settings(),
        );
        Self { cluster, clock, reconciler }
    }

    fn wait_days(&self, days: i64) {
        self.clock.0.fetch_add(days * DAY, Ordering::SeqCst);
    }

    async fn declare(&self, secrets: Value) {
        self.cluster.declare("misbehaving", "db", 1, json!({"mode": "secrets", "secrets": secrets})).await;
    }

    /// Steps until nothing changes any more.
    async fn settle(&self) {
        let key = Key { type_name: "misbehaving".into(), namespace: NAMESPACE.into(), name: "db".into() };
        for _ in 0..5 {
            self.reconciler.reconcile_now(&key).await.unwrap();
        }
    }

    async fn secrets(&self) -> BTreeMap<String, Secret> {
        let api: Api<Secret> = Api::namespaced(self.cluster.client.clone(), NAMESPACE);
        let all = api.list(&Default::default()).await.unwrap();
        all.into_iter().map(|secret| (secret.name_any(), secret)).collect()
    }

    /// What the plugin was last told.
    async fn told(&self) -> Value {
        Value::Object(self.cluster.status("misbehaving", "db").await.details)
    }
}

fn version(secret: &Secret) -> Value {
    json!(secret.annotations()[names::SECRET_VERSION])
}

fn text(secret: &Secret, key: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
}

fn tls() -> Value {
    json!({"kind": "tls", "params": {"hosts": ["db.senren-default.svc", "127.80.0.1"], "days": 90}})
}

#[tokio::test]
async fn certificates_are_renewed_in_time_by_the_same_authority_which_nobody_is_shown() {
    let region = Region::start().await;
    region.declare(json!({"tls": tls(), "peer": tls()})).await;
    region.settle().await;
    let first = region.secrets().await;
    assert_eq!(first.keys().collect::<Vec<_>>(), ["db-peer", "db-tls", "db.ca"]);
    let (one, peer) = (&first["db-tls"], &first["db-peer"]);
    assert_eq!(one.type_.as_deref(), Some("kubernetes.io/tls"));
    assert_eq!(text(one, "ca.crt"), text(peer, "ca.crt"), "they trust each other");
    assert_ne!(text(one, "tls.key"), text(peer, "tls.key"));
    assert!(!one.data.as_ref().unwrap().contains_key("ca.key"));
    assert_eq!(region.told().await, json!({"db-tls": version(one), "db-peer": version(peer)}));

    region.wait_days(59);
    region.settle().await;
    assert_eq!(region.secrets().await, first, "not before its time");
    region.wait_days(2);
    region.settle().await;
    let second = region.secrets().await;
    assert_ne!(text(&second["db-tls"], "tls.crt"), text(one, "tls.crt"));
    assert_eq!(text(&second["db-tls"], "ca.crt"), text(one, "ca.crt"), "who trusted it still does");
    assert_ne!(version(&second["db-tls"]), version(one));
    let told = json!({"db-tls": version(&second["db-tls"]), "db-peer": version(&second["db-peer"])});
    assert_eq!(region.told().await, told);

    // Ten years on, the authority is replaced, and with it everything that it signed.
    region.wait_days(3560);
    region.settle().await;
    let third = region.secrets().await;
    let bundle = text(&third["db-tls"], "ca.crt");
    assert_ne!(bundle, text(one, "ca.crt"));
    assert!(bundle.contains(&text(one, "ca.crt")), "the old one is trusted until it ends");
    assert_eq!(bundle, text(&third["db-peer"], "ca.crt"));
    region.settle().await;
    assert_eq!(region.secrets().await, third);
}

#[tokio::test]
async fn somebody_can_have_every_secret_made_anew_once() {
    let region = Region::start().await;
    let auth = json!({"kind": "random", "params": {"keys": ["password"]}});
    region.declare(json!({"auth": auth, "tls": tls()})).await;
    region.settle().await;
    let before = region.secrets().await;
    region.cluster.annotate("misbehaving", "db", names::ROTATE_SECRETS, json!("leaked on Monday")).await;
    region.settle().await;
    let after = region.secrets().await;
    for (name, key) in [("db-auth", "password"), ("db-tls", "tls.key")] {
        assert_ne!(text(&after[name], key), text(&before[name], key), "{name}");
        assert_eq!(after[name].uid(), before[name].uid(), "its pods keep referring to the same object");
        assert_eq!(region.told().await[name], version(&after[name]));
    }
    region.wait_days(1);
    region.settle().await;
    region.cluster.annotate("misbehaving", "db", names::ROTATE_SECRETS, Value::Null).await;
    region.settle().await;
    assert_eq!(region.secrets().await, after, "once, and not when the wish is withdrawn");
    region.cluster.delete("misbehaving", "db").await;
    region.settle().await;
    assert_eq!(
        region.cluster.leftovers().await,
        Vec::<String>::new(),
        "nothing is left, the authority neither"
    );
}

#[tokio::test]
async fn a_name_that_is_taken_by_another_kind_of_secret_is_refused() {
    let region = Region::start().await;
    region.declare(json!({"x": {"kind": "random", "params": {"keys": ["password"]}}})).await;
    region.settle().await;
    region.declare(json!({"x": tls()})).await;
    let key = Key { type_name: "misbehaving".into(), namespace: NAMESPACE.into(), name: "db".into() };
    let failure = region.reconciler.reconcile_now(&key).await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "secret db-x: it exists as one of another kind than tls: choose another name"
    );
}
