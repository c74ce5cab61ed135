//! Plugins that are dropped in, changed, spoilt and taken away while a region runs, and across its restarts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod running;

use std::{
    fs,
    time::{Duration, Instant},
};

use common::*;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use running::{
    Running,
    variants::{Site, variant},
};
use senren_api::v1::{DesiredResource, PluginInfo};
use senren_bus::MemoryBus;
use senren_engine::{Engine, EngineConfig};

fn plugin_infos(region: &Running) -> Vec<PluginInfo> {
    heartbeats(&region.bus).pop().map(|beat| beat.plugins).unwrap_or_default()
}

fn problems(region: &Running) -> String {
    heartbeats(&region.bus).pop().map(|beat| beat.problems.join("\n")).unwrap_or_default()
}

/// `type version notice` of each type that is served.
fn serves(region: &Running) -> Vec<String> {
    let line =
        |info: PluginInfo| format!("{} {} {}", info.r#type, info.version, info.notice).trim_end().to_owned();
    plugin_infos(region).into_iter().map(line).collect()
}

async fn until_serves(region: &Running, wanted: &[&str]) {
    let mut last = Vec::new();
    for _ in 0..1500 {
        last = serves(region);
        if last == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{last:#?} never became {wanted:#?}; problems: {}", problems(region));
}

async fn until_problem(region: &Running, words: &[&str]) {
    let mut last = String::new();
    for _ in 0..1500 {
        last = problems(region);
        if words.iter().all(|words| last.contains(words)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{last:?} never contained {words:?}");
}

fn sized(name: &str, number: u8, size: u32) -> DesiredResource {
    resource(name, "misbehaving", number, &format!(r#"{{"size": {size}}}"#))
}

const ORIGINAL: &str = "misbehaving 0.1.0";

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_dropped_in_serves_what_waited_for_it() {
    let site = Site::new();
    let region = site.start().await;
    region.publish(1, &[sized("a", 1, 1)]).await;
    region.until_line(1, "a 1 g1 Pending NoPlugin").await;
    assert!(problems(&region).contains("this region can run nothing"), "{}", problems(&region));
    site.put("misbehaving.wasm", variant("original"));
    region.until_line(1, "a 1 g1 Ready OnRequest").await;
    until_serves(&region, &[ORIGINAL]).await;
    until("nothing is wrong", async || problems(&region).is_empty()).await;
    site.put("second.wasm", variant("second"));
    until_serves(&region, &[ORIGINAL, "second 0.2.0"]).await;
    region.publish(2, &[sized("a", 1, 1), resource("b", "second", 2, "{}")]).await;
    region.until_line(2, "b 2 g1 Ready OnRequest").await;
    region.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_takes_over_at_once_and_reconciles_everything_again() {
    let site = Site::new();
    site.put("misbehaving.wasm", variant("original"));
    let region = site.start().await;
    region.publish(1, &[sized("a", 1, 1), sized("b", 2, 2)]).await;
    region.until_line(2, "b 2 g1 Ready OnRequest").await;
    site.put("misbehaving.wasm", variant("newer"));
    region.until_line(1, "a 1 g1 Ready Newer").await;
    region.until_line(2, "b 2 g1 Ready Newer").await;
    until_serves(&region, &["misbehaving 0.2.0"]).await;
    region.stop().await;
}

/// Whatever is wrong with a file, the last good one goes on, here and after a restart, and it is said why.
async fn check_refused(spoilt: Vec<u8>, words: &[&str]) {
    let site = Site::new();
    site.put("misbehaving.wasm", variant("original"));
    let region = site.start().await;
    region.publish(1, &[sized("a", 1, 20)]).await;
    region.until_line(1, "a 1 g1 Ready OnRequest").await;
    site.put("misbehaving.wasm", spoilt);
    until_problem(&region, words).await;
    let refused = async |region: &Running| {
        until("it is said of the type", async || {
            let told = serves(region);
            told.len() == 1
                && told[0]
                    .starts_with("misbehaving 0.1.0 misbehaving.wasm is refused, and this one goes on: ")
        })
        .await;
    };
    refused(&region).await;
    region.publish(2, &[sized("a", 1, 20), sized("b", 2, 1)]).await;
    region.until_line(2, "b 2 g1 Ready OnRequest").await;
    let (cluster, bus) = region.stop().await;
    let region = site.start_on(cluster, bus);
    region.publish(3, &[sized("a", 1, 20), sized("b", 2, 1), sized("c", 3, 1)]).await;
    region.until_line(3, "c 3 g1 Ready OnRequest").await;
    until_problem(&region, words).await;
    refused(&region).await;
    site.put("misbehaving.wasm", variant("original"));
    until_serves(&region, &[ORIGINAL]).await;
    until("nothing is wrong", async || problems(&region).is_empty()).await;
    region.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_plugin_changes_nothing() {
    check_refused(
        b"not a component".into(),
        &["misbehaving.wasm: this is not a WebAssembly component", "misbehaving 0.1.0"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_refuses_a_spec_that_is_in_use_changes_nothing() {
    check_refused(
        variant("narrower"),
        &["it refuses specs that the one that runs accepts, of default/a (/size"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_keeps_a_type_in_use_elsewhere_changes_nothing() {
    check_refused(
        variant("kind"),
        &["it changes the kind of type misbehaving from MisbehavingDatabase to OtherDatabase"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_no_longer_serves_a_type_in_use_changes_nothing() {
    check_refused(variant("second"), &["it no longer serves type misbehaving, of which there are resources"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_not_admit_its_own_example_changes_nothing() {
    check_refused(variant("untrue"), &["it does not admit the example of its type misbehaving"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_for_a_resource_is_taken_when_that_is_gone() {
    let site = Site::new();
    site.put("misbehaving.wasm", variant("original"));
    let region = site.start().await;
    region.publish(1, &[sized("a", 1, 1)]).await;
    region.until_line(1, "a 1 g1 Ready OnRequest").await;
    site.put("misbehaving.wasm", variant("kind"));
    until_problem(&region, &["it changes the kind"]).await;
    region.publish(2, &[]).await;
    region.until_line(1, "a 1 g0 Deleting  deleted").await;
    // Another look at the file tries again at once.
    site.put("misbehaving.wasm", variant("kind"));
    until_serves(&region, &["misbehaving 0.2.0"]).await;
    region.publish(3, &[sized("b", 2, 1)]).await;
    region.until_line(2, "b 2 g1 Ready OnRequest").await;
    until("nothing is wrong", async || problems(&region).is_empty()).await;
    region.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_whose_file_is_gone_serves_what_is_there_and_then_goes() {
    let site = Site::new();
    site.put("misbehaving.wasm", variant("original"));
    let region = site.start().await;
    region.publish(1, &[sized("a", 1, 1)]).await;
    region.until_line(1, "a 1 g1 Ready OnRequest").await;
    site.remove("misbehaving.wasm");
    let gone = "misbehaving 0.1.0 misbehaving.wasm is gone from the plugin directory; it goes on serving while there \
                are resources of it. Put the file back, or delete them";
    until_serves(&region, &[gone]).await;
    until_problem(&region, &["misbehaving.wasm: the file is gone; misbehaving 0.1.0 (sha256:"]).await;
    let (cluster, bus) = region.stop().await;
    let region = site.start_on(cluster, bus);
    region.publish(2, &[DesiredResource { generation: 2, ..sized("a", 1, 5) }]).await;
    region.until_line(1, "a 1 g2 Ready OnRequest").await;
    until_serves(&region, &[gone]).await;
    region.publish(3, &[]).await;
    region.until_line(1, "a 1 g0 Deleting  deleted").await;
    until_serves(&region, &[]).await;
    until_problem(&region, &["this region can run nothing"]).await;
    region.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_may_move_to_another_file_and_take_another_name() {
    let site = Site::new();
    site.put("misbehaving.wasm", variant("original"));
    let region = site.start().await;
    region.publish(1, &[sized("a", 1, 1)]).await;
    region.until_line(1, "a 1 g1 Ready OnRequest").await;
    site.put("misbehaving-2.wasm", variant("newer"));
    until_problem(&region, &["misbehaving-2.wasm: the plugin is called \"misbehaving\", as is the one in"])
        .await;
    site.remove("misbehaving.wasm");
    until_serves(&region, &["misbehaving 0.2.0"]).await;
    region.until_line(1, "a 1 g1 Ready Newer").await;
    site.put("misbehaving-2.wasm", variant("renamed"));
    until("it has the other name", async || {
        plugin_infos(&region).iter().any(|info| info.plugin == "renamed")
    })
    .await;
    until("nothing is wrong", async || problems(&region).is_empty()).await;
    region.until_line(1, "a 1 g1 Ready OnRequest").await;
    // A rival for its type gets nowhere.
    site.put("another.wasm", variant("original"));
    until_problem(&region, &["another.wasm: the type \"misbehaving\" is served by the plugin \"renamed\""])
        .await;
    region.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_file_is_waited_for_without_a_word() {
    let site = Site::new();
    site.put("misbehaving.wasm", variant("original"));
    let region = site.start().await;
    region.publish(1, &[sized("a", 1, 1)]).await;
    region.until_line(1, "a 1 g1 Ready OnRequest").await;
    // In place, slowly.
    let newer = variant("newer");
    let mut written = fs::File::create(site.plugins().join("misbehaving.wasm")).unwrap();
    for part in newer.chunks(newer.len() / 6) {
        use std::io::Write as _;
        written.write_all(part).unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    drop(written);
    region.until_line(1, "a 1 g1 Ready Newer").await;
    let said: Vec<_> = heartbeats(&region.bus).into_iter().flat_map(|beat| beat.problems).collect();
    assert_eq!(said, Vec::<String>::new());
    region.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_volume_is_exchanged_as_a_whole() {
    let site = Site::new();
    // As the kubelet mounts a ConfigMap: links into a hidden directory, which a rename exchanges.
    let mount = |generation: &str, variant_name: &str, manifest: &str| {
        let dir = site.plugins().join(format!("..{generation}"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("misbehaving.wasm"), variant(variant_name)).unwrap();
        fs::write(dir.join("plugins.toml"), manifest).unwrap();
        let next = site.plugins().join("..data_tmp");
        std::os::unix::fs::symlink(format!("..{generation}"), &next).unwrap();
        fs::rename(next, site.plugins().join("..data")).unwrap();
    };
    mount("1", "original", "");
    for file in ["misbehaving.wasm", "plugins.toml"] {
        std::os::unix::fs::symlink(format!("..data/{file}"), site.plugins().join(file)).unwrap();
    }
    let region = site.start().await;
    region.publish(1, &[sized("a", 1, 1)]).await;
    region.until_line(1, "a 1 g1 Ready OnRequest").await;
    mount("2", "newer", "");
    fs::remove_dir_all(site.plugins().join("..1")).unwrap();
    region.until_line(1, "a 1 g1 Ready Newer").await;
    let pinned = format!("[plugins.misbehaving]\ndigest = \"{}\"", "0".repeat(64));
    mount("3", "original", &pinned);
    until_problem(&region, &["misbehaving.wasm: its digest is sha256:", "but plugins.toml says sha256:000"])
        .await;
    until_serves_version(&region, "0.2.0").await;
    region.stop().await;
}

async fn until_serves_version(region: &Running, version: &str) {
    until("that version serves", async || {
        plugin_infos(region).first().is_some_and(|info| info.version == version)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_toml_is_taken_in_live_and_a_bad_one_changes_nothing() {
    let site = Site::new();
    let original = variant("original");
    site.put("misbehaving.wasm", &original);
    let region = site.start().await;
    region.publish(1, &[sized("a", 1, 1)]).await;
    region.until_line(1, "a 1 g1 Ready OnRequest").await;

    let greedy = resource("b", "misbehaving", 2, r#"{"mode": "memory"}"#);
    region.publish(2, &[sized("a", 1, 1), greedy]).await;
    let limit = async |bytes: &str| {
        until("the limit holds", async || {
            let report = latest(&region.bus).remove(&format!("{UID}2"));
            report.is_some_and(|report| report.message.ends_with(&format!("may have {bytes}")))
        })
        .await;
    };
    limit("67108864").await;
    site.put("plugins.toml", "[plugins.misbehaving]\nlimits = { memory = \"32Mi\" }");
    limit("33554432").await;
    site.put("plugins.toml", "[plugins.misbehaving]\nlimits = { memory = \"64Ki\" }");
    until_problem(&region, &["it fails at the example of its type misbehaving", "may have 65536"]).await;
    site.put("plugins.toml", "[plugins.misbehaving]\nlimts = {}");
    until_problem(&region, &["plugins.toml:2:1: unknown field `limts`", "what it said before holds"]).await;
    limit("33554432").await;
    site.put("plugins.toml", "");
    limit("67108864").await;
    until("nothing is wrong", async || problems(&region).is_empty()).await;

    site.put("plugins.toml", "[plugins.misbehaving]\nconfig = { unheard = \"of\" }");
    until_problem(&region, &["misbehaving.wasm: it does not take its settings: /unheard"]).await;
    site.put("plugins.toml", "allowed_kinds = [\"v1/Service\"]\n[plugins.misspelt]");
    let words = [
        "kinds that plugins.toml does not allow it: apps/v1/StatefulSet, v1/ConfigMap",
        "[plugins.misspelt]: there is no",
    ];
    until_problem(&region, &words).await;
    // It must not make these, so it serves no longer, whatever is of it; and again as soon as it may.
    region.until_line(1, "a 1 g1 Pending NoPlugin").await;
    let made = Api::<ConfigMap>::namespaced(region.cluster.client(), "senren-default");
    assert_eq!(made.list(&Default::default()).await.unwrap().items.len(), 1, "what it has made stays");
    site.put("plugins.toml", "");
    region.until_line(1, "a 1 g1 Ready OnRequest").await;

    site.put("plugins.toml", "require_digests = true");
    let words = [
        "misbehaving.wasm: plugins.toml requires digests, and has none for this file",
        "serves, but plugins.toml requires digests, and has none for it: it goes on until",
    ];
    until_problem(&region, &words).await;
    let digest = plugin_infos(&region)[0].digest.clone();
    site.put(
        "plugins.toml",
        format!("require_digests = true\n[plugins.misbehaving]\ndigest = \"sha256:{digest}\""),
    );
    until_serves(&region, &[ORIGINAL]).await;
    until("nothing is wrong", async || problems(&region).is_empty()).await;
    // A file that is not the one that is pinned is not taken, under whatever name.
    site.put("misbehaving.wasm", variant("newer"));
    until_problem(&region, &["its digest is sha256:", "or the digest there has to follow"]).await;
    let (cluster, bus) = region.stop().await;
    // Unreadable from the start: what held before holds.
    site.put("plugins.toml", "[");
    let region = site.start_on(cluster, bus);
    until_problem(&region, &["plugins.toml:1:", "its digest is sha256:"]).await;
    until_serves_version(&region, "0.1.0").await;
    region.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reconcile_is_lost_or_doubled_while_versions_take_turns() {
    let site = Site::new();
    site.put("misbehaving.wasm", variant("original"));
    let region = site.start().await;
    let resources: Vec<_> = (0..20).map(|number| sized(&format!("r{number}"), 100 + number, 1)).collect();
    region.publish(1, &resources).await;
    let all = async |reason: &str| {
        let started = Instant::now();
        let mut last = Vec::new();
        while started.elapsed() < Duration::from_secs(30) {
            last = latest(&region.bus)
                .into_values()
                .map(|report| format!("{} {}", report.phase, report.reason))
                .collect();
            if last.len() == 20 && last.iter().all(|line| *line == format!("Ready {reason}")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{last:?}");
    };
    all("OnRequest").await;
    let status = async || {
        let api: Api<DynamicObject> = Api::all_with(region.cluster.client(), &misbehaving());
        let crs = api.list(&Default::default()).await.unwrap().items;
        crs.into_iter()
            .map(|cr| cr.metadata.resource_version.unwrap().parse::<u64>().unwrap())
            .collect::<Vec<_>>()
    };
    for turn in 0..4 {
        let (name, reason) = if turn % 2 == 0 { ("newer", "Newer") } else { ("original", "OnRequest") };
        let before = status().await;
        site.put("misbehaving.wasm", variant(name));
        all(reason).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let after = status().await;
        assert_eq!(before.len(), after.len());
        assert!(before.iter().zip(&after).all(|(before, after)| before < after), "each was reconciled");
        // One revision for each status, and one for the definition: nothing was written twice.
        let (first, last) = (before.iter().max().unwrap(), after.iter().max().unwrap());
        assert!(last - first <= 20 + 2, "{} writes for 20 resources", last - first);
    }
    // Never was one of them anything but ready.
    let reports = region.bus.records("senren-status");
    let not_ready = reports
        .iter()
        .filter_map(|delivery| match senren_bus::codec::decode_report(&delivery.record).unwrap().body {
            Some(senren_api::v1::status_report::Body::Resource(report)) => Some(report),
            _ => None,
        })
        .skip_while(|report| !report.ready)
        .filter(|report| report.reason.starts_with("Plugin") || report.reason == "NoPlugin");
    assert_eq!(not_ready.count(), 0);
    region.stop().await;
}

fn misbehaving() -> ApiResource {
    let gvk = GroupVersionKind::gvk("senren.io", "v1", "MisbehavingDatabase");
    ApiResource::from_gvk_with_plural(&gvk, "misbehavingdatabases")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_live_in_a_moment() {
    let site = Site::new();
    site.put("misbehaving.wasm", variant("original"));
    let region = site.start().await;
    region.publish(1, &[sized("a", 1, 1)]).await;
    region.until_line(1, "a 1 g1 Ready OnRequest").await;
    // Compiled before, so that what is measured is not the compiler.
    site.engine().load("warm", &variant("newer")).unwrap();
    let started = Instant::now();
    site.put("misbehaving.wasm", variant("newer"));
    region.until_line(1, "a 1 g1 Ready Newer").await;
    println!("edit → live: {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    region.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cache_directory_a_region_needs_its_files() {
    let site = Site::new();
    site.put("misbehaving.wasm", variant("original"));
    let engine = || Engine::new(EngineConfig::default()).unwrap();
    let (cluster, bus) = (living_cluster().await, MemoryBus::default());
    let region = Running::with_engine(site.config(), cluster, bus, engine());
    region.publish(1, &[sized("a", 1, 1)]).await;
    region.until_line(1, "a 1 g1 Ready OnRequest").await;
    site.remove("misbehaving.wasm");
    until_problem(&region, &["the file is gone"]).await;
    let (cluster, bus) = region.stop().await;
    let region = Running::with_engine(site.config(), cluster, bus, engine());
    region.publish(2, &[sized("a", 1, 1)]).await;
    region.until_line(1, "a 1 g1 Pending NoPlugin").await;
    // The custom resource is there all the same; to report it as deleted would be a lie.
    region.publish(3, &[]).await;
    until("it is on its way out", async || {
        let api: Api<DynamicObject> =
            Api::namespaced_with(region.cluster.client(), "senren-default", &misbehaving());
        api.get("a").await.is_ok_and(|cr| cr.metadata.deletion_timestamp.is_some())
    })
    .await;
    assert!(!region.line(1).contains("deleted"), "{}", region.line(1));
    site.put("misbehaving.wasm", variant("original"));
    region.until_line(1, "a 1 g0 Deleting  deleted").await;
    region.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_there_is_waited_for() {
    let site = Site::new();
    fs::remove_dir(site.plugins()).unwrap();
    let region = site.start().await;
    until_problem(&region, &["can't be read"]).await;
    fs::create_dir(site.plugins()).unwrap();
    site.put("misbehaving.wasm", variant("original"));
    until_serves(&region, &[ORIGINAL]).await;
    region.publish(1, &[sized("a", 1, 1)]).await;
    region.until_line(1, "a 1 g1 Ready OnRequest").await;
    // Gone as a whole, it says nothing of its files.
    fs::rename(site.plugins(), site.home.path().join("away")).unwrap();
    until_problem(&region, &["can't be read"]).await;
    assert_eq!(serves(&region), [ORIGINAL]);
    region.stop().await;
}
