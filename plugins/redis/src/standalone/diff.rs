//! What a change of a Redis means, where the schema's effects are not the whole truth.

use senren_plugin::FORBIDDEN_CHANGE;
use senren_plugin::prelude::*;

use super::Spec;
use crate::fields::release;

/// Corrects what the effects of the single fields add up to.
pub(crate) fn diff(change: &mut Change, current: &Spec, desired: &Spec) -> Result<(), Fault> {
    let kept = current.persistence.enabled && desired.persistence.enabled;
    if kept && desired.persistence.megabytes() < current.persistence.megabytes() {
        return forbidden(format!(
            "persistence.size cannot shrink from {} to {}: volumes only grow. Set it back, or create another \
             database and move the data",
            current.persistence.size, desired.persistence.size
        ));
    }
    if kept && release(&desired.version) < release(&current.version) {
        return forbidden(format!(
            "version cannot go back from {} to {}: an older Redis does not read the files of a newer one. Set it \
             back, or create another database and move the data",
            current.version, desired.version
        ));
    }
    if change.disruptive && !kept {
        change.data_loss = true;
        change.summary.push_str(", and starts empty: no volume keeps its data");
    }
    Ok(())
}

fn forbidden(message: String) -> Result<(), Fault> {
    Err(Fault::permanent(FORBIDDEN_CHANGE, message))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use senren_plugin::wit::Change;
    use senren_plugin::{Plugin as _, Value};

    use crate::Plugin;
    use senren_plugin::json;

    fn diff(current: &Value, desired: &Value) -> Result<Change, String> {
        let admit = |spec: &Value| Plugin::admit("redis".into(), spec.to_string()).unwrap();
        Plugin::diff("redis".into(), Some(admit(current)), Some(admit(desired)))
            .map_err(|fault| fault.message)
    }

    #[track_caller]
    fn check(current: Value, desired: Value, action: &str, disruptive: bool, data_loss: bool) {
        let change = diff(&current, &desired).unwrap();
        let found = (change.action.as_str(), change.disruptive, change.data_loss);
        assert_eq!(found, (action, disruptive, data_loss), "{current} → {desired}: {}", change.summary);
    }

    #[test]
    fn a_change_says_what_clients_will_notice() {
        let volatile = || json!({"persistence": {"enabled": false}});
        check(json!({}), json!({"memory_mb": 64}), "none", false, false);
        check(json!({}), json!({"replicas": 2}), "update", false, false);
        check(json!({}), json!({"persistence": {"size": "2Gi"}}), "update", false, false);
        check(json!({}), json!({"memory_mb": 128}), "update", true, false);
        check(json!({}), json!({"version": "8.0"}), "update", true, false);
        check(json!({}), json!({"config": {"hz": "20"}}), "update", true, false);
        check(json!({}), json!({"password": true}), "update", true, false);
        check(json!({}), volatile(), "update", true, true);
        check(volatile(), json!({}), "update", true, true);
        check(volatile(), json!({"persistence": {"enabled": false}, "memory_mb": 128}), "update", true, true);
    }

    #[test]
    fn what_would_lose_data_for_good_is_refused() {
        for (current, desired, says) in [
            (
                json!({"persistence": {"size": "2Gi"}}),
                json!({"persistence": {"size": "1024Mi"}}),
                "persistence.size cannot shrink from 2Gi to 1024Mi",
            ),
            (json!({"version": "8.0"}), json!({"version": "7.2"}), "version cannot go back from 8.0 to 7.2"),
        ] {
            let message = diff(&current, &desired).unwrap_err();
            assert!(message.starts_with(says), "{message}");
        }
        assert!(diff(&json!({"version": "7.2.5"}), &json!({"version": "7.2.4"})).is_ok());
    }

    #[test]
    fn creation_and_deletion_need_no_other_spec() {
        let spec = || Some(Plugin::admit("redis".into(), "{}".into()).unwrap());
        assert_eq!(Plugin::diff("redis".into(), None, spec()).unwrap().action, "create");
        let delete = Plugin::diff("redis".into(), spec(), None).unwrap();
        assert_eq!((delete.action.as_str(), delete.data_loss), ("delete", true));
    }
}
