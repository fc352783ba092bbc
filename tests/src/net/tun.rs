//! A link whose frames have no link header: two tun devices, between which this process carries the packets.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Family, Hosts, NetNs};
use crate::{need, sys};

/// The link; it ends when dropped.
#[derive(Debug)]
pub struct Tun {
    over: Arc<AtomicBool>,
    carriers: Vec<JoinHandle<()>>,
}

/// Gives both hosts a `tun0` with 10.81.0.1 and .2, fd81::1 and ::2. `None` where the kernel has no tun, which is printed.
pub fn join(hosts: &Hosts) -> Option<Tun> {
    let Some(ends) = [&hosts.a.ns, &hosts.b.ns].map(device).into_iter().collect::<Option<Vec<_>>>() else {
        need::absent("this kernel has no tun devices");
        return None;
    };
    for (host, number) in [(&hosts.a, 1), (&hosts.b, 2)] {
        host.ns.ip("link set tun0 up");
        for family in Family::BOTH {
            let (address, bits) = (at(number, family), if family == Family::V4 { 24 } else { 64 });
            let flags = if family == Family::V4 { "" } else { " nodad" };
            host.ns.ip(&format!("addr add {address}/{bits} dev tun0{flags}"));
        }
    }
    let over = Arc::new(AtomicBool::new(false));
    let carriers = [(0, 1), (1, 0)].map(|(from, to)| {
        let (mut from, mut to): (File, File) = (ends[from].try_clone().unwrap(), ends[to].try_clone().unwrap());
        let over = Arc::clone(&over);
        thread::spawn(move || carry(&mut from, &mut to, &over))
    });
    Some(Tun { over, carriers: carriers.into() })
}

/// The address of a host, 1 or 2, on the link.
pub fn at(number: u8, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 81, 0, number).into(),
        Family::V6 => Ipv6Addr::new(0xfd81, 0, 0, 0, 0, 0, 0, number.into()).into(),
    }
}

fn device(ns: &NetNs) -> Option<File> {
    ns.run(|| {
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun").ok()?;
        sys::make_tun(file.as_fd(), "tun0").ok()?;
        Some(file)
    })
}

fn carry(from: &mut File, to: &mut File, over: &AtomicBool) {
    let mut packet = vec![0; 65_536];
    while !over.load(Ordering::Relaxed) {
        match from.read(&mut packet) {
            // A device that is down or full loses it, as a wire would.
            Ok(length) => drop(to.write(&packet[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let _ready = poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], PollTimeout::from(50_u8));
            }
            Err(_) => return,
        }
    }
}

impl Drop for Tun {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for carrier in self.carriers.drain(..) {
            let _ = carrier.join();
        }
    }
}
