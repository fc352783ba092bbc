//! Circles of modules that are older than the check.

/// The folder, and its modules that import each other. A circle that no longer exists is an error as well, so that this list
/// only shrinks.
pub const STANDING: [(&str, &[&str]); 17] = [
    ("chaos-ebpf/src/", &["direct", "parse"]),
    (
        "chaos-ebpf/src/",
        &["arrival", "delay", "dice", "dns", "duplicate", "gate", "maps", "reset", "rule", "sample", "walk"],
    ),
    ("chaos-user/src/cli", &["command", "follow", "input", "watch"]),
    ("chaos-user/engine/src/", &["hosts", "rules", "sets"]),
    (
        "chaos-user/engine/src/",
        &["arrivals", "attach", "limit", "marks", "prepare", "queue", "release", "undo", "wants"],
    ),
    ("chaos-user/engine/src/", &["journal", "made"]),
    ("chaos-user/agent/src/", &["handover", "worker"]),
    ("chaos-user/agent/src/", &["node", "publish"]),
    ("chaos-user/k8s/src/controller", &["aside", "peers"]),
    ("chaos-user/k8s/src/controller", &["orphans", "reconcile"]),
    ("chaos-user/probe/src/", &["check", "phase", "probes", "reach"]),
    (
        "chaos-user/host/src/",
        &["cgroup", "decide", "host", "local", "names_of_containers", "process", "runtime", "target"],
    ),
    ("tests/src/", &["cluster", "need", "net", "product", "traffic"]),
    ("tests/src/product", &["binary", "run"]),
    ("tests/src/traffic", &["outcome", "udp"]),
    ("tests/src/victim", &["deed", "exec", "files", "kit", "names", "options", "process", "sockets", "table", "waits"]),
    ("xtask/src/vm", &["built", "kernel"]),
];
