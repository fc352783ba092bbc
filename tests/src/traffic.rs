//! Traffic that measures: each tool returns a plain structure and judges nothing.

pub mod bulk;
pub mod capture;
pub mod connect;
pub mod frame;
pub mod inject;
pub mod outcome;
pub mod partner;
pub mod payload;
pub mod ping;
pub mod sink;
pub mod source;
pub mod swarm;
pub mod tcp;
pub mod tcp_info;
pub mod udp;
pub mod udp_receiver;

pub use capture::Capture;
pub use ping::Ping;
pub use udp::{Flow, Outcome};
