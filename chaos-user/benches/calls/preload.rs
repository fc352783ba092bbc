//! The same error by a shared library that is loaded before libc (LD_PRELOAD, ld.so(8)): what works within one dynamically linked process.

use std::process::Command;

use chaos_tests::figure::{self, Figure, absent};

use super::victim::Victim;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/calls/preload.c");
const NAME: &str = "calls/ld-preload/pread64";

pub fn measure(alone: &mut Victim) {
    let library = std::env::temp_dir().join(format!("chaos-preload-{}.so", std::process::id()));
    // The linker that rustc uses is a C compiler.
    let built = Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(SOURCE).status();
    if !built.is_ok_and(|status| status.success()) {
        return absent(NAME, "cc cannot build a shared library here");
    }
    let mut loaded = Victim::outside(&["env", &format!("LD_PRELOAD={}", library.display())]);
    // The first calls are let through.
    loaded.time("pread64");
    // A call that fails in the process takes less than one that the kernel is asked for; otherwise it went past the library.
    if loaded.time("pread64") < alone.time("pread64") {
        let rounds = figure::in_turns(|| loaded.time("pread64"), || alone.time("pread64"));
        Figure::beside(NAME, "ns", &rounds).print();
    } else {
        absent(NAME, "the victim's calls do not go through the library");
    }
    std::fs::remove_file(&library).expect("the library goes");
}
