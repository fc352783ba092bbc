use super::*;
use chaos_sys::testing::{root_or_return, unique};

#[test]
fn a_lock_that_another_keeps_is_given_up_with_its_name() {
    root_or_return!();
    let path = std::env::temp_dir().join(unique("chaos-journal"));
    let folder = Folder::at(&path).unwrap();
    // Who held it last is not who holds it.
    folder.write(LOCK, b"1\n").unwrap();
    let first = hold(&folder, Duration::ZERO).unwrap();
    let error = hold(&folder, Duration::from_millis(20)).unwrap_err().to_string();
    assert!(error.contains(&format!("process {} has kept it", std::process::id())), "{error}");
    drop(first);
    hold(&folder, Duration::ZERO).unwrap();
    fs::remove_dir_all(&path).unwrap();
}

#[test]
fn the_holder_is_who_the_kernel_names() {
    let locks = "1: POSIX  ADVISORY  WRITE 7 00:1a:52 0 EOF\n\
                 2: FLOCK  ADVISORY  WRITE 8 00:1b:52 0 EOF\n\
                 3: FLOCK  ADVISORY  WRITE 1438 00:1a:52 0 EOF\n\
                 3: -> FLOCK  ADVISORY  WRITE 9 00:1a:52 0 EOF\n\
                 4: FLOCK  ADVISORY  WRITE 0 00:1a:53 0 EOF\nx\n";
    let device = nix::sys::stat::makedev(0, 0x1a);
    assert_eq!(holder(locks, device, 0x52), None, "an inode is a decimal number");
    assert_eq!(holder(locks, device, 52), Some(1438));
    assert_eq!(holder(locks, device, 53), None, "of another PID namespace");
    assert_eq!(holder("", device, 52), None);
}
