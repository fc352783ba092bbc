//! By which number one network namespace calls another.

use super::{
    error::KernelError,
    netlink::{Request, Rtnl, field, find},
    netns::Netns,
};
use std::os::fd::{AsFd, AsRawFd};

/// `NETNSA_NSID` (linux/net_namespace.h).
const ID: u16 = 1;
/// `NETNSA_FD`.
const FD: u16 = 3;
/// Length of `struct rtgenmsg`, padded.
const RTGENMSG: usize = 4;

/// The id by which `within` calls `other` (RTM_GETNSID); None where it has none for it (`NETNSA_NSID_NOT_ASSIGNED`). For the other end of a veth
/// pair it has one since its links were listed (net/core/rtnetlink.c, `rtnl_fill_link_netnsid`).
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN.
pub fn id(within: &Netns, other: &Netns) -> Result<Option<u32>, KernelError> {
    let mut rtnl = Rtnl::open_in(within)?;
    let request = Request::new("ask for the id of", other.description(), libc::RTM_GETNSID, 0, &[0; RTGENMSG]);
    let answers = rtnl.execute(request.u32(FD, other.as_fd().as_raw_fd().cast_unsigned()))?;
    let id = |message: &Vec<u8>| {
        find(message.get(RTGENMSG..)?, ID).and_then(|value| field(value, 0)).map(i32::from_ne_bytes)
    };
    Ok(answers.iter().find_map(id).and_then(|id| u32::try_from(id).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{link, testing};

    #[test]
    fn a_namespace_has_a_number_for_the_one_at_the_other_end_and_for_no_other() {
        testing::root_or_return!();
        let names = [testing::unique("ns"), testing::unique("ns")];
        names.iter().for_each(|name| drop(testing::ip(&["netns", "add", name])));
        let [node, pod] = names.clone().map(|name| Netns::by_name(&name).unwrap());
        let before = id(&pod, &node).unwrap();
        testing::ip(&[
            "-n", &names[0], "link", "add", "one0", "type", "veth", "peer", "name", "two0", "netns", &names[1],
        ]);
        link::list(&mut Rtnl::open_in(&pod).unwrap()).unwrap();
        let after = id(&pod, &node).unwrap();
        let other = id(&pod, &Netns::own().unwrap()).unwrap();
        names.iter().for_each(|name| drop(testing::ip(&["netns", "del", name])));
        assert_eq!((before, after.is_some(), other), (None, true, None));
    }
}
