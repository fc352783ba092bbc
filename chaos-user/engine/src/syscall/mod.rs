//! Programs of system calls: a loader of our own, because aya 0.14 has neither `fmod_ret` nor a way to give an object the maps that
//! another one made, and one program stands at many functions here.
//!
//! Everything belongs to descriptors of this process: programs, links and maps of its own are gone when it is.

mod attach;
mod image;
mod maps;
mod symbols;
mod trial;

pub use image::Image;
pub use maps::{CallMaps, SharedMaps};
pub use symbols::has_entry;
pub use trial::{ERROR, THREAD, attach_empty, attach_trial};
