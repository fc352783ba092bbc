//! On a Kubernetes cluster: a pod whose connections a sidecar takes over, as service meshes do: an init container redirects what the app sends
//! and what is sent to it, and a real proxy passes it on. What is hit is seen by the peer at the other end.

use std::{
    io::Write,
    net::{IpAddr, TcpListener},
    time::Duration,
};

use chaos_tests::{
    clock::wait_until,
    cluster::{Asked, Install, Pod, Scene, container},
    need,
};
use serde_json::{Value, json};

/// Where the peer listens.
const PORT: u16 = 7777;
/// For a connection to come, of which the app makes twenty a second.
const SOON: Duration = Duration::from_secs(20);
/// In which none comes that is cut off.
const SILENCE: Duration = Duration::from_secs(3);
/// The proxy's user, whose own connections are not redirected.
const PROXY: u32 = 4242;

const TAKEN_OVER: &str = "taken over by a local proxy: container proxy (haproxy) at 127.0.0.1:15001";

const RULES: &str = "table ip mesh {
  chain out {
    type nat hook output priority -100
    oifname \"lo\" return
    meta skuid 4242 return
    meta l4proto tcp redirect to :15001
  }
  chain in {
    type nat hook prerouting priority -100
    tcp dport 80 redirect to :15006
  }
}";

/// It asks the kernel where the app wanted to go (SO_ORIGINAL_DST).
const CONFIGURATION: &str = "defaults
  mode tcp
  timeout connect 2s
  timeout client 5s
  timeout server 5s
listen outbound
  bind 127.0.0.1:15001
  server original 0.0.0.0
listen inbound
  bind 0.0.0.0:15006
  server app 127.0.0.1:80
";

/// A container that has the machine's own programs beside those of its image.
fn with_programs(name: &str, script: &str) -> Value {
    let mut one = container(name, &["-c", script]);
    one["command"] = json!(["/usr/bin/bash"]);
    let mounts =
        ["usr", "lib", "lib64"].map(|name| json!({ "name": name, "mountPath": format!("/{name}"), "readOnly": true }));
    one["volumeMounts"] = json!(mounts);
    one
}

/// A pod whose app asks the peer all the time.
fn asking(scene: &Scene, name: &str, peer: &str) -> Value {
    let mut pod = scene.pod(name, name, "node1");
    let asks = format!("exec 3<>/dev/tcp/{peer}/{PORT} && read -r -t 1 <&3");
    let app = with_programs("app", &format!("/bin/chaos-pod serve 80 & while sleep 0.05; do ({asks}); done"));
    pod["spec"]["containers"] = json!([app]);
    let folder = |name: &str, path: &str| json!({ "name": name, "hostPath": { "path": path } });
    pod["spec"]["volumes"] = json!([folder("usr", "/usr"), folder("lib", "/usr/lib"), folder("lib64", "/usr/lib64")]);
    pod
}

/// Such a pod behind a proxy.
fn meshed(scene: &Scene, name: &str, peer: &str) -> Value {
    let mut pod = asking(scene, name, peer);
    let mut redirect = with_programs("redirect", &format!("/usr/sbin/nft '{RULES}'"));
    redirect["securityContext"] = json!({ "capabilities": { "add": ["NET_ADMIN"] } });
    let mut proxy = with_programs("proxy", &format!("exec /usr/sbin/haproxy -f <(echo '{CONFIGURATION}')"));
    proxy["securityContext"] = json!({ "runAsUser": PROXY });
    pod["spec"]["initContainers"] = json!([redirect]);
    pod["spec"]["containers"].as_array_mut().expect("containers").push(proxy);
    pod
}

/// The peer's end of the app's connections.
struct Peer(TcpListener);

impl Peer {
    fn of(pod: &Pod) -> Self {
        let listener = pod.in_network(|| TcpListener::bind(("0.0.0.0", PORT)).expect("a listener"));
        listener.set_nonblocking(true).expect("a listener that does not wait");
        Self(listener)
    }

    /// Does a connection from there come, made from now on?
    fn hears(&self, from: &str, patience: Duration) -> bool {
        let from: IpAddr = from.parse().expect("an address");
        while self.0.accept().is_ok() {}
        wait_until(patience, || match self.0.accept() {
            Ok((mut connection, address)) => {
                let _closed = writeln!(connection, "here");
                address.ip() == from
            }
            Err(_) => false,
        })
    }
}

#[test]
fn an_app_behind_a_sidecar_is_hit_at_the_sidecar_and_the_verdict_names_it() {
    let Some(cluster) = need::cluster() else { return };
    let _installed = Install::here(&cluster);
    let scene = Scene::new(&cluster);
    let [peer_pod, beside] = <[Pod; 2]>::try_from(
        scene.start(&[scene.pod("peer", "peer", "node2"), scene.pod("beside", "beside", "node1")]),
    )
    .expect("two pods");
    let peer = Peer::of(&peer_pod);
    let pod = scene.start(&[meshed(&scene, "meshed", &peer_pod.ip)]).remove(0);
    assert!(peer.hears(&pod.ip, SOON), "the app does not reach its peer");
    assert!(peer_pod.asks(&pod.ip).is_some(), "the peer does not reach the app");
    // The last one: what the proxy answers bears the peer's address again when it comes back to the app.
    let cases = [
        ("egress", Some("app"), Some(true)),
        ("egress", Some("proxy"), Some(false)),
        ("egress", None, Some(false)),
        ("both", Some("app"), None),
    ];
    for (direction, container, wanted) in cases {
        let mut pods = json!({ "labelSelector": { "matchLabels": { "app": "meshed" } } });
        container.into_iter().for_each(|name| pods["containers"] = json!([name]));
        let asked = Asked::apply_spec(&scene, "cut", &cut(direction, &pods));
        asked.await_injected();
        let heard = peer.hears(&pod.ip, SILENCE);
        assert!(beside.reaches(&peer_pod.ip), "it was not selected");
        let over = asked.await_over();
        let case = format!("{direction} of {container:?}: heard {heard}, {}: {}", over.verdict(), over.reason());
        need::measured(&case);
        assert!(wanted.is_none_or(|wanted| wanted == heard), "{case}");
        if heard {
            assert_eq!(over.verdict(), "NoEffect", "{case}");
            let says = over.reason().contains(TAKEN_OVER)
                && over.reason().contains("select container proxy, or the whole pod");
            assert!(says, "{case}");
        } else {
            assert_eq!((over.verdict(), over.reason()), ("Pass", ""), "{case}");
        }
        asked.delete();
        assert!(peer.hears(&pod.ip, SOON), "{case}: the app does not reach its peer any more");
    }
    a_pass_names_it(&scene, &peer, &peer_pod, &pod);
}

/// Beside one that is hit it is named, too, and also where it has gone before the end, and its proxy with it.
fn a_pass_names_it(scene: &Scene, peer: &Peer, peer_pod: &Pod, meshed: &Pod) {
    let plain = scene.start(&[asking(scene, "plain", &peer_pod.ip)]).remove(0);
    assert!(peer.hears(&plain.ip, SOON), "the app without a proxy does not reach its peer");
    let apps = json!([{ "key": "app", "operator": "In", "values": ["meshed", "plain"] }]);
    let pods = json!({ "labelSelector": { "matchExpressions": apps }, "containers": ["app"] });
    let names = format!("cut: no effect on {}/meshed/app; connections such as {}:", scene.namespace, meshed.ip);
    for (name, leaves) in [("stays", false), ("leaves", true)] {
        let asked = Asked::apply_spec(scene, name, &cut("egress", &pods));
        asked.await_injected();
        assert!(peer.hears(&meshed.ip, SILENCE), "behind the proxy it is not hit");
        if leaves {
            scene.cluster.kubectl(&format!("delete pod -n {} meshed", scene.namespace));
        } else {
            assert!(!peer.hears(&plain.ip, SILENCE), "without one it is hit");
        }
        let over = asked.await_over();
        let (verdict, reason) = (over.verdict(), over.reason());
        assert_eq!(verdict, "Pass", "{reason}");
        let proxy = if leaves { "127.0.0.1:15001" } else { TAKEN_OVER };
        assert!(reason.starts_with(&names) && reason.contains(proxy) && !reason.contains("plain"), "{reason}");
        let targets = over.0["targets"].as_array().expect("targets");
        let is_gone = targets.iter().any(|one| one["pod"] == "meshed" && one["state"] == "Gone");
        assert_eq!(is_gone, leaves, "{targets:?}");
        asked.delete();
    }
}

/// Cuts pods off from the peer.
fn cut(direction: &str, pods: &Value) -> Value {
    let peers = json!({ "labelSelector": { "matchLabels": { "app": "peer" } } });
    let network = json!({ "direction": direction, "match": { "peers": [{ "pods": peers }] }, "partition": true });
    json!({ "duration": "6s", "selector": { "pods": pods }, "faults": [{ "name": "cut", "network": network }] })
}
