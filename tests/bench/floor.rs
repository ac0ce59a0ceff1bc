//! The minimum work of a server with small responses: one thread waits for connections, reads requests without parsing and
//! writes the same bytes to all. Its cost is that of the kernel.
//!
//! ```sh
//! rustc --edition 2024 -O tests/bench/floor.rs && ./floor ANSWER     # prints the port of 127.0.0.1 that it has
//! ```
//!
//! ANSWER is a file with a whole response, head and body.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Result, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, RawFd};

/// From epoll(7); the standard library does not define them, and this file is built without crates.
const EPOLL_CTL_ADD: i32 = 1;
const EPOLLIN: u32 = 1;
const EPOLLET: u32 = 1 << 31;

#[derive(Clone, Copy, Default)]
#[repr(C)]
#[cfg_attr(target_arch = "x86_64", repr(packed))]
struct Event {
    events: u32,
    data: u64,
}

unsafe extern "C" {
    fn epoll_create1(flags: i32) -> RawFd;
    fn epoll_ctl(epoll: RawFd, operation: i32, fd: RawFd, event: *mut Event) -> i32;
    fn epoll_wait(epoll: RawFd, events: *mut Event, count: i32, timeout: i32) -> i32;
}

fn main() -> Result<()> {
    let answer = std::fs::read(std::env::args_os().nth(1).expect("the file with the answer"))?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    // SAFETY: takes no pointer.
    let epoll = unsafe { epoll_create1(0) };
    watch(epoll, &listener, EPOLLIN);
    let mut connections: HashMap<u64, TcpStream> = HashMap::new();
    let mut events = [Event::default(); 1024];
    loop {
        // SAFETY: there are as many events as is said.
        let count = unsafe { epoll_wait(epoll, events.as_mut_ptr(), events.len() as i32, -1) };
        for event in &events[..usize::try_from(count).unwrap_or(0)] {
            let fd = event.data;
            if fd == listener.as_raw_fd() as u64 {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                watch(epoll, &stream, EPOLLIN | EPOLLET);
                connections.insert(stream.as_raw_fd() as u64, stream);
            } else if let Some(stream) = connections.get_mut(&fd) {
                match answer_one(stream, &answer) {
                    Ok(true) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(false) | Err(_) => drop(connections.remove(&fd)),
                }
            }
        }
    }
}

/// Whether there may be another request.
fn answer_one(stream: &mut TcpStream, answer: &[u8]) -> Result<bool> {
    if stream.read(&mut [0; 4096])? == 0 {
        return Ok(false);
    }
    stream.write_all(answer)?;
    Ok(true)
}

fn watch(epoll: RawFd, what: &impl std::os::fd::AsRawFd, events: u32) {
    let fd = what.as_raw_fd();
    let mut event = Event {
        events,
        data: fd as u64,
    };
    // SAFETY: the event outlives the call, and both descriptors are open.
    let done = unsafe { epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &raw mut event) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
