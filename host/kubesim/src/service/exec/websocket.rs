//! The streams of a command over a WebSocket: each binary message is one byte that names the stream, and data.
//!
//! `v5.channel.k8s.io` has a message for the end of a stream, `v4.channel.k8s.io` has none. The last message is the
//! command's end, as a Status.

use std::time::Duration;

use bytes::Bytes;
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Size, Started, mentions, refused, verdict, words};
use crate::service::{ApiResponse, full, to_bytes};
use crate::status::{self, Result};
use crate::workloads::exec::{Event, Resize, Session, Writer};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// A message that is longer is no client's.
const LONGEST_MESSAGE: usize = 4 * 1024 * 1024;
/// How long a client may take to agree that it is over.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the messages mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V5,
}

/// Agrees to a handshake.
pub(super) fn accept(headers: &HeaderMap) -> Result<(Version, ApiResponse)> {
    let refuse = |why: &str| Err(status::bad_request(format!("unable to upgrade: {why}")));
    if !mentions(headers, &header::CONNECTION, "upgrade") {
        return refuse("the Connection header does not say Upgrade");
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return refuse("WebSocket version 13 is required");
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return refuse("there is no Sec-WebSocket-Key");
    };
    // The client's order is its preference.
    let version = words(headers, &header::SEC_WEBSOCKET_PROTOCOL).find_map(|protocol| match protocol {
        "v5.channel.k8s.io" => Some(Version::V5),
        "v4.channel.k8s.io" => Some(Version::V4),
        _ => None,
    });
    let Some(version) = version else {
        return refuse("the supported protocols are v5.channel.k8s.io and v4.channel.k8s.io");
    };
    let mut response = Response::new(full(Vec::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accepted = derive_accept_key(key.as_bytes());
    let told = response.headers_mut();
    told.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    told.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    told.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(accepted).map_err(status::internal)?);
    told.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(version.name()));
    Ok((version, response))
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Version::V4 => "v4.channel.k8s.io",
            Version::V5 => "v5.channel.k8s.io",
        }
    }
}

/// Carries a command's streams until it ends, or the client is gone: then the command goes too.
pub(super) async fn serve(connection: Upgraded, version: Version, session: Started) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LONGEST_MESSAGE))
        .max_frame_size(Some(LONGEST_MESSAGE));
    let stream = TokioIo::new(connection);
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let (mut send, mut receive) = socket.split();
    let told = match session {
        Ok(mut session) => {
            let (stdin, resize) = (session.stdin.take(), session.resize.take());
            tokio::select! {
                told = tell(&mut send, session) => told,
                () = hear(&mut receive, version, stdin, resize) => return,
            }
        }
        Err(refusal) => say(&mut send, STATUS, &to_bytes(&refused(&refusal))).await,
    };
    let farewell = async {
        told?;
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        send.send(Message::Close(Some(frame))).await?;
        while receive.next().await.transpose()?.is_some() {}
        Ok::<_, Error>(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(FAREWELL, farewell).await {
        tracing::debug!(%error, "a client was gone before the end of its command");
    }
}

/// Sends all that a command writes, and then its end.
async fn tell(
    send: &mut (impl Sink<Message, Error = Error> + Unpin),
    mut session: Session,
) -> std::result::Result<(), Error> {
    loop {
        match session.next().await {
            Event::Stdout(bytes) => say(send, STDOUT, &bytes).await?,
            Event::Stderr(bytes) => say(send, STDERR, &bytes).await?,
            Event::Ended(end) => return say(send, STATUS, &to_bytes(&verdict(end))).await,
        }
    }
}

async fn say(
    send: &mut (impl Sink<Message, Error = Error> + Unpin),
    stream: u8,
    data: &[u8],
) -> std::result::Result<(), Error> {
    send.send(Message::Binary([&[stream], data].concat().into())).await
}

/// Passes on all that the client sends; returns when it is gone.
async fn hear(
    receive: &mut (impl Stream<Item = std::result::Result<Message, Error>> + Unpin),
    version: Version,
    mut stdin: Option<Writer>,
    resize: Option<Resize>,
) {
    while let Some(Ok(message)) = receive.next().await {
        let data: Bytes = match message {
            Message::Binary(data) => data,
            Message::Text(text) => text.into(),
            Message::Close(_) => return,
            _ => continue,
        };
        match data.as_ref() {
            [STDIN, data @ ..] => {
                if let Some(writer) = &mut stdin
                    && writer.write_all(data).await.is_err()
                {
                    // The command reads no more; what is sent to it from now on is dropped.
                    stdin = None;
                }
            }
            [CLOSE, STDIN] if version == Version::V5 => stdin = None,
            [RESIZE, size @ ..] => {
                if let (Some(resize), Ok(size)) = (&resize, serde_json::from_slice::<Size>(size)) {
                    resize((size.width, size.height));
                }
            }
            _ => {}
        }
    }
}
