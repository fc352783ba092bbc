//! Processes that outlive us: what they say goes to a log, which is quoted when they end too early.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// How often a condition is looked at.
const PACE: Duration = Duration::from_millis(100);
/// How much of a log is quoted, in lines.
const TAIL: usize = 15;

/// One that was started by us.
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it in a process group of its own, so that Ctrl-C does not reach it. `NAME.log` and `NAME.pid` are in `dir`.
    pub fn start(name: &str, dir: &Path, program: impl AsRef<OsStr>, words: &[String]) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let second = file.try_clone().with_context(|| format!("open {} twice", log.display()))?;
        let program = program.as_ref();
        let mut command = Command::new(program);
        command.args(words).current_dir("/").stdin(Stdio::null()).stdout(file).stderr(second).process_group(0);
        let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let pid = dir.join(format!("{name}.pid"));
        fs::write(&pid, child.id().to_string()).with_context(|| format!("write {}", pid.display()))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An error with the end of its log where it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait().with_context(|| format!("look at {}", self.name))? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}\n{}", self.name, self.tail()),
        }
    }

    fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(TAIL);
        format!("{}:\n{}", self.log.display(), lines.get(from..).unwrap_or_default().join("\n"))
    }
}

/// Waits until `condition` succeeds while all of `daemons` run; its last error is the reason otherwise.
pub fn wait<T>(
    what: &str,
    limit: Duration,
    daemons: &mut [Daemon],
    mut condition: impl FnMut() -> Result<T>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let error = match condition() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        daemons.iter_mut().try_for_each(Daemon::check)?;
        if started.elapsed() > limit {
            return Err(error).with_context(|| format!("{what}: not within {} s", limit.as_secs()));
        }
        thread::sleep(PACE);
    }
}
