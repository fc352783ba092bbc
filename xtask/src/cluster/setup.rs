//! What a cluster is made of: Debian's etcd, containerd, runc and CNI plugins, and Kubernetes' own programs, built from its Go modules.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    artifacts,
    packages::{self, Tool},
    process,
    progress::step,
    setup,
    toolchain::cache_dir,
};

/// As in tests/cluster/go.mod.
const VERSION: &str = "1.36.3";
const PROGRAMS: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"];
const TOOLS: [Tool; 7] = [
    Tool { program: "etcd", package: "etcd-server" },
    Tool { program: "containerd", package: "containerd" },
    Tool { program: "runc", package: "runc" },
    Tool { program: "nft", package: "nftables" },
    Tool { program: "ip", package: "iproute2" },
    Tool { program: "openssl", package: "openssl" },
    Tool { program: "/usr/lib/cni/bridge", package: "containernetworking-plugins" },
];

/// Where Kubernetes' programs are, or will be.
pub fn programs() -> PathBuf {
    cache_dir().join(format!("kubernetes-{VERSION}"))
}

/// Gets what is missing.
pub fn ensure() -> Result<()> {
    packages::ensure(&TOOLS)?;
    let target = programs();
    let whole = |dir: &Path| PROGRAMS.iter().all(|program| dir.join(program).is_file());
    if whole(&target) {
        return Ok(());
    }
    let _lock = setup::lock("setup")?;
    if whole(&target) {
        return Ok(());
    }
    let Some(go) =
        process::find("go").or_else(|| Some(PathBuf::from("/usr/local/go/bin/go")).filter(|go| go.is_file()))
    else {
        bail!("Go is missing, which builds Kubernetes {VERSION}: see https://go.dev/doc/install");
    };
    step(&format!("build Kubernetes {VERSION} (6 minutes)"), || build(&go, &target)).with_context(|| {
        format!("By hand: put {} of Kubernetes {VERSION} into {}", PROGRAMS.join(", "), target.display())
    })
}

fn build(go: &Path, target: &Path) -> Result<()> {
    let partial = target.with_extension("partial");
    fs::create_dir_all(&partial).with_context(|| format!("create {}", partial.display()))?;
    let (major, minor) = VERSION.split_once('.').unwrap_or((VERSION, ""));
    let minor = minor.split('.').next().unwrap_or(minor);
    let about = "k8s.io/component-base/version";
    let flags =
        format!("-s -w -X {about}.gitVersion=v{VERSION} -X {about}.gitMajor={major} -X {about}.gitMinor={minor}");
    let mut command = Command::new(go);
    // The pseudo-package `tool` is what the module's tool block lists.
    command.args(["install", "-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags", &flags, "tool"]);
    command.env("GOBIN", &partial).env("CGO_ENABLED", "0").env("GOFLAGS", "");
    process::capture(command.current_dir(artifacts::workspace().join("tests/cluster")))?;
    if target.exists() {
        fs::remove_dir_all(target).with_context(|| format!("remove {}", target.display()))?;
    }
    fs::rename(&partial, target).with_context(|| format!("rename {} to {}", partial.display(), target.display()))
}

#[cfg(test)]
mod tests {
    use super::{PROGRAMS, VERSION};

    #[test]
    fn the_module_says_the_same() {
        let path = crate::artifacts::workspace().join("tests/cluster/go.mod");
        let module = std::fs::read_to_string(path).unwrap();
        assert!(module.contains(&format!("k8s.io/kubernetes v{VERSION}")));
        for program in PROGRAMS {
            assert!(module.contains(&format!("k8s.io/kubernetes/cmd/{program}")), "{program}");
        }
    }
}
