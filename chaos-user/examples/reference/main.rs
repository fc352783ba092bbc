//! Prints the pages of the reference as one JSON object, by their names: `cargo xtask docs` writes them to `docs/src/reference`.
//! They are made from the types that the product itself is made of.

mod commands;
mod exit_codes;
mod fields;
mod messages;
mod metrics;
mod objects;
mod report;
mod resources;
mod text;

use serde_json::json;

fn main() {
    let pages = json!({
        "commands": commands::page(),
        "exit-codes": exit_codes::page(),
        "fields": fields::page(),
        "messages": messages::page(),
        "metrics": metrics::page(),
        "report": report::page(),
        "resources": resources::page(),
    });
    println!("{pages}");
}
