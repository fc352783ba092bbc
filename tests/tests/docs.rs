//! The pages that begin with the first steps on one machine: what they have a reader type prints what they say.

use chaos_tests::{docs::Page, lab::NodeLock, need, product::Chaos};

#[test]
fn the_first_steps_on_one_machine_are_as_the_page_says() {
    if !need::root() || !need::product() {
        return;
    }
    let _lock = NodeLock::shared();
    let chaos = Chaos::find().expect("it was there");
    // A function, for the binary under test may have another name.
    Page::read("getting-started/host.md").replay(&format!("chaos() {{ '{}' \"$@\"; }}", chaos.path().display()));
}
