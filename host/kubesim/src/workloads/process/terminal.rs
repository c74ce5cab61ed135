//! A terminal of a container's own, for `exec -t`: made in the container's `/dev/pts`, so that `tty` in there tells
//! its name.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    os::unix::fs::OpenOptionsExt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    net::unix::pipe,
};

use crate::workloads::exec::{Reader, Resize, Writer};

/// Our side of a terminal.
pub struct Terminal(File);

impl Terminal {
    /// Makes one in the container of this process; the other descriptor is the command's side.
    #[allow(unsafe_code)]
    pub fn open(pid: i32) -> io::Result<(Self, OwnedFd)> {
        let path = format!("/proc/{pid}/root/dev/pts/ptmx");
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
        let master = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        let unlocked: libc::c_int = 0;
        // SAFETY: TIOCSPTLCK reads one integer, which outlives the call.
        if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: TIOCGPTPEER takes flags and returns a new descriptor or -1.
        let slave = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
        if slave < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made for us and nobody else owns it.
        Ok((Self(master), unsafe { OwnedFd::from_raw_fd(slave) }))
    }

    /// What it shows.
    pub fn reader(&self) -> io::Result<Reader> {
        Ok(Box::pin(Shown(pipe::Receiver::from_file_unchecked(self.0.try_clone()?)?)))
    }

    /// Its keyboard.
    pub fn writer(&self) -> io::Result<Writer> {
        Ok(Box::pin(pipe::Sender::from_file_unchecked(self.0.try_clone()?)?))
    }

    /// Its size.
    #[allow(unsafe_code)]
    pub fn into_resize(self) -> Resize {
        Box::new(move |(columns, rows)| {
            let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // SAFETY: TIOCSWINSZ reads one structure, which outlives the call.
            if unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } < 0 {
                tracing::debug!(error = %io::Error::last_os_error(), "a terminal's size was not set");
            }
        })
    }
}

/// Reads until the last one on the other side has closed it, which a terminal tells by EIO.
struct Shown(pipe::Receiver);

impl AsyncRead for Shown {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.0).poll_read(cx, buf)) {
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}
