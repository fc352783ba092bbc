//! On a Kubernetes cluster: a thousand nodes and ten thousand pods. All objects are real ones at a real API server; the agents are
//! played. Times are told and not tested, since they would be the machine's; what is tested is that nothing is lost, that no object
//! grows large and that the controller does not write once per answer.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    time::{Duration, Instant},
};

use chaos_tests::{
    clock::wait_until,
    cluster::{Agents, Asked, Cluster, Crowd, Install, Request, first_process, memory_of},
    need,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

const NODES: usize = 1000;
const EACH: usize = 10;
/// Of every object: etcd takes no more than 1.5 MiB in a request.
const MOST_BYTES: usize = 1 << 20;
/// For anything that a thousand nodes do.
const LONG: Duration = Duration::from_secs(300);

#[test]
fn a_thousand_nodes_with_ten_thousand_pods() {
    let Some(cluster) = need::cluster() else { return };
    let install = Install::here(&cluster);
    let (pid, before) = controller(&install);
    let begun = Instant::now();
    let crowd = Crowd::gather(&cluster, NODES, EACH);
    need::measured(&format!("{NODES} nodes and {} pods were made in {:.0?}", NODES * EACH, begun.elapsed()));
    need::measured(&format!(
        "the controller has {before} KiB without them and {} KiB with them",
        memory_of(pid, "VmRSS")
    ));
    whole_life(&crowd, &install);
    need::measured(&format!("the controller had {} KiB at most", memory_of(pid, "VmHWM")));
    a_leader_dies_halfway(&crowd, &install);
    drop(crowd);
    // The controller manager wakes up to nodes that it has not seen for minutes.
    cluster.kubectl("wait --for=condition=Ready node --all --timeout=120s");
    install.await_ready();
}

/// The process that leads, and its memory in KiB.
fn controller(install: &Install) -> (i32, u64) {
    let mut found = None;
    install.cluster.wait("a controller leads", || {
        let pod = install.cluster.get("pod", "chaos-system", &install.leader());
        let id = pod.and_then(|pod| pod["status"]["containerStatuses"][0]["containerID"].as_str().map(str::to_owned));
        found = id.and_then(|id| first_process(id.rsplit('/').next()?));
        found.is_some()
    });
    let pid = found.expect("a process");
    (pid, memory_of(pid, "VmRSS"))
}

/// All pods, with all pods as peers.
fn everything(seconds: u32) -> Value {
    let network = json!({ "match": { "peers": [{ "pods": { "all": true } }] }, "partition": true });
    json!({
        "duration": format!("{seconds}s"), // The cluster's real nodes have no pod of the crowd, and no part in it.
        "selector": { "pods": { "all": true, "followNew": false } },
        "faults": [{ "name": "fault", "network": network }],
    })
}

fn whole_life(crowd: &Crowd, install: &Install) {
    let log = Log::here(&install.cluster);
    let agents = crowd.agents();
    let asked = Asked::apply_spec(&crowd.scene, "crowd", &everything(900));
    let applied = Instant::now();
    fans_out(crowd, applied);
    waits(&asked, "every node was told to start", || agents.saying("Injected") == NODES);
    need::measured(&format!("from apply until every node was told to start: {:.1?}", applied.elapsed()));
    sums_up(crowd, &asked, &agents, 1);
    let (writes, orders) = (log.writes("experiments"), log.writes("injections"));
    need::measured(&format!("until then {writes} statuses of the experiment and {orders} Injections were written"));
    assert_eq!(orders, 2 * NODES, "each is made and is told to start, and nothing else");
    storm(crowd, &asked, &agents, install);
    asked.stop("finish");
    let stopped = Instant::now();
    waits(&asked, "it is over", || crowd.experiment("crowd")["status"]["verdict"].is_string());
    need::measured(&format!(
        "from the stop until all {NODES} nodes had reverted and the verdict: {:.1?}",
        stopped.elapsed()
    ));
    let over = asked.await_over();
    assert_eq!((over.phase(), over.verdict()), ("Finished", "Pass"), "{}", over.reason());
    assert_eq!(over.count("injected"), 6 * (NODES * EACH) as u64);
    no_object_is_large(crowd);
    goes_at_once(crowd, &asked);
}

#[track_caller]
fn waits(asked: &Asked, what: &str, mut holds: impl FnMut() -> bool) {
    // Not more often: each look is a request as well.
    let holds = || {
        let so = holds();
        if !so {
            std::thread::sleep(Duration::from_millis(100));
        }
        so
    };
    assert!(wait_until(LONG, holds), "waited in vain until {what}: {:#}", asked.status().0);
}

/// Each node has its order, and each pod stands in one.
fn fans_out(crowd: &Crowd, applied: Instant) {
    let count = || {
        let path = format!("/apis/chaos-ebpf.dev/v1alpha1/namespaces/{}/injections?limit=1", crowd.scene.namespace);
        let list = crowd.scene.cluster.read(&path);
        let rest = list["metadata"]["remainingItemCount"].as_u64().unwrap_or_default() as usize;
        list["items"].as_array().map_or(0, Vec::len) + rest
    };
    assert!(wait_until(LONG, || count() == NODES), "there are {} Injections", count());
    need::measured(&format!("from apply until all {NODES} Injections were there: {:.1?}", applied.elapsed()));
    whole(crowd);
}

/// Every pod is the target of its own node, once.
fn whole(crowd: &Crowd) {
    let injections = crowd.list("injections");
    let mut targets = BTreeSet::new();
    for one in &injections {
        let of = one["spec"]["targets"].as_array().expect("targets");
        assert_eq!(of.len(), EACH, "{}", one["spec"]["nodeName"]);
        targets.extend(of.iter().map(|target| target["name"].to_string()));
    }
    assert_eq!((injections.len(), targets.len()), (NODES, NODES * EACH));
}

/// All agents tell their counts at once; the experiment has the sums soon.
fn sums_up(crowd: &Crowd, asked: &Asked, agents: &Agents, each: u64) {
    let wrote = agents.count(each);
    let written = Instant::now();
    let (total, pods) = (each * (NODES * EACH) as u64, NODES * EACH);
    waits(asked, "the sums are there", || {
        let status = &crowd.experiment("crowd")["status"];
        status["faults"][0]["injected"] == total && status["summary"]["injected"] == pods
    });
    let text =
        format!("{NODES} agents wrote their counts within {wrote:.1?}; the sums stood {:.1?} later", written.elapsed());
    need::measured(&text);
    let status = &crowd.experiment("crowd")["status"];
    let fault = &status["faults"][0];
    assert_eq!((fault["seen"].as_u64(), fault["matched"].as_u64()), (Some(3 * total), Some(2 * total)));
    let (summary, phase) = (&status["summary"], &status["phase"]);
    assert_eq!((summary["selected"].as_u64(), summary["failed"].as_u64()), (Some(pods as u64), Some(0)), "{phase}");
}

/// Five rounds of a thousand answers, while somebody else writes into the same status: what it says is overwritten, and the
/// controller writes a few times a second at most.
fn storm(crowd: &Crowd, asked: &Asked, agents: &Agents, install: &Install) {
    let log = Log::here(&install.cluster);
    let begun = Instant::now();
    let path = format!("/apis/chaos-ebpf.dev/v1alpha1/namespaces/{}/experiments/crowd", crowd.scene.namespace);
    for round in 2..=6 {
        let lie = json!({ "status": { "phase": "Pending", "summary": { "selected": 1, "injected": 1, "failed": 7 } } });
        crowd.scene.cluster.send(&[Request::merge(format!("{path}/status"), lie)]).expect("another writer");
        let label = json!({ "metadata": { "labels": { "round": round.to_string() } } });
        crowd.scene.cluster.send(&[Request::merge(path.clone(), label)]).expect("another writer");
        agents.count(round);
    }
    sums_up(crowd, asked, agents, 6);
    let (took, writes, orders) = (begun.elapsed(), log.writes("experiments"), log.writes("injections"));
    need::measured(&format!(
        "{} answers in {took:.1?}: {writes} statuses and {orders} Injections were written",
        6 * NODES
    ));
    assert_eq!(orders, 0, "nothing new was asked of the nodes");
    let most = 10 + 2 * took.as_secs() as usize;
    assert!(writes <= most, "{writes} statuses in {took:?}, more than {most}");
    assert_eq!(crowd.experiment("crowd")["status"]["phase"], "Injected");
}

fn no_object_is_large(crowd: &Crowd) {
    for (resource, least) in [("experiments", 1), ("injections", NODES), ("peersets", NODES * EACH / 1000)] {
        let all = crowd.list(resource);
        assert!(all.len() >= least, "{} {resource}", all.len());
        let largest = all.iter().map(|one| one.to_string().len()).max().unwrap_or_default();
        need::measured(&format!("the largest of {} {resource} has {largest} bytes", all.len()));
        assert!(largest < MOST_BYTES, "{resource}: {largest} bytes");
    }
}

/// What an Experiment has made goes with it; the garbage collector sleeps.
fn goes_at_once(crowd: &Crowd, asked: &Asked) {
    asked.delete();
    let deleted = Instant::now();
    assert!(wait_until(LONG, || crowd.list("injections").is_empty()), "Injections stay");
    need::measured(&format!("{NODES} Injections were gone {:.1?} after their experiment", deleted.elapsed()));
}

/// Killed while it tells the nodes: the next one tells the rest, and no pod is forgotten.
fn a_leader_dies_halfway(crowd: &Crowd, install: &Install) {
    let asked = Asked::apply_spec(&crowd.scene, "halfway", &everything(900));
    waits(&asked, "some nodes were told", || crowd.list("injections").len() > NODES / 20);
    let (pid, _) = controller(install);
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("a leader");
    std::thread::sleep(Duration::from_millis(200)); // What it had sent arrives.
    let told = crowd.list("injections").len();
    need::measured(&format!("the leader was killed when {told} of {NODES} Injections were there"));
    let killed = Instant::now();
    let agents = crowd.agents();
    waits(&asked, "every node was told to start", || agents.saying("Injected") == NODES);
    need::measured(&format!("{:.1?} after it every node was told to start", killed.elapsed()));
    whole(crowd);
    assert_eq!(asked.status().0["summary"]["selected"].as_u64(), Some((NODES * EACH) as u64));
    goes_at_once(crowd, &asked);
}

/// What the API server was asked from a moment on.
struct Log {
    cluster: Cluster,
    from: u64,
}

impl Log {
    fn here(cluster: &Cluster) -> Self {
        let from = fs::metadata(cluster.state().join("audit.log")).map_or(0, |log| log.len());
        Self { cluster: cluster.clone(), from }
    }

    /// How often the controller wrote one of these.
    fn writes(&self, resource: &str) -> usize {
        let mut file = fs::File::open(self.cluster.state().join("audit.log")).expect("an audit log");
        file.seek(SeekFrom::Start(self.from)).expect("seek");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("text");
        let lines = text
            .lines()
            .filter(|line| line.contains(":chaos-controller\""))
            .filter_map(|line| serde_json::from_str(line).ok());
        let is_one = |line: &Value| {
            line["verb"] == "patch"
                && line["objectRef"]["resource"] == resource
                && line["user"]["username"] == "system:serviceaccount:chaos-system:chaos-controller"
        };
        lines.filter(is_one).count()
    }
}
