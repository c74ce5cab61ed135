//! `senren plugin new`: a plugin to start from, as a crate of its own.
//!
//! The SDK is not taken from anywhere: it comes with this binary, in the version that this binary speaks, and lies in
//! the project's `vendor`. So a new plugin builds with nothing but Rust and three crates from crates.io.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;

use crate::{
    exit::{Exit, Failure},
    output::print,
};

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Settings of `senren plugin new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Name of the resource type, as users will write it in `type:`.
    #[arg(value_parser = Name::parse)]
    pub name: Name,
    /// Where to make it. Default: a directory of that name.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// The crate senren-plugin from this directory, a checkout of the SDK, instead of a copy in `vendor`.
    #[arg(long, value_name = "DIR")]
    pub sdk: Option<PathBuf>,
}

/// Name of a type.
#[derive(Debug, Clone)]
pub struct Name(String);

/// Names that the code of a plugin has for something else.
const TAKEN: [&str; 16] = [
    "Change",
    "Config",
    "Controller",
    "Description",
    "Effect",
    "Fault",
    "Input",
    "NoConfig",
    "Outcome",
    "Phase",
    "Plugin",
    "Schema",
    "Spec",
    "Status",
    "Value",
    "Violations",
];
/// With `databases` behind it, it is a DNS label still.
const LONGEST: usize = 40;

impl Name {
    fn parse(text: &str) -> Result<Self, String> {
        let name = Self(text.to_owned());
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || text.ends_with('-') || text.len() > LONGEST || !text.chars().all(plain) {
            return Err(format!("write 1 to {LONGEST} of a-z, 0-9 and -, first a letter and last no -"));
        }
        if TAKEN.contains(&name.camel().as_str()) {
            return Err("the code of a plugin has that word for something else; take another".to_owned());
        }
        Ok(name)
    }

    /// `my-cache` → `MyCache`
    fn camel(&self) -> String {
        let capital = |word: &str| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
                .collect::<String>()
        };
        self.0.split('-').map(capital).collect()
    }

    /// Kind of the custom resource.
    fn kind(&self) -> String {
        format!("{}Database", self.camel())
    }

    /// Plural of that.
    fn plural(&self) -> String {
        self.kind().to_lowercase() + "s"
    }

    /// The template's code with this name.
    fn put_into(&self, code: &str) -> String {
        code.replace("templatedatabases", &self.plural())
            .replace("TemplateDatabase", &self.kind())
            .replace("Template", &self.camel())
            .replace("template", &self.0)
    }
}

/// Writes the project, and says what to do next.
pub fn run(args: &NewArgs) -> Result<(), Failure> {
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name.0));
    let occupied = dir.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if occupied || dir.is_file() {
        let message = format!("{} is there already, and is not empty; name another by --dir", dir.display());
        return Err(Failure::new(Exit::Usage, message));
    }
    let sdk = match &args.sdk {
        None => "vendor/senren/plugins/sdk".to_owned(),
        Some(sdk) => {
            let named = fs::read_to_string(sdk.join("Cargo.toml")).unwrap_or_default();
            if !named.contains("name = \"senren-plugin\"") {
                let message = format!("{} is no checkout of the crate senren-plugin", sdk.display());
                return Err(Failure::new(Exit::Usage, message));
            }
            sdk.canonicalize().context("--sdk")?.display().to_string()
        }
    };
    for (path, content) in project(&args.name, &sdk, args.sdk.is_none()) {
        write(&dir.join(path), &content)?;
    }
    let (dir, name) = (dir.display(), &args.name.0);
    print(&format!(
        "{dir}: a plugin for the type {name}, which works as it is\n\n  cargo test --manifest-path {dir}/Cargo.toml\n  \
         senren plugin check {dir}\n\n{dir}/README.md says how to go on."
    ))
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    let parent = path.parent().context("a path without a directory")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// Every file, by its path in the project.
fn project(name: &Name, sdk: &str, vendored: bool) -> Vec<(String, String)> {
    let mut files = vec![
        ("Cargo.toml".to_owned(), manifest(name, sdk)),
        ("README.md".to_owned(), readme(name, vendored)),
        (".gitignore".to_owned(), "/target\n".to_owned()),
        ("rustfmt.toml".to_owned(), "max_width = 110\nuse_small_heuristics = \"Max\"\n".to_owned()),
    ];
    files.extend(TEMPLATE.iter().filter_map(|(path, code)| {
        Some((path.strip_prefix("plugins/template/")?.to_owned(), name.put_into(code)))
    }));
    if vendored {
        let vendor =
            SDK.iter().map(|(path, content)| (format!("vendor/senren/{path}"), (*content).to_owned()));
        files.extend(vendor);
    }
    files
}

fn manifest(name: &Name, sdk: &str) -> String {
    let name = &name.0;
    format!(
        r#"[package]
name = "senren-plugin-{name}"
description = "Resource type {name}"
# The plugin's version, too: regions show it.
version = "0.1.0"
edition = "2024"
publish = false

# `cdylib` becomes the component that a region loads, `rlib` is what native tests call.
[lib]
crate-type = ["cdylib", "rlib"]

[dependencies]
senren-plugin = {{ path = {sdk:?} }}
serde = {{ version = "1", features = ["derive"] }}

# A project of its own, wherever it lies.
[workspace]
"#
    )
}

fn readme(name: &Name, vendored: bool) -> String {
    let (kind, plural) = (name.kind(), name.plural());
    let name = &name.0;
    let sdk = match vendored {
        true => {
            "`vendor/senren` is the SDK, as it came with the `senren` that made this project. To take a newer one, make a \
             new project with a newer `senren` and copy its `vendor` over."
        }
        false => "The SDK is the checkout that `Cargo.toml` names.",
    };
    format!(
        r#"# Resource type `{name}`

A plugin for senren. In a region, a database of this type is a `{kind}` (`kubectl get {plural}`).

- `src/lib.rs`: what users may want (`Spec`, `schema`), what of that can't be (`admit`), and what runs it (`reconcile`)
- `src/tests.rs`: ordinary tests, without a cluster

```sh
cargo test              # what you wrote tests for
senren plugin build     # the component: prints where it is
senren plugin check .   # the contract: crashes, lost objects, misuse, rollbacks, …
senren plugin bench .   # how long calls take
```

To see it live, put the component where `senren dev` finds it, and declare one:

```yaml
# state.yaml
databases:
  - name: orders
    type: {name}
    regions: [aws:us-east-1]
    spec:
      host: db.example.com
```

```sh
senren plugin build --out plugins
senren dev state.yaml --plugin-dir plugins
```

{sdk}
"#
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_is_a_type_and_becomes_a_kind() {
        let name = Name::parse("my-cache2").unwrap();
        assert_eq!((name.kind().as_str(), name.plural().as_str()), ("MyCache2Database", "mycache2databases"));
        for bad in ["", "Redis", "2x", "x-", "a b", "plugin", "spec", &"x".repeat(41)] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_of_the_template_or_of_its_workspace_is_left() {
        let files = project(&Name::parse("my-cache").unwrap(), "vendor/senren/plugins/sdk", true);
        for (path, content) in &files {
            assert!(!content.contains("workspace = true"), "{path}");
            let ours = !path.starts_with("vendor/");
            assert!(!ours || !content.to_lowercase().contains("template"), "{path}");
        }
        let has = |path: &str| files.iter().any(|(file, _)| file == path);
        for path in [
            "src/lib.rs",
            "src/tests.rs",
            "vendor/senren/wit/plugin.wit",
            "vendor/senren/plugins/sdk/src/lib.rs",
        ] {
            assert!(has(path), "{path}");
        }
    }
}
