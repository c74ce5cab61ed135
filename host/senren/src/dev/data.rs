//! The data directory of `senren dev`: who owns it, and what is where.
//!
//! One process at a time uses a directory (a lock that ends with its holder, kill -9 included). A region keeps its
//! loopback network for ever, because the addresses of its services are among its data; a network that another
//! `senren dev` of this machine uses is not taken.
//!
//! Layout: `lock`, `networks.json`, `senren.log`, `cache/` (compiled plugins), `postgres/`, `regions/<id>/`,
//! `<id>.kubeconfig`.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, TryLockError},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{ErrorKind, Read as _, Seek as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use senren_api::RegionId;

use crate::exit::{Exit, Failure};

/// Networks `127.<n>.0.0/16` that regions get.
const NETWORKS: std::ops::RangeInclusive<u8> = 80..=250;

/// Held while a network is in use, so that a second `senren dev` sees that it is. Outside of what kubesim hands
/// out in practice.
const GUARD: (u8, u8, u16) = (255, 254, 7443);

/// As everywhere.
const API_PORT: u16 = 6443;

/// An owned data directory.
pub struct DataDir {
    path: PathBuf,
    networks: BTreeMap<RegionId, u8>,
    // Both end with the process.
    guards: Vec<TcpListener>,
    _lock: File,
}

impl DataDir {
    /// Takes `path`, or the default directory of this user.
    pub fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => default_path()?,
        };
        let made = DirBuilder::new().recursive(true).mode(0o711).create(&path);
        made.with_context(|| format!("cannot make the data directory {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("no directory {}", path.display()))?;
        let lock = lock(&path)?;
        let networks = read_networks(&path.join("networks.json"))?;
        close(&path.join("regions"))?;
        Ok(Self { path, networks, guards: Vec::new(), _lock: lock })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where logs go.
    pub fn log(&self) -> PathBuf {
        self.path.join("senren.log")
    }

    /// Compiled plugins.
    pub fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// The private PostgreSQL.
    pub fn postgres(&self) -> PathBuf {
        self.path.join("postgres")
    }

    /// The cluster of a region.
    pub fn region(&self, region: &RegionId) -> PathBuf {
        self.path.join("regions").join(region.dotted())
    }

    /// For kubectl to reach the cluster of a region.
    pub fn kubeconfig(&self, region: &RegionId) -> PathBuf {
        self.path.join(format!("{}.kubeconfig", plain(region)))
    }

    /// Every region that ever had a network here.
    pub fn known_regions(&self) -> impl Iterator<Item = &RegionId> {
        self.networks.keys()
    }

    /// The network of a region: the one it always had, or a free one.
    pub fn network(&mut self, region: &RegionId) -> anyhow::Result<Ipv4Addr> {
        if let Some(n) = self.networks.get(region).copied() {
            let guard = guard(n)?.with_context(|| {
                format!(
                    "the network 127.{n}.0.0/16 of {region} is used by another senren dev; stop that one, or use \
                     another --data-dir"
                )
            })?;
            self.guards.push(guard);
            return Ok(Ipv4Addr::new(127, n, 0, 0));
        }
        for n in self.candidates() {
            if self.networks.values().any(|taken| *taken == n) {
                continue;
            }
            if let Some(guard) = guard(n)? {
                self.guards.push(guard);
                self.networks.insert(region.clone(), n);
                let text = serde_json::to_string_pretty(&self.networks)?;
                write_whole(&self.path.join("networks.json"), &text)?;
                return Ok(Ipv4Addr::new(127, n, 0, 0));
            }
        }
        bail!(
            "no free network for {region}: 127.{}.0.0 to 127.{}.0.0 are all in use",
            NETWORKS.start(),
            NETWORKS.end()
        )
    }

    /// From 80 up in the default directory; elsewhere from a number that the path chooses, so that two
    /// directories seldom come to want the same one.
    fn candidates(&self) -> impl Iterator<Item = u8> + use<> {
        let count = NETWORKS.len() as u64;
        let first = if default_path().is_ok_and(|default| default == self.path) {
            0
        } else {
            let mut hash = DefaultHasher::new();
            self.path.hash(&mut hash);
            hash.finish() % count
        };
        (0..count).filter_map(move |step| NETWORKS.clone().nth(((first + step) % count) as usize))
    }
}

/// Makes a directory that is nobody else's business: in the regions' are passwords.
fn close(dir: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .create(dir)
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)))
        .with_context(|| format!("cannot make {}", dir.display()))
}

/// Where the Kubernetes API of the cluster with that network is served: as long as the data are there, at the same
/// address.
pub fn api(network: Ipv4Addr) -> SocketAddr {
    let [a, b, ..] = network.octets();
    let (high, low, _) = GUARD;
    SocketAddr::from(([a, b, high, low], API_PORT))
}

/// A region's name where colons are in the way: `aws-us-east-1`.
pub fn plain(region: &RegionId) -> String {
    region.as_str().replace(':', "-")
}

fn default_path() -> anyhow::Result<PathBuf> {
    let data = match (std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME")) {
        (Some(data), _) if !data.is_empty() => PathBuf::from(data),
        (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".local/share"),
        _ => bail!("there is no HOME; name a data directory with --data-dir"),
    };
    Ok(data.join("senren/dev"))
}

fn lock(path: &Path) -> Result<File, Failure> {
    let file = path.join("lock");
    let mut lock = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&file)
        .with_context(|| format!("cannot open {}", file.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            let holder =
                if holder.is_empty() { String::new() } else { format!(" (process {})", holder.trim()) };
            let message = format!(
                "another senren dev{holder} uses {}; stop it, or choose another directory with --data-dir",
                path.display()
            );
            return Err(Failure::new(Exit::Failed, message));
        }
        Err(TryLockError::Error(error)) => {
            return Err(anyhow::Error::new(error).context(format!("cannot lock {}", file.display())).into());
        }
    }
    // For the message above only.
    let write =
        lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| write!(lock, "{}", std::process::id()));
    write.with_context(|| format!("cannot write {}", file.display()))?;
    Ok(lock)
}

fn guard(n: u8) -> anyhow::Result<Option<TcpListener>> {
    let (high, low, port) = GUARD;
    let addr = (Ipv4Addr::new(127, n, high, low), port);
    match TcpListener::bind(addr) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot use the loopback address {}: senren dev needs 127.0.0.0/8 on this machine",
                addr.0
            )
        }),
    }
}

fn read_networks(file: &Path) -> anyhow::Result<BTreeMap<RegionId, u8>> {
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", file.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// The old content or the new one, whatever happens in between.
fn write_whole(file: &Path, text: &str) -> anyhow::Result<()> {
    let part = file.with_extension("part");
    fs::write(&part, text)
        .and_then(|()| fs::rename(&part, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(Some(dir.path())).unwrap();
        let refusal = DataDir::open(Some(dir.path())).err().unwrap().to_string();
        assert!(
            refusal.contains(&format!("another senren dev (process {})", std::process::id())),
            "{refusal}"
        );
        assert!(refusal.contains("--data-dir"), "{refusal}");
        drop(first);
        assert!(DataDir::open(Some(dir.path())).is_ok());
    }

    #[test]
    fn what_the_regions_hold_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let _data = DataDir::open(Some(&path)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077;
        assert_eq!(mode(&path.join("regions")), 0);
        assert_eq!(mode(&path), 0o011, "others pass through, as PostgreSQL does where we are root");
    }

    #[test]
    fn a_region_keeps_its_network_and_shares_it_with_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let region = |text: &str| text.parse::<RegionId>().unwrap();
        let mut data = DataDir::open(Some(dir.path())).unwrap();
        let a = data.network(&region("aws:a")).unwrap();
        let b = data.network(&region("aws:b")).unwrap();
        assert_ne!(a, b);

        let other = tempfile::tempdir().unwrap();
        let mut other = DataDir::open(Some(other.path())).unwrap();
        let c = other.network(&region("aws:a")).unwrap();
        assert!(c != a && c != b, "{a} {b} {c}");

        drop(data);
        let mut data = DataDir::open(Some(dir.path())).unwrap();
        assert_eq!(data.network(&region("aws:b")).unwrap(), b);
        assert_eq!(data.network(&region("aws:a")).unwrap(), a);
    }
}
