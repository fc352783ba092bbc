//! The binaries that the tests try, built here, since a virtual machine can build nothing: copies of their own, which no build that
//! begins meanwhile puts anything in the place of. Cargo has but one name for all variants of a program, and a machine reads what it
//! runs page by page.

use std::{
    fs, io, iter,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result};

use crate::{build, setup};

/// Tells the tests which binary they are to try.
pub const PRODUCT: &str = "CHAOS_BIN";
/// Tells those that need a variant which dies or fails at a chosen operation where it is.
pub const WITH_CRASH_POINTS: &str = "CHAOS_CRASH_POINTS_BIN";
/// With it begins the name of the directory; the number of the process follows.
const PREFIX: &str = "products-";

/// They go when this goes.
pub struct Products {
    directory: PathBuf,
    with_crash_points: bool,
}

impl Products {
    /// Builds and copies the product and, where a test asks for it, the variant with crash points.
    pub fn new(with_crash_points: bool) -> Result<Self> {
        // While one builds the variant under the product's name, another must not take it for the product.
        let _lock = setup::lock("products")?;
        let product = build::build(&build::Arguments::default())?;
        let built = product.parent().unwrap_or(Path::new("."));
        forget_dead(built).with_context(|| format!("remove old copies in {}", built.display()))?;
        let directory = built.join(format!("{PREFIX}{}", process::id()));
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        // A test runs the product as somebody who is not root.
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("open {} to all", directory.display()))?;
        let products = Self { directory, with_crash_points };
        copy(&product, &products.tried())?;
        if with_crash_points {
            copy(&build::with_crash_points()?, &products.crash_points())?;
            // Gives cargo's name back to the product, which it need not make anew.
            build::build(&build::Arguments::default())?;
        }
        Ok(products)
    }

    /// The product.
    pub fn tried(&self) -> PathBuf {
        self.directory.join("chaos")
    }

    fn crash_points(&self) -> PathBuf {
        self.directory.join("chaos-crash-points")
    }

    /// What tells the tests where they are.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        let variant = self.with_crash_points.then(|| (WITH_CRASH_POINTS, self.crash_points()));
        iter::once((PRODUCT, self.tried())).chain(variant)
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("remove {}: {error}", self.directory.display());
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Copies of a process that was killed.
fn forget_dead(built: &Path) -> io::Result<()> {
    for entry in fs::read_dir(built)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        if !Path::new("/proc").join(owner).exists() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
