//! How a client wants to see objects: whole, their metadata alone, or as a table; by its `Accept`.

use http::{HeaderMap, header};
use serde_json::Value;

use super::query::Query;
use super::table::Include;
use crate::status::{self, Result};

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Whole,
    Metadata,
    Table(Include),
}

impl View {
    /// The first of the accepted forms that there is.
    pub fn of(headers: &HeaderMap, query: &Query) -> Result<View> {
        let accept: Vec<&str> = headers
            .get_all(header::ACCEPT)
            .into_iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|range| !range.is_empty())
            .collect();
        if accept.is_empty() {
            return Ok(View::Whole);
        }
        accept.iter().find_map(|range| shown(range, query)).ok_or_else(status::not_acceptable)
    }
}

/// What one of the accepted media types asks for, if it is served.
fn shown(range: &str, query: &Query) -> Option<View> {
    let mut parts = range.split(';').map(str::trim);
    if !["application/json", "application/*", "*/*"].contains(&parts.next()?) {
        return None;
    }
    let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let get = |name: &str| parameters.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
    let form = get("as");
    if form.is_some() && (get("g") != Some("meta.k8s.io") || get("v") != Some("v1")) {
        return None;
    }
    match form {
        None => Some(View::Whole),
        Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Some(View::Metadata),
        Some("Table") => Some(View::Table(match query.get("includeObject") {
            Some("None") => Include::Nothing,
            Some("Object") => Include::Object,
            _ => Include::Metadata,
        })),
        Some(_) => None,
    }
}

/// The part of an object's metadata that a table of it alone has.
pub(crate) fn table_meta(object: &Value) -> Value {
    serde_json::json!({"resourceVersion": object["metadata"]["resourceVersion"]})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_first_form_that_there_is_counts() {
        let check = |accept: &str, wanted: Option<View>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            assert_eq!(View::of(&headers, &Query::default()).ok(), wanted, "{accept}");
        };
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        check("application/json", Some(View::Whole));
        check("*/*", Some(View::Whole));
        check("application/vnd.kubernetes.protobuf,application/json", Some(View::Whole));
        check("application/vnd.kubernetes.protobuf", None);
        check(&format!("{table},application/json"), Some(View::Table(Include::Metadata)));
        check("application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json", Some(View::Whole));
        check("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Some(View::Metadata));
    }
}
