//! Many requests to the API server at once: kubectl sends them one by one, with pauses. curl keeps its connection and has many in
//! flight.

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::Cluster;

/// How many are in flight.
const BESIDE: &str = "32";

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    path: String,
    body: Option<Value>,
    content: &'static str,
    headers: Vec<String>,
}

impl Request {
    /// Makes an object.
    pub fn create(path: &str, body: Value) -> Self {
        Self::new("POST", path.to_owned(), Some(body), "application/json")
    }

    /// Merges into one.
    pub fn merge(path: String, body: Value) -> Self {
        Self::new("PATCH", path, Some(body), "application/merge-patch+json")
    }

    /// Server-side apply, as the field manager of this name.
    pub fn apply(path: &str, manager: &str, body: Value) -> Self {
        let path = format!("{path}?fieldManager={manager}&force=true");
        Self::new("PATCH", path, Some(body), "application/apply-patch+yaml")
    }

    /// Deletes an object, or all of a collection.
    pub fn delete(path: String, options: Value) -> Self {
        Self::new("DELETE", path, Some(options), "application/json")
    }

    /// By the agent of this node.
    #[must_use]
    pub fn by_agent_of(mut self, node: &str) -> Self {
        self.headers.push("Impersonate-User: system:serviceaccount:chaos-system:chaos-agent".to_owned());
        self.headers.push(format!("Impersonate-Extra-authentication.kubernetes.io%2Fnode-name: {node}"));
        self
    }

    fn new(method: &'static str, path: String, body: Option<Value>, content: &'static str) -> Self {
        Self { method, path, body, content, headers: Vec::new() }
    }

    /// As curl's configuration has it.
    fn section(&self, server: &str, token: &str, output: &str) -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let mut lines = vec![
            format!("url = {}", quoted(&format!("{server}{}", self.path))),
            format!("request = {}", self.method),
            "insecure".to_owned(),
            "silent".to_owned(),
            "show-error".to_owned(),
            "max-time = 600".to_owned(),
            format!("header = {}", quoted(&format!("Authorization: Bearer {token}"))),
            format!("header = {}", quoted(&format!("Content-Type: {}", self.content))),
            format!("output = {output}"),
            r#"write-out = "%{http_code} %{urlnum}\n""#.to_owned(),
        ];
        lines.extend(self.headers.iter().map(|header| format!("header = {}", quoted(header))));
        lines.extend(self.body.as_ref().map(|body| format!("data-binary = {}", quoted(&body.to_string()))));
        lines.join("\n")
    }
}

impl Cluster {
    /// Sends them; those that the API server refuses, with what it says.
    pub fn send(&self, requests: &[Request]) -> Result<(), String> {
        // Their bodies stand in one configuration, which is not to grow without end.
        for batch in requests.chunks(1000) {
            let (server, token) = self.access();
            let sections: Vec<String> = batch.iter().map(|one| one.section(&server, &token, "/dev/null")).collect();
            let codes = curl(&["--parallel", "--parallel-max", BESIDE, "--config", "-"], &sections.join("\nnext\n"))?;
            let refused = codes.lines().find(|line| !line.starts_with('2'));
            let refused = refused.and_then(|line| line.split(' ').nth(1)?.parse::<usize>().ok());
            if let Some(one) = refused.and_then(|number| batch.get(number)) {
                // Asked once more, for its words.
                let said = curl(&["--config", "-"], &one.section(&server, &token, "-"))?;
                return Err(format!("{} {}: {said}", one.method, one.path));
            }
            let count = codes.lines().count();
            if count != batch.len() {
                return Err(format!("{count} answers to {} requests", batch.len()));
            }
        }
        Ok(())
    }

    /// Reads a path of the API server.
    #[track_caller]
    pub fn read(&self, path: &str) -> Value {
        let (server, token) = self.access();
        let header = format!("Authorization: Bearer {token}");
        let text = curl(&["-sS", "-k", "-H", &header, &format!("{server}{path}")], "");
        let text = text.unwrap_or_else(|error| panic!("read {path}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("read {path}: {error}: {text}"))
    }

    /// What happens to the objects of a path, from now on; those that are there come first.
    #[track_caller]
    pub fn watch(&self, path: &str) -> Watch {
        let (server, token) = self.access();
        let header = format!("Authorization: Bearer {token}");
        let mut command = Command::new("curl");
        command.args(["-sS", "-k", "-N", "-H", &header, &format!("{server}{path}?watch=1")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("start curl");
        Watch(child)
    }

    fn access(&self) -> (String, String) {
        let text = fs::read_to_string(self.kubeconfig()).expect("a kubeconfig");
        let quoted = |key: &str| {
            let value = text.split(key).nth(1).and_then(|rest| rest.split('"').nth(1));
            value.unwrap_or_else(|| panic!("the kubeconfig has no {key}")).to_owned()
        };
        (quoted("server:"), quoted("token:"))
    }
}

/// A watch that runs.
#[derive(Debug)]
pub struct Watch(Child);

impl Watch {
    /// Its events, as they come.
    pub fn events(&mut self) -> impl Iterator<Item = Value> + use<> {
        let lines = BufReader::new(self.0.stdout.take().expect("stdout")).lines();
        lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn curl(words: &[&str], input: &str) -> Result<String, String> {
    let mut command = Command::new("curl");
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("start curl: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(|error| format!("write to curl: {error}"))?;
    }
    let output = child.wait_with_output().map_err(|error| format!("wait for curl: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
