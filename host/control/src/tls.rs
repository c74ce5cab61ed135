//! TLS of the API: connections are accepted here, so that certificates can change while they are served.
//!
//! A handshake never holds up another connection, and one that takes too long ends. Files are looked at now and then, as
//! whatever renews certificates needs nobody to tell; ones that cannot be used change nothing, and are named in the log.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use parking_lot::RwLock;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// How soon a renewed certificate is used.
const LOOK: Duration = Duration::from_secs(10);
/// Connections that are ready and wait to be served.
const BACKLOG: usize = 64;
/// After a failure to accept: too many open files do not get fewer by trying at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the certificates are.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Files {
    /// Certificate chain of the API, PEM; renewed files are used without a restart. Without it the API is plain text.
    #[arg(long, env = "TLS_CERT_FILE", requires = "tls_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, env = "TLS_KEY_FILE", requires = "tls_cert_file")]
    pub tls_key_file: Option<PathBuf>,
    /// Certificate authorities, PEM: only clients with a certificate of one of them may connect.
    #[arg(long, env = "TLS_CLIENT_CA_FILE", requires = "tls_cert_file")]
    pub tls_client_ca_file: Option<PathBuf>,
}

/// What connections are accepted with.
#[derive(Clone)]
pub(crate) struct Tls {
    files: Arc<Read>,
    current: Arc<RwLock<Loaded>>,
}

/// The files that there have to be.
struct Read {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

struct Loaded {
    content: Vec<Vec<u8>>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files; `None` where there are to be none.
    pub(crate) fn read(files: &Files) -> anyhow::Result<Option<Self>> {
        let (cert, key) = match (&files.tls_cert_file, &files.tls_key_file) {
            (Some(cert), Some(key)) => (cert.clone(), key.clone()),
            (None, None) if files.tls_client_ca_file.is_none() => return Ok(None),
            _ => anyhow::bail!("TLS needs both a certificate and a key: TLS_CERT_FILE and TLS_KEY_FILE"),
        };
        let files = Read { cert, key, client_ca: files.tls_client_ca_file.clone() };
        let content = files.content()?;
        let config = files.config(&content)?;
        let current = Arc::new(RwLock::new(Loaded { content, config }));
        Ok(Some(Self { files: Arc::new(files), current }))
    }

    /// Looks whether the files have changed. True: what they hold now is used from now on.
    fn renew(&self) -> anyhow::Result<bool> {
        let content = self.files.content()?;
        if self.current.read().content == content {
            return Ok(false);
        }
        let config = self.files.config(&content)?;
        *self.current.write() = Loaded { content, config };
        Ok(true)
    }

    /// Connections that have shaken hands, until `shutdown`.
    pub(crate) fn accept(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
        let (ready, connections) = mpsc::channel(BACKLOG);
        tokio::spawn(self.clone().keep_fresh(shutdown.clone()));
        tokio::spawn(async move {
            let accepting = async {
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => {
                            drop(tokio::spawn(self.clone().shake_hands(stream, ready.clone())))
                        }
                        Err(error) => {
                            tracing::warn!(%error, "cannot accept a connection");
                            tokio::time::sleep(PAUSE).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = accepting => {}
            }
        });
        ReceiverStream::new(connections)
    }

    async fn shake_hands(self, stream: TcpStream, ready: mpsc::Sender<io::Result<TlsStream<TcpStream>>>) {
        let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
        let config = self.current.read().config.clone();
        let shaken = async {
            stream.set_nodelay(true)?;
            TlsAcceptor::from(config).accept(stream).await
        };
        match timeout(HANDSHAKE, shaken).await {
            // An error: nobody serves any more.
            Ok(Ok(stream)) => drop(ready.send(Ok(stream)).await),
            Ok(Err(error)) => tracing::debug!(peer, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(peer, "a TLS handshake took too long"),
        }
    }

    async fn keep_fresh(self, shutdown: CancellationToken) {
        let mut problem = String::new();
        while timeout(LOOK, shutdown.cancelled()).await.is_err() {
            // Small files, seldom read.
            match self.renew() {
                Ok(renewed) => {
                    problem.clear();
                    if renewed {
                        tracing::info!("the API's certificate was renewed");
                    }
                }
                // Said once: whoever writes several files may not be done.
                Err(error) if problem != format!("{error:#}") => {
                    problem = format!("{error:#}");
                    tracing::error!(
                        problem,
                        "the API's certificate cannot be renewed; the one before stays in use"
                    );
                }
                Err(_) => {}
            }
        }
    }
}

impl Read {
    fn content(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        let paths = [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()];
        let read =
            |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        paths.into_iter().flatten().map(read).collect()
    }

    fn config(&self, content: &[Vec<u8>]) -> anyhow::Result<Arc<ServerConfig>> {
        let [cert, key, client_ca @ ..] = content else { anyhow::bail!("no certificate") };
        let chain = certificates(&self.cert, cert)?;
        let key = PrivateKeyDer::from_pem_slice(key);
        let key = key.with_context(|| format!("{} holds no private key", self.key.display()))?;
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match (&self.client_ca, client_ca) {
            (Some(path), [client_ca, ..]) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path, client_ca)? {
                    roots
                        .add(certificate)
                        .with_context(|| format!("{} holds no authority", path.display()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build()?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(chain, key);
        let mut config = config.with_context(|| {
            format!("{} and {} do not belong together", self.cert.display(), self.key.display())
        })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path, pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.with_context(|| format!("{} is no PEM file", path.display()))?;
    anyhow::ensure!(!found.is_empty(), "{} holds no certificate", path.display());
    Ok(found)
}
