//! What going from one spec to another means, computed from the schema: each leaf that differs has the effect of
//! the nearest `x-senren-effect` above it, and the worst of them says what happens to the database.

use serde_json::{Map, Value};

use crate::Schema;
use crate::wit::{Change, Fault, FieldChange};

/// Code of the fault for a change that a schema forbids.
pub const FORBIDDEN_CHANGE: &str = "ForbiddenChange";

/// What changing a value does to a running database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nobody notices.
    InPlace,
    /// Data moves between instances; slower meanwhile.
    Rebalance,
    /// Instances restart one by one; clients may have to reconnect.
    RollingRestart,
    /// The database is deleted and made anew, empty.
    Recreate,
    /// Cannot be changed.
    Forbidden,
}

impl Effect {
    /// As the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InPlace => "in-place",
            Self::Rebalance => "rebalance",
            Self::RollingRestart => "rolling-restart",
            Self::Recreate => "recreate",
            Self::Forbidden => "forbidden",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::InPlace, Self::Rebalance, Self::RollingRestart, Self::Recreate, Self::Forbidden]
            .into_iter()
            .find(|effect| effect.as_str() == text)
    }
}

impl Change {
    /// From nothing to a database.
    pub fn create() -> Self {
        Self::new("create", "created")
    }

    /// From a database to nothing.
    pub fn delete() -> Self {
        Self { disruptive: true, data_loss: true, ..Self::new("delete", "deleted, with its data") }
    }

    /// From one admitted spec to another, as the effects in the schema have it. A fault if it is forbidden.
    pub fn between(schema: &Schema, current: &Value, desired: &Value) -> Result<Self, Fault> {
        let mut fields = Vec::new();
        let mut walk = Walk { path: String::new(), fields: &mut fields };
        walk.value(Some(schema.keywords()), Effect::InPlace, Some(current), Some(desired));
        let Some(worst) = fields.iter().map(|(effect, _)| *effect).max() else {
            return Ok(Self::new("none", "unchanged"));
        };
        let paths = |of: Effect| {
            let of = fields.iter().filter(|(effect, _)| *effect == of);
            of.map(|(_, change)| dotted(&change.path)).collect::<Vec<_>>().join(", ")
        };
        if worst == Effect::Forbidden {
            let message = format!(
                "{} cannot be changed once the database exists; set it back, or delete the database and create it \
                 again",
                paths(worst)
            );
            return Err(Fault::permanent(FORBIDDEN_CHANGE, message));
        }
        let recreated = worst == Effect::Recreate;
        Ok(Self {
            action: if recreated { "replace" } else { "update" }.to_owned(),
            disruptive: worst >= Effect::RollingRestart,
            data_loss: recreated,
            summary: summary(worst, &fields),
            fields: fields.into_iter().map(|(_, change)| change).collect(),
            extras: Vec::new(),
        })
    }

    fn new(action: &str, summary: &str) -> Self {
        Self {
            action: action.to_owned(),
            fields: Vec::new(),
            disruptive: false,
            data_loss: false,
            summary: summary.to_owned(),
            extras: Vec::new(),
        }
    }

    /// Whether the value at this JSON Pointer differs, or one below it.
    pub fn touches(&self, pointer: &str) -> bool {
        self.fields.iter().any(|field| {
            field.path.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

/// `memory_mb 64 → 128, version "7.2" → "8.0": restarts one by one`
fn summary(worst: Effect, fields: &[(Effect, FieldChange)]) -> String {
    const SHOWN: usize = 3;
    let value = |json: &Option<String>| json.clone().unwrap_or_else(|| "nothing".to_owned());
    let mut text = fields
        .iter()
        .take(SHOWN)
        .map(|(_, change)| {
            format!("{} {} → {}", dotted(&change.path), value(&change.before), value(&change.after))
        })
        .collect::<Vec<_>>()
        .join(", ");
    if fields.len() > SHOWN {
        text.push_str(&format!(" and {} more", fields.len() - SHOWN));
    }
    text.push_str(match worst {
        Effect::InPlace => "",
        Effect::Rebalance => ": moves data between instances",
        Effect::RollingRestart => ": restarts one by one",
        Effect::Recreate => ": deleted and made anew, empty",
        Effect::Forbidden => ": cannot be changed",
    });
    text
}

/// `/persistence/size` → `persistence.size`
fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~")
}

struct Walk<'a> {
    path: String,
    fields: &'a mut Vec<(Effect, FieldChange)>,
}

impl Walk<'_> {
    fn value(
        &mut self,
        schema: Option<&Map<String, Value>>,
        above: Effect,
        before: Option<&Value>,
        after: Option<&Value>,
    ) {
        if before == after {
            return;
        }
        let own = schema.and_then(|schema| schema.get("x-senren-effect")?.as_str());
        let effect = own.and_then(Effect::parse).unwrap_or(above);
        let nothing = Map::new();
        match (before, after) {
            (Some(Value::Object(before)), Some(Value::Object(after))) => {
                self.object(schema, effect, before, after)
            }
            (Some(Value::Object(before)), None) if !before.is_empty() => {
                self.object(schema, effect, before, &nothing)
            }
            (None, Some(Value::Object(after))) if !after.is_empty() => {
                self.object(schema, effect, &nothing, after)
            }
            _ => {
                let json = |value: Option<&Value>| value.map(Value::to_string);
                self.fields.push((
                    effect,
                    FieldChange {
                        path: self.path.clone(),
                        before: json(before),
                        after: json(after),
                        effect: effect.as_str().to_owned(),
                    },
                ));
            }
        }
    }

    fn object(
        &mut self,
        schema: Option<&Map<String, Value>>,
        effect: Effect,
        before: &Map<String, Value>,
        after: &Map<String, Value>,
    ) {
        let gone = before.keys().filter(|name| !after.contains_key(*name));
        for name in after.keys().chain(gone) {
            let field = schema.and_then(|schema| {
                let declared = schema.get("properties").and_then(|properties| properties.get(name));
                declared.or_else(|| schema.get("additionalProperties"))?.as_object()
            });
            let parent = self.path.len();
            self.path.push('/');
            self.path.push_str(&name.replace('~', "~0").replace('/', "~1"));
            self.value(field, effect, before.get(name), after.get(name));
            self.path.truncate(parent);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        Schema::object([
            ("replicas", Schema::integer()),
            ("memory_mb", Schema::integer().effect(Effect::RollingRestart)),
            ("shards", Schema::integer().effect(Effect::Rebalance)),
            ("engine", Schema::string().effect(Effect::Recreate)),
            ("zone", Schema::string().effect(Effect::Forbidden)),
            ("config", Schema::map(Schema::string()).effect(Effect::RollingRestart)),
        ])
    }

    #[track_caller]
    fn check(before: Value, after: Value, action: &str, disruptive: bool, data_loss: bool, summary: &str) {
        let change = Change::between(&schema(), &before, &after).unwrap();
        assert_eq!(
            (change.action.as_str(), change.disruptive, change.data_loss, change.summary.as_str()),
            (action, disruptive, data_loss, summary),
            "{before} → {after}"
        );
    }

    #[test]
    fn the_worst_effect_says_what_happens() {
        let base = || json!({"replicas": 1, "memory_mb": 64, "engine": "a", "zone": "z"});
        let with = |name: &str, value: Value| {
            let mut spec = base();
            spec[name] = value;
            spec
        };
        check(base(), base(), "none", false, false, "unchanged");
        check(base(), with("replicas", json!(2)), "update", false, false, "replicas 1 → 2");
        let restart = "memory_mb 64 → 128: restarts one by one";
        check(base(), with("memory_mb", json!(128)), "update", true, false, restart);
        let moves = "shards nothing → 3: moves data between instances";
        check(base(), with("shards", json!(3)), "update", false, false, moves);
        let anew = "engine \"a\" → \"b\": deleted and made anew, empty";
        check(base(), with("engine", json!("b")), "replace", true, true, anew);
        let config = "config.hz nothing → \"20\": restarts one by one";
        check(base(), with("config", json!({"hz": "20"})), "update", true, false, config);
    }

    #[test]
    fn a_forbidden_change_is_a_fault_that_names_the_field() {
        let fault = Change::between(&schema(), &json!({"zone": "a"}), &json!({"zone": "b"})).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.retryable), (FORBIDDEN_CHANGE, false));
        assert!(fault.message.starts_with("zone cannot be changed"), "{}", fault.message);
    }

    #[test]
    fn paths_are_json_pointers() {
        let change =
            Change::between(&schema(), &json!({}), &json!({"config": {"a/b": "1", "c~d": "2"}})).unwrap();
        let paths: Vec<_> = change.fields.iter().map(|field| field.path.as_str()).collect();
        assert_eq!(paths, ["/config/a~1b", "/config/c~0d"]);
        assert!(change.touches("/config") && change.touches("/config/a~1b") && !change.touches("/conf"));
    }
}
