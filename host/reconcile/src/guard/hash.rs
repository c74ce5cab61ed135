//! A name for the content of an object: the same for the same content, whatever the order of its fields.

use senren_api::state::hex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Hash of `object` and of how it is brought about.
pub(super) fn of(object: &Value, mode: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(mode);
    feed(&mut hash, object);
    let digest = hash.finalize();
    hex(digest.get(..16).unwrap_or(&digest))
}

/// Feeds `value` so that no two different values feed the same: every part carries its type and length.
fn feed(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(value) => hash.update(if *value { b"t" } else { b"f" }),
        Value::Number(number) => text(hash, b"#", &number.to_string()),
        Value::String(string) => text(hash, b"s", string),
        Value::Array(items) => {
            length(hash, b"a", items.len());
            items.iter().for_each(|item| feed(hash, item));
        }
        Value::Object(fields) => {
            length(hash, b"o", fields.len());
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort_unstable();
            for key in keys {
                text(hash, b"k", key);
                if let Some(value) = fields.get(key) {
                    feed(hash, value);
                }
            }
        }
    }
}

fn text(hash: &mut Sha256, tag: &[u8; 1], text: &str) {
    length(hash, tag, text.len());
    hash.update(text);
}

fn length(hash: &mut Sha256, tag: &[u8; 1], length: usize) {
    hash.update(tag);
    hash.update(u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hash_names_a_content() {
        let hash = of(&json!({"a": 1, "b": ["x", "y"]}), "apply");
        assert_eq!(hash, of(&json!({"b": ["x", "y"], "a": 1}), "apply"));
        for other in [json!({"a": 1, "b": ["xy"]}), json!({"a": "1", "b": ["x", "y"]}), json!({"a": 1})] {
            assert_ne!(hash, of(&other, "apply"), "{other}");
        }
        assert_ne!(hash, of(&json!({"a": 1, "b": ["x", "y"]}), "create-only"));
    }
}
