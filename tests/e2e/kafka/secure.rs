//! A Kafka that lets in only those who prove who they are: every way, and what is said of a wrong one.

use std::fs;

use super::{Broker, Hub, database, secure, until};
use futures::future::join_all;

type Settings<'a> = Vec<(&'static str, &'a str)>;

fn with<'a>(settings: &Settings<'a>, name: &'static str, value: &'a str) -> Settings<'a> {
    let others = settings.iter().filter(|(known, _)| *known != name);
    others.copied().chain([(name, value)]).collect()
}

/// The whole way: what is declared reaches the region, and its report comes back; with the same settings in both planes.
async fn works(what: &str, settings: &Settings<'_>) {
    let hub = Hub::new(settings);
    let control = hub.control().await;
    let _plane = hub.plane("aws:r", &[]);
    let revision = control.apply("default", &[database("db", &["aws:r"], 64)]).await;
    control.until_observed("default", revision).await;
    control.until_regions("it has confirmed that", |regions| regions[0].in_sync).await;
    println!("{what}: the whole way works");
}

/// Nothing gets through, and the log says where to look.
async fn is_explained(what: &str, settings: &Settings<'_>, setting: &str) {
    let control = Hub::new(settings).control().await;
    let line = until(&format!("{what} is explained by {setting}"), async || {
        control.log().lines().find(|line| line.contains("check") && line.contains(setting)).map(str::to_owned)
    })
    .await;
    println!("{what}: {line}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn each_way_to_prove_who_one_is_works_and_a_wrong_one_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    secure(dir.path());
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let properties = file("broker.properties");
    let _broker = Broker::start(&["--properties", &properties, "--user", "senren=senren-secret"]);
    let listeners = fs::read_to_string(file("listeners")).unwrap();
    let listener = |name: &str| {
        let line = listeners.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap().to_owned()
    };
    let (sasl, ssl) = (listener("SASL_SSL"), listener("SSL"));
    let (ca, stranger, certificate, key) =
        (file("ca.pem"), file("stranger.pem"), file("client.pem"), file("client.key"));

    let plain: Settings<'_> = vec![
        ("KAFKA_BOOTSTRAP_SERVERS", &sasl),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
        ("KAFKA_SSL_CA_LOCATION", &ca),
        ("KAFKA_SASL_MECHANISM", "PLAIN"),
        ("KAFKA_SASL_USERNAME", "senren"),
        ("KAFKA_SASL_PASSWORD", "senren-secret"),
    ];
    let scram = with(&plain, "KAFKA_SASL_MECHANISM", "SCRAM-SHA-512");
    let anonymous: Settings<'_> = vec![
        ("KAFKA_BOOTSTRAP_SERVERS", &ssl),
        ("KAFKA_SECURITY_PROTOCOL", "SSL"),
        ("KAFKA_SSL_CA_LOCATION", &ca),
    ];
    let certified = with(&anonymous, "KAFKA_SSL_CERTIFICATE_LOCATION", &certificate);
    let certified = with(&certified, "KAFKA_SSL_KEY_LOCATION", &key);
    for (what, settings) in [("SASL_SSL, PLAIN", &plain), ("SASL_SSL, SCRAM", &scram), ("mTLS", &certified)] {
        works(what, settings).await;
    }

    let wrong = [
        ("wrong password, PLAIN", with(&plain, "KAFKA_SASL_PASSWORD", "guessed"), "KAFKA_SASL_USERNAME"),
        ("wrong password, SCRAM", with(&scram, "KAFKA_SASL_PASSWORD", "guessed"), "KAFKA_SASL_USERNAME"),
        ("unknown authority", with(&plain, "KAFKA_SSL_CA_LOCATION", &stranger), "KAFKA_SSL_CA_LOCATION"),
        ("no client certificate", anonymous.clone(), "KAFKA_SSL_CERTIFICATE_LOCATION"),
        ("no TLS", with(&plain, "KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"), "KAFKA_SECURITY_PROTOCOL"),
    ];
    join_all(wrong.iter().map(|(what, settings, setting)| is_explained(what, settings, setting))).await;
}
