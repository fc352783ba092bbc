//! `chaos crd`.

use chaos_k8s::api::crd;
use chaos_outcome::ExitCode;

/// Prints the custom resource definitions.
pub fn crd() -> ExitCode {
    match crd::yaml() {
        Ok(text) => {
            print!("{text}");
            ExitCode::Pass
        }
        Err(error) => {
            eprintln!("write the custom resource definitions: {error}");
            ExitCode::Error
        }
    }
}
