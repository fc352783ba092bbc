//! A synchronous rtnetlink socket: requests built from raw attributes, every one acknowledged, the kernel's words kept.
//!
//! The typed crate for routing messages refuses a whole dump for one attribute that it does not know; here what is not
//! asked for is skipped, so that newer kernels cannot break the reading.
use std::io::ErrorKind;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NlasIterator,
};
use netlink_sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_SOCK_DIAG},
};
use nix::{
    errno::Errno,
    sys::{
        socket::{setsockopt, sockopt::ReceiveTimeout},
        time::{TimeVal, TimeValLike},
    },
};

use super::{error::KernelError, netns::Netns};

/// Length of `struct nlmsghdr` (linux/netlink.h).
const HEADER: usize = 16;
/// Larger than any message of a dump: the kernel writes at most 32 KiB at once (netlink_dump, af_netlink.c).
const RECEIVE: usize = 64 * 1024;
/// Requests per send. Each answer takes at most about 1 KiB of the socket's buffer (208 KiB by default).
const BATCH: usize = 64;
/// NLMSGERR_ATTR_MSG of linux/netlink.h.
const ERROR_TEXT: u16 = 1;
/// How long an answer is waited for.
const ANSWER_SECONDS: i64 = 5;
/// How often a dump is repeated that was disturbed by a change.
const DUMP_TRIES: usize = 8;

/// One request: a fixed part and attributes. `op` and `object` are for the error.
#[derive(Debug, Clone)]
pub struct Request {
    op: &'static str,
    object: String,
    bytes: Vec<u8>,
}

impl Request {
    /// A message of `message_type` (RTM_*) with `flags` (NLM_F_* beside REQUEST) and the family's fixed structure.
    pub fn new(op: &'static str, object: impl Into<String>, message_type: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&message_type.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        let mut request = Self { op, object: object.into(), bytes };
        request.pad();
        request
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Appends an attribute of raw bytes, at most 65,531.
    #[must_use]
    pub fn attr(self, kind: u16, value: &[u8]) -> Self {
        self.nest(kind, |mut request| {
            request.bytes.extend_from_slice(value);
            request
        })
    }

    /// Appends a number in the machine's byte order.
    #[must_use]
    pub fn u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Appends a text with the NUL that the kernel's NLA_NUL_STRING wants.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Self {
        self.attr(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// Appends an attribute whose value is what `fill` appends.
    #[must_use]
    pub fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self = fill(self);
        // A value that is too long gets a length that the kernel refuses with EINVAL, rather than a wrong one.
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(0);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
        self.pad();
        self
    }

    /// Appends a fixed structure, as some nested attributes begin with one.
    #[must_use]
    pub fn raw(mut self, value: &[u8]) -> Self {
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    fn finish(&mut self, sequence: u32, flags: u16) {
        let length = u32::try_from(self.bytes.len()).unwrap_or(0);
        let all = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | flags;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[6..8].copy_from_slice(&all.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }

    fn error(&self, errno: Errno) -> KernelError {
        KernelError::new(self.op, &self.object, errno)
    }
}

/// The outcome of one request: the payloads of the messages that it was answered with, empty for a mere change.
pub type Answer = Result<Vec<Vec<u8>>, KernelError>;

/// A socket of the namespace in which it was opened; it may then be used from anywhere.
#[derive(Debug)]
pub struct Rtnl {
    socket: Socket,
    sequence: u32,
    /// The last datagram, which may hold the end of one answer and the beginning of the next.
    received: Vec<u8>,
    /// How much of it was read.
    at: usize,
}

impl Rtnl {
    /// Opens a socket in the calling thread's network namespace. Errors: EPROTONOSUPPORT without rtnetlink.
    pub fn open() -> Result<Self, KernelError> {
        Self::of(NETLINK_ROUTE, "rtnetlink socket")
    }

    /// Opens one of netfilter in a namespace: the same framing. Errors: EPROTONOSUPPORT without nfnetlink; EPERM without CAP_SYS_ADMIN.
    pub fn netfilter_in(netns: &Netns) -> Result<Self, KernelError> {
        netns.enter(|| Self::of(NETLINK_NETFILTER, "nfnetlink socket"))?
    }

    /// Opens one that lists the sockets of a namespace: the same framing. Errors: EPROTONOSUPPORT without sock_diag; EPERM without CAP_SYS_ADMIN.
    pub fn sockets_in(netns: &Netns) -> Result<Self, KernelError> {
        netns.enter(|| Self::of(NETLINK_SOCK_DIAG, "sock_diag socket"))?
    }

    fn of(protocol: isize, what: &'static str) -> Result<Self, KernelError> {
        let failed = |e: std::io::Error| KernelError::from_io("open", what, &e);
        let mut socket = Socket::new(protocol).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
        socket.set_ext_ack(true).map_err(failed)?;
        socket.set_cap_ack(true).map_err(failed)?;
        // The kernel answers within send(2); an answer that is missing was lost, and waiting for it would never end.
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))
            .map_err(|errno| KernelError::new("open", what, errno))?;
        Ok(Self { socket, sequence: 0, received: Vec::new(), at: 0 })
    }

    /// Opens a socket in a namespace, for use from outside of it. Errors: EPERM without CAP_SYS_ADMIN.
    pub fn open_in(netns: &Netns) -> Result<Self, KernelError> {
        netns.enter(Self::open)?
    }

    /// Makes one request and waits for its acknowledgement.
    pub fn execute(&mut self, request: Request) -> Answer {
        self.batch(vec![request]).pop().unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Makes requests in order with as few system calls as possible: one outcome each. A failure does not keep the
    /// kernel from going on with the next one (netlink_rcv_skb, net/netlink/af_netlink.c).
    pub fn batch(&mut self, mut requests: Vec<Request>) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(requests.len());
        for chunk in requests.chunks_mut(BATCH) {
            let first = self.sequence.wrapping_add(1);
            let mut bytes = Vec::new();
            for request in &mut *chunk {
                self.sequence = self.sequence.wrapping_add(1);
                request.finish(self.sequence, NLM_F_ACK);
                bytes.extend_from_slice(&request.bytes);
            }
            if let Err(e) = self.socket.send(&bytes, 0) {
                answers.extend(chunk.iter().map(|r| Err(KernelError::from_io(r.op, &r.object, &e))));
                continue;
            }
            for (request, sequence) in chunk.iter().zip(0..) {
                answers.push(self.collect(request, first.wrapping_add(sequence)).map(|(messages, _)| messages));
            }
        }
        answers
    }

    /// Asks for all objects of a kind. A dump that a change disturbed is repeated.
    pub fn dump(&mut self, mut request: Request) -> Answer {
        for _ in 0..DUMP_TRIES {
            self.sequence = self.sequence.wrapping_add(1);
            request.finish(self.sequence, NLM_F_DUMP);
            let sent = self.socket.send(&request.bytes, 0);
            sent.map_err(|e| KernelError::from_io(request.op, &request.object, &e))?;
            let (messages, disturbed) = self.collect(&request, self.sequence)?;
            if !disturbed {
                return Ok(messages);
            }
        }
        Err(request.error(Errno::EAGAIN).with_detail("the list kept changing while it was read"))
    }

    /// Looks at the objects of a kind one by one, as many as there are or until `more` says false. What changes meanwhile may be left out.
    pub fn look(mut self, mut request: Request, more: impl FnMut(&[u8]) -> bool) -> Result<(), KernelError> {
        self.sequence = self.sequence.wrapping_add(1);
        request.finish(self.sequence, NLM_F_DUMP);
        let sent = self.socket.send(&request.bytes, 0);
        sent.map_err(|e| KernelError::from_io(request.op, &request.object, &e))?;
        self.each(&request, self.sequence, more).map(drop)
    }

    /// The messages that answer a request. The flag says that a dump was disturbed.
    fn collect(&mut self, request: &Request, sequence: u32) -> Result<(Vec<Vec<u8>>, bool), KernelError> {
        let mut messages = Vec::new();
        let disturbed = self.each(request, sequence, |payload| {
            messages.push(payload.to_vec());
            true
        })?;
        Ok((messages, disturbed))
    }

    /// Reads until the acknowledgement, error or end of the request numbered `sequence`, or until `more` says false; answers of earlier
    /// requests that were given up are skipped. Was a dump disturbed?
    fn each(
        &mut self,
        request: &Request,
        sequence: u32,
        mut more: impl FnMut(&[u8]) -> bool,
    ) -> Result<bool, KernelError> {
        let mut disturbed = false;
        loop {
            if self.at >= self.received.len() {
                self.receive(request)?;
            }
            let rest = self.received.get(self.at..).unwrap_or_default();
            let message = match NetlinkBuffer::new_checked(rest) {
                Ok(message) => message,
                Err(e) => {
                    self.at = self.received.len();
                    return Err(KernelError::malformed(request.op, &request.object, e.to_string()));
                }
            };
            self.at += (message.length() as usize).next_multiple_of(4);
            if message.sequence_number() != sequence {
                continue;
            }
            disturbed |= message.flags() & NLM_F_DUMP_INTR != 0;
            match i32::from(message.message_type()) {
                libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                    return outcome(request, &message).map(|()| disturbed);
                }
                libc::NLMSG_NOOP => {}
                _ if more(message.payload()) => {}
                _ => return Ok(disturbed),
            }
        }
    }

    fn receive(&mut self, request: &Request) -> Result<(), KernelError> {
        self.at = 0;
        loop {
            self.received.clear();
            self.received.reserve(RECEIVE);
            match self.socket.recv(&mut self.received, libc::MSG_TRUNC) {
                Ok(size) if size > self.received.len() => {
                    let detail = format!("an answer of {size} bytes was cut");
                    return Err(KernelError::malformed(request.op, &request.object, detail));
                }
                Ok(0) => return Err(KernelError::malformed(request.op, &request.object, "an empty answer")),
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(KernelError::from_io(request.op, &request.object, &e)),
            }
        }
    }
}

/// Reads an NLMSG_ERROR (also the acknowledgement: error 0) or NLMSG_DONE with the kernel's words, if there are any.
fn outcome(request: &Request, message: &NetlinkBuffer<&[u8]>) -> Result<(), KernelError> {
    let payload = message.payload();
    let code = field::<4>(payload, 0).map_or(0, i32::from_ne_bytes);
    if code == 0 {
        return Ok(());
    }
    let error = request.error(Errno::from_raw(code.wrapping_neg()));
    if message.flags() & NLM_F_ACK_TLVS == 0 {
        return Err(error);
    }
    // After the code: in an error the request's header and, unless capped, all of the request; then attributes.
    let skip = match i32::from(message.message_type()) {
        libc::NLMSG_DONE => 4,
        _ if message.flags() & NLM_F_CAPPED != 0 => 4 + HEADER,
        _ => 4 + field::<4>(payload, 4).map_or(HEADER, |len| u32::from_ne_bytes(len) as usize).next_multiple_of(4),
    };
    let words = find(payload.get(skip..).unwrap_or_default(), ERROR_TEXT).map(text);
    Err(match words {
        Some(words) if !words.is_empty() => error.with_detail(words),
        _ => error,
    })
}

/// The attributes in `bytes`: (kind without flags, value). What follows a malformed one is left out.
pub fn attrs(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut at = 0;
    NlasIterator::new(bytes).map_while(Result::ok).filter_map(move |attr| {
        let (start, length) = (at, usize::from(attr.length()));
        at += length.next_multiple_of(4);
        bytes.get(start + 4..start + length).map(|value| (attr.kind(), value))
    })
}

/// The first attribute of a kind.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// `N` bytes at an offset, if the kernel wrote that many: structures grow with the kernel's version.
pub fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// A number of 32 bits in the machine's byte order at an offset; 0 where an older kernel wrote less.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    field(bytes, at).map_or(0, u32::from_ne_bytes)
}

/// A number of 64 bits likewise.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    field(bytes, at).map_or(0, u64::from_ne_bytes)
}

/// A text up to its NUL.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_nested_and_read_back() {
        let request = Request::new("try", "it", libc::RTM_GETLINK, 0, &[1, 2, 3])
            .text(3, "lo")
            .nest(18, |r| r.text(1, "veth").nest(2, |r| r.u32(7, 42)));
        assert_eq!(request.bytes.len() % 4, 0);
        let body = &request.bytes[HEADER + 4..];
        assert_eq!(find(body, 3).map(text).as_deref(), Some("lo"));
        let info = find(body, 18).unwrap();
        assert_eq!(find(info, 1).map(text).as_deref(), Some("veth"));
        assert_eq!(find(find(info, 2).unwrap(), 7).map(|v| u32_at(v, 0)), Some(42));
        assert_eq!((find(body, 99), u32_at(&[1], 0)), (None, 0));
    }

    #[test]
    fn malformed_attributes_end_the_reading() {
        assert_eq!(attrs(&[2, 0, 1, 0]).count(), 0, "a length below the header's");
        assert_eq!(attrs(&[8, 0, 1, 0, 1]).count(), 0, "a length beyond the end");
        assert_eq!(attrs(&[5, 0, 1, 0, 9]).collect::<Vec<_>>(), [(1, &[9_u8][..])], "the last one is not padded");
    }

    #[test]
    fn too_long_a_value_is_refused_by_the_kernel_and_not_cut() {
        let request = Request::new("try", "it", libc::RTM_GETLINK, 0, &[0; 16]).attr(3, &vec![b'x'; 70_000]);
        assert_eq!(field::<2>(&request.bytes, HEADER + 16), Some([0, 0]));
    }

    #[test]
    fn every_request_of_a_batch_has_its_own_outcome() {
        let mut rtnl = Rtnl::open().unwrap();
        let get = |index: i32| {
            let fixed = [[0; 4], index.to_ne_bytes(), [0; 4], [0; 4]].concat();
            Request::new("get interface", index.to_string(), libc::RTM_GETLINK, 0, &fixed)
        };
        let requests = (0..150).map(|i| get(if i % 2 == 0 { 1 } else { i32::MAX })).collect();
        let answers = rtnl.batch(requests);
        assert_eq!(answers.len(), 150);
        for (i, answer) in answers.iter().enumerate() {
            match answer {
                Ok(messages) => assert_eq!((i % 2, messages.len()), (0, 1)),
                Err(error) => assert_eq!((i % 2, error.category()), (1, "absent")),
            }
        }
    }
}
