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

/// Applies a status; where the definitions lack a field of it, all but such fields. The object as it is then, and the field.
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
    match api.patch_status(name, parameters, &Patch::Apply(body)).await {
        Ok(written) => Ok((written, None)),
        Err(error) => {
            let Some(field) = undeclared(&error) else { return Err(error) };
            let merged = PatchParams { force: false, ..parameters.clone() };
            Ok((api.patch_status(name, &merged, &Patch::Merge(body)).await?, Some(field)))
        }
    }
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
}
