//! Paths of the API: `/api/v1/…`, `/apis/<group>/<version>/…`.

use super::ApiResponse;
use crate::kinds::GroupResource;
use crate::status::{self, Result};

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// What is served: `/version`, `/api`, `/apis`, …; the path's segments.
    Discovery(Vec<String>),
    /// Objects.
    Target(Target),
}

/// A collection or an object.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub plural: String,
    /// Whether the path goes through a namespace.
    pub scoped: bool,
    /// Empty if it doesn't.
    pub namespace: String,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

/// Reads a path.
pub fn parse(path: &str) -> Route {
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Route::Discovery(segments.iter().map(|s| super::query::decode(s)).collect()),
    };
    let (namespace, rest) = match rest {
        // `namespaces/<name>/status` and `/finalize` are about the namespace itself.
        ["namespaces", name, plural, rest @ ..] if !["status", "finalize"].contains(plural) => {
            (Some(*name), [&[*plural], rest].concat())
        }
        other => (None, other.to_vec()),
    };
    let decode = |segment: &&str| super::query::decode(segment);
    Route::Target(Target {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: rest.first().map(decode).unwrap_or_default(),
        scoped: namespace.is_some(),
        namespace: namespace.map(super::query::decode).unwrap_or_default(),
        name: rest.get(1).map(decode),
        subresource: (rest.len() > 2).then(|| rest[2..].join("/")),
    })
}

/// What to say of a collection that isn't served: a real server has it (501), or it has nothing of that group either and
/// answers as for any path that it doesn't know.
pub fn not_served(target: &Target) -> Result<ApiResponse> {
    const GROUPS: [&str; 5] = ["", "apps", "batch", "autoscaling", "policy"];
    if GROUPS.contains(&target.group.as_str()) || target.group.ends_with(".k8s.io") {
        let what = GroupResource::new(target.group.clone(), target.plural.clone());
        return Err(status::not_implemented(what));
    }
    Ok(super::no_page())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: (&str, &str, &str, &str, Option<&str>, Option<&str>)) {
        let (group, version, plural, namespace, name, subresource) = expected;
        let target = Target {
            group: group.into(),
            version: version.into(),
            plural: plural.into(),
            scoped: !namespace.is_empty(),
            namespace: namespace.into(),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
        };
        assert_eq!(parse(path), Route::Target(target), "{path}");
    }

    #[test]
    fn paths_name_objects_collections_and_subresources() {
        check("/api/v1/pods", ("", "v1", "pods", "", None, None));
        check("/api/v1/namespaces/a/pods/b/log", ("", "v1", "pods", "a", Some("b"), Some("log")));
        check("/api/v1/namespaces/a", ("", "v1", "namespaces", "", Some("a"), None));
        check("/api/v1/namespaces/a/status", ("", "v1", "namespaces", "", Some("a"), Some("status")));
        check(
            "/apis/apps/v1/namespaces/a/statefulsets/b/status",
            ("apps", "v1", "statefulsets", "a", Some("b"), Some("status")),
        );
        assert_eq!(parse("/apis/apps/v1"), Route::Discovery(vec!["apis".into(), "apps".into(), "v1".into()]));
    }
}
