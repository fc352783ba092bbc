//! bpf-linker, built against the LLVM that the rustc in use brings along: another LLVM cannot be counted on to read its
//! bitcode.

use std::{fs, os::unix::fs::symlink};

use anyhow::{Context as _, Result, bail};

use crate::{
    process,
    progress::step,
    toolchain::{self, BPF_LINKER_VERSION, Rustc},
};

/// Finds bpf-linker or builds it.
pub fn ensure(rustc: &Rustc) -> Result<()> {
    if toolchain::find_bpf_linker(rustc).is_some() {
        return Ok(());
    }
    let what = format!("build bpf-linker {BPF_LINKER_VERSION} for rustc {} (1 to 2 minutes)", rustc.version);
    step(&what, || {
        install(rustc).with_context(|| {
            format!(
                "By hand: install the development package of LLVM {llvm} and run `cargo install bpf-linker --version \
                 {BPF_LINKER_VERSION} --no-default-features --features llvm-{llvm}`",
                llvm = rustc.llvm_major
            )
        })
    })
}

fn install(rustc: &Rustc) -> Result<()> {
    let root = toolchain::bpf_linker_dir(rustc);
    // llvm-sys looks for a libLLVM.so; rustc's own has a longer name.
    let prefix = root.join("llvm");
    let lib = prefix.join("lib");
    fs::create_dir_all(&lib).with_context(|| format!("create {}", lib.display()))?;
    let link = lib.join("libLLVM.so");
    if link.is_symlink() {
        fs::remove_file(&link).with_context(|| format!("remove {}", link.display()))?;
    }
    let library = rustc.llvm_library()?;
    symlink(&library, &link).with_context(|| format!("link {} to {}", link.display(), library.display()))?;
    let mut cargo = process::cargo();
    cargo.args(["install", "--quiet", "--locked", "--force", "bpf-linker", "--version", BPF_LINKER_VERSION]);
    cargo.args(["--no-default-features", "--features"]).arg(format!("llvm-{}", rustc.llvm_major));
    cargo.arg("--root").arg(&root).env("LLVM_PREFIX", &prefix);
    cargo.env("RUSTFLAGS", format!("-C link-arg=-Wl,-rpath,{}", rustc.sysroot.join("lib").display()));
    process::run(&mut cargo)?;
    if toolchain::find_bpf_linker(rustc).is_none() {
        bail!("{}/bin/bpf-linker was installed, but does not run as version {BPF_LINKER_VERSION}", root.display());
    }
    Ok(())
}
