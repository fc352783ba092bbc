//! `metadata.generateName`: a name of its own for each run of the same file, as `kubectl create -f` gives one.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
};

use serde_json::Value;

const FIELD: &str = "generateName";
/// The letters and digits that the API server draws of, and how many (k8s.io/apiserver, pkg/storage/names/generate.go).
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const DRAWN: usize = 5;
/// Bytes of the given part that are kept, as there: a longer one is cut, so that labels hold the whole name.
const MOST: usize = 63 - DRAWN;

/// Puts a name in the place of `generateName`. A name that is given counts, as it does for the API server; what is no text stays, and is
/// refused as any other field that nobody knows.
pub(super) fn name(document: &mut Value) {
    let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let Some(Value::String(given)) = metadata.get(FIELD) else { return };
    let name = format!("{}{}", &given[..given.floor_char_boundary(MOST)], drawn());
    let is_empty = given.is_empty();
    metadata.remove(FIELD);
    if !is_empty {
        metadata.entry("name").or_insert_with(|| name.into());
    }
}

fn drawn() -> String {
    // Its keys are drawn by the operating system; each has a hash of its own.
    let mut dice = RandomState::new().build_hasher().finish();
    let letter = |_| {
        let letter = LETTERS[(dice % LETTERS.len() as u64) as usize];
        dice /= LETTERS.len() as u64;
        char::from(letter)
    };
    (0..DRAWN).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named(metadata: Value) -> Value {
        let mut document = json!({ "metadata": metadata });
        name(&mut document);
        document["metadata"].take()
    }

    #[test]
    fn each_run_has_a_name_of_its_own() {
        let names: Vec<String> =
            (0..3).map(|_| named(json!({ "generateName": "slow-" }))["name"].as_str().unwrap().to_owned()).collect();
        assert!(names.iter().all(|name| name.len() == 10 && name.starts_with("slow-")), "{names:?}");
        assert!(names[0] != names[1] || names[1] != names[2], "{names:?}");
        let long = named(json!({ "generateName": "\u{fc}".repeat(300) }));
        assert!(long["name"].as_str().unwrap().len() <= 63);
    }

    #[test]
    fn a_name_counts_and_nonsense_stays() {
        assert_eq!(named(json!({ "generateName": "a-", "name": "b" })), json!({ "name": "b" }));
        assert_eq!(named(json!({ "generateName": "" })), json!({}));
        assert_eq!(named(json!({ "generateName": 7 })), json!({ "generateName": 7 }));
        let mut none = Value::Null;
        name(&mut none);
        assert!(none.is_null());
    }

    #[test]
    fn a_file_with_it_is_read() {
        let text = "apiVersion: chaos-ebpf.dev/v1alpha1\nkind: Experiment\nmetadata: { generateName: slow- }\nspec:\n  duration: 1s\n  \
                    selector: { pods: { all: true } }\n  faults:\n    - network: { match: { all: true }, partition: true }\n";
        let twice = format!("{text}---\n{text}");
        let parsed = crate::parse("f", &twice).unwrap();
        assert!(parsed.len() == 2 && parsed[0].experiment.metadata.name.starts_with("slow-"));
        let odd = crate::parse("f", &text.replace("slow-", "Slow_")).unwrap_err();
        assert!(odd[0].line == 3 && odd[0].to_string().contains("metadata.name"), "{}", odd[0]);
    }
}
