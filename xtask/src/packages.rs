//! System tools, taken from the system's own packages.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{process, progress::step};

/// A program and the Debian package that has it.
pub struct Tool {
    /// Its name, or its path where it is in none of the usual directories.
    pub program: &'static str,
    /// By Debian's name.
    pub package: &'static str,
}

/// What the tests use.
pub const OF_TESTS: [Tool; 11] = [
    // As the first process of a machine of the tests, not of this one.
    Tool { program: "/lib/systemd/systemd", package: "systemd" },
    Tool { program: "/usr/bin/curl", package: "curl" },
    Tool { program: "/usr/bin/python3", package: "python3" },
    // The server under another name; the package of that name would start it.
    Tool { program: "/usr/bin/redis-check-rdb", package: "redis-tools" },
    Tool { program: "/usr/bin/sqlite3", package: "sqlite3" },
    Tool { program: "/usr/sbin/runc", package: "runc" },
    Tool { program: "ip", package: "iproute2" },
    Tool { program: "iperf3", package: "iperf3" },
    Tool { program: "ping", package: "iputils-ping" },
    Tool { program: "qemu-system-x86_64", package: "qemu-system-x86" },
    Tool { program: "xz", package: "xz-utils" },
];

/// What a kernel is built with.
pub const OF_KERNELS: [Tool; 9] = [
    Tool { program: "gcc", package: "gcc" },
    Tool { program: "make", package: "make" },
    Tool { program: "flex", package: "flex" },
    Tool { program: "bison", package: "bison" },
    Tool { program: "bc", package: "bc" },
    Tool { program: "perl", package: "perl" },
    Tool { program: "xz", package: "xz-utils" },
    Tool { program: "pahole", package: "dwarves" },
    Tool { program: "/usr/include/libelf.h", package: "libelf-dev" },
];

/// Installs what is missing, as root, or says what to install.
pub fn ensure(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&str> =
        tools.iter().filter(|tool| process::find(tool.program).is_none()).map(|tool| tool.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !Path::new("/etc/debian_version").exists() {
        bail!("programs are missing. By hand: install what your system calls {list} (Debian's names)");
    }
    let how = if process::is_root() { "" } else { " by sudo, which may ask for your password" };
    step(&format!("apt-get install {list}{how} (up to 1 minute)"), || {
        // The package lists may be old or, in container images, absent.
        if install(&missing).is_err() {
            process::capture(apt_get().arg("update"))?;
            install(&missing)?;
        }
        Ok(())
    })
    .with_context(|| format!("By hand, as root: apt-get install {list}"))
}

fn install(packages: &[&str]) -> Result<()> {
    process::capture(apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages)).map(drop)
}

fn apt_get() -> Command {
    let mut command = process::as_root("env", &[]);
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-oDPkg::Lock::Timeout=300"]);
    command
}
