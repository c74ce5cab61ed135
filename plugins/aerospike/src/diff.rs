//! What a change of an Aerospike cluster means, where the schema's effects are not the whole truth.

use senren_plugin::FORBIDDEN_CHANGE;
use senren_plugin::prelude::*;

use crate::Spec;

/// Corrects what the effects of the single fields add up to.
pub(crate) fn diff(change: &mut Change, current: &Spec, desired: &Spec) -> Result<(), Fault> {
    if change.action == "replace" {
        return Ok(());
    }
    if desired.release()[0] < current.release()[0] {
        let message = format!(
            "version cannot go back from {} to {}: nodes of the two don't share a cluster. Set it back, or create \
             another database and move the data",
            current.version, desired.version
        );
        return Err(Fault::permanent(FORBIDDEN_CHANGE, message));
    }
    let gone: Vec<_> =
        current.namespaces.keys().filter(|name| !desired.namespaces.contains_key(*name)).cloned().collect();
    if !gone.is_empty() {
        lose(change, &format!("deletes namespace {} with its data", gone.join(" and ")));
    }
    if !desired.redundant() {
        if change.disruptive {
            lose(change, "with replication_factor 1 each node that restarts starts empty");
        }
        if desired.nodes < current.nodes {
            lose(change, "with replication_factor 1 the records of the nodes that go are lost");
        }
    }
    Ok(())
}

fn lose(change: &mut Change, how: &str) {
    change.disruptive = true;
    change.data_loss = true;
    change.summary.push_str(", and ");
    change.summary.push_str(how);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use senren_plugin::{Plugin as _, Value};

    use super::*;
    use crate::Plugin;

    fn diff(current: &Value, desired: &Value) -> Result<Change, String> {
        let admit = |spec: &Value| Plugin::admit("aerospike".into(), spec.to_string()).unwrap();
        Plugin::diff("aerospike".into(), Some(admit(current)), Some(admit(desired)))
            .map_err(|fault| fault.message)
    }

    #[test]
    fn a_change_says_what_clients_will_notice() {
        let alone = || json!({"nodes": 1, "replication_factor": 1});
        let two = || json!({"namespaces": {"a": {}, "b": {}}});
        for (current, desired, action, disruptive, data_loss) in [
            (json!({}), json!({"nodes": 2}), "none", false, false),
            (json!({}), json!({"nodes": 5}), "update", false, false),
            (json!({"nodes": 5}), json!({"nodes": 3}), "update", false, false),
            (json!({}), json!({"version": "8.1.1.0"}), "update", true, false),
            (json!({"version": "7.2.0.6"}), json!({}), "update", true, false),
            (json!({}), json!({"namespaces": {"data": {"memory_mb": 1024}}}), "update", true, false),
            (json!({"namespaces": {"a": {}}}), two(), "update", true, false),
            (two(), json!({"namespaces": {"b": {}}}), "update", true, true),
            (json!({"nodes": 3}), json!({"nodes": 3, "replication_factor": 3}), "replace", true, true),
            (
                alone(),
                json!({"nodes": 1, "replication_factor": 1, "version": "8.1.1.0"}),
                "update",
                true,
                true,
            ),
            (alone(), json!({"nodes": 2, "replication_factor": 1}), "update", false, false),
            (json!({"nodes": 2, "replication_factor": 1}), alone(), "update", true, true),
        ] {
            let change = diff(&current, &desired).unwrap();
            let found = (change.action.as_str(), change.disruptive, change.data_loss);
            assert_eq!(found, (action, disruptive, data_loss), "{current} → {desired}: {}", change.summary);
        }
    }

    #[test]
    fn a_summary_says_what_is_lost() {
        let change =
            diff(&json!({"namespaces": {"a": {}, "b": {}}}), &json!({"namespaces": {"b": {}}})).unwrap();
        assert!(change.summary.ends_with("restarts one by one, and deletes namespace a with its data"));
    }

    #[test]
    fn it_does_not_go_back_to_an_older_major_version() {
        let refused = diff(&json!({}), &json!({"version": "7.2.0.6"})).unwrap_err();
        assert!(refused.starts_with("version cannot go back from 8.1.2.0 to 7.2.0.6"), "{refused}");
        assert!(diff(&json!({"version": "8.1.1.0"}), &json!({"version": "8.0.0.15"})).is_ok());
    }
}
