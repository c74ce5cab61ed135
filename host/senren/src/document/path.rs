//! Paths into a document: `databases[1].spec/memory_mb` is a field path down to `spec` and a JSON Pointer from
//! there on.

use super::tree::{Node, Position, Value};

/// Where `path` is in the tree: of a field that is missing, the place of what it is missing in.
pub fn locate(root: &Node, path: &str) -> Option<Position> {
    let mut node = root;
    let mut at = None;
    for step in steps(path) {
        let next = match &node.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.text == step).map(|(_, node)| node),
            Value::List(nodes) => step.parse::<usize>().ok().and_then(|index| nodes.get(index)),
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
        at = Some(node.at);
    }
    at
}

fn steps(path: &str) -> Vec<String> {
    let (fields, pointer) = match path.find('/') {
        Some(start) => path.split_at(start),
        None => (path, ""),
    };
    let fields = fields.split(['.', '[', ']']).map(|step| step.trim().to_owned());
    let pointer = pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
    fields.chain(pointer).filter(|step| !step.is_empty()).collect()
}

/// The known name that `text` was probably meant to be.
pub fn nearest<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let wanted = plain(text);
    known
        .iter()
        .map(|name| (distance(&wanted, &plain(name)), *name))
        .filter(|(distance, name)| *distance <= name.len().div_ceil(3))
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein: how many characters must be added, dropped or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_its_neighbour_and_a_strange_one_does_not() {
        let known = ["name", "type", "regions", "deletion_protection", "spec"];
        assert_eq!(nearest("region", &known), Some("regions"));
        assert_eq!(nearest("deletionProtection", &known), Some("deletion_protection"));
        assert_eq!(nearest("tpye", &known), Some("type"));
        assert_eq!(nearest("memory_mb", &known), None);
        assert_eq!(nearest("", &known), None);
    }

    #[test]
    fn a_path_is_fields_and_then_a_json_pointer() {
        assert_eq!(steps("databases[1].spec/a~1b/0"), ["databases", "1", "spec", "a/b", "0"]);
        assert_eq!(steps("site"), ["site"]);
        assert!(steps("").is_empty());
    }
}
