//! Which system calls can be made to fail here, and by which mechanism.

use crate::{
    engine::trial::Trial,
    plan::call::{CallPlan, table},
};
use chaos_abi::LONGEST_BUSY;
use serde::Serialize;

/// One call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallRow {
    /// Its name.
    pub call: String,
    /// It can be hit.
    pub supported: bool,
    /// By which mechanism, without a `match` that asks for more.
    pub mechanism: Option<String>,
    /// Why not.
    pub why: Option<String>,
    /// A thread can sleep in it, so that it can be delayed beyond 200 us.
    pub sleeps: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_no_sleep: Option<String>,
}

/// All calls whose ways through the kernel are known. Others can be hit where `getsid`, which is none of them, could be: at their
/// entry.
pub(super) fn rows() -> Vec<CallRow> {
    let known = table::ROWS.iter().filter(|row| table::find(row.name).is_some());
    known.map(|row| of(row.name)).collect()
}

fn of(name: &str) -> CallRow {
    let asked = Trial::get().best(&CallPlan::of_all(name), name);
    let mechanism = asked.as_ref().ok().map(|candidate| candidate.mechanism().to_owned());
    let slept = Trial::get().best(&CallPlan::of_all(name).delayed(LONGEST_BUSY + 1), name);
    CallRow {
        call: name.to_owned(),
        supported: mechanism.is_some(),
        mechanism,
        why: asked.err(),
        sleeps: slept.is_ok(),
        why_no_sleep: slept.err(),
    }
}
