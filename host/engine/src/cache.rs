//! Compiled code on disk, so that a start doesn't compile what has not changed.
//!
//! Loading compiled code means running whatever the file says, outside of any sandbox. Hence the invariants:
//! - The directory belongs to us and nobody else may write to it; otherwise the engine does not start.
//! - A file is named by the digest of the component and the compatibility hash of the engine, and ends with the checksum
//!   of the rest. Anything that is not exactly as it was written is compiled anew, never loaded.
//! - A file appears whole or not at all, and is never written to again: it is mapped, not read, so that of a plugin only
//!   what it uses takes memory.
//! - It is bounded: what was not used for longest goes, never what was just kept.

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use std::{
    fs,
    hash::{Hash, Hasher},
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};
use wasmtime::{Engine, component::Component};

/// Behind the checksum.
const MAGIC: &[u8; 8] = b"senren\x002";
const TRAILER: usize = 32 + MAGIC.len();

/// A file that is being written is younger.
const ABANDONED: Duration = Duration::from_secs(3600);

pub(crate) struct Cache {
    dir: PathBuf,
    max_bytes: u64,
    engine_hash: String,
}

impl Cache {
    /// Makes the directory if it isn't there; refuses one that isn't ours alone.
    pub fn open(dir: &Path, max_bytes: u64, engine: &Engine) -> anyhow::Result<Cache> {
        let shown = dir.display();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("cannot make the directory for compiled plugins, {shown}"))?;
        let mut hasher = StableHasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let engine_hash = hex(&hasher.0.finalize()[..8]);
        let cache = Cache { dir: dir.to_owned(), max_bytes, engine_hash };
        cache.claim().with_context(|| format!("cannot use {shown} for compiled plugins"))?;
        Ok(cache)
    }

    fn claim(&self) -> anyhow::Result<()> {
        let metadata = fs::metadata(&self.dir)?;
        if !metadata.is_dir() {
            bail!("it is not a directory");
        }
        // A file that we make is ours: the directory must have the same owner.
        let probe = self.temporary();
        let owner = create(&probe).and_then(|file| file.metadata()).map(|metadata| metadata.uid());
        let owner = owner.context("cannot write to it")?;
        fs::remove_file(&probe)?;
        if owner != metadata.uid() {
            bail!(
                "it belongs to another user (uid {}), who could put code there for us to run",
                metadata.uid()
            );
        }
        if metadata.mode() & 0o022 != 0 {
            bail!("others may write to it, and so put code there for us to run: chmod 700 it");
        }
        if metadata.mode() & 0o077 != 0 {
            fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The component with this digest, if it was compiled by an engine like this one, and intact.
    pub fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        if !is_intact(&mut fs::File::open(&path).ok()?).unwrap_or(false) {
            tracing::warn!(file = %path.display(), "compiled plugin is damaged; compiling it anew");
            return None;
        }
        // SAFETY: these are the bytes that `store` got from `Component::serialize`: the checksum behind them says so, in a
        // directory that only we can write to (`claim`), and where we only ever put or remove whole files. wasmtime goes
        // by the sections, so that the trailer is in nobody's way, and checks version and settings.
        #[allow(unsafe_code)]
        let component = unsafe { Component::deserialize_file(engine, &path) };
        // What is used stays.
        let _ = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        component
            .inspect_err(|error| {
                tracing::warn!(file = %path.display(), %error, "compiled plugin does not fit; compiling it anew");
            })
            .ok()
    }

    /// Gives back the memory of the code that has run so far, until it runs again: a call needs little of what describing
    /// took. Only for what came from [`Cache::load`].
    pub fn release(component: &Component) {
        let code = component.image_range();
        let length = (code.end as usize).saturating_sub(code.start as usize);
        // SAFETY: what `load` returns is a private mapping of a file that nobody writes to, and is never written to
        // itself, neither by wasmtime, which makes it read-only, nor by a plugin. So every page of it comes back from the
        // file as it was, also while it is running.
        #[allow(unsafe_code)]
        unsafe {
            libc::madvise(code.start.cast_mut().cast(), length, libc::MADV_DONTNEED);
        }
    }

    /// Failing to keep compiled code costs the time to compile it again, nothing else.
    pub fn store(&self, digest: &str, component: &Component) {
        if let Err(error) = self.try_store(digest, component) {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot keep a compiled plugin");
        }
        if let Err(error) = self.evict(&self.path(digest)) {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot tidy up compiled plugins");
        }
    }

    /// Removes the longest unused until the rest is within bounds, and what a killed process left half-written.
    fn evict(&self, keep: &Path) -> std::io::Result<()> {
        let mut compiled = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            // Another process that shares the directory may have been faster.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let used = metadata.modified()?;
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("compiled") => compiled.push((path != keep, used, metadata.len(), path)),
                Some("tmp") if used.elapsed().is_ok_and(|age| age > ABANDONED) => fs::remove_file(&path)?,
                _ => {}
            }
        }
        // The one to keep comes first, then what was used last.
        compiled.sort_by(|(evictable, used, ..), (other_evictable, other_used, ..)| {
            evictable.cmp(other_evictable).then(other_used.cmp(used))
        });
        let mut total = 0;
        for (evictable, _, len, path) in compiled {
            total += len;
            if evictable && total > self.max_bytes {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn try_store(&self, digest: &str, component: &Component) -> anyhow::Result<()> {
        let code = component.serialize().map_err(anyhow::Error::from)?;
        let temporary = self.temporary();
        let written = create(&temporary).and_then(|mut file| {
            file.write_all(&code)?;
            file.write_all(&Sha256::digest(&code))?;
            file.write_all(MAGIC)?;
            // A rename that survives a power cut before the content does is what the checksum is for.
            fs::rename(&temporary, self.path(digest))
        });
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        Ok(written?)
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}-{}.compiled", self.engine_hash))
    }

    fn temporary(&self) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!(".{}-{next}.tmp", std::process::id()))
    }
}

fn create(path: &Path) -> std::io::Result<fs::File> {
    // One may be left of a process that had our id and was killed.
    let _ = fs::remove_file(path);
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Bit by bit: the whole of it is nowhere in memory.
fn is_intact(file: &mut fs::File) -> std::io::Result<bool> {
    let Some(mut rest) = usize::try_from(file.metadata()?.len()).unwrap_or(0).checked_sub(TRAILER) else {
        return Ok(false);
    };
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
    while rest > 0 {
        let (part, _) = buffer.split_at_mut(rest.min(64 << 10));
        file.read_exact(part)?;
        hasher.update(&*part);
        rest -= part.len();
    }
    let mut trailer = [0; TRAILER];
    file.read_exact(&mut trailer)?;
    let (checksum, magic) = trailer.split_at(32);
    Ok(magic == MAGIC && checksum == hasher.finalize().as_slice())
}

/// `DefaultHasher` may change with the compiler, and names of files outlive it.
struct StableHasher(Sha256);

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
