//! A node as seen from outside: its files, its cgroups, its network namespace, and the process that is its machine.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{
    cgroups,
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
    cgroups::make(&node.space())?;
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
    let kubelet = include_str!("templates/kubelet.yaml").replace("@CGROUP@", &node.cgroup());
    let certificate = state::path(CERTIFICATE).display().to_string();
    state::write(&dir.join("kubelet.yaml"), &kubelet.replace("@CERTIFICATE@", &certificate))?;
    let pods = include_str!("templates/pods.conflist").replace("@PODS@", &node.pods());
    state::write(&dir.join("cni/10-pods.conflist"), &pods)?;
    for (name, value) in mounts::SETTINGS {
        state::write(&dir.join(mounts::setting_file(name)), &format!("{value}\n"))?;
    }
    Ok(())
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
    command.args(["--net", "--mount", "--uts", "--cgroup", "--target", pid.trim(), "--"]);
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
