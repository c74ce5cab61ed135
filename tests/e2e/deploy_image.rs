//! A Deployment in namespace `senren-system` with image `senren-api:latest` and four variables is a complete regional
//! plane: the rest is what the image brings and what every pod gets. And what else `deploy/` says of the binary is so.

use std::process::Command;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use senren_tests::{
    database,
    real::{
        Real,
        account::{Account, api_of},
        client_of, container, kafka, kubernetes, port,
    },
};
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const REGION: &str = "aws:us-east-1";
/// A cluster that no other test uses: here the namespaces are those of an installation.
const CLUSTER: usize = 9;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn the_image_and_four_variables_are_a_complete_regional_plane() {
    let real = Real::start(&[]).await;
    let kubeconfig = kubernetes(CLUSTER);
    let client = client_of(&kubeconfig).await;
    let account = Account::create(&client, &kubeconfig, "senren").await;

    let environment = [
        ("MODE", "regional"),
        ("REGION_ID", REGION),
        ("KAFKA_BOOTSTRAP_SERVERS", kafka()),
        ("KAFKA_TOPIC_PREFIX", &real.prefix),
    ];
    let variables: Vec<_> =
        environment.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "senren", "namespace": "senren-system"},
        "spec": {
            "selector": {"matchLabels": {"app": "senren"}},
            "template": {
                "metadata": {"labels": {"app": "senren"}},
                "spec": {
                    "serviceAccountName": "senren-regional",
                    "containers": [{"name": "senren", "image": "senren-api:latest", "env": variables}],
                },
            },
        },
    });
    let dry = PatchParams { dry_run: true, ..PatchParams::apply("senren-tests") };
    api_of(&client, &deployment).patch("senren", &dry, &Patch::Apply(&deployment)).await.unwrap();

    // The image says where it is asked for its health; here, other programs may listen there.
    let health = format!("127.0.0.1:{}", port());
    let all: Vec<_> = environment.into_iter().chain([("METRICS_ADDR", health.as_str())]).collect();
    assert_eq!(container::image_environment()["METRICS_ADDR"], "0.0.0.0:9090");
    let container = container::start(&format!("{}-image", real.prefix), &account, &kubeconfig, &all);
    real.until_connected_to(&[REGION]).await;
    real.apply(&[database("orders", "template", &[REGION], json!({"host": "db.example.com"}))]).await;
    real.until_ready(1).await;

    let maps = Api::<ConfigMap>::namespaced(client, "senren-default");
    assert_eq!(maps.get("orders").await.unwrap().data.unwrap()["host"], "db.example.com");
    for probe in ["healthz", "readyz"] {
        let asked = Command::new("curl")
            .args(["-sf", "-o", "/dev/null"])
            .arg(format!("http://{health}/{probe}"))
            .status();
        assert!(asked.unwrap().success(), "{probe}: {}", container.process.log());
    }
    real.apply(&[]).await;
    real.until("nothing is left", |all| all.is_empty()).await;
}

/// Named by the binary's help, or for librdkafka, or common to all programs of its kind.
fn is_known(name: &str, help: &str) -> bool {
    let named = || help.split_whitespace().any(|word| word.split(['=', ']']).next() == Some(name));
    ["MODE", "KUBECONFIG"].contains(&name) || name.starts_with("KAFKA_") || named()
}

#[test]
#[ignore = "real engines: make e2e"]
fn every_variable_that_deploy_sets_is_a_setting() {
    let help = |plane: &str| {
        let output = Command::new(senren_tests::real::binary()).args([plane, "--help"]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let (control, regional) = (help("control"), help("regional"));
    let check = |place: &str, help: &str, names: Vec<String>| {
        assert!(!names.is_empty(), "{place} sets nothing");
        let unknown: Vec<String> = names.into_iter().filter(|name| !is_known(name, help)).collect();
        assert_eq!(unknown, Vec::<String>::new(), "{place}");
    };
    check("the image", &format!("{control}{regional}"), container::image_environment().into_keys().collect());

    let compose = std::fs::read_to_string(format!("{ROOT}/deploy/compose/compose.yaml")).unwrap();
    let compose: Value = serde_saphyr::from_str(&compose).unwrap();
    for (service, help) in [("control", &control), ("region", &regional)] {
        let service = &compose["services"][service];
        assert_eq!(service["image"], "senren-api:latest");
        check("compose.yaml", help, service["environment"].as_object().unwrap().keys().cloned().collect());
    }
    for (file, help) in [("control.yaml", &control), ("regional.yaml", &regional)] {
        let text = std::fs::read_to_string(format!("{ROOT}/deploy/manifests/{file}")).unwrap();
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
        let names = variables.iter().map(|variable| variable["name"].as_str().unwrap().to_owned());
        check(file, help, names.collect());
    }
}

/// No image can be built here; what can be read is.
#[test]
#[ignore = "real engines: make e2e"]
fn the_image_is_built_from_what_there_is_and_has_what_the_binary_links() {
    let read = |file: &str| std::fs::read_to_string(format!("{ROOT}/{file}")).unwrap();
    let dockerfile = read("deploy/docker/Dockerfile");
    let after = |text: &str, start: &str| {
        let rest = text.split_once(start).unwrap_or_else(|| panic!("no {start:?}")).1;
        rest.lines().next().unwrap().to_owned()
    };
    let rust = after(&read("Cargo.toml"), "\nrust-version = \"").replace('"', "");
    assert!(after(&dockerfile, "FROM rust:").starts_with(&rust), "it builds with Rust {rust}");
    assert!(
        dockerfile.contains(&after(&read("Makefile"), "\nPLUGINS := ")),
        "it has the plugins of the Makefile"
    );

    // Debian's names of the packages that have the libraries; the base image has the others.
    let linked = Command::new("ldd").arg(senren_tests::real::binary()).output().unwrap();
    for line in String::from_utf8(linked.stdout).unwrap().lines() {
        let library = line.split_whitespace().next().unwrap();
        let package = match library.split(".so").next().unwrap() {
            "libssl" | "libcrypto" => "libssl3",
            "libz" => "zlib1g",
            "linux-vdso" | "libgcc_s" | "libstdc++" | "libm" | "libc" => continue,
            loader if loader.contains("/ld-linux") => continue,
            other => panic!("the image has no {other}; add its package, and say so here"),
        };
        assert!(dockerfile.contains(package), "{library} is of {package}");
    }
}
