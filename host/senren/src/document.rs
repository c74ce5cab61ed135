//! The file that a user writes: what a site should have, as YAML or JSON.
//!
//! Reading it is pure. Everything that can be known without a control plane is checked here, all at once, each
//! problem with its line and column; and a path in the control plane's answer (`databases[1].spec/memory_mb`)
//! finds its way back to the line it is about. Nothing is guessed: an unknown field is an error, and a file
//! without `databases` is one too, because applying an empty set deletes.

mod declaration;
mod path;
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

use senren_api::{
    RegionId, ResourceName, SiteName, TypeName,
    v1::{ApplyStateRequest, Database},
};
use senren_schema::closest;

use self::tree::{Key, Node, Value};
pub use self::{declaration::Declaration, tree::Position};
use crate::exit::{Exit, Failure};

/// One thing that is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Absent where it is about the file as a whole.
    pub at: Option<Position>,
    /// `databases[1].name`; empty for the whole.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// A file that could be read, and the request it makes.
#[derive(Debug)]
pub struct Document {
    /// As the user named it; `-` is standard input.
    pub file: String,
    /// Without request id and expected revision.
    pub request: ApplyStateRequest,
    root: Node,
}

impl Document {
    /// Reads `path`, or standard input where it is `-`.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let file = path.display().to_string();
        let bytes = if file == "-" {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes).map(|_| bytes)
        } else {
            std::fs::read(path)
        };
        let bytes =
            bytes.map_err(|error| Failure::new(Exit::Usage, format!("cannot read {file}: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Failure::new(Exit::Usage, format!("{file} is not a text: it has bytes that are not UTF-8"))
        })?;
        Self::parse(&file, &text).map_err(|problems| Failure::new(Exit::Usage, render(&file, &problems)))
    }

    /// Every problem of `text`, or the request it makes.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let root = tree::parse(text).map_err(|problem| vec![problem])?;
        let mut reader = Reader::default();
        let request = reader.site(&root);
        if reader.problems.is_empty() {
            Ok(Self { file: file.to_owned(), request, root })
        } else {
            Err(reader.problems)
        }
    }

    /// Every region that the file names, each once, in order.
    pub fn regions(&self) -> BTreeSet<RegionId> {
        self.request.databases.iter().flat_map(|d| &d.regions).filter_map(|id| id.parse().ok()).collect()
    }

    /// Makes it about the site that is meant: its own, or `told` where it names none. Where both do they must agree:
    /// what is declared for one site would delete what another has.
    pub fn settle_site(&mut self, told: Option<&str>) -> Result<(), Failure> {
        let Some(told) = told else { return Ok(()) };
        let own = &mut self.request.site;
        if own.is_empty() {
            told.clone_into(own);
        } else if own != told {
            let message = format!(
                "{} is for site {own}, but --site (or SENREN_SITE) says {told}: drop one of them",
                shown(&self.file)
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        Ok(())
    }

    /// The problem that the control plane found at `path`, at its place in the file.
    pub fn locate(&self, path: &str, message: &str) -> Problem {
        Problem { at: path::locate(&self.root, path), path: path.to_owned(), message: message.to_owned() }
    }
}

/// One line per problem: `quickstart.yaml:4:11: databases[0].type: …`.
pub fn render(file: &str, problems: &[Problem]) -> String {
    let file = shown(file);
    let mut lines = vec![match problems.len() {
        1 => format!("{file} has a problem:"),
        n => format!("{file} has {n} problems:"),
    }];
    // As a reader meets them; what has no place comes last.
    let mut problems: Vec<&Problem> = problems.iter().collect();
    problems.sort_by_key(|problem| (problem.at.is_none(), problem.at));
    for problem in problems {
        let place = problem.at.map(|at| format!(":{at}")).unwrap_or_default();
        let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
        lines.push(format!("  {file}{place}: {path}{}", problem.message));
    }
    lines.join("\n")
}

fn shown(file: &str) -> &str {
    if file == "-" { "(standard input)" } else { file }
}

/// Collects problems while it turns nodes into a request. Where something is missing or wrong it notes that and
/// goes on with a default; the request of a reader with problems is never used.
#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn problem(&mut self, at: Position, path: &str, message: impl fmt::Display) {
        self.problems.push(Problem { at: Some(at), path: path.to_owned(), message: message.to_string() });
    }

    fn site(&mut self, root: &Node) -> ApplyStateRequest {
        let mut request = ApplyStateRequest::default();
        let Value::Map(entries) = &root.value else {
            let found = match root.value {
                Value::Null => "the file is empty".to_owned(),
                _ => format!("found {}", root.value.kind()),
            };
            self.problem(root.at, "", format!("{found}; write a mapping with `databases:`, e.g.\n{EXAMPLE}"));
            return request;
        };
        self.check_fields(entries, "", &["site", "databases"], |_| None);
        if let Some((_, node)) = field(entries, "site") {
            request.site = self.id::<SiteName>(node, "site").unwrap_or_default();
        }
        match field(entries, "databases") {
            None => self.problem(
                root.at,
                "",
                "`databases` is missing; write `databases: []` if the site should have none",
            ),
            Some((_, node)) => request.databases = self.databases(node),
        }
        request
    }

    fn databases(&mut self, node: &Node) -> Vec<Database> {
        let Value::List(nodes) = &node.value else {
            self.problem(node.at, "databases", format!("must be a list, found {}", node.value.kind()));
            return Vec::new();
        };
        let mut seen = BTreeMap::new();
        let mut databases = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let path = format!("databases[{index}]");
            let database = self.database(node, &path);
            if !database.name.is_empty()
                && let Some(first) = seen.insert(database.name.clone(), node.at)
            {
                let message = format!(
                    "there is already a database {:?} (line {}); a name is unique in its site, list all its regions \
                     in one entry",
                    database.name, first.line
                );
                self.problem(path::locate(node, "name").unwrap_or(node.at), &format!("{path}.name"), message);
            }
            databases.push(database);
        }
        databases
    }

    fn database(&mut self, node: &Node, path: &str) -> Database {
        const FIELDS: [&str; 5] = ["name", "type", "regions", "deletion_protection", "spec"];
        let mut database = Database { spec_json: "{}".into(), ..Default::default() };
        let Value::Map(entries) = &node.value else {
            self.problem(node.at, path, format!("must be a mapping, found {}", node.value.kind()));
            return database;
        };
        self.check_fields(entries, path, &FIELDS, |name| {
            Some(format!("settings of the type go under `spec:`, as `spec: {{{name}: …}}`"))
        });
        for required in ["name", "type", "regions"] {
            if field(entries, required).is_none() {
                self.problem(node.at, path, format!("`{required}` is missing"));
            }
        }
        for (key, value) in entries {
            let path = format!("{path}.{}", key.text);
            match key.text.as_str() {
                "name" => database.name = self.id::<ResourceName>(value, &path).unwrap_or_default(),
                "type" => database.r#type = self.id::<TypeName>(value, &path).unwrap_or_default(),
                "regions" => database.regions = self.regions(value, &path),
                "deletion_protection" => match value.value {
                    Value::Bool(protect) => database.deletion_protection = protect,
                    _ => self.problem(
                        value.at,
                        &path,
                        format!("must be true or false, found {}", value.value.kind()),
                    ),
                },
                "spec" => database.spec_json = self.spec(value, &path),
                _ => {}
            }
        }
        database
    }

    fn regions(&mut self, node: &Node, path: &str) -> Vec<String> {
        let Value::List(nodes) = &node.value else {
            let message = format!("must be a list like [aws:us-east-1], found {}", node.value.kind());
            self.problem(node.at, path, message);
            return Vec::new();
        };
        if nodes.is_empty() {
            self.problem(node.at, path, "names no region; a database lives in at least one");
        }
        let mut regions = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(region) = self.id::<RegionId>(node, &path) else { continue };
            if regions.contains(&region) {
                self.problem(node.at, &path, format!("region {region} is listed twice"));
            } else {
                regions.push(region);
            }
        }
        regions
    }

    /// The spec as JSON text. An absent value (`spec:`) is an empty one.
    fn spec(&mut self, node: &Node, path: &str) -> String {
        match &node.value {
            Value::Null => "{}".into(),
            Value::Map(_) => node.to_json().to_string(),
            other => {
                self.problem(node.at, path, format!("must be a mapping, found {}", other.kind()));
                "{}".into()
            }
        }
    }

    /// A text that parses as `T`, as its text.
    fn id<T>(&mut self, node: &Node, path: &str) -> Option<String>
    where
        T: std::str::FromStr,
        T::Err: fmt::Display,
    {
        let Value::Text(text) = &node.value else {
            let quote = if node.value.is_scalar() { "; put it in quotes" } else { "" };
            self.problem(node.at, path, format!("must be a text, found {}{quote}", node.value.kind()));
            return None;
        };
        match text.parse::<T>() {
            Ok(_) => Some(text.clone()),
            Err(error) => {
                self.problem(node.at, path, error);
                None
            }
        }
    }

    /// Notes every field that is not in `known`; `otherwise` gives advice where no known name is near.
    fn check_fields(
        &mut self,
        entries: &[(Key, Node)],
        path: &str,
        known: &[&str],
        otherwise: impl Fn(&str) -> Option<String>,
    ) {
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            let advice = match closest(&key.text, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => otherwise(&key.text).unwrap_or_else(|| format!("known are {}", known.join(", "))),
            };
            self.problem(key.at, path, format!("unknown field `{}`; {advice}", key.text));
        }
    }
}

fn field<'a>(entries: &'a [(Key, Node)], name: &str) -> Option<&'a (Key, Node)> {
    entries.iter().find(|(key, _)| key.text == name)
}

const EXAMPLE: &str = "    databases:\n      - name: global-features\n        type: redis\n        \
                       regions: [aws:us-east-1]\n        spec: {memory_mb: 64}";

#[cfg(test)]
mod tests;
