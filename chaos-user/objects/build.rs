//! Builds the eBPF objects, one per binary of `chaos-ebpf`, and leaves them in `OUT_DIR`, from where the library embeds
//! them.
//!
//! The linker is given rustc's default CPU, `generic`: to LLVM's BPF backend that is v1, which every kernel from 5.10 on
//! takes. (bpf-linker refuses a second `--cpu`, and aya-build a `-C target-cpu`.)

#![forbid(unsafe_code)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};

#[expect(dead_code, reason = "cargo xtask setup uses the rest")]
#[path = "../../xtask/src/toolchain.rs"]
mod toolchain;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not `-> Result`: with RUST_BACKTRACE set the reason would be buried under a backtrace.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Set for the copy of this script that has the tools in its environment.
const INNER: &str = "CHAOS_OBJECTS_INNER";

fn build() -> Result<()> {
    if env::var_os(INNER).is_some() {
        return compile();
    }
    // Any rerun-if line turns cargo's default (every file of this package) off; aya-build adds ../chaos-ebpf.
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../xtask/src/toolchain.rs");
    for name in ["CHAOS_CACHE", "RUSTC_BOOTSTRAP", "PATH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let tools = toolchain::BpfToolchain::find()?;
    for input in tools.inputs() {
        println!("cargo:rerun-if-changed={}", input.display());
    }
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets no OUT_DIR")?);
    let shared = shared_dir(&out_dir);
    fs::create_dir_all(&shared).with_context(|| format!("create {}", shared.display()))?;
    let mut variables = tools.environment()?;
    variables.push(("OUT_DIR", shared.clone().into_os_string()));
    // aya-build passes its own environment on. A process may not change that safely, but it may give one to a copy of itself.
    let mut inner = Command::new(env::current_exe().context("find this script")?);
    let status = inner.envs(variables).env(INNER, "1").status().context("start this script again")?;
    if !status.success() {
        bail!("the eBPF objects were not built: {status}; see above");
    }
    copy_files(&shared, &out_dir)
}

fn compile() -> Result<()> {
    let tools = toolchain::BpfToolchain::find()?;
    // Under rustup cargo says which toolchain it runs as, which need not be called by its version.
    let name = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| tools.rustc.version.clone());
    let package = Package { name: "chaos-ebpf", root_dir: "../../chaos-ebpf", ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(&name)).context("build the eBPF objects of chaos-ebpf")
}

/// Where aya-build works: one place in the target directory. Each profile, feature set and target has an `OUT_DIR` of its
/// own, and would have cargo build `core` anew, which takes a minute, for objects that are the same.
fn shared_dir(out_dir: &Path) -> PathBuf {
    let target = out_dir.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    // For each architecture by itself: what is compiled may depend on that of the machine.
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    target.unwrap_or(out_dir).join("ebpf").join(arch)
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let object = entry.with_context(|| format!("read {}", from.display()))?;
        if object.path().is_file() {
            let copy = to.join(object.file_name());
            fs::copy(object.path(), &copy).with_context(|| format!("write {}", copy.display()))?;
        }
    }
    Ok(())
}
