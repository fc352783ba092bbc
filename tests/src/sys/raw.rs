//! Any system call, by its number and without libc's wrapper: exactly that call and no other, as often as it is asked for.

use std::any::Any;
use std::ffi::CStr;
use std::time::{Duration, Instant};

use libc::c_long;

/// What a call returned, or its errno.
pub type Answer = Result<usize, i32>;

/// A system call that is ready to be made: its arguments, and all the memory that these point to.
///
/// Descriptors are plain numbers here. Whoever makes calls one by one does not want one made at the end of a scope.
pub struct RawCall {
    number: c_long,
    arguments: [usize; 6],
    given: usize,
    /// Allocated once and never touched again from here, so that an address stays that of the same memory.
    memory: Vec<Box<dyn Any + Send>>,
}

impl RawCall {
    /// A call without arguments: the missing ones are 0.
    pub fn new(number: c_long) -> Self {
        Self { number, arguments: [0; 6], given: 0, memory: Vec::new() }
    }

    /// The next argument is a number: a descriptor, flags, a size.
    pub fn int(self, value: impl Into<i64>) -> Self {
        self.argument(value.into() as usize)
    }

    /// The next argument is a size.
    pub fn size(self, value: usize) -> Self {
        self.argument(value)
    }

    /// The next argument is the address of a string.
    pub fn path(self, path: &CStr) -> Self {
        self.bytes(path.to_bytes_with_nul().to_vec())
    }

    /// The next argument is the address of these bytes.
    pub fn bytes(mut self, bytes: Vec<u8>) -> Self {
        let address = self.keep_bytes(bytes);
        self.argument(address)
    }

    /// The next argument is the address of these words: a struct or an array.
    pub fn words(mut self, words: Vec<usize>) -> Self {
        let address = self.keep_words(words);
        self.argument(address)
    }

    /// Has the call own bytes that one of its structs points to; returns their address.
    pub fn keep_bytes(&mut self, mut bytes: Vec<u8>) -> usize {
        let address = bytes.as_mut_ptr() as usize;
        self.memory.push(Box::new(bytes));
        address
    }

    /// Has the call own words that one of its structs points to; returns their address.
    pub fn keep_words(&mut self, mut words: Vec<usize>) -> usize {
        let address = words.as_mut_ptr() as usize;
        self.memory.push(Box::new(words));
        address
    }

    fn argument(mut self, value: usize) -> Self {
        self.arguments[self.given] = value;
        self.given += 1;
        self
    }

    /// Makes the call.
    pub fn make(&mut self) -> Answer {
        self.make_timed().0
    }

    /// Makes the call; also says how long the call alone took.
    pub fn make_timed(&mut self) -> (Answer, Duration) {
        let [a, b, c, d, e, f] = self.arguments;
        let began = Instant::now();
        // SAFETY: every address among the arguments was given as memory that `self` owns and that nothing else refers to,
        // and the callers say their sizes truly. What is given as a number is no address but for calls on whole pages that
        // the callers had from mmap and that no Rust object lives in. A copy of this process that a call makes goes on from
        // here with its own memory.
        let result = unsafe { libc::syscall(self.number, a, b, c, d, e, f) };
        let took = began.elapsed();
        (answer(result), took)
    }
}

/// Writes to a descriptor at its position, by calls that nobody tests: pwritev2(2), and writev(2) where that fails.
pub fn send(fd: i32, bytes: &[u8]) -> Answer {
    vectored([libc::SYS_pwritev2, libc::SYS_writev], fd, bytes.as_ptr().cast_mut(), bytes.len())
}

/// Reads from a descriptor at its position, by calls that nobody tests: preadv2(2), and readv(2) where that fails.
pub fn receive(fd: i32, buffer: &mut [u8]) -> Answer {
    vectored([libc::SYS_preadv2, libc::SYS_readv], fd, buffer.as_mut_ptr(), buffer.len())
}

/// The first of two calls that succeeds. Private: only the functions above know whether a call may write to the memory.
fn vectored(numbers: [c_long; 2], fd: i32, memory: *mut u8, length: usize) -> Answer {
    /// Stands for the descriptor's own position, which makes it work on pipes, too.
    const AT_POSITION: c_long = -1;
    let vector = libc::iovec { iov_base: memory.cast(), iov_len: length };
    let mut last = Err(libc::EIO);
    for number in numbers {
        // SAFETY: the vector describes a slice that the caller borrows across the call, mutably if the call writes to it.
        let result = unsafe { libc::syscall(number, fd, &raw const vector, 1usize, AT_POSITION, AT_POSITION, 0usize) };
        last = answer(result);
        if last.is_ok() {
            break;
        }
    }
    last
}

fn answer(result: c_long) -> Answer {
    usize::try_from(result).map_err(|_| std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}
