//! The one command that the machine was booted for.

use std::{
    ffi::OsString,
    fs,
    io::Write as _,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitStatus, wait},
    },
    unistd::Pid,
};

use crate::output::Pump;

/// What to run, and where its output goes.
pub struct Job {
    directory: PathBuf,
    variables: Vec<(OsString, OsString)>,
    words: Vec<OsString>,
    /// From the command's stdout and stderr to the host.
    pub pumps: [Pump; 2],
}

impl Job {
    /// Reads `vm.command`: the working directory, variables (`NAME=VALUE`), an empty string, the words of the command,
    /// each ended by a NUL.
    pub fn read(job: &Path) -> Result<Self> {
        let path = job.join("vm.command");
        let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let content = content.strip_suffix(b"\0").unwrap_or(&content);
        let mut strings = content.split(|byte| *byte == 0).map(<[u8]>::to_vec);
        let directory = strings.next().ok_or_else(|| anyhow!("{} is empty", path.display()))?;
        let mut variables = Vec::new();
        for string in strings.by_ref().take_while(|string| !string.is_empty()) {
            let Some(equals) = string.iter().position(|byte| *byte == b'=') else {
                bail!("{} holds a variable without '='", path.display());
            };
            let (name, value) = string.split_at(equals);
            variables.push((OsString::from_vec(name.to_vec()), OsString::from_vec(value[1..].to_vec())));
        }
        let words: Vec<OsString> = strings.map(OsString::from_vec).collect();
        if words.is_empty() {
            bail!("{} holds no command", path.display());
        }
        let pumps = [Pump::to_port(1)?, Pump::to_port(2)?];
        Ok(Self { directory: PathBuf::from(OsString::from_vec(directory)), variables, words, pumps })
    }
}

/// Runs it and tells its exit code, as a shell counts it.
pub fn run(job: &Job) -> Result<String> {
    // By the host's own tool: rtnetlink is not worth its lines here.
    let lo = Command::new("/bin/sh").args(["-c", "PATH=$PATH:/usr/sbin:/sbin ip link set lo up"]).status();
    lo.context("start ip link set lo up")?;
    let mut command = Command::new(&job.words[0]);
    command.args(&job.words[1..]).current_dir(&job.directory).env_clear().envs(job.variables.iter().cloned());
    command.stdin(Stdio::null()).stdout(job.pumps[0].input()?).stderr(job.pumps[1].input()?);
    let child = match command.spawn() {
        Ok(child) => Pid::from_raw(child.id().try_into().context("process id")?),
        Err(error) => {
            let (program, directory) = (job.words[0].display(), job.directory.display());
            writeln!(job.pumps[1].input()?, "start {program} in {directory}: {error}").context("tell the host")?;
            return Ok(String::from("127"));
        }
    };
    // Not `Child::wait`: orphans end up with us and are to be reaped meanwhile.
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Ok(code.to_string()),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => return Ok((128 + signal as i32).to_string()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("wait for the command"),
        }
    }
}

/// Kills whatever the command left behind, and waits until it is gone.
pub fn end_all_others() {
    // Fails only when there is nobody.
    if kill(Pid::from_raw(-1), Signal::SIGKILL).is_ok() {
        while !matches!(wait(), Err(Errno::ECHILD)) {}
    }
}
