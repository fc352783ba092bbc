//! `cargo xtask image`, and the image of the pods that tests run: each is one static program and nothing else, made
//! without a builder of images.

mod archive;

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{artifacts, build};
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
    /// The archive; target/chaos-image.tar by default.
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// What the image is called.
    #[arg(long, value_name = "NAME:TAG", default_value = TAG)]
    pub tag: String,
    /// Not optimised, and of any size: for trying.
    #[arg(long)]
    pub debug: bool,
}

/// Makes the image of the product and returns where it is.
pub fn product(arguments: &Arguments) -> Result<PathBuf> {
    let program = build::build(&build::Arguments::standalone(arguments.debug))?;
    let output = match &arguments.output {
        Some(output) => output.clone(),
        None => artifacts::target().join("chaos-image.tar"),
    };
    let image = Image {
        name: &arguments.tag,
        path: "chaos",
        program: &read(&program)?,
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
    let mut cargo = artifacts::static_cargo("build");
    cargo.args(["--quiet", "--release", "--package", "chaos-tests", "--bin", "chaos-pod"]);
    let programs = artifacts::build(&mut cargo).context("build the program of the tests' pods")?;
    let program = programs.into_iter().find(|program| program.name == "chaos-pod");
    let program = program.ok_or_else(|| anyhow!("cargo built no chaos-pod"))?;
    let output = artifacts::target().join("chaos-pod-image.tar");
    let image = Image {
        name: POD,
        path: "bin/chaos-pod",
        program: &read(&program.path)?,
        entrypoint: &["/bin/chaos-pod"],
        command: &["pause"],
        compressed: false,
    };
    write(&image, &output)?;
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
