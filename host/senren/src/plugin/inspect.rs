//! `senren plugin inspect`: what a plugin is, as a region would see it.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use senren_engine::{Plugin, ResourceType, wit};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Given, engine, size};
use crate::{cli::Output, exit::Failure, output::show, table::Table};

/// Settings of `senren plugin inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A .wasm component, or the directory of a plugin crate, which is built first.
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Serialize)]
struct Inspected {
    name: String,
    version: String,
    file: String,
    bytes: usize,
    digest: String,
    imports: Vec<String>,
    exports: Vec<String>,
    requires: Vec<String>,
    types: Vec<Type>,
    config_schema: Value,
}

#[derive(Serialize)]
struct Type {
    name: String,
    kind: String,
    plural: String,
    short_names: Vec<String>,
    owns: Vec<String>,
    observes: Vec<String>,
    example: Value,
    spec_schema: Value,
}

/// Prints what the component is. Fails, with the reason, where a region would refuse it.
pub fn run(args: &InspectArgs) -> Result<(), Failure> {
    let given = Given::read(&args.file)?;
    let plugin = given.load(&engine()?)?;
    show(args.output, &Inspected::of(&given, &plugin)?, text)
}

impl Inspected {
    fn of(given: &Given, plugin: &Plugin) -> Result<Self, Failure> {
        let (imports, exports) = senren_plugin_build::world(&given.wasm)?;
        let wit::Descriptor { name, version, requires, config_schema, .. } = plugin.descriptor().clone();
        Ok(Self {
            name,
            version,
            file: given.origin(),
            bytes: given.wasm.len(),
            digest: plugin.digest().to_owned(),
            imports,
            exports,
            requires,
            types: plugin.types().iter().map(Type::of).collect(),
            config_schema: json(&config_schema),
        })
    }
}

impl Type {
    fn of(ty: &ResourceType) -> Self {
        let wit::ResourceType { name, kind, plural, short_names, owns, observes, .. } = ty.wit.clone();
        let kinds = |kinds: Vec<wit::ApiKind>| {
            kinds.into_iter().map(|kind| format!("{}/{}", kind.api_version, kind.kind)).collect()
        };
        Self {
            name,
            kind,
            plural,
            short_names,
            owns: kinds(owns),
            observes: kinds(observes),
            example: json(&ty.wit.example),
            spec_schema: json(&ty.wit.spec_schema),
        }
    }
}

/// A document of a plugin that was loaded, which is JSON.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn text(inspected: &Inspected) -> String {
    let list = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    let mut text = format!(
        "{} {}\n  file      {}, {}\n  digest    sha256:{}\n  exports   {}\n  imports   {}\n  requires  {}\n",
        inspected.name,
        inspected.version,
        inspected.file,
        size(inspected.bytes),
        inspected.digest,
        list(&inspected.exports),
        list(&inspected.imports),
        list(&inspected.requires),
    );
    for ty in &inspected.types {
        let names = [std::slice::from_ref(&ty.plural), &ty.short_names].concat();
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "\ntype {}: {} ({})\n  owns      {}\n  observes  {}\n  example   {}\n\n{}",
            ty.name,
            ty.kind,
            names.join(", "),
            list(&ty.owns),
            list(&ty.observes),
            ty.example,
            fields(&ty.spec_schema, true)
        );
    }
    if inspected.config_schema["properties"].as_object().is_some_and(|fields| !fields.is_empty()) {
        let _ = write!(text, "\nsettings of an operator\n\n{}", fields(&inspected.config_schema, false));
    }
    text
}

/// A schema as a table, with a line for each field.
fn fields(schema: &Value, effects: bool) -> String {
    let head: &[&str] = match effects {
        true => &["FIELD", "TYPE", "DEFAULT", "CHANGE", "DESCRIPTION"],
        false => &["FIELD", "TYPE", "DEFAULT", "DESCRIPTION"],
    };
    let mut table = Table::new(head);
    add(&mut table, schema, "", "in-place", effects);
    table.render()
}

fn add(table: &mut Table, schema: &Value, path: &str, effect: &str, effects: bool) {
    let nothing = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&nothing);
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name))
    };
    for (name, field) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let effect = field["x-senren-effect"].as_str().unwrap_or(effect);
        let default = match field.get("default") {
            Some(default) => default.to_string(),
            None if required(name) => "(required)".to_owned(),
            None => String::new(),
        };
        let description = field["description"].as_str().unwrap_or_default();
        let mut row = vec![path.as_str().into(), kind(field).into(), default.into()];
        if effects {
            row.push(effect.into());
        }
        row.push(description.into());
        table.row(row);
        add(table, field, &path, effect, effects);
        add(table, &field["items"], &format!("{path}[]"), effect, effects);
        add(table, &field["additionalProperties"], &format!("{path}.*"), effect, effects);
    }
}

/// `integer 1…5`, `string red|green`, `map of string`
fn kind(field: &Value) -> String {
    let name = field["type"].as_str().unwrap_or("any");
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<String> = values
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        return values.join("|");
    }
    let (least, most) = (&field["minimum"], &field["maximum"]);
    let bound = |bound: &Value| if bound.is_null() { String::new() } else { bound.to_string() };
    match name {
        "object" if field["additionalProperties"].is_object() => {
            format!("map of {}", kind(&field["additionalProperties"]))
        }
        "array" => format!("list of {}", kind(&field["items"])),
        _ if least.is_null() && most.is_null() => name.to_owned(),
        _ => format!("{name} {}…{}", bound(least), bound(most)),
    }
}
