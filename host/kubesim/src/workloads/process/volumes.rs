//! A pod's volumes as directories of this machine.
//!
//! ConfigMaps, Secrets and downward fields are laid out as a kubelet does: a fresh directory per content,
//! reached through the link `..data`, which is swapped atomically; so an update appears to the container all
//! at once, and mounts made before see it. `subPath` mounts pin the content they started with. Claims are
//! directories that only the deletion of the claim removes. What has no faithful equivalent here is refused
//! by name.

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Component, Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Container, DownwardAPIVolumeFile, KeyToPath, Pod, Volume, VolumeMount};

use super::{
    env::{Place, Sources, Unresolved, pod_field, resource_field},
    sandbox::Mount,
};

/// Why a pod's volumes cannot be set up (yet).
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Something the volume refers to does not exist; it may come.
    #[error("MountVolume.SetUp failed for volume {volume:?} : {source}")]
    Missing {
        /// The volume's name.
        volume: String,
        /// What is missing.
        source: Unresolved,
    },
    /// The machine refused.
    #[error("volume {volume:?}: {source}")]
    Io {
        /// The volume's name.
        volume: String,
        /// What the machine said.
        source: io::Error,
    },
}

/// Where the things of one pod are kept.
#[derive(Clone, Debug)]
pub struct PodDirs {
    /// `<data>/pods/<uid>`: gone when the pod is.
    pub pod: PathBuf,
    /// `<data>/claims/<namespace>`: outlives pods.
    pub claims: PathBuf,
}

impl PodDirs {
    fn volume(&self, name: &str) -> PathBuf {
        self.pod.join("volumes").join(name)
    }

    /// A container's private `/tmp`, empty for each instance.
    pub fn fresh_tmp(&self, container: &str) -> io::Result<PathBuf> {
        let tmp = self.pod.join("tmp").join(container);
        remove_if_there(&tmp)?;
        std::fs::create_dir_all(&tmp)?;
        std::fs::set_permissions(&tmp, PermissionsExt::from_mode(0o1777))?;
        Ok(tmp)
    }

    /// Removes what was the pod's alone.
    pub fn remove(&self) -> io::Result<()> {
        remove_if_there(&self.pod)
    }
}

/// Makes (or brings up to date) all volumes of a pod.
pub fn set_up(pod: &Pod, dirs: &PodDirs, place: &Place, sources: &dyn Sources) -> Result<(), VolumeError> {
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        set_up_one(pod, volume, dirs, place, sources).map_err(|problem| match problem {
            Problem::Missing(source) => VolumeError::Missing { volume: volume.name.clone(), source },
            Problem::Io(source) => VolumeError::Io { volume: volume.name.clone(), source },
        })?;
    }
    Ok(())
}

/// The names of the ConfigMaps and Secrets that a pod's volumes show.
#[must_use]
pub fn shows(pod: &Pod, kind_is_secret: bool, name: &str) -> bool {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).any(|volume| {
        let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        let mut projected = projected.map(|source| {
            if kind_is_secret {
                source.secret.as_ref().map(|secret| &secret.name)
            } else {
                source.config_map.as_ref().map(|map| &map.name)
            }
        });
        let own = if kind_is_secret {
            volume.secret.as_ref().and_then(|secret| secret.secret_name.as_ref())
        } else {
            volume.config_map.as_ref().map(|map| &map.name)
        };
        own.is_some_and(|own| own == name) || projected.any(|own| own.is_some_and(|own| own == name))
    })
}

/// The mounts of one container. Volumes must be set up.
pub fn mounts(
    pod: &Pod,
    container: &Container,
    dirs: &PodDirs,
    env: &[(String, String)],
) -> Result<Vec<Mount>, VolumeError> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let volumes: BTreeMap<&str, &Volume> = volumes.map(|volume| (volume.name.as_str(), volume)).collect();
    let mount_of = |mount: &VolumeMount| {
        let missing =
            |what: String| VolumeError::Missing { volume: mount.name.clone(), source: Unresolved(what) };
        let volume =
            volumes.get(mount.name.as_str()).ok_or_else(|| missing("no such volume in the pod".into()))?;
        let root = match &volume.persistent_volume_claim {
            Some(claim) => dirs.claims.join(&claim.claim_name),
            None => dirs.volume(&volume.name),
        };
        let source = match sub_path(mount, env) {
            None => root,
            Some(path) => below(&root, &path, is_written(volume))
                .map_err(|source| VolumeError::Io { volume: mount.name.clone(), source })?,
        };
        let claim_read_only = volume.persistent_volume_claim.as_ref().and_then(|claim| claim.read_only);
        let read_only = mount.read_only == Some(true) || claim_read_only == Some(true) || !is_written(volume);
        Ok(Mount { source, target: PathBuf::from("/").join(&mount.mount_path), read_only })
    };
    container.volume_mounts.iter().flatten().map(mount_of).collect()
}

enum Problem {
    Missing(Unresolved),
    Io(io::Error),
}

impl From<Unresolved> for Problem {
    fn from(missing: Unresolved) -> Self {
        Self::Missing(missing)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Volumes that a container may write; the others are made by us from objects.
fn is_written(volume: &Volume) -> bool {
    volume.empty_dir.is_some() || volume.persistent_volume_claim.is_some()
}

fn set_up_one(
    pod: &Pod,
    volume: &Volume,
    dirs: &PodDirs,
    place: &Place,
    sources: &dyn Sources,
) -> Result<(), Problem> {
    let directory = dirs.volume(&volume.name);
    let mut files = Files { entries: BTreeMap::new(), sources };
    if volume.empty_dir.is_some() {
        std::fs::create_dir_all(&directory)?;
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o777))?;
        return Ok(());
    } else if let Some(claim) = &volume.persistent_volume_claim {
        std::fs::create_dir_all(dirs.claims.join(&claim.claim_name))?;
        return Ok(());
    } else if let Some(map) = &volume.config_map {
        files.config_map(&map.name, map.items.as_deref(), map.optional, map.default_mode)?;
    } else if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        files.secret(name, secret.items.as_deref(), secret.optional, secret.default_mode)?;
    } else if let Some(downward) = &volume.downward_api {
        files.downward(pod, downward.items.as_deref(), downward.default_mode, place)?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode;
        for source in projected.sources.iter().flatten() {
            if let Some(map) = &source.config_map {
                files.config_map(&map.name, map.items.as_deref(), map.optional, mode)?;
            } else if let Some(secret) = &source.secret {
                files.secret(&secret.name, secret.items.as_deref(), secret.optional, mode)?;
            } else if let Some(downward) = &source.downward_api {
                files.downward(pod, downward.items.as_deref(), mode, place)?;
            } else {
                return Err(unsupported("this source of a projected volume"));
            }
        }
    } else {
        return Err(unsupported("this type of volume"));
    }
    Ok(publish(&directory, &files.entries)?)
}

fn unsupported(what: &str) -> Problem {
    Problem::Missing(Unresolved(format!("{what} is not supported for pods that are local processes")))
}

/// The files of a volume: path → (content, mode).
struct Files<'a> {
    entries: BTreeMap<PathBuf, (Vec<u8>, u32)>,
    sources: &'a dyn Sources,
}

impl Files<'_> {
    fn config_map(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<(), Problem> {
        let data = self.sources.config_map(name);
        self.keys("configmap", name, data, items, optional, mode)
    }

    fn secret(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<(), Problem> {
        let data = self.sources.secret(name);
        self.keys("secret", name, data, items, optional, mode)
    }

    fn keys(
        &mut self,
        what: &str,
        name: &str,
        data: Option<BTreeMap<String, Vec<u8>>>,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<(), Problem> {
        let optional = optional == Some(true);
        let Some(data) = data else {
            return if optional {
                Ok(())
            } else {
                Err(Unresolved(format!("{what} \"{name}\" not found")).into())
            };
        };
        let Some(items) = items else {
            return data.into_iter().try_for_each(|(key, value)| self.add(&key, value, None, mode));
        };
        for item in items {
            match data.get(&item.key) {
                Some(value) => self.add(&item.path, value.clone(), item.mode, mode)?,
                None if optional => {}
                None => {
                    return Err(Unresolved(format!(
                        "{what} \"{name}\" references non-existent key: {}",
                        item.key
                    ))
                    .into());
                }
            }
        }
        Ok(())
    }

    fn downward(
        &mut self,
        pod: &Pod,
        items: Option<&[DownwardAPIVolumeFile]>,
        mode: Option<i32>,
        place: &Place,
    ) -> Result<(), Problem> {
        for item in items.unwrap_or_default() {
            let value = if let Some(field) = &item.field_ref {
                pod_field(pod, &field.field_path, place)?
            } else if let Some(resource) = &item.resource_field_ref {
                let wanted = resource.container_name.as_deref().unwrap_or_default();
                let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
                let container = containers.find(|container| container.name == wanted);
                resource_field(
                    container.ok_or_else(|| Unresolved(format!("no container {wanted:?}")))?,
                    resource,
                )?
            } else {
                continue;
            };
            self.add(&item.path, value.into_bytes(), item.mode, mode)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        path: &str,
        content: Vec<u8>,
        mode: Option<i32>,
        default: Option<i32>,
    ) -> Result<(), Problem> {
        let path = inside(path).ok_or_else(|| Unresolved(format!("path {path:?} leaves the volume")))?;
        let mode = mode.or(default).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644);
        self.entries.insert(path, (content, mode & 0o777));
        Ok(())
    }
}

/// Shows exactly these files in the volume, atomically; does nothing if it shows them already.
fn publish(directory: &Path, files: &BTreeMap<PathBuf, (Vec<u8>, u32)>) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let current = directory.join("..data");
    let old = current.read_link().ok();
    let generation =
        old.as_deref().and_then(Path::to_str).and_then(|name| name.strip_prefix("..v")?.parse::<u64>().ok());
    if old.is_some() && same_files(&current, files)? {
        return Ok(());
    }
    let name = format!("..v{}", generation.unwrap_or(0) + 1);
    let content = directory.join(&name);
    remove_if_there(&content)?;
    std::fs::create_dir(&content)?;
    for (path, (bytes, mode)) in files {
        let file = content.join(path);
        file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(&file, bytes)?;
        std::fs::set_permissions(&file, PermissionsExt::from_mode(*mode))?;
    }
    let link = directory.join("..data_tmp");
    remove_if_there(&link)?;
    symlink(&name, &link)?;
    std::fs::rename(&link, &current)?;
    link_top_level(directory, files)?;
    old.map_or(Ok(()), |old| remove_if_there(&directory.join(old)))
}

/// The names a container sees: links through `..data`; names that are gone go.
fn link_top_level(directory: &Path, files: &BTreeMap<PathBuf, (Vec<u8>, u32)>) -> io::Result<()> {
    let tops: Vec<_> =
        files.keys().filter_map(|path| path.components().next()).map(|top| top.as_os_str()).collect();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !name.to_string_lossy().starts_with("..") && !tops.contains(&name.as_os_str()) {
            std::fs::remove_file(directory.join(name))?;
        }
    }
    for top in tops {
        match symlink(Path::new("..data").join(top), directory.join(top)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn same_files(directory: &Path, files: &BTreeMap<PathBuf, (Vec<u8>, u32)>) -> io::Result<bool> {
    let mut found = 0;
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let Some((bytes, mode)) = path.strip_prefix(directory).ok().and_then(|name| files.get(name))
            else {
                return Ok(false);
            };
            if std::fs::read(&path)? != *bytes || path.metadata()?.permissions().mode() & 0o777 != *mode {
                return Ok(false);
            }
            found += 1;
        }
    }
    Ok(found == files.len())
}

fn sub_path(mount: &VolumeMount, env: &[(String, String)]) -> Option<String> {
    let expanded = mount
        .sub_path_expr
        .as_ref()
        .map(|path| super::env::expand_all(std::slice::from_ref(path), env).concat());
    expanded.or_else(|| mount.sub_path.clone()).filter(|path| !path.is_empty())
}

/// A path below a volume's root, made as a directory if it is missing and the volume is one that is written.
fn below(root: &Path, path: &str, create: bool) -> io::Result<PathBuf> {
    let refused =
        || io::Error::new(io::ErrorKind::InvalidInput, format!("subPath {path:?} leaves the volume"));
    let wanted = root.join(inside(path).ok_or_else(refused)?);
    if create && !wanted.exists() {
        std::fs::create_dir_all(&wanted)?;
    }
    // Links of the volume must not lead a mount out of it.
    let real = wanted.canonicalize()?;
    if real.starts_with(root.canonicalize()?) { Ok(real) } else { Err(refused()) }
}

fn inside(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let normal = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    (normal && path.components().next().is_some()).then(|| path.components().collect())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn files(entries: &[(&str, &str)]) -> BTreeMap<PathBuf, (Vec<u8>, u32)> {
        entries.iter().map(|(path, content)| (path.into(), (content.as_bytes().to_vec(), 0o644))).collect()
    }

    #[test]
    fn an_update_replaces_all_files_and_drops_those_that_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        publish(dir.path(), &files(&[("a", "1"), ("sub/b", "2")])).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("sub/b")).unwrap(), "2");
        publish(dir.path(), &files(&[("a", "3")])).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("a")).unwrap(), "3");
        assert!(!dir.path().join("sub").exists());
        let link = dir.path().join("..data").read_link().unwrap();
        publish(dir.path(), &files(&[("a", "3")])).unwrap();
        assert_eq!(
            dir.path().join("..data").read_link().unwrap(),
            link,
            "the same content is not written again"
        );
    }

    #[test]
    fn no_path_leads_out_of_a_volume() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/etc", dir.path().join("link")).unwrap();
        let check =
            |path: &str, wanted: bool| assert_eq!(below(dir.path(), path, true).is_ok(), wanted, "{path}");
        check("new/deep", true);
        check("../up", false);
        check("/etc", false);
        check("link", false);
        check("a/../../b", false);
    }
}
