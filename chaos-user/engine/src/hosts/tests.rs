//! The kernel's reader of DNS answers, run on crafted frames (BPF_PROG_TEST_RUN).

mod asked;

use super::*;
use chaos_abi::{FOLLOWERS, POINT_DNS, POINT_INGRESS, PROGRAM_FAULT, Point, mix};
use chaos_sys::{bpf, testing};
use std::os::fd::{AsFd, OwnedFd};

const POINT: u32 = 3;
/// The way out of the same interface.
const OUT: u32 = 2;
const NETNS: u64 = 4_026_500_000;
const SET: u32 = 7;
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
/// A pointer to the question's name.
const SAME: &[u8] = &[0xc0, 12];

/// The programs on an attach point of their own, and what they have learned.
struct Reader {
    datapath: Datapath,
    stub: OwnedFd,
    out: OwnedFd,
}

impl Reader {
    fn open() -> Self {
        let mut datapath = Datapath::load(chaos_objects::NET).unwrap();
        assert_eq!(datapath.ids().no_dns, None);
        for (id, flags) in [(POINT, POINT_INGRESS | POINT_DNS), (OUT, POINT_DNS)] {
            let point = Point { ifindex: 2, flags, l2_len: 14, netns: NETNS, ..Point::zeroed() };
            datapath.points.set(id, point, 0).unwrap();
        }
        let [stub, out] = [POINT, OUT].map(|id| datapath.stub(PROGRAM_FAULT, id).unwrap());
        Self { datapath, stub, out }
    }

    fn following(hosts: &[&str]) -> Self {
        let mut reader = Self::open();
        hosts.iter().for_each(|host| reader.follow(SET, host));
        reader
    }

    fn follow(&mut self, set: u32, host: &str) {
        follow(&mut self.datapath, set, &host.parse().unwrap(), NETNS).unwrap();
    }

    /// An answer that was asked for.
    fn read(&self, frame: &[u8]) {
        self.ask(&question(frame));
        self.receive(frame);
    }

    fn ask(&self, frame: &[u8]) {
        Self::pass(&self.out, frame);
    }

    fn receive(&self, frame: &[u8]) {
        Self::pass(&self.stub, frame);
    }

    fn pass(stub: &OwnedFd, frame: &[u8]) {
        let run = bpf::test_run(stub.as_fd(), frame, 1).unwrap();
        assert_eq!(run.verdict, -1, "the packet goes on");
    }

    fn failed(&self) -> u64 {
        let entries = self.datapath.hosts.iter().filter_map(Result::ok);
        entries.map(|(_, entry)| entry.cut + entry.failed.iter().sum::<u64>()).sum()
    }

    /// What a set holds, sorted; it is as much in the table that rules consult as in the one for reports.
    fn set(&self, set: u32) -> Vec<String> {
        let of_set = |key: u32| u32::from_be(key) & !SET_V6 == set;
        let learned = self.datapath.learned.keys().filter_map(Result::ok).filter(|key| of_set(key.addr.set));
        let mut learned: Vec<String> = learned.map(|key| sets::address(&key.addr).to_string()).collect();
        learned.sort_unstable();
        learned.dedup();
        let table = self.datapath.addrs.keys().filter_map(Result::ok).filter(|key| of_set(key.set));
        assert_eq!(table.count(), learned.len(), "{learned:?}");
        learned
    }

    /// Follows these names alone, and learns from a response over either protocol.
    #[track_caller]
    fn learns(&mut self, hosts: &[&str], response: &Response, expected: &[&str]) {
        forget(&mut self.datapath, &[SET]).unwrap();
        hosts.iter().for_each(|host| self.follow(SET, host));
        for frame in [response.v4(), response.v6()] {
            self.clear();
            self.read(&frame);
            assert_eq!(self.set(SET), expected);
        }
    }

    /// Forgets addresses, not names.
    fn clear(&mut self) {
        for key in self.datapath.learned.keys().filter_map(Result::ok).collect::<Vec<_>>() {
            self.datapath.learned.remove(&key).unwrap();
        }
        for (key, entry) in self.datapath.hosts.iter().filter_map(Result::ok).collect::<Vec<_>>() {
            self.datapath.hosts.insert(key, Followers { learned: [0; FOLLOWERS], ..entry }, 0).unwrap();
        }
        for key in self.datapath.addrs.keys().filter_map(Result::ok).collect::<Vec<_>>() {
            self.datapath.addrs.remove(&key).unwrap();
        }
    }
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

/// The question of a response without IP options: its frame turned round.
fn question(response: &[u8]) -> Vec<u8> {
    let mut frame = response.to_vec();
    let (at, size) = if frame[14] >> 4 == 4 { (26, 4) } else { (22, 16) };
    let udp = at + 2 * size;
    for (one, other, length) in [(0, 6, 6), (at, at + size, size), (udp, udp + 2, 2)] {
        for index in 0..length {
            frame.swap(one + index, other + index);
        }
    }
    frame[udp + 10..udp + 20].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    frame
}

/// A response of one question.
struct Response {
    bytes: Vec<u8>,
}

impl Response {
    fn to(name: &str) -> Self {
        let mut bytes = vec![0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(wire(name));
        bytes.extend([0, 1, 0, 1]);
        Self { bytes }
    }

    fn record(mut self, owner: &[u8], kind: u16, class: u16, data: &[u8]) -> Self {
        self.bytes[7] += 1;
        self.bytes.extend(owner);
        for number in [kind, class, 0, 60, data.len() as u16] {
            self.bytes.extend(number.to_be_bytes());
        }
        self.bytes.extend(data);
        self
    }

    fn a(self, last: u8) -> Self {
        self.record(SAME, A, 1, &[192, 0, 2, last])
    }

    fn with(mut self, at: usize, byte: u8) -> Self {
        self.bytes[at] = byte;
        self
    }

    /// In an Ethernet frame with IPv4.
    fn v4(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
        frame.extend((28 + self.bytes.len() as u16).to_be_bytes());
        frame.extend([0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 53, 10, 0, 0, 1]);
        self.udp(frame, 53)
    }

    fn v6(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0];
        frame.extend((8 + self.bytes.len() as u16).to_be_bytes());
        frame.extend([17, 64]);
        frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 53]);
        frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        self.udp(frame, 53)
    }

    fn udp(&self, mut frame: Vec<u8>, from: u16) -> Vec<u8> {
        for number in [from, 40_000, 8 + self.bytes.len() as u16, 0] {
            frame.extend(number.to_be_bytes());
        }
        frame.extend(&self.bytes);
        frame
    }
}

const V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

#[test]
fn answers_of_all_shapes_are_learned() {
    testing::root_or_return!();
    let mut reader = Reader::open();
    let name = "db.example.com";
    reader.learns(&[name], &Response::to(name).a(1), &["192.0.2.1"]);
    reader.learns(&[name], &Response::to("dB.eXAMPLE.Com").a(1), &["192.0.2.1"]);
    reader.learns(
        &[name],
        &Response::to(name).record(&wire(name), A, 1, &[192, 0, 2, 2]).a(3),
        &["192.0.2.2", "192.0.2.3"],
    );
    reader.learns(&[name], &Response::to(name).record(SAME, AAAA, 1, &V6).a(1), &["192.0.2.1", "2001:db8::9"]);
    let chain = Response::to(name)
        .record(SAME, CNAME, 1, &wire("db-1.cloud.example.net"))
        // The end of that name stands at 49.
        .record(
            &[&[4], b"DB-1".as_slice(), &[0xc0, 49]].concat(),
            CNAME,
            1,
            &[&[1], b"x".as_slice(), &[0xc0, 49]].concat(),
        )
        .record(&wire("x.cloud.example.NET"), A, 1, &[198, 51, 100, 1]);
    reader.learns(&[name], &chain, &["198.51.100.1"]);
    // Types, classes and lengths that are not addresses of the internet.
    let strange = Response::to(name)
        .record(SAME, 16, 1, &[192, 0, 2, 9])
        .record(SAME, A, 3, &[192, 0, 2, 9])
        .record(SAME, A, 1, &[192, 0, 2, 9, 9])
        .record(SAME, AAAA, 1, &[192, 0, 2, 9])
        .record(&[0], 41, 1232, &[])
        .a(1);
    reader.learns(&[name], &strange, &["192.0.2.1"]);
}

#[test]
fn names_meet_the_patterns_that_mean_them() {
    testing::root_or_return!();
    let mut reader = Reader::open();
    let longest = [["a"; 100].join("."), "example.com".to_owned()].join(".");
    for (pattern, name, meets) in [
        ("example.com", "example.com", true),
        ("example.com", "db.example.com", false),
        ("example.com", "xexample.com", false),
        ("example.com", "com", false),
        ("*.example.com", "db.example.com", true),
        ("*.example.com", "a.b.c.example.com", true),
        ("*.example.com", "DB.EXAMPLE.COM", true),
        ("*.example.com", &longest, true),
        ("*.example.com", "example.com", false),
        ("*.example.com", "dbexample.com", false),
        ("*.example.com", "db.example.com.evil", false),
        ("localhost", "localhost", true),
        ("_srv.my_host-1.test", "_srv.my_host-1.test", true),
    ] {
        let host: HostPattern = pattern.parse().unwrap();
        assert_eq!(host.matches(name), meets, "{pattern} {name}");
        let expected: &[&str] = if meets { &["192.0.2.1"] } else { &[] };
        reader.learns(&[pattern], &Response::to(name).a(1), expected);
    }
}

#[test]
fn too_long_a_wildcard_is_refused() {
    testing::root_or_return!();
    let mut reader = Reader::open();
    let long = |labels: usize| format!("*.{}", vec!["a"; labels].join("."));
    let mut try_it = |labels| follow(&mut reader.datapath, SET, &long(labels).parse().unwrap(), NETNS);
    assert_eq!(try_it(LABELS), Ok(()));
    assert_eq!(try_it(LABELS + 1).unwrap_err().category(), "unsupported");
    let name = long(LABELS).replace('*', "b");
    reader.read(&Response::to(&name).a(1).v4());
    assert_eq!(reader.set(SET), ["192.0.2.1"]);
}

#[test]
fn only_good_answers_in_the_right_place_count() {
    testing::root_or_return!();
    let mut reader = Reader::open();
    let name = "db.example.com";
    let good = || Response::to(name).a(1);
    // A query, an update, server failure, no such name, two questions, no answers.
    for (at, byte) in [(2, 0x01), (2, 0xa8), (3, 0x82), (3, 0x83), (5, 2), (7, 0)] {
        reader.learns(&[name], &good().with(at, byte), &[]);
    }
    // A dot within a label, another length, a pointer as question, a reserved label type.
    reader.learns(&[name, "*.com"], &good().with(15, b'.').with(12, 10), &["192.0.2.1"]);
    reader.learns(&[name, "*.example.com"], &good().with(15, b'.').with(12, 10), &[]);
    reader.learns(&[name], &good().with(12, 3), &[]);
    reader.learns(&[name], &good().with(12, 0xc0), &[]);
    reader.learns(&[name], &good().with(12, 0x42), &[]);
    reader.learns(&[name, "*.example.com"], &Response::to("").a(1), &[]);
    reader.learns(&[name], &good(), &["192.0.2.1"]);
    reader.clear();
    // Another port, another protocol, and what lies behind the IP packet's end: padding of the link.
    for (at, byte) in [(35, 54), (23, 6), (17, good().v4()[17] - 1)] {
        reader.ask(&question(&good().v4()));
        let mut frame = good().v4();
        frame[at] = byte;
        reader.receive(&frame);
    }
    assert!(reader.set(SET).is_empty());
    // Another namespace's point, and one that reads no answers.
    for (netns, flags) in [(NETNS + 1, POINT_INGRESS | POINT_DNS), (NETNS, POINT_INGRESS)] {
        let point = Point { netns, flags, ..reader.datapath.points.get(&POINT, 0).unwrap() };
        reader.datapath.points.set(POINT, point, 0).unwrap();
        reader.read(&good().v4());
        assert!(reader.set(SET).is_empty(), "{netns} {flags}");
    }
}

#[test]
fn every_follower_learns_every_record() {
    testing::root_or_return!();
    let mut reader = Reader::open();
    for set in 1..=16 {
        reader.follow(set, "db.example.com");
        reader.follow(set + 16, "*.example.com");
    }
    let error = follow(&mut reader.datapath, 99, &"db.example.com".parse().unwrap(), NETNS).unwrap_err();
    assert_eq!(error.category(), "unsupported", "{error}");
    let many = (0..20).fold(Response::to("db.example.com"), Response::a);
    reader.read(&many.v4());
    for set in 1..=32 {
        assert_eq!(reader.set(set).len(), 20, "set {set}");
    }
    assert_eq!(reader.failed(), 0);
    // More than the programs get through is counted, not passed over in silence.
    let more = (0..200).fold(Response::to("db.example.com"), Response::a);
    reader.read(&more.v4());
    assert_eq!((reader.set(1).len(), reader.set(32).len(), reader.failed()), (24, 23, 2));
    forget(&mut reader.datapath, &(1..=32).collect::<Vec<_>>()).unwrap();
    reader.follow(1, "db.example.com");
    reader.follow(40, "*.com");
    reader.read(&more.v4());
    assert_eq!((reader.set(1).len(), reader.set(40).len(), reader.failed()), (200, 200, 0));
    forget(&mut reader.datapath, &(1..=40).collect::<Vec<_>>()).unwrap();
    assert_eq!((reader.datapath.hosts.keys().count(), reader.datapath.learned.keys().count()), (0, 0));
}

#[test]
fn sets_forget_what_is_theirs() {
    testing::root_or_return!();
    let mut reader = Reader::following(&["db.example.com"]);
    reader.follow(8, "db.example.com");
    learn(&mut reader.datapath, SET, &"db.example.com".parse().unwrap(), NETNS, "10.0.0.1".parse().unwrap()).unwrap();
    reader.read(&Response::to("db.example.com").a(1).v4());
    let of = |reader: &Reader, set| addresses(&reader.datapath, set, &"db.example.com".parse().unwrap()).addresses;
    assert_eq!(of(&reader, SET), ["10.0.0.1", "192.0.2.1"]);
    assert_eq!(of(&reader, 8), ["192.0.2.1"]);
    sets::remove(&mut reader.datapath, &[SET]).unwrap();
    assert!(of(&reader, SET).is_empty() && followed(&reader.datapath, NETNS));
    assert_eq!(reader.set(8), ["192.0.2.1"]);
    sets::remove(&mut reader.datapath, &[8]).unwrap();
    assert!(!followed(&reader.datapath, NETNS));
}

/// A response that is cut anywhere yields the records before the cut and nothing else, although the reader has seen a whole one
/// with other addresses before.
#[test]
fn a_cut_message_yields_whole_records_only() {
    testing::root_or_return!();
    let mut reader = Reader::following(&["*.example.com"]);
    let before = (100..110).fold(Response::to("db.example.com"), Response::a);
    let response =
        Response::to("db.example.com").a(1).record(SAME, 16, 1, &wire("x.example.net")).record(SAME, AAAA, 1, &V6).a(2);
    for frame in [response.v4(), response.v6()] {
        // The kernel makes no frame without a whole IP header.
        let least = if frame[14] >> 4 == 4 { 34 } else { 54 };
        for cut in least..=frame.len() {
            reader.read(&before.v4());
            reader.clear();
            reader.ask(&question(&frame));
            reader.receive(&frame[..cut]);
            let found = reader.set(SET);
            let whole = |text: &str, bytes: &[u8]| {
                let at = frame.windows(bytes.len()).position(|window| window == bytes).unwrap();
                (cut >= at + bytes.len()).then(|| text.to_owned())
            };
            let first = whole("192.0.2.1", &[192, 0, 2, 1]);
            let last = whole("192.0.2.2", &[192, 0, 2, 2]);
            let expected: Vec<String> = [first, last, whole("2001:db8::9", &V6)].into_iter().flatten().collect();
            assert_eq!(found, expected, "cut at {cut} of {}", frame.len());
        }
    }
}
