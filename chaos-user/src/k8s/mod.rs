//! Experiments in a cluster: custom resources, the controller, the node agents.

pub mod agent;
pub mod api;
pub mod controller;
mod draw;
mod text;
mod time;
