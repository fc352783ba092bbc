//! An engine with maps and a journal of its own, for trials on a scratch namespace: it neither sees nor disturbs the experiments
//! of this machine, and what it makes is gone with its process.

use super::{
    Active, Engine, EngineError, Request, Session, journal::Home, lease::Leases, lookup::Known, prepare::all,
    run::check_names,
};
use chaos_outcome::FaultReport;
use std::sync::{Arc, Mutex};

impl Engine {
    /// Of a session that no journal names; see [`Session::private`].
    ///
    /// # Errors
    /// Where the maps cannot be opened again or no thread can be made.
    pub fn private(session: Session) -> Result<Self, EngineError> {
        let leases = Leases::new(session.datapath.reopen()?, session.hz)?;
        Ok(Self { session: Arc::new(Mutex::new(session)), leases, home: Home::private() })
    }

    /// Prepares further requests, or none: a failure rolls back all that this engine has prepared.
    ///
    /// # Errors
    /// By exit code; see [`EngineError`].
    pub fn add(&self, requests: Vec<Request>) -> Result<Vec<Active>, EngineError> {
        let mut locked = self.home.lock()?;
        check_names(&locked, requests.iter())?;
        // A trial names no hosts.
        let requests = requests.into_iter().map(|request| (request, Known::default())).collect();
        all(&mut locked, &mut self.session(), requests)
    }
}

impl Active {
    /// The report of a fault, by its index in the experiment, on the first target.
    #[must_use]
    pub fn report_of<'a>(&self, fault: usize, reports: &'a [FaultReport]) -> Option<&'a FaultReport> {
        let place = self.placed.iter().position(|placed| self.plan.rules[placed.plan].fault == fault)?;
        reports.get(place)
    }
}
