//! The API behind TLS: who is let in, and certificates that change while it serves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use senren_api::v1::{
    ApplyStateRequest, Database, ListHistoryRequest, ListRegionsRequest,
    control_plane_client::ControlPlaneClient,
};
use senren_bus::MemoryBus;
use senren_control::{Control, ControlConfig, tls::Files};
use senren_localpg::{TestDatabase, test_database};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key, PEM.
fn signed_by(authority: &Authority) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["senren.test".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "deploy-bot");
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

fn write(dir: &Path, authority: &Authority) {
    let (cert, key) = signed_by(authority);
    fs::write(dir.join("cert.pem"), cert).unwrap();
    fs::write(dir.join("key.pem"), key).unwrap();
}

fn files(dir: &Path) -> Files {
    Files {
        tls_cert_file: Some(dir.join("cert.pem")),
        tls_key_file: Some(dir.join("key.pem")),
        tls_client_ca_file: None,
    }
}

async fn start(database: &TestDatabase, tls: Files) -> anyhow::Result<Control> {
    let config = ControlConfig {
        database_url: database.url.clone(),
        listen_addr: SocketAddr::from(([127, 0, 0, 1], 0)),
        tls,
        ..ControlConfig::default()
    };
    Control::start(config, Arc::new(MemoryBus::default()), CancellationToken::new()).await
}

/// A client that trusts `authority`, if it is let in.
async fn client(
    addr: SocketAddr,
    authority: &Authority,
    identity: Option<(String, String)>,
) -> Option<ControlPlaneClient<Channel>> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority.pem()))
        .domain_name("senren.test");
    if let Some((cert, key)) = identity {
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    let endpoint = Endpoint::from_shared(format!("https://{addr}")).unwrap().tls_config(tls).unwrap();
    let mut client = ControlPlaneClient::new(endpoint.connect().await.ok()?);
    client.list_regions(ListRegionsRequest {}).await.is_ok().then_some(client)
}

async fn answers(addr: SocketAddr, authority: &Authority, identity: Option<(String, String)>) -> bool {
    client(addr, authority, identity).await.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_without_a_restart_and_a_bad_one_changes_nothing() {
    let (dir, database) = (tempfile::tempdir().unwrap(), test_database());
    let (old, new) = (authority(), authority());
    write(dir.path(), &old);
    let control = start(&database, files(dir.path())).await.unwrap();
    let addr = control.addr();
    // Somebody who never says a word keeps nobody out.
    let _silent = TcpStream::connect(addr).await.unwrap();
    assert!(answers(addr, &old, None).await && !answers(addr, &new, None).await);
    let plain = Endpoint::from_shared(format!("http://{addr}")).unwrap().connect_lazy();
    let refused = ControlPlaneClient::new(plain).list_regions(ListRegionsRequest {}).await;
    assert!(refused.is_err(), "plain text is not served");

    fs::write(dir.path().join("key.pem"), "no key").unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(answers(addr, &old, None).await);
    write(dir.path(), &new);
    let renewed = async {
        while !answers(addr, &new, None).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewed).await.expect("the new certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_clients_need_a_certificate_nobody_else_gets_in() {
    let (dir, database) = (tempfile::tempdir().unwrap(), test_database());
    let (server, clients) = (authority(), authority());
    write(dir.path(), &server);
    fs::write(dir.path().join("clients.pem"), clients.pem()).unwrap();
    let tls = Files { tls_client_ca_file: Some(dir.path().join("clients.pem")), ..files(dir.path()) };
    let control = start(&database, tls).await.unwrap();
    let addr = control.addr();
    let mut bot = client(addr, &server, Some(signed_by(&clients))).await.expect("somebody whom we know");
    let database = Database {
        name: "a".into(),
        r#type: "redis".into(),
        regions: vec!["aws:r".into()],
        ..Database::default()
    };
    let databases = vec![database];
    let request = ApplyStateRequest { databases, author: "the boss".into(), ..Default::default() };
    bot.apply_state(request).await.unwrap();
    let history = bot.list_history(ListHistoryRequest::default()).await.unwrap().into_inner();
    assert_eq!(history.entries[0].author, "deploy-bot", "whatever it calls itself");
    assert!(!answers(addr, &server, Some(signed_by(&server))).await);
    assert!(!answers(addr, &server, None).await);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_at_the_start() {
    let (dir, database) = (tempfile::tempdir().unwrap(), test_database());
    let check = async |tls: Files, words: &str| {
        let error = start(&database, tls).await.err().expect("a refusal");
        assert!(format!("{error:#}").contains(words), "{error:#} should contain {words:?}");
    };
    check(files(dir.path()), "cert.pem").await;
    write(dir.path(), &authority());
    check(Files { tls_key_file: None, ..files(dir.path()) }, "TLS_KEY_FILE").await;
    fs::write(dir.path().join("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    check(files(dir.path()), "do not belong together").await;
    fs::write(dir.path().join("cert.pem"), "hello").unwrap();
    check(files(dir.path()), "cert.pem holds no certificate").await;
}
