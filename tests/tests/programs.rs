//! Programs that nobody wrote for these tests, as they are: what they say of a failed call is what their users would see, and after the
//! fault they go on with nothing broken.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use chaos_tests::clock::wait_until;
use chaos_tests::need;
use chaos_tests::net::Cgroup;
use chaos_tests::product::{Chaos, Experiment, Running};

const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    chaos: Chaos,
    _slice: Cgroup,
    inside: Cgroup,
    /// By call, the mechanism that `chaos check` promises.
    promised: BTreeMap<String, String>,
    folder: String,
    /// A cgroup without a process is no target.
    holder: Child,
}

impl Scene {
    fn open(name: &str) -> Option<Self> {
        if !need::root() || !need::product() || !need::cgroup2() {
            return None;
        }
        let chaos = Chaos::find().unwrap();
        let check: serde_json::Value = serde_json::from_str(&chaos.command(&["check", "-o", "json"]).stdout).unwrap();
        let row = |row: &serde_json::Value| Some((row["call"].as_str()?.into(), row["mechanism"].as_str()?.into()));
        let promised: BTreeMap<String, String> = check["calls"].as_array().unwrap().iter().filter_map(row).collect();
        let slice = Cgroup::new("programs");
        let inside = slice.child(name);
        let folder = format!("/tmp/chaos-{name}-{}", std::process::id());
        fs::create_dir_all(&folder).unwrap();
        let holder = inside.resident(None);
        let scene = Self { chaos, _slice: slice, inside, promised, folder, holder };
        (!scene.promised.is_empty() || need::absent("programs for calls: they need Linux 5.17")).then_some(scene)
    }

    /// Whether all of these calls can be hit.
    fn can(&self, calls: &[&str]) -> bool {
        match calls.iter().find(|call| !self.promised.contains_key(**call)) {
            Some(call) => need::absent(&format!("{call}: this kernel lets no program fail it")),
            None => true,
        }
    }

    fn inject(&self, calls: &[&str], rest: &str) -> Running {
        let target = format!("cgroup: {}", self.inside.name());
        let fault = format!("syscall: {{ calls: [{}], {rest} }}", calls.join(", "));
        let mut running = Running::start(&self.chaos, &Experiment::on(&target).duration("120s").fault(&fault));
        running.await_injected();
        running
    }

    /// Runs a program inside or outside of the target.
    fn run(&self, is_target: bool, words: &[&str]) -> Output {
        let mut command = if is_target {
            self.inside.command(None, words)
        } else {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            command
        };
        command.env("HOME", &self.folder).output().unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Answers every request with one line, as long as the test lives.
fn web_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    address
}

#[test]
fn curl_says_that_the_connection_timed_out() {
    let Some(scene) = Scene::open("curl") else { return };
    if !scene.can(&["connect"]) || !need::program("/usr/bin/curl") {
        return;
    }
    let url = format!("http://{}/", web_server());
    let ask = |is_target| scene.run(is_target, &["/usr/bin/curl", "-sS", "--max-time", "20", &url]);
    assert_eq!(said(&ask(true)), "hello");
    let running = scene.inject(&["connect"], "errno: ETIMEDOUT, match: { ports: [1-65535] }");
    let (hit, spared) = (ask(true), ask(false));
    let report = running.finish_any().report().clone();
    // CURLE_OPERATION_TIMEDOUT
    assert_eq!(hit.status.code(), Some(28), "{}", said(&hit));
    assert_eq!(said(&spared), "hello", "a program outside");
    assert_eq!(report.only_fault().injected(), 1, "{report:?}");
    assert_eq!(said(&ask(true)), "hello", "afterwards");
}

/// Threads, a child, and calls past the C library's functions.
const PYTHON: &str = r#"
import ctypes, errno, os, socket, sys, threading
port = int(sys.argv[1])
def attempt():
    try:
        with socket.create_connection(("127.0.0.1", port), 20): return "ok"
    except OSError as error: return errno.errorcode[error.errno]
def raw():
    libc = ctypes.CDLL(None, use_errno=True)
    with socket.socket() as s:
        address = (2).to_bytes(2, "little") + port.to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
        return "ok" if libc.syscall(42, s.fileno(), address, 16) == 0 else errno.errorcode[ctypes.get_errno()]
said = [attempt()]
threads = [threading.Thread(target=lambda: said.append(attempt())) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
said.append(raw())
print(*said, flush=True)
if os.fork() == 0:
    print(attempt(), raw(), flush=True); os._exit(0)
os.wait()
"#;

#[test]
fn every_thread_child_and_raw_call_of_a_python_program_is_hit() {
    let Some(scene) = Scene::open("python") else { return };
    if !scene.can(&["connect"]) || !need::program("/usr/bin/python3") {
        return;
    }
    let port = web_server().port().to_string();
    let go = |is_target| {
        let output = scene.run(is_target, &["/usr/bin/python3", "-c", PYTHON, &port]);
        let words: Vec<String> = said(&output).split_whitespace().map(str::to_owned).collect();
        (words.len(), words.into_iter().collect::<std::collections::BTreeSet<_>>())
    };
    let all = |word: &str| (8, [word.to_owned()].into());
    let running = scene.inject(&["connect"], "errno: EHOSTUNREACH, match: { all: true }");
    assert_eq!(go(true), all("EHOSTUNREACH"));
    assert_eq!(go(false), all("ok"), "a program outside");
    let report = running.finish_any().report().clone();
    assert_eq!(report.only_fault().injected(), 8, "{report:?}");
    assert_eq!(go(true), all("ok"), "afterwards");
}

/// A program in Go asks the kernel itself, from several threads, by paths that begin where it stands.
#[test]
fn runc_a_go_program_reports_that_its_quota_is_used_up() {
    let Some(scene) = Scene::open("runc") else { return };
    if !scene.can(&["openat"]) || !need::program("/usr/sbin/runc") {
        return;
    }
    let file = format!("{}/config.json", scene.folder);
    let write = |is_target| {
        let output = scene.run(is_target, &["/usr/sbin/runc", "spec", "--bundle", &scene.folder]);
        // Where a security hook fails the call, the file has been created by then.
        let written = fs::metadata(&file).is_ok_and(|file| file.len() > 0);
        let _ = fs::remove_file(&file);
        (output.status.success(), written, said(&output))
    };
    assert_eq!(write(true), (true, true, String::new()));
    let running = scene.inject(&["openat"], &format!("errno: EDQUOT, match: {{ paths: [\"{file}\"] }}"));
    let (hit, spared) = (write(true), write(false));
    let report = running.finish_any().report().clone();
    assert!((hit.0, hit.1) == (false, false) && hit.2.contains("disk quota exceeded"), "{hit:?}\n{report:?}");
    assert_eq!(spared, (true, true, String::new()), "a program outside");
    assert_eq!(report.only_fault().injected(), 1, "{report:?}");
    assert_eq!(write(true), (true, true, String::new()), "afterwards");
}

/// The database under a fault of these calls, and what `sqlite3` says; before and after it is whole.
fn sqlite_under(scene: &Scene, calls: &[&str], errno: &str, word: &str) {
    let file = format!("{}/shop.db", scene.folder);
    let sql = |is_target, text: &str| scene.run(is_target, &["/usr/bin/sqlite3", "-bail", &file, text]);
    let made =
        sql(true, "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL; CREATE TABLE t(x); INSERT INTO t VALUES(1);");
    assert!(made.status.success(), "{}", said(&made));
    let running = scene.inject(calls, &format!("errno: {errno}, match: {{ paths: [\"{}/**\"] }}", scene.folder));
    let hit = sql(true, "PRAGMA synchronous=FULL; INSERT INTO t VALUES(2);");
    let report = running.finish_any().report().clone();
    assert!(!hit.status.success() && said(&hit).contains(word), "{}\n{report:?}", said(&hit));
    assert!(report.only_fault().injected() > 0, "{report:?}");
    let state = sql(true, "PRAGMA integrity_check; SELECT count(*) FROM t;");
    assert_eq!(said(&state), "ok\n1\n", "the row was lost or half written");
    let more = sql(true, "INSERT INTO t VALUES(3); SELECT count(*) FROM t;");
    assert_eq!(said(&more), "2\n", "afterwards");
}

#[test]
fn sqlite_reports_a_disk_error_and_keeps_its_database() {
    let Some(scene) = Scene::open("sqlite-fsync") else { return };
    if scene.can(&["fsync", "fdatasync"]) && need::program("/usr/bin/sqlite3") {
        sqlite_under(&scene, &["fsync", "fdatasync"], "EIO", "disk I/O error");
    }
}

#[test]
fn sqlite_finds_the_disk_full_and_keeps_its_database() {
    let Some(scene) = Scene::open("sqlite-write") else { return };
    if scene.can(&["write", "pwrite64"]) && need::program("/usr/bin/sqlite3") {
        sqlite_under(&scene, &["write", "pwrite64"], "ENOSPC", "full");
    }
}

/// A Redis server that keeps a log of its own.
struct Redis {
    child: Child,
    socket: String,
}

impl Redis {
    fn start(scene: &Scene) -> Self {
        let socket = format!("{}/socket", scene.folder);
        // Debian's package of the server starts one on the machine; that of its tools has the same program under another name.
        let server = ["bash", "-c", "exec -a redis-server /usr/bin/redis-check-rdb \"$@\"", "bash"];
        let words = ["--port", "0", "--unixsocket", &socket, "--dir", &scene.folder];
        let log = ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"];
        let mut command = scene.inside.command(None, &[&server[..], &words[..], &log[..]].concat());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let redis = Self { child, socket };
        assert!(wait_until(PATIENCE, || redis.ask("PING") == "+PONG"), "redis-server does not answer");
        redis
    }

    fn ask(&self, command: &str) -> String {
        let Ok(mut stream) = std::os::unix::net::UnixStream::connect(&self.socket) else { return String::new() };
        let mut line = String::new();
        let asked = stream.write_all(format!("{command}\r\n").as_bytes());
        let _ = asked.and_then(|()| BufReader::new(&stream).read_line(&mut line));
        line.trim_end().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn redis_refuses_writes_while_its_disk_is_full_and_recovers() {
    let Some(scene) = Scene::open("redis") else { return };
    if !scene.can(&["write", "writev"]) || !need::program("/usr/bin/redis-check-rdb") {
        return;
    }
    let redis = Redis::start(&scene);
    assert_eq!(redis.ask("SET a 1"), "+OK");
    let running =
        scene.inject(&["write", "writev"], &format!("errno: ENOSPC, match: {{ paths: [\"{}/**\"] }}", scene.folder));
    let refused = wait_until(PATIENCE, || redis.ask("SET a 2").contains("MISCONF"));
    assert!(refused, "redis does not say that it cannot write: {}", redis.ask("SET a 2"));
    assert_eq!(redis.ask("PING").get(..8), Some("-MISCONF"), "as its documentation says");
    let report = running.finish_any().report().clone();
    assert!(report.only_fault().injected() > 0, "{report:?}");
    assert!(wait_until(PATIENCE, || redis.ask("SET a 3") == "+OK"), "it has not recovered: {}", redis.ask("SET a 3"));
    assert_eq!(redis.ask("PING"), "+PONG");
}
