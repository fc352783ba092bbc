//! `kubectl chaos` where the cluster does not do what is asked: each reason has its words and its exit code. The API server is a small
//! one of this file, which answers every request alike.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use chaos_tests::need;
use chaos_tests::product::{Chaos, Experiment};

/// A folder of one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("chaos-kubectl-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A kubeconfig of a server at this address.
    fn kubeconfig(&self, address: &str) -> PathBuf {
        let path = self.0.join("kubeconfig");
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: one, \
             clusters: [{{name: c, cluster: {{server: \"http://{address}\"}}}}], users: [{{name: u, user: {{}}}}], \
             contexts: [{{name: one, context: {{cluster: c, user: u, namespace: shop}}}}]}}"
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Answers every request with this status and this JSON; its address.
fn server(code: u16, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream, code, body));
        }
    });
    address
}

fn serve(mut stream: TcpStream, code: u16, body: &str) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    // The head and as many bytes as it announces.
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let Some((head, rest)) = text.split_once("\r\n\r\n") else { continue };
        let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        if rest.len() >= announced.unwrap_or(0) {
            break;
        }
    }
    let head = format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\nconnection: close\r\n");
    let _gone = stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
}

/// Exit code and all that was said by `chaos kubectl ARGS`.
fn said(program: &Path, kubeconfig: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::new(program)
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        .env_remove("KUBERNETES_SERVICE_HOST")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status.code().unwrap_or(-1), text)
}

fn chaos() -> Option<Chaos> {
    need::product().then(|| Chaos::find().expect("it was found a moment ago"))
}

/// Answers with an empty list, and keeps the heads of the requests.
fn listing() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&heads);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                request.push(byte[0]);
            }
            kept.lock().unwrap().push(String::from_utf8_lossy(&request).to_ascii_lowercase());
            let body = r#"{"kind":"ExperimentList","apiVersion":"chaos-ebpf.dev/v1alpha1","metadata":{},"items":[]}"#;
            let head = "HTTP/1.1 200 X\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let _gone = stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
        }
    });
    (address, heads)
}

#[test]
fn habits_of_kubectl_are_known() {
    let Some(chaos) = chaos() else { return };
    let folder = Folder::new("habits");
    let (address, heads) = listing();
    let kubeconfig = folder.kubeconfig(&address).to_string_lossy().into_owned();
    let options = ["--kubeconfig", &kubeconfig, "--as", "eve", "--as-group", "ops", "-l", "app=web", "-o", "json"];
    let elsewhere = folder.0.join("no-such-file");
    let (code, text) = said(chaos.path(), &elsewhere, &[&["kubectl", "list"], &options[..]].concat());
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("\"kind\": \"List\""), "{text}");
    let heads = heads.lock().unwrap().join("");
    for part in
        ["labelselector=app%3dweb", "impersonate-user: eve", "impersonate-group: ops", "/namespaces/shop/experiments"]
    {
        assert!(heads.contains(part), "{part}: {heads}");
    }
    let local = Experiment::on_netns("web").fault("network: { match: { all: true }, partition: true }").write();
    let path = local.path().to_string_lossy().into_owned();
    let (code, text) = said(chaos.path(), &elsewhere, &["kubectl", "run", "-f", &path]);
    assert!(code == 2 && text.contains(&path) && text.contains("local targets"), "{text}");
}

#[test]
fn a_cluster_that_is_not_there_is_said() {
    let Some(chaos) = chaos() else { return };
    let folder = Folder::new("absent");
    let (code, text) = said(chaos.path(), &folder.0.join("no-such-file"), &["kubectl", "list"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("KUBECONFIG"), "{text}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let kubeconfig = folder.kubeconfig(&closed);
    let (code, text) = said(chaos.path(), &kubeconfig, &["kubectl", "list"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&closed) && text.contains("refused"), "{text}");
    let (code, text) = said(chaos.path(), &kubeconfig, &["kubectl", "list", "--context", "two"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("two"), "{text}");
}

#[test]
fn what_the_api_server_refuses_has_words_and_an_exit_code() {
    let Some(chaos) = chaos() else { return };
    let forbidden = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":403,"reason":"Forbidden","message":
        "experiments.chaos-ebpf.dev is forbidden: User \"eve\" cannot list resource \"experiments\" in API group \"chaos-ebpf.dev\""}"#;
    let absent = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":404,"reason":"NotFound","message":
        "experiments.chaos-ebpf.dev \"cut\" not found","details":{"name":"cut","kind":"experiments"}}"#;
    let empty = r#"{"kind":"ExperimentList","apiVersion":"chaos-ebpf.dev/v1alpha1","metadata":{"resourceVersion":"1"},"items":[]}"#;
    let cases: &[(u16, &'static str, &[&str], i32, &str)] = &[
        (
            404,
            "404 page not found",
            &["list"],
            3,
            "chaos is not installed in this cluster: kubectl apply -k manifests/",
        ),
        (404, "404 page not found", &["check"], 3, "chaos is not installed"),
        (404, "404 page not found", &["wait", "cut", "--for", "hit"], 3, "chaos is not installed"),
        (403, forbidden, &["list"], 3, "you may not list experiments in namespace shop"),
        (403, forbidden, &["stop", "--all", "-A"], 3, "you may not list experiments of the cluster"),
        (404, absent, &["describe", "cut"], 2, "there is no experiment \"cut\" in namespace shop"),
        (404, absent, &["report", "cut", "-n", "other"], 2, "in namespace other"),
        (200, empty, &["list"], 0, "there are no experiments in namespace shop"),
        (200, empty, &["wait", "cut", "--for", "ended"], 0, "there is no experiment"),
        (200, empty, &["wait", "cut", "--for", "injected", "--timeout", "200ms"], 1, "was not injected within 200ms"),
        (500, "{}", &["list"], 1, "list experiments"),
    ];
    for (number, (status, body, args, code, words)) in cases.iter().enumerate() {
        let folder = Folder::new(&format!("case-{number}"));
        let kubeconfig = folder.kubeconfig(&server(*status, body));
        let (got, text) = said(chaos.path(), &kubeconfig, &[&["kubectl"], *args].concat());
        assert!(got == *code && text.contains(words), "{args:?} of {status}: exit code {got}, {text}");
    }
}

#[test]
fn what_is_wrong_with_an_experiment_stands_at_its_line() {
    let Some(chaos) = chaos() else { return };
    let invalid = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":422,"reason":"Invalid","message":"all in one",
        "details":{"name":"x","kind":"Experiment","causes":[
        {"reason":"FieldValueInvalid","field":"spec.duration","message":"Invalid value: \"string\": is too long today"},
        {"reason":"FieldValueInvalid","field":"spec.faults[0].network","message":"Invalid value: \"object\": not this one"}]}}"#;
    let folder = Folder::new("invalid");
    let kubeconfig = folder.kubeconfig(&server(422, invalid));
    let file = folder.0.join("cut.yaml");
    let lines = [
        "apiVersion: chaos-ebpf.dev/v1alpha1",
        "kind: Experiment",
        "metadata: { name: cut }",
        "spec:",
        "  duration: 10s",
        "  selector: { pods: { all: true } }",
        "  faults:",
        "    - network: { match: { all: true }, partition: true }",
    ];
    std::fs::write(&file, lines.join("\n")).unwrap();
    let file = file.to_str().unwrap();
    for verb in ["run", "plan"] {
        let (code, text) = said(chaos.path(), &kubeconfig, &["kubectl", verb, file]);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(&format!("{file}:5 (Experiment/cut): spec.duration: is too long today\n")), "{text}");
        assert!(text.contains(&format!("{file}:8 (Experiment/cut): spec.faults[0].network: not this one\n")), "{text}");
    }
    let local = Experiment::on_netns("web").fault("network: { match: { all: true }, partition: true }").write();
    let (code, text) = said(chaos.path(), &kubeconfig, &["kubectl", "run", &local.path().to_string_lossy()]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("local targets are of one machine"), "{text}");
}

#[test]
fn kubectl_finds_it_by_its_name() {
    let Some(chaos) = chaos() else { return };
    let folder = Folder::new("name");
    let link = folder.0.join("kubectl-chaos");
    std::os::unix::fs::symlink(chaos.path(), &link).unwrap();
    let (code, text) = said(&link, &folder.0, &["--help"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Usage: kubectl chaos") && text.contains("describe"), "{text}");
    assert!(!text.contains("cleanup"), "verbs of one machine are not offered: {text}");
    let (code, _) = said(chaos.path(), &folder.0, &["describe", "cut"]);
    assert_eq!(code, 2, "and these are not offered without the name");
}
