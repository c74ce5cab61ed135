//! The query of a request, and what it says about who asks.

use http::request::Parts;
use http::{Method, header};

use crate::status::{self, Cause, Result};

/// Query parameters, decoded.
#[derive(Debug, Default)]
pub struct Query {
    parameters: Vec<(String, String)>,
    /// The field manager of a client that doesn't name one: the first word of its user agent.
    pub agent: String,
}

impl Query {
    /// Reads the query of a request.
    pub fn of(head: &Parts) -> Query {
        let parameters = head
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
            })
            .collect();
        let agent = head.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("unknown");
        Query { parameters, agent: agent.split('/').next().unwrap_or_default().to_owned() }
    }

    /// A parameter that is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    /// All values of a parameter that may be given more than once.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.parameters.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is `true` or `1`.
    pub fn is_on(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1"))
    }

    /// A number; 400 if it is none.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        let refuse = |text: &str| {
            status::bad_request(if name == "resourceVersion" {
                let problem = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
                format!("invalid resource version: {name}: Invalid value: {text:?}: {problem}")
            } else {
                format!("{name}: Invalid value: {text:?}: must be a number")
            })
        };
        self.get(name).map(|text| text.parse().map_err(|_| refuse(text))).transpose()
    }

    /// Refuses values that mean nothing, for the parameters of all verbs.
    pub fn check(&self, method: &Method) -> Result<()> {
        let options = match *method {
            Method::POST => "CreateOptions",
            Method::PUT => "UpdateOptions",
            Method::PATCH => "PatchOptions",
            _ => "DeleteOptions",
        };
        if let Some(value) = self.get("dryRun").filter(|value| *value != "All") {
            let cause = Cause::not_supported("dryRun", &[value].as_slice().into(), &["All"]);
            return Err(status::invalid(options, "meta.k8s.io", "", &[cause]));
        }
        let validations = ["", "Ignore", "Strict", "Warn"];
        if let Some(value) = self.get("fieldValidation").filter(|value| !validations.contains(value)) {
            let cause = Cause::not_supported("fieldValidation", &value.into(), &validations);
            return Err(status::invalid(options, "meta.k8s.io", "", &[cause]));
        }
        if let Some(value) = self.get("fieldManager").filter(|value| value.len() > 128) {
            let message = "Too long: may not be more than 128 bytes".to_owned();
            let cause = Cause { reason: "FieldValueTooLong", field: "fieldManager".into(), message };
            tracing::debug!(value, "field manager refused");
            return Err(status::invalid(options, "meta.k8s.io", "", &[cause]));
        }
        Ok(())
    }
}

impl Query {
    /// Refuses combinations that a list, or a watch, can't have.
    pub fn check_list(&self, watch: bool) -> Result<()> {
        const MATCH: &str = "resourceVersionMatch";
        let mut causes = Vec::new();
        let mut forbid = |field: &str, detail: &str| causes.push(Cause::forbidden(field, detail));
        let initial = self.get("sendInitialEvents").is_some();
        let wanted = self.get(MATCH);
        if watch && initial && wanted != Some("NotOlderThan") {
            forbid(MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        if !watch && initial {
            forbid("sendInitialEvents", "sendInitialEvents is forbidden for list");
        }
        if let Some(wanted) = wanted {
            if watch && !initial {
                forbid(
                    MATCH,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                );
            }
            if !watch && self.get("resourceVersion").is_none() {
                forbid(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if self.get("continue").is_some() {
                forbid(MATCH, "resourceVersionMatch is forbidden when continue is provided");
            }
            if !watch && wanted == "Exact" && self.get("resourceVersion") == Some("0") {
                forbid(MATCH, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
            if !["Exact", "NotOlderThan"].contains(&wanted) {
                causes.push(Cause::not_supported(MATCH, &wanted.into(), &["Exact", "NotOlderThan", ""]));
            }
        }
        if causes.is_empty() {
            Ok(())
        } else {
            Err(status::invalid("ListOptions", "meta.k8s.io", "", &causes))
        }
    }
}

/// Percent-decodes; what isn't UTF-8 is replaced.
pub fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |b: u8| char::from(b).to_digit(16);
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                let value = hex(*high).unwrap_or_default() * 16 + hex(*low).unwrap_or_default();
                bytes.push(u8::try_from(value).unwrap_or_default());
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
