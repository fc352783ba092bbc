//! `chaos cleanup`.

use super::fail;
use crate::{
    engine::{journal, reap},
    observe::ExitCode,
};

/// Removes what dead processes left.
pub fn cleanup() -> ExitCode {
    let reaped = journal::lock().and_then(|mut locked| reap::reap(&mut locked));
    match reaped {
        Ok(reaped) if reaped.runs.is_empty() && reaped.points.is_empty() => println!("nothing was left"),
        Ok(reaped) => {
            reaped.runs.iter().for_each(|name| println!("removed experiment {name}, whose process is gone"));
            reaped.points.iter().for_each(|point| println!("removed what was attached to {point}"));
        }
        Err(error) => return fail(&error),
    }
    ExitCode::Pass
}
