//! Experiments in a cluster: custom resources, the controller, the node agents.

pub mod api;
