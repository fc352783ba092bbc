//! Experiments in a cluster: custom resources, the controller, the node agents.

pub mod agent;
pub mod api;
mod beat;
pub mod controller;
mod draw;
mod lists;
mod place;
pub mod plugin;
mod serve;
mod text;
mod time;
mod undeclared;

pub use serve::Ports;
