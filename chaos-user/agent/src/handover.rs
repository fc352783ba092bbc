//! From one process of this agent to the next: who begins, and what is left behind in order.

use super::{
    notebook::Notebook,
    turn::{Follower, Turn},
    worker::Worker,
};
use chaos_outcome::EngineError;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// How long a process that is to end waits for the next one to be prepared: less than its pod is given (terminationGracePeriodSeconds).
const PATIENCE: Duration = Duration::from_secs(20);
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
                self.stand_by();
                return false;
            }
            Err(error) => {
                self.hindered_by(&error);
                return false;
            }
        }
        tracing::info!("takes over from the agent's process before");
        self.owns = true;
        match self.engine.take_over() {
            Ok(reaped) if reaped.runs.is_empty() => {}
            Ok(reaped) => tracing::warn!("removed what dead processes left: {}", reaped.runs.join(", ")),
            Err(error) => {
                self.failed(&error);
                tracing::error!("take away what the process before left: {error}; the next experiment tries again");
            }
        }
        self.notebook = Notebook::open();
        let noted = self.notebook.uids();
        let gone: Vec<String> = noted.filter(|uid| !self.parts.contains_key(*uid)).cloned().collect();
        gone.iter().for_each(|uid| self.forget_part(uid));
        self.look_at_all();
        true
    }

    /// Once everything else is prepared, too.
    fn stand_by(&mut self) {
        if self.stands_by || !self.prepared.load(Ordering::Acquire) {
            return;
        }
        match self.turn.prepared() {
            Ok(()) => {
                self.stands_by = true;
                tracing::info!("is prepared, and stands by");
            }
            Err(error) => self.hindered_by(&error),
        }
    }

    /// It is tried again at each glance: to say it once is enough.
    fn hindered_by(&mut self, error: &EngineError) {
        if self.hindered.replace(error.to_string()).is_none_or(|before| before != error.to_string()) {
            self.failed(error);
            tracing::error!("{error}");
        }
    }

    /// Writes down what is, so that the next process goes on from it, and takes everything away.
    pub(super) fn end(mut self) {
        if !self.owns {
            return;
        }
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
}

/// Where the next process has begun, it is given the time to prepare: until then this one does its work, told to end or not.
pub async fn await_follower(turn: &Turn) {
    let since = Instant::now();
    while since.elapsed() < PATIENCE && matches!(turn.follower(), Ok(Follower::Coming)) {
        tokio::time::sleep(GLANCE).await;
    }
}
