//! Finds the programs of a PostgreSQL installation.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

const INSTALL: &str = "install PostgreSQL (Debian, Ubuntu: package `postgresql`; Fedora: \
                       `postgresql-server`; Arch: `postgresql`), or set DATABASE_URL";

/// Older ones get no security fixes any more.
const OLDEST: u32 = 14;

/// A directory with `postgres`, `initdb` and `psql`.
pub(crate) struct Binaries {
    dir: PathBuf,
    major: u32,
}

impl Binaries {
    /// The newest of those in `pg_config --bindir`, in the distributions' places, and on PATH.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let newest = Self::all().filter(|found| found.major >= OLDEST).max_by_key(|found| found.major);
        newest.with_context(|| format!("found no server programs of PostgreSQL {OLDEST} or newer; {INSTALL}"))
    }

    /// Those of the version that made `cluster`, since a cluster belongs to one major version; the newest where there
    /// is no cluster yet.
    pub(crate) fn find_for(cluster: &Path) -> anyhow::Result<Self> {
        let file = cluster.join("PG_VERSION");
        if !file.exists() {
            return Self::find();
        }
        let version = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let version = version.trim();
        let mut found: Vec<Self> = Self::all().collect();
        found.sort_by_key(|found| found.major);
        let others: Vec<String> = found.iter().map(|found| found.major.to_string()).collect();
        found.into_iter().find(|found| version.parse() == Ok(found.major)).with_context(|| {
            format!(
                "{} was made by PostgreSQL {version}, whose programs are not here (found: {}): install version \
                 {version}, or take another data directory",
                cluster.display(),
                if others.is_empty() { "none".to_owned() } else { others.join(", ") }
            )
        })
    }

    fn all() -> impl Iterator<Item = Self> {
        candidates().into_iter().filter_map(Self::at)
    }

    /// The programs of `dir`, if it has all of them.
    fn at(dir: PathBuf) -> Option<Self> {
        if !["postgres", "initdb"].iter().all(|tool| dir.join(tool).is_file()) {
            return None;
        }
        let output = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { dir, major })
    }

    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        let here = self.dir.join(name);
        // PATH is for `psql`, which some distributions keep elsewhere.
        if here.is_file() { here } else { PathBuf::from(name) }
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> =
        env::var_os("PATH").map(|p| env::split_paths(&p).collect()).unwrap_or_default();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        dirs.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    for (parent, inner) in [("/usr/lib/postgresql", "bin"), ("/usr", "bin")] {
        let Ok(entries) = fs::read_dir(parent) else { continue };
        let postgres = entries.flatten().filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("pgsql") || name.starts_with("postgresql") || name.parse::<u32>().is_ok()
        });
        dirs.extend(postgres.map(|entry| entry.path().join(inner)));
    }
    // A distribution may link single programs into PATH; the links lead to the whole set.
    let linked = dirs.iter().filter_map(|dir| fs::canonicalize(dir.join("postgres")).ok());
    let mut dirs: Vec<PathBuf> =
        linked.filter_map(|program| program.parent().map(Path::to_path_buf)).collect();
    dirs.sort();
    dirs.dedup();
    dirs
}

/// `15` in `postgres (PostgreSQL) 15.18 (Debian …)`.
fn major_of(version: &str) -> Option<u32> {
    let number = version.split(") ").nth(1)?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_what_follows_the_name() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_of("something else"), None);
    }
}
