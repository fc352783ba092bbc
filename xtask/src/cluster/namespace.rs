//! Network namespaces: made and furnished by `ip`, entered by threads.

use std::{fs::File, process::Command, thread};

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use super::state;
use crate::process;

/// `ip WORDS`, split at spaces.
pub fn ip(words: &str) -> Result<String> {
    process::capture(Command::new("ip").args(words.split_whitespace()))
}

/// Does `work` inside a named network namespace, on a thread of its own. Processes that it starts stay there.
pub fn inside<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let path = state::netns(name);
    let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let entered = || {
        setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter the network namespace {name}"))?;
        work()
    };
    let done = thread::scope(|scope| scope.spawn(entered).join());
    done.map_err(|_| anyhow!("the thread in the network namespace {name} panicked"))?
}
