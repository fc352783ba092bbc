//! cls_bpf filters in clsact: programs on kernels without tcx, or where many are attached at once.
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use nix::errno::Errno;

use super::{
    error::KernelError,
    netlink::{Answer, Request, Rtnl, find, text, u32_at},
    seam,
    tc::{CLSACT, TCMSG, Tcm},
};

// Attributes of cls_bpf (linux/pkt_cls.h).
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
/// TCA_BPF_FLAG_ACT_DIRECT: the program's return value is the verdict.
const ACT_DIRECT: u32 = 1;
/// ETH_P_ALL in network byte order: the filter sees every protocol.
const ALL_PROTOCOLS: u32 = (libc::ETH_P_ALL as u16).to_be() as u32;

/// The side of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// What comes in through the device.
    Ingress,
    /// What goes out through it.
    Egress,
}

impl Direction {
    /// TC_H_MIN_INGRESS and TC_H_MIN_EGRESS of linux/pkt_sched.h under clsact.
    fn parent(self) -> u32 {
        let minor = match self {
            Self::Ingress => 0xFFF2,
            Self::Egress => 0xFFF3,
        };
        CLSACT & 0xFFFF_0000 | minor
    }
}

/// Where a filter is: one program per place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index of the device.
    pub interface: u32,
    /// Side of the device.
    pub direction: Direction,
    /// Order among filters, 1 first; not 0, which would let the kernel choose.
    pub pref: u16,
    /// Number within the preference; not 0.
    pub handle: u32,
}

impl Place {
    fn tcm(self) -> Tcm {
        let info = u32::from(self.pref) << 16 | ALL_PROTOCOLS;
        Tcm { index: self.interface, handle: self.handle, parent: self.direction.parent(), info }
    }

    fn object(self) -> String {
        let side = if self.direction == Direction::Ingress { "ingress" } else { "egress" };
        format!("interface {} {side} (pref {}, handle {})", self.interface, self.pref, self.handle)
    }

    fn request(self, op: &'static str, message_type: u16, flags: u16) -> Request {
        Request::new(op, self.object(), message_type, flags, &self.tcm().bytes()).text(libc::TCA_KIND, "bpf")
    }
}

/// A cls_bpf filter that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Order among filters.
    pub pref: u16,
    /// Number within the preference.
    pub handle: u32,
    /// Id of its program (kernel >= 4.13), for BPF_PROG_GET_FD_BY_ID.
    pub program: Option<u32>,
    /// The name that its owner gave, often `file:[section]`.
    pub name: String,
}

/// Attaches a loaded program of type `BPF_PROG_TYPE_SCHED_CLS` in direct-action mode. The device must have clsact; the
/// filter stays until it is deleted, also after this process.
/// Errors: EEXIST where the place is taken; EINVAL without clsact or for another program type; `unsupported` without
/// cls_bpf; ENODEV.
pub fn add(rtnl: &mut Rtnl, place: Place, name: &str, program: BorrowedFd<'_>) -> Result<(), KernelError> {
    let object = place.object();
    seam::run("add filter to", &object, || rtnl.execute(add_request(place, name, program)).map(drop).map_err(explain))
}

/// Attaches many, in order, in few system calls; one outcome each. The seam counts it as one operation.
/// Errors: as [`add`].
pub fn add_all(
    rtnl: &mut Rtnl,
    filters: &[(Place, &str, BorrowedFd<'_>)],
) -> Result<Vec<Result<(), KernelError>>, KernelError> {
    seam::run("add filters to", &format!("{} places", filters.len()), || {
        let requests = filters.iter().map(|(place, name, program)| add_request(*place, name, *program)).collect();
        Ok(rtnl.batch(requests).into_iter().map(|answer: Answer| answer.map(drop).map_err(explain)).collect())
    })
}

fn add_request(place: Place, name: &str, program: BorrowedFd<'_>) -> Request {
    let request = place.request("add filter to", libc::RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL);
    request.nest(libc::TCA_OPTIONS, |options| {
        options
            .u32(TCA_BPF_FD, program.as_raw_fd().cast_unsigned())
            .text(TCA_BPF_NAME, name)
            .u32(TCA_BPF_FLAGS, ACT_DIRECT)
    })
}

fn explain(error: KernelError) -> KernelError {
    match error.errno {
        Errno::ENOENT => error.unsupported("this kernel has no cls_bpf: load the module cls_bpf on the node"),
        _ => error,
    }
}

/// Detaches the filter at a place, whosever: the caller has to look first. Errors: ENOENT or EINVAL where there is none.
pub fn delete(rtnl: &mut Rtnl, place: Place) -> Result<(), KernelError> {
    let request = place.request("delete filter of", libc::RTM_DELTFILTER, 0);
    seam::run("delete filter of", &place.object(), || rtnl.execute(request).map(drop))
}

/// The cls_bpf filters on one side of a device; none where there is no clsact. Errors: ENODEV on some kernels, an empty
/// list on others, where there is no such device.
pub fn list(rtnl: &mut Rtnl, interface: u32, direction: Direction) -> Result<Vec<Filter>, KernelError> {
    let tcm = Tcm { index: interface, parent: direction.parent(), ..Tcm::default() };
    let request =
        Request::new("list filters of", format!("interface {interface}"), libc::RTM_GETTFILTER, 0, &tcm.bytes());
    match rtnl.dump(request) {
        Ok(messages) => Ok(messages.iter().filter_map(|message| parse(message)).collect()),
        Err(error) if matches!(error.errno, Errno::EINVAL | Errno::ENOENT) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Is there no filter on one side of a device, of whatever kind? Errors: as [`list`].
pub fn is_empty(rtnl: &mut Rtnl, interface: u32, direction: Direction) -> Result<bool, KernelError> {
    let tcm = Tcm { index: interface, parent: direction.parent(), ..Tcm::default() };
    let object = format!("interface {interface}");
    Ok(rtnl.dump(Request::new("list filters of", object, libc::RTM_GETTFILTER, 0, &tcm.bytes()))?.is_empty())
}

pub(crate) fn parse(message: &[u8]) -> Option<Filter> {
    let tcm = Tcm::parse(message)?;
    let attrs = message.get(TCMSG..)?;
    // Before the filters of a preference comes a message for the preference itself, without a handle.
    if tcm.handle == 0 || text(find(attrs, libc::TCA_KIND)?) != "bpf" {
        return None;
    }
    let options = find(attrs, libc::TCA_OPTIONS).unwrap_or_default();
    Some(Filter {
        pref: (tcm.info >> 16) as u16,
        handle: tcm.handle,
        program: find(options, TCA_BPF_ID).map(|value| u32_at(value, 0)),
        name: find(options, TCA_BPF_NAME).map(text).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
