//! Lists: selected, in pages, consistent at one revision.

use http::StatusCode;
use serde_json::{Value, json};

use super::view::View;
use super::{ApiResponse, Call, json_response};
use crate::kinds::GroupResource;
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::{self, Result};
use crate::store::{Key, Listing, Object, Store, key_of};

/// One page of a list.
pub(crate) struct Page {
    pub revision: u64,
    pub items: Vec<Object>,
    next: Option<String>,
    remaining: Option<usize>,
}

/// What a list or a watch is restricted to.
pub(crate) struct Filter {
    labels: LabelSelector,
    fields: FieldSelector,
    namespace: Option<String>,
}

impl Filter {
    pub fn of(call: &Call) -> Result<Filter> {
        let mut fields = call.query.get("fieldSelector").unwrap_or_default().to_owned();
        if call.event_view {
            fields = fields
                .replace("regarding.", "involvedObject.")
                .replace("reportingController", "reportingComponent");
        }
        Ok(Filter {
            labels: LabelSelector::parse(call.query.get("labelSelector").unwrap_or_default())?,
            fields: FieldSelector::parse(&fields, &call.kind.kind, call.kind.custom.is_some())?,
            namespace: call.target.scoped.then(|| call.target.namespace.clone()),
        })
    }

    pub fn matches(&self, object: &Value) -> bool {
        self.in_scope(object) && self.labels.matches(object) && self.fields.matches(object)
    }

    fn in_scope(&self, object: &Value) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| object["metadata"]["namespace"] == namespace)
    }

    fn is_open(&self) -> bool {
        self.labels == LabelSelector::default() && self.fields == FieldSelector::default()
    }
}

pub(crate) fn answer(store: &Store, call: &Call) -> Result<ApiResponse> {
    let page = select(store, call)?;
    Ok(json_response(StatusCode::OK, write(call, &page)))
}

/// Reads the page that a call asks for.
pub(crate) fn select(store: &Store, call: &Call) -> Result<Page> {
    call.query.check_list(false)?;
    let filter = Filter::of(call)?;
    let namespace = filter.namespace.as_deref();
    let what = &call.kind.resource;
    let wanted = call.query.number("resourceVersion")?.unwrap_or_default();
    let limit = usize::try_from(call.query.number("limit")?.unwrap_or_default()).unwrap_or_default();
    let exactly = match call.query.get("resourceVersionMatch") {
        Some(wanted) => wanted == "Exact",
        // A page of an old list has always been a page of exactly that list.
        None => limit > 0 && wanted > 0,
    };
    let (listing, start) = match call.query.get("continue") {
        Some(token) => {
            if wanted > 0 {
                let message = "specifying resource version is not allowed when using continue";
                return Err(status::bad_request(message));
            }
            let (revision, start) = read_token(token)?;
            let gone = |refusal: Box<kube::core::Status>| {
                if refusal.code == 410 { status::continue_expired() } else { refusal }
            };
            (store.list_at(what, namespace, revision).map_err(gone)?, Some(start))
        }
        None if exactly => (store.list_at(what, namespace, wanted)?, None),
        None => match call.stale_by {
            Some(back) => (stale(store, what, namespace, back)?, None),
            None => (store.list(what, namespace)?, None),
        },
    };
    if wanted > listing.revision {
        return Err(status::too_large_revision(wanted, listing.revision));
    }
    let after_start = |object: &Object| start.as_ref().is_none_or(|start| key_of(object) > *start);
    let mut page = Page { revision: listing.revision, items: Vec::new(), next: None, remaining: None };
    let mut rest = listing.items.into_iter().filter(after_start);
    while limit == 0 || page.items.len() < limit {
        let Some(object) = rest.next() else { return Ok(page) };
        if filter.matches(&object) {
            page.items.push(object);
        }
    }
    // Whether what is left is selected is the next page's business, which may well be empty.
    let left = rest.count();
    if left > 0 {
        page.next = page.items.last().map(|last| write_token(listing.revision, &key_of(last)));
        page.remaining = filter.is_open().then_some(left);
    }
    Ok(page)
}

/// The list as it was some revisions ago, or as long ago as the history reaches.
pub(crate) fn stale(
    store: &Store,
    what: &GroupResource,
    namespace: Option<&str>,
    back: u64,
) -> Result<Listing> {
    let wanted = store.revision().saturating_sub(back);
    store.list_at(what, namespace, wanted.max(store.oldest(what)?))
}

/// Writes a page out, item by item and without copying them.
pub(crate) fn write(call: &Call, page: &Page) -> Vec<u8> {
    let mut meta = json!({"resourceVersion": page.revision.to_string()});
    if call.kind.custom.is_some() && call.view == View::Whole {
        meta["continue"] = "".into();
    }
    if let Some(next) = &page.next {
        meta["continue"] = next.as_str().into();
    }
    if let Some(remaining) = page.remaining {
        meta["remainingItemCount"] = remaining.into();
    }
    if let View::Table(include) = call.view {
        let rows = page.items.iter().map(|object| &**object);
        return super::to_bytes(&super::table::table(&call.kind, rows, meta, include, true));
    }
    let (version, kind) = if call.view == View::Metadata {
        ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList")
    } else if call.event_view {
        (format!("{}/v1", crate::events::GROUP), "EventList")
    } else {
        (call.kind.api_version(&call.target.version), call.kind.list_kind.as_str())
    };
    let head = json!({"kind": kind, "apiVersion": version, "metadata": meta});
    let mut out = super::to_bytes(&head);
    out.pop();
    out.extend_from_slice(b",\"items\":[");
    for (at, object) in page.items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&call.listed(object));
    }
    out.extend_from_slice(b"]}");
    out
}

fn write_token(revision: u64, last: &Key) -> String {
    let text = json!([revision, last.namespace, last.name]).to_string();
    text.bytes().map(|b| format!("{b:02x}")).collect()
}

fn read_token(token: &str) -> Result<(u64, Key)> {
    let refuse = || status::bad_request("invalid continue token: continue key is not valid");
    let bytes: Option<Vec<u8>> = (0..token.len() / 2)
        .map(|at| token.get(2 * at..2 * at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    let parts: (u64, String, String) =
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or_else(refuse)?;
    Ok((parts.0, Key::new(parts.1, parts.2)))
}
