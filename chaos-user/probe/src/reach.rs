//! Which addresses a probe may dial.

use super::probes::Cause;
use std::net::IpAddr;

/// Who says what a probe reaches.
pub trait Reach: Send + Sync {
    /// May this address be dialled?
    fn allows(&self, address: IpAddr) -> bool;
    /// Why a host cannot be asked, be it unknown or not allowed.
    fn why(&self, host: &str) -> String;
    /// Whose fault that is.
    fn cause(&self) -> Cause;
}

/// On one machine a probe reaches what its user reaches.
pub struct Anywhere;

impl Reach for Anywhere {
    fn allows(&self, _: IpAddr) -> bool {
        true
    }

    fn why(&self, host: &str) -> String {
        format!(
            "{host:?} is neither an address nor in /etc/hosts, and names are not asked of a DNS server in this release; write its \
             address, or add it to /etc/hosts"
        )
    }

    fn cause(&self) -> Cause {
        Cause::Impossible
    }
}
