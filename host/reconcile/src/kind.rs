//! Kinds and objects of the Kubernetes API by name, as plugins, inventories and operators write them.

use std::{fmt, str::FromStr};

use kube::{
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use serde::{Deserialize, Serialize};

/// A kind of object: `apps/v1` `StatefulSet`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKind {
    /// `v1`, `apps/v1`
    pub api_version: String,
    /// `StatefulSet`
    pub kind: String,
}

impl ApiKind {
    /// The kind named `kind` in `api_version`.
    pub fn new(api_version: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { api_version: api_version.into(), kind: kind.into() }
    }

    /// API group: empty for core kinds.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// How to address it. The plural is derived, which is right for all kinds of Kubernetes itself.
    pub fn resource(&self) -> ApiResource {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &self.kind))
    }
}

impl From<&senren_engine::wit::ApiKind> for ApiKind {
    fn from(kind: &senren_engine::wit::ApiKind) -> Self {
        Self::new(&kind.api_version, &kind.kind)
    }
}

impl fmt::Display for ApiKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.api_version, self.kind)
    }
}

/// A text that is no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a kind: write version/Kind or group/version/Kind, e.g. v1/ConfigMap or apps/v1/StatefulSet"
)]
pub struct InvalidKind(String);

impl FromStr for ApiKind {
    type Err = InvalidKind;

    fn from_str(text: &str) -> Result<Self, InvalidKind> {
        let (api_version, kind) = text.rsplit_once('/').ok_or_else(|| InvalidKind(text.to_owned()))?;
        let plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
        };
        let parts: Vec<&str> = api_version.split('/').collect();
        if parts.len() > 2 || !parts.into_iter().all(plain) || !plain(kind) {
            return Err(InvalidKind(text.to_owned()));
        }
        Ok(Self::new(api_version, kind))
    }
}

/// One object within a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// What it is.
    #[serde(flatten)]
    pub kind: ApiKind,
    /// Its name.
    pub name: String,
}

impl ObjectId {
    /// The object of `kind` that is called `name`.
    pub fn new(kind: ApiKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// Which object `object` is; `None` where it doesn't say.
    pub fn of(object: &DynamicObject) -> Option<Self> {
        let types = object.types.as_ref()?;
        Some(Self::new(ApiKind::new(&types.api_version, &types.kind), object.metadata.name.as_ref()?))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_kind_is_written_as_its_api_version_and_name() {
        assert_eq!("v1/ConfigMap".parse(), Ok(ApiKind::new("v1", "ConfigMap")));
        assert_eq!("apps/v1/StatefulSet".parse(), Ok(ApiKind::new("apps/v1", "StatefulSet")));
        for bad in ["ConfigMap", "", "/ConfigMap", "v1/", "a/b/c/D", "v1/Config Map"] {
            assert!(bad.parse::<ApiKind>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_kind_knows_where_it_lives() {
        let resource = ApiKind::new("networking.k8s.io/v1", "NetworkPolicy").resource();
        assert_eq!(
            (resource.group.as_str(), resource.plural.as_str()),
            ("networking.k8s.io", "networkpolicies")
        );
    }
}
