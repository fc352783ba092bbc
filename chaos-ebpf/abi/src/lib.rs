//! The contract between chaos's eBPF programs and its user space.
#![no_std]
