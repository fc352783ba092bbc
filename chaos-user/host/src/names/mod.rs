//! Host names as a target itself would look them up: by its files and its nameservers, never by this process's.

pub mod conf;
pub mod files;
pub mod query;

pub use files::NameFiles;
