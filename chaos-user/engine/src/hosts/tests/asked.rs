//! What makes a record one of those that count: the question, the owner, the address, the number.

use super::*;

/// The target's question makes an answer one: its server, its port, its id, its name, within seconds, once.
#[test]
fn only_what_was_asked_for_counts() {
    testing::root_or_return!();
    let mut reader = Reader::following(&["*.example.com"]);
    let name = "db.example.com";
    for frame in [Response::to(name).a(1).v4(), Response::to(name).a(1).v6()] {
        let (at, size) = if frame[14] >> 4 == 4 { (26, 4) } else { (22, 16) };
        let udp = at + 2 * size;
        reader.clear();
        reader.receive(&frame);
        // The server, the port that asked, the id.
        for at in [at + size - 1, udp + 3, udp + 9] {
            reader.ask(&question(&frame));
            let mut other = frame.clone();
            other[at] ^= 1;
            reader.receive(&other);
        }
        // Another name, in the place of the one that was asked for.
        let mut other = frame.clone();
        other[udp + 22] = b'c';
        reader.receive(&other);
        assert_eq!(reader.set(SET), [""; 0]);
        reader.receive(&frame);
        assert_eq!(reader.set(SET), ["192.0.2.1"]);
    }
    // One question has one answer, and what another name's question was is none.
    let again = Response::to(name).a(2).v4();
    reader.receive(&again);
    reader.ask(&question(&Response::to("other.example.net").v4()));
    reader.receive(&again);
    assert_eq!(reader.set(SET), ["192.0.2.1"]);
    reader.read(&again);
    assert_eq!(reader.set(SET), ["192.0.2.1", "192.0.2.2"]);
}

#[test]
fn records_of_other_owners_are_none_of_the_names() {
    testing::root_or_return!();
    let mut reader = Reader::open();
    let name = "db.example.com";
    let foreign = |owner: &[u8]| Response::to(name).record(owner, A, 1, &[192, 0, 2, 9]).a(1);
    for owner in [wire("evil.example.com"), wire("example.com"), wire("db.example.com.evil"), wire("dbexample.com")] {
        reader.learns(&[name], &foreign(&owner), &["192.0.2.1"]);
    }
    // A pointer into the question's name, and one forwards.
    reader.learns(&[name], &foreign(&[0xc0, 15]), &["192.0.2.1"]);
    reader.learns(&[name], &foreign(&[0xc0, 250]), &[]);
    // Once the name is an alias, its own addresses are none; an alias of something else leads nowhere.
    let alias = Response::to(name).record(SAME, CNAME, 1, &wire("x.example.net")).a(2);
    reader.learns(&[name], &alias.record(&wire("X.example.net"), A, 1, &[192, 0, 2, 3]), &["192.0.2.3"]);
    let other = Response::to(name).record(&wire("c.example.com"), CNAME, 1, &wire("x.example.net")).a(2);
    reader.learns(&[name], &other.record(&wire("x.example.net"), A, 1, &[192, 0, 2, 3]), &["192.0.2.2"]);
}

#[test]
fn what_no_name_may_stand_for_is_counted() {
    testing::root_or_return!();
    let mut reader = Reader::following(&["db.example.com"]);
    let never = ["192.0.2.7".parse().unwrap(), "2001:db8::9".parse().unwrap()];
    sets::write_never(&mut reader.datapath, &never.into()).unwrap();
    // Another process, which sees none of them, takes none away.
    sets::write_never(&mut reader.datapath, &["192.0.2.8".parse().unwrap()].into()).unwrap();
    let mut response = Response::to("db.example.com").a(7).a(1).record(SAME, AAAA, 1, &V6);
    for v4 in [[127, 0, 0, 1], [127, 9, 9, 9], [0, 0, 0, 0]] {
        response = response.record(SAME, A, 1, &v4);
    }
    for last in [0, 1] {
        response = response.record(SAME, AAAA, 1, &u128::to_be_bytes(last));
    }
    reader.read(&response.v4());
    assert_eq!((reader.set(SET), reader.failed()), (vec!["192.0.2.1".to_owned()], 7));
}

#[test]
fn a_name_learns_so_many_addresses_and_no_more() {
    testing::root_or_return!();
    let mut reader = Reader::following(&["db.example.com"]);
    reader.follow(8, "*.example.com");
    for high in 0..5 {
        let many = (0..60)
            .fold(Response::to("db.example.com"), |response, low| response.record(SAME, A, 1, &[198, 51, high, low]));
        reader.read(&many.v4());
    }
    assert_eq!((reader.set(SET).len(), reader.set(8).len(), reader.failed()), (256, 256, 2 * 44));
    let host = "db.example.com".parse().unwrap();
    learn(&mut reader.datapath, SET, &host, NETNS, "10.0.0.1".parse().unwrap()).unwrap();
    assert_eq!(addresses(&reader.datapath, SET, &host).unlearned, 45);
    sets::remove(&mut reader.datapath, &[SET, 8]).unwrap();
    assert_eq!((reader.datapath.hosts.keys().count(), reader.datapath.learned.keys().count()), (0, 0));
}

/// Whatever bytes come, nothing is learned that is not in them.
#[test]
fn garbage_yields_nothing_that_is_not_in_it() {
    testing::root_or_return!();
    let mut reader = Reader::following(&["*.example.com", "db.example.com"]);
    let mut seed = 1;
    let mut random = |below: usize| {
        seed += 1;
        (mix(seed) % below as u64) as usize
    };
    let base =
        Response::to("db.example.com").a(1).record(SAME, AAAA, 1, &V6).record(SAME, CNAME, 1, &wire("x.example.net"));
    let mut total = 0;
    for round in 0..10_000 {
        let mut response = Response { bytes: base.bytes.clone() };
        if round % 4 == 0 {
            response.bytes = (0..random(600)).map(|_| random(256) as u8).collect();
        } else {
            for _ in 0..=random(6) {
                let at = random(response.bytes.len());
                response.bytes[at] = random(256) as u8;
            }
        }
        let mut frame = if round % 2 == 0 { response.v4() } else { response.v6() };
        if round % 3 == 0 {
            let at = 14 + random(frame.len() - 14);
            frame[at] = random(256) as u8;
        }
        let whole = if frame[12] == 8 { base.v4() } else { base.v6() };
        reader.ask(&question(&whole));
        reader.receive(&frame);
        for key in reader.datapath.learned.keys().filter_map(Result::ok).collect::<Vec<_>>() {
            let v6 = u32::from_be(key.addr.set) & SET_V6 != 0;
            let bytes = &key.addr.addr[..if v6 { 16 } else { 4 }];
            assert!(
                frame.windows(bytes.len()).any(|window| window == bytes),
                "{} from {frame:x?}",
                sets::address(&key.addr)
            );
            total += 1;
        }
        reader.clear();
    }
    assert!(total > 1000, "the mutations should leave many answers readable: {total}");
}
