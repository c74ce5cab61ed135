//! `pods/<name>/log`: what a container wrote, and on demand what it goes on writing.

use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::{ApiResponse, ApiService, Call, full};
use crate::kinds::PODS;
use crate::status::{self, Result};
use crate::workloads::LogQuery;

/// Answers a request for a log.
pub(super) async fn answer(api: &ApiService, call: &Call) -> Result<ApiResponse> {
    let query = &call.query;
    let unsupported = ["sinceSeconds", "sinceTime"].iter().find(|name| query.get(name).is_some());
    let times = query.is_on("timestamps").then_some(&"timestamps");
    let one_stream = query.get("stream").is_some_and(|stream| stream != "All").then_some(&"stream");
    if let Some(name) = unsupported.or(times).or(one_stream) {
        return Err(status::not_implemented(format!("{name} of logs")));
    }
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let (lines, limit) = (query.number("tailLines")?.map(size), query.number("limitBytes")?.map(size));
    let key = call.key();
    api.store.get(&PODS, &key.namespace, &key.name)?;
    let wanted = LogQuery {
        container: query.get("container").map(str::to_owned),
        previous: query.is_on("previous"),
        tail_lines: lines,
    };
    let body = if query.is_on("follow") && !wanted.previous {
        let follower =
            api.running.follow(&key.namespace, &key.name, &wanted).await.map_err(status::bad_request)?;
        let left = limit.unwrap_or(usize::MAX);
        let frames = stream::unfold((follower, left), |(mut follower, left)| async move {
            let bytes: Bytes = if left == 0 { None } else { follower.next().await }?;
            let bytes = bytes.slice(..bytes.len().min(left));
            let left = left - bytes.len();
            Some((Ok(Frame::data(bytes)), (follower, left)))
        });
        StreamBody::new(frames).boxed_unsync()
    } else {
        let mut text =
            api.running.logs(&key.namespace, &key.name, &wanted).await.map_err(status::bad_request)?;
        text.truncate(limit.unwrap_or(usize::MAX));
        full(text)
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}
