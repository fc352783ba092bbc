//! Alternative names of an interface (`ip link property`, Linux 5.5): a mark that lasts as long as the interface, and that no process and no
//! file needs to keep.

use super::ifinfo;
use crate::{
    error::KernelError,
    netlink::{Request, Rtnl, attrs, find, text},
    seam,
};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};

// linux/rtnetlink.h, linux/if_link.h
const RTM_NEWLINKPROP: u16 = 108;
const RTM_DELLINKPROP: u16 = 109;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
/// Nests are marked as such where the kernel reads strictly (linux/netlink.h).
const NLA_F_NESTED: u16 = 1 << 15;

fn change(op: &'static str, kind: u16, flags: u16, index: u32, name: &str) -> Request {
    let request = Request::new(op, format!("{name} of interface {index}"), kind, flags, &ifinfo(index, 0, 0));
    request.nest(IFLA_PROP_LIST | NLA_F_NESTED, |list| list.text(IFLA_ALT_IFNAME, name))
}

/// Gives an interface one more name, at most 127 bytes. Errors: EEXIST where an interface of this namespace has it; ENODEV.
pub fn add(rtnl: &mut Rtnl, index: u32, name: &str) -> Result<(), KernelError> {
    let flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND;
    let request = change("add name", RTM_NEWLINKPROP, flags, index, name);
    seam::run("add name", name, || rtnl.execute(request).map(drop))
}

/// Takes one away. Errors: ENOENT where it has none such; ENODEV.
pub fn remove(rtnl: &mut Rtnl, index: u32, name: &str) -> Result<(), KernelError> {
    let request = change("remove name", RTM_DELLINKPROP, 0, index, name);
    seam::run("remove name", name, || rtnl.execute(request).map(drop))
}

/// Those in the attributes of an interface.
pub(super) fn parse(link: &[u8]) -> Vec<String> {
    let list = find(link, IFLA_PROP_LIST).unwrap_or_default();
    attrs(list).filter(|(kind, _)| *kind == IFLA_ALT_IFNAME).map(|(_, value)| text(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        link,
        testing::{in_scratch, root_or_return},
    };
    use nix::errno::Errno;

    #[test]
    fn names_are_added_read_and_removed() {
        root_or_return!();
        in_scratch(|rtnl| {
            let names = |rtnl: &mut Rtnl| link::get(rtnl, 1).unwrap().altnames;
            assert!(names(rtnl).is_empty());
            add(rtnl, 1, "first-name-that-is-longer-than-fifteen-bytes").unwrap();
            add(rtnl, 1, "second").unwrap();
            assert_eq!(names(rtnl), ["first-name-that-is-longer-than-fifteen-bytes", "second"]);
            assert_eq!(add(rtnl, 1, "second").unwrap_err().errno, Errno::EEXIST);
            remove(rtnl, 1, "first-name-that-is-longer-than-fifteen-bytes").unwrap();
            assert_eq!(names(rtnl), ["second"]);
            assert!(remove(rtnl, 1, "first").is_err());
        });
    }
}
