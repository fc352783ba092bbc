//! A small API server: lists and watches of what a test puts there, and what was written to statuses. It trusts everybody.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use serde_json::{Value, json};

/// Serves until the process ends.
#[derive(Clone, Debug)]
pub struct ApiServer {
    address: String,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    version: u64,
    /// By kind in the plural and by name.
    objects: BTreeMap<(String, String), Value>,
    watches: Vec<(String, Sender<String>)>,
}

impl Kept {
    fn put(&mut self, plural: &str, name: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let before = self.objects.insert((plural.to_owned(), name.to_owned()), object.clone());
        self.tell(plural, if before.is_some() { "MODIFIED" } else { "ADDED" }, &object);
    }

    fn tell(&mut self, plural: &str, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({ "type": kind, "object": object }));
        self.watches.retain(|(of, to)| of != plural || to.send(line.clone()).is_ok());
    }

    fn of(&self, plural: &str) -> Vec<Value> {
        self.objects.iter().filter(|((of, _), _)| of == plural).map(|(_, object)| object.clone()).collect()
    }
}

/// A request, as far as it is looked at.
struct Request {
    method: String,
    plural: String,
    name: Option<String>,
    watch: bool,
    body: Value,
}

impl ApiServer {
    /// An empty one.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = Self { address, kept: Arc::default() };
        let served = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let one = served.clone();
                thread::spawn(move || one.serve(&stream));
            }
        });
        server
    }

    /// Puts an object there, or another in the place of its namesake; its watches hear of it. `plural`: as in the path.
    pub fn put(&self, plural: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        self.kept().put(plural, &name, object);
    }

    /// Takes one away.
    pub fn delete(&self, plural: &str, name: &str) {
        let mut kept = self.kept();
        if let Some(object) = kept.objects.remove(&(plural.to_owned(), name.to_owned())) {
            kept.tell(plural, "DELETED", &object);
        }
    }

    /// What is there under this name; null where nothing is.
    pub fn get(&self, plural: &str, name: &str) -> Value {
        self.kept().objects.get(&(plural.to_owned(), name.to_owned())).cloned().unwrap_or_default()
    }

    /// A file by which its clients find it.
    pub fn kubeconfig(&self) -> PathBuf {
        let path = std::env::temp_dir().join(format!("chaos-node-{}-kubeconfig", self.address.replace(':', "-")));
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: one, clusters: [{{name: c, cluster: {{server: \"http://{}\"}}}}], \
             users: [{{name: u, user: {{}}}}], contexts: [{{name: one, context: {{cluster: c, user: u}}}}]}}",
            self.address
        );
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests of one connection, until its client has gone.
    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some(request) = read(&mut reader) {
            let answered =
                if request.watch { self.watch(stream, &request.plural) } else { self.answer(stream, request) };
            if answered.is_err() {
                return;
            }
        }
    }

    fn answer(&self, mut stream: &TcpStream, request: Request) -> io::Result<()> {
        let mut kept = self.kept();
        let key = |name: &str| (request.plural.clone(), name.to_owned());
        let (code, body) = match (request.method.as_str(), &request.name) {
            ("GET", None) => {
                let version = kept.version.to_string();
                let list = json!({
                    "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": version }, "items": kept.of(&request.plural),
                });
                (200, list)
            }
            ("GET", Some(name)) => match kept.objects.get(&key(name)) {
                Some(object) => (200, object.clone()),
                None => (404, json!({ "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound" })),
            },
            (_, Some(name)) => {
                let before = kept.objects.get(&key(name)).cloned().unwrap_or_else(|| request.body.clone());
                let object = merged(before, &request.body);
                kept.put(&request.plural, name, object.clone());
                (200, object)
            }
            _ => (405, json!({ "kind": "Status", "status": "Failure", "code": 405 })),
        };
        drop(kept);
        let body = body.to_string();
        let head =
            format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all([head, body].concat().as_bytes())
    }

    fn watch(&self, mut stream: &TcpStream, plural: &str) -> io::Result<()> {
        let (to, lines): (Sender<String>, Receiver<String>) = channel();
        self.kept().watches.push((plural.to_owned(), to));
        stream.write_all(b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for line in lines {
            stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())?;
        }
        Ok(())
    }
}

/// As a patch of the status merges: what it has takes the place of what was there.
fn merged(mut object: Value, patch: &Value) -> Value {
    for (key, value) in patch.as_object().into_iter().flatten() {
        if key != "metadata" {
            object[key] = value.clone();
        }
    }
    object
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        length = line.strip_prefix("content-length: ").and_then(|text| text.parse().ok()).unwrap_or(length);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (plural, name) = place(path)?;
    let watch = query.split('&').any(|one| one == "watch=true");
    Some(Request { method, plural, name, watch, body: serde_json::from_slice(&body).unwrap_or_default() })
}

/// `/api/v1/pods`, `/apis/GROUP/VERSION/namespaces/NAMESPACE/injections/NAME/status`: the kind and the name.
fn place(path: &str) -> Option<(String, Option<String>)> {
    let mut words =
        path.split('/').filter(|word| !word.is_empty()).skip(if path.starts_with("/apis/") { 3 } else { 2 });
    let first = words.next()?;
    let rest: Vec<&str> = words.collect();
    match (first, rest.as_slice()) {
        ("namespaces", [_, plural, name @ ..]) => {
            Some(((*plural).to_owned(), name.first().map(|&name| name.to_owned())))
        }
        (plural, name) => Some((plural.to_owned(), name.first().map(|&name| name.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_kinds_and_objects() {
        let of = |path| place(path).map(|(plural, name)| (plural, name.unwrap_or_default()));
        let is = |plural: &str, name: &str| Some((plural.to_owned(), name.to_owned()));
        assert_eq!(of("/api/v1/pods"), is("pods", ""));
        assert_eq!(of("/apis/g/v1/namespaces/shop/injections/cut-1/status"), is("injections", "cut-1"));
        assert_eq!(of("/apis/g/v1/nodeagents/n1"), is("nodeagents", "n1"));
        assert_eq!(of("/api/v1/nodes/n1"), is("nodes", "n1"));
    }
}
