//! The plugin directory as it is now: which files, and with which content.
//!
//! A file is read only when something about it changed, and never while it is being written: what differs between two
//! looks is left for the next one. A directory that can't be read says nothing about its files; least of all that
//! they are gone.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};

use super::manifest;

/// Larger ones are not even read.
const LARGEST: u64 = 64 << 20;

/// What was written so recently may not be all of it.
const YOUNG: Duration = Duration::from_secs(1);

/// What a file has in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Bytes with this SHA-256, in hexadecimal.
    Digest(String),
    /// Nothing that could be used, and why.
    Unusable(String),
}

/// A `.wasm` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub content: Content,
    /// Somebody may still be writing it: a fault of it isn't worth a word yet.
    pub young: bool,
    stamp: Option<Stamp>,
}

/// Changes whenever the file does.
type Stamp = (u64, u64, u64, i64, i64, i64);

/// What lies there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// The `.wasm` files, by name.
    pub files: BTreeMap<String, File>,
    /// The text of `plugins.toml`, or why it can't be read; `None`: there is none.
    pub manifest: Option<Result<String, String>>,
}

impl Listing {
    /// True where another look is worthwhile soon.
    pub fn is_unsettled(&self) -> bool {
        self.files.values().any(|file| file.young)
    }
}

/// Lists `dir`. What did not change since `before` is not read again.
pub(crate) fn list(dir: &Path, before: &Listing) -> io::Result<Listing> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        // Hidden ones are files that are still being written, and what Kubernetes puts beside mounted ones.
        let Some(name) = path.file_name().and_then(OsStr::to_str).filter(|name| !name.starts_with('.'))
        else {
            continue;
        };
        if path.extension() == Some(OsStr::new("wasm"))
            && let Some(file) = look(&path, before.files.get(name))
        {
            files.insert(name.to_owned(), file);
        }
    }
    let manifest = match fs::read_to_string(dir.join(manifest::FILE)) {
        Ok(text) => Some(Ok(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(format!("{} cannot be read: {error}", manifest::FILE))),
    };
    Ok(Listing { files, manifest })
}

/// Reads a component that was listed with this digest. `None`: it is another one by now.
pub(crate) fn read(path: &Path, digest: &str) -> Option<Vec<u8>> {
    let wasm = fs::read(path).ok()?;
    (digest_of(&wasm) == digest).then_some(wasm)
}

/// SHA-256 in hexadecimal.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `None`: it is gone again.
fn look(path: &Path, before: Option<&File>) -> Option<File> {
    let unusable = |why: String| Some(File { content: Content::Unusable(why), young: false, stamp: None });
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        // A link whose target is gone is a file that is gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return unusable(format!("it cannot be read: {error}")),
    };
    if !metadata.is_file() {
        return unusable("it is not a file".into());
    }
    if metadata.len() > LARGEST {
        return unusable("the file is larger than 64 MiB".into());
    }
    let (stamp, young) = (Some(stamp(&metadata)), is_young(&metadata));
    if let Some(before) = before
        && before.stamp == stamp
    {
        return Some(File { young, ..before.clone() });
    }
    match fs::read(path) {
        Ok(wasm) => {
            // What changed while it was read has the stamp of neither reading, so that it is read again.
            let same = fs::metadata(path).is_ok_and(|after| Some(self::stamp(&after)) == stamp);
            let content = Content::Digest(digest_of(&wasm));
            Some(File { content, young: young || !same, stamp: stamp.filter(|_| same) })
        }
        Err(error) => unusable(format!("it cannot be read: {error}")),
    }
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    let modified = metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec());
    (metadata.dev(), metadata.ino(), metadata.len(), modified, changed.0, changed.1)
}

/// By the later of both times: a file that keeps the times of its origin (`cp -p`) is as young as it is here.
fn is_young(metadata: &fs::Metadata) -> bool {
    let changed = u64::try_from(metadata.ctime()).unwrap_or_default();
    let changed = Duration::new(changed, u32::try_from(metadata.ctime_nsec()).unwrap_or_default());
    SystemTime::UNIX_EPOCH.checked_add(changed).is_some_and(|at| at.elapsed().is_ok_and(|age| age < YOUNG))
}

/// Which directory `dir` is: another one where it was exchanged as a whole.
pub(crate) fn identity(dir: &Path) -> Option<(u64, u64)> {
    fs::metadata(dir).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Where a file of the directory is.
pub(crate) fn path(dir: &Path, file: &str) -> PathBuf {
    dir.join(file)
}
