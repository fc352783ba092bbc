//! The few messages of the FUSE protocol that a file system with one file needs (linux/fuse.h, version 7.31). Nothing here allocates.

/// The file's name.
pub const NAME: &str = "x";
const FILE: u64 = 2;
const HEADER: usize = 40;
const DIRECTORY_MODE: u32 = 0o040_755;
const FILE_MODE: u32 = 0o100_644;
/// How long the kernel may remember what it was told, s: for ever.
const VALID: u64 = 1 << 30;
/// There are upper flags (`FUSE_INIT_EXT`).
const INIT_EXT: u32 = 1 << 30;
/// The kernel is to close a connection whose server answers nothing any more (`FUSE_REQUEST_TIMEOUT`, bit 42; Linux 6.15, before it
/// nobody looks): whoever freezes all of our processes frees the threads that wait.
const REQUEST_TIMEOUT: u32 = 1 << (42 - 32);
/// After so many seconds: the kernel's shortest (fs/fuse/fuse_i.h, `FUSE_TIMEOUT_TIMER_FREQ`); it looks as often. A read waits for
/// half a second at most.
const TIMEOUT: u32 = 15;

/// What the kernel asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// The first message.
    Init,
    /// Is there a file of this name?
    Lookup { known: bool },
    /// What is it?
    Attributes { node: u64 },
    /// Open it.
    Open,
    /// Read from here: the one that makes its reader wait.
    Read { offset: u64, thread: u32 },
    /// The thread that waits for this request has a signal.
    Interrupt { unique: u64 },
    /// Closed; needs no more than an answer.
    Done,
    /// Wants no answer.
    Silent,
    /// Anything else.
    Unknown,
}

fn u32_at(message: &[u8], at: usize) -> u32 {
    message.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn u64_at(message: &[u8], at: usize) -> u64 {
    message.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

/// A message's number, and what it asks.
#[must_use]
pub fn parse(message: &[u8]) -> (u64, Request) {
    let unique = u64_at(message, 8);
    let request = match u32_at(message, 4) {
        1 => Request::Lookup { known: message.get(HEADER..) == Some(&b"x\0"[..]) },
        2 | 42 => Request::Silent,
        3 => Request::Attributes { node: u64_at(message, 16) },
        14 | 27 => Request::Open,
        15 => Request::Read { offset: u64_at(message, HEADER + 8), thread: u32_at(message, 32) },
        18 | 25 | 29 => Request::Done,
        26 => Request::Init,
        36 => Request::Interrupt { unique: u64_at(message, HEADER) },
        _ => Request::Unknown,
    };
    (unique, request)
}

/// An answer.
pub struct Answer {
    bytes: [u8; 160],
    length: usize,
}

impl Answer {
    fn new(unique: u64, error: i32) -> Self {
        let mut answer = Self { bytes: [0; 160], length: 0 };
        answer.u32(0).u32(error as u32).u64(unique);
        answer
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        if let Some(to) = self.bytes.get_mut(self.length..self.length + bytes.len()) {
            to.copy_from_slice(bytes);
            self.length += bytes.len();
        }
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    fn attributes(&mut self, node: u64, size: u64) -> &mut Self {
        let (mode, size) = if node == FILE { (FILE_MODE, size) } else { (DIRECTORY_MODE, 0) };
        // ino, size, blocks, three times; their nanoseconds; mode, nlink, uid, gid, rdev, blksize, flags
        self.u64(node).u64(size).put(&[0; 32]).put(&[0; 12]);
        self.u32(mode).u32(1).put(&[0; 12]).u32(4096).u32(0)
    }

    /// As written to the device.
    #[must_use]
    pub fn bytes(&mut self) -> &[u8] {
        let length = (self.length as u32).to_ne_bytes();
        self.bytes[..4].copy_from_slice(&length);
        &self.bytes[..self.length]
    }
}

/// With an errno, or 0, and nothing else.
#[must_use]
pub fn plain(unique: u64, errno: i32) -> Answer {
    Answer::new(unique, -errno)
}

/// What a request is answered at once; None: it has no answer, or waits for one. `size`: the file's, bytes.
#[must_use]
pub fn answer(unique: u64, request: &Request, size: u64) -> Option<Answer> {
    let mut answer = Answer::new(unique, 0);
    match request {
        Request::Init => {
            // major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran
            answer.u32(7).u32(31).u32(0).u32(INIT_EXT).u32(64 << 16 | 64).u32(65536).u32(1);
            // max_pages, map_alignment, the upper flags, max_stack_depth, request_timeout, the rest
            answer.u32(0).u32(REQUEST_TIMEOUT).u32(0).u32(TIMEOUT).put(&[0; 20]);
        }
        Request::Lookup { known: true } => {
            answer.u64(FILE).u64(1).u64(VALID).u64(VALID).u64(0).attributes(FILE, size);
        }
        Request::Lookup { known: false } => return Some(plain(unique, libc::ENOENT)),
        Request::Attributes { node } => {
            answer.u64(VALID).u64(0).attributes(*node, size);
        }
        // FOPEN_KEEP_CACHE
        Request::Open => {
            answer.u64(1).u32(1 << 1).u32(0);
        }
        Request::Done => {}
        Request::Unknown => return Some(plain(unique, libc::ENOSYS)),
        Request::Read { .. } | Request::Interrupt { .. } | Request::Silent => return None,
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_lengths_that_the_kernel_wants() {
        let length = |request| answer(1, &request, 0).map(|mut answer| answer.bytes().len() - 16);
        assert_eq!(length(Request::Init), Some(64));
        assert_eq!(length(Request::Lookup { known: true }), Some(128));
        assert_eq!(length(Request::Attributes { node: 1 }), Some(104));
        assert_eq!(length(Request::Open), Some(16));
        assert_eq!(length(Request::Unknown), Some(0));
        assert_eq!(length(Request::Silent), None);
    }

    #[test]
    fn a_read_is_told_by_its_offset() {
        let mut message = vec![0_u8; 80];
        message[4..8].copy_from_slice(&15_u32.to_ne_bytes());
        message[8..16].copy_from_slice(&9_u64.to_ne_bytes());
        message[32..36].copy_from_slice(&77_u32.to_ne_bytes());
        message[48..56].copy_from_slice(&8192_u64.to_ne_bytes());
        assert_eq!(parse(&message), (9, Request::Read { offset: 8192, thread: 77 }));
        assert_eq!(parse(&[]), (0, Request::Unknown));
    }
}
