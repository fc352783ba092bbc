//! What resolving asks of the kernel: the interfaces in a network namespace.
use nix::errno::Errno;

use super::{Interface, NetnsRef, error::Problem, local::Interfaces};
use chaos_sys::{error::KernelError, link, netlink::Rtnl, netns::Netns};

impl TryFrom<&NetnsRef> for Netns {
    type Error = KernelError;

    fn try_from(found: &NetnsRef) -> Result<Self, KernelError> {
        Self::from_fd(found.fd.clone(), found.path.display().to_string())
    }
}

/// Looks into namespaces with setns(2) and rtnetlink(7).
#[derive(Debug, Clone, Copy, Default)]
pub struct ByNetlink;

impl Interfaces for ByNetlink {
    fn interfaces(&self, netns: &NetnsRef) -> Result<Vec<Interface>, Problem> {
        let look = || link::list(&mut Rtnl::open()?);
        match Netns::try_from(netns).and_then(|netns| netns.enter(look)?) {
            Ok(interfaces) => Ok(interfaces),
            // Only what is no namespace at all is refused so.
            Err(error) if error.errno == Errno::EINVAL => Err(Problem::absent(error.to_string())),
            Err(error) => Err(Problem::unsupported(error.to_string())),
        }
    }
}
