//! How many probes ask at one moment: each namespace has a share of what there is, so that nobody's probes keep out another's.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Connections of all namespaces together.
const OF_ALL: usize = 512;
/// Connections of one namespace.
const OF_ONE: usize = 64;
/// A place is taken for at least so long, which bounds the connections that a namespace makes in a second.
const HELD: Duration = Duration::from_millis(100);

/// The thread that all probes of the process share.
///
/// # Errors
/// Where it cannot be made.
pub fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("probes").enable_all().build()?;
    // Another one that was made meanwhile is ended without waiting, because this may be a thread of a runtime.
    if let Err(second) = RUNTIME.set(runtime) {
        second.shutdown_background();
    }
    RUNTIME.get().ok_or_else(|| io::Error::other("no runtime"))
}

/// Where a probe waits for its turn.
#[derive(Clone, Debug)]
pub struct Places {
    /// Of its namespace, and of all.
    of: Option<(Arc<Semaphore>, Arc<Semaphore>)>,
}

/// A turn.
pub struct Place(Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>);

impl Places {
    /// No bound: one user's probes on one machine.
    #[must_use]
    pub const fn unbounded() -> Self {
        Self { of: None }
    }

    /// The share of a namespace.
    #[must_use]
    pub fn of(namespace: &str) -> Self {
        static ALL: OnceLock<Arc<Semaphore>> = OnceLock::new();
        static SHARES: OnceLock<Mutex<HashMap<String, Weak<Semaphore>>>> = OnceLock::new();
        let all = Arc::clone(ALL.get_or_init(|| Arc::new(Semaphore::new(OF_ALL))));
        let mut shares = SHARES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        let own = shares.get(namespace).and_then(Weak::upgrade).unwrap_or_else(|| {
            shares.retain(|_, share| share.strong_count() > 0);
            let own = Arc::new(Semaphore::new(OF_ONE));
            shares.insert(namespace.to_owned(), Arc::downgrade(&own));
            own
        });
        Self { of: Some((own, all)) }
    }

    /// Waits for a turn; those who wait are served in order.
    pub async fn take(&self) -> Place {
        let Some((own, all)) = &self.of else { return Place(None) };
        // Its own share first: who waits for that stands in nobody else's way. Neither is ever closed.
        let Ok(own) = Arc::clone(own).acquire_owned().await else { return Place(None) };
        let Ok(all) = Arc::clone(all).acquire_owned().await else { return Place(None) };
        Place(Some((own, all)))
    }
}

impl Place {
    /// Gives it back once it has been held long enough. `took` is how long it was used.
    pub fn give_back(self, took: Duration) {
        let Some((own, all)) = self.0 else { return };
        drop(all);
        let left = HELD.saturating_sub(took);
        if !left.is_zero() {
            tokio::spawn(async move {
                tokio::time::sleep(left).await;
                drop(own);
            });
        }
    }
}
