//! QEMU: started, listened to, and killed when its time is up.

use std::{
    ffi::OsString,
    io::{self, Read as _, Write},
    os::unix::{
        net::{UnixListener, UnixStream},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::{prctl::set_pdeathsig, signal::Signal};

use super::Machine;

/// Everything that QEMU needs to know.
pub struct Guest<'a> {
    pub machine: &'a Machine,
    pub image: &'a Path,
    pub initramfs: &'a Path,
    pub job: &'a Path,
    pub console: &'a Path,
    /// A directory for the sockets that carry the command's output.
    pub sockets: &'a Path,
}

impl Guest<'_> {
    /// Boots, copies the command's output while it runs, and returns when the machine is off.
    pub fn run(&self, stdout: impl Write + Send + 'static, stderr: impl Write + Send + 'static) -> Result<()> {
        let outputs = [Output::listen(self.socket(1), stdout)?, Output::listen(self.socket(2), stderr)?];
        let mut qemu = self.command()?;
        let child = qemu.spawn().context("start qemu-system-x86_64; `cargo xtask setup` installs it")?;
        let ended = self.wait(child);
        for output in outputs {
            output.finish()?;
        }
        ended
    }

    fn wait(&self, mut child: Child) -> Result<()> {
        // Its end closes its stderr: that can be waited for with a limit, unlike the process.
        let mut stderr = child.stderr.take().ok_or_else(|| anyhow!("QEMU has no stderr"))?;
        let (ended, end) = channel();
        thread::spawn(move || {
            let mut text = String::new();
            let read = stderr.read_to_string(&mut text);
            // The receiver is gone only after the limit.
            drop(ended.send(read.map(|_| text)));
        });
        let said = end.recv_timeout(self.machine.timeout);
        if matches!(said, Err(RecvTimeoutError::Timeout)) {
            child.kill().context("kill QEMU")?;
        }
        let status = child.wait().context("wait for QEMU")?;
        match said {
            Err(RecvTimeoutError::Timeout) => {
                bail!("not done in {} s; killed. More time: --timeout", self.machine.timeout.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => bail!("the thread that reads QEMU's stderr is gone"),
            Ok(Err(error)) => Err(error).context("read QEMU's stderr"),
            Ok(Ok(text)) if !status.success() => bail!("QEMU: {status}\n{}", text.trim_end()),
            Ok(Ok(_)) => Ok(()),
        }
    }

    fn socket(&self, port: u32) -> PathBuf {
        self.sockets.join(format!("port{port}"))
    }

    fn command(&self) -> Result<Command> {
        let mut qemu = Command::new("qemu-system-x86_64");
        // cmpxchg16b of several emulated processors at once corrupts the guest's lists (seen with QEMU 7.2): without it kernels take another
        // way, but some of what they offer to BPF programs (work on the way back from a call) is not there then.
        let model = if self.machine.processors == 1 { "max" } else { "max,cx16=off" };
        // One thread per processor.
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", model]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        qemu.args(["-m", &self.machine.memory.to_string(), "-smp", &self.machine.processors.to_string()]);
        qemu.arg("-kernel").arg(self.image).arg("-initrd").arg(self.initramfs);
        // no_timer_check: on a busy host the emulated timer may tick too late for the kernel's test of it, which ends in a panic.
        let parameters = "console=ttyS0 loglevel=5 panic=-1 oops=panic tsc=unstable nosoftlockup no_timer_check";
        qemu.args(["-append", parameters]);
        qemu.arg("-serial").arg(option("file:", self.console)?);
        qemu.arg("-virtfs").arg(option(
            "local,id=root,mount_tag=hostroot,security_model=none,readonly=on,multidevs=remap,path=",
            Path::new("/"),
        )?);
        qemu.arg("-virtfs").arg(option("local,id=job,mount_tag=job,security_model=none,path=", self.job)?);
        if let Some(tap) = &self.machine.tap {
            qemu.args(["-netdev", &format!("tap,id=net,ifname={tap},script=no,downscript=no")]);
            qemu.args(["-device", "virtio-net-pci,netdev=net"]);
        }
        qemu.args(["-device", "virtio-serial"]);
        for port in [1, 2] {
            qemu.arg("-chardev").arg(option(&format!("socket,id=port{port},path="), &self.socket(port))?);
            qemu.args(["-device", &format!("virtserialport,nr={port},chardev=port{port}")]);
        }
        qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe and allocates nothing.
        unsafe {
            // A killed xtask must not leave a machine behind that burns two processors.
            qemu.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from));
        }
        Ok(qemu)
    }
}

/// QEMU splits its options at commas.
fn option(before: &str, path: &Path) -> Result<OsString> {
    if path.to_string_lossy().contains(',') {
        bail!("QEMU cannot be given the path {}: it holds a comma", path.display());
    }
    let mut option = OsString::from(before);
    option.push(path);
    Ok(option)
}

/// A thread that copies one port's bytes to a writer of ours.
struct Output {
    path: PathBuf,
    thread: JoinHandle<io::Result<()>>,
}

impl Output {
    fn listen(path: PathBuf, mut to: impl Write + Send + 'static) -> Result<Self> {
        let listener = UnixListener::bind(&path).with_context(|| format!("listen on {}", path.display()))?;
        let thread = thread::spawn(move || {
            let (mut from, _) = listener.accept()?;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let length = from.read(&mut buffer)?;
                if length == 0 {
                    return Ok(());
                }
                to.write_all(&buffer[..length])?;
                to.flush()?;
            }
        });
        Ok(Self { path, thread })
    }

    /// Once QEMU is gone.
    fn finish(self) -> Result<()> {
        // Where QEMU never connected, the thread still waits for somebody to.
        drop(UnixStream::connect(&self.path));
        let copied = self.thread.join().map_err(|_| anyhow!("the thread that copies output panicked"))?;
        copied.context("copy the machine's output")
    }
}
