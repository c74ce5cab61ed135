//! Volume claims of StatefulSets: Kubernetes makes them from a template and then leaves them alone. The host lets them
//! grow with their template, and deletes them with their resource unless they are to be retained. Nothing shrinks
//! a claim, and scaling down keeps it.

use kube::{
    ResourceExt as _,
    api::{DynamicObject, PropagationPolicy},
};
use serde_json::{Value, json};

use crate::{
    api::{Kube, api_failure},
    failure::Failure,
    guard::Guarded,
    kind::{ApiKind, ObjectId},
    observe::Observed,
};

/// The kind of every claim.
pub(crate) fn kind() -> ApiKind {
    ApiKind::new("v1", "PersistentVolumeClaim")
}

/// Grows every claim of the StatefulSets among `children` to what their templates ask for. True where one grew.
pub(crate) async fn expand(
    kube: &Kube,
    namespace: &str,
    children: &[Guarded],
    observed: &Observed,
) -> Result<bool, Failure> {
    let mut grew = false;
    for child in children.iter().filter(|child| child.id.kind.kind == "StatefulSet") {
        for (prefix, storage) in templates(child) {
            for claim in observed.of_kind("v1", "PersistentVolumeClaim").filter(|claim| is_of(claim, &prefix))
            {
                if outgrown(claim, storage) {
                    let id = ObjectId::new(kind(), claim.name_any());
                    let patch = json!({"spec": {"resources": {"requests": {"storage": storage}}}});
                    let grown = kube.merge(namespace, &id, &patch).await;
                    grown.map_err(|source| Failure::Apply { id: id.into(), source })?;
                    grew = true;
                }
            }
        }
    }
    Ok(grew)
}

/// Start of the claims' names and the wanted size, per template.
fn templates(stateful_set: &Guarded) -> Vec<(String, &str)> {
    let templates = stateful_set.object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
    templates
        .into_iter()
        .flatten()
        .filter_map(|template| {
            let name = template.pointer("/metadata/name")?.as_str()?;
            let storage = template.pointer("/spec/resources/requests/storage")?.as_str()?;
            Some((format!("{name}-{}-", stateful_set.id.name), storage))
        })
        .collect()
}

/// True where `claim` is `<prefix><ordinal>`.
fn is_of(claim: &DynamicObject, prefix: &str) -> bool {
    let name = claim.name_any();
    let ordinal = name.strip_prefix(prefix).unwrap_or_default();
    !ordinal.is_empty() && ordinal.chars().all(|c| c.is_ascii_digit())
}

fn outgrown(claim: &DynamicObject, wanted: &str) -> bool {
    let has = claim.data.pointer("/spec/resources/requests/storage").and_then(Value::as_str).and_then(bytes);
    matches!((has, bytes(wanted)), (Some(has), Some(wanted)) if has < wanted)
}

/// A Kubernetes quantity of storage in bytes; `None` where it is none. Rounded, which is exact enough to compare sizes.
fn bytes(quantity: &str) -> Option<f64> {
    let split = quantity.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(split);
    let number: f64 = number.parse().ok()?;
    let power =
        |base: f64, index: Option<usize>| index.and_then(|i| i32::try_from(i + 1).ok()).map(|i| base.powi(i));
    let factor = match suffix {
        "" => Some(1.0),
        "m" => Some(0.001),
        _ => match suffix.strip_suffix('i') {
            Some(letter) => {
                power(1024.0, ["K", "M", "G", "T", "P", "E"].iter().position(|known| *known == letter))
            }
            None => match suffix.strip_prefix(['e', 'E']).filter(|exponent| !exponent.is_empty()) {
                Some(exponent) => exponent.parse().ok().map(|exponent| 10f64.powi(exponent)),
                None => {
                    power(1000.0, ["k", "M", "G", "T", "P", "E"].iter().position(|known| *known == suffix))
                }
            },
        },
    };
    factor.map(|factor| number * factor)
}

/// Deletes the claims of a resource that is being deleted.
pub(crate) async fn delete(kube: &Kube, namespace: &str, observed: &Observed) -> Result<(), Failure> {
    for claim in observed.of_kind("v1", "PersistentVolumeClaim") {
        if claim.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let id = ObjectId::new(kind(), claim.name_any());
        let deleted = kube.delete(namespace, &id, claim, PropagationPolicy::Background).await;
        deleted.map_err(|source| api_failure(format!("{id} can't be deleted"), source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_compare_by_size() {
        for (text, expected) in [
            ("1Gi", Some(1_073_741_824.0)),
            ("1024Mi", Some(1_073_741_824.0)),
            ("1G", Some(1e9)),
            ("1.5Gi", Some(1_610_612_736.0)),
            ("5e3", Some(5000.0)),
            ("2E", Some(2e18)),
            ("128974848", Some(128_974_848.0)),
            ("500m", Some(0.5)),
            ("", None),
            ("1Gb", None),
            ("many", None),
        ] {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
    }
}
