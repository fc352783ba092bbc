//! A target whose cgroup is made anew, with the same name in the same place: its rules follow.

use super::{Active, Engine, EngineError};
use chaos_abi::maps;
use chaos_host::{CgroupScope, Target};
use chaos_sys::{datapath::map_error, seam};
use std::{fs, os::unix::fs::MetadataExt};

impl Engine {
    /// Has the kernel do that by itself for a target, as soon as its next cgroup is made.
    ///
    /// # Errors
    /// What the kernel says or cannot do: rules follow by [`Engine::follow`] alone then.
    pub fn foresee(&self, active: &Active, target: usize) -> Result<(), EngineError> {
        let Some(scope) = active.targets.get(target).and_then(|target| target.cgroup.as_ref()) else { return Ok(()) };
        let (Some(above), Some(name)) = (scope.directory.parent(), scope.directory.file_name()) else { return Ok(()) };
        let Ok(above) = fs::metadata(above) else { return Ok(()) };
        let rules = rules(active, target);
        self.session().calls()?.foresee(scope.id, (above.ino(), &name.to_string_lossy()), &rules)?;
        Ok(())
    }

    /// Its rules mean the cgroup with this id from now on. They keep what they have counted.
    ///
    /// # Errors
    /// What the kernel says; it can be called again.
    pub fn follow(&self, active: &mut Active, target: usize, id: u64) -> Result<(), EngineError> {
        let Some(before) = active.targets.get(target) else { return Ok(()) };
        let Some(scope) = before.cgroup.clone().filter(|scope| scope.id != id) else { return Ok(()) };
        let mut session = self.session();
        let rules = rules(active, target);
        for &rule in &rules {
            let mut entry = session.datapath.rules.get(&rule, 0).map_err(|e| map_error("read map", maps::RULES, &e))?;
            // Those that mean every packet of the namespace have none; ids grow, so that what the kernel has written since is larger than
            // what was seen here (fs/kernfs/dir.c, `__kernfs_new_node`).
            if entry.cgroup != 0 && entry.cgroup < id {
                entry.cgroup = id;
                seam::run("write map", maps::RULES, || {
                    session.datapath.rules.set(rule, entry, 0).map_err(|e| map_error("write map", maps::RULES, &e))
                })?;
            }
        }
        if let Some(calls) = session.known_calls() {
            calls.follow(scope.id, id, &rules)?;
        }
        drop(session);
        let after = Target { cgroup: Some(CgroupScope { id, ..scope }), pids: Vec::new(), ..before.clone() };
        // What arrives is seen at the cgroup itself.
        self.change(active, target, after)?;
        // The cgroup above it may be another one, too. Without that, rules follow by this function alone.
        let _without = self.foresee(active, target);
        Ok(())
    }
}

fn rules(active: &Active, target: usize) -> Vec<u32> {
    active
        .placed
        .iter()
        .filter(|placed| placed.target == target)
        .flat_map(|placed| placed.ids.iter().copied())
        .collect()
}
