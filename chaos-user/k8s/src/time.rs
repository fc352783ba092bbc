//! Times in objects.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::SystemTime;

/// A time as the API server has it, in ms.
pub fn time(time: SystemTime) -> Option<Time> {
    serde_json::from_value(humantime::format_rfc3339_millis(time).to_string().into()).ok()
}
