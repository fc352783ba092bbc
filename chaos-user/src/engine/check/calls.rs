//! Which system calls can be made to fail here, and by which mechanism.

use crate::{
    engine::trial::Trial,
    plan::call::{CallPlan, table},
};
use serde::Serialize;

/// One call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallRow {
    /// Its name.
    pub call: String,
    /// It can be hit.
    pub supported: bool,
    /// By which mechanism, without a `match` that asks for more.
    pub mechanism: Option<String>,
    /// Why not.
    pub why: Option<String>,
}

/// All calls whose ways through the kernel are known. Others can be hit where `getsid`, which is none of them, could be: at their
/// entry.
pub(super) fn rows() -> Vec<CallRow> {
    let known = table::ROWS.iter().filter(|row| table::find(row.name).is_some());
    known.map(|row| of(row.name)).collect()
}

fn of(name: &str) -> CallRow {
    let call = name.to_owned();
    match Trial::get().best(&CallPlan::of_all(name), name) {
        Ok(candidate) => {
            CallRow { call, supported: true, mechanism: Some(candidate.mechanism().to_owned()), why: None }
        }
        Err(why) => CallRow { call, supported: false, mechanism: None, why: Some(why) },
    }
}
