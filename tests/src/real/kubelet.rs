//! What kube-apiserver asks a node for: commands in its pods (`exec`). Each is answered as the plugin says that its
//! database would, by the same simulation that `senren dev` and `senren plugin check` have.
//!
//! The way there is the real one: our client, kube-apiserver with its authorization, the address in the node's status,
//! TLS, and Kubernetes' streams over a WebSocket (`v5.channel.k8s.io`, which the node must declare).

use std::{convert::Infallible, sync::Arc};

use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use senren_kubesim::workloads::{ExecSimulator, SimulatedExec, SimulatedResult};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

/// The streams of a command, by the first byte of a message.
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;

/// Label that the pods of one database share.
const GROUP: &str = "senren.io/name";

/// Answers what is asked at `listener`, until it is dropped.
pub(super) async fn serve(listener: TcpListener, client: kube::Client, simulator: Arc<dyn ExecSimulator>) {
    let (tls, kubelet) = (acceptor(), Arc::new(Kubelet { client, simulator }));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (tls, kubelet) = (tls.clone(), kubelet.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request| std::future::ready(kubelet.answer(request)));
            // A connection that breaks off is the client's to notice.
            let _ =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

/// With a certificate that nobody knows: kube-apiserver asks for none that it could check.
fn acceptor() -> TlsAcceptor {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("its key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key);
    TlsAcceptor::from(Arc::new(config.expect("a certificate and its key")))
}

struct Kubelet {
    client: kube::Client,
    simulator: Arc<dyn ExecSimulator>,
}

/// `/exec/<namespace>/<pod>/<container>?command=…&command=…`
struct Command {
    namespace: String,
    pod: String,
    container: String,
    words: Vec<String>,
}

impl Command {
    fn parse(uri: &http::Uri) -> Option<Self> {
        let mut path = uri.path().strip_prefix("/exec/")?.split('/').map(str::to_owned);
        let query = form_urlencoded::parse(uri.query()?.as_bytes());
        let words = query.filter(|(name, _)| name == "command").map(|(_, word)| word.into_owned());
        Some(Self {
            namespace: path.next()?,
            pod: path.next()?,
            container: path.next()?,
            words: words.collect(),
        })
    }
}

impl Kubelet {
    /// Changes to the WebSocket that was asked for; the command runs on it.
    fn answer(self: &Arc<Self>, mut request: Request<Incoming>) -> Result<Response<String>, Infallible> {
        let command = Command::parse(request.uri());
        let key = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned();
        let (Some(command), Some(key)) = (command, key) else {
            let mut refusal = Response::new("only exec, over WebSocket, is served here".to_owned());
            *refusal.status_mut() = StatusCode::NOT_FOUND;
            return Ok(refusal);
        };
        let upgrade = hyper::upgrade::on(&mut request);
        let kubelet = self.clone();
        tokio::spawn(async move {
            let Ok(connection) = upgrade.await else { return };
            let stream = TokioIo::new(connection);
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            for (stream, bytes) in kubelet.run(command).await {
                let message = Message::Binary([&[stream], bytes.as_slice()].concat().into());
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            let _ = socket.close(None).await;
            while let Some(Ok(_)) = socket.next().await {}
        });
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let accepted = HeaderValue::try_from(derive_accept_key(key.as_bytes())).expect("base64");
        for (name, value) in [
            (header::CONNECTION, HeaderValue::from_static("Upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, accepted),
            (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("v5.channel.k8s.io")),
        ] {
            response.headers_mut().insert(name, value);
        }
        Ok(response)
    }

    /// What a command says on each of its streams; how it ended comes last.
    async fn run(&self, command: Command) -> Vec<(u8, Vec<u8>)> {
        match self.simulate(command).await {
            Ok(SimulatedResult { exit_code, stdout, stderr }) => {
                vec![
                    (STDOUT, stdout),
                    (STDERR, stderr),
                    (STATUS, verdict(exit_code).to_string().into_bytes()),
                ]
            }
            Err(error) => {
                let status = json!({"status": "Failure", "reason": "InternalError", "code": 500,
                    "message": error.to_string()});
                vec![(STATUS, status.to_string().into_bytes())]
            }
        }
    }

    async fn simulate(&self, command: Command) -> kube::Result<SimulatedResult> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &command.namespace);
        let pod = pods.get(&command.pod).await?;
        let group = pod.metadata.labels.as_ref().and_then(|labels| labels.get(GROUP));
        let siblings = match group {
            Some(name) => pods.list(&ListParams::default().labels(&format!("{GROUP}={name}"))).await?.items,
            None => vec![pod.clone()],
        };
        let json = |pod: &Pod| serde_json::to_value(pod).map(Arc::new).map_err(kube::Error::SerdeError);
        let call = SimulatedExec {
            pod: json(&pod)?,
            container: command.container,
            command: command.words,
            pods: siblings.iter().map(json).collect::<Result<_, _>>()?,
        };
        Ok(self.simulator.exec(call).await)
    }
}

fn verdict(exit_code: i32) -> Value {
    match exit_code {
        0 => json!({"metadata": {}, "status": "Success"}),
        code => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with exit code {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
    }
}
