//! `chaos check`.

use crate::{kernel::probe, observe::ExitCode};
use serde_json::json;

/// Prints what this kernel can do.
pub fn check(as_json: bool) -> ExitCode {
    let queue = probe::queue().err().map(|error| error.to_string());
    let faults = ["partition", "loss", "reset", "duplicate", "corrupt", "latency", "reorder", "bandwidth"];
    let rows: Vec<_> = faults
        .iter()
        .map(|fault| {
            let needs_queue = matches!(*fault, "latency" | "reorder" | "bandwidth");
            let why = if needs_queue { queue.clone() } else { None };
            json!({ "fault": fault, "supported": why.is_none(), "why": why })
        })
        .collect();
    if as_json {
        println!("{:#}", json!({ "faults": rows }));
        return ExitCode::Pass;
    }
    for row in rows {
        let answer = row["why"].as_str().unwrap_or("yes");
        println!("{:<12} {answer}", row["fault"].as_str().unwrap_or_default());
    }
    ExitCode::Pass
}
