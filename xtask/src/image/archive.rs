//! An image in one file: OCI's image layout in a tar archive. The same content always makes the same bytes.

use std::{io::Write, path::PathBuf};

use anyhow::{Context as _, Result};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::arch::Arch;

/// What an image is made of.
pub struct Image<'a> {
    /// `localhost/chaos:dev`
    pub name: &'a str,
    /// Of the machines that it is for.
    pub arch: Arch,
    /// The path of its program, without a slash at the beginning.
    pub path: &'a str,
    /// That file.
    pub program: &'a [u8],
    /// Shared libraries that it needs, with their paths here.
    pub libraries: &'a [(PathBuf, Vec<u8>)],
    /// What a container runs.
    pub entrypoint: &'a [&'a str],
    /// What it runs that with, unless told otherwise.
    pub command: &'a [&'a str],
    /// Whether the layer is compressed: smaller, and takes longer to make and to unpack.
    pub compressed: bool,
}

/// Something that others refer to by its digest.
struct Blob {
    media_type: &'static str,
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { media_type, digest: digest(&bytes), bytes }
    }

    fn json(media_type: &'static str, value: &Value) -> Self {
        Self::new(media_type, value.to_string().into_bytes())
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": format!("sha256:{}", self.digest), "size": self.bytes.len() })
    }
}

impl Image<'_> {
    /// The archive.
    pub fn write(&self, to: impl Write) -> Result<()> {
        let tree = self.tree()?;
        // By its digest before compression, whatever the layer is sent as.
        let tree_digest = format!("sha256:{}", digest(&tree));
        let layer = if self.compressed {
            Blob::new("application/vnd.oci.image.layer.v1.tar+gzip", gzip(&tree)?)
        } else {
            Blob::new("application/vnd.oci.image.layer.v1.tar", tree)
        };
        let configuration = json!({
            "architecture": self.arch.name(),
            "os": "linux",
            "config": { "Entrypoint": self.entrypoint, "Cmd": self.command },
            "rootfs": { "type": "layers", "diff_ids": [tree_digest] },
        });
        let configuration = Blob::json("application/vnd.oci.image.config.v1+json", &configuration);
        const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": configuration.descriptor(),
            "layers": [layer.descriptor()],
        });
        let manifest = Blob::json(MANIFEST, &manifest);
        let mut archive = Builder::new(to);
        add(&mut archive, "oci-layout", FILE, json!({ "imageLayoutVersion": "1.0.0" }).to_string().as_bytes())?;
        add(&mut archive, "index.json", FILE, self.index(&manifest).to_string().as_bytes())?;
        for blob in [manifest, configuration, layer] {
            add(&mut archive, &format!("blobs/sha256/{}", blob.digest), FILE, &blob.bytes)?;
        }
        archive.into_inner().and_then(|mut to| to.flush()).context("finish the archive")
    }

    fn index(&self, manifest: &Blob) -> Value {
        let mut entry = manifest.descriptor();
        let tag = self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        // The one is OCI's, the other tells containerd the whole name.
        entry["annotations"] =
            json!({ "org.opencontainers.image.ref.name": tag, "io.containerd.image.name": self.name });
        entry["platform"] = json!({ "architecture": self.arch.name(), "os": "linux" });
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry] })
    }

    /// The file system.
    fn tree(&self) -> Result<Vec<u8>> {
        let mut tree = Builder::new(Vec::new());
        for (end, _) in self.path.match_indices('/') {
            add(&mut tree, &self.path[..=end], PROGRAM, &[])?;
        }
        add(&mut tree, self.path, PROGRAM, self.program)?;
        for (path, content) in self.libraries {
            add(&mut tree, &path.to_string_lossy(), PROGRAM, content)?;
        }
        tree.into_inner().context("finish the layer")
    }
}

const FILE: u32 = 0o644;
const PROGRAM: u32 = 0o755;

/// Owned by root and made at the epoch. A path that ends in a slash is a directory.
fn add(archive: &mut Builder<impl Write>, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(if path.ends_with('/') { EntryType::Directory } else { EntryType::Regular });
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, path, content).with_context(|| format!("add {path} to an archive"))
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).context("compress the layer")
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use flate2::read::GzDecoder;
    use serde_json::Value;

    use super::{Arch, Image, digest};

    fn image(compressed: bool) -> Image<'static> {
        Image {
            name: "localhost/x:1",
            arch: Arch::Arm64,
            path: "bin/x",
            program: b"program",
            libraries: &[],
            entrypoint: &["/bin/x"],
            command: &["wait"],
            compressed,
        }
    }

    fn bytes(compressed: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        image(compressed).write(&mut bytes).unwrap();
        bytes
    }

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let read = |mut entry: tar::Entry<'_, _>| {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        };
        archive.entries().unwrap().map(|entry| read(entry.unwrap())).collect()
    }

    /// The blob that a descriptor is about, whose digest and size must be right.
    fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
        let hash = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let blob = &files[&format!("blobs/sha256/{hash}")];
        assert_eq!(digest(blob), hash);
        assert_eq!(descriptor["size"], blob.len());
        blob
    }

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn the_same_content_makes_the_same_bytes() {
        for compressed in [false, true] {
            assert_eq!(bytes(compressed), bytes(compressed));
        }
    }

    #[test]
    fn every_part_is_found_by_its_digest() {
        for compressed in [false, true] {
            let files = files(&bytes(compressed));
            let index = json(&files["index.json"]);
            assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "localhost/x:1");
            assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "1");
            let manifest = json(blob(&files, &index["manifests"][0]));
            let configuration = json(blob(&files, &manifest["config"]));
            assert_eq!(configuration["config"]["Entrypoint"][0], "/bin/x");
            assert!(configuration["config"].get("User").is_none());
            let mut tree = blob(&files, &manifest["layers"][0]).to_vec();
            if compressed {
                let packed = tree.split_off(0);
                GzDecoder::new(packed.as_slice()).read_to_end(&mut tree).unwrap();
            }
            assert_eq!(configuration["rootfs"]["diff_ids"][0], format!("sha256:{}", digest(&tree)));
            assert_eq!(self::files(&tree)["bin/x"], b"program");
            assert_eq!(files.len(), 5);
        }
    }

    #[test]
    fn a_digest_is_that_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(digest(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
