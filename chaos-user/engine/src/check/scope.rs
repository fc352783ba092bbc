//! Faults on the sockets of one cgroup in a namespace that others share.

use super::{
    Lack, Row,
    case::{Case, Kind},
    scratch_cgroup::ScratchCgroup,
    start,
};
use crate::Engine;
use chaos_sys::{
    error::KernelError,
    probe::{FAR, Stage},
};
use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
    time::{Duration, Instant},
};

const PORT: u16 = 2001;
const PAYLOAD: &[u8] = b"chaos check";
/// How long packets are waited for; on a cable within one machine they come at once.
const GRACE: Duration = Duration::from_millis(20);

/// What is tried: a partition of one cgroup; what arrives for it is dropped at its sockets.
pub(super) fn row(ingress: bool) -> Row {
    Row {
        fault: "partition".to_owned(),
        variant: Some("cgroup".to_owned()),
        direction: case(ingress).direction().to_owned(),
        ..Row::default()
    }
}

fn case(ingress: bool) -> Case {
    Case { kind: Kind::Partition, family: 0, ingress, port: PORT }
}

/// Tries it: the mechanism, if the cgroup's packet is dropped and another's is not.
pub(super) fn attempt(engine: &Engine, ingress: bool, dry_run: bool) -> Result<String, Lack> {
    let cgroup = ScratchCgroup::new()?;
    let stage = Stage::new()?;
    let inside = cgroup.inside(|| stage.udp(0))??;
    let outside = stage.udp(0)?;
    let active = start(engine, &stage, &[case(ingress)], Some(cgroup.scope.clone()), dry_run)?;
    let arrived = if ingress { received(&stage, [&inside, &outside]) } else { sent(&stage, [&inside, &outside]) };
    let reports = engine.revert(&active)?;
    let [inside, outside] = arrived?;
    let report = reports.first();
    if !inside && outside {
        return Ok(report.map(|report| report.mechanism.clone()).unwrap_or_default());
    }
    let did = |arrived: bool| if arrived { "arrived" } else { "was dropped" };
    let text = format!("the cgroup's packet {}, another's {}", did(inside), did(outside));
    Err(Lack::no_effect(&text, report))
}

/// Sends from each socket; whether it arrives at the far end.
fn sent(stage: &Stage, sockets: [&UdpSocket; 2]) -> Result<[bool; 2], KernelError> {
    let failed = |e: std::io::Error| KernelError::from_io("send", "datagram of the trial", &e);
    for socket in sockets {
        socket.send_to(PAYLOAD, SocketAddr::new(FAR[0], PORT)).map_err(failed)?;
    }
    let arrived = arrived(stage)?;
    let mut each = [false; 2];
    for (arrives, socket) in each.iter_mut().zip(sockets) {
        *arrives = arrived.contains(&socket.local_addr().map_err(failed)?);
    }
    Ok(each)
}

/// Sends to each socket from the far end; whether it arrives there.
fn received(stage: &Stage, sockets: [&UdpSocket; 2]) -> Result<[bool; 2], KernelError> {
    let failed = |e: std::io::Error| KernelError::from_io("receive", "datagram of the trial", &e);
    for socket in sockets {
        let to = socket.local_addr().map_err(failed)?;
        stage.inject_udp(SocketAddr::new(FAR[0], PORT), to, PAYLOAD)?;
    }
    // Whether the one arrives is known when the other has; should neither, the time decides.
    let end = Instant::now() + GRACE;
    let mut each = [false; 2];
    while !each[1] && Instant::now() < end {
        stage.wait(&sockets.map(AsFd::as_fd), end)?;
        for (arrives, socket) in each.iter_mut().zip(sockets) {
            *arrives |= socket.recv(&mut [0; PAYLOAD.len()]).is_ok();
        }
    }
    Ok(each)
}

/// Where the packets that arrive within a moment come from.
fn arrived(stage: &Stage) -> Result<BTreeSet<SocketAddr>, KernelError> {
    let mut from = BTreeSet::new();
    while let Some(seen) = stage.expect(GRACE, |_| true)? {
        from.insert(seen.from);
    }
    Ok(from)
}
