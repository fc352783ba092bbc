//! etcd, the API server, the controller manager and the scheduler.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    daemon::{self, Daemon},
    kubectl,
    namespace::inside,
    state::{self, CONTROL_PLANE, SERVER},
};
use crate::process;

const KEY: &str = "cluster.key";
/// Of [`KEY`], signed by itself.
pub const CERTIFICATE: &str = "cluster.crt";
/// The API server fills etcd before it is ready.
const READY: Duration = Duration::from_secs(90);

/// Starts them and waits for the API server.
pub fn start() -> Result<Vec<Daemon>> {
    make_key()?;
    let token = fs::read_to_string("/proc/sys/kernel/random/uuid").context("make a token")?;
    let token = token.trim();
    state::write(&state::path("tokens.csv"), &format!("{token},admin,admin,system:masters\n"))?;
    state::write(&state::path("audit.yaml"), include_str!("templates/audit.yaml"))?;
    let text = include_str!("templates/kubeconfig.yaml").replace("@SERVER@", SERVER).replace("@TOKEN@", token);
    state::write(&state::kubeconfig(), &text.replace("@CA@", &at("pki/apiserver.crt")))?;
    let mut daemons = vec![launch("etcd", "etcd", &etcd())?];
    daemons.push(kubernetes("kube-apiserver", &api_server())?);
    daemon::wait("the API server is ready", READY, &mut daemons, || kubectl::capture(&["get", "--raw", "/readyz"]))?;
    let client = format!("--leader-elect=false --kubeconfig={}", state::kubeconfig().display());
    let manager = format!(
        "{client} --use-service-account-credentials --service-account-private-key-file={} --root-ca-file={}",
        at(KEY),
        at("pki/apiserver.crt"),
    );
    daemons.push(kubernetes("kube-controller-manager", &manager)?);
    daemons.push(kubernetes("kube-scheduler", &client)?);
    Ok(daemons)
}

/// One key for two purposes: it signs the tokens of service accounts, and its certificate tells kubelets the API server.
fn make_key() -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=chaos-cluster"]);
    openssl.arg("-keyout").arg(at(KEY)).arg("-out").arg(at(CERTIFICATE));
    process::capture(&mut openssl).map(drop)
}

fn at(name: &str) -> String {
    state::path(name).display().to_string()
}

fn etcd() -> String {
    format!("--data-dir={} --unsafe-no-fsync --log-level=warn", at("etcd"))
}

fn api_server() -> String {
    let (key, certificate) = (at(KEY), at(CERTIFICATE));
    format!(
        "--etcd-servers=http://127.0.0.1:2379 --cert-dir={} --service-account-key-file={key} \
         --service-account-signing-key-file={key} --service-account-issuer=https://kubernetes.default.svc \
         --kubelet-client-key={key} --kubelet-client-certificate={certificate} --token-auth-file={} \
         --authorization-mode=Node,RBAC --service-cluster-ip-range=10.96.0.0/16 --advertise-address={SERVER} \
         --bind-address=0.0.0.0 --allow-privileged=true --kubelet-preferred-address-types=InternalIP \
         --audit-policy-file={} --audit-log-path={}",
        at("pki"),
        at("tokens.csv"),
        at("audit.yaml"),
        at("audit.log"),
    )
}

fn kubernetes(program: &str, words: &str) -> Result<Daemon> {
    launch(program, &state::program(program).display().to_string(), words)
}

fn launch(name: &str, program: &str, words: &str) -> Result<Daemon> {
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    inside(CONTROL_PLANE, || Daemon::start(name, &state::path(""), program, &words))
}
