//! Every command in the documentation works as written.
//!
//! A page is run from its first block to its last in a copy of the repository, as a reader would: with `senren` on the
//! PATH, in one shell whose directory and variables carry over.
//!
//! - ` ```sh ` blocks must succeed.
//! - ` ```console ` blocks show commands after `$ ` and what they print: each line of that must be printed, in that
//!   order; numbers and spaces make no difference, `…` stands for any further lines, or for the rest of a line.
//! - `<!-- in the background: COMMAND -->` starts a `senren dev` for what follows, and waits until it is up.
//! - `<!-- not run: REASON -->` right before a block keeps it from being run; the test lists those.
//! - what goes on until it is interrupted (`--watch`) is interrupted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use common::{Background, free_addr};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn the_readme_works() {
    check("README.md");
}

#[test]
fn the_users_page_works() {
    check("docs/users.md");
}

#[test]
fn the_operators_page_works() {
    check("docs/operators.md");
}

#[test]
fn the_plugin_authors_page_works() {
    check("docs/plugin-authors.md");
}

#[test]
fn the_python_readme_works() {
    check("sdk/python/README.md");
}

/// Runs a page.
fn check(page: &str) {
    let text = fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
    let mut reader = Reader::new();
    for part in parts(&text) {
        match part {
            Part::Background(line) => reader.start(&line),
            Part::NotRun { line, reason, first } => println!("{page}:{line}: not run: {reason}: {first}"),
            Part::Commands { line, commands } => {
                for Sample { command, expected } in commands {
                    let (status, printed) = reader.run(&command);
                    let place = format!("{page}:{line}: {command}");
                    // What is shown may be a failure; what is not shown must be a success.
                    assert!(status == 0 || !expected.is_empty(), "{place}\nended with {status}:\n{printed}");
                    if let Some(missing) = missing(&expected, &printed) {
                        panic!("{place}\ndid not print {missing:?} (in that order), but\n{printed}");
                    }
                }
            }
        }
    }
}

/// What a page asks for.
#[derive(Debug, PartialEq)]
enum Part {
    Background(String),
    NotRun { line: usize, reason: String, first: String },
    Commands { line: usize, commands: Vec<Sample> },
}

/// A command, and lines that it prints.
#[derive(Debug, PartialEq)]
struct Sample {
    command: String,
    expected: Vec<String>,
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut not_run = None;
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if let Some(command) = comment(line, "in the background:") {
            parts.push(Part::Background(command.to_owned()));
        } else if let Some(reason) = comment(line, "not run:") {
            assert!(!reason.is_empty(), "line {}: why is it not run?", index + 1);
            not_run = Some(reason.to_owned());
        } else if let Some(fence) = line.trim_start().strip_prefix("```") {
            let block: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
            let line = index + 1;
            let commands = match fence {
                "sh" => vec![Sample { command: block.join("\n"), expected: Vec::new() }],
                "console" => samples(&block),
                _ => continue,
            };
            let first = block.first().copied().unwrap_or_default().to_owned();
            parts.push(match not_run.take() {
                Some(reason) => Part::NotRun { line, reason, first },
                None => Part::Commands { line, commands },
            });
        } else if !line.trim().is_empty() {
            not_run = None;
        }
    }
    parts
}

fn comment<'a>(line: &'a str, what: &str) -> Option<&'a str> {
    let inside = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?;
    Some(inside.trim().strip_prefix(what)?.trim())
}

fn samples(block: &[&str]) -> Vec<Sample> {
    let mut samples: Vec<Sample> = Vec::new();
    for line in block {
        match (line.strip_prefix("$ "), samples.last_mut()) {
            (Some(command), _) => {
                samples.push(Sample { command: command.to_owned(), expected: Vec::new() });
            }
            // A command that goes on.
            (None, Some(sample)) if sample.expected.is_empty() && sample.command.ends_with('\\') => {
                sample.command += &format!("\n{line}");
            }
            (None, Some(sample)) => sample.expected.push((*line).to_owned()),
            (None, None) => panic!("a console block begins with `$ `, not with {line:?}"),
        }
    }
    samples
}

/// The first of the expected lines that is not printed after the ones before it.
fn missing(expected: &[String], printed: &str) -> Option<String> {
    let mut printed = printed.lines().map(loose);
    let wanted = |line: &&String| !matches!(line.trim(), "" | "…" | "...");
    let is = |expected: &str, other: &str| match expected.strip_suffix('…') {
        Some(begin) => other.starts_with(begin.trim_end()),
        None => other == expected,
    };
    expected.iter().filter(wanted).find(|line| !printed.any(|other| is(&loose(line), &other))).cloned()
}

/// Without what differs from run to run.
fn loose(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let mut loose = String::new();
        for character in word.chars() {
            let digit = character.is_ascii_digit() || (character == '.' && loose.ends_with('0'));
            if !digit {
                loose.push(character);
            } else if !loose.ends_with('0') {
                loose.push('0');
            }
        }
        loose
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whoever reads a page and types what it says.
struct Reader {
    dir: tempfile::TempDir,
    endpoint: String,
    background: Vec<Background>,
}

impl Reader {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (home, bin) = (dir.path().join("home"), dir.path().join("bin"));
        fs::create_dir_all(&home).unwrap();
        fs::create_dir_all(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_senren"), bin.join("senren")).unwrap();
        copy(Path::new(ROOT), &dir.path().join("senren"));
        let reader = Self { dir, endpoint: free_addr().to_string(), background: Vec::new() };
        let (cwd, variables) = reader.kept();
        fs::write(cwd, reader.dir.path().join("senren").to_str().unwrap()).unwrap();
        fs::write(variables, "").unwrap();
        reader
    }

    /// Directory and variables of the shell, from one block to the next.
    fn kept(&self) -> (PathBuf, PathBuf) {
        (self.dir.path().join("cwd"), self.dir.path().join("variables"))
    }

    fn shell(&self, script: &str) -> Command {
        let mut path = vec![self.dir.path().join("bin")];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", script])
            .env_clear()
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("HOME", self.dir.path().join("home"))
            .env("SENREN_ENDPOINT", &self.endpoint)
            .env("LISTEN_ADDR", &self.endpoint)
            .env("PLUGIN_DIR", common::plugin_dir())
            .env("SENREN_DEV_DATA", self.dir.path().join("data"))
            .stdin(Stdio::null());
        for kept in ["CARGO_TARGET_DIR", "CARGO_HOME", "RUSTUP_HOME", "USER", "DATABASE_URL", "TMPDIR"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        // Where rustup keeps its toolchains, and cargo its registry, unless told otherwise.
        if let Some(home) = std::env::var_os("HOME") {
            let at_home = |name: &str| Path::new(&home).join(name);
            for (name, place) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
                if std::env::var_os(name).is_none() && at_home(place).is_dir() {
                    command.env(name, at_home(place));
                }
            }
        }
        command
    }

    /// Runs a command to its end: its status, and all that it printed.
    fn run(&self, commands: &str) -> (i32, String) {
        let (cwd, variables) = self.kept();
        let (cwd, variables) = (cwd.to_str().unwrap(), variables.to_str().unwrap());
        let script = format!(
            "exec 2>&1
            cd \"$(cat {cwd})\"; source {variables}
            keep() {{ pwd > {cwd}; export -p > {variables}; }}
            trap keep EXIT
            senren() {{
                case \" $* \" in
                    *' --watch '*) timeout -s INT 3 senren \"$@\" || test $? -eq 124 ;;
                    *) command senren \"$@\" ;;
                esac
            }}
            {commands}\n"
        );
        let output = self.shell(&script).output().unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts a command that goes on, and waits until it is up.
    fn start(&mut self, command: &str) {
        let (cwd, _) = self.kept();
        let mut shell = self.shell(&format!("cd \"$(cat {})\"; exec {command}", cwd.display()));
        let log = self.dir.path().join(format!("background-{}", self.background.len()));
        let mut background = Background::start(&mut shell, &log);
        background.wait_for("From a second terminal", Duration::from_secs(120));
        self.background.push(background);
    }
}

/// What a clone has, without what is built.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name();
        let built = ["target", ".git", "node_modules", "__pycache__", ".venv"];
        if built.iter().any(|built| name == *built) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(name));
        } else {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

#[test]
fn a_page_is_taken_apart() {
    let page = "text\n<!-- in the background: senren dev x -->\n```sh\na\nb\n```\n<!-- not run: no -->\n\n```sh\nc\n```\n\
                ```yaml\nx: y\n```\n```console\n$ d \\\n  e\nout\n$ f\n```\n";
    let sample = |command: &str, expected: &[&str]| Sample {
        command: command.into(),
        expected: expected.iter().map(ToString::to_string).collect(),
    };
    let expected = [
        Part::Background("senren dev x".into()),
        Part::Commands { line: 3, commands: vec![sample("a\nb", &[])] },
        Part::NotRun { line: 9, reason: "no".into(), first: "c".into() },
        Part::Commands { line: 15, commands: vec![sample("d \\\n  e", &["out"]), sample("f", &[])] },
    ];
    assert_eq!(parts(page), expected);
}

#[test]
fn what_is_printed_is_compared_loosely_but_compared() {
    let check = |expected: &[&str], printed: &str| {
        missing(&expected.iter().map(ToString::to_string).collect::<Vec<_>>(), printed)
    };
    assert_eq!(check(&["a  12.5s 127.80.0.1:6379", "…", "c"], "x\na 3s 127.9.9.9:80\nb\nc\n"), None);
    assert_eq!(check(&["held: …"], "held: for a reason\n"), None);
    assert_eq!(check(&["b", "a"], "a\nb\n").as_deref(), Some("a"));
    assert_eq!(check(&["aa"], "a\n").as_deref(), Some("aa"));
}
