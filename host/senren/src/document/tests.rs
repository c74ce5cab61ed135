#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const GOOD: &str = "site: shop\ndatabases:\n  - name: cache\n    type: redis\n    \
                    regions: [aws:us-east-1, gcp:us-central1]\n    spec:\n      memory_mb: 64\n";

/// `text` has exactly the problems that `expected` names, each as `line:column: part of its message`.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let problems = match Document::parse("f.yaml", text) {
        Ok(document) => panic!("{text} was accepted as {:?}", document.request),
        Err(problems) => problems,
    };
    let rendered = render("f.yaml", &problems);
    assert_eq!(problems.len(), expected.len(), "{rendered}");
    for expected in expected {
        let (place, message) = expected.split_once(": ").unwrap();
        let found = rendered.lines().any(|line| {
            line.trim_start().starts_with(&format!("f.yaml:{place}: ")) && line.contains(message)
        });
        assert!(found, "no {expected:?} in\n{rendered}");
    }
}

#[test]
fn a_document_becomes_a_request() {
    let document = Document::parse("f.yaml", GOOD).unwrap();
    let database = &document.request.databases[0];
    assert_eq!(document.request.site, "shop");
    assert_eq!((database.name.as_str(), database.r#type.as_str()), ("cache", "redis"));
    assert_eq!(database.regions, ["aws:us-east-1", "gcp:us-central1"]);
    assert_eq!(database.spec_json, r#"{"memory_mb":64}"#);
    assert!(!database.deletion_protection);
}

#[test]
fn json_is_read_as_well() {
    let json = "{\"databases\": [\n\t{\"name\": \"c\", \"type\": \"redis\", \"regions\": [\"aws:r\"], \
                \"deletion_protection\": true, \"spec\": {\"big\": 9007199254740993}}]}";
    let document = Document::parse("f.json", json).unwrap();
    assert!(document.request.databases[0].deletion_protection);
    assert_eq!(document.request.databases[0].spec_json, r#"{"big":9007199254740993}"#);
}

#[test]
fn an_empty_list_is_a_statement_and_an_empty_file_is_not() {
    assert!(Document::parse("f.yaml", "databases: []").unwrap().request.databases.is_empty());
    check("", &["1:1: the file is empty"]);
    check("# nothing\n", &["2:1: the file is empty"]);
    check("site: a\n", &["1:1: `databases` is missing"]);
    check("databases:\n", &["1:10: must be a list, found nothing"]);
}

#[test]
fn malformed_yaml_names_the_place() {
    check("databases: [\n  {name: a\n", &["2:3: no valid YAML: unclosed bracket '{'"]);
    check("databases: []\n sites: x\n", &["2:2: no valid YAML: while parsing a block mapping"]);
    check("site: a\n b: x\n", &["2:3: mapping values are not allowed"]);
    check("databases: []\ndatabases: []\n", &["2:1: the key \"databases\" is there twice"]);
    check("databases: []\n---\nsite: a\n", &["3:1: several documents"]);
    check("- a\n", &["1:1: found a list"]);
}

#[test]
fn all_problems_are_named_at_once() {
    let text = "site: Shop\ndatabases:\n  - name: 12\n    type: Redis\n    regions: [us-east-1, aws:r, aws:r]\n    \
                deletion_protection: yes\n    spec: 3\n  - {}\n  - x\n";
    check(
        text,
        &[
            "1:7: site: \"Shop\" is not a site name",
            "3:11: databases[0].name: must be a text, found the number 12; put it in quotes",
            "4:11: databases[0].type: \"Redis\" is not a resource type",
            "5:15: databases[0].regions[0]: \"us-east-1\" is not a region id",
            "5:33: databases[0].regions[2]: region aws:r is listed twice",
            "6:26: must be true or false, found the text \"yes\"",
            "7:11: databases[0].spec: must be a mapping, found the number 3",
            "8:5: databases[1]: `name` is missing",
            "8:5: databases[1]: `type` is missing",
            "8:5: databases[1]: `regions` is missing",
            "9:5: databases[2]: must be a mapping, found the text \"x\"",
        ],
    );
}

#[test]
fn a_name_is_unique_in_its_site() {
    let one = "  - {name: a, type: redis, regions: [aws:r]}\n";
    check(
        &format!("databases:\n{one}{one}"),
        &["3:12: databases[1].name: there is already a database \"a\" (line 2)"],
    );
}

#[test]
fn an_unknown_field_comes_with_advice() {
    let text =
        "databases:\n  - {name: a, tpye: redis, type: redis, regions: [aws:r], memory_mb: 4}\ndatabase: 1\n";
    check(
        text,
        &[
            "2:15: databases[0]: unknown field `tpye`; did you mean `type`?",
            "2:59: unknown field `memory_mb`; settings of the type go under `spec:`",
            "3:1: unknown field `database`; did you mean `databases`?",
        ],
    );
}

#[test]
fn a_file_without_a_site_is_for_the_one_that_is_told() {
    let check = |text: &str, told: Option<&str>, expected: Result<&str, &str>| {
        let mut document = Document::parse("f.yaml", text).unwrap();
        match (document.settle_site(told), expected) {
            (Ok(()), Ok(site)) => assert_eq!(document.request.site, site),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (result, _) => panic!("{text} {told:?}: {result:?}"),
        }
    };
    check("databases: []", None, Ok(""));
    check("databases: []", Some("shop"), Ok("shop"));
    check("{site: a, databases: []}", None, Ok("a"));
    check("{site: a, databases: []}", Some("a"), Ok("a"));
    check(
        "{site: a, databases: []}",
        Some("b"),
        Err("f.yaml is for site a, but --site (or SENREN_SITE) says b"),
    );
}

#[test]
fn a_path_of_the_control_plane_finds_its_line() {
    let document = Document::parse("f.yaml", GOOD).unwrap();
    let at = |path: &str| document.locate(path, "").at.map(|at| at.to_string());
    assert_eq!(at("databases[0].spec/memory_mb").as_deref(), Some("7:18"));
    assert_eq!(at("databases[0].regions[1]").as_deref(), Some("5:30"));
    assert_eq!(at("databases[0].spec/replicas").as_deref(), Some("7:7"), "of a missing field, its parent");
    assert_eq!(at("request_id"), None);
}
