//! The components that serve, kept where only this program writes, so that a restart finds the last good one whatever
//! became of its file.
//!
//! A component is kept under its digest and believed only with that. Which ones a region runs is noted beside them, and
//! so is the last `plugins.toml` that could be read. Regions may share the directory: a component goes when none of
//! them runs it any more. Losing all of this costs what can't be had from the plugin directory, nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use senren_api::RegionId;
use serde::{Deserialize, Serialize};

use super::directory;

/// One that no region runs may just have been put here by one that is about to.
const ORPHANED: Duration = Duration::from_secs(3600);

/// What a region runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// By the name of the plugin.
    pub plugins: BTreeMap<String, KeptPlugin>,
    /// The last `plugins.toml` that could be read.
    pub manifest: Option<String>,
}

/// A plugin that a region runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptPlugin {
    /// The file it came from, in the plugin directory.
    pub file: String,
    pub digest: String,
}

/// Where they are kept.
#[derive(Debug, Clone)]
pub(crate) struct Keep {
    dir: PathBuf,
    note: PathBuf,
}

impl Keep {
    /// In a directory that nobody else may write to.
    pub fn in_dir(cache_dir: &Path, region: &RegionId) -> Keep {
        let dir = cache_dir.join("kept");
        let note = dir.join(format!("{}.json", region.dotted()));
        Keep { dir, note }
    }

    /// What the region ran. `None`: nothing yet, or it can't be read.
    pub fn recall(&self) -> Option<Kept> {
        let recalled = match fs::read(&self.note) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            read => read.and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from)),
        };
        let told = |error: &io::Error| {
            tracing::warn!(file = %self.note.display(), %error, "what was served before is not known");
        };
        recalled.inspect_err(told).ok()
    }

    /// A component, if it is here and whole.
    pub fn component(&self, digest: &str) -> Option<Vec<u8>> {
        directory::read(&self.path(digest), digest)
    }

    /// Keeps a component.
    pub fn store(&self, digest: &str, wasm: &[u8]) -> io::Result<()> {
        if self.component(digest).is_some() {
            return Ok(());
        }
        self.write(&self.path(digest), wasm)
    }

    /// Notes what the region runs, and lets go of what no region does.
    pub fn note(&self, kept: &Kept) -> io::Result<()> {
        self.write(&self.note, serde_json::to_string_pretty(kept)?.as_bytes())?;
        self.tidy()
    }

    fn tidy(&self) -> io::Result<()> {
        let (mut components, mut wanted) = (Vec::new(), BTreeSet::new());
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("wasm") => components.push(path),
                Some("json") => {
                    // Another region's that can't be read: whatever it names may be wanted.
                    let Ok(kept) = serde_json::from_slice::<Kept>(&fs::read(&path)?) else { return Ok(()) };
                    wanted.extend(kept.plugins.into_values().map(|plugin| self.path(&plugin.digest)));
                }
                _ => {}
            }
        }
        for path in components.into_iter().filter(|path| !wanted.contains(path)) {
            let age = fs::metadata(&path).and_then(|metadata| metadata.modified());
            if age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ORPHANED)) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}.wasm"))
    }

    /// Whole or not at all.
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let mut file = tempfile::Builder::new().prefix(".keep-").tempfile_in(&self.dir)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_is_kept_is_believed_with_its_digest_only_and_goes_when_no_region_runs_it() {
        let dir = tempfile::tempdir().unwrap();
        let of = |region: &str| Keep::in_dir(dir.path(), &region.parse().unwrap());
        let (here, there) = (of("aws:us-east-1"), of("gcp:us-central1"));
        assert_eq!(here.recall(), None);
        let digest = directory::digest_of(b"component");
        let plugin = KeptPlugin { file: "a.wasm".into(), digest: digest.clone() };
        let running = Kept { plugins: [("a".to_owned(), plugin)].into(), manifest: None };
        for keep in [&here, &there] {
            keep.store(&digest, b"component").unwrap();
            keep.note(&running).unwrap();
        }
        assert_eq!(here.recall(), Some(running));
        let old = SystemTime::now() - 2 * ORPHANED;
        let file = fs::File::options().write(true).open(here.path(&digest)).unwrap();
        file.set_modified(old).unwrap();
        here.note(&Kept::default()).unwrap();
        assert_eq!(there.component(&digest).unwrap(), b"component", "the other region runs it");
        fs::write(here.path(&digest), "tampered").unwrap();
        assert_eq!(there.component(&digest), None);
        fs::File::options().write(true).open(here.path(&digest)).unwrap().set_modified(old).unwrap();
        there.note(&Kept::default()).unwrap();
        assert!(!here.path(&digest).exists());
        fs::write(&here.note, "garbage").unwrap();
        assert_eq!(here.recall(), None);
    }
}
