//! Files become plans on targets. All problems of all files are said, one line each.

use crate::{
    engine::{Asker, Request},
    kernel::interfaces::ByNetlink,
    observe::{ExitCode, combined},
    plan::{self, Plan},
    resolve::{self, Host, Needs, Reason, Selector, Target, Wanted},
    spec::{self, LocalTarget, Parsed},
};
use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The text of a file, and no more of it than the parser takes: one byte beyond that lets the parser say so.
fn text(file: &Path) -> io::Result<String> {
    let most = spec::MAX_TEXT as u64 + 1;
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().lock().take(most).read_to_string(&mut text)?;
        return Ok(text);
    }
    // Opening a FIFO would wait for somebody who writes.
    let opened = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file)?;
    let kind = opened.metadata()?;
    if !kind.is_file() {
        let what = if kind.is_dir() { "a directory" } else { "no regular file" };
        return Err(io::Error::other(format!("{what}; name a file, or - and give the text on stdin")));
    }
    opened.take(most).read_to_string(&mut text)?;
    Ok(text)
}

/// Parses all files; the problems have been said.
pub fn parse(files: &[PathBuf]) -> Result<Vec<Parsed>, ExitCode> {
    let mut all = Vec::new();
    let mut good = true;
    for file in files {
        let name = file.display().to_string();
        let parsed = text(file).map_err(|error| vec![format!("{name}: {error}")]).and_then(|text| {
            spec::parse(&name, &text).map_err(|problems| problems.iter().map(ToString::to_string).collect())
        });
        match parsed {
            Ok(parsed) => all.extend(parsed),
            Err(lines) => {
                good = false;
                lines.iter().for_each(|line| eprintln!("{line}"));
            }
        }
    }
    if good { Ok(all) } else { Err(ExitCode::Invalid) }
}

/// `chaos validate`.
pub fn validate(files: &[PathBuf]) -> ExitCode {
    match parse(files) {
        Ok(all) => {
            for parsed in all {
                let name = &parsed.experiment.metadata.name;
                parsed.warnings.iter().for_each(|warning| eprintln!("warning: {name}: {warning}"));
                println!("{}: Experiment/{name} is valid", parsed.file());
            }
            ExitCode::Pass
        }
        Err(code) => code,
    }
}

fn wanted(target: &LocalTarget) -> Option<Wanted> {
    let text = |value: &Option<String>, wrap: fn(String) -> Wanted| value.clone().map(wrap);
    text(&target.cgroup, Wanted::Cgroup)
        .or_else(|| text(&target.netns, Wanted::Netns))
        .or_else(|| text(&target.unit, Wanted::Unit))
        .or_else(|| text(&target.container, Wanted::Container))
        .or_else(|| target.pid.and_then(|pid| i32::try_from(pid).ok()).map(Wanted::Pid))
}

/// Files to requests; the problems have been said.
pub fn requests(files: &[PathBuf], dry_run: bool, yes: bool) -> Result<Vec<Request>, ExitCode> {
    let parsed = parse(files)?;
    let host = Host::this().map_err(|problem| {
        eprintln!("{}", problem.text);
        ExitCode::Unsupported
    })?;
    let (mut requests, mut codes) = (Vec::new(), Vec::new());
    for one in parsed {
        match request(&host, one, dry_run, yes) {
            Ok(request) => requests.push(request),
            Err(code) => codes.push(code),
        }
    }
    if codes.is_empty() { Ok(requests) } else { Err(combined(codes)) }
}

fn request(host: &Host, mut parsed: Parsed, dry_run: bool, yes: bool) -> Result<Request, ExitCode> {
    parsed.experiment.spec.dry_run |= dry_run;
    if let Err(finding) = spec::require_local(&parsed.experiment) {
        eprintln!("{}", parsed.problem(finding));
        return Err(ExitCode::Invalid);
    }
    let seed = random_seed();
    let plan = plan::plan(&parsed.experiment, seed).map_err(|refusals| {
        for refusal in refusals {
            eprintln!("{} (Experiment/{}): {refusal}", parsed.file(), parsed.experiment.metadata.name);
        }
        ExitCode::Unsupported
    })?;
    let (targets, mut warnings) = targets(host, &parsed, needs(&plan))?;
    refuse_host(&parsed, &targets, yes)?;
    warnings.splice(0..0, parsed.warnings.iter().cloned());
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    Ok(Request {
        plan,
        targets,
        warnings,
        asker: Asker::Command(command),
        probes: parsed.experiment.spec.probes,
        node: BTreeSet::new(),
        remembered: HashMap::new(),
    })
}

/// What the faults of a plan need of its targets.
pub fn needs(plan: &Plan) -> Needs {
    if plan.needs_network() { Needs::Network } else { Needs::Cgroup }
}

fn targets(host: &Host, parsed: &Parsed, needs: Needs) -> Result<(Vec<Target>, Vec<String>), ExitCode> {
    let local = parsed.experiment.spec.selector.local.iter().enumerate();
    let selectors: Vec<Selector> = local
        .filter_map(|(index, target)| {
            wanted(target).map(|wanted| Selector { field: format!("spec.selector.local[{index}]"), wanted })
        })
        .collect();
    let resolution = resolve::resolve_local(host, &ByNetlink, needs, &selectors).map_err(|errors| {
        combined(errors.into_iter().map(|error| {
            eprintln!("{}", located(parsed, &selectors, &error));
            match error.reason {
                Reason::Absent => ExitCode::Invalid,
                Reason::Refused => ExitCode::Refused,
                Reason::Unsupported => ExitCode::Unsupported,
            }
        }))
    })?;
    Ok((resolution.targets, resolution.warnings))
}

/// The error with file and line.
fn located(parsed: &Parsed, selectors: &[Selector], error: &resolve::ResolveError) -> String {
    let index = selectors.iter().position(|selector| error.field.starts_with(&format!("{}.", selector.field)));
    let Some(index) = index else { return error.to_string() };
    let kind = selectors[index].wanted.kind().as_str();
    let path = spec::Path::root().field("spec.selector.local").index(index).field(kind);
    parsed.problem(spec::Finding::new(path, error.text.clone())).to_string()
}

fn refuse_host(parsed: &Parsed, targets: &[Target], yes: bool) -> Result<(), ExitCode> {
    let Some(target) = targets.iter().find(|target| target.is_host_netns()) else { return Ok(()) };
    if yes {
        return Ok(());
    }
    eprintln!(
        "{} (Experiment/{}): {} {} is the host's network namespace: every packet of this machine would be hit, yours too; \
         --yes allows it, a cgroup or unit as target scopes it",
        parsed.file(),
        parsed.experiment.metadata.name,
        target.kind.as_str(),
        target.name
    );
    Err(ExitCode::Refused)
}

/// A seed for experiments that have none; it is in the report, so that a run can be repeated.
fn random_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mixed = chaos_abi::mix(now.as_nanos() as u64 ^ u64::from(std::process::id()) << 32);
    // What a spec may say: 0 to 2^53, so that JSON carries it exactly.
    mixed >> 11
}
