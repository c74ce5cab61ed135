//! What containers write, kept on disk: `<logs>/<namespace>/<pod>/<container>.log`, the instance before as
//! `.previous.log`.
//!
//! Bounded: when a file reaches the cap it is moved to `.1` and a new one begins, so a container that
//! chatters costs at most twice the cap per instance. Logs outlive containers, pods and us.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tokio::{io::AsyncReadExt, net::unix::pipe};

/// The log files of one container.
#[derive(Clone, Debug)]
pub struct LogFiles {
    directory: PathBuf,
    container: String,
    cap: u64,
}

impl LogFiles {
    /// The files of a container below the cluster's log directory.
    #[must_use]
    pub fn new(logs: &Path, namespace: &str, pod: &str, container: &str, cap: u64) -> Self {
        Self { directory: logs.join(namespace).join(pod), container: container.into(), cap }
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.directory.join(format!("{}{suffix}", self.container))
    }

    /// Begins the log of a new instance; the former one's is kept as the previous one.
    pub fn begin(&self) -> io::Result<LogWriter> {
        std::fs::create_dir_all(&self.directory)?;
        rename_if_there(&self.file(".log.1"), &self.file(".previous.log.1"))?;
        rename_if_there(&self.file(".log"), &self.file(".previous.log"))?;
        self.open()
    }

    fn open(&self) -> io::Result<LogWriter> {
        let file = OpenOptions::new().create(true).append(true).open(self.file(".log"))?;
        let size = file.metadata()?.len();
        Ok(LogWriter { files: self.clone(), file, size })
    }

    /// Everything that is kept of the current instance, or of the one before.
    pub fn read(&self, previous: bool) -> io::Result<Vec<u8>> {
        let name = if previous { ".previous.log" } else { ".log" };
        let older = std::fs::read(self.file(&format!("{name}.1")));
        let mut content = older.or_else(|error| if missing(&error) { Ok(Vec::new()) } else { Err(error) })?;
        content.extend(std::fs::read(self.file(name))?);
        Ok(content)
    }

    /// What is kept of the current instance, and a reader of what comes after.
    pub fn follow(&self) -> io::Result<(Vec<u8>, Tail)> {
        let mut file = File::open(self.file(".log"))?;
        let older = std::fs::read(self.file(".log.1"));
        let mut content = older.or_else(|error| if missing(&error) { Ok(Vec::new()) } else { Err(error) })?;
        file.read_to_end(&mut content)?;
        Ok((content, Tail { files: self.clone(), file }))
    }

    /// The last few lines of the current instance, for messages.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let content = self.read(false).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&content), lines).trim_end().to_owned()
    }
}

/// Reads a log to its end, again and again.
#[derive(Debug)]
pub struct Tail {
    files: LogFiles,
    file: File,
}

impl Tail {
    /// What was written since; nothing, if nothing was. `None` when the log is another instance's.
    pub fn more(&mut self) -> io::Result<Option<Vec<u8>>> {
        // Before reading: what is written after this look is found by the next.
        let moved = self.file.metadata()?.ino() != inode(&self.files.file(".log"))?;
        let mut content = Vec::new();
        Read::by_ref(&mut self.file).take(MORE).read_to_end(&mut content)?;
        if !content.is_empty() || !moved {
            return Ok(Some(content));
        }
        // Rotated: it goes on in the next file.
        if self.file.metadata()?.ino() != inode(&self.files.file(".log.1"))? {
            return Ok(None);
        }
        self.file = File::open(self.files.file(".log"))?;
        Ok(Some(content))
    }
}

/// At most this much at a time.
const MORE: u64 = 256 * 1024;

fn inode(path: &Path) -> io::Result<u64> {
    let meta = std::fs::metadata(path).map(Some);
    let meta = meta.or_else(|error| if missing(&error) { Ok(None) } else { Err(error) })?;
    Ok(meta.map_or(0, |meta| meta.ino()))
}

/// The last `lines` lines of a text.
#[must_use]
pub fn last_lines(text: &str, lines: usize) -> &str {
    let body = text.strip_suffix('\n').unwrap_or(text);
    if lines == 0 {
        return "";
    }
    match body.rmatch_indices('\n').nth(lines - 1) {
        Some((at, _)) => &text[at + 1..],
        None => text,
    }
}

/// The open log of a running instance.
#[derive(Debug)]
pub struct LogWriter {
    files: LogFiles,
    file: File,
    size: u64,
}

impl LogWriter {
    /// Copies a container's output until it ends. Never stops reading: a full disk must not block the
    /// container.
    pub async fn copy(mut self, mut output: pipe::Receiver) {
        let mut buffer = vec![0; 8 * 1024];
        let mut complained = false;
        loop {
            match output.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => {
                    if let Err(error) = self.append(&buffer[..read]) {
                        if !complained {
                            let file = self.files.file(".log");
                            tracing::warn!(%error, file = %file.display(), "a container's log cannot be written");
                        }
                        complained = true;
                    }
                }
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size >= self.files.cap {
            rename_if_there(&self.files.file(".log"), &self.files.file(".log.1"))?;
            *self = self.files.open()?;
        }
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to).or_else(|error| if missing(&error) { Ok(()) } else { Err(error) })
}

fn missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_log_is_capped_and_the_previous_instance_kept() {
        let dir = tempfile::tempdir().unwrap();
        let files = LogFiles::new(dir.path(), "ns", "db-0", "redis", 10);
        let mut log = files.begin().unwrap();
        for line in ["first line\n", "second line\n", "third line\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        assert_eq!(files.read(false).unwrap(), b"second line\nthird line\n");
        files.begin().unwrap().append(b"again\n").unwrap();
        assert_eq!(files.read(false).unwrap(), b"again\n");
        assert_eq!(files.read(true).unwrap(), b"second line\nthird line\n");
    }

    #[test]
    fn a_log_is_followed_over_rotations_and_no_further_than_its_instance() {
        let dir = tempfile::tempdir().unwrap();
        let files = LogFiles::new(dir.path(), "ns", "db-0", "redis", 10);
        let mut log = files.begin().unwrap();
        log.append(b"first\n").unwrap();
        let (before, mut tail) = files.follow().unwrap();
        assert_eq!(before, b"first\n");
        assert_eq!(tail.more().unwrap().unwrap(), b"");
        for line in ["second line\n", "third line\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.extend(tail.more().unwrap().unwrap());
        }
        assert_eq!(seen, b"second line\nthird line\n");
        files.begin().unwrap().append(b"again\n").unwrap();
        assert_eq!(tail.more().unwrap(), None);
    }

    #[test]
    fn the_tail_counts_whole_lines() {
        let check = |text, lines, wanted| assert_eq!(last_lines(text, lines), wanted, "{text:?} {lines}");
        check("a\nb\nc\n", 2, "b\nc\n");
        check("a\nb\nc", 2, "b\nc");
        check("a\n", 5, "a\n");
        check("a\n", 0, "");
    }
}
