//! This program once more, as a process that makes one kind of call again and again and says how long one took.

use std::{
    env,
    fs::File,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, UdpSocket},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use chaos_tests::{figure, net::Cgroup, stats::quantile::median};
use nix::{
    fcntl::{AT_FDCWD, OFlag, openat},
    sys::{
        socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket},
        stat::Mode,
        uio::pread,
    },
};
use std::os::fd::{AsRawFd, OwnedFd};

/// What it can make. The first three have hooks on every kernel.
pub const CALLS: [&str; 5] = ["socket", "connect", "bind", "openat", "pread64"];
/// Calls between two looks at the clock; as many descriptors are open at once.
const BATCH: usize = 200;
/// Fewest batches.
const LEAST: usize = 5;
/// More files than such a process opens before it is told to do anything.
pub const OPENED_BEFORE: usize = 50;
const VARIABLE: &str = "CHAOS_BENCH_VICTIM";

/// Whether this process is to be one.
pub fn is_one() -> bool {
    env::var_os(VARIABLE).is_some()
}

/// Makes calls as it is told on stdin, until that ends.
pub fn serve() {
    let mut ground = Ground::new();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if let Some((call, count)) = line.split_once(' ') {
            let count = count.parse().expect("how many");
            let each: Vec<String> = (0..count).map(|_| ground.one(call).as_nanos().to_string()).collect();
            println!("{}", each.join(" "));
            continue;
        }
        let length = if figure::quick() { Duration::from_millis(20) } else { Duration::from_millis(100) };
        let (begin, mut batches) = (Instant::now(), Vec::new());
        while batches.len() < LEAST || begin.elapsed() < length {
            batches.push(ground.batch(&line).as_nanos() as f64 / BATCH as f64);
        }
        // Not the mean: others use the processor, too.
        println!("{}", median(&batches));
    }
}

/// What calls need.
struct Ground {
    file: File,
    socket: UdpSocket,
    peer: SocketAddr,
    opened: Vec<OwnedFd>,
    made: Vec<OwnedFd>,
}

impl Ground {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let peer = socket.local_addr().expect("its address");
        let file = File::open("/proc/self/exe").expect("this program");
        Self { file, socket, peer, opened: Vec::new(), made: Vec::new() }
    }

    /// How long a batch of this call takes, whether it succeeds or not; what it opens is closed afterwards.
    fn batch(&mut self, call: &str) -> Duration {
        self.several(call, BATCH)
    }

    /// How long one takes.
    fn one(&mut self, call: &str) -> Duration {
        self.several(call, 1)
    }

    fn several(&mut self, call: &str, count: usize) -> Duration {
        if call == "bind" {
            self.made.extend((0..count).filter_map(|_| new_socket()));
        }
        let begin = Instant::now();
        // Whether a call succeeds is no matter here.
        match call {
            "socket" => (0..count).for_each(|_| self.opened.extend(new_socket())),
            "connect" => {
                for _ in 0..count {
                    let _ = self.socket.connect(self.peer);
                }
            }
            "bind" => {
                let any = SockaddrIn::new(127, 0, 0, 1, 0);
                for socket in &self.made {
                    let _ = bind(socket.as_raw_fd(), &any);
                }
            }
            "openat" => (0..count).for_each(|_| {
                self.opened.extend(openat(AT_FDCWD, "/dev/null", OFlag::O_RDONLY, Mode::empty()));
            }),
            "pread64" => {
                let mut buffer = [0; 16];
                for _ in 0..count {
                    let _ = pread(&self.file, &mut buffer, 0);
                }
            }
            other => panic!("{other}: no call of this benchmark"),
        }
        let took = begin.elapsed();
        self.opened.clear();
        self.made.clear();
        took
    }
}

fn new_socket() -> Option<OwnedFd> {
    socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), None).ok()
}

/// Such a process.
pub struct Victim {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Victim {
    /// One in a cgroup.
    pub fn inside(cgroup: &Cgroup) -> Self {
        Self::start(cgroup.command(None, &[&this()]))
    }

    /// One in our own, started by way of another command.
    pub fn outside(by_way_of: &[&str]) -> Self {
        let words: Vec<String> = by_way_of.iter().map(|word| (*word).to_owned()).chain([this()]).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let mut child =
            command.env(VARIABLE, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a victim");
        let (to, from) = (child.stdin.take().expect("its stdin"), child.stdout.take().expect("its stdout"));
        Self { child, to, from: BufReader::new(from) }
    }

    /// How long this call takes it, ns.
    pub fn time(&mut self, call: &str) -> f64 {
        self.ask(call)[0]
    }

    /// How long each of so many takes it, ns.
    pub fn each(&mut self, call: &str, count: usize) -> Vec<f64> {
        self.ask(&format!("{call} {count}"))
    }

    fn ask(&mut self, what: &str) -> Vec<f64> {
        writeln!(self.to, "{what}").expect("the victim listens");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the victim answers");
        let number = |word: &str| word.parse().unwrap_or_else(|_| panic!("{what}: the victim said {line:?}"));
        line.split_whitespace().map(number).collect()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // One behind a tracer is not our child: it ends with its stdin, which is closed by then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn this() -> String {
    env::current_exe().expect("this program").to_string_lossy().into_owned()
}
