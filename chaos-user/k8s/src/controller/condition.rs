//! Conditions of a status.

use crate::{text::cut, time::time};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use std::time::SystemTime;

/// Sets one, by its type and whether it holds; its time changes only where its value does.
pub fn set(
    conditions: &mut Vec<Condition>,
    now: SystemTime,
    generation: Option<i64>,
    (kind, holds): (&str, bool),
    reason: &str,
    message: &str,
) {
    let value = if holds { "True" } else { "False" };
    let now = time(now).unwrap_or(Time(Timestamp::UNIX_EPOCH));
    let old = conditions.iter().position(|one| one.type_ == kind);
    let since = old.and_then(|at| conditions.get(at)).filter(|one| one.status == value);
    let condition = Condition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message: cut(message, 1024),
        last_transition_time: since.map_or(now, |one| one.last_transition_time.clone()),
        observed_generation: generation,
    };
    match old {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}
