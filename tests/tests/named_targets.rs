//! Targets by the names that systemd and container runtimes give to cgroups: who is inside is hit, and neither the neighbour
//! nor the container's own monitor.

use std::sync::atomic::{AtomicU32, Ordering};

use chaos_tests::lab::Lab;
use chaos_tests::need;
use chaos_tests::net::{Cgroup, Family};
use chaos_tests::product::{Experiment, Report};
use chaos_tests::scene::PORT;
use chaos_tests::traffic::sink::{Sink, send};
use chaos_tests::traffic::source::Source;

const COUNT: usize = 100;

/// A direction, an action, and how many datagrams are left of those that the target sends and of those that are sent to it.
type Strike = (&'static str, &'static str, (usize, usize));
const OUT: Strike = ("egress", "partition: true", (0, COUNT));
const IN: Strike = ("ingress", "partition: true", (COUNT, 0));
const TWICE: Strike = ("egress", "duplicate: { percent: 100 }", (2 * COUNT, COUNT));
const NOTHING_LEFT: Strike = ("both", "loss: { percent: 100 }", (0, 0));

/// A process in a cgroup that sends to `b` and one that `b` can send to, in the namespace of host `a`.
struct Service {
    source: Source,
    sink: Sink,
    port: u16,
    cgroup: Cgroup,
}

impl Service {
    fn start(lab: &Lab, cgroup: Cgroup) -> Self {
        static NEXT_PORT: AtomicU32 = AtomicU32::new(7100);
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed) as u16;
        let ns = Some(&lab.hosts.a.ns);
        let peer = lab.hosts.b.at(Family::V4, PORT).to_string();
        let sends = [env!("CARGO_BIN_EXE_chaos-datagrams"), &peer, &COUNT.to_string()];
        let receives = [env!("CARGO_BIN_EXE_chaos-sink"), &port.to_string()];
        let (source, sink) = (Source::start(cgroup.command(ns, &sends)), Sink::start(cgroup.command(ns, &receives)));
        Self { source, sink, port, cgroup }
    }

    /// How many of `COUNT` datagrams arrive from it, and how many at it.
    fn passes(&mut self, lab: &Lab) -> (usize, usize) {
        let out = self.source.arrivals(&lab.hosts.b.ns, PORT);
        send(&lab.hosts.b.ns, lab.hosts.a.at(Family::V4, self.port), COUNT as u64);
        (out, self.sink.count() as usize)
    }
}

/// A name of 64 hexadecimal digits that no other test has.
fn container_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}{number:04x}{}", std::process::id(), "5eed".repeat(13))
}

/// A cgroup below which services stand, as below `system.slice`, on a machine where cgroups can be targets.
fn open() -> Option<(Cgroup, Lab)> {
    let lab = Lab::open()?;
    need::cgroup2().then(|| (Cgroup::new("slice"), lab))
}

/// Strikes a target by its name, and holds what arrives from and at it and its neighbours against that.
#[track_caller]
fn assert_only_the_target_is_hit(
    lab: &Lab,
    target: &str,
    strikes: &[Strike],
    inside: &mut Service,
    beside: &mut [Service],
) {
    let all = (COUNT, COUNT);
    for &(direction, action, left) in strikes {
        let what = format!("{target}: {direction}, {action}");
        let fault = format!("name: f, network: {{ direction: {direction}, match: {{ protocol: udp }}, {action} }}");
        let running = lab.chaos.run(&Experiment::on(target).fault(&fault));
        assert_eq!(inside.passes(lab), left, "{what}: from it and at it");
        for neighbour in &mut *beside {
            assert_eq!(neighbour.passes(lab), all, "{what}: its neighbour {}", neighbour.cgroup.name());
        }
        let report = running.finish();
        let hit = if direction == "both" { 2 * COUNT } else { COUNT };
        assert_eq!(report.only_fault().injected(), hit as u64, "{what}: {}", report.json);
        assert_target(&report, target, inside);
        assert_eq!(inside.passes(lab), all, "{what}: after the end");
    }
}

/// The report says which cgroup was meant.
#[track_caller]
fn assert_target(report: &Report, target: &str, inside: &Service) {
    let kind = target.split(':').next().expect("a kind");
    let said = &report.json["targets"][0];
    assert_eq!((said["kind"].as_str(), said["cgroupId"].as_u64()), (Some(kind), Some(inside.cgroup.id())), "{said}");
}

#[test]
fn a_unit_is_hit_and_not_its_neighbour() {
    let Some((slice, lab)) = open() else { return };
    let unit = format!("chaos-test-{}", std::process::id());
    // A name that begins with the same words is another unit.
    let others = [format!("{unit}-other.service"), format!("{unit}.scope"), format!("other-{unit}.service")];
    let mut inside = Service::start(&lab, slice.child(&format!("{unit}.service")));
    let mut beside: Vec<Service> = others.iter().map(|name| Service::start(&lab, slice.child(name))).collect();
    for name in [format!("unit: {unit}.service"), format!("unit: {unit}")] {
        assert_only_the_target_is_hit(&lab, &name, &[OUT, IN, TWICE, NOTHING_LEFT], &mut inside, &mut beside);
    }
}

#[test]
fn a_template_instance_is_a_unit_too() {
    let Some((slice, lab)) = open() else { return };
    let unit = format!("chaos-test-{}", std::process::id());
    let [mut inside, beside] =
        ["1", "2"].map(|instance| Service::start(&lab, slice.child(&format!("{unit}@{instance}.service"))));
    let target = format!("unit: \"{unit}@1.service\"");
    assert_only_the_target_is_hit(&lab, &target, &[OUT, IN], &mut inside, &mut [beside]);
}

#[test]
fn a_container_is_hit_and_not_its_neighbour() {
    let Some((slice, lab)) = open() else { return };
    for layout in ["docker-{}.scope", "cri-containerd-{}.scope", "crio-{}.scope", "libpod-{}.scope", "{}"] {
        let (id, other) = (container_id(), container_id());
        let place = |layout: &str, id: &str| Service::start(&lab, slice.child(&layout.replace("{}", id)));
        let mut inside = place(layout, &id);
        let mut beside = [place(layout, &other), place("crio-conmon-{}.scope", &id)];
        let strikes: &[Strike] = if layout == "{}" { &[TWICE, NOTHING_LEFT] } else { &[OUT, IN] };
        assert_only_the_target_is_hit(&lab, &format!("container: \"{id}\""), strikes, &mut inside, &mut beside);
    }
}

#[test]
fn a_container_is_known_by_a_unique_beginning_of_its_id() {
    let Some((slice, lab)) = open() else { return };
    let ids = [container_id(), container_id()];
    let [mut inside, mut beside] =
        [0, 1].map(|index: usize| Service::start(&lab, slice.child(&format!("docker-{}.scope", ids[index]))));
    let cut = "name: f, network: { match: { protocol: udp }, partition: true }";
    for name in [ids[0][..12].to_owned(), format!("docker://{}", ids[0])] {
        let running = lab.chaos.run(&Experiment::on(&format!("container: \"{name}\"")).fault(cut));
        assert_eq!((inside.passes(&lab).0, beside.passes(&lab).0), (0, COUNT), "{name}");
        running.finish();
    }
    // Eight digits are the same in both.
    let ambiguous = Experiment::on(&format!("container: \"{}\"", &ids[0][..8])).duration("2s").fault(cut);
    let output = lab.chaos.run_to_end(&ambiguous, &[]).expect_code(2);
    assert!(ids.iter().all(|id| output.text().contains(&id[..12])), "both are named: {}", output.text());
    assert_eq!((inside.passes(&lab).0, beside.passes(&lab).0), (COUNT, COUNT));
}
