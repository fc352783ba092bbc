//! The parsers under libFuzzer: `cargo xtask fuzz TARGET` builds and runs this. CHAOS_FUZZ names the target.
#![no_main]

use chaos::fuzz::{TARGETS, Target};
use std::{env, fs, path::Path, sync::LazyLock};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = env::var("CHAOS_FUZZ").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("CHAOS_FUZZ is {name:?}; targets: {:?}", TARGETS.map(|target| target.name)))
});

libfuzzer_sys::fuzz_target!(
    init: {
        // The first directory among the arguments is the corpus: the samples belong to it.
        if let Some(corpus) = env::args().skip(1).find(|word| Path::new(word).is_dir()) {
            for (number, sample) in TARGET.samples.iter().enumerate() {
                let _ = fs::write(Path::new(&corpus).join(format!("sample-{number}")), sample);
            }
        }
    },
    |input: &[u8]| (TARGET.feed)(input)
);
