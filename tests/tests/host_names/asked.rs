//! Answers count where the target has asked for them: for itself, along the chain of aliases, and so many.

use super::*;

/// A nameserver by hand: sockets of `b`, and the target's one that asks.
struct ByHand {
    server: UdpSocket,
    other: UdpSocket,
    client: UdpSocket,
}

const ID: [u8; 2] = [0x12, 0x34];

impl ByHand {
    fn open(world: &World) -> Self {
        let at = |last: u8| {
            world.lab.hosts.b.ns.run(|| UdpSocket::bind((Ipv4Addr::new(10, 80, 0, last), 53))).expect("a nameserver")
        };
        let all = Self { server: at(53), other: at(54), client: world.client(Family::V4) };
        for socket in [&all.server, &all.client] {
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        }
        all
    }

    /// The client asks for `DB`; where it asks from.
    fn ask(&self) -> SocketAddr {
        let to = self.server.local_addr().expect("an address");
        self.client.send_to(&question(ID, DB), to).expect("a question");
        self.server.recv_from(&mut [0; 512]).expect("a question").1
    }

    /// Sends to the client's host, and returns when it has passed the host's interface.
    fn answer(&self, from: &UdpSocket, to: SocketAddr, message: &[u8]) {
        from.send_to(message, to).expect("an answer");
        // Behind it, on the same way.
        let client = self.client.local_addr().expect("an address").port();
        self.server.send_to(b"end", (to.ip(), client)).expect("a datagram");
        let mut buffer = [0; 4096];
        while self.client.recv(&mut buffer).expect("a datagram") != 3 {}
    }
}

fn meant(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 84, 7, last)
}

impl World {
    /// Which of these addresses `a` reaches.
    fn reached(&self, addresses: impl Iterator<Item = Ipv4Addr> + Clone) -> Vec<Ipv4Addr> {
        let socket = self.client(Family::V4);
        for ip in addresses.clone() {
            socket.send_to(ip.to_string().as_bytes(), (ip, PORT)).expect("a datagram");
        }
        let arrived = self.arrived();
        addresses.filter(|ip| arrived.contains_key(&ip.to_string())).collect()
    }
}

#[test]
fn answers_that_the_target_did_not_ask_for_change_nothing() {
    let Some(world) = World::open() else { return };
    let running = world.partition(&format!("peers: [ {{ host: {DB} }} ]"));
    let hand = ByHand::open(&world);
    let good = |last: u8| forged(ID, DB, DB, &[meant(last)]);
    let target = SocketAddr::new(world.lab.hosts.a.v4.into(), 4444);
    // Nobody asked; the id, the port, the server and the owner are not those.
    hand.answer(&hand.server, target, &good(0));
    let client = hand.ask();
    hand.answer(&hand.server, client, &forged([0x12, 0x35], DB, DB, &[meant(1)]));
    hand.answer(&hand.server, target, &good(2));
    hand.answer(&hand.other, client, &good(3));
    hand.answer(&hand.server, client, &forged(ID, BELOW, BELOW, &[meant(4)]));
    hand.answer(&hand.server, client, &forged(ID, DB, OTHER, &[meant(5)]));
    // That was its one answer: it needs another question.
    hand.answer(&hand.server, client, &good(6));
    let client = hand.ask();
    hand.answer(&hand.server, client, &good(7));
    let all = (0..8).map(meant);
    assert_eq!(world.reached(all), (0..7).map(meant).collect::<Vec<_>>());
    let report = running.finish();
    assert_eq!(report.only_fault().injected(), 1, "{}", report.json);
}

#[test]
fn a_fault_learns_so_many_addresses_and_says_what_it_left_out() {
    let Some(world) = World::open() else { return };
    let running = world.partition(&format!("ports: [{PORT}], peers: [ {{ host: {DB} }} ]"));
    let hand = ByHand::open(&world);
    let all: Vec<Ipv4Addr> = (0..300u16).map(|n| Ipv4Addr::new(10, 84, (n >> 8) as u8, n as u8)).collect();
    for some in all.chunks(75) {
        let client = hand.ask();
        hand.answer(&hand.server, client, &forged(ID, DB, DB, some));
    }
    let loopback = hand.ask();
    hand.answer(&hand.server, loopback, &forged(ID, DB, DB, &[Ipv4Addr::LOCALHOST]));
    let reached = world.reached(all.iter().copied());
    let report = running.finish();
    // Two are of our own look-ups.
    let known = all.len() - reached.len();
    assert_eq!((known, report.only_fault().injected()), (254, 254), "{}", report.json);
    assert_eq!(report.only_fault().json["hosts"][0]["unlearned"], 47, "{}", report.json);
    let warnings = report.json["warnings"].to_string();
    assert!(warnings.contains("47 times an address was not learned"), "{warnings}");
    assert!(!report.json.to_string().contains("127.0.0.1"), "{}", report.json);
}

/// What one target is told, by an answer or by its own files, is no other's.
#[test]
fn targets_learn_for_themselves() {
    let Some(world) = World::open() else { return };
    world.file("hosts", "10.84.9.9 filed.example.com\n");
    let fault = "name: f, network: { direction: egress, match: { ports: [7000], peers: [ { host: db.example.com }, \
                 { host: filed.example.com } ] }, partition: true }, optional: true";
    let a = world.lab.hosts.a.v4;
    let experiment = Experiment::on(&format!("pid: {}", world.process.child.id()))
        .target(&format!("netns: {}", world.lab.hosts.b.ns.name()))
        .fault(fault);
    let running = world.lab.chaos.run(&experiment);
    let hand = ByHand::open(&world);
    let client = hand.ask();
    hand.answer(&hand.server, client, &forged(ID, DB, DB, &[a, meant(1)]));
    assert_eq!(world.reached([meant(1), Ipv4Addr::new(10, 84, 9, 9), meant(2)].into_iter()), [meant(2)]);
    // From `b` to the same addresses; those of the files are `b`'s own.
    let sink = world.lab.hosts.a.ns.run(|| UdpSocket::bind(Family::V4.any(PORT))).expect("a sink");
    sink.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    world.lab.hosts.a.ns.ip("addr add 10.84.9.9/32 dev lo");
    world.lab.hosts.b.ns.ip(&format!("route add 10.84.9.9/32 via {a}"));
    for ip in [a, Ipv4Addr::new(10, 84, 9, 9)] {
        let socket = world.lab.hosts.b.ns.run(|| UdpSocket::bind(Family::V4.any(0))).expect("a socket");
        socket.send_to(ip.to_string().as_bytes(), (ip, PORT)).expect("a datagram");
        let mut buffer = [0; 64];
        let size = sink.recv(&mut buffer).unwrap_or_else(|error| panic!("b to {ip}: {error}"));
        assert_eq!(buffer[..size], *ip.to_string().as_bytes());
    }
    running.finish();
}

/// Docker's resolver is asked at another port than 53, and answers from 53, as far as loopback sees.
#[test]
fn a_resolver_on_loopback_may_be_asked_at_another_port() {
    let Some(world) = World::open() else { return };
    let running = world.partition(&format!("ports: [{PORT}], peers: [ {{ host: {DB} }} ]"));
    let a = &world.lab.hosts.a.ns;
    let [behind, resolver] =
        [5300, 53].map(|port| a.run(|| UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 11), port))).expect("a resolver"));
    let client = world.client(Family::V4);
    client.send_to(&question(ID, DB), behind.local_addr().expect("an address")).expect("a question");
    let (_, from) = behind.recv_from(&mut [0; 512]).expect("a question");
    resolver.send_to(&forged(ID, DB, DB, &[meant(1)]), from).expect("an answer");
    client.recv(&mut [0; 512]).expect("an answer");
    assert_eq!(world.reached([meant(1), meant(2)].into_iter()), [meant(2)]);
    running.finish();
}
