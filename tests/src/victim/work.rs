//! The work of each thread: its calls, made when all threads are there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::deed::{Deed, Trouble};
use super::kit::{self, Kit};
use super::options::{Options, Place};
use super::report::{self, Line};
use super::table::Entry;
use crate::sys::raw;

const STDIN: i32 = 0;

/// A call with what was prepared for it: once for each repetition, or once for all.
struct Task {
    entry: &'static Entry,
    deeds: Vec<Result<Deed, Trouble>>,
}

/// What one thread does, and room for how it went.
pub struct Work {
    tasks: Vec<Task>,
    repeat: usize,
    lines: Vec<Line>,
}

/// Prepares all calls of a thread.
pub fn prepare(kit: &mut Kit, options: &Options) -> Work {
    let mut task = |entry: &&'static Entry| {
        let times = if entry.again { 1 } else { options.repeat };
        Task { entry, deeds: (0..times).map(|_| (entry.prepare)(kit)).collect() }
    };
    let tasks = options.calls.iter().map(&mut task).collect();
    Work { tasks, repeat: options.repeat, lines: Vec::with_capacity(options.calls.len() * options.repeat) }
}

impl Work {
    /// Makes all calls.
    fn make(mut self) -> Vec<Line> {
        for task in &mut self.tasks {
            let last = task.deeds.len() - 1;
            for time in 0..self.repeat {
                let went = task.deeds[time.min(last)].as_mut().map_err(|trouble| *trouble).and_then(Deed::make);
                self.lines.push(Line { name: task.entry.name, went });
            }
        }
        // Freeing memory may be a call.
        std::mem::forget(self.tasks);
        self.lines
    }
}

/// Makes the calls of all threads and reports them, in the order of the threads. The error says that nobody wants it to.
pub fn run(mut work: Vec<Work>, meeting: Meeting, options: &Options) -> Result<(), String> {
    let room = report::room(work.iter().map(|work| work.lines.capacity()).sum());
    let lines = if work.len() == 1 && options.place != Place::Thread {
        wait(options)?;
        work.remove(0).make()
    } else {
        in_threads(work, Arc::new(meeting), options)?
    };
    report::write(room, &lines);
    Ok(())
}

/// Threads meet without locks and without being joined: both need futex(2), which may be failing.
pub struct Meeting {
    arrived: AtomicUsize,
    expected: AtomicUsize,
    results: Vec<OnceLock<Vec<Line>>>,
    /// A byte for every thread starts it. There is never another, so that it waits for that until the process ends.
    go: [i32; 2],
    /// A thread writes a byte here when it is there, and one when its calls are made.
    done: [i32; 2],
}

impl Meeting {
    /// To be made before the calls are prepared, which may need all the descriptors that there are.
    pub fn new(options: &Options) -> Result<Self, String> {
        let pipe = || kit::pipe().map_err(|trouble| format!("{}: {}", trouble.what, report::errno_name(trouble.errno)));
        Ok(Self {
            arrived: AtomicUsize::new(0),
            expected: AtomicUsize::new(0),
            results: (0..options.threads).map(|_| OnceLock::new()).collect(),
            go: pipe()?,
            done: pipe()?,
        })
    }

    /// What a thread does.
    fn attend(&self, thread: usize, work: Work) {
        let _ = raw::send(self.done[1], b"x");
        self.wait_for_go();
        self.arrived.fetch_add(1, Ordering::AcqRel);
        while self.arrived.load(Ordering::Acquire) < self.expected.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let _ = self.results[thread].set(work.make());
        let _ = raw::send(self.done[1], b"x");
        // Not to its end, where threads make calls.
        loop {
            self.wait_for_go();
        }
    }

    fn wait_for_go(&self) {
        while raw::receive(self.go[0], &mut [0]) != Ok(1) {}
    }

    /// Waits until every thread has written a byte.
    fn wait_for_all(&self) {
        for _ in 0..self.expected.load(Ordering::Acquire) {
            while raw::receive(self.done[0], &mut [0]) != Ok(1) {}
        }
    }
}

fn in_threads(work: Vec<Work>, meeting: Arc<Meeting>, options: &Options) -> Result<Vec<Line>, String> {
    let mut all = Vec::with_capacity(work.iter().map(|work| work.lines.capacity()).sum());
    for (thread, work) in work.into_iter().enumerate() {
        let there = Arc::clone(&meeting);
        match std::thread::Builder::new().spawn(move || there.attend(thread, work)) {
            Ok(_) => {
                meeting.expected.fetch_add(1, Ordering::AcqRel);
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EAGAIN);
                let _ = meeting.results[thread].set(not_made(options, Trouble { errno, what: "thread" }));
            }
        }
    }
    meeting.wait_for_all();
    wait(options)?;
    for _ in 0..meeting.expected.load(Ordering::Acquire) {
        let _ = raw::send(meeting.go[1], b"x");
    }
    meeting.wait_for_all();
    all.extend(meeting.results.iter().filter_map(OnceLock::get).flatten());
    Ok(all)
}

/// What is said for a thread that there is not.
fn not_made(options: &Options, trouble: Trouble) -> Vec<Line> {
    let line = |entry: &&'static Entry| Line { name: entry.name, went: Err(trouble) };
    options.calls.iter().map(line).flat_map(|line| std::iter::repeat_n(line, options.repeat)).collect()
}

fn wait(options: &Options) -> Result<(), String> {
    if !options.go_on_stdin {
        return Ok(());
    }
    report::say("ready\n");
    match raw::receive(STDIN, &mut [0]) {
        Ok(1) => Ok(()),
        _ => Err("stdin ended before a byte came".into()),
    }
}
