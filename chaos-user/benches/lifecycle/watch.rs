//! When packets begin to be lost, or to pass, as their sender and their receiver see it.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::stage::Stage;

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The first datagram that is lost.
    Lost,
    /// The first that arrives.
    Passed,
}

/// Between two datagrams.
const EVERY: Duration = Duration::from_micros(20);
/// Before the deed and after it.
const AROUND: Duration = Duration::from_millis(10);

/// From the begin of the deed to when the first datagram was sent that had this fate, in ms.
pub fn until(stage: &Stage, fate: Until, deed: impl FnOnce()) -> f64 {
    let (target, hub) = stage.wire();
    let to = hub.local_addr().expect("an address");
    let over = AtomicBool::new(false);
    let (begin, sent, arrived) = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent: Vec<Instant> = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let number = sent.len() as u64;
                sent.push(Instant::now());
                // A refusal is a loss.
                let _ = target.send_to(&number.to_le_bytes(), to);
                thread::sleep(EVERY);
            }
            sent
        });
        let receiver = scope.spawn(|| {
            let (mut arrived, mut buffer) = (HashSet::new(), [0; 8]);
            loop {
                match hub.recv(&mut buffer) {
                    Ok(8) => {
                        arrived.insert(u64::from_le_bytes(buffer));
                    }
                    // Nothing within the socket's time limit.
                    _ if over.load(Ordering::Relaxed) => break,
                    _ => {}
                }
            }
            arrived
        });
        thread::sleep(AROUND);
        let begin = Instant::now();
        deed();
        thread::sleep(AROUND);
        over.store(true, Ordering::Relaxed);
        (begin, sender.join().expect("the sender"), receiver.join().expect("the receiver"))
    });
    let has_fate = |number: &usize| arrived.contains(&(*number as u64)) == (fate == Until::Passed);
    let first = (0..sent.len()).find(|number| sent[*number] >= begin && has_fate(number));
    let first = first.expect("the deed has an effect");
    (sent[first] - begin).as_secs_f64() * 1000.0
}
