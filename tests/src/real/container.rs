//! A container of the image `senren-api`, as a kubelet starts one: the image's files and environment, what every pod is
//! given (where the API is, and who it is), the pod's own variables, and nothing else. It runs as the image's user, on
//! a file system that can't be written.
//!
//! No image is pulled: the files that `deploy/docker/Dockerfile` puts into it are those that were built here, in a
//! bubblewrap sandbox.

use std::{collections::BTreeMap, path::Path, process::Command};

use kube::config::Kubeconfig;

use super::{account::Account, servers};

const DOCKERFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/docker/Dockerfile");
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The variables that the image sets.
pub fn image_environment() -> BTreeMap<String, String> {
    let dockerfile = std::fs::read_to_string(DOCKERFILE).expect("deploy/docker/Dockerfile");
    let runtime = dockerfile.rsplit("\nFROM ").next().expect("the last stage");
    let settings =
        runtime.lines().filter_map(|line| line.strip_prefix("ENV ")).flat_map(str::split_whitespace);
    let pair =
        |setting: &str| setting.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    settings.filter_map(pair).collect()
}

/// Starts a container with `environment` over the image's, as `account`, in the cluster of `kubeconfig`.
pub fn start(name: &str, account: &Account, kubeconfig: &Path, environment: &[(&str, &str)]) -> Container {
    let files = tempfile::tempdir().expect("a directory");
    let [account_dir, cache] = ["account", "cache"].map(|dir| files.path().join(dir));
    for dir in [&account_dir, &cache] {
        std::fs::create_dir(dir).expect("a directory");
    }
    let cluster = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig").clusters.remove(0).cluster;
    let cluster = cluster.expect("a cluster");
    let authority = std::fs::read(cluster.certificate_authority.expect("a file")).expect("a certificate");
    for (file, content) in [
        ("token", account.token.as_bytes()),
        ("namespace", account.namespace.as_bytes()),
        ("ca.crt", &authority),
    ] {
        std::fs::write(account_dir.join(file), content).expect("a file");
    }
    let server = cluster.server.expect("an address");
    let (host, port) = server.trim_start_matches("https://").rsplit_once(':').expect("host:port");

    let mut command = Command::new("bwrap");
    command.args(["--die-with-parent", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--clearenv"]);
    command.args(["--uid", "65532", "--gid", "65532", "--cap-drop", "ALL"]);
    command.args(["--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc", "--tmpfs", "/usr/local"]);
    command.args(["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"]);
    command.args(["--proc", "/proc", "--dev", "/dev"]);
    command.arg("--ro-bind").arg(servers::binary()).arg("/usr/local/bin/senren");
    command.arg("--ro-bind").arg(servers::plugins()).arg("/plugins");
    command.arg("--bind").arg(&cache).arg("/var/cache/senren");
    command.arg("--ro-bind").arg(&account_dir).arg(ACCOUNT);
    command.args(["--remount-ro", "/"]);
    let mut variables = image_environment();
    variables.extend(
        [("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port)]
            .iter()
            .chain(environment)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    for (name, value) in variables {
        command.args(["--setenv", &name, &value]);
    }
    command.arg("/usr/local/bin/senren");
    Container { process: servers::spawn_command(name, command), _files: files }
}

/// One that runs, until it is dropped.
pub struct Container {
    /// The one process in it.
    pub process: servers::Process,
    _files: tempfile::TempDir,
}
