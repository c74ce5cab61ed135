//! SPDY/3.1 on the wire, as much as `kubectl` up to 1.29 and its Go library speak: streams that are opened, answered,
//! written and closed. No flow control, which that library does not have either.

use std::io;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What both sides have seen before the first header (the draft's section 2.6.10.1).
static DICTIONARY: &[u8] = include_bytes!("spdy-dictionary.bin");

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
/// The sender writes no more to the stream.
const FIN: u8 = 1;

/// A frame that is longer is no client's.
const LONGEST_FRAME: usize = 4 * 1024 * 1024;
/// Headers that are longer, decompressed, are an attack.
const LONGEST_HEADERS: usize = 64 * 1024;

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// It opens a stream; its headers' names are in lower case.
    Open { stream: u32, headers: Vec<(String, String)> },
    /// It writes to one; maybe for the last time.
    Data { stream: u32, data: Bytes, last: bool },
    /// It asks whether we are there.
    Ping([u8; 4]),
    /// It goes.
    GoAway,
    /// Something that needs no answer.
    Other,
}

/// Reads a client's frames. Headers depend on all headers before them, so no frame may be left out.
pub struct Frames<R> {
    from: R,
    inflate: Decompress,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub fn new(from: R) -> Self {
        Self { from, inflate: Decompress::new(true) }
    }

    /// The next frame; `None` when the client is gone.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        let mut head = [0; 8];
        match self.from.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        };
        let [a, b, c, d, flags, length @ ..] = head;
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        if length > LONGEST_FRAME {
            return Err(bad("a frame that is too long"));
        }
        let mut body = vec![0; length];
        self.from.read_exact(&mut body).await?;
        if a & 0x80 == 0 {
            let stream = u32::from_be_bytes([a, b, c, d]);
            return Ok(Some(Frame::Data { stream, data: body.into(), last: flags & FIN != 0 }));
        }
        if u16::from_be_bytes([a & 0x7f, b]) != VERSION {
            return Err(bad("another version of SPDY"));
        }
        self.control(u16::from_be_bytes([c, d]), &body).map(Some)
    }

    fn control(&mut self, kind: u16, body: &[u8]) -> io::Result<Frame> {
        match (kind, body) {
            (SYN_STREAM, [a, b, c, d, _, _, _, _, _, _, compressed @ ..]) => {
                let stream = u32::from_be_bytes([a & 0x7f, *b, *c, *d]);
                Ok(Frame::Open { stream, headers: self.headers(compressed)? })
            }
            (SYN_REPLY | HEADERS, [_, _, _, _, compressed @ ..]) => {
                self.headers(compressed)?;
                Ok(Frame::Other)
            }
            (PING, [a, b, c, d]) => Ok(Frame::Ping([*a, *b, *c, *d])),
            (GOAWAY, _) => Ok(Frame::GoAway),
            (SYN_STREAM | SYN_REPLY | HEADERS | PING, _) => Err(bad("a frame that is too short")),
            _ => Ok(Frame::Other),
        }
    }

    fn headers(&mut self, mut compressed: &[u8]) -> io::Result<Vec<(String, String)>> {
        let mut plain = Vec::with_capacity(LONGEST_HEADERS);
        while !compressed.is_empty() {
            let before = self.inflate.total_in();
            let result = self.inflate.decompress_vec(compressed, &mut plain, FlushDecompress::Sync);
            let used = usize::try_from(self.inflate.total_in() - before).map_err(io::Error::other)?;
            compressed = &compressed[used..];
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate.set_dictionary(DICTIONARY).map_err(io::Error::other)?;
                }
                Err(error) => return Err(io::Error::other(error)),
                Ok(_) if used == 0 => return Err(bad("headers that are too long, or broken off")),
                Ok(_) => {}
            }
        }
        pairs(&plain).ok_or_else(|| bad("headers that don't add up"))
    }
}

/// How many, then each name and value with its length.
fn pairs(plain: &[u8]) -> Option<Vec<(String, String)>> {
    fn number(rest: &mut &[u8]) -> Option<usize> {
        let (first, tail) = rest.split_first_chunk::<4>()?;
        *rest = tail;
        usize::try_from(u32::from_be_bytes(*first)).ok()
    }
    fn text(rest: &mut &[u8]) -> Option<String> {
        let length = number(rest)?;
        let (text, tail) = rest.split_at_checked(length)?;
        *rest = tail;
        Some(String::from_utf8_lossy(text).into_owned())
    }
    let mut rest = plain;
    let count = number(&mut rest)?;
    (0..count).map(|_| Some((text(&mut rest)?.to_lowercase(), text(&mut rest)?))).collect()
}

/// Writes our frames.
pub struct Writer<W> {
    to: W,
    deflate: Compress,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub fn new(to: W) -> io::Result<Self> {
        let mut deflate = Compress::new(Compression::fast(), true);
        deflate.set_dictionary(DICTIONARY).map_err(io::Error::other)?;
        Ok(Self { to, deflate })
    }

    /// Accepts a stream.
    pub async fn accept(&mut self, stream: u32) -> io::Result<()> {
        const NO_HEADERS: [u8; 4] = [0; 4];
        let mut body = Vec::with_capacity(256);
        body.extend(stream.to_be_bytes());
        let deflated = self.deflate.compress_vec(&NO_HEADERS, &mut body, FlushCompress::Sync);
        deflated.map_err(io::Error::other)?;
        self.control(SYN_REPLY, &body).await
    }

    /// Writes to a stream; for the last time, if so.
    pub async fn data(&mut self, stream: u32, data: &[u8], last: bool) -> io::Result<()> {
        self.frame(stream.to_be_bytes(), if last { FIN } else { 0 }, data).await
    }

    /// Says that we are there.
    pub async fn pong(&mut self, id: [u8; 4]) -> io::Result<()> {
        self.control(PING, &id).await
    }

    /// Ends the connection.
    pub async fn close(&mut self) -> io::Result<()> {
        self.to.shutdown().await
    }

    async fn control(&mut self, kind: u16, body: &[u8]) -> io::Result<()> {
        let [[a, b], [c, d]] = [VERSION.to_be_bytes(), kind.to_be_bytes()];
        self.frame([a | 0x80, b, c, d], 0, body).await
    }

    async fn frame(&mut self, head: [u8; 4], flags: u8, body: &[u8]) -> io::Result<()> {
        let [_, length @ ..] = u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes();
        let [x, y, z] = length;
        let [a, b, c, d] = head;
        self.to.write_all(&[&[a, b, c, d, flags, x, y, z], body].concat()).await?;
        self.to.flush().await
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the client sent {what}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What a Go client sends to open a stream with these headers.
    fn open(deflate: &mut Compress, stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
        let word = |text: &str| [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
        let mut plain = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
        headers.iter().for_each(|(name, value)| plain.extend([word(name), word(value)].concat()));
        let mut body = [stream.to_be_bytes(), [0; 4]].concat();
        body.extend([0, 0]);
        body.reserve(1024);
        deflate.compress_vec(&plain, &mut body, FlushCompress::Sync).unwrap();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[0x80, 3, 0, 1, 0], &length[1..], &body].concat()
    }

    #[tokio::test]
    async fn headers_are_understood_in_the_light_of_those_before() {
        let mut deflate = Compress::new(Compression::default(), true);
        deflate.set_dictionary(DICTIONARY).unwrap();
        let sent = [
            open(&mut deflate, 1, &[("streamType", "error")]),
            open(&mut deflate, 3, &[("streamType", "stdout"), ("other", "x")]),
            vec![0, 0, 0, 3, FIN, 0, 0, 2, b'h', b'i'],
            vec![0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 9],
        ]
        .concat();
        let mut frames = Frames::new(sent.as_slice());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut check = async |wanted: Option<Frame>| assert_eq!(frames.next().await.unwrap(), wanted);
        check(Some(Frame::Open { stream: 1, headers: vec![pair("streamtype", "error")] })).await;
        let both = vec![pair("streamtype", "stdout"), pair("other", "x")];
        check(Some(Frame::Open { stream: 3, headers: both })).await;
        check(Some(Frame::Data { stream: 3, data: Bytes::from_static(b"hi"), last: true })).await;
        check(Some(Frame::Ping([0, 0, 0, 9]))).await;
        check(None).await;
    }

    #[tokio::test]
    async fn what_is_no_spdy_is_an_error_and_not_a_panic() {
        for sent in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &[0x80, 2, 0, 1, 0, 0, 0, 0],
            &[0x80, 3, 0, 1, 0, 0, 0, 2, 1, 1],
            &[0x80, 3, 0, 1, 0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff],
            &[0x80, 3, 0, 6, 0, 0, 0, 1, 1],
        ] {
            assert!(Frames::new(sent).next().await.is_err(), "{sent:?}");
        }
    }
}
