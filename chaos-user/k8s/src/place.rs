//! Where agents and controllers are installed: the admission policies name their accounts with the namespace.

use chaos_outcome::EngineError;
use std::{fs, path::Path};

const NAMESPACE: &str = "chaos-system";
/// Where a pod finds the namespace of its account
/// (<https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>).
const OWN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Outside of a pod, with an account that a kubeconfig names, or in a pod of the namespace of the manifests?
///
/// # Errors
/// `Unsupported` in a pod of any other namespace: the API server would refuse what it writes.
pub fn supported() -> Result<(), EngineError> {
    // It has precedence over the pod's own account.
    if std::env::var_os("KUBECONFIG").is_some() { Ok(()) } else { judged(Path::new(OWN)) }
}

fn judged(file: &Path) -> Result<(), EngineError> {
    match fs::read_to_string(file) {
        Ok(found) if found.trim() != NAMESPACE => Err(EngineError::Unsupported(format!(
            "this pod is in namespace {:?}, and only {NAMESPACE} is supported: the admission policies name its accounts; apply the \
             manifests without another namespace",
            crate::text::cut(found.trim(), 63)
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_namespace_is_refused_with_the_remedy() {
        let file = std::env::temp_dir().join(format!("chaos-place-{}", std::process::id()));
        fs::write(&file, "chaos-system\n").unwrap();
        assert!(judged(&file).is_ok());
        fs::write(&file, "monitoring").unwrap();
        let said = judged(&file).unwrap_err().to_string();
        fs::remove_file(&file).unwrap();
        assert!(said.contains("\"monitoring\"") && said.contains("only chaos-system is supported"), "{said}");
        assert!(judged(&file).is_ok(), "outside of a pod");
    }
}
