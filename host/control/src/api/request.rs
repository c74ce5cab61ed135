//! Parses requests into types, collecting every violation with its field path.
//!
//! Nothing behind this edge has to doubt a name, a region id or the form of a spec again.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message as _;
use senren_api::{RegionId, ResourceName, SiteName, TypeName, v1};
use serde_json::Value;

use crate::{
    hash::sha256,
    store::{MAX_COUNTER, requests::RequestKey, resources::Filter},
};

/// Limits of one apply. They bound memory and the length of a transaction, not what a team may want: they are far
/// above that.
const MAX_DATABASES: usize = 10_000;
const MAX_RESOURCES: usize = 20_000;
const MAX_SPEC_BYTES: usize = 64 * 1024;
/// A database is as many resources as it has regions, and each of them has its spec.
const MAX_TOTAL_SPEC_BYTES: usize = 64 * 1024 * 1024;
/// Characters of a request id, and of an author.
const MAX_TEXT: usize = 128;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub field: String,
    pub description: String,
}

/// Everything that is wrong with a request.
#[derive(Debug, Default)]
pub(crate) struct Violations(Vec<Violation>);

impl Violations {
    pub(crate) fn add(&mut self, field: impl Into<String>, description: impl ToString) {
        self.0.push(Violation { field: field.into(), description: description.to_string() });
    }

    /// The parsed value, or `None` and a violation.
    fn parse<T, E: ToString>(&mut self, field: impl Into<String>, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.add(field, error.to_string())).ok()
    }

    pub(crate) fn append(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_inner(self) -> Vec<Violation> {
        self.0
    }
}

/// A database whose every part has the right form.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub name: ResourceName,
    pub declared: Declared,
    /// The spec as canonical text.
    pub spec_json: Arc<str>,
    pub deletion_protection: bool,
}

/// What regions can judge of a database, also where something else of it is wrong.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    /// Its place in the request, for violations that are found later.
    pub index: usize,
    /// As it was written, for messages.
    pub name: String,
    pub type_name: TypeName,
    pub spec: Value,
    /// Those that are region ids.
    pub regions: Vec<RegionId>,
}

/// A request that can't be applied, and what of it can still be checked, so that all violations are told at once.
#[derive(Debug, Default)]
pub(crate) struct Invalid {
    pub violations: Violations,
    pub declared: Vec<Declared>,
}

/// A parsed ApplyStateRequest.
#[derive(Debug)]
pub(crate) struct Apply {
    pub site: SiteName,
    pub request: Option<RequestKey>,
    pub expected_revision: Option<u64>,
    pub databases: Vec<Database>,
    pub author: String,
    pub confirm_data_loss: bool,
}

impl Apply {
    pub(crate) fn parse(request: v1::ApplyStateRequest) -> Result<Self, Invalid> {
        let mut violations = Violations::default();
        let site = violations.parse("site", SiteName::from_request(&request.site));
        check_text("request_id", &request.request_id, &mut violations);
        check_text("author", &request.author, &mut violations);
        check_revision("expected_revision", request.expected_revision, &mut violations);
        let request_key = request_key(&request);
        let candidates = candidates(request.databases, &mut violations);
        match site {
            Some(site) if violations.is_empty() => Ok(Self {
                site,
                request: request_key,
                expected_revision: request.expected_revision,
                databases: candidates.into_iter().filter_map(Candidate::into_database).collect(),
                author: request.author,
                confirm_data_loss: request.confirm_data_loss,
            }),
            _ => {
                let declared = candidates.into_iter().map(|candidate| candidate.declared).collect();
                Err(Invalid { violations, declared })
            }
        }
    }
}

fn check_text(field: &str, text: &str, violations: &mut Violations) {
    if text.chars().count() > MAX_TEXT {
        violations.add(field, format!("at most {MAX_TEXT} characters are allowed"));
    }
    if text.chars().any(char::is_control) {
        violations.add(field, "control characters are not allowed");
    }
}

fn check_revision(field: &str, revision: Option<u64>, violations: &mut Violations) {
    if revision.is_some_and(|revision| revision > MAX_COUNTER) {
        violations.add(field, "no site has ever had a revision that high");
    }
}

/// The hash is over everything else in the request, as it came, but for who sends it: a job that is run again elsewhere
/// asks for the same.
fn request_key(request: &v1::ApplyStateRequest) -> Option<RequestKey> {
    if request.request_id.is_empty() {
        return None;
    }
    let content =
        v1::ApplyStateRequest { request_id: String::new(), author: String::new(), ..request.clone() };
    let content_hash = sha256(&content.encode_to_vec());
    Some(RequestKey { id: request.request_id.clone(), content_hash })
}

/// A database whose name may be wrong.
struct Candidate {
    name: Option<ResourceName>,
    declared: Declared,
    deletion_protection: bool,
}

impl Candidate {
    fn into_database(self) -> Option<Database> {
        let Self { name, declared, deletion_protection } = self;
        let spec_json = declared.spec.to_string().into();
        Some(Database { name: name?, spec_json, declared, deletion_protection })
    }
}

/// What can be judged of the databases of a request.
fn candidates(databases: Vec<v1::Database>, violations: &mut Violations) -> Vec<Candidate> {
    if databases.len() > MAX_DATABASES {
        let count = databases.len();
        violations.add("databases", format!("{count} databases; a site may have at most {MAX_DATABASES}"));
        return Vec::new();
    }
    let mut first_use: BTreeMap<String, usize> = BTreeMap::new();
    let (mut resources, mut bytes) = (0, 0);
    let mut candidates = Vec::with_capacity(databases.len());
    for (index, database) in databases.into_iter().enumerate() {
        if let Some(first) = first_use.get(&database.name) {
            let name = &database.name;
            violations.add(
                format!("databases[{index}].name"),
                format!(
                    "databases[{first}] is already named {name:?}; name a database once and list its regions"
                ),
            );
        } else {
            first_use.insert(database.name.clone(), index);
        }
        let name = violations.parse(format!("databases[{index}].name"), database.name.parse());
        resources += database.regions.len();
        bytes += database.regions.len() * database.spec_json.len();
        let deletion_protection = database.deletion_protection;
        let declared = parse_declared(index, database, violations);
        candidates.extend(declared.map(|declared| Candidate { name, declared, deletion_protection }));
    }
    if resources > MAX_RESOURCES {
        violations.add(
            "databases",
            format!(
                "{resources} databases, counted once per region; a site may have at most {MAX_RESOURCES}"
            ),
        );
    }
    if bytes > MAX_TOTAL_SPEC_BYTES {
        violations.add(
            "databases",
            format!(
                "specs of {bytes} bytes, counted once per region; a site may have at most {MAX_TOTAL_SPEC_BYTES}"
            ),
        );
    }
    candidates
}

fn parse_declared(index: usize, database: v1::Database, violations: &mut Violations) -> Option<Declared> {
    let path = format!("databases[{index}]");
    let type_name = violations.parse(format!("{path}.type"), database.r#type.parse::<TypeName>());
    let spec = violations.parse(format!("{path}.spec"), parse_spec(&database.spec_json));
    let regions = parse_regions(&path, &database.regions, violations);
    Some(Declared { index, name: database.name, type_name: type_name?, spec: spec?, regions })
}

fn parse_spec(json: &str) -> Result<Value, String> {
    if json.len() > MAX_SPEC_BYTES {
        return Err(format!("it has {} bytes, at most {MAX_SPEC_BYTES} are allowed", json.len()));
    }
    if json.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let mut spec: Value =
        serde_json::from_str(json).map_err(|error| format!("it is no valid JSON: {error}"))?;
    if !spec.is_object() {
        return Err(format!("it must be a JSON object, like {{\"memory_mb\": 64}}, not {}", kind_of(&spec)));
    }
    // So that equal specs are equal texts.
    spec.sort_all_objects();
    Ok(spec)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn parse_regions(path: &str, regions: &[String], violations: &mut Violations) -> Vec<RegionId> {
    if regions.is_empty() {
        violations.add(format!("{path}.regions"), "name at least one region, e.g. aws:us-east-1");
    }
    let mut first_use: BTreeMap<&str, usize> = BTreeMap::new();
    let mut parsed = Vec::with_capacity(regions.len());
    for (index, region) in regions.iter().enumerate() {
        let field = format!("{path}.regions[{index}]");
        if let Some(first) = first_use.get(region.as_str()) {
            violations.add(field, format!("{region:?} is already regions[{first}]; name it once"));
            continue;
        }
        first_use.insert(region, index);
        parsed.extend(violations.parse(field, region.parse::<RegionId>()));
    }
    parsed
}

/// A parsed RollbackStateRequest, but for the state that it goes back to.
#[derive(Debug)]
pub(crate) struct Rollback {
    pub site: SiteName,
    pub to: u64,
    pub request: Option<RequestKey>,
}

impl Rollback {
    pub(crate) fn parse(request: &v1::RollbackStateRequest) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let site = violations.parse("site", SiteName::from_request(&request.site));
        check_text("request_id", &request.request_id, &mut violations);
        check_text("author", &request.author, &mut violations);
        check_revision("revision", Some(request.revision), &mut violations);
        check_revision("expected_revision", request.expected_revision, &mut violations);
        let content =
            v1::RollbackStateRequest { request_id: String::new(), author: String::new(), ..request.clone() };
        // Never the same as that of an apply.
        let content_hash = format!("rollback {}", sha256(&content.encode_to_vec()));
        let key = RequestKey { id: request.request_id.clone(), content_hash };
        match site {
            Some(site) if violations.is_empty() => {
                let request_key = (!key.id.is_empty()).then_some(key);
                Ok(Self { site, to: request.revision, request: request_key })
            }
            _ => Err(violations),
        }
    }
}

/// Parses a site, and a revision of it.
pub(crate) fn revision_of(site: &str, field: &str, revision: Option<u64>) -> Result<SiteName, Violations> {
    let mut violations = Violations::default();
    let site = violations.parse("site", SiteName::from_request(site));
    check_revision(field, revision, &mut violations);
    site.filter(|_| violations.is_empty()).ok_or(violations)
}

/// Parses what all requests about some resources of a site have in common.
pub(crate) fn selection(
    site: &str,
    regions: Vec<String>,
    names: Vec<String>,
    author: &str,
) -> Result<(SiteName, Filter), Violations> {
    let mut violations = Violations::default();
    let site = violations.parse("site", SiteName::from_request(site));
    check_text("author", author, &mut violations);
    for (index, region) in regions.iter().enumerate() {
        violations.parse(format!("regions[{index}]"), region.parse::<RegionId>());
    }
    for (index, name) in names.iter().enumerate() {
        violations.parse(format!("names[{index}]"), name.parse::<ResourceName>());
    }
    match site {
        Some(site) if violations.is_empty() => Ok((site, Filter { regions, names })),
        _ => Err(violations),
    }
}

/// Parses a ForceDeleteRequest.
pub(crate) fn forced(
    site: &str,
    region: &str,
    names: Vec<String>,
    author: &str,
) -> Result<(SiteName, RegionId, Vec<String>), Violations> {
    let mut violations = Violations::default();
    let region = violations.parse("region", region.parse::<RegionId>());
    match (selection(site, Vec::new(), names, author), region) {
        (Ok((site, filter)), Some(region)) => Ok((site, region, filter.names)),
        (selection, _) => {
            violations.append(selection.err().unwrap_or_default());
            Err(violations)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn database(name: &str) -> v1::Database {
        v1::Database {
            name: name.into(),
            r#type: "redis".into(),
            spec_json: "{\"memory_mb\": 64}".into(),
            regions: vec!["aws:us-east-1".into()],
            deletion_protection: false,
        }
    }

    fn violations(databases: Vec<v1::Database>) -> Vec<(String, String)> {
        let request = v1::ApplyStateRequest { databases, ..Default::default() };
        let violations = Apply::parse(request).err().unwrap_or_default().violations;
        violations
            .into_inner()
            .into_iter()
            .map(|violation| (violation.field, violation.description))
            .collect()
    }

    fn check(change: impl FnOnce(&mut v1::Database), field: &str, words: &str) {
        let mut wrong = database("wrong");
        change(&mut wrong);
        let found = violations(vec![database("fine"), wrong]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, field);
        assert!(found[0].1.contains(words), "{:?} should contain {words:?}", found[0].1);
    }

    #[test]
    fn each_kind_of_bad_input_is_named_with_its_path() {
        check(|d| d.name = "Fine".into(), "databases[1].name", "lower-case");
        check(|d| d.name = "fine".into(), "databases[1].name", "databases[0] is already named");
        check(|d| d.name = "a\0b".into(), "databases[1].name", "is not allowed");
        check(|d| d.r#type = String::new(), "databases[1].type", "it is empty");
        check(|d| d.spec_json = "{\"memory_mb\":".into(), "databases[1].spec", "no valid JSON: EOF");
        check(|d| d.spec_json = "[1]".into(), "databases[1].spec", "must be a JSON object");
        check(|d| d.spec_json = "x".repeat(70_000), "databases[1].spec", "at most 65536");
        check(|d| d.spec_json = "[".repeat(60_000), "databases[1].spec", "recursion limit");
        check(|d| d.regions.clear(), "databases[1].regions", "at least one region");
        check(|d| d.regions.push("us-east-1".into()), "databases[1].regions[1]", "is not a region id");
        check(|d| d.regions.push("aws:us-east-1".into()), "databases[1].regions[1]", "already regions[0]");
    }

    #[test]
    fn all_violations_come_at_once() {
        let bad = v1::Database { spec_json: "7".into(), ..Default::default() };
        let fields: Vec<String> = violations(vec![bad]).into_iter().map(|(field, _)| field).collect();
        assert_eq!(
            fields,
            ["databases[0].name", "databases[0].type", "databases[0].spec", "databases[0].regions"]
        );
    }

    #[test]
    fn equal_specs_are_equal_texts_whatever_the_order_of_keys() {
        let text = |json: &str| {
            let databases = vec![v1::Database { spec_json: json.into(), ..database("a") }];
            let request = v1::ApplyStateRequest { databases, ..Default::default() };
            Apply::parse(request).unwrap().databases.remove(0).spec_json.to_string()
        };
        assert_eq!(
            text("{\"b\": {\"y\": 1, \"x\": 2}, \"a\": 1}"),
            text("{\"a\":1,\"b\":{\"x\":2,\"y\":1}}")
        );
        assert_eq!(text(""), "{}");
    }

    #[test]
    fn the_hash_of_a_request_is_that_of_everything_but_its_id_and_its_author() {
        let key = |id: &str, author: &str, name: &str| {
            let request = v1::ApplyStateRequest {
                request_id: id.into(),
                author: author.into(),
                databases: vec![database(name)],
                ..Default::default()
            };
            Apply::parse(request).unwrap().request.unwrap().content_hash
        };
        assert_eq!(key("1", "ci@one", "a"), key("2", "ci@two", "a"));
        assert_ne!(key("1", "ci", "a"), key("1", "ci", "b"));
        let rollback = |author: &str, revision| {
            let request = v1::RollbackStateRequest {
                request_id: "1".into(),
                author: author.into(),
                revision,
                ..Default::default()
            };
            Rollback::parse(&request).map(|rollback| rollback.request.unwrap().content_hash)
        };
        assert_eq!(rollback("ci@one", 3).unwrap(), rollback("ci@two", 3).unwrap());
        assert_ne!(rollback("ci", 3).unwrap(), rollback("ci", 4).unwrap());
    }

    #[test]
    fn too_many_databases_are_refused() {
        let many = (0..=MAX_DATABASES).map(|i| database(&format!("db-{i}"))).collect();
        assert!(violations(many)[0].1.contains("at most 10000"));
    }

    #[test]
    fn a_small_request_does_not_become_a_large_one_by_its_regions() {
        let regions: Vec<String> = (0..1100).map(|i| format!("aws:region-{i}")).collect();
        let spec_json = format!("{{\"a\":\"{}\"}}", "x".repeat(65_000));
        let large = v1::Database { regions, spec_json, ..database("a") };
        assert!(violations(vec![large])[0].1.contains("counted once per region"));
    }
}
