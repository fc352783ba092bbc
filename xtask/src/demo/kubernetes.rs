//! `cargo xtask demo --kubernetes`: the whole story on a real cluster on this machine: install, apply a sample, measure between two
//! pods before, during and after, read the report, uninstall.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::{
    artifacts, build,
    cluster::{Raised, kubectl, state},
    process,
};

const SAMPLE: &str = "manifests/samples/kubernetes/partition.yaml";
const IMAGE: &str = "localhost/chaos-pod:1";
const PATIENCE: Duration = Duration::from_secs(60);

/// Shows it. Needs root for the cluster.
pub fn run() -> Result<ExitCode> {
    if !process::is_root() {
        bail!("needs root, for the nodes' namespaces: sudo -E cargo xtask demo --kubernetes");
    }
    let product = build::build(&build::Arguments::default())?;
    let cluster = Raised::new(None, false)?;
    let shown = show(&product);
    cluster.end()?;
    shown?;
    println!("\nThe cluster is gone, too.");
    Ok(ExitCode::SUCCESS)
}

fn show(product: &Path) -> Result<()> {
    say("kubectl apply -k manifests/");
    let manifests = artifacts::workspace().join("manifests").display().to_string();
    kubectl::capture(&["apply", "-k", &manifests])?;
    for what in ["daemonset/chaos-agent", "deployment/chaos-controller"] {
        kubectl::capture(&["-n", "chaos-system", "rollout", "status", what, "--timeout=120s"])?;
    }
    print!("{}", kubectl::capture(&["-n", "chaos-system", "get", "pods", "-o", "wide"])?);
    say("two pods: web on the first node, db on the second");
    pod("web", "node1")?;
    pod("db", "node2")?;
    let (web, db) = (process_of("web")?, address_of("db")?);
    let before = measure(web, &db)?;
    say(&format!("kubectl chaos run {SAMPLE}"));
    let mut run = plugin(product);
    let mut run = run.arg("run").arg(artifacts::workspace().join(SAMPLE)).spawn().context("start the plugin")?;
    // The object is made by the plugin, a moment from now.
    let acts =
        || kubectl::capture(&["wait", "--for=condition=Injected", "experiment/partition", "--timeout=30s"]).is_ok();
    let measured = if until(acts) { measure(web, &db) } else { Err(anyhow!("the experiment never acted")) };
    let during = measured?;
    let status = run.wait().context("wait for the plugin")?;
    let after = measure(web, &db)?;
    if !status.success() {
        bail!("the experiment failed: {status}");
    }
    say("kubectl get experiments");
    print!("{}", kubectl::capture(&["get", "experiments"])?);
    say("measured from the pod web, by ping to the pod db");
    for (when, what) in [("before", &before), ("during", &during), ("after", &after)] {
        println!("{when:<8}{what}");
    }
    say("kubectl delete -k manifests/");
    let begun = Instant::now();
    kubectl::capture(&["delete", "-k", &manifests, "--timeout=60s"])?;
    println!("done in {:.1} s; nothing of chaos is left in the cluster", begun.elapsed().as_secs_f64());
    if !during.contains("100% packet loss") || before.contains("100% packet loss") || after.contains("100% packet loss")
    {
        bail!("this is not what was asked for");
    }
    Ok(())
}

fn say(what: &str) {
    println!("\n== {what}");
}

/// The product as kubectl would start it.
fn plugin(product: &Path) -> Command {
    let mut command = Command::new(product);
    command.arg("kubectl").env("KUBECONFIG", state::kubeconfig());
    command
}

fn pod(name: &str, node: &str) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "nodeName": node, "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "main", "image": IMAGE, "imagePullPolicy": "Never" }],
        },
    });
    let file = std::env::temp_dir().join(format!("chaos-demo-{name}-{}.json", std::process::id()));
    state::write(&file, &pod.to_string())?;
    let made = kubectl::capture(&["apply", "-f", &file.display().to_string()]);
    // A temporary file that stays harms nobody.
    let _gone = fs::remove_file(&file);
    made?;
    kubectl::capture(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"]).map(drop)
}

fn object(name: &str) -> Result<Value> {
    Ok(serde_json::from_str(&kubectl::capture(&["get", "pod", name, "-o", "json"])?)?)
}

fn address_of(name: &str) -> Result<String> {
    let ip = object(name)?["status"]["podIP"].as_str().map(str::to_owned);
    ip.ok_or_else(|| anyhow!("pod {name} has no address"))
}

/// The host's number of a process of this pod.
fn process_of(name: &str) -> Result<u32> {
    let pod = object(name)?;
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default();
    let id = id.rsplit('/').next().unwrap_or_default();
    let entries = fs::read_dir("/proc").context("read /proc")?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_its = |pid: &u32| {
        let cgroup = PathBuf::from(format!("/proc/{pid}/cgroup"));
        !id.is_empty() && fs::read_to_string(cgroup).is_ok_and(|text| text.contains(id))
    };
    numbers.into_iter().find(is_its).ok_or_else(|| anyhow!("pod {name} has no process"))
}

/// The last lines of ping, in a pod's network namespace.
fn measure(pid: u32, address: &str) -> Result<String> {
    let mut ping = Command::new("nsenter");
    ping.args([
        "--net",
        "-t",
        &pid.to_string(),
        "--",
        "ping",
        "-n",
        "-q",
        "-i",
        "0.05",
        "-W",
        "1",
        "-c",
        "40",
        address,
    ]);
    let output = ping.output().context("start ping")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.contains("transmitted")).collect();
    Ok(lines.join("; "))
}

fn until(holds: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if holds() {
            return true;
        }
        thread::sleep(Duration::from_millis(100));
    }
    false
}
