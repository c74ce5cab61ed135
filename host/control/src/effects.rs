//! What changing a spec does to a running database, as the schemas say that the regions have reported. Pure.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use senren_schema::{FieldChange, Schema};
use serde_json::{Value, json};

use crate::catalog::Plugins;

/// Takes anything: tells what differs where nobody knows what that means.
static UNKNOWN: LazyLock<Option<Schema>> = LazyLock::new(|| {
    Schema::parse(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).ok()
});

/// What each region can run, of those that were ever heard of.
#[derive(Default)]
pub(crate) struct Schemas(pub BTreeMap<String, Arc<Plugins>>);

impl Schemas {
    /// The schema of a type's spec in a region, if both are known.
    pub(crate) fn of(&self, region: &str, type_name: &str) -> Option<&Schema> {
        self.0.get(region)?.schema(type_name)
    }

    /// The fields in which two specs of a type differ, ordered by path. Defaults are filled in first, as everybody does
    /// who will judge them: to write one down changes nothing. Without a schema the effects are empty.
    pub(crate) fn differences(
        &self,
        region: &str,
        type_name: &str,
        before: &str,
        after: &str,
    ) -> Vec<FieldChange> {
        let (mut before, mut after) = (parsed(before), parsed(after));
        let mut fields = match self.of(region, type_name) {
            Some(schema) => {
                schema.apply_defaults(&mut before);
                schema.apply_defaults(&mut after);
                schema.changes(&before, &after)
            }
            None => without_effect(&before, &after),
        };
        fields.sort_by(|a, b| a.path.cmp(&b.path));
        fields
    }
}

/// Every field of a spec that is new or gone as a whole.
pub(crate) fn all_fields(before: Option<&str>, after: Option<&str>) -> Vec<FieldChange> {
    let [before, after] = [before, after].map(|spec| spec.map_or_else(|| json!({}), parsed));
    without_effect(&before, &after)
}

fn without_effect(before: &Value, after: &Value) -> Vec<FieldChange> {
    let fields = UNKNOWN.as_ref().map(|schema| schema.changes(before, after)).unwrap_or_default();
    fields.into_iter().map(|field| FieldChange { effect: String::new(), ..field }).collect()
}

fn parsed(spec: &str) -> Value {
    // What is stored was parsed before.
    serde_json::from_str(spec).unwrap_or_default()
}
