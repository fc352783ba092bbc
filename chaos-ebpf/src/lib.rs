//! The eBPF side of chaos: shared steps of the programs in `bin/`. Empty on other targets, where only the build
//! dependency on this crate is of use.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![cfg_attr(target_arch = "bpf", allow(clippy::missing_safety_doc, reason = "every step runs inside one program"))]

#[cfg(target_arch = "bpf")]
pub mod arrival;
#[cfg(target_arch = "bpf")]
pub mod atomic;
#[cfg(target_arch = "bpf")]
pub mod begun;
#[cfg(target_arch = "bpf")]
pub mod call;
#[cfg(target_arch = "bpf")]
pub mod clock;
#[cfg(target_arch = "bpf")]
pub mod corrupt;
#[cfg(target_arch = "bpf")]
pub mod delay;
#[cfg(target_arch = "bpf")]
pub mod dice;
#[cfg(target_arch = "bpf")]
pub mod direct;
#[cfg(target_arch = "bpf")]
pub mod dns;
#[cfg(target_arch = "bpf")]
pub mod duplicate;
#[cfg(target_arch = "bpf")]
pub mod gate;
#[cfg(target_arch = "bpf")]
pub mod maps;
#[cfg(target_arch = "bpf")]
pub mod parse;
#[cfg(target_arch = "bpf")]
pub mod reset;
#[cfg(target_arch = "bpf")]
pub mod rule;
#[cfg(target_arch = "bpf")]
pub mod sample;
#[cfg(target_arch = "bpf")]
pub mod skb;
#[cfg(target_arch = "bpf")]
pub mod walk;
// new-fault: module
