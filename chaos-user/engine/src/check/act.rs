//! Sends the packets of all cases and writes down what arrives.

use super::{
    case::{CONTROL_PORT, Case, Kind},
    judge::{Arrival, Trace},
};
use chaos_sys::{
    error::KernelError,
    probe::{
        FAR, Stage,
        packet::{Segment, flag},
    },
};
use nix::errno::Errno;
use std::{
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::AsFd,
    time::{Duration, Instant},
};

/// How long stragglers are waited for behind the control packets, which nothing delays.
const GRACE: Duration = Duration::from_millis(20);
/// How long packets that a queue holds are waited for: three packets at 200 kbit/s take 150 ms.
const QUEUE_GRACE: Duration = Duration::from_millis(600);
/// The longest wait for anything that should come at once.
const LIMIT: Duration = Duration::from_secs(1);
/// The first number of the far end's bytes.
const SEQUENCE: u32 = 1000;

/// A datagram's payload: says which it is.
fn payload(port: u16, index: usize, size: usize) -> Vec<u8> {
    let mut bytes = format!("chaos check {port} {index} ").into_bytes();
    bytes.resize(size, b'.');
    bytes
}

/// The cases under way, and the one that no fault means, in each direction.
struct Trial<'a> {
    stage: &'a Stage,
    start: Instant,
    sockets: Vec<UdpSocket>,
    cases: Vec<(Case, Trace)>,
}

/// Tries all cases at once; in their order what became of each.
///
/// # Errors
/// What the kernel says to a packet that is to be sent.
pub fn act(stage: &Stage, cases: &[Case]) -> Result<Vec<Trace>, KernelError> {
    // Last, so that they are behind all others on the cable; no fault means their port, so that their kind does nothing.
    let families = if stage.no_ipv6.is_none() { 2 } else { 1 };
    let control = |(family, ingress)| Case { kind: Kind::Partition, family, ingress, port: CONTROL_PORT };
    let ways = (0..families).flat_map(|family| [(family, false), (family, true)]).map(control);
    let controls: Vec<Case> = ways.filter(|way| cases.iter().any(|case| same_way(case, way))).collect();
    let all = cases.iter().chain(&controls).copied();
    let mut trial = Trial {
        stage,
        start: Instant::now(),
        sockets: Vec::new(),
        cases: all.map(|case| (case, Trace::default())).collect(),
    };
    for family in 0..families {
        trial.sockets.push(stage.udp(family)?);
    }
    let before = stage.discarded()?;
    trial.send()?;
    trial.collect()?;
    let discarded = stage.discarded()? - before;
    let controls = trial.cases.split_off(cases.len());
    let took = |like: &Case| {
        let (_, trace) = controls.iter().find(|(control, _)| same_way(control, like))?;
        Some(trace.arrivals.first()?.at.saturating_sub(*trace.sent.first()?))
    };
    let mut traces = Vec::new();
    for (case, mut trace) in trial.cases {
        if case.kind == Kind::Reset {
            trace.reset = reset(stage, &case)?;
        }
        (trace.control, trace.discarded) = (took(&case), discarded);
        traces.push(trace);
    }
    Ok(traces)
}

/// Through the same sockets, so that the order in which they are read is that of their arrival.
fn same_way(one: &Case, other: &Case) -> bool {
    (one.family, one.ingress) == (other.family, other.ingress)
}

impl Trial<'_> {
    fn send(&mut self) -> Result<(), KernelError> {
        let failed = |e: std::io::Error| KernelError::from_io("send", "datagram of the trial", &e);
        for (case, trace) in &mut self.cases {
            if case.kind == Kind::Reset {
                continue;
            }
            let (count, size) = case.kind.datagrams();
            let far = SocketAddr::new(FAR[case.family], case.port);
            let Some(socket) = self.sockets.get(case.family) else { continue };
            for index in 0..count {
                let bytes = payload(case.port, index, size);
                trace.sent.push(self.start.elapsed());
                if case.ingress {
                    self.stage.inject_udp(far, socket.local_addr().map_err(failed)?, &bytes)?;
                } else {
                    socket.send_to(&bytes, far).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    /// Until the controls and, where a queue may hold them, all other packets are there, or the time is over.
    fn collect(&mut self) -> Result<(), KernelError> {
        let queues = self.cases.iter().any(|(case, _)| case.kind.queues());
        let mut end = Instant::now() + LIMIT;
        let mut settled = false;
        loop {
            self.read()?;
            let done = |wanted: fn(&Case) -> bool| {
                let mut some = self.cases.iter().filter(|(case, _)| wanted(case));
                some.all(|(_, trace)| trace.arrivals.len() >= trace.sent.len())
            };
            if !settled && done(|case| case.port == CONTROL_PORT) {
                settled = true;
                end = Instant::now() + if queues { QUEUE_GRACE } else { GRACE };
            }
            if Instant::now() >= end || queues && done(|_| true) {
                return Ok(());
            }
            let sockets: Vec<_> = self.sockets.iter().map(AsFd::as_fd).collect();
            self.stage.wait(&sockets, end)?;
        }
    }

    fn read(&mut self) -> Result<(), KernelError> {
        while let Some(seen) = self.stage.next()? {
            if seen.segment.is_none() {
                self.arrived(seen.to, false, seen.header_ok, &seen.payload);
            }
        }
        let mut bytes = [0; 2048];
        for index in 0..self.sockets.len() {
            while let Ok((length, from)) = self.sockets[index].recv_from(&mut bytes) {
                // The stack has checked the header.
                self.arrived(from, true, true, &bytes[..length]);
            }
        }
        Ok(())
    }

    fn arrived(&mut self, peer: SocketAddr, ingress: bool, header_ok: bool, bytes: &[u8]) {
        let at = self.start.elapsed();
        let family = usize::from(peer.is_ipv6());
        let ours = |case: &Case| case.port == peer.port() && case.ingress == ingress && case.family == family;
        let is_control = |case: &Case| case.port == CONTROL_PORT;
        let Some(place) = self.cases.iter().position(|(case, _)| ours(case)) else { return };
        let case = self.cases[place].0;
        let mut controls = self.cases.iter().filter(|(other, _)| is_control(other) && same_way(other, &case));
        let overtaken = !is_control(&case) && controls.any(|(_, trace)| !trace.arrivals.is_empty());
        let (count, size) = case.kind.datagrams();
        let index = (0..count).find(|index| payload(case.port, *index, size) == bytes);
        self.cases[place].1.arrivals.push(Arrival { index, header_ok, at, overtaken });
    }
}

/// Opens a connection from the target, with us as its peer, and has a segment of it go through the fault: at egress the
/// acknowledgement that ends the opening, at ingress a byte of data. True for each end that a RST broke: near, far.
fn reset(stage: &Stage, case: &Case) -> Result<[bool; 2], KernelError> {
    let client = stage.connect(case.port)?;
    let port = case.port;
    let with = |flags: u8| {
        move |seen: &chaos_sys::probe::packet::Seen| {
            seen.to.port() == port && seen.segment.is_some_and(|segment| segment.flags & flags == flags)
        }
    };
    let Some(syn) = stage.expect(LIMIT, with(flag::SYN))? else { return Ok([false; 2]) };
    let acknowledgement = syn.segment.map_or(0, |segment| segment.sequence).wrapping_add(1);
    let answer = Segment { sequence: SEQUENCE, acknowledgement, flags: flag::SYN | flag::ACK };
    stage.inject_tcp(&syn, answer, b"")?;
    if case.ingress {
        if stage.expect(LIMIT, with(flag::ACK))?.is_none() {
            return Ok([false; 2]);
        }
        let data = Segment { sequence: SEQUENCE + 1, acknowledgement, flags: flag::PSH | flag::ACK };
        stage.inject_tcp(&syn, data, b"x")?;
    }
    let far = stage.expect(GRACE * 5, with(flag::RST))?.is_some();
    Ok([broke(stage, &client)?, far])
}

/// Did a RST reach the near end?
fn broke(stage: &Stage, client: &TcpStream) -> Result<bool, KernelError> {
    let end = Instant::now() + GRACE * 5;
    loop {
        if let Ok(Some(error)) = client.take_error() {
            return Ok(error.raw_os_error() == Some(Errno::ECONNRESET as i32));
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        stage.wait(&[client.as_fd()], end)?;
        // A connection that ended in order would be readable again and again.
        std::thread::sleep(Duration::from_millis(1));
    }
}
