//! Which crates may link the loader of programs. That no crates depend on each other in a circle cargo sees to itself.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::{artifacts, process};

/// Crates for machines without the datapath: the plugin of kubectl is made of these.
const WITHOUT_LOADER: [&str; 5] = ["chaos-error", "chaos-spec", "chaos-outcome", "chaos-probe", "chaos-k8s"];
/// What loads programs, or asks the kernel on behalf of the datapath.
const LOADERS: [&str; 4] = ["aya", "aya-obj", "chaos-sys", "chaos-objects"];

/// Those of [`WITHOUT_LOADER`] that depend on one.
///
/// # Errors
/// cargo cannot list what a crate depends on.
pub fn broken() -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for name in WITHOUT_LOADER {
        let mut tree = process::cargo();
        tree.args(["tree", "--package", name, "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
        broken.extend(loaders(&process::capture(tree.current_dir(artifacts::workspace()))?).into_iter().map(
            |loader| {
                format!(
                    "{name} depends on {loader}; it is part of the plugin of kubectl, which needs no loader of programs"
                )
            },
        ));
    }
    Ok(broken)
}

/// Loaders among the lines of `cargo tree`, which begin with the package's name.
fn loaders(tree: &str) -> BTreeSet<&'static str> {
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    LOADERS.into_iter().filter(|loader| names.contains(loader)).collect()
}

#[cfg(test)]
mod tests {
    use super::loaders;

    #[test]
    fn a_loader_is_found_by_its_whole_name() {
        let tree = "chaos-k8s v0.1.0 (/src/chaos-user/k8s)\nkube v5.0.0\naya-obj-tools v1.0.0\n";
        assert!(loaders(tree).is_empty());
        assert_eq!(loaders(&format!("{tree}aya v0.14.0\nchaos-sys v0.1.0 (*)\n")).len(), 2);
    }
}
