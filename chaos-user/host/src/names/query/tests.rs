//! Against nameservers of a few lines on loopback.

use super::*;
use hickory_proto::rr::{
    Record,
    rdata::{A, AAAA, CNAME},
};
use std::thread;

/// A nameserver that answers `count` datagrams, each by `answer`.
fn server(count: usize, answer: impl Fn(&Message) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        for _ in 0..count {
            let (size, from) = socket.recv_from(&mut buffer).unwrap();
            for bytes in answer(&Message::from_vec(&buffer[..size]).unwrap()) {
                socket.send_to(&bytes, from).unwrap();
            }
        }
    });
    address
}

fn reply(query: &Message, code: ResponseCode, data: Vec<RData>) -> Vec<u8> {
    let mut message = Message::response(query.metadata.id, OpCode::Query);
    message.metadata.response_code = code;
    message.add_query(query.queries[0].clone());
    let mut owner = query.queries[0].name().clone();
    for data in data {
        message.add_answer(Record::from_rdata(owner.clone(), 1, data.clone()));
        if let RData::CNAME(alias) = data {
            owner = alias.0;
        }
    }
    message.to_vec().unwrap()
}

/// Both families for `db.`, by way of another name; nothing for others.
fn good(query: &Message) -> Vec<Vec<u8>> {
    let known = query.queries[0].name().to_ascii() == "db.example.com.";
    let alias = || RData::CNAME(CNAME(Name::from_ascii("real.example.net.").unwrap()));
    let data = match query.queries[0].query_type() {
        RecordType::A if known => vec![alias(), RData::A(A("10.0.0.7".parse().unwrap()))],
        RecordType::AAAA if known => vec![alias(), RData::AAAA(AAAA("fd00::7".parse().unwrap()))],
        _ => return vec![reply(query, ResponseCode::NXDomain, vec![])],
    };
    vec![reply(query, ResponseCode::NoError, data)]
}

fn ips(texts: &[&str]) -> Result<Vec<IpAddr>, String> {
    Ok(texts.iter().map(|text| text.parse().unwrap()).collect())
}

#[test]
fn both_families_are_found_and_absence_is_said() {
    let server = server(4, good);
    let answers = ask(&[server], &["db.example.com", "no.example.com"]);
    let mut found = answers["db.example.com"].clone().unwrap();
    found.sort_unstable();
    assert_eq!(Ok(found), ips(&["10.0.0.7", "fd00::7"]));
    assert_eq!(answers["no.example.com"], Err("no address known to 127.0.0.1".to_owned()));
}

#[test]
fn answers_to_others_and_garbage_are_passed_over() {
    let server = server(2, |query| {
        let mut stranger = query.clone();
        stranger.metadata.id ^= 1;
        let mut other = query.clone();
        other.queries[0].set_name(Name::from_ascii("other.example.com.").unwrap());
        let bad = RData::A(A("10.6.6.6".parse().unwrap()));
        let wrong = [&stranger, &other].map(|query| reply(query, ResponseCode::NoError, vec![bad.clone()]));
        [vec![vec![1, 2, 3], query.to_vec().unwrap()], wrong.to_vec(), good(query)].concat()
    });
    let mut found = ask(&[server], &["db.example.com"])["db.example.com"].clone().unwrap();
    found.sort_unstable();
    assert_eq!(Ok(found), ips(&["10.0.0.7", "fd00::7"]));
}

#[test]
fn the_next_server_is_asked_what_one_did_not_answer() {
    let refuses = server(2, |query| vec![reply(query, ResponseCode::Refused, vec![])]);
    let silent = server(2, |_| vec![]);
    let knows = server(2, good);
    let started = Instant::now();
    let answers = ask(&[refuses, silent, knows], &["db.example.com"]);
    assert!(answers["db.example.com"].is_ok(), "{answers:?}");
    assert!(started.elapsed() >= PATIENCE && started.elapsed() < 3 * PATIENCE, "{:?}", started.elapsed());
}

#[test]
fn no_answer_names_the_servers_and_why() {
    let silent = server(2, |_| vec![]);
    // Nobody listens there any more.
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let answers = ask(&[silent, closed], &["db.example.com"]);
    let why = answers["db.example.com"].clone().unwrap_err();
    assert!(why.starts_with("no answer from 127.0.0.1, 127.0.0.1 (127.0.0.1: silent for 1 s; 127.0.0.1: "), "{why}");
    assert!(why.contains("efused"), "{why}");
}

#[test]
fn records_of_other_owners_do_not_count() {
    let server = server(2, |query| {
        let mut message = Message::from_vec(&good(query)[0]).unwrap();
        let foreign = Name::from_ascii("evil.example.com.").unwrap();
        message.answers.insert(0, Record::from_rdata(foreign, 1, RData::A(A("10.0.0.9".parse().unwrap()))));
        vec![message.to_vec().unwrap()]
    });
    let mut found = ask(&[server], &["db.example.com"])["db.example.com"].clone().unwrap();
    found.sort_unstable();
    assert_eq!(Ok(found), ips(&["10.0.0.7", "fd00::7"]));
}
