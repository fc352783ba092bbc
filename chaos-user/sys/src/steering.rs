//! Receive packet steering: which CPU takes what arrives at a device (Documentation/networking/scaling.rst, "RPS").
//!
//! A queue is emptied by whichever CPU its timer or the next packet runs on, and each CPU has a backlog of its own for the device
//! behind it: packets that left the queue in order would overtake each other there. Steered by flow they do not.

use super::{error::KernelError, seam, sysfs};
use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};

/// Steers what arrives at a device of the calling thread's network namespace to the CPUs that this process may use: all packets
/// of a flow to one of them. CPUs that are kept free of other work (isolcpus) are not among those unless somebody put us there.
///
/// # Errors
/// ENOENT on kernels without CONFIG_RPS, EPERM without CAP_SYS_ADMIN and CAP_NET_ADMIN, EINVAL where all CPUs that we may use
/// are kept free of network work (net/core/net-sysfs.c, `rps_cpumask_housekeeping`).
pub fn by_flow(device: &str) -> Result<(), KernelError> {
    const OP: &str = "steer what arrives at";
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(|errno| KernelError::new(OP, device, errno))?;
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect();
    seam::run(OP, device, || sysfs::write(&format!("class/net/{device}/queues/rx-0/rps_cpus"), &mask(&cpus)))
}

/// As `bitmap_parse` of lib/bitmap-str.c reads it: groups of 32 bits in hexadecimal, the highest first.
fn mask(cpus: &[usize]) -> String {
    let mut groups = vec![0u32; cpus.iter().max().map_or(1, |last| last / 32 + 1)];
    for cpu in cpus {
        groups[cpu / 32] |= 1 << (cpu % 32);
    }
    groups.iter().rev().map(|group| format!("{group:08x}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        let text = [&[0][..], &[0, 5, 31], &[1, 64]].map(mask);
        assert_eq!(text, ["00000001", "80000021", "00000001,00000000,00000002"]);
    }
}
