//! A node as seen from outside: its files, its cgroups, its network namespace, and the process that is its machine.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{
    control_plane::CERTIFICATE,
    daemon::Daemon,
    mounts,
    namespace::inside,
    state::{self, Node},
    switch,
};

/// Makes and starts one. `nodes` are all of the cluster.
pub fn start(node: Node, nodes: &[Node]) -> Result<Daemon> {
    switch::plug_in(node, nodes)?;
    write_files(node)?;
    make_cgroups(&node.space())?;
    let program = env::current_exe().context("find our own program")?;
    let words = ["cluster", "machine", &node.0.to_string()].map(str::to_owned);
    inside(&node.space(), || Daemon::start(&node.name(), &state::path(""), program, &words))
}

/// Its directories and the configuration of its daemons.
pub fn write_files(node: Node) -> Result<()> {
    let dir = node.directory();
    for (source, _) in mounts::DIRECTORIES {
        state::create(&dir.join(source))?;
    }
    state::create(&dir.join("settings"))?;
    state::write(&dir.join("containerd.toml"), include_str!("templates/containerd.toml"))?;
    let kubelet = include_str!("templates/kubelet.yaml").replace("@CGROUP@", &node.space());
    let certificate = state::path(CERTIFICATE).display().to_string();
    state::write(&dir.join("kubelet.yaml"), &kubelet.replace("@CERTIFICATE@", &certificate))?;
    let pods = include_str!("templates/pods.conflist").replace("@PODS@", &node.pods());
    state::write(&dir.join("cni/10-pods.conflist"), &pods)?;
    for (name, value) in mounts::SETTINGS {
        state::write(&dir.join(mounts::setting_file(name)), &format!("{value}\n"))?;
    }
    Ok(())
}

/// One in each hierarchy, v1 and v2: the kubelet wants its root to exist.
pub fn make_cgroups(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        hand_down(&hierarchy);
        let dir = hierarchy.join(name);
        state::create(&dir)?;
        // In v1 a new cpuset is empty, and nothing can run in it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if hierarchy.ends_with("cpuset") {
                let from = hierarchy.join(file);
                let value = fs::read(&from).with_context(|| format!("read {}", from.display()))?;
                let to = dir.join(file);
                fs::write(&to, value).with_context(|| format!("write {}", to.display()))?;
            }
        }
    }
    Ok(())
}

/// In v2 a cgroup has the controllers that the one above hands down.
fn hand_down(hierarchy: &Path) {
    for controller in ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"] {
        // What there is not, or is in v1, the kubelet does without.
        let _ = fs::write(hierarchy.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// The roots of all cgroup hierarchies that are mounted at the usual places.
pub fn hierarchies() -> Result<Vec<std::path::PathBuf>> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root).with_context(|| format!("read {}", root.display()))? {
        let path = entry.with_context(|| format!("read {}", root.display()))?.path();
        // `cpu` may be a link to `cpu,cpuacct`.
        if path.is_dir() && !path.is_symlink() && path.join("cgroup.procs").exists() {
            found.push(path);
        }
    }
    Ok(found)
}

/// A command in the namespaces of a node (`node1`), or in that of the control plane (`cp`); still without its words.
pub fn command(name: &str) -> Result<Command> {
    let mut command = Command::new("nsenter");
    if name == "cp" {
        command.arg(format!("--net={}", state::netns(state::CONTROL_PLANE).display())).arg("--");
        return Ok(command);
    }
    let file = state::path(&format!("{name}.pid"));
    let Ok(pid) = fs::read_to_string(&file) else {
        bail!("there is no node called {name} that can be entered; there are cp, {}", names()?.join(", "))
    };
    command.args(["--net", "--mount", "--uts", "--target", pid.trim(), "--"]);
    Ok(command)
}

/// Of all nodes that can be entered, which virtual machines cannot, in order.
pub fn names() -> Result<Vec<String>> {
    let dir = Path::new(state::DIRECTORY);
    let entries = fs::read_dir(dir).context("there is no cluster; make one: cargo xtask cluster up")?;
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".pid").map(str::to_owned))
        .filter(|name| name.starts_with("node"))
        .collect();
    names.sort();
    Ok(names)
}
