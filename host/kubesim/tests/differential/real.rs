//! A real API server: the one that `KUBECONFIG` names, or one that `tests/cluster/start` starts for this test.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// A cluster, which ends with this value unless somebody else started it.
pub struct Cluster {
    kubeconfig: PathBuf,
    script: Option<Child>,
}

impl Cluster {
    /// The cluster of `KUBECONFIG`, or a new one.
    pub fn start() -> Cluster {
        if let Some(named) = env::var_os("KUBECONFIG").filter(|named| !named.is_empty()) {
            return Cluster { kubeconfig: named.into(), script: None };
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cluster/start");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]).arg(&script).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("setpriv (util-linux)");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let named = lines.find_map(|line| line.strip_prefix("export KUBECONFIG=").map(PathBuf::from));
        let kubeconfig = named.expect("the cluster started; what it lacks is said above");
        Cluster { kubeconfig, script: Some(child) }
    }

    /// A client of its administrator, which takes the first answer.
    pub async fn client(&self) -> Client {
        let file = Kubeconfig::read_from(&self.kubeconfig).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        let mut config = config.expect("a usable kubeconfig");
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(script) = &mut self.script {
            // It stops its servers and removes their data.
            let _asked = Command::new("kill").arg(script.id().to_string()).status();
            let _ended = script.wait();
        }
    }
}
