//! One error for every operation on the kernel: which operation, on what, which errno, and what to do next.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

use std::{fmt, io};

use nix::errno::Errno;

/// A kernel operation that failed. Displayed as `op object: errno text (ERRNO): kernel's words; what to do next`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelError {
    /// What was tried, as a verb phrase: "add qdisc fq to".
    pub op: &'static str,
    /// What it was tried on, for people: an interface, a namespace, a path.
    pub object: String,
    /// The kernel's answer.
    pub errno: Errno,
    /// The kernel's own words (netlink extended acknowledgement) or ours about a malformed answer.
    pub detail: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// Set where this kernel cannot do it at all, whatever the errno: see [`KernelError::category`].
    pub unsupported: bool,
}

impl KernelError {
    /// An operation that failed with `errno`; the hint for missing rights is added here.
    pub fn new(op: &'static str, object: impl Into<String>, errno: Errno) -> Self {
        let hint = matches!(errno, Errno::EPERM | Errno::EACCES)
            .then(|| "run as root, or with CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_SYS_PTRACE".to_owned());
        Self { op, object: object.into(), errno, detail: None, hint, unsupported: false }
    }

    /// The same from an [`io::Error`]; one that carries no errno becomes EIO with its text as detail.
    pub fn from_io(op: &'static str, object: impl Into<String>, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(raw) => Self::new(op, object, Errno::from_raw(raw)),
            None => Self::new(op, object, Errno::EIO).with_detail(error.to_string()),
        }
    }

    /// An answer of the kernel that could not be understood.
    pub fn malformed(op: &'static str, object: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(op, object, Errno::EBADMSG).with_detail(detail)
    }

    /// Adds the kernel's own words.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Marks that this kernel cannot do it, with what would help.
    #[must_use]
    pub fn unsupported(mut self, hint: impl Into<String>) -> Self {
        self.unsupported = true;
        self.with_hint(hint)
    }

    /// One word of a fixed set, for metrics, events and exit codes:
    /// `unsupported`, `permission`, `absent`, `exists`, `busy`, `invalid`, `resources` or `kernel`.
    pub fn category(&self) -> &'static str {
        if self.unsupported {
            return "unsupported";
        }
        match self.errno {
            Errno::EPERM | Errno::EACCES => "permission",
            Errno::ENOENT | Errno::ENODEV | Errno::ENXIO | Errno::ESRCH => "absent",
            Errno::EEXIST => "exists",
            Errno::EBUSY | Errno::EAGAIN => "busy",
            Errno::EINVAL | Errno::ERANGE | Errno::ENAMETOOLONG => "invalid",
            Errno::ENOMEM | Errno::ENOSPC | Errno::ENOBUFS | Errno::EMFILE | Errno::ENFILE | Errno::E2BIG => {
                "resources"
            }
            Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT => "unsupported",
            _ => "kernel",
        }
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {} ({:?})", self.op, self.object, self.errno.desc(), self.errno)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for KernelError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_operation_object_errno_and_next_step() {
        let error = KernelError::new("add qdisc fq to", "chaos0", Errno::ENOENT)
            .with_detail("Specified qdisc kind is unknown")
            .unsupported("load sch_fq");
        let text = "add qdisc fq to chaos0: No such file or directory (ENOENT): Specified qdisc kind is unknown; \
                    load sch_fq";
        assert_eq!(error.to_string(), text);
        assert_eq!(error.category(), "unsupported");
    }

    #[test]
    fn missing_rights_name_the_capabilities() {
        let error = KernelError::from_io("open", "/x", &io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(error.category(), "permission");
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    }

    #[test]
    fn an_error_without_errno_keeps_its_text() {
        let error = KernelError::from_io("read", "x", &io::Error::other("odd"));
        assert_eq!((error.category(), error.detail.as_deref()), ("kernel", Some("odd")));
    }
}
