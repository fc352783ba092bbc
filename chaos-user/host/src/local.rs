//! The selectors of a machine without a cluster: cgroup, netns, pid, unit, container.
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

use super::{
    Interface,
    cgroup::{self, Tree},
    decide::Members,
    error::{Problem, ResolveError},
    host::Host,
    names_of_containers,
    names_of_users::{self, Named},
    near::did_you_mean,
    process::Processes,
    runtime,
    target::{NetnsRef, Target, TargetKind},
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// A path below the cgroup2 mount.
    Cgroup(String),
    /// A name in `/run/netns`, or a path.
    Netns(String),
    /// A process.
    Pid(i32),
    /// A systemd unit; without a suffix a service.
    Unit(String),
    /// A container's id or a unique beginning of it.
    Container(String),
    /// The command of this name, which is still to be started in the cgroup of this last component below our own.
    Command(String, String),
}

impl Wanted {
    /// Which kind of target it names.
    pub fn kind(&self) -> TargetKind {
        match self {
            Self::Cgroup(_) => TargetKind::Cgroup,
            Self::Netns(_) => TargetKind::Netns,
            Self::Pid(_) => TargetKind::Pid,
            Self::Unit(_) => TargetKind::Unit,
            Self::Container(_) => TargetKind::Container,
            Self::Command(..) => TargetKind::Command,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "pid {pid}"),
            Self::Cgroup(name)
            | Self::Netns(name)
            | Self::Unit(name)
            | Self::Container(name)
            | Self::Command(name, _) => {
                write!(f, "{} {name}", self.kind().as_str())
            }
        }
    }
}

/// One entry of a list of selectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Path of the entry in the experiment, such as `spec.selector.local[0]`.
    pub field: String,
    /// What it asks for.
    pub wanted: Wanted,
}

/// What the faults need of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Its network namespace, for packets; its cgroup too, where it has one.
    Network,
    /// Its cgroup alone, for system calls: whether anybody is in it, and in which namespaces, is all the same.
    Cgroup,
}

/// What resolving needs of the kernel beside files.
pub trait Interfaces {
    /// The interfaces in a namespace. Errors: [`super::Reason::Absent`] when the descriptor is of no network namespace,
    /// [`super::Reason::Unsupported`] without the rights to enter it.
    fn interfaces(&self, netns: &NetnsRef) -> Result<Vec<Interface>, Problem>;
}

/// The targets, each once.
#[derive(Debug, Clone, Default)]
pub struct Resolution {
    /// In the order of the selectors.
    pub targets: Vec<Target>,
    /// For people: entries that mean the same.
    pub warnings: Vec<String>,
}

/// Finds the target of every selector. Two that mean the same become one, with a warning.
/// Errors: all problems at once.
pub fn resolve_local(
    host: &Host,
    kernel: &dyn Interfaces,
    needs: Needs,
    selectors: &[Selector],
) -> Result<Resolution, Vec<ResolveError>> {
    let finder = Finder { host, kernel, needs, processes: Processes::read(host), interfaces: RefCell::default() };
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for selector in selectors {
        match finder.find(&selector.wanted) {
            Ok(target) => found.push((
                selector,
                Target { wanted: target.wanted.clone().or_else(|| Some(selector.wanted.clone())), ..target },
            )),
            Err(problem) => errors.push(ResolveError {
                field: format!("{}.{}", selector.field, selector.wanted.kind().as_str()),
                reason: problem.reason,
                text: problem.text,
            }),
        }
    }
    if errors.is_empty() { Ok(merge(found)) } else { Err(errors) }
}

fn merge(found: Vec<(&Selector, Target)>) -> Resolution {
    let mut resolution = Resolution::default();
    let mut first_fields: Vec<&str> = Vec::new();
    for (selector, target) in found {
        let same = resolution.targets.iter().position(|earlier| earlier.key() == target.key());
        let Some(at) = same else {
            let dice = resolution.targets.len() as u64;
            resolution.targets.push(Target { dice, ..target });
            first_fields.push(&selector.field);
            continue;
        };
        let (earlier, field) = (&mut resolution.targets[at], first_fields[at]);
        resolution.warnings.push(format!(
            "{}: {} is the same target as {field} ({} {}); it is taken once",
            selector.field,
            selector.wanted,
            earlier.kind.as_str(),
            earlier.name
        ));
        // Of a bare namespace and its container, the container knows the cgroup for syscall faults.
        if earlier.cgroup.is_none() {
            earlier.cgroup = target.cgroup;
        }
        earlier.pids = earlier.pids.iter().chain(&target.pids).copied().collect::<BTreeSet<_>>().into_iter().collect();
    }
    resolution
}

/// Characters of an id as runtimes show it.
const SHORT: usize = 12;

pub(super) struct Finder<'a> {
    pub(super) host: &'a Host,
    pub(super) kernel: &'a dyn Interfaces,
    pub(super) needs: Needs,
    pub(super) processes: Processes,
    /// By namespace, as many targets may share one.
    pub(super) interfaces: RefCell<BTreeMap<u64, Vec<Interface>>>,
}

impl Finder<'_> {
    fn find(&self, wanted: &Wanted) -> Result<Target, Problem> {
        match wanted {
            Wanted::Netns(name) => self.netns(name),
            Wanted::Pid(pid) => self.pid(*pid),
            Wanted::Cgroup(path) => self.cgroup(path),
            Wanted::Unit(name) => self.unit(name),
            Wanted::Container(id) => self.container(id),
            Wanted::Command(name, group) => self.command(name, group),
        }
    }

    pub(super) fn unified(&self) -> Result<&Tree, Problem> {
        self.host.unified.as_ref().map_err(|why| Problem::unsupported(why.clone()))
    }

    fn netns(&self, name: &str) -> Result<Target, Problem> {
        let by_name = !name.contains('/');
        let path = if by_name { self.host.netns.join(name) } else { PathBuf::from(name) };
        let absent = |why: String| {
            let folder = fs::read_dir(&self.host.netns).into_iter().flatten().flatten();
            let names: Vec<String> = folder.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            let near = did_you_mean(name, names.iter().map(String::as_str));
            Problem::absent(format!("no network namespace {name:?}: {}: {why}{near}", path.display()))
        };
        if matches!(name, "" | "." | "..") {
            return Err(absent("this is no name".to_owned()));
        }
        let netns = NetnsRef::open(&path).map_err(|e| absent(e.to_string()))?;
        self.of_namespace(name, netns)
    }

    fn cgroup(&self, path: &str) -> Result<Target, Problem> {
        let tree = self.unified()?;
        let mount = tree.mount.as_path();
        let directory = cgroup::join(mount, path)
            .ok_or_else(|| Problem::absent(format!("{path:?}: give a path below {} without ..", mount.display())))?;
        if !directory.is_dir() {
            return Err(self.no_cgroup(mount, path));
        }
        let members = Members::of_directory(tree, directory, path);
        self.decide(TargetKind::Cgroup, path, members)
    }

    fn no_cgroup(&self, mount: &Path, path: &str) -> Problem {
        let below = path.trim_matches('/');
        if let Some(tree) = self.host.legacy.iter().find(|tree| tree.mount.join(below).is_dir()) {
            return Problem::unsupported(format!(
                "the cgroup {path:?} is only in the cgroup v1 tree {} ({}); packets and calls can be told apart by \
                 cgroup2 alone, mounted at {}",
                tree.mount.display(),
                tree.name,
                mount.display()
            ));
        }
        let all: Vec<String> = cgroup::directories(mount)
            .iter()
            .filter_map(|directory| Some(format!("/{}", directory.strip_prefix(mount).ok()?.display())))
            .collect();
        let near = did_you_mean(&format!("/{below}"), all.iter().map(String::as_str).filter(|path| *path != "/"));
        Problem::absent(format!("no cgroup {path:?} below {}{near}", mount.display()))
    }

    fn unit(&self, name: &str) -> Result<Target, Problem> {
        let unit = runtime::unit_name(name);
        // Its cgroup bears its own name, by whichever it was started.
        let own = self.own_name(&unit);
        for unit in [Some(&unit), own.as_ref()].into_iter().flatten() {
            let is_unit = |directory: &Path| directory.file_name().is_some_and(|found| found == unit.as_str());
            if let Some(members) = self.search("unit", unit, is_unit)? {
                return self.decide(TargetKind::Unit, unit, members);
            }
        }
        if let Some(target) = self.not_started(own.as_ref().unwrap_or(&unit))? {
            return Ok(target);
        }
        let known = self.names_in_trees(|directory| {
            let name = directory.file_name()?.to_str()?;
            runtime::UNIT_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)).then(|| name.to_owned())
        });
        let near = did_you_mean(&unit, known.iter().map(String::as_str));
        // Where the tree cannot be looked at, that is why.
        let why = self.unified().err().map_or_else(String::new, |problem| format!("; {}", problem.text));
        let text = format!("no cgroup of a unit {unit:?}: it does not run, or is not known to systemd{near}{why}");
        Err(Problem::absent(text))
    }

    fn container(&self, wanted: &str) -> Result<Target, Problem> {
        let prefix = runtime::bare_id(wanted).to_ascii_lowercase();
        let ids = self.names_in_trees(|directory| runtime::container_id(directory).map(str::to_owned));
        let fits: Vec<&String> = ids.iter().filter(|id| !prefix.is_empty() && id.starts_with(&prefix)).collect();
        let short = |id: &str| id.get(..12).unwrap_or(id).to_owned();
        let named;
        let (id, of_pod) = match fits[..] {
            // A short beginning may be somebody's name, too: db is one.
            [id] if prefix.len() < SHORT => match self.by_name(runtime::bare_id(wanted), &ids) {
                Ok((other, _)) if other != *id => {
                    let (id, other) = (short(id), short(&other));
                    let text =
                        format!("{wanted:?} begins the id {id} and is the name of {other}; write one of these ids");
                    return Err(Problem::absent(text));
                }
                _ => (id, false),
            },
            [id] => (id, false),
            [] => {
                named = self.by_name(runtime::bare_id(wanted), &ids)?;
                (&named.0, named.1)
            }
            _ => {
                let all: Vec<String> = fits.iter().take(5).map(|id| short(id)).collect();
                let text =
                    format!("{wanted:?} is the beginning of {} ids: {}; write more of it", fits.len(), all.join(", "));
                return Err(Problem::absent(text));
            }
        };
        match self.search("container", id, |directory| runtime::container_id(directory) == Some(id))? {
            // When it ends, a pod of somebody else may have one of that name: it is followed by its id alone.
            Some(members) => self
                .decide(TargetKind::Container, &short(id), members)
                .map(|target| Target { wanted: of_pod.then(|| Wanted::Container(id.clone())), ..target }),
            None => Err(Problem::absent(format!("the container {wanted:?} has just ended"))),
        }
    }

    /// The id of the one container that has this name and runs, and whether the name is one within a pod or of a user's: such a name stands
    /// behind the same of Docker, Podman or nerdctl, also of one that does not run.
    fn by_name(&self, wanted: &str, running: &BTreeSet<String>) -> Result<(String, bool), Problem> {
        // As of the programs that are protected: root's files, or our own in a test.
        let trusted = |uid: u32| uid == 0 || uid == nix::unistd::geteuid().as_raw();
        let mut known = names_of_containers::all(&self.host.root, trusted);
        if !known.iter().any(|one| one.name == wanted) {
            let unified = self.host.unified.iter().map(|tree| tree.mount.as_path());
            let mounts: Vec<&Path> = unified.chain(self.host.legacy.iter().map(|tree| tree.mount.as_path())).collect();
            let whose = |directory: &Path| {
                let id = runtime::container_id(directory)?.to_owned();
                let below = mounts.iter().find_map(|mount| directory.strip_prefix(mount).ok())?;
                Some((names_of_users::owner_of(below), id))
            };
            known.extend(names_of_users::all(&self.host.root, &self.names_in_trees(whose)));
        }
        let short = |id: &str| id.get(..12).unwrap_or(id).to_owned();
        let mut fits: Vec<&Named> = known.iter().filter(|one| one.name == wanted).collect();
        let of_pod = fits.iter().all(|one| one.of_pod);
        fits.retain(|one| one.of_pod == of_pod);
        let run: BTreeSet<&String> = fits.iter().filter_map(|one| running.get(&one.id)).collect();
        let text = match (fits.first(), run.len()) {
            (Some(_), 1) => return Ok((run.into_iter().next().cloned().unwrap_or_default(), of_pod)),
            (Some(one), 0) => format!("the container {wanted:?} ({}) does not run", short(&one.id)),
            (Some(_), many) => {
                let ids: Vec<String> = run.iter().take(5).map(|id| short(id)).collect();
                format!("{wanted:?} is the name of {many} containers: {}; write one of these ids", ids.join(", "))
            }
            (None, _) => {
                let names = known.iter().map(|one| one.name.as_str());
                let near = did_you_mean(wanted, names.chain(running.iter().filter_map(|id| id.get(..12))));
                format!(
                    "no cgroup of a container {wanted:?} of Docker, Podman, containerd or CRI-O, by id or by name{near}; \
                     docker ps, podman ps, nerdctl ps or crictl ps show the ids, which serve also where a user's Podman has its storage elsewhere"
                )
            }
        };
        Err(Problem::absent(text))
    }

    fn pid(&self, pid: i32) -> Result<Target, Problem> {
        let process = self.processes.get(pid).ok_or_else(|| Problem::absent(format!("no process {pid}")))?;
        let name = format!("{pid} ({})", process.comm);
        let family = self.processes.family(pid);
        let Some(netns) = process.netns.or((self.needs == Needs::Cgroup).then_some(0)) else {
            return Err(self.unreadable(&format!("process {name}"), &family));
        };
        let directory = self.unified().ok().and_then(|tree| {
            let directory = cgroup::of_process(&tree.mount, pid, process.cgroup.as_deref())?;
            cgroup::scope(tree, &directory)
        });
        let strangers: Vec<i32> = directory
            .iter()
            .flat_map(|scope| cgroup::processes_below(&scope.directory))
            .filter(|other| !family.contains(other))
            .collect();
        let alone = strangers.is_empty();
        let members = Members { scope: directory.filter(|_| alone), pids: family, place: format!("process {name}") };
        if !alone && (self.needs == Needs::Cgroup || !self.owns_netns(netns, &members.pids)?) {
            return Err(self.pid_refused(process, netns, &strangers));
        }
        self.decide(TargetKind::Pid, &name, members)
    }
}
