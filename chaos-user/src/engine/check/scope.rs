//! Faults on the sockets of one cgroup in a namespace that others share.

use super::{Lack, Row, start};
use crate::{
    engine::Engine,
    engine::check::case::{Case, Kind},
    kernel::{
        error::KernelError,
        probe::{FAR, ScratchCgroup, Stage},
    },
};
use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

const PORT: u16 = 2001;
/// How long packets are waited for; on a cable within one machine they come at once.
const GRACE: Duration = Duration::from_millis(20);

/// What is tried: a partition of one cgroup at egress. At ingress a packet belongs to no socket yet.
pub(super) fn row() -> Row {
    Row {
        fault: "partition".to_owned(),
        variant: Some("cgroup".to_owned()),
        direction: "egress".to_owned(),
        ..Row::default()
    }
}

/// Tries it: the mechanism, if the cgroup's packet is dropped and another's is not.
pub(super) fn attempt(engine: &Engine, dry_run: bool) -> Result<String, Lack> {
    let cgroup = ScratchCgroup::new()?;
    let stage = Stage::new()?;
    let inside = cgroup.inside(|| stage.udp(0))??;
    let outside = stage.udp(0)?;
    let case = Case { kind: Kind::Partition, family: 0, ingress: false, port: PORT };
    let active = start(engine, &stage, &[case], Some(cgroup.scope.clone()), dry_run)?;
    let seen = [&inside, &outside].map(|socket| {
        socket.send_to(b"chaos check", SocketAddr::new(FAR[0], PORT))?;
        socket.local_addr()
    });
    let arrived = arrived(&stage);
    let reports = engine.revert(&active)?;
    let [inside, outside] = seen;
    let failed = |e: std::io::Error| KernelError::from_io("send", "datagram of the trial", &e);
    let (inside, outside, arrived) = (inside.map_err(failed)?, outside.map_err(failed)?, arrived?);
    let (hit, spared) = (!arrived.contains(&inside), arrived.contains(&outside));
    let report = reports.first();
    if hit && spared {
        return Ok(report.map(|report| report.mechanism.clone()).unwrap_or_default());
    }
    let did = |arrived: bool| if arrived { "arrived" } else { "was dropped" };
    let text = format!("the cgroup's packet {}, another's {}", did(!hit), did(spared));
    Err(Lack::no_effect(&text, report))
}

/// Where the packets that arrive within a moment come from.
fn arrived(stage: &Stage) -> Result<BTreeSet<SocketAddr>, KernelError> {
    let mut from = BTreeSet::new();
    while let Some(seen) = stage.expect(GRACE, |_| true)? {
        from.insert(seen.from);
    }
    Ok(from)
}
