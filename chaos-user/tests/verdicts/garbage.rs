//! Random frames, sorted by a parser of its own into those that a rule means and all others.

use crate::common::*;
use chaos_abi::*;

pub const UDP: u8 = 17;
pub const TCP: u8 = 6;
/// 10.0.0.1 and 10.0.0.2 are the addresses of all frames; the peer is the other end.
const PEERS: [&str; 2] = ["10.0.0.2", "10.0.0.1"];
const PORT: u16 = 7;
const COUNT: usize = 100_000;

/// The frames of one protocol and direction.
pub struct Frames {
    ingress: bool,
    /// Inside the match.
    meant: Vec<Vec<u8>>,
    /// Inside too, with a TCP header that claims to be shorter than any: no receiver takes it, whatever is done to it.
    malformed: Vec<Vec<u8>>,
    /// Outside.
    others: Vec<Vec<u8>>,
}

impl Frames {
    /// Every beginning of good frames, and as many that are good but for a few random bytes, cut anywhere.
    pub fn new(protocol: u8, ingress: bool) -> Self {
        let (source, destination) = if ingress { (PORT, 1) } else { (1, PORT) };
        let body = match protocol {
            UDP => udp(source, destination),
            _ => tcp(source, destination, 16),
        };
        let plain = ipv4(protocol, 0, &body);
        let good =
            [plain.clone(), ipv6(protocol, &body), tagged(&plain, 0x8100), tagged(&tagged(&plain, 0x8100), 0x88a8)];
        let mut seed = u64::from(protocol) << 1 | u64::from(ingress);
        let mut random = || {
            seed = mix(seed);
            seed as usize
        };
        let mut frames: Vec<Vec<u8>> =
            good.iter().flat_map(|frame| (14..=frame.len()).map(|end| frame[..end].to_vec())).collect();
        while frames.len() < COUNT {
            let mut frame = good[random() % good.len()].clone();
            for _ in 0..=random() % 8 {
                let at = random() % frame.len();
                frame[at] = random() as u8;
            }
            // Half of them are whole, so that actions reach what lies behind the headers.
            if random() % 2 == 0 {
                frame.truncate(14 + random() % (frame.len() - 13));
            }
            frames.push(frame);
        }
        let (inside, others): (Vec<_>, Vec<_>) =
            frames.into_iter().partition(|frame| is_meant(frame, protocol, ingress));
        let (meant, malformed) = inside.into_iter().partition(|frame| protocol != TCP || has_whole_tcp_header(frame));
        Self { ingress, meant, malformed, others }
    }

    fn point(&self) -> u32 {
        if self.ingress { INGRESS } else { EGRESS }
    }

    /// Those outside the match: passed on as they are, and counted nowhere.
    #[track_caller]
    pub fn assert_others_pass(&self, stage: &Stage, what: &str) {
        assert!(self.others.len() > COUNT / 10, "{what}: {} others", self.others.len());
        let before = stage.count(1);
        for (frame, passed) in self.others.iter().zip(stage.pass_all(self.point(), &self.others)) {
            let Some((verdict, out)) = passed else { continue };
            assert_eq!(verdict, NEXT, "{what}: {frame:02x?}");
            assert!(out == *frame, "{what}: changed\n{frame:02x?} to\n{out:02x?}");
        }
        let after = stage.count(1);
        let counted = |c: &Counters| (c.matched, c.injected, c.skipped, c.skbs, c.errors);
        assert_eq!(counted(&after), counted(&before), "{what}: a hit outside the match");
    }

    /// Those inside: most are hit, and a byte changes only where corruption counts it, or where a reset makes it its answer.
    #[track_caller]
    pub fn assert_meant_are_hit(&self, stage: &Stage, action: u32, counter: fn(&Counters) -> u64, what: &str) {
        assert!(self.meant.len() > COUNT / 10, "{what}: {} are meant", self.meant.len());
        for passed in stage.pass_all(self.point(), &self.malformed).into_iter().flatten() {
            assert!(matches!(passed.0, NEXT | SHOT | REDIRECT), "{what}: {}", passed.0);
        }
        let before = stage.count(1);
        let mut changed = 0;
        for (frame, passed) in self.meant.iter().zip(stage.pass_all(self.point(), &self.meant)) {
            let Some((verdict, out)) = passed else { continue };
            assert!(matches!(verdict, NEXT | SHOT | REDIRECT), "{what}: {verdict} {frame:02x?}");
            changed += u64::from(out != *frame);
        }
        let after = stage.count(1);
        let grown = |of: fn(&Counters) -> u64| of(&after) - of(&before);
        let [matched, injected, errors] = [grown(|c| c.matched), grown(|c| c.injected), grown(|c| c.errors)];
        let done = grown(counter);
        println!(
            "{what}: {} meant, {matched} matched, {injected} injected, {done} done, {changed} changed, {errors} errors",
            self.meant.len()
        );
        assert!(matched <= self.meant.len() as u64 && injected <= matched, "{what}: {after:?}");
        assert!(done > 1_000, "{what}: done {done} times: the frames must not all be beyond recognition: {after:?}");
        match action {
            ACTION_CORRUPT => assert_eq!(changed, grown(|c| c.corrupted), "{what}: changed frames: {after:?}"),
            ACTION_RESET => assert!(changed <= injected, "{what}: {changed} changed: {after:?}"),
            _ => assert_eq!(changed, 0, "{what}: changed frames"),
        }
    }
}

/// One rule that means a protocol, a port and an address of the peer.
pub fn stage_rule(stage: &mut Stage, rule: Rule, protocol: u8, ingress: bool) {
    let mut bits = [0; 1024];
    bits[0] = 1 << PORT;
    stage.datapath.port_sets.set(1, bits, 0).unwrap();
    for (peers, address) in (1..).zip(PEERS) {
        stage.datapath.addrs.insert(chaos_engine::sets::key(peers, address.parse().unwrap()), 1, 0).unwrap();
    }
    let peers = 1 + u32::from(ingress);
    stage.rules(&[Rule { protocol: protocol.into(), ports: 1, peers, flags: RULE_ADDRS, ..rule }]);
}

/// Whether a frame is what the rule means, read without the product's parser.
fn is_meant(frame: &[u8], protocol: u8, ingress: bool) -> bool {
    let Some((ip, header)) = ip_header(frame) else { return false };
    let unfragmented = u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff == 0;
    // The peer's address and port: where it goes to, or where it comes from.
    let (address, port) = if ingress { (&ip[12..16], header) } else { (&ip[16..20], header + 2) };
    let peer = [10, 0, 0, if ingress { 1 } else { 2 }];
    ip[9] == protocol && unfragmented && address == peer && ip.get(port..port + 2) == Some(&PORT.to_be_bytes())
}

fn has_whole_tcp_header(frame: &[u8]) -> bool {
    ip_header(frame).is_some_and(|(ip, header)| ip.get(header + 12).is_some_and(|offset| offset >> 4 >= 5))
}

/// An IPv4 packet behind up to two tags, and where its header says that it ends.
fn ip_header(frame: &[u8]) -> Option<(&[u8], usize)> {
    let mut at = 12;
    for _ in 0..2 {
        if matches!(frame.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xa8])) {
            at += 4;
        }
    }
    let ip = frame.get(at + 2..)?;
    let is_ip = frame.get(at..at + 2) == Some(&[0x08, 0x00]) && ip.len() >= 20 && ip[0] >> 4 == 4;
    is_ip.then(|| (ip, usize::from(ip[0] & 15) * 4))
}
