//! A tcx link costs a grace period under the rtnl lock, 12 ms each way. While `/sys/kernel/rcu_expedited` is 1 it does not: 250
//! targets take 38 ms instead of 6.4 s. Raised for the length of a batch, with the value before in the journal.

use super::{EngineError, Locked};
use crate::kernel::{error::KernelError, seam};
use std::fs;

const SWITCH: &str = "/sys/kernel/rcu_expedited";

/// Writes the switch.
///
/// # Errors
/// EROFS in a container whose /sys is read-only.
pub fn write(value: &str) -> Result<(), EngineError> {
    seam::run("write", SWITCH, || fs::write(SWITCH, value).map_err(|e| KernelError::from_io("write", SWITCH, &e)))?;
    Ok(())
}

/// Raises the switch where it can be; the journal has the value before it is raised.
///
/// # Errors
/// Where the journal cannot be written.
pub fn raise(locked: &mut Locked) -> Result<(), EngineError> {
    let Ok(before) = fs::read_to_string(SWITCH) else { return Ok(()) };
    let before = before.trim().to_owned();
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
