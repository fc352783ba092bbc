//! The eBPF side of chaos.
#![no_std]
