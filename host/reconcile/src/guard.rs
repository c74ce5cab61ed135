//! What a plugin wants becomes what the host applies, or is refused. Pure.
//!
//! A plugin is not believed about identity: namespace, owner reference and labels are set here, whatever it says. It
//! can't reach beyond its own resource: kinds must be in its `owns` and in the operator's list, names must be the
//! resource's or start with it, selectors are narrowed to the resource's own pods, and secrets must be its own. What
//! isn't known to be safe is refused, and all refusals are reported at once.
//!
//! Whether an object of that name already exists and belongs to somebody else is checked when it is applied.

mod content;
mod hash;
mod pods;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
};

use senren_engine::wit;
use serde_json::{Map, Value, json};

use crate::{
    kind::{ApiKind, ObjectId},
    names,
    resource::CustomResource,
};

/// More objects than this are a bug of the plugin, and a burden on the API server.
const MAX_CHILDREN: usize = 200;

/// Groups that no plugin may touch, whatever the operator's list says: they change who may do what in a cluster.
const FORBIDDEN_GROUPS: [&str; 5] = [
    "rbac.authorization.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "certificates.k8s.io",
];

/// Core kinds that no plugin may touch: cluster-scoped, or with content that only the host may choose.
const FORBIDDEN_KINDS: [(&str, &str); 6] = [
    ("Secret", "secrets are made by the host: ask for one instead"),
    ("ServiceAccount", "it grants access to the Kubernetes API"),
    ("Namespace", "it is not part of one resource"),
    ("Node", "it is not part of one resource"),
    ("PersistentVolume", "it is not part of one resource"),
    ("ResourceQuota", "it belongs to the site"),
];

/// Start of the annotations that were once, and to some servers are still, the AppArmor profile of a container.
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Whose objects they become, and what its plugin may declare.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Namespace that every object is put into.
    pub namespace: String,
    /// Name of the custom resource.
    pub name: String,
    /// uid of the custom resource.
    pub uid: String,
    /// The owner reference that every object gets.
    pub owner: Value,
    /// The labels that every object gets.
    pub labels: BTreeMap<String, String>,
    /// Kinds that the plugin says it owns.
    pub owns: Vec<ApiKind>,
    /// Kinds that the operator allows.
    pub allowed: Vec<ApiKind>,
    /// Secrets that the resource asked for.
    pub secrets: BTreeSet<String>,
    /// Volume claims that belong to the resource.
    pub claims: BTreeSet<String>,
}

impl Rules {
    /// The rules for the objects of `resource`, whose type `served` describes.
    pub fn new(
        resource: &CustomResource,
        resource_type: &wit::ResourceType,
        plane_labels: &BTreeMap<String, String>,
        allowed: &[ApiKind],
        (secrets, claims): (BTreeSet<String>, BTreeSet<String>),
    ) -> Self {
        let key = &resource.key;
        let mut labels = plane_labels.clone();
        for (label, value) in [
            (names::TYPE, &key.type_name),
            (names::NAME, &key.name),
            (names::OWNER_UID, &resource.uid),
            (names::APP_NAME, &key.type_name),
            (names::APP_INSTANCE, &key.name),
        ] {
            labels.insert(label.to_owned(), value.clone());
        }
        Self {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid: resource.uid.clone(),
            owner: json!({
                "apiVersion": resource.api.api_version,
                "kind": resource.api.kind,
                "name": key.name,
                "uid": resource.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }),
            labels,
            owns: resource_type.owns.iter().map(ApiKind::from).collect(),
            allowed: allowed.to_vec(),
            secrets,
            claims,
        }
    }
}

/// How an object is brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Server-side apply.
    Apply,
    /// Created once and never changed.
    CreateOnly,
    /// Server-side apply; where a field that can't change must, deleted without its dependents and created again.
    RecreateOrphan,
}

/// An object that may be applied as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Guarded {
    /// Which object.
    pub id: ObjectId,
    /// How it is brought about.
    pub mode: Mode,
    /// The object itself, with the annotation that carries `hash`.
    pub object: Value,
    /// Names its content.
    pub hash: String,
}

/// One thing that the guard refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `StatefulSet cache`
    pub object: String,
    /// JSON Pointer into the object.
    pub path: String,
    /// What is wrong, as a half-sentence about what is there.
    pub problem: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "{}: {}", self.object, self.problem),
            path => write!(f, "{} at {path}: {}", self.object, self.problem),
        }
    }
}

/// Checks every child and makes it the resource's own.
pub fn guard(children: &[wit::Child], rules: &Rules) -> Result<Vec<Guarded>, Vec<Refusal>> {
    if children.len() > MAX_CHILDREN {
        let problem = format!("{} objects, at most {MAX_CHILDREN} are allowed", children.len());
        return Err(vec![Refusal { object: "the answer".into(), path: String::new(), problem }]);
    }
    let mut guarded = Vec::with_capacity(children.len());
    let mut refusals = vec![];
    let parse = |child: &wit::Child| serde_json::from_str(&child.object).unwrap_or(Value::Null);
    let objects: Vec<Value> = children.iter().map(parse).collect();
    let rules = &*with_own_claims(&objects, rules);
    let mut seen = HashSet::new();
    for (index, (child, object)) in children.iter().zip(objects).enumerate() {
        let mut findings = Findings { object: format!("object {index}"), refusals: &mut refusals };
        if let Some(object) = guard_one(&child.mode, object, rules, &mut seen, &mut findings) {
            guarded.push(object);
        }
    }
    if refusals.is_empty() { Ok(guarded) } else { Err(refusals) }
}

/// A claim that the plugin declares beside the pods that use it is the resource's, too.
fn with_own_claims<'a>(objects: &[Value], rules: &'a Rules) -> Cow<'a, Rules> {
    let claims = objects.iter().filter(|object| object["kind"] == "PersistentVolumeClaim");
    let names: BTreeSet<String> =
        claims.filter_map(|claim| claim["metadata"]["name"].as_str().map(str::to_owned)).collect();
    if names.is_subset(&rules.claims) {
        return Cow::Borrowed(rules);
    }
    let mut rules = rules.clone();
    rules.claims.extend(names);
    Cow::Owned(rules)
}

/// Collects what is wrong with one object.
struct Findings<'a> {
    object: String,
    refusals: &'a mut Vec<Refusal>,
}

impl Findings<'_> {
    fn refuse(&mut self, path: &str, problem: impl Into<String>) {
        self.refusals.push(Refusal {
            object: self.object.clone(),
            path: path.to_owned(),
            problem: problem.into(),
        });
    }
}

fn guard_one(
    mode: &str,
    object: Value,
    rules: &Rules,
    seen: &mut HashSet<(String, String, String)>,
    findings: &mut Findings<'_>,
) -> Option<Guarded> {
    let Value::Object(mut object) = object else {
        findings.refuse("", "is no JSON object");
        return None;
    };
    drop_nulls(&mut object);
    let id = identify(&object, findings)?;
    findings.object = id.to_string();
    check_kind(&id.kind, rules, findings);
    for problem in check_name(&id.name, rules) {
        findings.refuse("/metadata/name", problem);
    }
    if !seen.insert((id.kind.group().to_owned(), id.kind.kind.clone(), id.name.clone())) {
        findings.refuse("", "is there twice");
    }
    let how = parse_mode(mode, findings);
    // What is in there is the cluster's to say.
    object.remove("status");
    set_metadata(&mut object, rules, findings);
    content::narrow_selectors(&id.kind.kind, &mut object, rules);
    content::check(&id.kind.kind, &mut object, rules, findings);
    let mut object = Value::Object(object);
    let hash = hash::of(&object, mode);
    object["metadata"]["annotations"][names::APPLIED] = json!(hash);
    Some(Guarded { id, mode: how, object, hash })
}

/// To Kubernetes a null says the same as leaving the field out, so it must say the same here: `"podSelector": null`
/// selects every pod, and `"seccompProfile": null` is no profile.
fn drop_nulls(object: &mut Map<String, Value>) {
    fn within(value: &mut Value) {
        match value {
            Value::Object(object) => drop_nulls(object),
            Value::Array(items) => items.iter_mut().for_each(within),
            _ => {}
        }
    }
    object.retain(|_, value| !value.is_null());
    object.values_mut().for_each(within);
}

fn identify(object: &Map<String, Value>, findings: &mut Findings<'_>) -> Option<ObjectId> {
    let text = |value: Option<&Value>| {
        value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let api_version = text(object.get("apiVersion"));
    let kind = text(object.get("kind"));
    let name = text(object.get("metadata").and_then(|metadata| metadata.get("name")));
    match (api_version, kind, name) {
        (Some(api_version), Some(kind), Some(name)) => {
            Some(ObjectId::new(ApiKind::new(api_version, kind), name))
        }
        (api_version, kind, _) => {
            let missing = match (api_version, kind) {
                (None, _) => "apiVersion",
                (_, None) => "kind",
                _ => "metadata.name",
            };
            findings.refuse("", format!("has no {missing}"));
            None
        }
    }
}

fn check_kind(kind: &ApiKind, rules: &Rules, findings: &mut Findings<'_>) {
    let forbidden = FORBIDDEN_KINDS.iter().find(|(name, _)| kind.group().is_empty() && *name == kind.kind);
    if let Some((_, why)) = forbidden {
        findings.refuse("", format!("kind {kind} is never allowed: {why}"));
    } else if FORBIDDEN_GROUPS.contains(&kind.group()) || kind.group() == senren_api::GROUP {
        findings.refuse("", format!("kind {kind} is never allowed: it changes what others may do"));
    } else if !rules.owns.contains(kind) {
        findings.refuse("", format!("kind {kind} is not among those that the plugin says it owns"));
    } else if !rules.allowed.contains(kind) {
        findings
            .refuse("", format!("kind {kind} is not among those that the operator of this region allows"));
    }
}

/// What is wrong with the name of an object, or of a secret.
pub(crate) fn check_name(name: &str, rules: &Rules) -> Vec<String> {
    let mut problems = vec![];
    let own =
        name.strip_prefix(rules.name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    if !own {
        problems.push(format!("must be {0:?} or start with \"{0}-\"", rules.name));
    }
    let plain = name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'));
    if name.len() > 63 || !plain || name.ends_with('-') {
        problems.push("must be a DNS label: at most 63 lower-case letters, digits and '-'".into());
    }
    problems
}

fn parse_mode(mode: &str, findings: &mut Findings<'_>) -> Mode {
    match mode {
        "apply" => Mode::Apply,
        "create-only" => Mode::CreateOnly,
        "recreate-orphan" => Mode::RecreateOrphan,
        other => {
            let known = "this host knows apply, create-only and recreate-orphan";
            findings.refuse("", format!("mode {other:?} is unknown: {known}"));
            Mode::Apply
        }
    }
}

/// Keeps name, labels and annotations of what the plugin wrote, and makes the rest.
fn set_metadata(object: &mut Map<String, Value>, rules: &Rules, findings: &mut Findings<'_>) {
    let Some(Value::Object(mut metadata)) = object.remove("metadata") else { return };
    match metadata.remove("namespace") {
        Some(Value::String(namespace)) if namespace != rules.namespace && !namespace.is_empty() => findings
            .refuse(
                "/metadata/namespace",
                format!("{namespace:?} is not the resource's namespace {:?}: leave it out", rules.namespace),
            ),
        _ => {}
    }
    label(&mut metadata, "/metadata", rules, findings);
    only(&mut metadata, "/metadata", &["name", "labels", "annotations"], findings);
    metadata.insert("namespace".into(), json!(rules.namespace));
    metadata.insert("ownerReferences".into(), json!([rules.owner]));
    if !metadata.get("annotations").is_some_and(Value::is_object) {
        metadata.insert("annotations".into(), json!({}));
    }
    object.insert("metadata".into(), Value::Object(metadata));
}

/// Sets the labels that say whose an object is. One that the plugin set otherwise is refused rather than
/// overwritten, because its selectors would miss.
fn label(metadata: &mut Map<String, Value>, path: &str, rules: &Rules, findings: &mut Findings<'_>) {
    let mut labels = match metadata.remove("labels") {
        Some(Value::Object(labels)) => labels,
        _ => Map::new(),
    };
    let ours = &rules.labels;
    for (key, value) in ours {
        match labels.get(key) {
            Some(other) if *other != json!(value) => {
                findings.refuse(
                    &format!("{path}/labels"),
                    format!("label {key} is the host's to set, to {value:?}"),
                );
            }
            _ => {
                labels.insert(key.clone(), json!(value));
            }
        }
    }
    let reserved = |key: &&String| key.starts_with(names::RESERVED_PREFIX);
    for key in labels.keys().filter(reserved).filter(|key| !ours.contains_key(*key)) {
        findings.refuse(&format!("{path}/labels"), format!("label {key} is the host's"));
    }
    metadata.insert("labels".into(), Value::Object(labels));
    let annotations = metadata.get("annotations").and_then(Value::as_object);
    for key in annotations.into_iter().flat_map(Map::keys) {
        let path = format!("{path}/annotations");
        if reserved(&key) {
            findings.refuse(&path, format!("annotation {key} is the host's"));
        } else if key.starts_with(APPARMOR) {
            findings.refuse(&path, format!("annotation {key} changes the node's protection"));
        }
    }
}

/// Labels of what is made from a template.
fn template_metadata(
    template: &mut Map<String, Value>,
    path: &str,
    rules: &Rules,
    findings: &mut Findings<'_>,
) {
    let metadata = template.entry("metadata").or_insert_with(|| json!({}));
    if metadata.is_null() {
        *metadata = json!({});
    }
    let path = format!("{path}/metadata");
    match metadata {
        Value::Object(metadata) => {
            label(metadata, &path, rules, findings);
            only(metadata, &path, &["name", "labels", "annotations"], findings);
        }
        _ => findings.refuse(&path, "is no object"),
    }
}

/// Refuses every field that is not in `known`, and drops those that say nothing.
fn only(object: &mut Map<String, Value>, path: &str, known: &[&str], findings: &mut Findings<'_>) {
    object.retain(|key, value| known.contains(&key.as_str()) || !empty(value));
    for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
        findings.refuse(&format!("{path}/{key}"), pods::why_not(key));
    }
}

/// A value that says the same as leaving it out.
pub(crate) fn empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}
