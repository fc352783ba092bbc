//! The log of the processes that run in a cluster: one JSON object a line, on stderr.

use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Starts it. Of the API client only errors are kept: its warnings hold the whole text of an answer that it could not read.
/// Where an event cannot be written it is lost, and the process goes on: the library would print that, and panic.
pub fn start() {
    let kept = Targets::new().with_default(LevelFilter::INFO).with_target("kube_client", LevelFilter::ERROR);
    let lines = tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr).log_internal_errors(false);
    tracing_subscriber::registry().with(lines).with(kept).init();
}
