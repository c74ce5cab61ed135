//! The streams of a command over SPDY/3.1, one SPDY stream each: what `kubectl` up to 1.29 speaks (`v4.channel.k8s.io`).

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Mutex;

use super::spdy_frames::{Frame, Frames, Writer};
use super::{Size, verdict, words};
use crate::service::{ApiResponse, full, to_bytes};
use crate::status::{self, Result};
use crate::workloads::exec::{self, Event, ExecRequest, Resize, Session};

const VERSION: &str = "v4.channel.k8s.io";
/// How long a client may take to open its streams, and to agree that it is over.
const OPENING: Duration = Duration::from_secs(30);
const FAREWELL: Duration = Duration::from_secs(2);

/// Agrees to change the protocol.
pub(super) fn accept(headers: &HeaderMap) -> Result<ApiResponse> {
    let version = HeaderName::from_static("x-stream-protocol-version");
    let offered: Vec<&str> = words(headers, &version).collect();
    if !offered.contains(&VERSION) {
        return Err(status::forbidden_request(&format!(
            "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts [{VERSION:?}]"
        )));
    }
    let mut response = Response::new(full(Vec::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let told = response.headers_mut();
    told.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    told.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    told.insert(version, HeaderValue::from_static(VERSION));
    Ok(response)
}

/// Carries a command's streams until it ends, or the client is gone: then the command goes too.
pub(super) async fn serve(connection: Upgraded, request: &ExecRequest, session: Session) {
    let (read, write) = tokio::io::split(TokioIo::new(connection));
    if let Err(error) = carry(read, write, request, session).await {
        tracing::debug!(%error, "a client was gone before the end of its command");
    }
}

async fn carry(
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
    request: &ExecRequest,
    mut session: Session,
) -> io::Result<()> {
    let mut frames = Frames::new(read);
    let writer = Mutex::new(Writer::new(write)?);
    let opening = open(&mut frames, &writer, request);
    let opened = tokio::time::timeout(OPENING, opening).await.map_err(io::Error::other)??;
    let Some(streams) = opened else { return Ok(()) };
    let mut keyboard = Keyboard {
        stdin: session.stdin.take(),
        resize: session.resize.take(),
        streams: [stream(&streams, "stdin"), stream(&streams, "resize")],
    };
    tokio::select! {
        told = tell(&writer, &streams, session) => told?,
        heard = hear(&mut frames, &writer, &mut keyboard) => return heard,
    }
    let farewell = hear(&mut frames, &writer, &mut keyboard);
    // Out of patience, the connection is simply closed.
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
    writer.lock().await.close().await
}

fn stream(streams: &HashMap<String, u32>, kind: &str) -> Option<u32> {
    streams.get(kind).copied()
}

/// Waits until the client has opened all the streams there are to be; `None` if it goes before.
async fn open(
    frames: &mut Frames<impl AsyncRead + Unpin>,
    writer: &Mutex<Writer<impl AsyncWrite + Unpin>>,
    request: &ExecRequest,
) -> io::Result<Option<HashMap<String, u32>>> {
    let wanted = [
        ("error", true),
        ("stdin", request.stdin),
        ("stdout", request.stdout),
        ("stderr", request.stderr),
        ("resize", request.tty),
    ];
    let mut streams = HashMap::new();
    while !wanted.iter().all(|(kind, wanted)| !wanted || streams.contains_key(*kind)) {
        match frames.next().await? {
            Some(Frame::Open { stream, headers }) => {
                let kind = headers.into_iter().find(|(name, _)| name == "streamtype");
                streams.insert(kind.map(|(_, value)| value).unwrap_or_default(), stream);
                writer.lock().await.accept(stream).await?;
            }
            Some(Frame::Ping(id)) => writer.lock().await.pong(id).await?,
            Some(Frame::GoAway) | None => return Ok(None),
            Some(Frame::Data { .. } | Frame::Other) => {}
        }
    }
    Ok(Some(streams))
}

/// Sends all that a command writes, and then its end.
async fn tell(
    writer: &Mutex<Writer<impl AsyncWrite + Unpin>>,
    streams: &HashMap<String, u32>,
    mut session: Session,
) -> io::Result<()> {
    let say = async |kind: &str, data: &[u8], last: bool| match stream(streams, kind) {
        Some(stream) => writer.lock().await.data(stream, data, last).await,
        None => Ok(()),
    };
    loop {
        match session.next().await {
            Event::Stdout(bytes) => say("stdout", &bytes, false).await?,
            Event::Stderr(bytes) => say("stderr", &bytes, false).await?,
            Event::Ended(end) => {
                say("stdout", b"", true).await?;
                say("stderr", b"", true).await?;
                return say("error", &to_bytes(&verdict(end)), true).await;
            }
        }
    }
}

/// What a client can do to a command.
struct Keyboard {
    stdin: Option<exec::Writer>,
    resize: Option<Resize>,
    /// The streams of the two.
    streams: [Option<u32>; 2],
}

/// Passes on all that the client sends; returns when it is gone.
async fn hear(
    frames: &mut Frames<impl AsyncRead + Unpin>,
    writer: &Mutex<Writer<impl AsyncWrite + Unpin>>,
    keyboard: &mut Keyboard,
) -> io::Result<()> {
    let [stdin, resize] = keyboard.streams;
    loop {
        match frames.next().await? {
            Some(Frame::Data { stream, data, last }) if Some(stream) == stdin => {
                if let Some(to) = &mut keyboard.stdin
                    && (to.write_all(&data).await.is_err() || last)
                {
                    // It is the end, or the command reads no more.
                    keyboard.stdin = None;
                }
            }
            Some(Frame::Data { stream, data, .. }) if Some(stream) == resize => {
                let sizes = serde_json::Deserializer::from_slice(&data).into_iter::<Size>();
                if let (Some(resize), Some(Ok(size))) = (&keyboard.resize, sizes.last()) {
                    resize((size.width, size.height));
                }
            }
            Some(Frame::Ping(id)) => writer.lock().await.pong(id).await?,
            Some(Frame::GoAway) | None => return Ok(()),
            Some(Frame::Open { .. } | Frame::Data { .. } | Frame::Other) => {}
        }
    }
}
