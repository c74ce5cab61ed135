//! Identifiers, parsed at the edge so that everything inside can rely on their form.
//!
//! The lengths leave room for what is made of them: namespace `senren-<site>` and object names
//! `<name>-<suffix>-<ordinal>` stay within the 63 characters of a DNS label.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A text that is no identifier of the wanted kind. Its message says what, why and what one looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: {problem}")]
pub struct InvalidId {
    text: String,
    kind: &'static str,
    problem: String,
}

fn invalid(text: &str, kind: &'static str, problem: impl Into<String>) -> InvalidId {
    InvalidId { text: text.chars().take(80).collect(), kind, problem: problem.into() }
}

/// Checks one DNS-label-like part: lower-case letters, digits and inner `-`, starting with a letter.
fn check_label(text: &str, max: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.len() > max {
        return Err(format!("it has {} characters, at most {max} are allowed", text.len()));
    }
    if let Some(bad) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        return Err(format!("{bad:?} is not allowed, only lower-case letters, digits and '-'"));
    }
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err("it must start with a lower-case letter".into());
    }
    if text.ends_with('-') {
        return Err("it must not end with '-'".into());
    }
    Ok(())
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal $(, reserved: $reserved:literal)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                check_label(text, $max).map_err(|problem| invalid(text, $kind, problem))?;
                $(if text == $reserved {
                    return Err(invalid(text, $kind, "that name is reserved for senren itself"));
                })?
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

label!(
    /// Tenant scope of an apply; in a region, the namespace `senren-<site>`. At most 40 characters, and not
    /// `system`, which would be the plane's own namespace.
    SiteName, "site name", 40, reserved: "system"
);
label!(
    /// Name of a database, unique in its site. At most 40 characters.
    ResourceName, "database name", 40
);
label!(
    /// Resource type: `redis-cluster`. At most 40 characters.
    TypeName, "resource type", 40
);

impl Default for SiteName {
    /// The site of a client that names none.
    fn default() -> Self {
        Self("default".into())
    }
}

impl SiteName {
    /// As in a request, where empty means `default`.
    pub fn from_request(text: &str) -> Result<Self, InvalidId> {
        if text.is_empty() { Ok(Self::default()) } else { text.parse() }
    }
}

/// `cloud:region[:cluster]`, e.g. `aws:us-east-1`, `aws:us-east-1:shadow`, `onprem:berlin-2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegionId(String);

impl RegionId {
    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn part(&self, index: usize) -> Option<&str> {
        self.0.split(':').nth(index)
    }

    /// `aws` in `aws:us-east-1:shadow`.
    pub fn cloud(&self) -> &str {
        self.part(0).unwrap_or_default()
    }

    /// `us-east-1` in `aws:us-east-1:shadow`.
    pub fn region(&self) -> &str {
        self.part(1).unwrap_or_default()
    }

    /// `shadow` in `aws:us-east-1:shadow`.
    pub fn cluster(&self) -> Option<&str> {
        self.part(2)
    }

    /// The id with `.` for `:`, for topic names, labels and file names.
    pub fn dotted(&self) -> String {
        self.0.replace(':', ".")
    }
}

impl FromStr for RegionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        const KIND: &str = "region id";
        let form = "write cloud:region or cloud:region:cluster, e.g. aws:us-east-1";
        let parts: Vec<&str> = text.split(':').collect();
        if !(2..=3).contains(&parts.len()) {
            return Err(invalid(text, KIND, format!("it has {} part(s); {form}", parts.len())));
        }
        for part in &parts {
            check_label(part, 30)
                .map_err(|problem| invalid(text, KIND, format!("part {part:?}: {problem}; {form}")))?;
        }
        // As a label value, dotted, it may have 63 characters.
        if text.len() > 63 {
            return Err(invalid(
                text,
                KIND,
                format!("it has {} characters, at most 63 are allowed", text.len()),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for RegionId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<RegionId> for String {
    fn from(id: RegionId) -> String {
        id.0
    }
}

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one resource within a region: what intake, reconcile and report key their work by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceKey {
    /// Its site.
    pub site: SiteName,
    /// Its name.
    pub name: ResourceName,
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.site, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(), &str>) {
        match (text.parse::<RegionId>(), expected) {
            (Ok(id), Ok(())) => assert_eq!(id.as_str(), text),
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{error} should contain {part:?}");
            }
            (result, _) => panic!("{text:?} gave {result:?}"),
        }
    }

    #[test]
    fn a_region_id_is_cloud_region_and_perhaps_cluster() {
        check("aws:us-east-1", Ok(()));
        check("aws:us-east-1:shadow", Ok(()));
        check("onprem:berlin-2", Ok(()));
        check("aws", Err("write cloud:region"));
        check("", Err("write cloud:region"));
        check("aws:us-east-1:a:b", Err("4 part(s)"));
        check("aws:", Err("it is empty"));
        check("aws:US-east-1", Err("'U' is not allowed"));
        check("aws:us east", Err("' ' is not allowed"));
        check("aws:1us", Err("must start with a lower-case letter"));
        check("aws:us-", Err("must not end with '-'"));
    }

    #[test]
    fn names_fit_into_dns_labels() {
        assert!("a".repeat(40).parse::<ResourceName>().is_ok());
        let error = "a".repeat(41).parse::<ResourceName>().unwrap_err();
        assert!(error.to_string().contains("at most 40"), "{error}");
        assert_eq!(SiteName::from_request("").unwrap().as_str(), "default");
        let error = "system".parse::<SiteName>().unwrap_err();
        assert!(error.to_string().contains("reserved"), "{error}");
    }
}
