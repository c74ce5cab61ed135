//! Cluster DNS as files: every pod has an `/etc/hosts` with the names that a cluster's resolver would answer.
//!
//! A pod's file is mounted into its running containers, so it is always rewritten in place, in one write to
//! the same inode: a resolver reads either the old names or the new ones, since both ends come in a single
//! call each.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    fs::OpenOptions,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::touched::Touched;
use crate::{
    kinds::{ENDPOINTS, SERVICES},
    store::{Key, Store},
    workloads::{feed::get, process::env::Place},
};

/// The hosts files of all pods.
#[derive(Default)]
pub struct Hosts {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    names: BTreeMap<Key, Names>,
    files: HashMap<String, File>,
}

/// What the names of one service resolve to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    /// The service's own name.
    addresses: BTreeSet<String>,
    /// Host names below it.
    hosts: BTreeSet<(String, String)>,
}

struct File {
    path: PathBuf,
    namespace: String,
    own: String,
}

impl Hosts {
    /// The pod's file, written if it isn't there yet, and kept up to date from now on.
    pub fn file_of(&self, pod: &Pod, directory: &Path, place: &Place) -> io::Result<PathBuf> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let mut state = self.state.lock();
        let State { names, files } = &mut *state;
        let file = files.entry(uid).or_insert_with(|| File {
            path: directory.join("hosts"),
            own: own_line(pod, &namespace, place),
            namespace,
        });
        std::fs::create_dir_all(directory)?;
        file.write(&render(names, &file.namespace, &file.own))?;
        Ok(file.path.clone())
    }

    /// The pod is gone.
    pub fn forget(&self, pod: &Pod) {
        self.state.lock().files.remove(pod.metadata.uid.as_deref().unwrap_or_default());
    }

    fn update(&self, key: Key, names: Option<Names>) -> bool {
        let mut state = self.state.lock();
        match names {
            Some(names) => state.names.insert(key, names.clone()) != Some(names),
            None => state.names.remove(&key).is_some(),
        }
    }

    fn write_all(&self) {
        let state = self.state.lock();
        let mut contents: HashMap<&str, String> = HashMap::new();
        for file in state.files.values() {
            let shared =
                contents.entry(&file.namespace).or_insert_with(|| render(&state.names, &file.namespace, ""));
            if let Err(error) = file.write(&format!("{}{shared}", file.own)) {
                tracing::warn!(%error, file = %file.path.display(), "a pod's hosts file cannot be written");
            }
        }
    }
}

impl File {
    fn write(&self, content: &str) -> io::Result<()> {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&self.path)?;
        let length = content.len() as u64;
        file.write_all_at(content.as_bytes(), 0)?;
        if file.metadata()?.len() != length { file.set_len(length) } else { Ok(()) }
    }
}

/// Follows services and endpoints until stopped.
pub async fn run(store: Store, hosts: std::sync::Arc<Hosts>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut changes = Touched::open(&store)?;
    while let Some(touched) = changes.next(&stop).await {
        let mut changed = false;
        for key in touched {
            let names = names_of(&store, &key);
            changed |= hosts.update(key, names);
        }
        if changed {
            hosts.write_all();
        }
    }
    Ok(())
}

fn names_of(store: &Store, key: &Key) -> Option<Names> {
    let service: Service = get(store, &SERVICES, &key.namespace, &key.name)?;
    let endpoints: Option<Endpoints> = get(store, &ENDPOINTS, &key.namespace, &key.name);
    let cluster_ip = service.spec?.cluster_ip.filter(|ip| !ip.is_empty());
    let subsets = endpoints.and_then(|endpoints| endpoints.subsets).unwrap_or_default();
    // publishNotReadyAddresses is in here already: it made those addresses ready ones.
    let ready: Vec<_> = subsets.into_iter().flat_map(|subset| subset.addresses.unwrap_or_default()).collect();
    let addresses = match cluster_ip.as_deref() {
        Some("None") => ready.iter().map(|address| address.ip.clone()).collect(),
        Some(ip) => BTreeSet::from([ip.to_owned()]),
        None => BTreeSet::new(),
    };
    let hosts = ready.into_iter().filter_map(|address| Some((address.hostname?, address.ip))).collect();
    Some(Names { addresses, hosts })
}

fn own_line(pod: &Pod, namespace: &str, place: &Place) -> String {
    let spec = pod.spec.as_ref();
    let hostname =
        spec.and_then(|spec| spec.hostname.as_deref()).or(pod.metadata.name.as_deref()).unwrap_or_default();
    let full = spec.and_then(|spec| spec.subdomain.as_deref());
    let full =
        full.map(|domain| format!("{hostname}.{domain}.{namespace}.svc.cluster.local ")).unwrap_or_default();
    format!(
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{} {full}{hostname}\n",
        place.pod_ip
    )
}

/// All names as pods of `namespace` may write them.
fn render(names: &BTreeMap<Key, Names>, namespace: &str, own: &str) -> String {
    let mut text = own.to_owned();
    let mut line = |address: &str, prefix: &str, key: &Key| {
        let Key { namespace: of, name } = key;
        let short = if of == namespace { format!(" {prefix}{name}") } else { String::new() };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{address} {prefix}{name}.{of}.svc.cluster.local {prefix}{name}.{of}.svc {prefix}{name}.{of}{short}"
        );
    };
    for (key, names) in names {
        for address in &names.addresses {
            line(address, "", key);
        }
        for (host, address) in &names.hosts {
            line(address, &format!("{host}."), key);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn names(addresses: &[&str], hosts: &[(&str, &str)]) -> Names {
        Names {
            addresses: addresses.iter().map(ToString::to_string).collect(),
            hosts: hosts.iter().map(|(host, ip)| (host.to_string(), ip.to_string())).collect(),
        }
    }

    #[test]
    fn short_names_are_those_of_the_own_namespace() {
        let all = BTreeMap::from([
            (Key::new("a", "db"), names(&["127.1.0.1"], &[])),
            (Key::new("b", "set"), names(&["127.1.64.1"], &[("set-0", "127.1.64.1")])),
        ]);
        assert_eq!(
            render(&all, "b", "own\n"),
            "own\n\
             127.1.0.1 db.a.svc.cluster.local db.a.svc db.a\n\
             127.1.64.1 set.b.svc.cluster.local set.b.svc set.b set\n\
             127.1.64.1 set-0.set.b.svc.cluster.local set-0.set.b.svc set-0.set.b set-0.set\n"
        );
    }

    #[test]
    fn a_file_keeps_its_inode_when_its_content_changes() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = Hosts::default();
        let pod: Pod = serde_json::from_value(
            serde_json::json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}}),
        )
        .unwrap();
        let place = Place { pod_ip: "127.1.64.9".into(), host_ip: "127.0.0.1".into() };
        hosts.update(Key::new("n", "a-service-that-goes"), Some(names(&["127.1.0.1"], &[])));
        let file = hosts.file_of(&pod, dir.path(), &place).unwrap();
        let (inode, before) = (file.metadata().unwrap().ino(), std::fs::read_to_string(&file).unwrap());
        assert!(before.contains("a-service-that-goes"), "{before}");
        hosts.update(Key::new("n", "a-service-that-goes"), None);
        hosts.write_all();
        let after = std::fs::read_to_string(&file).unwrap();
        assert_eq!(file.metadata().unwrap().ino(), inode);
        assert!(after.ends_with("127.1.64.9 p\n"), "{after}");
    }
}
