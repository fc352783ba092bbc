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

/// What 0.1.0 wrote.
fn golden(name: &str) -> serde_json::Value {
    let path = format!("{}/../../tests/golden/0.1.0/journal-{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn journals_of_0_1_0_are_read_and_written_back_whole() {
    for (name, points, limits, cgroups, runs) in
        [("filters", 6, 1, 1, 4), ("links", 6, 1, 1, 4), ("expedited", 2, 1, 0, 1)]
    {
        let text = golden(name);
        let journal: Journal = serde_json::from_value(text.clone()).unwrap();
        let counts = [journal.points.len(), journal.limits.len(), journal.cgroups.len(), journal.runs.len()];
        assert_eq!(counts, [points, limits, cgroups, runs], "{name}");
        assert_eq!(journal.foreign.entries(), 0, "{name}");
        assert_eq!(serde_json::to_value(&journal).unwrap(), text, "{name}");
    }
    let read = |name| serde_json::from_value::<Journal>(golden(name)).unwrap();
    let (filters, links) = (read("filters"), read("links"));
    assert!(filters.points.iter().any(|point| point.clsact && point.filter.is_some() && point.pair.is_some()));
    assert!(
        links
            .points
            .iter()
            .any(|point| point.link.is_some() && point.pair.as_ref().is_some_and(|pair| pair.link.is_some()))
    );
    assert!(links.points.iter().any(|point| matches!(point.kind, PointKind::Cgroup { .. })));
    assert_eq!((filters.limits[0].before, read("expedited").rcu_expedited.as_deref()), (65_535, Some("0")));
}

#[test]
fn what_a_later_version_adds_is_written_back() {
    fn add(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(keys) => {
                keys.iter_mut().filter(|(key, _)| *key != "kind").for_each(|(_, value)| add(value));
                // Names of maps are the keys there.
                if !keys.keys().any(|key| key.starts_with("CHAOS_")) {
                    keys.insert("later".to_owned(), serde_json::json!({ "of": [1, 2] }));
                }
            }
            serde_json::Value::Array(list) => list.iter_mut().for_each(add),
            _ => {}
        }
    }
    // Numbers alone stand there; who reads it looks for nothing else.
    fn without_places(mut text: serde_json::Value) -> serde_json::Value {
        for run in text["runs"].as_array_mut().unwrap() {
            for place in run["limits"].as_array_mut().unwrap() {
                place.as_object_mut().unwrap().remove("later");
            }
        }
        text
    }
    let mut text = golden("links");
    add(&mut text);
    let point = serde_json::json!({ "id": 400, "kind": { "timer": { "id": 7 } }, "netns": 1, "ifindex": 0, "interface": "-", "ingress": false, "link": 9 });
    text["points"].as_array_mut().unwrap().push(point);
    text["cgroups"].as_array_mut().unwrap().push(serde_json::json!({ "hog": "cpu" }));
    let journal: Journal = serde_json::from_value(text.clone()).unwrap();
    assert_eq!((journal.points.len(), journal.cgroups.len(), journal.foreign.entries()), (6, 1, 2));
    assert_eq!((journal.foreign.points().collect::<Vec<_>>(), journal.foreign.hides_marks()), (vec![400], true));
    let mut unread = text.clone();
    unread["runs"][0]["lease"] = serde_json::json!("first");
    serde_json::from_value::<Journal>(unread).unwrap_err();
    let text = without_places(text);
    assert_eq!(without_places(serde_json::to_value(&journal).unwrap()), text);
    let again: Journal = serde_json::from_value(serde_json::to_value(&journal).unwrap()).unwrap();
    assert_eq!(again, journal);
}
