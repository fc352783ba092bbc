//! The control plane: etcd, API server, controller manager and scheduler, in a network namespace with the switch between the nodes.

use std::process::Command;

use anyhow::Result;

use super::{CONTROL, Cluster, in_netns, ip, wait_until, write};
use crate::process;

/// The token of the admin: the cluster lives for a test, and only on this machine.
const TOKEN: &str = "admin";
/// The machine's own address on the switch, so that its programs reach the API server and the pods.
const HOST: &str = "10.240.0.254/24";
/// The machine's end of the cable.
pub const CABLE: &str = "chaos-host";
/// Where pods are.
pub const PODS: &str = "10.244.0.0/16";
/// The virtual addresses of Services.
const SERVICES: &str = "10.96.0.0/16";

/// Everything that a request did, but not its body: shows which rights are used.
const AUDIT: &str =
    "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{ level: Metadata }]\n";

impl Cluster {
    pub(super) fn start_control(&self) -> Result<()> {
        Self::network()?;
        let dir = self.dir.display();
        process::capture(Command::new("openssl").args(["genrsa", "-out", &format!("{dir}/sa.key"), "2048"]))?;
        write(&self.dir.join("tokens.csv"), &format!("{TOKEN},admin,admin,system:masters\n"))?;
        write(&self.dir.join("audit.yaml"), AUDIT)?;
        self.start_etcd()?;
        self.start_api_server()?;
        write(&self.kubeconfig(), &kubeconfig(&format!("{dir}/pki/apiserver.crt")))?;
        wait_until("the API server is ready", || self.asks(&["get", "--raw", "/readyz"]))?;
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig().display());
        let mut manager = in_netns(CONTROL, self.programs.join("kube-controller-manager"));
        manager.args([&kubeconfig, "--leader-elect=false", "--use-service-account-credentials"]);
        manager.arg(format!("--service-account-private-key-file={dir}/sa.key"));
        manager.arg(format!("--root-ca-file={dir}/pki/apiserver.crt"));
        self.spawn("controller-manager", &mut manager)?;
        let mut scheduler = in_netns(CONTROL, self.programs.join("kube-scheduler"));
        self.spawn("scheduler", scheduler.args([&kubeconfig, "--leader-elect=false"]))
    }

    fn network() -> Result<()> {
        ip(&format!("netns add {CONTROL}"))?;
        ip(&format!("-n {CONTROL} link set lo up"))?;
        ip(&format!("-n {CONTROL} link add br0 type bridge"))?;
        ip(&format!("-n {CONTROL} addr add 10.240.0.1/24 dev br0"))?;
        ip(&format!("-n {CONTROL} link set br0 up"))?;
        ip(&format!("link add {CABLE} type veth peer name host netns {CONTROL}"))?;
        ip(&format!("-n {CONTROL} link set host master br0 up"))?;
        ip(&format!("addr add {HOST} dev {CABLE}"))?;
        ip(&format!("link set {CABLE} up"))?;
        ip(&format!("route add {PODS} via 10.240.0.1"))
    }

    fn start_etcd(&self) -> Result<()> {
        let mut etcd = in_netns(CONTROL, "etcd");
        // What it loses in a power cut nobody misses.
        etcd.arg("--data-dir").arg(self.dir.join("etcd")).args(["--unsafe-no-fsync", "--log-level=warn"]);
        self.spawn("etcd", &mut etcd)
    }

    /// Also after it was stopped.
    pub(super) fn start_api_server(&self) -> Result<()> {
        let dir = self.dir.display();
        let mut server = in_netns(CONTROL, self.programs.join("kube-apiserver"));
        server.args(["--etcd-servers=http://127.0.0.1:2379", "--authorization-mode=Node,RBAC"]);
        server.args(["--advertise-address=10.240.0.1", "--bind-address=0.0.0.0", "--allow-privileged=true"]);
        server.args(["--service-account-issuer=https://kubernetes.default.svc"]);
        server
            .args(["--kubelet-preferred-address-types=InternalIP", &format!("--service-cluster-ip-range={SERVICES}")]);
        server.args([format!("--cert-dir={dir}/pki"), format!("--token-auth-file={dir}/tokens.csv")]);
        server.args([format!("--service-account-key-file={dir}/sa.key")]);
        server.args([format!("--service-account-signing-key-file={dir}/sa.key")]);
        server.args([format!("--audit-policy-file={dir}/audit.yaml"), format!("--audit-log-path={dir}/audit.log")]);
        self.spawn("apiserver", &mut server)
    }
}

fn kubeconfig(authority: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: cluster\nclusters:\n- name: cluster\n  cluster:\n    server: \
         https://10.240.0.1:6443\n    certificate-authority: {authority}\nusers:\n- name: admin\n  user:\n    token: \
         {TOKEN}\ncontexts:\n- name: cluster\n  context: {{ cluster: cluster, user: admin }}\n"
    )
}
