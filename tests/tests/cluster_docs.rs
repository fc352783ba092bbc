//! The page with the first steps in a cluster: what it has a reader type prints what it says.

use chaos_tests::{cluster::Install, docs::Page, need, product::Chaos};

/// What the page's pods run, and what the tests' pods do instead: there is no registry here. The address of a Service is in the
/// environment of a pod that is made after it.
const PODS: [(&str, &str); 3] = [
    ("image: busybox:1.37", "image: localhost/chaos-pod:1\n      imagePullPolicy: Never"),
    (r#"command: [httpd, -f, -p, "80"]"#, r#"command: [/bin/chaos-pod, serve, "80"]"#),
    (
        r#"command: [sh, -c, "while true; do wget -q -T 1 -O /dev/null http://db; sleep 1; done"]"#,
        r#"command: [/bin/chaos-pod, knock, "$(DB_SERVICE_HOST)", "80", "100"]"#,
    ),
];

#[test]
fn the_first_steps_in_a_cluster_are_as_the_page_says() {
    let Some(cluster) = need::cluster() else { return };
    if !need::product() {
        return;
    }
    let chaos = Chaos::find().expect("it was there");
    let _install = Install::here(&cluster);
    let mut page = Page::read("getting-started/cluster.md");
    for (old, new) in PODS {
        let (_, pods) = page.files.iter_mut().find(|(name, _)| name == "shop.yaml").expect("the pods");
        assert!(pods.contains(old), "{old} is not in {pods}");
        *pods = pods.replace(old, new);
    }
    let (kubectl, config) = (cluster.state().join("bin/kubectl"), cluster.kubeconfig());
    // Also where the page fails in its middle.
    let end = "trap 'kubectl delete namespace shop --ignore-not-found > /dev/null 2>&1' EXIT";
    page.replay(&format!(
        "export KUBECONFIG='{}'\nkubectl() {{ if [ \"$1\" = chaos ]; then '{}' kubectl \"${{@:2}}\"; else '{}' \"$@\"; fi; }}\n{end}",
        config.display(),
        chaos.path().display(),
        kubectl.display(),
    ));
}
