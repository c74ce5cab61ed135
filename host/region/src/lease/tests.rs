#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use kube::api::{DeleteParams, Patch, PatchParams};
use senren_kubesim::{
    Config, KubeSim,
    faults::{Fault, Faults, Rule},
};

use super::*;

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_secs(1);

async fn cluster() -> KubeSim {
    KubeSim::start(Config::default()).await.unwrap()
}

/// Of another replica each time.
async fn replica(client: kube::Client, duration: Duration) -> Lease {
    let cluster = Cluster::new(client, "aws:us-east-1".parse().unwrap(), "senren".into());
    cluster.ensure_namespace_named("senren-system", None).await.unwrap();
    Lease::new(&cluster, duration)
}

async fn win(lease: &Lease) -> Tenure {
    let patience = Duration::from_secs(10);
    timeout(patience, lease.win(|_| {}, |error| panic!("{error:#}"))).await.expect("it is won")
}

/// Who has it.
async fn holder(lease: &Lease) -> Option<String> {
    lease.read().await.unwrap().unwrap().spec.unwrap().holder_identity
}

#[tokio::test]
async fn who_lets_go_is_followed_at_once() {
    let sim = cluster().await;
    let (first, second) = (replica(sim.client(), LONG).await, replica(sim.client(), LONG).await);
    let tenure = win(&first).await;
    assert!(tenure.lasts());
    let told = Mutex::new(Vec::new());
    let mut waiting = Box::pin(second.win(|holder| told.lock().push(holder.to_owned()), |_| {}));
    assert!(timeout(Duration::from_millis(300), waiting.as_mut()).await.is_err());
    assert_eq!(*told.lock(), [first.identity.to_string()], "said once");
    first.release().await;
    assert!(timeout(SHORT, waiting).await.expect("it need not wait").lasts());
    assert_eq!(holder(&second).await, Some(second.identity.to_string()));
    first.release().await;
    assert_eq!(holder(&second).await, Some(second.identity.to_string()), "what isn't ours isn't let go of");
}

#[tokio::test]
async fn who_cannot_renew_has_stopped_before_another_begins() {
    let sim = cluster().await;
    let cut_off = Faults::new([Rule::on(Fault::Crash { executed: false }).verb("PUT").resource("leases")]);
    let first = replica(sim.client_with(cut_off), SHORT).await;
    let second = replica(sim.client(), SHORT).await;
    let tenure = win(&first).await;
    let began = Instant::now();
    let lost = async {
        let why = first.keep(&tenure).await;
        assert!(why.contains("not renewed in time"), "{why}");
        assert!(!tenure.lasts());
        Instant::now()
    };
    let won = async {
        win(&second).await;
        assert!(!tenure.lasts(), "never two at once");
        Instant::now()
    };
    let (lost, won) = tokio::join!(lost, won);
    assert!(lost < won && won >= began + SHORT, "not before it lapses");
    assert!(!tenure.extend(Instant::now() + LONG) && !tenure.lasts(), "what is over stays over");
}

#[tokio::test]
async fn who_renews_keeps_it_even_if_somebody_meddles_with_it() {
    let sim = cluster().await;
    let (first, second) = (replica(sim.client(), SHORT).await, replica(sim.client(), SHORT).await);
    let tenure = win(&first).await;
    let meddle = async {
        for _ in 0..3 {
            sleep(SHORT * 2 / 3).await;
            let annotate = Patch::Merge(serde_json::json!({"metadata": {"annotations": {"a": "b"}}}));
            first.api.patch(names::LEASE, &PatchParams::default(), &annotate).await.unwrap();
        }
    };
    tokio::select! {
        why = first.keep(&tenure) => panic!("{why}"),
        _ = second.win(|_| {}, |_| {}) => panic!("it was taken"),
        () = meddle => assert!(tenure.lasts()),
    }
    first.api.delete(names::LEASE, &DeleteParams::default()).await.unwrap();
    assert!(first.renew().await.unwrap().is_ok(), "it is made anew");
    assert_eq!(holder(&first).await, Some(first.identity.to_string()));
}

#[tokio::test]
async fn who_has_ended_is_not_waited_for() {
    let sim = cluster().await;
    let first = replica(sim.client(), LONG).await;
    win(&first).await;
    drop(first);
    let second = replica(sim.client(), LONG).await;
    timeout(SHORT, win(&second)).await.expect("it need not wait");
    let transitions = second.read().await.unwrap().unwrap().spec.unwrap().lease_transitions;
    assert_eq!(transitions, Some(2));
}
