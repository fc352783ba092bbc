//! The command's output on its way to the host. A port of virtio-serial can be opened only once, and programs do open
//! `/dev/stderr` anew, so the command gets a pipe.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, PipeReader, PipeWriter, Read as _, Write as _, pipe},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};

const DEV: &str = "/dev";

/// Milliseconds in which the host's port must have appeared; it takes some ten.
const PORT_PATIENCE: u16 = 30_000;

/// A thread that copies a pipe to a port until no process holds the pipe's other end.
pub struct Pump {
    input: PipeWriter,
    thread: JoinHandle<io::Result<()>>,
}

impl Pump {
    /// Waits for the port and starts to copy.
    pub fn to_port(number: u32) -> Result<Self> {
        let port = open_port(number).with_context(|| format!("open port {number} of virtio-serial"))?;
        let (output, input) = pipe().context("make a pipe")?;
        Ok(Self { input, thread: thread::spawn(move || copy(output, port)) })
    }

    /// The end that the command writes to.
    pub fn input(&self) -> Result<PipeWriter> {
        self.input.try_clone().context("duplicate a pipe")
    }
}

/// Waits until all that was written is with the host.
pub fn finish(pumps: [Pump; 2]) -> Result<()> {
    for pump in pumps {
        drop(pump.input);
        let copied = pump.thread.join().map_err(|_| anyhow!("the thread that copies output panicked"))?;
        copied.context("copy output to the host")?;
    }
    Ok(())
}

/// Not `io::copy`, which would have the kernel splice: not every kernel's port can.
fn copy(mut from: PipeReader, mut to: File) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            length => to.write_all(&buffer[..length])?,
        }
    }
}

/// The host tells of its ports after the driver has been loaded: the device file may be yet to come.
fn open_port(number: u32) -> Result<File> {
    let watch = Inotify::init(InitFlags::IN_CLOEXEC).context("start inotify")?;
    watch.add_watch(DEV, AddWatchFlags::IN_CREATE).context("watch /dev")?;
    loop {
        if let Some(path) = find_port(number)? {
            return OpenOptions::new().write(true).open(&path).with_context(|| format!("open {}", path.display()));
        }
        let mut ready = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(PORT_PATIENCE)).context("wait for /dev to change")? == 0 {
            bail!("the host has shown no such port in {} s", PORT_PATIENCE / 1000);
        }
        watch.read_events().context("read inotify")?;
    }
}

/// `vport2p1` is port 1 of the machine's third virtio device.
fn find_port(number: u32) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(DEV).context("read /dev")? {
        let name = entry.context("read /dev")?.file_name();
        let place = name.to_str().and_then(|name| name.strip_prefix("vport")?.split_once('p'));
        if place.is_some_and(|(_, port)| port.parse() == Ok(number)) {
            return Ok(Some(Path::new(DEV).join(name)));
        }
    }
    Ok(None)
}
