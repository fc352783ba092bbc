//! On fake machines in temporary folders: procfs, named namespaces and cgroup trees are files.
mod by_calls;
mod containers;
mod fake;
mod merging;
mod namespaces;
mod pods;
mod processes;
mod protection;
mod real;
