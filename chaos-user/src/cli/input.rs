//! Files become plans on targets. All problems of all files are said, one line each.

use super::command::Command;
use chaos_engine::{Asker, Request, made, wants};
use chaos_host::{self as resolve, ByNetlink, Host, Needs, Reason, Selector, Target, Wanted};
use chaos_outcome::{ExitCode, combined};
use chaos_spec::{
    self as spec, LocalTarget, Parsed,
    plan::{self, Plan},
};
use serde_json::json;
use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsString,
    fs,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// What a command line names.
pub struct Files {
    /// Experiments.
    pub all: Vec<PathBuf>,
    /// A command that is to be started, word by word; empty: none.
    pub command: Vec<OsString>,
    /// They are for a cluster, whose machines may have other system calls than this one.
    pub elsewhere: bool,
}

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
pub fn parse(files: &Files) -> Result<Vec<Parsed>, ExitCode> {
    let (all, mut codes) = (read(files), Vec::new());
    let mut good = Vec::new();
    for one in all {
        match one {
            Ok(parsed) => good.push(parsed),
            Err(refused) => {
                refused.lines.iter().for_each(|line| eprintln!("{line}"));
                codes.push(refused.code);
            }
        }
    }
    if codes.is_empty() { Ok(good) } else { Err(combined(codes)) }
}

/// Why there is no experiment: a line for each problem.
struct Refused {
    file: String,
    lines: Vec<String>,
    code: ExitCode,
}

/// The experiments of all files. What no machine of this kind can plan is refused here already, by every verb.
fn read(files: &Files) -> Vec<Result<Parsed, Refused>> {
    let mut all = Vec::new();
    let parse = if files.command.is_empty() { spec::parse } else { spec::parse_for_command };
    for file in &files.all {
        let name = file.display().to_string();
        let parsed = text(file).map_err(|error| vec![format!("{name}: {error}")]).and_then(|text| {
            parse(&name, &text).map_err(|problems| problems.iter().map(ToString::to_string).collect())
        });
        match parsed {
            Ok(parsed) if files.elsewhere => all.extend(parsed.into_iter().map(Ok)),
            Ok(parsed) => all.extend(parsed.into_iter().map(planned)),
            Err(lines) => all.push(Err(Refused { file: name, lines, code: ExitCode::Invalid })),
        }
    }
    all
}

fn planned(parsed: Parsed) -> Result<Parsed, Refused> {
    let Err(refusals) = plan::plan(&parsed.experiment, 0) else { return Ok(parsed) };
    let code = combined(refusals.iter().map(|refusal| match refusal.invalid {
        true => ExitCode::Invalid,
        false => ExitCode::Unsupported,
    }));
    let line = |refusal: plan::Refusal| {
        parsed.problem(spec::Finding::new(spec::Path::read(&refusal.path), refusal.message)).to_string()
    };
    Err(Refused { file: parsed.file().to_owned(), lines: refusals.into_iter().map(line).collect(), code })
}

/// `chaos validate`.
pub fn validate(files: &Files, json: bool) -> ExitCode {
    let mut codes = Vec::new();
    for one in read(files) {
        let object = match &one {
            Ok(parsed) => {
                let name = &parsed.experiment.metadata.name;
                json!({ "file": parsed.file(), "experiment": name, "valid": true, "warnings": parsed.warnings, "problems": [] })
            }
            Err(refused) => {
                codes.push(refused.code);
                json!({ "file": refused.file, "valid": false, "warnings": [], "problems": refused.lines })
            }
        };
        match (&one, json) {
            (_, true) => println!("{object:#}"),
            (Ok(parsed), false) => {
                let name = &parsed.experiment.metadata.name;
                parsed.warnings.iter().for_each(|warning| eprintln!("warning: {name}: {warning}"));
                println!("{}: Experiment/{name} is valid", parsed.file());
            }
            (Err(refused), false) => refused.lines.iter().for_each(|line| eprintln!("{line}")),
        }
    }
    combined(codes)
}

fn wanted(target: &LocalTarget, command: Option<&Command>) -> Option<Wanted> {
    if target.command {
        return Some(Wanted::Command(command?.name(), made::of_command()));
    }
    let text = |value: &Option<String>, wrap: fn(String) -> Wanted| value.clone().map(wrap);
    text(&target.cgroup, Wanted::Cgroup)
        .or_else(|| text(&target.netns, Wanted::Netns))
        .or_else(|| text(&target.unit, Wanted::Unit))
        .or_else(|| text(&target.container, Wanted::Container))
        .or_else(|| target.pid.and_then(|pid| i32::try_from(pid).ok()).map(Wanted::Pid))
}

/// Files to requests; the problems have been said.
pub fn requests(files: &Files, dry_run: bool, yes: bool) -> Result<Vec<Request>, ExitCode> {
    let parsed = parse(files)?;
    let command = Command::of(&files.command).map_err(|text| {
        eprintln!("{text}");
        ExitCode::Invalid
    })?;
    let selects = |one: &Parsed| one.experiment.spec.selector.local.iter().any(|target| target.command);
    if command.is_some() && !parsed.iter().any(selects) {
        eprintln!(
            "no experiment selects the command; write selector: {{ local: [ {{ command: true }} ] }}, or leave the selector out"
        );
        return Err(ExitCode::Invalid);
    }
    let host = Host::this().map_err(|problem| {
        eprintln!("{}", problem.text);
        ExitCode::Unsupported
    })?;
    let (mut requests, mut codes) = (Vec::new(), Vec::new());
    for one in parsed {
        match request(&host, one, command.as_ref(), dry_run, yes) {
            Ok(request) => requests.push(request),
            Err(code) => codes.push(code),
        }
    }
    if codes.is_empty() { Ok(requests) } else { Err(combined(codes)) }
}

fn request(
    host: &Host,
    mut parsed: Parsed,
    command: Option<&Command>,
    dry_run: bool,
    yes: bool,
) -> Result<Request, ExitCode> {
    parsed.experiment.spec.dry_run |= dry_run;
    if let Err(finding) = spec::require_local(&parsed.experiment) {
        eprintln!("{}", parsed.problem(finding));
        return Err(ExitCode::Invalid);
    }
    let mut local = parsed.experiment.spec.selector.local.iter();
    if let Some(index) = local.position(|target| target.command).filter(|_| command.is_none()) {
        let path = spec::Path::root().field("spec.selector.local").index(index).field("command");
        eprintln!("{}", parsed.problem(spec::Finding::new(path, "there is no command; add -- CMD behind the file")));
        return Err(ExitCode::Invalid);
    }
    let seed = random_seed();
    let plan = plan::plan(&parsed.experiment, seed).map_err(|refusals| {
        // Those of an experiment as it was read have been said by now.
        refusals.iter().for_each(|refusal| eprintln!("{}: {refusal}", parsed.file()));
        ExitCode::Unsupported
    })?;
    let (targets, mut warnings) = targets(host, &parsed, command, needs(&plan))?;
    refuse_host(&parsed, &targets, yes)?;
    if let Some((path, text)) = targets.iter().find_map(|target| wants::absent(&plan, target)) {
        eprintln!("{}", parsed.problem(spec::Finding::new(spec::Path::read(&path), text)));
        return Err(ExitCode::Invalid);
    }
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

fn targets(
    host: &Host,
    parsed: &Parsed,
    command: Option<&Command>,
    needs: Needs,
) -> Result<(Vec<Target>, Vec<String>), ExitCode> {
    let local = parsed.experiment.spec.selector.local.iter().enumerate();
    let selectors: Vec<Selector> = local
        .filter_map(|(index, target)| {
            wanted(target, command).map(|wanted| Selector { field: format!("spec.selector.local[{index}]"), wanted })
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
