//! The seam through which every state-changing kernel operation passes.
//!
//! Normally it only calls. With cargo feature `crash-points` operations are counted from 1 over the whole process, and
//! - `CHAOS_FAIL_AT=N`: operation N is not called and fails with EIO;
//! - `CHAOS_CRASH_AT=N`: the process dies by SIGKILL right after operation N, whether that succeeded or not;
//! - `CHAOS_SEAM_LOG=PATH`: one line `N op object` is appended before each call, so a test learns how many there are.
//!
//! An operation within another counts after the outer one. Operations of several threads are numbered in order of start.
use super::error::KernelError;

/// Makes one state-changing kernel operation: `op` and `object` as in [`KernelError`].
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn run<T>(
    _op: &'static str,
    _object: &str,
    call: impl FnOnce() -> Result<T, KernelError>,
) -> Result<T, KernelError> {
    call()
}

/// Makes one state-changing kernel operation, or fails or dies at it as the environment says.
#[cfg(feature = "crash-points")]
pub fn run<T>(op: &'static str, object: &str, call: impl FnOnce() -> Result<T, KernelError>) -> Result<T, KernelError> {
    let number = points::start(op, object);
    if points::fail_at() == Some(number) {
        let error = KernelError::new(op, object, nix::errno::Errno::EIO);
        return Err(error.with_detail(format!("made to fail by CHAOS_FAIL_AT={number}")));
    }
    let result = call();
    if points::crash_at() == Some(number) {
        points::die();
    }
    result
}

#[cfg(feature = "crash-points")]
mod points {
    use std::{
        env,
        fs::OpenOptions,
        io::Write,
        sync::{Mutex, PoisonError},
    };

    use nix::{
        sys::signal::{Signal, kill},
        unistd::{Pid, pause},
    };

    static COUNT: Mutex<u64> = Mutex::new(0);

    fn number(name: &str) -> Option<u64> {
        env::var(name).ok()?.parse().ok()
    }

    pub(super) fn fail_at() -> Option<u64> {
        number("CHAOS_FAIL_AT")
    }

    pub(super) fn crash_at() -> Option<u64> {
        number("CHAOS_CRASH_AT")
    }

    /// Numbers the operation and logs it under one lock, so that the lines of the log are in order.
    pub(super) fn start(op: &str, object: &str) -> u64 {
        let mut count = COUNT.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        if let Some(path) = env::var_os("CHAOS_SEAM_LOG") {
            let line = format!("{} {op} {object}\n", *count);
            // A log that cannot be written must not change what is tested: the test sees that lines are missing.
            let _unwritten =
                OpenOptions::new().create(true).append(true).open(path).and_then(|mut f| f.write_all(line.as_bytes()));
        }
        *count
    }

    pub(super) fn die() -> ! {
        // SIGKILL as an out-of-memory killer would: no destructor, no handler. It may take an instant to arrive.
        let _always_ok = kill(Pid::this(), Signal::SIGKILL);
        loop {
            pause();
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn passes_results_through() {
        assert_eq!(run("do", "it", || Ok(7)), Ok(7));
        let error = KernelError::new("do", "it", Errno::EBUSY);
        assert_eq!(run::<()>("do", "it", || Err(error.clone())), Err(error));
    }

    /// The process that the tests below start: three operations, each of which leaves a line on stdout.
    #[cfg(feature = "crash-points")]
    #[test]
    #[ignore = "a child process of the other tests"]
    fn child() {
        for step in ["one", "two", "three"] {
            let result = run("take step", step, || {
                println!("did {step}");
                Ok(())
            });
            if let Err(error) = result {
                println!("{error}");
            }
        }
    }

    #[cfg(feature = "crash-points")]
    fn run_child(name: &str, value: &str) -> (std::process::ExitStatus, String) {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "seam::tests::child", "--ignored", "--nocapture"])
            .env(name, value)
            .output()
            .unwrap();
        (output.status, String::from_utf8(output.stdout).unwrap())
    }

    #[cfg(feature = "crash-points")]
    #[test]
    fn crash_comes_right_after_the_operation() {
        use std::os::unix::process::ExitStatusExt;
        let (status, out) = run_child("CHAOS_CRASH_AT", "2");
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{out}");
        assert!(out.contains("did two") && !out.contains("did three"), "{out}");
    }

    #[cfg(feature = "crash-points")]
    #[test]
    fn failing_operation_is_not_called() {
        let (status, out) = run_child("CHAOS_FAIL_AT", "2");
        assert!(status.success() && !out.contains("did two") && out.contains("did three"), "{out}");
        assert!(out.contains("take step two: I/O error (EIO): made to fail by CHAOS_FAIL_AT=2"), "{out}");
    }

    #[cfg(feature = "crash-points")]
    #[test]
    fn log_has_one_line_per_operation() {
        let path = std::env::temp_dir().join(format!("seam-log-{}", std::process::id()));
        let (status, _) = run_child("CHAOS_SEAM_LOG", path.to_str().unwrap());
        let log = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(status.success());
        assert_eq!(log, "1 take step one\n2 take step two\n3 take step three\n");
    }
}
