//! A node: a network, a mount and a UTS namespace with containerd, kubelet and kube-proxy.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::{CONTROL, Cluster, in_netns, ip, write};

/// Runs inside; `"$@"` are the node's directory, its name, Kubernetes' programs, the state's directory and the node's address.
const SCRIPT: &str = include_str!("node.sh");
/// Beside their usual places a node needs these for itself. Agents keep their journal in /run/chaos.
const PRIVATE: [&str; 8] = ["kubelet", "containerd", "run", "pods", "ipam", "netns", "chaos", "cni-state"];

impl Cluster {
    pub(super) fn start_node(&self, number: u8, of: u8) -> Result<()> {
        let name = format!("node{number}");
        let dir = self.dir.join(&name);
        cables(number, of)?;
        for private in PRIVATE {
            let path = dir.join(private);
            fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        }
        files(&dir, number)?;
        cgroups(&name)?;
        let mut shell = in_netns(&format!("kube-{name}"), "unshare");
        shell.args(["--mount", "--uts", "--propagation", "private", "--", "bash"]);
        shell.args([dir.join("start.sh"), dir.clone()]).arg(&name).arg(&self.programs).arg(&self.dir);
        shell.arg(address(number));
        self.spawn(&name, &mut shell)
    }
}

fn address(number: u8) -> String {
    format!("10.240.0.{}", number + 10)
}

fn cables(number: u8, of: u8) -> Result<()> {
    let (name, address) = (format!("kube-node{number}"), address(number));
    ip(&format!("netns add {name}"))?;
    ip(&format!("link add veth{number} netns {CONTROL} type veth peer name eth0 netns {name}"))?;
    ip(&format!("-n {CONTROL} link set veth{number} master br0 up"))?;
    ip(&format!("-n {name} link set lo up"))?;
    ip(&format!("-n {name} addr add {address}/24 dev eth0"))?;
    ip(&format!("-n {name} link set eth0 up"))?;
    ip(&format!("-n {name} route add default via 10.240.0.1"))?;
    let forward = |netns: &str| {
        crate::process::capture(in_netns(netns, "sysctl").args(["-qw", "net.ipv4.ip_forward=1"])).map(drop)
    };
    forward(&name)?;
    forward(CONTROL)?;
    for other in (1..=of).filter(|other| *other != number) {
        ip(&format!("-n {name} route add 10.244.{other}.0/24 via {}", self::address(other)))?;
    }
    ip(&format!("-n {CONTROL} route add 10.244.{number}.0/24 via {address}"))
}

fn files(dir: &Path, number: u8) -> Result<()> {
    let cni = dir.join("cni");
    fs::create_dir_all(&cni).with_context(|| format!("create {}", cni.display()))?;
    let network = serde_json::json!({
        "cniVersion": "1.0.0", "name": "pods", "plugins": [
            { "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true, "ipam": {
                "type": "host-local", "dataDir": "/run/cni-ipam",
                "ranges": [[{ "subnet": format!("10.244.{number}.0/24") }]], "routes": [{ "dst": "0.0.0.0/0" }] } },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    write(&cni.join("10-pods.conflist"), &network.to_string())?;
    write(&dir.join("containerd.toml"), CONTAINERD)?;
    let kubelet = serde_json::json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
        "authorization": { "mode": "AlwaysAllow" },
        "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/kube-node{number}"), "failCgroupV1": false,
        "failSwapOn": false, "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock", "resolvConf": "",
        "evictionHard": { "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
        // Pods of tests are to be noticed at once.
        "syncFrequency": "10s", "nodeStatusUpdateFrequency": "4s",
    });
    write(&dir.join("kubelet.yaml"), &kubelet.to_string())?;
    write(&dir.join("start.sh"), SCRIPT)
}

/// restrict_oom_score_adj: a container's root may lack CAP_SYS_RESOURCE.
const CONTAINERD: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/chaos-pod:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#;

/// The roots of the node's pods: in each hierarchy of version 1, in the one of version 2, or in both.
fn cgroups(name: &str) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let of_node = format!("kube-{name}");
    let make = |tree: &Path| {
        let path = tree.join(&of_node);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))
    };
    if root.join("cgroup.controllers").exists() {
        return make(root);
    }
    for entry in fs::read_dir(root).with_context(|| format!("read {}", root.display()))? {
        let tree = entry.with_context(|| format!("read {}", root.display()))?.path();
        if !tree.is_dir() || tree.is_symlink() {
            continue;
        }
        make(&tree)?;
        // A new cpuset has no processors until it is told (cpuset(7)).
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(all) = fs::read(tree.join(file)) {
                let path = tree.join(&of_node).join(file);
                fs::write(&path, all).with_context(|| format!("write {}", path.display()))?;
            }
        }
    }
    Ok(())
}
