//! An engine that gets its experiments one by one: the node agent's.

use super::{
    Active, Engine, EngineError, Request, Session,
    journal::{Home, Locked},
    lease::Leases,
    lookup, marks,
    prepare::all,
    reap::{self, Reaped},
    run::{check_names, permitted, ready},
};
use std::sync::{Arc, Mutex};

impl Engine {
    /// Takes away what dead processes left, and loads the programs, so that the first experiment need not wait for that.
    ///
    /// # Errors
    /// By exit code; see [`EngineError`].
    pub fn open() -> Result<(Self, Reaped), EngineError> {
        let (mut locked, _) = marks::lock()?;
        let reaped = reap::reap(&mut locked)?;
        marks::clear_way(&locked.journal, None)?;
        let session = Session::open(&mut locked)?;
        locked.save()?;
        let leases = Leases::new(session.datapath.reopen()?, session.hz)?;
        Ok((Self { session: Arc::new(Mutex::new(session)), leases, home: Home::Node }, reaped))
    }

    /// An engine beside that of another process, which owns the node's experiments: with programs of its own, and nothing is touched.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn beside() -> Result<Self, EngineError> {
        let session = Session::private()?;
        let leases = Leases::new(session.datapath.reopen()?, session.hz)?;
        Ok(Self { session: Arc::new(Mutex::new(session)), leases, home: Home::Node })
    }

    /// Takes away what the process left that owned the node's experiments until now, and others that are dead.
    ///
    /// # Errors
    /// Where the journal cannot be locked; what could not be taken away.
    pub fn take_over(&self) -> Result<Reaped, EngineError> {
        reap::reap(&mut marks::lock()?.0)
    }

    /// Prepares one more experiment; a failure leaves the others as they are.
    ///
    /// # Errors
    /// By exit code; see [`EngineError`].
    pub fn add_one(&mut self, request: Request) -> Result<Active, EngineError> {
        // Before the lock, for nameservers may be slow.
        let known = lookup::look_up(&request.plan, &request.targets);
        let (mut locked, was_lost) = marks::lock()?;
        permitted(&self.home)?;
        reap::reap(&mut locked)?;
        marks::clear_way(&locked.journal, (!was_lost).then(|| request.places()))?;
        check_names(&locked, std::iter::once(&request))?;
        self.meet(&mut locked)?;
        let requests = vec![(request, known)];
        let mut session = self.session();
        ready(&session, &requests)?;
        let mut active = all(&mut locked, &mut session, requests)?;
        active.pop().ok_or_else(|| EngineError::Failed("nothing was prepared".into()))
    }

    /// All processes of a node share one set of maps. Where others began to while this one had no experiment, it takes theirs.
    fn meet(&mut self, locked: &mut Locked) -> Result<(), EngineError> {
        let mine = self.session().datapath.ids().clone();
        if locked.journal.datapath.as_ref() == Some(&mine) {
            return Ok(());
        }
        marks::all_named(&locked.journal, &self.session().datapath)?;
        if locked.live().next().is_none() {
            locked.journal.datapath = Some(mine);
            return locked.save();
        }
        let session = Session::open(locked)?;
        self.leases = Leases::going_on(session.datapath.reopen()?, session.hz, self.leases.renewed())?;
        self.session = Arc::new(Mutex::new(session));
        Ok(())
    }
}
