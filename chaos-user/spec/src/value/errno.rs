//! Error numbers.

use std::fmt;
use std::str::FromStr;

use super::Invalid;

/// An error number that a system call may return, by name (`EIO`) or number; 1 to 4095, the kernel's `MAX_ERRNO`
/// (include/linux/err.h): a larger one would look like a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(u16);

super::int_or_text_value!(Errno, "^(E[A-Z0-9]+|[0-9]{1,4})$", max 20, from 1 to 4095);

/// The highest number that has a name on Linux (EHWPOISON, errno(3)).
const LAST_NAMED: i32 = 133;

impl Errno {
    /// The number, 1 to 4095.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The name (`"EIO"`), if the number has one.
    pub fn name(self) -> Option<String> {
        match nix::errno::Errno::from_raw(i32::from(self.0)) {
            nix::errno::Errno::UnknownErrno => None,
            known => Some(format!("{known:?}")),
        }
    }

    fn as_number(self) -> Option<i64> {
        if self.name().is_some() { None } else { Some(i64::from(self.0)) }
    }
}

/// All names with their numbers, and the aliases of errno(3).
fn names() -> impl Iterator<Item = (String, u16)> {
    let known = (1..=LAST_NAMED).filter_map(|raw| {
        let number = Errno(u16::try_from(raw).ok()?);
        Some((number.name()?, number.0))
    });
    let aliases = [("EWOULDBLOCK", nix::errno::Errno::EWOULDBLOCK), ("ENOTSUP", nix::errno::Errno::ENOTSUP)];
    known.chain(
        aliases.into_iter().filter_map(|(name, errno)| Some((name.to_owned(), u16::try_from(errno as i32).ok()?))),
    )
}

impl FromStr for Errno {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let number = text.parse().ok().filter(|number| (1..=4095).contains(number));
            let out_of_range =
                || Invalid::new(format!("{text:?} is no error number; write 1 to 4095 or a name such as EIO"));
            if let Some(512..=530) = number {
                // ERESTARTSYS to ERECALLCONFLICT (include/linux/errno.h): with a signal pending some of them restart the call.
                return Err(Invalid::new(format!(
                    "{text:?} is the kernel's own, and no call returns it; write a name of errno(3), such as EIO"
                )));
            }
            return number.map(Self).ok_or_else(out_of_range);
        }
        if let Some((_, number)) = names().find(|(name, _)| name == text) {
            return Ok(Self(number));
        }
        let known: Vec<String> = names().map(|(name, _)| name).collect();
        let close = crate::suggest::closest(&text.to_uppercase(), known.iter().map(String::as_str));
        Err(Invalid::new(match close {
            Some(close) => format!("{text:?} is no error name; did you mean {close}?"),
            None => {
                format!("{text:?} is no error name; write one of errno(3), such as EIO, or a number from 1 to 4095")
            }
        }))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(&name),
            None => write!(f, "{}", self.0),
        }
    }
}
