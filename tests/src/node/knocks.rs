//! Datagrams from one namespace to another, one every other millisecond: when those came that got through.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{clock::wait_until, net::NetNs};

/// Between two.
const PACE: Duration = Duration::from_millis(2);
/// Without any for so long, nothing gets through: a busy machine lets the sender wait for tens of milliseconds.
const QUIET: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(30);

/// They end with their owner.
#[derive(Debug)]
pub struct Knocks {
    arrivals: Arc<Mutex<Vec<Instant>>>,
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Knocks {
    /// From now on.
    pub fn start(from: &NetNs, to: &NetNs, at: SocketAddr) -> Self {
        let receiver = to.run(|| UdpSocket::bind(at)).expect("a port");
        let sender = from.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a port");
        sender.connect(at).expect("a route");
        receiver.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let (arrivals, end): (Arc<Mutex<Vec<Instant>>>, Arc<AtomicBool>) = Default::default();
        let (noted, over, ended) = (Arc::clone(&arrivals), Arc::clone(&end), Arc::clone(&end));
        let send = move || {
            while !over.load(Ordering::Relaxed) {
                let _refused = sender.send(b"knock");
                thread::sleep(PACE); // The pace.
            }
        };
        let receive = move || {
            while !ended.load(Ordering::Relaxed) {
                if receiver.recv(&mut [0; 16]).is_ok() {
                    noted.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                }
            }
        };
        Self { arrivals, end, threads: vec![thread::spawn(send), thread::spawn(receive)] }
    }

    /// How many came since then.
    pub fn since(&self, then: Instant) -> usize {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|time| **time >= then).count()
    }

    /// From the first that came since then to the last; zero where none did.
    pub fn open_since(&self, then: Instant) -> Duration {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let first = arrivals.iter().find(|time| **time >= then);
        first.zip(arrivals.last()).map_or(Duration::ZERO, |(first, last)| last.saturating_duration_since(*first))
    }

    /// The last that came.
    pub fn last(&self) -> Option<Instant> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).last().copied()
    }

    /// Waits until they get through.
    #[track_caller]
    pub fn await_open(&self) {
        let now = Instant::now();
        assert!(wait_until(PATIENCE, || self.since(now) > 0), "nothing gets through");
    }

    /// Waits until they no longer do.
    #[track_caller]
    pub fn await_shut(&self) {
        let shut = || self.last().is_none_or(|last| last.elapsed() > QUIET);
        assert!(wait_until(PATIENCE, shut), "they still get through");
    }
}

impl Drop for Knocks {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}
