//! Objects by their labels, so that the pods of a service, and the services of a pod, are found without looking
//! at all there are.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::store::Key;

/// A label and its value.
pub type Pair = (String, String);

/// The labels of a JSON object's field (`metadata.labels`, `spec.selector`).
pub fn pairs_of(labels: &Value) -> Vec<Pair> {
    let labels = labels.as_object().into_iter().flatten();
    labels.filter_map(|(label, value)| Some((label.clone(), value.as_str()?.to_owned()))).collect()
}

/// Names of objects of one kind, by namespace and pair.
#[derive(Debug, Default)]
pub struct Labelled {
    names: HashMap<(String, Pair), BTreeSet<String>>,
    pairs: HashMap<Key, Vec<Pair>>,
}

impl Labelled {
    /// The object is found by these pairs from now on, by none if it is gone; those before.
    pub fn set(&mut self, key: &Key, pairs: Vec<Pair>) -> Vec<Pair> {
        if self.pairs.get(key) == Some(&pairs) {
            return pairs;
        }
        let before = self.pairs.remove(key).unwrap_or_default();
        for pair in &before {
            let place = (key.namespace.clone(), pair.clone());
            if let Some(names) = self.names.get_mut(&place) {
                names.remove(&key.name);
                if names.is_empty() {
                    self.names.remove(&place);
                }
            }
        }
        for pair in &pairs {
            let names = self.names.entry((key.namespace.clone(), pair.clone())).or_default();
            names.insert(key.name.clone());
        }
        if !pairs.is_empty() {
            self.pairs.insert(key.clone(), pairs);
        }
        before
    }

    /// The objects of a namespace that are found by a pair.
    pub fn with(&self, namespace: &str, pair: &Pair) -> impl Iterator<Item = &String> {
        self.names.get(&(namespace.to_owned(), pair.clone())).into_iter().flatten()
    }

    /// The pair by which the fewest are found.
    pub fn rarest<'a>(&self, namespace: &str, pairs: &'a [Pair]) -> Option<&'a Pair> {
        let count =
            |pair: &Pair| self.names.get(&(namespace.to_owned(), pair.clone())).map_or(0, BTreeSet::len);
        pairs.iter().min_by_key(|pair| count(pair))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_found_by_what_they_carry_now() {
        let mut pods = Labelled::default();
        let (kind, a) = (("kind".to_owned(), "db".to_owned()), ("name".to_owned(), "a".to_owned()));
        let names = |pods: &Labelled, pair: &Pair| pods.with("ns", pair).cloned().collect::<Vec<_>>();
        pods.set(&Key::new("ns", "p"), pairs_of(&json!({"kind": "db", "name": "a"})));
        pods.set(&Key::new("ns", "q"), pairs_of(&json!({"kind": "db", "name": "b"})));
        pods.set(&Key::new("elsewhere", "r"), pairs_of(&json!({"kind": "db"})));
        assert_eq!(names(&pods, &kind), ["p", "q"]);
        assert_eq!(pods.rarest("ns", &[kind.clone(), a.clone()]), Some(&a));
        let before = pods.set(&Key::new("ns", "p"), pairs_of(&json!({"name": "a"})));
        assert_eq!(before, [kind.clone(), a.clone()]);
        assert_eq!((names(&pods, &kind), names(&pods, &a)), (vec!["q".into()], vec!["p".into()]));
        pods.set(&Key::new("ns", "p"), Vec::new());
        assert!(names(&pods, &a).is_empty() && pods.pairs.len() == 2);
    }
}
