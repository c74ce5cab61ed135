//! A plugin that does, on request, whatever a plugin must not: the host's tests use it to show that each of these is
//! an error on that one resource, and disturbs nothing else.
//!
//! `spec.mode` says what goes wrong and `spec.in` where: in `admit`, `diff` or `reconcile` (the default). Everything
//! else behaves, so that a test gets as far as what it is about. See [`MODES`].

mod modes;
mod variant;

use senren_plugin::wit::{
    ApiKind, Change, Descriptor, ExecCall, ExecResult, Fault, Input, Outcome, ResourceType, SimulationGuest,
    Violation,
};
use senren_plugin::{Plugin, Value, json};

pub use modes::MODES;
use variant::Variant;

/// The contract, implemented directly: what is tested here is mostly what the SDK would not let through.
pub struct Misbehaving;

/// What a spec asks for.
struct Spec {
    mode: String,
    wrong_in: String,
}

impl Spec {
    fn read(json: &str) -> Self {
        let spec: Value = serde_json::from_str(json).unwrap_or_default();
        let text = |name: &str, default: &str| spec[name].as_str().unwrap_or(default).to_owned();
        Self { mode: text("mode", "ok"), wrong_in: text("in", "reconcile") }
    }

    /// The mode, where it is asked for.
    fn mode_in(&self, function: &str) -> &str {
        if self.wrong_in == function { &self.mode } else { "ok" }
    }
}

impl Plugin for Misbehaving {
    fn describe() -> Descriptor {
        let kind =
            |api_version: &str, kind: &str| ApiKind { api_version: api_version.into(), kind: kind.into() };
        let Variant { name, version, type_name, kind: cr_kind, plural, largest } = variant::this();
        Descriptor {
            name: name.into(),
            version: version.into(),
            types: vec![ResourceType {
                name: type_name.into(),
                kind: cr_kind.into(),
                plural: plural.into(),
                short_names: Vec::new(),
                spec_schema: json!({
                    "type": "object",
                    "properties": {
                        "mode": {"type": "string", "default": "ok"},
                        "in": {"type": "string", "enum": ["admit", "diff", "reconcile"], "default": "reconcile"},
                        "size": {"type": "integer", "default": 0, "maximum": largest, "description": "goes into the ConfigMap"},
                        "ask": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                        "secrets": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    },
                })
                .to_string(),
                printer_columns: "[]".into(),
                example: r#"{"mode":"ok"}"#.into(),
                owns: vec![kind("v1", "ConfigMap"), kind("apps/v1", "StatefulSet"), kind("v1", "Service")],
                observes: vec![kind("v1", "Pod")],
                extras: Vec::new(),
            }],
            config_schema: r#"{"type":"object"}"#.into(),
            requires: Vec::new(),
            extras: Vec::new(),
        }
    }

    fn admit(_resource_type: String, spec: String) -> Result<String, Vec<Violation>> {
        let asked = Spec::read(&spec);
        if variant::is("untrue") {
            let message = "not even the example is admitted".into();
            return Err(vec![Violation { path: String::new(), code: "untrue".into(), message }]);
        }
        match asked.mode_in("admit") {
            "fault" => {
                let message = "refused on request".into();
                return Err(vec![Violation { path: "/mode".into(), code: "on-request".into(), message }]);
            }
            "empty-outcome" => return Err(Vec::new()),
            "bad-json" => return Ok("{".into()),
            "huge-output" => return Ok(format!("{{\"mode\":\"{}\"}}", modes::huge())),
            mode => modes::go_wrong(mode),
        }
        let mut value: Value = serde_json::from_str(&spec).unwrap_or_default();
        value["mode"] = Value::from(asked.mode);
        value["in"] = Value::from(asked.wrong_in);
        if value["size"].is_null() {
            value["size"] = Value::from(0);
        }
        Ok(value.to_string())
    }

    fn diff(
        _resource_type: String,
        current: Option<String>,
        desired: Option<String>,
    ) -> Result<Change, Fault> {
        let asked = Spec::read(desired.as_ref().or(current.as_ref()).map_or("", String::as_str));
        let mut action = match (&current, &desired) {
            (None, _) => "create",
            (_, None) => "delete",
            (Some(current), Some(desired)) if current == desired => "none",
            _ => "update",
        };
        match asked.mode_in("diff") {
            "fault" => return Err(Fault::permanent("OnRequest", "failed on request")),
            "fault-retryable" => return Err(Fault::transient("OnRequest", "failed on request, for now")),
            "unknown-mode" => action = "transmogrify",
            "replace" | "replace-empty" => action = "replace",
            mode => modes::go_wrong(mode),
        }
        Ok(Change {
            action: action.into(),
            fields: Vec::new(),
            disruptive: ["delete", "replace"].contains(&action),
            data_loss: action == "delete" || asked.mode_in("diff") == "replace-empty",
            summary: action.into(),
            extras: Vec::new(),
        })
    }

    fn reconcile(input: Input) -> Result<Outcome, Fault> {
        if input.deleting {
            return Ok(Outcome::gone());
        }
        let asked = Spec::read(&input.spec);
        modes::reconcile(asked.mode_in("reconcile"), &input)
    }
}

senren_plugin::export_plugin!(Misbehaving, simulation);

/// Its database says what it is told; what outlives that is how often.
impl SimulationGuest for Misbehaving {
    fn exec(call: ExecCall) -> ExecResult {
        let said = call.command.join(" ");
        modes::go_wrong(&said);
        let times = call.state.and_then(|state| state.parse().ok()).unwrap_or(0_u64) + 1;
        let state = if said == "bad-json" { "{".to_owned() } else { times.to_string() };
        ExecResult { exit_code: 0, stdout: said, stderr: String::new(), state }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use senren_plugin::testing;

    use super::*;

    #[test]
    fn it_behaves_unless_it_is_asked_not_to() {
        testing::check::<Misbehaving>().unwrap();
    }

    #[test]
    fn every_mode_that_returns_does_so_natively_too() {
        let never_returns = ["trap", "loop", "memory", "stack"];
        for (mode, _) in MODES.iter().filter(|(mode, _)| !never_returns.contains(mode)) {
            let input = testing::input("misbehaving", "x", &json!({"mode": mode}));
            let answer = Misbehaving::reconcile(input);
            assert_eq!(answer.is_err(), mode.starts_with("fault"), "{mode}");
        }
    }
}
