//! kube-apiserver's own record of what a ServiceAccount asked of it; `tests/cluster/audit.yaml` has it written.

use std::{collections::BTreeSet, fmt, path::Path};

use serde_json::Value;

/// A verb on a resource of a group. Of our custom resources, all count as `*`: the rules name none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    group: String,
    resource: String,
    verb: String,
}

impl Right {
    /// `("", "pods/exec", "get")`
    pub fn new(group: &str, resource: &str, verb: &str) -> Self {
        Self { group: group.into(), resource: resource.into(), verb: verb.into() }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{}", self.verb, self.resource, self.group)
    }
}

/// What somebody did, and what it was not allowed to.
#[derive(Debug, Default)]
pub struct Record {
    /// Of every request that was allowed.
    pub used: BTreeSet<Right>,
    /// Verb and path of every request that was not.
    pub refused: Vec<String>,
}

impl Record {
    /// Reads what the log has of users whose name ends so. `None`: there is no log.
    pub fn read(log: &Path, user: &str) -> Option<Self> {
        let text = std::fs::read_to_string(log).ok()?;
        let mut record = Self::default();
        let named = text.lines().filter(|line| line.contains(user));
        // The last line may be half written.
        for event in named.filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if event["user"]["username"].as_str().is_some_and(|name| name.ends_with(user)) {
                record.note(&event);
            }
        }
        Some(record)
    }

    fn note(&mut self, event: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if event["annotations"]["authorization.k8s.io/decision"] != "allow" {
            self.refused.push(format!("{} {}", text(&event["verb"]), text(&event["requestURI"])));
            return;
        }
        let object = &event["objectRef"];
        let (group, verb) = (text(&object["apiGroup"]), text(&event["verb"]));
        let resource = match object["subresource"].as_str() {
            _ if group == senren_api::GROUP => "*".to_owned(),
            Some(subresource) => format!("{}/{subresource}", text(&object["resource"])),
            None => text(&object["resource"]),
        };
        // A server-side apply of what is not there needs both.
        if verb == "patch" && event["responseStatus"]["code"] == 201 {
            self.used.insert(Right::new(&group, &resource, "create"));
        }
        self.used.insert(Right::new(&group, &resource, &verb));
    }
}
