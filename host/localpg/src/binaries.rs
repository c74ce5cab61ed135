//! Finds the programs of a PostgreSQL installation.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

const INSTALL: &str = "install PostgreSQL 14 or newer (Debian, Ubuntu: package `postgresql`; Fedora: \
                       `postgresql-server`; Arch: `postgresql`), or set DATABASE_URL";

/// A directory with `postgres`, `initdb` and `psql`.
pub(crate) struct Binaries {
    dir: PathBuf,
    major: u32,
}

impl Binaries {
    /// The newest of those in `pg_config --bindir`, in the distributions' places, and on PATH.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let mut found: Vec<Self> = candidates().into_iter().filter_map(Self::at).collect();
        found.sort_by_key(|binaries| binaries.major);
        found.pop().with_context(|| format!("found no PostgreSQL server programs; {INSTALL}"))
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

    /// A cluster belongs to one major version.
    pub(crate) fn check_version(&self, cluster: &Path) -> anyhow::Result<()> {
        let file = cluster.join("PG_VERSION");
        let version = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let version = version.trim();
        anyhow::ensure!(
            version.parse() == Ok(self.major),
            "{} was made by PostgreSQL {version}, and the programs found ({}) are of PostgreSQL {}: install \
             version {version}, or take another data directory",
            cluster.display(),
            self.dir.display(),
            self.major
        );
        Ok(())
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
