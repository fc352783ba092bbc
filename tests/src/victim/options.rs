//! The command line of `chaos-victim`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::table::{self, Entry};

/// Where the calls are made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Main,
    Thread,
    Grandchild,
    Exec,
}

pub struct Options {
    pub dir: Option<PathBuf>,
    pub path: Option<PathBuf>,
    pub repeat: usize,
    pub place: Place,
    pub threads: usize,
    pub go_on_stdin: bool,
    pub calls: Vec<&'static Entry>,
    /// The same command line for the main thread: what `--in exec` executes itself with.
    pub without_place: Vec<OsString>,
}

impl Options {
    pub fn parse(arguments: Vec<OsString>) -> Result<Self, String> {
        let mut options = Self {
            dir: None,
            path: None,
            repeat: 1,
            place: Place::Main,
            threads: 1,
            go_on_stdin: false,
            calls: Vec::new(),
            without_place: Vec::new(),
        };
        let mut words = arguments.into_iter();
        while let Some(word) = words.next() {
            let name = word.to_str().ok_or("an argument is not UTF-8")?;
            let mut value = || words.next().ok_or(format!("{name} needs a value"));
            if name == "--in" {
                options.place = place(&value()?)?;
                continue;
            }
            options.without_place.push(word.clone());
            match name {
                "--go-on-stdin" => options.go_on_stdin = true,
                "--dir" | "--path" | "--repeat" | "--threads" => {
                    let value = value()?;
                    options.without_place.push(value.clone());
                    options.set(name, value)?;
                }
                _ => options.calls.push(table::named(name).ok_or(format!("there is no call {name}: see --list"))?),
            }
        }
        if options.calls.is_empty() { Err("no CALL is named: see --list".into()) } else { Ok(options) }
    }

    fn set(&mut self, name: &str, value: OsString) -> Result<(), String> {
        match name {
            "--dir" => self.dir = Some(value.into()),
            "--path" => self.path = Some(value.into()),
            "--repeat" => self.repeat = number(name, &value)?,
            _ => self.threads = number(name, &value)?,
        }
        Ok(())
    }
}

fn place(value: &OsString) -> Result<Place, String> {
    match value.to_str() {
        Some("thread") => Ok(Place::Thread),
        Some("grandchild") => Ok(Place::Grandchild),
        Some("exec") => Ok(Place::Exec),
        _ => Err(format!("--in {}: thread, grandchild and exec are possible", value.display())),
    }
}

fn number(name: &str, value: &OsString) -> Result<usize, String> {
    let number = value.to_str().and_then(|value| value.parse().ok()).filter(|number| *number > 0);
    number.ok_or(format!("{name} {}: a number above 0 is needed", value.display()))
}
