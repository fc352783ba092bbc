//! A cluster that ends with its owner.

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use crate::{
    cluster::{down, state, sweep, up},
    image, setup,
};

/// The nodes of a cluster for tests.
const NODES: u8 = 2;

/// One with the image of the product on its nodes.
pub struct Raised {
    _lock: File,
    ended: bool,
    interrupted: Arc<AtomicBool>,
}

impl Raised {
    /// Starts it, with the build that tests use or with the optimised one; where a series is given with a further node in a virtual
    /// machine with such a kernel. From then on Ctrl-C ends the programs that we run, but not us: there is a cluster to be ended.
    pub fn new(vm: Option<&str>, optimised: bool) -> Result<Self> {
        let lock = setup::lock("cluster")?;
        sweep()?;
        // Before anything is started, that what can fail has not cost a cluster.
        let arguments = image::Arguments { output: None, tag: image::TAG.to_owned(), arch: None, debug: !optimised };
        let product = image::product(&arguments)?;
        state::refuse_a_second()?;
        // Handlers and no mask: programs that we start would inherit a mask, down to the pods.
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, Arc::clone(&interrupted)).context("catch signals")?;
        }
        // Made first, so that a cluster that comes up half goes down, too.
        let raised = Self { _lock: lock, ended: false, interrupted };
        up(NODES, vm, &[product], Some(std::process::id()))?;
        Ok(raised)
    }

    /// Whether somebody wants us to end.
    pub fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Ends it and fails if anything is left.
    pub fn end(mut self) -> Result<()> {
        self.ended = true;
        down()
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if !self.ended
            && let Err(error) = down()
        {
            eprintln!("error: {error:#}");
        }
    }
}
