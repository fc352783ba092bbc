//! What runs in the pods of the tests: waits, sends or answers.

use std::{
    env,
    io::Write as _,
    net::{Ipv6Addr, TcpListener, UdpSocket},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    wait::{WaitPidFlag, waitpid},
};

const USAGE: &str = "chaos-pod pause | knock ADDRESS PORT | serve PORT";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // Before there is a second thread: each of them must leave these signals to the one that waits for them.
    let blocked = signals().thread_block().map_err(|error| format!("block signals: {error}"));
    let result = blocked.and_then(|()| match words.as_slice() {
        [] | ["pause"] => pause(),
        ["knock", address, port] => knock(&format!("{address}:{port}")),
        ["serve", port] => serve(port),
        _ => Err(USAGE.to_owned()),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD].into_iter().collect()
}

/// As the first process of a sandbox: ends when it is told to, and takes in orphans.
fn pause() -> Result<(), String> {
    let wanted = signals();
    // An ignored SIGCHLD is not delivered to the first process of a PID namespace unless it has a handler.
    extern "C" fn nothing(_: i32) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGCHLD, &action) }.map_err(|error| format!("sigaction: {error}"))?;
    loop {
        match wanted.wait().map_err(|error| format!("wait for a signal: {error}"))? {
            Signal::SIGCHLD => while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|end| end.pid().is_some()) {},
            _ => return Ok(()),
        }
    }
}

/// Datagrams with a number, one every millisecond, from the first moment on.
fn knock(to: &str) -> Result<(), String> {
    thread::spawn(pause_and_end);
    let mut next = Instant::now();
    let mut socket = None;
    for number in 0_u64.. {
        // Without a route yet, as in a pod whose network is still being made, the next one is tried.
        if socket.is_none() {
            socket = UdpSocket::bind("0.0.0.0:0").ok();
        }
        if let Some(socket) = &socket {
            let _not_yet = socket.send_to(&number.to_be_bytes(), to);
        }
        next += Duration::from_millis(1);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn pause_and_end() {
    let code = i32::from(pause().is_err());
    std::process::exit(code);
}

/// TCP: tells the host's name. UDP on the same port: what came goes back.
fn serve(port: &str) -> Result<(), String> {
    let port: u16 = port.parse().map_err(|error| format!("port {port:?}: {error}"))?;
    let name = nix::unistd::gethostname().map_err(|error| format!("gethostname: {error}"))?;
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).map_err(|error| format!("listen: {error}"))?;
    let echo = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).map_err(|error| format!("bind: {error}"))?;
    thread::spawn(pause_and_end);
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = echo.recv_from(&mut buffer) {
            let _unreachable = echo.send_to(buffer.get(..length).unwrap_or_default(), from);
        }
    });
    loop {
        let (mut stream, _) = listener.accept().map_err(|error| format!("accept: {error}"))?;
        let _gone = writeln!(stream, "{}", name.to_string_lossy());
    }
}
