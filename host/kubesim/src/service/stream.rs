//! Watches: changes as they happen, as lines of JSON.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube::core::Status;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::list::Filter;
use super::view::View;
use super::{ApiResponse, Call, table, to_bytes};
use crate::status::{self, Result};
use crate::store::{Event, Store, Verb, Watch};

/// How long a client is kept waiting that doesn't say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// No watch lasts longer, whatever the client says; no clock reaches as far as some numbers do.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a quiet watch says how far it is.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// The annotation on the bookmark that ends the initial events.
const INITIAL_END: &str = "k8s.io/initial-events-end";

struct Streaming {
    call: Call,
    filter: Filter,
    watch: Option<Watch>,
    /// Lines to be sent before the next change.
    lines: VecDeque<Bytes>,
    /// Whether the columns of the table that is sent are known already.
    named: bool,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
}

/// Starts a watch.
pub(crate) fn answer(store: &Store, call: Call) -> Result<ApiResponse> {
    call.query.check_list(true)?;
    let filter = Filter::of(&call)?;
    let timeout = call.query.number("timeoutSeconds")?.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    let timeout = timeout.min(LONGEST_TIMEOUT);
    let bookmarks = call.query.is_on("allowWatchBookmarks");
    let initial = call.query.get("sendInitialEvents").map(|_| call.query.is_on("sendInitialEvents"));
    let from = call.query.number("resourceVersion")?.unwrap_or_default();
    let mut streaming = Streaming {
        filter,
        watch: None,
        lines: VecDeque::new(),
        named: false,
        bookmarks,
        next_bookmark: Instant::now() + BOOKMARK_EVERY,
        end: Instant::now() + timeout,
        call,
    };
    streaming.begin(store, from, initial)?;
    let frames = stream::unfold(streaming, |mut streaming| async move {
        let line = streaming.next_line().await?;
        Some((Ok::<_, std::convert::Infallible>(Frame::data(line)), streaming))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    Ok(response)
}

impl Streaming {
    /// Finds where to start: at the asked revision, or with everything that is there.
    fn begin(&mut self, store: &Store, from: u64, initial: Option<bool>) -> Result<()> {
        let what = &self.call.kind.resource;
        let current = store.revision();
        if from > current && initial == Some(true) {
            return Err(status::too_large_revision(from, current));
        }
        if initial.unwrap_or(from == 0) {
            let (listing, watch) = store.list_and_watch(what)?;
            for object in &listing.items {
                if self.filter.matches(object) {
                    let line = self.line("ADDED", object);
                    self.lines.push_back(line);
                }
            }
            if initial == Some(true) && self.bookmarks {
                let line = self.bookmark(listing.revision, true);
                self.lines.push_back(line);
            }
            self.watch = Some(watch);
            return Ok(());
        }
        let start = if from == 0 { current } else { from };
        match store.watch(what, start) {
            Ok(watch) => self.watch = Some(watch),
            // A watch that can't start is told so in the stream, as by a real server.
            Err(refusal) => self.lines.push_back(error_line(&refusal)),
        }
        Ok(())
    }

    /// The next lines; `None` ends the watch. Changes that are there already go out together.
    async fn next_line(&mut self) -> Option<Bytes> {
        loop {
            if let Some(first) = self.lines.pop_front() {
                return Some(self.gather(first));
            }
            let watch = self.watch.as_mut()?;
            let wait = if self.bookmarks { self.end.min(self.next_bookmark) } else { self.end };
            match tokio::time::timeout_at(wait, watch.next()).await {
                Ok(Ok(event)) => self.take(&event),
                Ok(Err(refusal)) => {
                    self.watch = None;
                    if refusal.code == 410 {
                        self.lines.push_back(error_line(&refusal));
                    }
                }
                Err(_) => self.tick(),
            }
        }
    }

    fn gather(&mut self, first: Bytes) -> Bytes {
        const ENOUGH: usize = 64 * 1024;
        if self.lines.is_empty() {
            return first;
        }
        let mut out = first.to_vec();
        while out.len() < ENOUGH
            && let Some(line) = self.lines.pop_front()
        {
            out.extend_from_slice(&line);
        }
        out.into()
    }

    /// A change, as those see it who see only what their selector selects.
    fn take(&mut self, event: &Event) {
        let is = event.verb != Verb::Deleted && self.filter.matches(&event.object);
        let was = event.previous.as_deref().is_some_and(|before| self.filter.matches(before));
        let verb = match (was, is) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return,
        };
        let line = match &event.previous {
            // It left the selection: shown as it was, at the revision it left.
            Some(before) if verb == "DELETED" && event.verb == Verb::Modified => {
                let mut last = (**before).clone();
                last["metadata"]["resourceVersion"] = event.revision.to_string().into();
                self.line(verb, &last)
            }
            _ => self.line(verb, &event.object),
        };
        self.lines.push_back(line);
    }

    fn tick(&mut self) {
        let ended = Instant::now() >= self.end;
        if self.bookmarks
            && let Some(revision) = self.watch.as_ref().and_then(Watch::caught_up)
        {
            let line = self.bookmark(revision, false);
            self.lines.push_back(line);
        }
        self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
        if ended {
            self.watch = None;
        }
    }

    fn line(&mut self, verb: &str, object: &Value) -> Bytes {
        let mut out = format!("{{\"type\":\"{verb}\",\"object\":").into_bytes();
        let written = match self.call.view {
            View::Table(include) => {
                let first = !std::mem::replace(&mut self.named, true);
                self.call.tabled(object, include, first)
            }
            _ => self.call.written(object),
        };
        out.extend_from_slice(&written);
        out.extend_from_slice(b"}\n");
        out.into()
    }

    fn bookmark(&mut self, revision: u64, ends_initial: bool) -> Bytes {
        let mut meta = json!({"resourceVersion": revision.to_string()});
        if ends_initial {
            meta["annotations"] = json!({INITIAL_END: "true"});
        }
        let object = json!({"kind": self.call.kind.kind, "metadata": meta,
            "apiVersion": self.call.kind.api_version(&self.call.target.version)});
        if let View::Table(include) = self.call.view {
            let none = std::iter::empty();
            let object = table::table(&self.call.kind, none, object["metadata"].clone(), include, false);
            return [b"{\"type\":\"BOOKMARK\",\"object\":", to_bytes(&object).as_slice(), b"}\n"]
                .concat()
                .into();
        }
        self.line("BOOKMARK", &object)
    }
}

/// A watch that only says why it can't be.
pub(crate) fn error_stream(refusal: &Status) -> ApiResponse {
    super::json_response(http::StatusCode::OK, error_line(refusal).to_vec())
}

fn error_line(refusal: &Status) -> Bytes {
    let mut object = serde_json::to_value(refusal).unwrap_or_default();
    object["kind"] = "Status".into();
    object["apiVersion"] = "v1".into();
    object["metadata"] = json!({});
    let mut out = to_bytes(&json!({"type": "ERROR", "object": object}));
    out.push(b'\n');
    out.into()
}
