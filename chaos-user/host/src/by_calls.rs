//! Targets of faults of system calls alone: a cgroup is enough, whoever is in it, or will be.
use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    cgroup,
    decide::{Members, too_large},
    error::Problem,
    local::{Finder, Needs},
    target::{CgroupScope, NetnsRef, Probed, ScopedBy, Target, TargetKind},
};

/// The cgroup of services that name no other (systemd.special(7)).
const SLICE: &str = "system.slice";
/// Bytes of a unit's file that are read.
const MOST: u64 = 1 << 20;

impl Finder<'_> {
    /// By its cgroup, of which nobody need be a member yet.
    pub(super) fn by_cgroup(&self, kind: TargetKind, name: &str, members: Members) -> Result<Target, Problem> {
        if members.scope.as_ref().is_some_and(|scope| scope.shown_level() < 2) {
            return Err(too_large(&members));
        }
        let Members { scope: Some(scope), pids, .. } = members else {
            let why = self.unified().err().map_or_else(String::new, |problem| format!(" ({})", problem.text));
            return Err(Problem::unsupported(format!(
                "{}: no cgroup of the cgroup2 hierarchy holds exactly its processes{why}, and system calls are told apart by that \
                 alone; start it in one of its own",
                members.place
            )));
        };
        of_scope(kind, name, scope, pids.into_iter().collect())
    }

    /// A command that is still to be started: in a cgroup below our own, whose limits it keeps, and in our network namespace.
    pub(super) fn command(&self, name: &str, group: &str) -> Result<Target, Problem> {
        let tree = self.unified()?;
        let own = cgroup::own(tree).and_then(|directory| cgroup::scope(tree, &directory));
        let above = own.ok_or_else(|| {
            Problem::unsupported("our own cgroup is not below the cgroup2 mount, so a command can have none of its own")
        })?;
        let scope = CgroupScope {
            path: format!("{}/{group}", above.path.trim_end_matches('/')),
            directory: above.directory.join(group),
            id: 0,
            level: above.level + 1,
            depth: above.depth,
        };
        let target = of_scope(TargetKind::Command, name, scope, Vec::new())?;
        if self.needs == Needs::Cgroup {
            return Ok(target);
        }
        let path = self.host.proc.join("self/ns/net");
        let netns = NetnsRef::open(&path).map_err(|e| Problem::unsupported(format!("{}: {e}", path.display())))?;
        let interfaces = self.kernel.interfaces(&netns)?;
        Ok(Target { shares_host_netns: true, interfaces, netns, ..target })
    }

    /// The unit of which this one is another name.
    pub(super) fn own_name(&self, unit: &str) -> Option<String> {
        self.decides(unit).and_then(|folder| other_name(folder, unit))
    }

    /// The first folder that has a unit's file: only that one counts, also where it is a link to /dev/null (systemd.unit(5)).
    fn decides(&self, unit: &str) -> Option<&Path> {
        let mut folders = self.host.units.iter().filter(|_| !unit.contains('/'));
        folders.find(|folder| folder.join(unit).symlink_metadata().is_ok()).map(PathBuf::as_path)
    }

    /// A service that systemd knows and has not started: its cgroup is to be made before, so that its first call is hit.
    pub(super) fn not_started(&self, unit: &str) -> Result<Option<Target>, Problem> {
        let may_be = unit.ends_with(".service") && !unit.ends_with("@.service") && !unit.contains('/');
        if self.needs != Needs::Cgroup || !may_be {
            return Ok(None);
        }
        let template = template(unit);
        let files: Vec<&str> =
            [unit].into_iter().chain(template.as_ref().map(|template| template.file.as_str())).collect();
        let any = |found: &dyn Fn(&Path, &str) -> bool| {
            self.host.units.iter().any(|folder| files.iter().any(|file| found(folder, file)))
        };
        let Ok(tree) = self.unified() else { return Ok(None) };
        let mut slice = tree.mount.join(SLICE);
        // The instance's own file comes before the template's.
        let file = files.iter().find_map(|file| Some(self.decides(file)?.join(file)));
        if !file.is_some_and(|file| file.is_file()) || !slice.is_dir() {
            return Ok(None);
        }
        if any(&is_elsewhere) {
            let text = format!("the unit {unit:?} does not run, and its file names a slice: start it first");
            return Err(Problem::absent(text));
        }
        if let Some(template) = template {
            slice.push(&template.slice);
            if !slice.is_dir() {
                let text = format!("the unit {unit:?} does not run, nor does another of its template: start it first");
                return Err(Problem::absent(text));
            }
        }
        let above = cgroup::scope(tree, &slice).ok_or_else(|| Problem::absent("its slice has just gone"))?;
        let scope = CgroupScope {
            path: format!("{}/{unit}", above.path),
            directory: slice.join(unit),
            // Its directory is still to be made.
            id: 0,
            level: above.level + 1,
            depth: above.depth,
        };
        of_scope(TargetKind::Unit, unit, scope, Vec::new()).map(Some)
    }
}

/// A target of calls.
fn of_scope(kind: TargetKind, name: &str, scope: CgroupScope, pids: Vec<i32>) -> Result<Target, Problem> {
    let netns = NetnsRef::none().map_err(|e| Problem::unsupported(format!("open /dev/null: {e}")))?;
    Ok(Target {
        kind,
        name: name.to_owned(),
        netns,
        shares_host_netns: false,
        scoped_by: ScopedBy::Cgroup,
        cgroup: Some(scope),
        interfaces: Vec::new(),
        pids,
        wanted: None,
        probed: Probed::default(),
        dice: 0,
    })
}

/// What an instance of a template is made of.
struct Template {
    /// The template's file.
    file: String,
    /// Below that of services: where instances are that name no other (systemd.unit(5), systemd/src/core/unit.c,
    /// `unit_set_default_slice`).
    slice: String,
}

fn template(unit: &str) -> Option<Template> {
    let (prefix, instance) = unit.strip_suffix(".service")?.split_once('@')?;
    if prefix.is_empty() || instance.is_empty() {
        return None;
    }
    // A dash would be a slice within a slice (systemd-escape(1)).
    let escaped: String = prefix
        .bytes()
        .map(|byte| match byte {
            b':' | b'_' | b'.' => char::from(byte).to_string(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        })
        .collect();
    Some(Template { file: format!("{prefix}@.service"), slice: format!("system-{escaped}.slice") })
}

/// The unit of which this one is an alias: its file is a link (systemd.unit(5), "Alias=").
fn other_name(folder: &Path, unit: &str) -> Option<String> {
    let file = fs::canonicalize(folder.join(unit)).ok()?;
    let name = file.file_name()?.to_str()?;
    (name != unit && name.ends_with(".service")).then(|| name.to_owned())
}

/// Does a file of the unit, or a piece of it, name a slice? Pieces may be of all services, and of all whose name begins alike
/// (systemd.unit(5): `service.d`, `web-.service.d`, `web-1.service.d`).
fn is_elsewhere(folder: &Path, unit: &str) -> bool {
    let alike =
        unit.char_indices().filter(|(_, letter)| *letter == '-').map(|(at, _)| format!("{}.service.d", &unit[..=at]));
    let folders = alike.chain([format!("{unit}.d"), "service.d".to_owned()]);
    let pieces = folders.flat_map(|name| fs::read_dir(folder.join(name))).flatten().flatten().map(|entry| entry.path());
    let names_slice = |path: &Path| {
        let small = fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= MOST);
        let text = if small { fs::read_to_string(path).unwrap_or_default() } else { String::new() };
        text.lines().any(|line| line.trim_start().starts_with("Slice"))
    };
    pieces.chain([folder.join(unit)]).any(|path| names_slice(&path))
}
