//! Which program of this machine stands in for which container image.
//!
//! An image that nothing stands in for is not an error: its pod is simulated, visibly.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// One rule: images that match `pattern` run `program`.
#[derive(Clone, Debug)]
pub struct ImageRule {
    /// The image's repository without registry, path and tag (`redis`), or with them if it contains a `/`;
    /// `*` stands for any text.
    pub pattern: String,
    /// The program such an image is there to run; must be on `PATH`.
    pub program: String,
    /// The image's working directory.
    pub working_dir: String,
}

impl ImageRule {
    /// A rule for the official images of the Docker library, whose data lives in `/data`.
    #[must_use]
    pub fn new(pattern: &str, program: &str, working_dir: &str) -> Self {
        Self { pattern: pattern.into(), program: program.into(), working_dir: working_dir.into() }
    }
}

/// The rules that hold without configuration.
#[must_use]
pub fn default_rules() -> Vec<ImageRule> {
    vec![
        ImageRule::new("redis", "redis-server", "/data"),
        ImageRule::new("valkey", "valkey-server", "/data"),
        ImageRule::new("aerospike-server", "asd", "/"),
        ImageRule::new("busybox", "sh", "/"),
    ]
}

/// An image whose program is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Name as the image's own entrypoint would call it.
    pub name: String,
    /// Where it is on the machine.
    pub path: PathBuf,
    /// The image's working directory.
    pub working_dir: String,
}

/// Why an image cannot run as a process here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoProgram {
    /// No rule matches.
    #[error("no program of this machine stands in for image {0:?}")]
    UnknownImage(String),
    /// A rule matches, and what it names is not installed.
    #[error("image {image:?} needs the program {program:?}, which is not on PATH")]
    NotInstalled {
        /// The image asked for.
        image: String,
        /// The program that is missing.
        program: String,
    },
}

/// Finds the program for an image.
pub fn resolve(rules: &[ImageRule], image: &str) -> Result<Program, NoProgram> {
    let rule = rules
        .iter()
        .find(|rule| matches(&rule.pattern, image))
        .ok_or_else(|| NoProgram::UnknownImage(image.into()))?;
    let path = on_path(&rule.program)
        .ok_or_else(|| NoProgram::NotInstalled { image: image.into(), program: rule.program.clone() })?;
    Ok(Program { name: rule.program.clone(), path, working_dir: rule.working_dir.clone() })
}

/// What a container runs: the pod's `command` and `args` where given, else the image's own program, with the
/// convention of the Docker library images that arguments starting with a flag or a configuration file are
/// for it.
#[must_use]
pub fn command_line(program: &Program, command: &[String], args: &[String]) -> Vec<String> {
    if !command.is_empty() {
        return command.iter().chain(args).cloned().collect();
    }
    let for_the_program = args.first().is_none_or(|first| first.starts_with('-') || first.ends_with(".conf"));
    let entry = for_the_program.then(|| program.name.clone());
    entry.into_iter().chain(args.iter().cloned()).collect()
}

/// Looks a program up on `PATH`, and where administrators' programs are even if `PATH` doesn't say so.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return executable(Path::new(program)).then(|| program.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|dir| dir.join(OsStr::new(program)))
        .find(|file| executable(file))
}

fn executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn matches(pattern: &str, image: &str) -> bool {
    let repository = without_tag(image);
    if pattern.contains('/') {
        return glob(pattern, repository);
    }
    glob(pattern, repository.rsplit('/').next().unwrap_or(repository))
}

fn without_tag(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        // A colon before the last slash is a registry's port.
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => image,
    }
}

/// Whether `text` matches a pattern in which `*` stands for any text.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| glob(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn an_image_is_known_by_its_repository_whatever_its_registry_tag_or_digest() {
        let check = |pattern, image, wanted| assert_eq!(matches(pattern, image), wanted, "{pattern} {image}");
        check("redis", "redis", true);
        check("redis", "redis:7.2-alpine", true);
        check("redis", "docker.io/library/redis:7", true);
        check("redis", "localhost:5000/redis", true);
        check("redis", "redis@sha256:abc", true);
        check("redis", "redis-exporter:1", false);
        check("redis*", "redis-exporter:1", true);
        check("example.org/*/redis", "example.org/team/redis:7", true);
        check("example.org/*/redis", "redis:7", false);
    }

    #[test]
    fn a_missing_program_is_named() {
        let rules = [ImageRule::new("x", "no-such-program", "/")];
        let error = resolve(&rules, "x:1").unwrap_err().to_string();
        assert_eq!(error, r#"image "x:1" needs the program "no-such-program", which is not on PATH"#);
        assert_eq!(resolve(&rules, "y").unwrap_err(), NoProgram::UnknownImage("y".into()));
    }

    #[test]
    fn arguments_follow_the_convention_of_library_images() {
        let program = Program { name: "redis-server".into(), path: "/x".into(), working_dir: "/data".into() };
        let check = |command: &[&str], args: &[&str], wanted: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(command_line(&program, &owned(command), &owned(args)), owned(wanted));
        };
        check(&[], &[], &["redis-server"]);
        check(&[], &["--port", "1"], &["redis-server", "--port", "1"]);
        check(&[], &["/etc/redis.conf"], &["redis-server", "/etc/redis.conf"]);
        check(&[], &["redis-cli", "ping"], &["redis-cli", "ping"]);
        check(&["sh", "-c"], &["true"], &["sh", "-c", "true"]);
    }
}
