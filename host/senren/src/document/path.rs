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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_fields_and_then_a_json_pointer() {
        assert_eq!(steps("databases[1].spec/a~1b/0"), ["databases", "1", "spec", "a/b", "0"]);
        assert_eq!(steps("site"), ["site"]);
        assert!(steps("").is_empty());
    }
}
