//! What a cluster needs: system packages, and the programs of Kubernetes, built from source by Go once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    artifacts,
    packages::{self, Tool},
    process,
    progress::step,
    setup, toolchain,
};

/// The release that `tests/cluster/go.mod` names.
const KUBERNETES: &str = "1.36.3";

const PROGRAMS: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"];

const TOOLS: [Tool; 11] = [
    Tool { program: "containerd", package: "containerd" },
    Tool { program: "/usr/lib/cni/bridge", package: "containernetworking-plugins" },
    Tool { program: "curl", package: "curl" },
    Tool { program: "etcd", package: "etcd-server" },
    // The sidecar of a pod of the tests.
    Tool { program: "/usr/sbin/haproxy", package: "haproxy" },
    Tool { program: "ip", package: "iproute2" },
    Tool { program: "nft", package: "nftables" },
    Tool { program: "nsenter", package: "util-linux" },
    Tool { program: "openssl", package: "openssl" },
    Tool { program: "runc", package: "runc" },
    Tool { program: "strip", package: "binutils" },
];

/// Installs and builds what is missing; returns where the programs of Kubernetes are.
pub fn ensure() -> Result<PathBuf> {
    let programs = toolchain::cache_dir().join(format!("kubernetes-{KUBERNETES}"));
    if !complete(&programs) {
        let _lock = setup::lock("setup")?;
        if !complete(&programs) {
            build(&programs)?;
        }
    }
    packages::ensure(&TOOLS)?;
    Ok(programs)
}

fn complete(dir: &Path) -> bool {
    PROGRAMS.iter().all(|program| dir.join(program).is_file())
}

fn build(target: &Path) -> Result<()> {
    let module = artifacts::workspace().join("tests/cluster");
    let go = usable_go(&wanted_go(&module.join("go.mod"))?)?;
    let partial = target.with_added_extension("partial");
    for dir in [&partial, target] {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
        }
    }
    // Clients refuse a server that does not tell its version.
    let version = "k8s.io/component-base/version";
    let (major, minor) = KUBERNETES.split_once('.').unwrap_or((KUBERNETES, "0"));
    let minor = minor.split('.').next().unwrap_or(minor);
    let flags = format!(
        "-s -w -X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    );
    let mut go = Command::new(go);
    go.args(["install", "-trimpath", "-ldflags", &flags, "tool"]);
    go.current_dir(&module).env("GOBIN", &partial).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly");
    step(&format!("build Kubernetes {KUBERNETES} with Go (about 6 minutes)"), || process::capture(&mut go))?;
    if !complete(&partial) {
        bail!("{} lacks one of {}", partial.display(), PROGRAMS.join(", "));
    }
    fs::rename(&partial, target).with_context(|| format!("rename {} to {}", partial.display(), target.display()))
}

/// From the line `go 1.26.0`.
fn wanted_go(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("go "));
    line.map(|version| version.trim().to_owned()).ok_or_else(|| anyhow!("{} names no version of Go", path.display()))
}

/// Go, in PATH or where its own archive is unpacked.
fn usable_go(wanted: &str) -> Result<PathBuf> {
    let advice = format!(
        "Kubernetes {KUBERNETES} is built with Go {wanted} or newer. By hand: unpack an archive from https://go.dev/dl and \
         put its bin directory into PATH"
    );
    let usual = || Some(PathBuf::from("/usr/local/go/bin/go")).filter(|go| go.is_file());
    let Some(go) = process::find("go").or_else(usual) else { bail!("Go is missing. {advice}") };
    let found = process::capture(Command::new(&go).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local"))?;
    let found = found.trim().trim_start_matches("go");
    if numbers(found) < numbers(wanted) {
        bail!("Go {found} is too old. {advice}");
    }
    Ok(go)
}

/// `1.26.8` or `1.27rc1` as numbers that can be compared.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{KUBERNETES, numbers};

    #[test]
    fn versions_of_go_are_compared_as_numbers() {
        assert!(numbers("1.9.9") < numbers("1.26.0"));
        assert!(numbers("1.26.0") <= numbers("1.26.8"));
        assert!(numbers("1.27rc1") > numbers("1.26.8"));
    }

    #[test]
    fn the_release_is_that_of_the_go_module() {
        assert!(include_str!("../../../tests/cluster/go.mod").contains(&format!("k8s.io/kubernetes v{KUBERNETES}")));
    }
}
