//! A tcx link costs a grace period under the rtnl lock, 12 ms each way. While `/sys/kernel/rcu_expedited` is 1 it does not: 250
//! targets take 38 ms instead of 6.4 s. Raised while links are made and closed, with the value before in the journal.

use super::{EngineError, Locked};
use chaos_sys::{netns::Netns, seam, sysfs};
use nix::errno::Errno;

/// Below `/sys`.
const SWITCH: &str = "kernel/rcu_expedited";

/// Writes the switch.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN.
pub fn write(value: &str) -> Result<(), EngineError> {
    seam::run("write", SWITCH, || match sysfs::write(SWITCH, value) {
        // A container's runtime has mounted this network namespace's sysfs read-only, and there is one per namespace. The switch is the
        // same in all of them.
        Err(error) if error.errno == Errno::EROFS => {
            Netns::scratch().and_then(|scratch| scratch.enter(|| sysfs::write(SWITCH, value)))?
        }
        written => written,
    })?;
    Ok(())
}

/// Raises the switch where it can be; the journal has the value before it is raised.
///
/// # Errors
/// Where the journal cannot be written.
pub fn raise(locked: &mut Locked) -> Result<(), EngineError> {
    let Ok(before) = sysfs::read(SWITCH) else { return Ok(()) };
    if before != "0" || locked.journal.rcu_expedited.is_some() {
        return Ok(());
    }
    locked.journal.rcu_expedited = Some(before);
    locked.save()?;
    if write("1").is_err() {
        // Slower, nothing else.
        locked.journal.rcu_expedited = None;
    }
    Ok(())
}

/// Puts the switch back; the caller saves the journal.
///
/// # Errors
/// Where it cannot be written any more: the journal keeps the value, so that the next one puts it back.
pub fn lower(locked: &mut Locked) -> Result<(), EngineError> {
    if let Some(before) = &locked.journal.rcu_expedited {
        write(before)?;
        locked.journal.rcu_expedited = None;
    }
    Ok(())
}
