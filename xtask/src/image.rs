//! `cargo xtask image`: the product as an OCI image (opencontainers/image-spec 1.1), made without Docker: one layer with one static
//! binary.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{artifacts, build, process};

/// Larger would be a mistake: see `cargo xtask image`.
const LARGEST: u64 = 25 * 1024 * 1024;

/// How to make it.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where to; target/chaos-image.tar by default.
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// The image's name.
    #[arg(long, default_value = "localhost/chaos:dev")]
    pub tag: String,
    /// Of the build that tests use, with the shared libraries of this machine: no second build, any size.
    #[arg(long)]
    pub debug: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { output: None, tag: "localhost/chaos:dev".to_owned(), debug: false }
    }
}

/// Makes it and returns where it is.
pub fn run(arguments: &Arguments) -> Result<PathBuf> {
    let output = arguments.output.clone().unwrap_or_else(|| artifacts::workspace().join("target/chaos-image.tar"));
    let how = build::Arguments { standalone: !arguments.debug, ..build::Arguments::default() };
    let mut program = build::build(&how)?;
    let libraries = if arguments.debug { libraries(&program)? } else { Vec::new() };
    if arguments.debug {
        // Debugging information is nine tenths of it, and every node unpacks it.
        let stripped = output.with_extension("stripped");
        process::capture(Command::new("strip").args(["--strip-debug", "-o"]).arg(&stripped).arg(&program))?;
        program = stripped;
    }
    let tag = arguments.tag.clone();
    let image = Image { tag, program, name: "chaos", entrypoint: true, arguments: Vec::new(), libraries };
    write(&image, &output)?;
    let size = fs::metadata(&output).with_context(|| format!("look at {}", output.display()))?.len();
    if !arguments.debug && size > LARGEST {
        bail!("{} has {size} bytes, more than {LARGEST}", output.display());
    }
    Ok(output)
}

/// What ldd(1) names.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let list = process::capture(Command::new("ldd").arg(program))?;
    let paths = list.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(PathBuf::from).collect())
}

/// An image of one program.
pub struct Image {
    /// `localhost/chaos:dev`
    pub tag: String,
    /// The program.
    pub program: PathBuf,
    /// What it is called inside.
    pub name: &'static str,
    /// Whether a container's arguments are its arguments, rather than a command.
    pub entrypoint: bool,
    /// Its own arguments.
    pub arguments: Vec<&'static str>,
    /// Shared libraries, at the places where they are here.
    pub libraries: Vec<PathBuf>,
}

/// Writes the archive.
pub fn write(image: &Image, to: &Path) -> Result<()> {
    let program = fs::read(&image.program).with_context(|| format!("read {}", image.program.display()))?;
    let bytes = archive(image, &program).context("make the image")?;
    fs::write(to, bytes).with_context(|| format!("write {}", to.display()))
}

/// The same bytes for the same program.
fn archive(image: &Image, program: &[u8]) -> Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for dir in ["bin/", "dev/", "etc/", "proc/", "run/", "sys/"] {
        entry(&mut layer, dir, tar::EntryType::Directory, &[])?;
    }
    let place = if image.entrypoint { image.name.to_owned() } else { format!("bin/{}", image.name) };
    entry(&mut layer, &place, tar::EntryType::Regular, program)?;
    for library in &image.libraries {
        let content = fs::read(library).with_context(|| format!("read {}", library.display()))?;
        let path = library.strip_prefix("/").unwrap_or(library).display().to_string();
        entry(&mut layer, &path, tar::EntryType::Regular, &content)?;
    }
    let layer = layer.into_inner()?;
    let mut words = vec![format!("/{place}")];
    words.extend(image.arguments.iter().map(|word| (*word).to_owned()));
    let key = if image.entrypoint { "Entrypoint" } else { "Cmd" };
    let config = json!({
        "architecture": architecture(), "os": "linux",
        "config": { key: words, "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut head = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    let reference = image.tag.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    head["platform"] = json!({ "architecture": architecture(), "os": "linux" });
    // The second is what containerd calls it after the import.
    head["annotations"] =
        json!({ "org.opencontainers.image.ref.name": reference, "io.containerd.image.name": image.tag });
    let index =
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [head] });
    let mut archive = tar::Builder::new(Vec::new());
    entry(&mut archive, "oci-layout", tar::EntryType::Regular, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    entry(&mut archive, "index.json", tar::EntryType::Regular, index.to_string().as_bytes())?;
    for blob in [&layer, &config, &manifest] {
        let path = format!("blobs/sha256/{}", hex(blob));
        entry(&mut archive, &path, tar::EntryType::Regular, blob)?;
    }
    Ok(archive.into_inner()?)
}

fn entry(archive: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, content: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(content.len().try_into()?);
    // Owner, group and time stay 0.
    header.set_cksum();
    Ok(archive.append_data(&mut header, path, content)?)
}

const fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, io::Read as _};

    fn image() -> Image {
        Image {
            tag: "localhost/chaos:dev".to_owned(),
            program: PathBuf::new(),
            name: "chaos",
            entrypoint: true,
            arguments: Vec::new(),
            libraries: Vec::new(),
        }
    }

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn every_digest_names_a_blob_of_that_content() {
        let files = files(&archive(&image(), b"program").unwrap());
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = &files[&format!("blobs/sha256/{digest}")];
            assert_eq!((hex(bytes), Some(bytes.len() as u64)), (digest.to_owned(), descriptor["size"].as_u64()));
            bytes.clone()
        };
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        let layer = blob(&manifest["layers"][0]);
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
        assert_eq!(config["config"]["Entrypoint"], json!(["/chaos"]));
        assert_eq!(self::files(&layer)["chaos"], b"program");
    }

    #[test]
    fn the_same_program_gives_the_same_bytes() {
        assert_eq!(archive(&image(), b"program").unwrap(), archive(&image(), b"program").unwrap());
    }
}
