//! Where the tools that build the eBPF object are: Rust's library sources and bpf-linker.
//!
//! Shared with `chaos-user/objects/build.rs` by `#[path]`, therefore std only. It finds and never fetches: fetching is
//! `cargo xtask setup`.

use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::Command,
};

/// The bpf-linker release that the project is built and tested with.
pub const BPF_LINKER_VERSION: &str = "0.13.0";

/// The compiler in use.
#[derive(Debug)]
pub struct Rustc {
    /// `1.95.0`
    pub version: String,
    /// `22`: bpf-linker must be built against this very LLVM, or it cannot read rustc's bitcode.
    pub llvm_major: String,
    /// Where its libraries are.
    pub sysroot: PathBuf,
}

impl Rustc {
    /// Asks `$RUSTC`, else the `rustc` in PATH.
    pub fn in_use() -> io::Result<Self> {
        let program = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let ask = |arguments: &[&str]| -> io::Result<String> {
            let output = Command::new(&program).args(arguments).output().map_err(|error| {
                let message = format!("run {} {}: {error}", program.display(), arguments.join(" "));
                io::Error::new(error.kind(), message)
            })?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let about = ask(&["-vV"])?;
        let field = |name: &str| {
            about.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).ok_or_else(|| {
                io::Error::other(format!("{} -vV prints no line that begins with {name:?}", program.display()))
            })
        };
        let llvm = field("LLVM version:")?;
        Ok(Self {
            version: field("release:")?.to_owned(),
            llvm_major: llvm.split('.').next().unwrap_or(llvm).to_owned(),
            sysroot: PathBuf::from(ask(&["--print", "sysroot"])?.trim()),
        })
    }

    /// The shared LLVM that this rustc brings along.
    pub fn llvm_library(&self) -> io::Result<PathBuf> {
        let lib = self.sysroot.join("lib");
        let prefix = format!("libLLVM.so.{}", self.llvm_major);
        for entry in lib.read_dir().map_err(|error| name_path(error, "read", &lib))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                return Ok(entry.path());
            }
        }
        let message = format!("{} holds no {prefix}*: this rustc is linked to LLVM in another way", lib.display());
        Err(io::Error::new(io::ErrorKind::NotFound, message))
    }
}

/// `$CHAOS_CACHE`, else `~/.cache/chaos`.
pub fn cache_dir() -> PathBuf {
    if let Some(dir) = env::var_os("CHAOS_CACHE") {
        return PathBuf::from(dir);
    }
    let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    home.join(".cache/chaos")
}

/// Rust's library sources, as `-Z build-std` wants them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RustSrc {
    /// In the sysroot, where cargo finds them by itself.
    Sysroot,
    /// In the cache: cargo must be told.
    Cached(PathBuf),
}

/// Looks in the sysroot, then in the cache.
pub fn find_rust_src(rustc: &Rustc) -> Option<RustSrc> {
    let complete = |library: &Path| library.join("core/src/lib.rs").is_file() && library.join("Cargo.lock").is_file();
    if complete(&rustc.sysroot.join("lib/rustlib/src/rust/library")) {
        return Some(RustSrc::Sysroot);
    }
    let cached = rust_src_dir(rustc).join("usr/src").join(format!("rustc-{}", rustc.version)).join("library");
    complete(&cached).then_some(RustSrc::Cached(cached))
}

/// Where `cargo xtask setup` unpacks Debian's `rust-src`.
pub fn rust_src_dir(rustc: &Rustc) -> PathBuf {
    cache_dir().join(format!("rust-src-{}", rustc.version))
}

/// Looks in the cache, then in PATH; what does not run or is another release is passed over.
pub fn find_bpf_linker(rustc: &Rustc) -> Option<PathBuf> {
    let cached = bpf_linker_dir(rustc).join("bin/bpf-linker");
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).map(|dir| dir.join("bpf-linker"));
    std::iter::once(cached).chain(in_path).find(|candidate| is_our_bpf_linker(candidate))
}

/// Where `cargo xtask setup` installs bpf-linker: by rustc too, whose LLVM it is linked to.
pub fn bpf_linker_dir(rustc: &Rustc) -> PathBuf {
    cache_dir().join(format!("bpf-linker-{BPF_LINKER_VERSION}-rustc-{}", rustc.version))
}

fn is_our_bpf_linker(candidate: &Path) -> bool {
    // Running it also shows that the LLVM which it is linked to is still there.
    candidate.is_file()
        && Command::new(candidate).arg("--version").output().is_ok_and(|output| {
            output.status.success()
                && String::from_utf8_lossy(&output.stdout).split_whitespace().any(|word| word == BPF_LINKER_VERSION)
        })
}

/// What a cargo that builds for the BPF target needs.
#[derive(Debug)]
pub struct BpfToolchain {
    /// The compiler that this is for.
    pub rustc: Rustc,
    rust_src: RustSrc,
    bpf_linker: PathBuf,
}

impl BpfToolchain {
    /// Finds every part, or says which is missing and how to get it.
    pub fn find() -> io::Result<Self> {
        let rustc = Rustc::in_use()?;
        let missing = |what: String| {
            let message = format!("{what} is missing. Run: cargo xtask setup");
            io::Error::new(io::ErrorKind::NotFound, message)
        };
        let rust_src =
            find_rust_src(&rustc).ok_or_else(|| missing(format!("the library source of Rust {}", rustc.version)))?;
        let bpf_linker = find_bpf_linker(&rustc).ok_or_else(|| {
            missing(format!("bpf-linker {BPF_LINKER_VERSION} for rustc {} (LLVM {})", rustc.version, rustc.llvm_major))
        })?;
        Ok(Self { rustc, rust_src, bpf_linker })
    }

    /// Environment for that cargo.
    pub fn environment(&self) -> io::Result<Vec<(&'static str, OsString)>> {
        let linker_dir = self.bpf_linker.parent().map(Path::to_path_buf);
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(linker_dir.into_iter().chain(env::split_paths(&path))).map_err(io::Error::other)?;
        // build-std is unstable; the BPF target has no prebuilt core.
        let mut variables = vec![("PATH", path), ("RUSTC_BOOTSTRAP", OsString::from("1"))];
        if let RustSrc::Cached(library) = &self.rust_src {
            variables.push(("__CARGO_TESTS_ONLY_SRC_ROOT", library.clone().into_os_string()));
        }
        Ok(variables)
    }

    /// Files whose change must lead to a new build of the eBPF object.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let mut inputs = vec![self.bpf_linker.clone()];
        if let RustSrc::Cached(library) = &self.rust_src {
            inputs.push(library.join("Cargo.lock"));
        }
        inputs
    }
}

fn name_path(error: io::Error, operation: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{operation} {}: {error}", path.display()))
}
