//! Puts what `senren plugin new` writes into the binary: the template, and the SDK with the contract, which a new project
//! carries in its `vendor` so that it builds wherever the binary is. The SDK's manifest is written out: outside of this
//! repository there is no workspace to inherit from.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for input in ["Cargo.toml", "wit", "plugins/sdk", "plugins/template"] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    let manifest = out.join("sdk-Cargo.toml");
    fs::write(&manifest, standalone(&root)?)?;

    let mut sdk = vec![("plugins/sdk/Cargo.toml".to_owned(), manifest)];
    sdk.extend(files(&root, "plugins/sdk/src")?);
    sdk.extend(files(&root, "wit")?);
    let template = files(&root, "plugins/template/src")?;
    let code = format!("{}{}", constant("SDK", &sdk)?, constant("TEMPLATE", &template)?);
    fs::write(out.join("embedded.rs"), code)?;
    Ok(())
}

/// Every file below `dir`, with its path from `root`.
fn files(root: &Path, dir: &str) -> Result<Vec<(String, PathBuf)>> {
    let mut found = vec![];
    for entry in fs::read_dir(root.join(dir))? {
        let entry = entry?;
        let name = format!("{dir}/{}", entry.file_name().to_string_lossy());
        match entry.file_type()?.is_dir() {
            true => found.extend(files(root, &name)?),
            false => found.push((name, entry.path())),
        }
    }
    found.sort();
    Ok(found)
}

fn constant(name: &str, files: &[(String, PathBuf)]) -> Result<String> {
    let mut code = format!("const {name}: &[(&str, &str)] = &[\n");
    for (path, file) in files {
        writeln!(code, "    ({path:?}, include_str!({:?})),", file.display().to_string())?;
    }
    code.push_str("];\n");
    Ok(code)
}

/// The SDK's manifest without what it inherits from the workspace.
fn standalone(root: &Path) -> Result<String> {
    let read = |path: &str| -> Result<Table> { Ok(fs::read_to_string(root.join(path))?.parse()?) };
    let workspace = read("Cargo.toml")?;
    let workspace = workspace["workspace"].as_table().ok_or("no workspace")?;
    let mut sdk = read("plugins/sdk/Cargo.toml")?;
    sdk.remove("lints");
    sdk.remove("dev-dependencies");
    for (part, from) in [("package", &workspace["package"]), ("dependencies", &workspace["dependencies"])] {
        let table =
            sdk.get_mut(part).and_then(Value::as_table_mut).ok_or("the SDK's manifest is incomplete")?;
        for (key, value) in table.iter_mut() {
            if value.get("workspace") == Some(&Value::Boolean(true)) {
                *value = merged(from.get(key).ok_or_else(|| format!("the workspace has no {key}"))?, value);
            }
        }
    }
    Ok(format!("# As senren wrote it. Whoever changes what is in here has a fork of the SDK.\n{}", sdk))
}

/// What the workspace says of a dependency, with what the crate adds.
fn merged(workspace: &Value, own: &Value) -> Value {
    let mut merged = match workspace {
        Value::Table(table) => table.clone(),
        version if own.as_table().is_some_and(|own| own.len() == 1) => return version.clone(),
        version => Table::from_iter([("version".to_owned(), version.clone())]),
    };
    for (key, value) in own.as_table().into_iter().flatten() {
        match (key.as_str(), merged.get_mut(key), value) {
            ("workspace", ..) => {}
            ("features", Some(Value::Array(features)), Value::Array(more)) => features.extend(more.clone()),
            _ => drop(merged.insert(key.clone(), value.clone())),
        }
    }
    Value::Table(merged)
}
