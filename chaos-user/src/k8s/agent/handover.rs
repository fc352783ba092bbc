//! From one process of this agent to the next: who begins, and what is left behind in order.

use super::{notebook::Notebook, turn::Follower, worker::Worker};
use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

/// How long a process that is to end waits for the next one to be prepared: less than its pod is given (terminationGracePeriodSeconds).
const PATIENCE: Duration = Duration::from_secs(3);
/// How often who stands by looks whether it is its turn, and who is to end whether the other is prepared.
pub const GLANCE: Duration = Duration::from_millis(10);

impl Worker {
    /// Is it this process's turn? What the other one wrote down is read then, and what is gone since is forgotten.
    pub(super) fn is_our_turn(&mut self) -> bool {
        if self.owns {
            return true;
        }
        match self.turn.take() {
            Ok(true) => {}
            Ok(false) => {
                if self.prepared.load(Ordering::Acquire)
                    && let Err(error) = self.turn.prepared()
                {
                    tracing::error!("{error}");
                }
                return false;
            }
            Err(error) => {
                self.failed(&error);
                tracing::error!("{error}");
                return false;
            }
        }
        tracing::info!("takes over from the agent's process before");
        self.owns = true;
        self.notebook = Notebook::open();
        let noted = self.notebook.parts.keys();
        let gone: Vec<String> = noted.filter(|uid| !self.parts.contains_key(*uid)).cloned().collect();
        gone.iter().for_each(|uid| self.forget_part(uid));
        self.look_at_all();
        true
    }

    /// Writes down what is, so that the next process goes on from it, and takes everything away. Where the next one stands by already, it
    /// is given the time to prepare: the faults act until then.
    pub(super) fn end(mut self) {
        if !self.owns {
            return;
        }
        self.await_follower();
        let running = self.running();
        self.note(&running);
        for uid in &running {
            self.notebook.parts.entry(uid.clone()).and_modify(|note| note.in_order = true);
        }
        self.save();
        for uid in &running {
            if let Some(active) = self.parts.get_mut(uid).and_then(|part| part.active.take())
                && let Err(error) = self.engine.leave(&active)
            {
                tracing::error!("take away at the end: {error}; the next start removes what is left");
            }
        }
        if let Err(error) = self.turn.give() {
            tracing::error!("{error}; the next process of the agent begins when this one is gone");
        }
    }

    fn await_follower(&self) {
        let since = Instant::now();
        while since.elapsed() < PATIENCE && matches!(self.turn.follower(), Ok(Follower::Coming)) {
            self.beat.now();
            thread::sleep(GLANCE);
        }
    }
}
