//! What a change of a Redis Cluster means, where the schema's effects are not the whole truth.

use senren_plugin::FORBIDDEN_CHANGE;
use senren_plugin::prelude::*;

use super::Spec;
use crate::fields::release;

/// Corrects what the effects of the single fields add up to.
pub(crate) fn diff(change: &mut Change, current: &Spec, desired: &Spec) -> Result<(), Fault> {
    if change.action != "update" {
        return Ok(());
    }
    if let (Some(before), Some(after)) = (&current.persistence.size, &desired.persistence.size)
        && senren_plugin::bytes(after) < senren_plugin::bytes(before)
    {
        return forbidden(format!(
            "persistence.size cannot shrink from {before} to {after}: volumes only grow. Set it back, or create \
             another database and move the data"
        ));
    }
    if release(&desired.version) < release(&current.version) {
        return forbidden(format!(
            "version cannot go back from {} to {}: an older Redis does not read the files of a newer one. Set it \
             back, or create another database and move the data",
            current.version, desired.version
        ));
    }
    let (before, after) = (current.shard_memory_mb(), desired.shard_memory_mb());
    if before != after && !change.disruptive {
        // The total is the same, the parts are not.
        change.disruptive = true;
        change.summary.push_str(&format!(
            ", and each shard's memory goes from {before} to {after} MB: restarts one by one"
        ));
    }
    if change.disruptive && !desired.persistence.enabled {
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
    use senren_plugin::{Plugin as _, Value, json};

    use crate::Plugin;

    fn diff(current: &Value, desired: &Value) -> Result<Change, String> {
        let admit = |spec: &Value| Plugin::admit("redis-cluster".into(), spec.to_string()).unwrap();
        Plugin::diff("redis-cluster".into(), Some(admit(current)), Some(admit(desired)))
            .map_err(|fault| fault.message)
    }

    #[track_caller]
    fn check(current: Value, desired: Value, action: &str, disruptive: bool, data_loss: bool) -> Change {
        let change = diff(&current, &desired).unwrap();
        let found = (change.action.as_str(), change.disruptive, change.data_loss);
        assert_eq!(found, (action, disruptive, data_loss), "{current} → {desired}: {}", change.summary);
        change
    }

    #[test]
    fn a_change_says_what_clients_will_notice() {
        let volatile = || json!({"replicas": 0, "persistence": {"enabled": false}});
        check(json!({}), json!({"shards": 3}), "none", false, false);
        check(json!({}), json!({"replicas": 2}), "update", false, false);
        check(json!({}), json!({"memory_mb": 384}), "update", true, false);
        check(json!({}), json!({"version": "8.0"}), "update", true, false);
        check(json!({}), json!({"persistence": {"size": "4Gi"}}), "update", false, false);
        check(json!({}), volatile(), "replace", true, true);
        let mut more = volatile();
        more["memory_mb"] = json!(384);
        check(volatile(), more, "update", true, true);
    }

    #[test]
    fn more_shards_move_data_and_restart_where_the_parts_change() {
        // The schema's word for memory stands, though no shard's changes.
        check(json!({}), json!({"shards": 4, "memory_mb": 256}), "update", true, false);
        let change = check(json!({}), json!({"shards": 4}), "update", true, false);
        assert!(change.summary.ends_with("from 64 to 48 MB: restarts one by one"), "{}", change.summary);
        let effects: Vec<_> = change.fields.iter().map(|field| field.effect.as_str()).collect();
        assert_eq!(effects, ["rebalance"]);
    }

    #[test]
    fn what_cannot_be_undone_is_forbidden() {
        for (current, desired, says) in [
            (json!({"version": "8.0"}), json!({"version": "7.2"}), "version cannot go back"),
            (
                json!({"persistence": {"size": "4Gi"}}),
                json!({"persistence": {"size": "2Gi"}}),
                "cannot shrink",
            ),
            (json!({}), json!({"password": true}), "password cannot be changed"),
        ] {
            let message = diff(&current, &desired).unwrap_err();
            assert!(message.contains(says), "{message}");
        }
        check(json!({"persistence": {"size": "4Gi"}}), json!({}), "update", false, false);
    }
}
