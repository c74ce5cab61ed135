//! Checks of `diff`: what it says a change is.

use senren_engine::{Answer, Call, CallError, wit};
use senren_schema::FieldChange;
use serde_json::Value;

use super::{Findings, spec::admitted_specs, spec::fails};
use crate::{readable, report::Problem, subject::Subject};

pub(crate) fn none(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    for spec in admitted_specs(subject) {
        for (current, desired, wanted) in
            [(Some(&spec), Some(&spec), "none"), (None, Some(&spec), "create"), (Some(&spec), None, "delete")]
        {
            findings.tried(is_not(subject, current, desired, wanted));
        }
        if findings.found_enough() {
            break;
        }
    }
    Ok(())
}

fn is_not(
    subject: &Subject,
    current: Option<&Value>,
    desired: Option<&Value>,
    wanted: &str,
) -> Option<Problem> {
    let call = subject.diff_call(current, desired);
    let change = match subject.diff(current, desired) {
        Ok(change) if change.action == wanted => return None,
        Ok(change) => change,
        Err(error) => return Some(fails(subject, call, "diff", &error)),
    };
    let what = match wanted {
        "none" => "of a spec with itself",
        "create" => "from nothing",
        _ => "to nothing",
    };
    let message = format!("`diff` {what} is {:?}, not {wanted:?}.", change.action);
    let fix = match wanted {
        "none" => {
            "Compare the two specs as values, field by field; the order of keys and absent defaults mean nothing."
        }
        _ => "An absent `current` is always `create`, an absent `desired` always `delete`.",
    };
    let shows = |call: &Call, answer: &Result<Answer, CallError>| {
        let same =
            matches!(call, Call::Diff { current, desired, .. } if wanted != "none" || current == desired);
        same && matches!(answer, Ok(Answer::Diff(Ok(change))) if change.action != wanted)
    };
    // Both specs would have to shrink alike, so only what stands alone is cut down.
    let (call, answered) = match wanted {
        "none" => (call.clone(), readable::answer(&subject.call(call))),
        _ => subject.smallest(
            &call,
            &|pointer| !pointer.contains("/desired/") && !pointer.contains("/current/"),
            shows,
        ),
    };
    Some(subject.problem(message, fix).shown_by(&call, answered, format!("the action {wanted:?}")))
}

pub(crate) fn effects(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    let specs = admitted_specs(subject);
    let Some((example, others)) = specs.split_first() else { return Ok(()) };
    for other in others {
        for (current, desired) in [(example, other), (other, example)] {
            findings.tried(disagrees(subject, current, desired));
        }
        if findings.found_enough() {
            break;
        }
    }
    Ok(())
}

/// A change that `diff` tells otherwise than the schema does.
fn disagrees(subject: &Subject, current: &Value, desired: &Value) -> Option<Problem> {
    let told = subject.parsed_schema().changes(current, desired);
    let answer = subject.diff(Some(current), Some(desired));
    let (wrong, fix) = match &answer {
        Ok(change) => lighter(&told, change)?,
        Err(CallError::Fault(fault)) => unhelpful(&told, fault)?,
        Err(error) => {
            return Some(fails(subject, subject.diff_call(Some(current), Some(desired)), "diff", error));
        }
    };
    let fields: Vec<String> =
        told.iter().map(|change| format!("{} is {}", change.path, change.effect)).collect();
    let message = format!("{wrong}. By the schema, {}.", fields.join(", "));
    let call = subject.diff_call(Some(current), Some(desired));
    let answered = readable::answer(&subject.call(call.clone()));
    Some(subject.problem(message, fix).shown_by(&call, answered, "a change as the schema's effects have it"))
}

/// What a change keeps back.
fn lighter(told: &[FieldChange], change: &wit::Change) -> Option<(String, &'static str)> {
    let has = |effect: &str| told.iter().any(|field| field.effect == effect);
    let rank = |effect: &str| senren_schema::EFFECTS.iter().position(|known| *known == effect);
    if has("forbidden") {
        let wrong = format!("`diff` answers {:?} to a change that is forbidden", change.action);
        return Some((wrong, "Answer a fault that is not retryable and says what can be done instead."));
    }
    if change.action == "none" {
        return None;
    }
    if has("recreate") && (change.action != "replace" || !change.data_loss) {
        let wrong = format!(
            "`diff` answers {:?}, with data-loss {}, where the schema says recreate",
            change.action, change.data_loss
        );
        return Some((
            wrong,
            "Answer `replace` with data-loss, or give the field another effect in the schema.",
        ));
    }
    if (has("recreate") || has("rolling-restart")) && !change.disruptive {
        let wrong = "`diff` says nobody will notice, where instances restart".to_owned();
        return Some((wrong, "Set `disruptive`, or give the field another effect in the schema."));
    }
    for field in told {
        let Some(found) = change.fields.iter().find(|found| covers(&found.path, &field.path)) else {
            let wrong = format!("`diff` does not name {}, which differs", field.path);
            return Some((wrong, "Name every leaf that differs in `fields`, with its JSON Pointer."));
        };
        if rank(&found.effect) < rank(&field.effect) {
            let wrong = format!("`diff` says that {} is {:?}", field.path, found.effect);
            return Some((
                wrong,
                "Give each field in `fields` the effect that the schema gives it, or a graver one.",
            ));
        }
    }
    let same = |path: &str| told.iter().any(|field| covers(path, &field.path) || covers(&field.path, path));
    if let Some(more) = change.fields.iter().find(|field| !same(&field.path)) {
        let wrong = format!("`diff` names {}, which does not differ", more.path);
        return Some((wrong, "Name in `fields` what differs, and nothing else."));
    }
    let summary = change.summary.trim();
    (summary.is_empty() || summary.contains('\n')).then(|| {
        let wrong = "`diff` has no summary of one line".to_owned();
        (wrong, "Say in `summary` what happens: `memory_mb 64 → 128: restarts one by one`.")
    })
}

/// True where what is at `path` includes what is at `leaf`.
fn covers(path: &str, leaf: &str) -> bool {
    leaf.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a refusal keeps back.
fn unhelpful(told: &[FieldChange], fault: &wit::Fault) -> Option<(String, &'static str)> {
    if told.is_empty() {
        return Some((
            format!("`diff` answers the fault {:?} though nothing differs", fault.code),
            "Answer `none` where nothing differs.",
        ));
    }
    if fault.retryable {
        return Some((
            format!(
                "`diff` refuses a change with the fault {:?}, which it says may pass by itself",
                fault.code
            ),
            "A change that can't be made stays one: set `retryable` to false.",
        ));
    }
    let usable = fault.code.starts_with(|c: char| c.is_ascii_uppercase())
        && !fault.code.starts_with("Plugin")
        && fault.code.chars().all(|c| c.is_ascii_alphanumeric());
    if !usable {
        return Some((
            format!("`diff` refuses a change with the code {:?}", fault.code),
            "Codes of faults are in CamelCase and do not begin with Plugin: ForbiddenChange.",
        ));
    }
    fault.message.trim().is_empty().then(|| {
        let wrong = format!("`diff` refuses a change with the code {:?} and no message", fault.code);
        (wrong, "Say what can't be, and what can be done instead.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action: &str, disruptive: bool, data_loss: bool, fields: &[(&str, &str)]) -> wit::Change {
        let field = |(path, effect): &(&str, &str)| wit::FieldChange {
            path: (*path).to_owned(),
            before: None,
            after: None,
            effect: (*effect).to_owned(),
        };
        wit::Change {
            action: action.into(),
            fields: fields.iter().map(field).collect(),
            disruptive,
            data_loss,
            summary: "x".into(),
            extras: vec![],
        }
    }

    fn check(effect: &str, change: wit::Change, wrong: Option<&str>) {
        let told = [FieldChange { path: "/a/b".into(), before: None, after: None, effect: effect.into() }];
        let found = lighter(&told, &change).map(|(wrong, _)| wrong);
        assert_eq!(found.is_some(), wrong.is_some(), "{effect}: {found:?}");
        if let (Some(found), Some(wrong)) = (found, wrong) {
            assert!(found.contains(wrong), "{found}");
        }
    }

    #[test]
    fn a_change_may_be_told_graver_than_the_schema_has_it_never_lighter() {
        check("in-place", change("update", false, false, &[("/a/b", "in-place")]), None);
        check("in-place", change("update", true, true, &[("/a/b", "rolling-restart")]), None);
        check("in-place", change("update", false, false, &[("/a", "in-place")]), None);
        check("in-place", change("none", false, false, &[]), None);
        check("in-place", change("update", false, false, &[]), Some("does not name /a/b"));
        check(
            "rolling-restart",
            change("update", false, false, &[("/a/b", "rolling-restart")]),
            Some("nobody"),
        );
        check(
            "rolling-restart",
            change("update", true, false, &[("/a/b", "in-place")]),
            Some("\"in-place\""),
        );
        check("recreate", change("update", true, true, &[("/a/b", "recreate")]), Some("answers \"update\""));
        check("recreate", change("replace", true, false, &[("/a/b", "recreate")]), Some("data-loss false"));
        check("forbidden", change("update", true, true, &[("/a/b", "forbidden")]), Some("forbidden"));
        check(
            "in-place",
            change("update", false, false, &[("/a/b", "in-place"), ("/c", "in-place")]),
            Some("/c"),
        );
    }
}
