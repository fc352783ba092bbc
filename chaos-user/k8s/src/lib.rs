//! Experiments in a cluster: custom resources, the controller, the plugin of kubectl, and what they share with the node agent.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod api;
pub mod beat;
pub mod controller;
pub mod draw;
pub mod lists;
pub mod place;
pub mod plugin;
pub mod serve;
pub mod text;
pub mod time;
pub mod undeclared;

pub use serve::Ports;
