//! Reading the kernel's memory. Where its structs keep their fields is looked up by user space, which writes it over the
//! constants in this module's instructions (chaos-abi, `OFFSETS`).

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

/// The offset of a field on the running kernel, by its place in chaos-abi's `OFFSETS`.
macro_rules! offset {
    ($index:expr) => {{
        let value: u64;
        // An instruction and not a constant, so that there is one to be found and overwritten.
        // SAFETY: sets one register.
        unsafe {
            core::arch::asm!(
                "{0} = {1}",
                out(reg) value,
                const chaos_abi::OFFSET_MAGIC + $index,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        value
    }};
}
pub(crate) use offset;

/// Reads a value at an address; zero where that cannot be read.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> T {
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: writes as many bytes as the type has, all of them zero where it fails; used with integers and arrays of such alone.
    unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _);
        value.assume_init()
    }
}

/// Reads a pointer.
#[inline(always)]
pub fn pointer(address: u64) -> u64 {
    read::<u64>(address)
}

/// The same number, of which the compiler knows nothing: it leaves loops as they are then. Unrolled, there would be a place for each
/// turn from which a function is called, and the verifier of Linux 7.2 looks at a function once for each chain of such places
/// (kernel/bpf/liveness.c, `analyze_subprog`): seconds for each program. It also
/// keeps frames small, of which all that call each other have 512 bytes together.
#[inline(always)]
pub fn opaque(mut value: usize) -> usize {
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) value, options(pure, nomem, nostack, preserves_flags)) };
    value
}

/// Zero, of which the verifier knows nothing. Before Linux 6.7 it looks at the first turn of `bpf_loop` alone (kernel/bpf/verifier.c,
/// `set_loop_callback_state`): what a variable can only be in later turns it would take for impossible, and remove.
#[inline(always)]
pub fn unknown_zero() -> u64 {
    // There is nothing to be read there, which gives zero.
    read::<u64>(0)
}
