//! `cargo xtask image`, and the image of the pods that tests run: each is one static program and nothing else, made
//! without a builder of images.

mod archive;

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{arch::Arch, artifacts, build, process};
use archive::Image;

/// Of an archive that is to be given away.
const MOST: u64 = 25 << 20;
/// What the product's image is called, unless told otherwise.
pub const TAG: &str = "localhost/chaos:dev";
/// Nodes use it as the sandbox of each pod, too.
const POD: &str = "localhost/chaos-pod:1";

/// Which image, and where to.
#[derive(clap::Args)]
pub struct Arguments {
    /// The archive; target/chaos-image.tar by default, with the architecture in its name where that is another one.
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// What the image is called.
    #[arg(long, value_name = "NAME:TAG", default_value = TAG)]
    pub tag: String,
    /// For machines of this architecture: this machine's, unless told otherwise.
    #[arg(long, value_enum, conflicts_with = "debug")]
    pub arch: Option<Arch>,
    /// Of the build that tests use, with the shared libraries of this machine: no second build, any size. For trying.
    #[arg(long)]
    pub debug: bool,
}

/// Makes the image of the product and returns where it is.
pub fn product(arguments: &Arguments) -> Result<PathBuf> {
    let arch = arguments.arch.unwrap_or(Arch::HERE);
    let how = build::Arguments { standalone: !arguments.debug, arch: arguments.arch, ..build::Arguments::default() };
    let mut program = build::build(&how)?;
    let output = match &arguments.output {
        Some(output) => output.clone(),
        None if arch == Arch::HERE => artifacts::target().join("chaos-image.tar"),
        None => artifacts::target().join(format!("chaos-image-{}.tar", arch.name())),
    };
    let libraries = if arguments.debug { libraries(&program)? } else { Vec::new() };
    if arguments.debug {
        program = stripped(&program)?;
    }
    let image = Image {
        name: &arguments.tag,
        arch,
        path: "chaos",
        program: &read(&program)?,
        libraries: &libraries,
        entrypoint: &["/chaos"],
        command: &[],
        compressed: !arguments.debug,
    };
    let size = write(&image, &output)?;
    if !arguments.debug && size > MOST {
        bail!("{} has {size} bytes; no more than {MOST} are allowed", output.display());
    }
    Ok(output)
}

/// Makes the image of `chaos-pod`, which is called [`POD`].
pub fn pod() -> Result<PathBuf> {
    let mut cargo = Arch::HERE.static_cargo("build")?;
    cargo.args(["--quiet", "--release", "--package", "chaos-tests", "--bin", "chaos-pod"]);
    let programs = artifacts::build(&mut cargo).context("build the program of the tests' pods")?;
    let program = programs.into_iter().find(|program| program.name == "chaos-pod");
    let program = program.ok_or_else(|| anyhow!("cargo built no chaos-pod"))?;
    let output = artifacts::target().join("chaos-pod-image.tar");
    let image = Image {
        name: POD,
        arch: Arch::HERE,
        path: "bin/chaos-pod",
        program: &read(&program.path)?,
        libraries: &[],
        entrypoint: &["/bin/chaos-pod"],
        command: &["pause"],
        compressed: false,
    };
    write(&image, &output)?;
    Ok(output)
}

/// What ldd(1) names, at the places where it is here. The loader looks there by itself.
fn libraries(program: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let list = process::capture(Command::new("ldd").arg(program))?;
    let paths = list.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    paths.map(|path| Ok((PathBuf::from(path.trim_start_matches('/')), read(Path::new(path))?))).collect()
}

/// Without debugging information, which is nine tenths of it and would be unpacked on every node.
fn stripped(program: &Path) -> Result<PathBuf> {
    let output = artifacts::target().join("chaos-stripped");
    process::capture(Command::new("strip").args(["--strip-debug", "-o"]).arg(&output).arg(program))?;
    Ok(output)
}

fn read(program: &Path) -> Result<Vec<u8>> {
    fs::read(program).with_context(|| format!("read {}", program.display()))
}

/// Returns its size in bytes.
fn write(image: &Image<'_>, output: &Path) -> Result<u64> {
    let file = File::create(output).with_context(|| format!("create {}", output.display()))?;
    image.write(BufWriter::new(&file)).with_context(|| format!("write {}", output.display()))?;
    Ok(file.metadata().with_context(|| format!("look at {}", output.display()))?.len())
}
