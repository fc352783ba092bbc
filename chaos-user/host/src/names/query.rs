//! Questions to nameservers over UDP. The caller sees to it that the thread is in the target's network namespace.

use chaos_abi::mix;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, RecordType},
};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant, SystemTime},
};

/// How long one nameserver may take for all names.
const PATIENCE: Duration = Duration::from_secs(1);

struct Question {
    name: String,
    message: Message,
    answered: bool,
}

/// What became of a name: its addresses, or why there are none.
pub type Answers = BTreeMap<String, Result<Vec<IpAddr>, String>>;

/// Asks for the A and AAAA records of all names at once; what a server leaves open is asked of the next one.
#[must_use]
pub fn ask(servers: &[SocketAddr], names: &[&str]) -> Answers {
    let mut questions = questions(names);
    let mut found: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    let mut why = Vec::new();
    for server in servers {
        if questions.iter().all(|question| question.answered) {
            break;
        }
        if let Err(error) = ask_one(*server, &mut questions, &mut found) {
            why.push(format!("{}: {error}", server.ip()));
        }
    }
    let outcome = |name: &&str| {
        let addresses = found.remove(*name).unwrap_or_default();
        if !addresses.is_empty() {
            return ((*name).to_owned(), Ok(addresses));
        }
        let answered = questions.iter().any(|question| question.name == **name && question.answered);
        let servers: Vec<String> = servers.iter().map(|server| server.ip().to_string()).collect();
        let problem = if answered { "no address known to" } else { "no answer from" };
        let details = if answered || why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
        ((*name).to_owned(), Err(format!("{problem} {}{details}", servers.join(", "))))
    };
    names.iter().map(outcome).collect()
}

fn questions(names: &[&str]) -> Vec<Question> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut id = mix(now.as_nanos() as u64 ^ u64::from(std::process::id())) as u16;
    let mut questions = Vec::new();
    for name in names {
        let Ok(parsed) = Name::from_ascii(format!("{name}.")) else { continue };
        for kind in [RecordType::A, RecordType::AAAA] {
            id = id.wrapping_add(1);
            let mut message = Message::new(id, MessageType::Query, OpCode::Query);
            message.metadata.recursion_desired = true;
            message.add_query(Query::query(parsed.clone(), kind));
            questions.push(Question { name: (*name).to_owned(), message, answered: false });
        }
    }
    questions
}

fn ask_one(
    server: SocketAddr,
    questions: &mut [Question],
    found: &mut BTreeMap<String, Vec<IpAddr>>,
) -> io::Result<()> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    for question in questions.iter().filter(|question| !question.answered) {
        let bytes = question.message.to_vec().map_err(io::Error::other)?;
        socket.send(&bytes)?;
    }
    let end = Instant::now() + PATIENCE;
    let mut buffer = [0; 4096];
    while questions.iter().any(|question| !question.answered) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("silent for {} s", PATIENCE.as_secs())));
        }
        socket.set_read_timeout(Some(left))?;
        let size = match socket.recv(&mut buffer) {
            Ok(size) => size,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(error) => return Err(error),
        };
        let Ok(answer) = Message::from_vec(&buffer[..size]) else { continue };
        take(&answer, questions, found)?;
    }
    Ok(())
}

/// Books an answer on its question; others are not ours.
fn take(answer: &Message, questions: &mut [Question], found: &mut BTreeMap<String, Vec<IpAddr>>) -> io::Result<()> {
    let ours = |question: &&mut Question| {
        let asked = &question.message;
        answer.metadata.message_type == MessageType::Response
            && asked.metadata.id == answer.metadata.id
            && asked.queries == answer.queries
    };
    let Some(question) = questions.iter_mut().find(ours) else { return Ok(()) };
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => question.answered = true,
        // Refused or failed for one will be for all: the next server is asked.
        code => return Err(io::Error::other(code.to_string())),
    }
    let addresses = found.entry(question.name.clone()).or_default();
    // Addresses count whose owner is the name that was asked for, or that of which it is an alias (RFC 1034, 3.6.2).
    let mut owner = question.message.queries.first().map(|query| query.name().clone());
    for record in answer.answers.iter().filter(|record| record.dns_class == DNSClass::IN) {
        if owner.as_ref() != Some(&record.name) {
            continue;
        }
        if let RData::CNAME(alias) = &record.data {
            owner = Some(alias.0.clone());
        }
        addresses.extend(record.data.ip_addr().filter(|ip| !addresses.contains(ip)));
    }
    Ok(())
}

/// What an answer gives for names that were asked with its number, whoever sent it.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn taken(answer: &Message, names: &[&str]) -> BTreeMap<String, Vec<IpAddr>> {
    let (mut questions, mut found) = (questions(names), BTreeMap::new());
    questions.iter_mut().for_each(|question| question.message.metadata.id = answer.metadata.id);
    let _ = take(answer, &mut questions, &mut found);
    found
}

#[cfg(test)]
mod tests;
