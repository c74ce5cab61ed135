//! Everything that survives the process: an append-only file of what was put and removed.
//!
//! One line per change, written with one `write` before the change is visible, so that whatever a client was
//! told is in the kernel's hands and survives `kill -9` (not a power cut: nothing is synced). A last line that
//! was cut short was never acknowledged and is dropped. When most lines are history, the file is rewritten
//! next to itself and renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kinds::{self, GroupResource};
use crate::store::{Key, Object, State, key_of};

const FILE: &str = "objects.jsonl";
const LOCK: &str = "lock";
/// Below this many lines, rewriting isn't worth it.
const SHORT: usize = 10_000;

/// A change as it is written: revision, group, plural, and either the object that was put or the namespace and
/// name of the one that was removed.
#[derive(Serialize)]
struct Written<'a> {
    r: u64,
    g: &'a str,
    p: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    o: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    d: Option<(&'a str, &'a str)>,
}

/// The same, as it is read.
#[derive(Deserialize)]
struct Read {
    r: u64,
    g: String,
    p: String,
    o: Option<Value>,
    d: Option<(String, String)>,
}

/// The open journal of a running store.
pub(crate) struct Journal {
    dir: PathBuf,
    file: File,
    /// Bytes of whole lines.
    size: u64,
    lines: usize,
    /// Lines right after the last compaction, or at start.
    live: usize,
    /// Half a line could not be taken back: whatever came after it could not be read again.
    broken: bool,
    /// Held for as long as the store runs: two clusters on one directory would destroy each other's data.
    _lock: File,
}

impl Journal {
    /// Opens the journal in a directory and restores what it holds into the state.
    pub fn open(dir: &Path, state: &mut State) -> anyhow::Result<Journal> {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        let lock = lock(dir)?;
        let path = dir.join(FILE);
        let lines = if path.exists() { load(&path, state)? } else { 0 };
        state.loaded();
        let file = open_append(&path)?;
        let size = file.metadata()?.len();
        Ok(Journal { dir: dir.to_owned(), file, size, lines, live: 0, broken: false, _lock: lock })
    }

    /// Notes that an object was put.
    pub fn put(&mut self, what: &GroupResource, revision: u64, object: &Object) -> anyhow::Result<()> {
        self.append(&Written { r: revision, g: &what.group, p: &what.plural, o: Some(object), d: None })
    }

    /// Notes that an object was removed.
    pub fn remove(&mut self, what: &GroupResource, revision: u64, key: &Key) -> anyhow::Result<()> {
        let removed = Some((key.namespace.as_str(), key.name.as_str()));
        self.append(&Written { r: revision, g: &what.group, p: &what.plural, o: None, d: removed })
    }

    /// Whether it is mostly history.
    pub fn is_long(&self) -> bool {
        self.lines > SHORT && self.lines > 2 * self.live
    }

    /// Rewrites it with what is there now.
    pub fn compact(&mut self, state: &State) -> anyhow::Result<()> {
        let path = self.dir.join(FILE);
        let fresh = self.dir.join(format!("{FILE}.new"));
        // What an attempt before this one left.
        let file = open_append(&fresh)?;
        file.set_len(0).with_context(|| format!("emptying {}", fresh.display()))?;
        let mut out = BufWriter::new(file);
        let mut lines = 0;
        // Definitions first: without them the kinds of custom resources aren't known.
        let (definitions, others): (Vec<_>, Vec<_>) =
            state.everything().partition(|(what, _)| **what == kinds::DEFINITIONS);
        for (what, object) in definitions.into_iter().chain(others) {
            let line =
                Written { r: state.revision, g: &what.group, p: &what.plural, o: Some(object), d: None };
            write_line(&mut out, &line)?;
            lines += 1;
        }
        // Everything that can fail comes before the renaming: after it, only this file is the journal.
        let file = out.into_inner().context("writing the compacted journal")?;
        let size = file.metadata()?.len();
        fs::rename(&fresh, &path).with_context(|| format!("replacing {}", path.display()))?;
        self.file = file;
        self.size = size;
        self.lines = lines;
        self.live = lines;
        self.broken = false;
        Ok(())
    }

    /// It could not be rewritten: not to be tried again before it is twice as long.
    pub fn put_off(&mut self) {
        self.live = self.lines;
    }

    fn append(&mut self, line: &Written<'_>) -> anyhow::Result<()> {
        let mut bytes = Vec::with_capacity(1024);
        write_line(&mut bytes, line)?;
        if self.broken {
            bail!(
                "the journal in {} ends in half a line, and nothing can be written after it",
                self.dir.display()
            );
        }
        if let Err(error) = self.file.write_all(&bytes) {
            // Half a line in the middle would be damage; the change itself is refused.
            let taken_back = self.file.set_len(self.size);
            self.broken = taken_back.is_err();
            taken_back.context("taking back half a line of the journal")?;
            return Err(error).context("writing the journal of the embedded cluster");
        }
        self.size += bytes.len() as u64;
        self.lines += 1;
        Ok(())
    }
}

fn write_line(out: &mut impl Write, line: &Written<'_>) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")?;
    Ok(())
}

fn open_append(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}

#[allow(unsafe_code)]
fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join(LOCK);
    let file = open_append(&path)?;
    // SAFETY: flock takes a descriptor, which `file` keeps open, and touches no memory.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        bail!("another embedded cluster is using {}", dir.display());
    }
    Ok(file)
}

/// Reads a journal into the state; cuts off a last line that was not written to its end.
fn load(path: &Path, state: &mut State) -> anyhow::Result<usize> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut reader = BufReader::new(file);
    let (mut good, mut lines, mut buffer) = (0_u64, 0, Vec::new());
    loop {
        buffer.clear();
        let read =
            reader.read_until(b'\n', &mut buffer).with_context(|| format!("reading {}", path.display()))?;
        if read == 0 {
            return Ok(lines);
        }
        if buffer.last() != Some(&b'\n') {
            tracing::warn!(path = %path.display(), "the last line of the journal was cut short and is dropped");
            OpenOptions::new().write(true).open(path)?.set_len(good)?;
            return Ok(lines);
        }
        let line: Read = serde_json::from_slice(&buffer)
            .with_context(|| format!("{} is damaged at line {}", path.display(), lines + 1))?;
        restore(state, line).with_context(|| format!("{}, line {}", path.display(), lines + 1))?;
        good += read as u64;
        lines += 1;
    }
}

fn restore(state: &mut State, line: Read) -> anyhow::Result<()> {
    let what = GroupResource::new(line.g, line.p);
    state.revision = state.revision.max(line.r);
    match (line.o, line.d) {
        (Some(object), _) => {
            let object = Object::new(object);
            let key = key_of(&object);
            let followed = (what == kinds::DEFINITIONS).then(|| object.clone());
            state
                .restore(&what, key, object)
                .map_err(|refusal| anyhow::anyhow!("{what} are not served: {refusal}"))?;
            if let Some(definition) = followed {
                crate::crd::follow(state, &definition);
            }
        }
        (None, Some((namespace, name))) => {
            let key = Key::new(namespace, name);
            let removed = state.forget(&what, &key);
            if let Some(definition) = removed.filter(|_| what == kinds::DEFINITIONS) {
                crate::crd::unfollow(state, &definition);
            }
        }
        (None, None) => bail!("a line that says nothing"),
    }
    Ok(())
}
