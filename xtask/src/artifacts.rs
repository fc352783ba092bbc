//! Programs that cargo builds, as cargo itself names them: no guessing of paths below `target/`.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

/// An executable.
#[derive(Debug)]
pub struct Program {
    /// Of the binary, test or library that it was made from.
    pub name: String,
    /// Its package.
    pub package: String,
    /// Whether it is a test harness.
    pub test: bool,
    /// Whether it comes from the package's `tests/`.
    pub integration: bool,
    /// The directory of its package, where cargo would run a test.
    pub directory: PathBuf,
    /// The program itself.
    pub path: PathBuf,
}

/// Runs `cargo build`, or `cargo test --no-run`, and lists the executables.
pub fn build(cargo: &mut Command) -> Result<Vec<Program>> {
    cargo.arg("--message-format=json-render-diagnostics").current_dir(workspace()).stdout(Stdio::piped());
    let mut child = cargo.spawn().context("start cargo")?;
    let stdout = child.stdout.take().ok_or_else(|| anyhow!("cargo has no stdout"))?;
    let mut programs = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("read cargo's messages")?;
        // Build scripts under test may print lines of their own.
        if let Ok(message) = serde_json::from_str::<Value>(&line) {
            programs.extend(program(&message));
        }
    }
    let status = child.wait().context("wait for cargo")?;
    if !status.success() {
        bail!("cargo could not build it ({status}); the reason is above");
    }
    Ok(programs)
}

/// The repository: as cargo says when it runs us, for a target folder that was copied with a repository holds a program that was
/// built in another; else where we were built.
pub fn workspace() -> &'static Path {
    static WORKSPACE: OnceLock<PathBuf> = OnceLock::new();
    WORKSPACE.get_or_init(|| {
        let here = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let mine = here.filter(|path| path.ends_with("xtask")).unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        mine.parent().map_or_else(|| mine.clone(), Path::to_owned)
    })
}

/// Where cargo puts what it builds, and we what we make of it.
pub fn target() -> PathBuf {
    workspace().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

fn program(message: &Value) -> Option<Program> {
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let path = PathBuf::from(message["executable"].as_str()?);
    let directory = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let target = &message["target"];
    // `path+file:///src/chaos-user#chaos@0.1.0`, or `...#0.1.0` where the directory has the package's name.
    let id = message["package_id"].as_str()?;
    let (source, version) = id.split_once('#')?;
    let package = match version.split_once('@') {
        Some((name, _)) => name,
        None => source.rsplit('/').next()?,
    };
    Some(Program {
        name: target["name"].as_str()?.to_owned(),
        package: package.to_owned(),
        test: message["profile"]["test"] == true,
        integration: target["kind"][0] == "test",
        directory,
        path,
    })
}
