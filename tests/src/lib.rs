//! chaos proven from outside: network namespaces to act in, traffic to measure with, statistics to judge by, and a driver
//! for the `chaos` binary. Nothing here depends on the product's code, so that a mistake there cannot hide itself here.

pub mod clock;
pub mod cluster;
pub mod command;
pub mod demo;
pub mod docs;
pub mod figure;
pub mod lab;
pub mod need;
pub mod net;
pub mod node;
pub mod product;
pub mod rules;
pub mod scene;
pub mod stats;
pub mod sys;
pub mod systemd;
pub mod traffic;
pub mod victim;
