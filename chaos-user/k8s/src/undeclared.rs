//! Fields that the API server's definitions do not have: it drops them from what is created and merged, and refuses them in what is applied
//! (server-side apply compares with the schema).

use kube::{
    Api, Error, Resource,
    api::{Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How the refusal ends (structured-merge-diff, typed/validate.go).
const REFUSAL: &str = ": field not declared in schema";

/// The field for which an apply was refused, as a path from the object; None for every other error.
#[must_use]
pub fn undeclared(error: &Error) -> Option<String> {
    let Error::Api(status) = error else { return None };
    let before = status.message.split(REFUSAL).next().filter(|before| before.len() < status.message.len())?;
    let path = before.rsplit(char::is_whitespace).next()?.trim_start_matches('.');
    Some(path.to_owned())
}

/// Fields that are left out of one status: definitions that lack more are not of this product.
const MOST: usize = 32;

/// Applies a status; where the definitions lack fields of it, all but those. The object as it is then, and the first such field. A merge in
/// its place would not take away what is absent now.
///
/// # Errors
/// The API server's.
pub async fn apply_status<K>(
    api: &Api<K>,
    name: &str,
    parameters: &PatchParams,
    body: &Value,
) -> Result<(K, Option<String>), Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let (mut body, mut lost) = (body.clone(), None);
    for _ in 0..MOST {
        match api.patch_status(name, parameters, &Patch::Apply(&body)).await {
            Ok(written) => return Ok((written, lost)),
            Err(error) => match undeclared(&error) {
                Some(field) if remove(&mut body, &field) => drop(lost.get_or_insert(field)),
                _ => return Err(error),
            },
        }
    }
    Ok((api.patch_status(name, parameters, &Patch::Apply(&body)).await?, lost))
}

/// Takes away the field at this path, as `status.faults[0].name`, or `status.targets[uid="x"].name` in a list that is merged by keys: there, of
/// every entry. False where it is not there.
fn remove(body: &mut Value, path: &str) -> bool {
    let mut inside = false;
    // A key may have dots.
    let mut parts: Vec<&str> = path
        .split(|one| {
            inside = one == '[' || (inside && one != ']');
            one == '.' && !inside
        })
        .collect();
    let Some(last) = parts.pop() else { return false };
    let mut found = vec![body];
    for part in parts {
        let (field, index) = part.split_once('[').map_or((part, None), |(field, index)| (field, Some(index)));
        let fields = found.into_iter().filter_map(|value| value.get_mut(field));
        found = match index.map(|index| index.trim_end_matches(']').parse::<usize>()) {
            None => fields.collect(),
            Some(Ok(index)) => fields.filter_map(|value| value.get_mut(index)).collect(),
            Some(Err(_)) => fields.filter_map(Value::as_array_mut).flatten().collect(),
        };
    }
    let objects = found.into_iter().filter_map(Value::as_object_mut);
    objects.filter_map(|fields| fields.remove(last)).count() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_named() {
        let error = |message: &str| {
            let status = serde_json::json!({ "code": 500, "message": message });
            Error::Api(serde_json::from_value(status).unwrap())
        };
        let one = "failed to create typed patch object (shop/x-1; chaos-ebpf.dev/v1alpha1, Kind=Injection): \
                   .spec.faults[0].network.match.http: field not declared in schema";
        assert_eq!(undeclared(&error(one)).as_deref(), Some("spec.faults[0].network.match.http"));
        let several =
            "failed (x): errors:\n  .spec.b: field not declared in schema\n  .spec.c: field not declared in schema";
        assert_eq!(undeclared(&error(several)).as_deref(), Some("spec.b"));
        assert_eq!(undeclared(&error("exceeded quota: none")), None);
        assert_eq!(undeclared(&Error::LinesCodecMaxLineLengthExceeded), None);
    }
    #[test]
    fn a_field_is_taken_away_wherever_it_stands() {
        let mut body = serde_json::json!({ "status": {
            "locked": "Halt a", "faults": [{ "name": "x", "late": 1 }], "targets": [{ "uid": "a.b", "more": 1 }, { "uid": "c", "more": 2 }],
        } });
        for (path, there) in [
            ("status.faults[0].late", true),
            ("status.faults[0].late", false),
            ("status.targets[uid=\"a.b\"].more", true),
            ("status.locked", true),
            ("spec.x", false),
            ("nothing", false),
        ] {
            assert_eq!(remove(&mut body, path), there, "{path}");
        }
        let left = serde_json::json!({ "status": { "faults": [{ "name": "x" }], "targets": [{ "uid": "a.b" }, { "uid": "c" }] } });
        assert_eq!(body, left);
    }
}
