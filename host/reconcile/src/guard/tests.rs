#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

pub(crate) fn rules() -> Rules {
    let labels = [(names::NAME, "cache"), (names::TYPE, "redis"), (names::MANAGED_BY, "senren")];
    Rules {
        namespace: "senren-default".into(),
        name: "cache".into(),
        uid: "u1".into(),
        owner: json!({"apiVersion": "senren.io/v1", "kind": "RedisDatabase", "name": "cache", "uid": "u1", "controller": true, "blockOwnerDeletion": true}),
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        owns: crate::default_allowed_kinds()
            .into_iter()
            .chain([ApiKind::new("v1", "PersistentVolumeClaim")])
            .collect(),
        allowed: crate::default_allowed_kinds(),
        secrets: ["cache-auth".to_owned()].into(),
    }
}
