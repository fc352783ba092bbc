//! The image of the tests' pods, and of their sandboxes.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};

use crate::{
    artifacts,
    image::{Image, write},
};

/// Its name on the nodes.
const TAG: &str = "localhost/chaos-pod:1";

/// Builds it where its program changed.
pub fn of_pods(archive: &Path) -> Result<()> {
    let mut cargo = artifacts::static_cargo("build");
    cargo.args(["--quiet", "--release", "--package", "chaos-tests", "--bin", "chaos-pod"]);
    let programs = artifacts::build(&mut cargo).context("build the program of the tests' pods")?;
    let program = programs.into_iter().find(|program| program.name == "chaos-pod");
    let program = program.ok_or_else(|| anyhow!("cargo built no chaos-pod"))?.path;
    let image = Image {
        tag: TAG.to_owned(),
        program,
        name: "chaos-pod",
        entrypoint: false,
        arguments: vec!["pause"],
        libraries: Vec::new(),
    };
    write(&image, archive)
}
