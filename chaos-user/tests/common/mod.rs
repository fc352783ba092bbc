//! Packets, and a stage for one program run: a datapath of its own in a scratch network namespace.
#![allow(dead_code, missing_docs, reason = "shared by several test programs, each of which uses a part")]

use chaos_abi::{
    ALWAYS, ANY_PORT, Counters, Entry, LEASE_RUNNING, Lease, PROGRAM_FAULT, PROTO_ANY, Point, Rule, State,
};
use chaos_sys::{
    bpf,
    datapath::Datapath,
    link::{self, VethPair},
    netlink::Rtnl,
    netns::Netns,
};
use std::os::fd::AsFd;

pub const NEXT: i32 = -1;
pub const SHOT: i32 = 2;
pub const REDIRECT: i32 = 7;
pub const EGRESS: u32 = 2;
pub const INGRESS: u32 = 3;

/// False where this cannot run; says why, and fails in CI.
pub fn privileged() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "needs root");
    println!("SKIPPED: needs root");
    false
}

pub struct Stage {
    pub datapath: Datapath,
    stubs: [std::os::fd::OwnedFd; 2],
    netns: Netns,
    ifindex: u32,
}

impl Stage {
    pub fn new() -> Self {
        let datapath = Datapath::load(chaos_objects::NET).unwrap();
        let netns = Netns::scratch().unwrap();
        let pair = VethPair {
            names: ["queue".into(), "back".into()],
            mtu: 1500,
            queues: 1,
            txqlen: 1000,
            alias: "chaos: test".into(),
        };
        // Test runs happen on loopback, and copies need it up.
        let ifindex = netns
            .enter(|| {
                let mut rtnl = Rtnl::open().unwrap();
                link::set_up(&mut rtnl, 1, true).unwrap();
                link::create_veth(&mut rtnl, &pair).unwrap()[0].index
            })
            .unwrap();
        let stubs = [EGRESS, INGRESS].map(|id| datapath.stub(PROGRAM_FAULT, id).unwrap());
        let mut stage = Self { datapath, stubs, netns, ifindex };
        stage.lease(true);
        stage
    }

    /// The device to which delayed packets go takes them, or drops them all.
    pub fn queue_is_up(&self, up: bool) {
        self.netns.enter(|| link::set_up(&mut Rtnl::open().unwrap(), self.ifindex, up).unwrap()).unwrap();
    }

    /// Lease 1 holds, or has lapsed.
    pub fn lease(&mut self, holds: bool) {
        self.lease_of(1, holds);
    }

    /// The same of the experiment with this lease.
    pub fn lease_of(&mut self, id: u32, holds: bool) {
        let clock = self.datapath.clock().unwrap();
        let lease = Lease {
            until: if holds { clock.jiffies + 3_600_000 } else { 1 },
            end: u64::MAX,
            deadline: u64::MAX,
            start: clock.ns,
            generation: 1,
            state: LEASE_RUNNING,
            ..Lease::zeroed()
        };
        self.datapath.leases.set(id, lease, 0).unwrap();
    }

    /// These rules, in this order, ids from 1, at both points.
    pub fn rules(&mut self, rules: &[Rule]) {
        for (index, rule) in rules.iter().enumerate() {
            let id = index as u32 + 1;
            self.datapath.reset(id).unwrap();
            self.datapath.states.set(id, State::zeroed(), 0).unwrap();
            self.datapath.rules.set(id, rule, 0).unwrap();
        }
        for id in [EGRESS, INGRESS] {
            let mut point = Point { l2_len: 14, flags: id & 1, ..Point::zeroed() };
            (point.count, point.pair_tx) = (rules.len() as u32, self.ifindex);
            for (to, (id, rule)) in point.rules.iter_mut().zip((1..).zip(rules)) {
                *to = Entry::of(id, rule);
            }
            // 0 where there are several.
            point.lease = rules.first().map_or(0, |rule| rule.lease);
            if rules.iter().any(|rule| rule.lease != point.lease) {
                point.lease = 0;
            }
            self.datapath.points.set(id, point, 0).unwrap();
        }
    }

    pub fn run(&self, point: u32, packet: &[u8]) -> i32 {
        let stub = &self.stubs[(point & 1) as usize];
        self.netns.enter(|| bpf::test_run(stub.as_fd(), packet, 1).unwrap().verdict).unwrap()
    }

    /// The mean time of a run over `repeat` ones, and of an empty program's beside it, ns.
    pub fn time(&self, point: u32, packet: &[u8], repeat: u32) -> (u32, u32) {
        let empty = bpf::load_empty(bpf::Hook::Interface).unwrap();
        let stub = &self.stubs[(point & 1) as usize];
        self.netns
            .enter(|| {
                let time =
                    |program: std::os::fd::BorrowedFd| bpf::test_run(program, packet, repeat).unwrap().nanoseconds;
                (time(stub.as_fd()), time(empty.as_fd()))
            })
            .unwrap()
    }

    /// The time of a run on a packet that no run has touched, over `runs` ones, and of an empty program's in turns with it, ns. What the
    /// program writes into a packet stays there for the next run of the same call. It is the tenth part that takes least: handing a packet to
    /// another device takes 200 ns more or less by how busy the machine is, and a median jumps from the one to the other.
    pub fn time_fresh(&self, point: u32, packet: &[u8], runs: usize) -> (f64, f64) {
        let empty = bpf::load_empty(bpf::Hook::Interface).unwrap();
        let stub = &self.stubs[(point & 1) as usize];
        let once = |program: std::os::fd::BorrowedFd| bpf::test_run(program, packet, 1).unwrap().nanoseconds;
        let pairs: Vec<(u32, u32)> =
            self.netns.enter(|| (0..runs).map(|_| (once(stub.as_fd()), once(empty.as_fd()))).collect()).unwrap();
        let tenth = |mut values: Vec<u32>| {
            values.sort_unstable();
            f64::from(values[values.len() / 10])
        };
        (tenth(pairs.iter().map(|pair| pair.0).collect()), tenth(pairs.iter().map(|pair| pair.1).collect()))
    }

    /// So many attach points like that of egress, of which the last is that of egress from now on.
    pub fn targets(&mut self, count: u32) {
        let point = self.datapath.points.get(&EGRESS, 0).unwrap();
        // An even number, as egress has.
        let ids: Vec<u32> = (1..=count).map(|number| number * 2).collect();
        for id in &ids {
            self.datapath.points.set(*id, point, 0).unwrap();
        }
        self.stubs[0] = self.datapath.stub(PROGRAM_FAULT, ids[ids.len() - 1]).unwrap();
    }

    /// All of them within one visit of the namespace: the verdict and the packet as the program left it. `None` where the
    /// kernel itself refuses a packet, as those that are shorter than a link header.
    pub fn pass_all(&self, point: u32, packets: &[Vec<u8>]) -> Vec<Option<(i32, Vec<u8>)>> {
        let stub = &self.stubs[(point & 1) as usize];
        self.netns.enter(|| packets.iter().map(|p| bpf::test_pass(stub.as_fd(), p).ok()).collect()).unwrap()
    }

    /// What is attached for this point.
    pub fn stub(&self, point: u32) -> &std::os::fd::OwnedFd {
        &self.stubs[(point & 1) as usize]
    }

    pub fn count(&self, rule: u32) -> Counters {
        self.datapath.count(rule).unwrap()
    }
}

/// A rule of `action` that acts on every packet.
pub fn always(action: u32, args: [u64; 8]) -> Rule {
    Rule {
        action,
        args,
        lease: 1,
        protocol: PROTO_ANY,
        percent: ALWAYS,
        seed: 42,
        port_bounds: ANY_PORT,
        local_bounds: ANY_PORT,
        ..Rule::zeroed()
    }
}

fn ethernet(kind: u16, body: Vec<u8>) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(kind.to_be_bytes());
    frame.extend(body);
    frame
}

/// 10.0.0.1 -> 10.0.0.2; `fragment` is the field of flags and offset.
pub fn ipv4(protocol: u8, fragment: u16, body: &[u8]) -> Vec<u8> {
    let len = (20 + body.len()) as u16;
    let mut ip = vec![0x45, 0];
    ip.extend(len.to_be_bytes());
    ip.extend([0, 1]);
    ip.extend(fragment.to_be_bytes());
    ip.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = ip.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum::<u32>();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip.extend(body);
    ethernet(0x0800, ip)
}

/// fd00::1 -> fd00::2.
pub fn ipv6(next: u8, body: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x60, 0, 0, 0];
    ip.extend((body.len() as u16).to_be_bytes());
    ip.extend([next, 64]);
    for last in [1, 2] {
        let mut addr = [0; 16];
        (addr[0], addr[15]) = (0xfd, last);
        ip.extend(addr);
    }
    ip.extend(body);
    ethernet(0x86dd, ip)
}

/// With a tag in front.
pub fn tagged(frame: &[u8], kind: u16) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    out.extend(kind.to_be_bytes());
    out.extend([0, 5]);
    out.extend(&frame[12..]);
    out
}

pub fn udp(source: u16, destination: u16) -> Vec<u8> {
    let mut udp = source.to_be_bytes().to_vec();
    udp.extend(destination.to_be_bytes());
    udp.extend([0, 16, 0, 0]);
    udp.extend([b'x'; 8]);
    udp
}

pub fn tcp(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let mut tcp = source.to_be_bytes().to_vec();
    tcp.extend(destination.to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 2, 5 << 4, flags, 1, 0, 0, 0, 0, 0]);
    tcp.extend([b'x'; 8]);
    tcp
}
