//! From fork to exec of a command that joins a container: nothing but system calls.
//!
//! All of it runs in a forked child of a program with many threads, so nothing here may allocate, lock or panic;
//! everything it needs was made before.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use libc::c_int;

/// What a command enters before it is executed.
pub struct Entry {
    /// Namespaces to join, in this order.
    pub namespaces: Vec<OwnedFd>,
    /// The capabilities a process in there can ever have: `CapBnd` of proc(5).
    pub capabilities: u64,
    /// Working directory, in there.
    pub directory: CString,
    /// Whether its standard input becomes its controlling terminal.
    pub terminal: bool,
}

/// The user namespace that a namespace belongs to.
#[allow(unsafe_code)]
pub fn owner_of(namespace: &File) -> io::Result<File> {
    // SAFETY: the request takes no argument and returns a new descriptor or -1.
    let fd = unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_USERNS) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made for us and nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

impl Entry {
    /// Has a command enter all this when it is spawned, by the thread that calls this.
    #[allow(unsafe_code)]
    pub fn before_exec(self, command: &mut Command) {
        let parent = std::process::id();
        // SAFETY: `enter` makes system calls only; what it reads is owned by the closure.
        unsafe { command.pre_exec(move || self.enter(parent)) };
    }

    /// Returns in the process that is to execute the command; the one it is called in waits for that one and never
    /// returns.
    #[allow(unsafe_code)]
    fn enter(&self, parent: u32) -> io::Result<()> {
        die_with_parent()?;
        // SAFETY: neither touches memory.
        if unsafe { libc::getppid() }.cast_unsigned() != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        for namespace in &self.namespaces {
            // SAFETY: setns takes two integers; the descriptor is open while `self` lives.
            check(unsafe { libc::setns(namespace.as_raw_fd(), 0) })?;
        }
        // Other credentials, and the kernel has forgotten it.
        die_with_parent()?;
        let mut alive = [0; 2];
        // SAFETY: pipe2 writes two integers to where it may. setsid touches no memory.
        check(unsafe { libc::pipe2(alive.as_mut_ptr(), libc::O_CLOEXEC) })?;
        check(unsafe { libc::setsid() })?;
        let null = 0_usize;
        // SAFETY: as fork(2), without the handlers of the C library, which may lock; the child has a copy of our
        // stack and goes on with system calls only.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, null, null, null, null) };
        match c_int::try_from(child) {
            Ok(0) => self.inside(alive),
            Ok(child) if child > 0 => keep(child, alive[1]),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The process that becomes the command.
    #[allow(unsafe_code)]
    fn inside(&self, alive: [c_int; 2]) -> io::Result<()> {
        die_with_parent()?;
        // SAFETY: system calls on integers, on one structure of ours, and on a string that `self` owns.
        unsafe {
            libc::close(alive[1]);
            // A parent of another PID namespace is 0, dead or alive; so it holds the other end of a pipe.
            let mut end = libc::pollfd { fd: alive[0], events: 0, revents: 0 };
            if libc::poll(&raw mut end, 1, 0) != 0 {
                libc::_exit(128 + libc::SIGKILL);
            }
            libc::close(alive[0]);
            check(libc::setsid())?;
            if self.terminal {
                check(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
            }
            // No more rights than the container's own process. Beyond the last capability is an error, and the end.
            for capability in 0..u64::BITS {
                if self.capabilities & (1 << capability) == 0
                    && libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0
                {
                    break;
                }
            }
            check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            check(libc::chdir(self.directory.as_ptr()))
        }
    }
}

/// Waits for the command's process and ends as it ended. Holds nothing but its end of the pipe, so that nobody waits
/// for the end of a stream because of it.
#[allow(unsafe_code)]
fn keep(child: c_int, alive: c_int) -> ! {
    let alive = alive.cast_unsigned();
    // SAFETY: system calls on integers; waitpid writes one of ours.
    unsafe {
        libc::syscall(libc::SYS_close_range, 0, alive.saturating_sub(1), 0);
        libc::syscall(libc::SYS_close_range, alive + 1, u32::MAX, 0);
        let mut status = 0;
        while libc::waitpid(child, &raw mut status, 0) < 0 {
            if *libc::__errno_location() != libc::EINTR {
                libc::_exit(255);
            }
        }
        let code =
            if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
        libc::_exit(code)
    }
}

#[allow(unsafe_code)]
fn die_with_parent() -> io::Result<()> {
    // SAFETY: takes integers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
