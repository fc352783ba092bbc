//! Experiments in a cluster: custom resources, the controller, the node agents.

pub mod agent;
pub mod api;
pub mod controller;
mod draw;
pub mod plugin;
mod text;
mod time;
