//! `report`: the merged report of an experiment that is over.

use super::{
    cluster::Cluster,
    gather::gather,
    words::{phase, title},
};
use chaos_outcome::EngineError;
use chaos_outcome::Report;

/// The report of an experiment of the namespace.
///
/// # Errors
/// `Failed` where it is not over yet; the API server's.
pub async fn report(cluster: &Cluster, name: &str) -> Result<Report, EngineError> {
    let experiment = cluster.experiment(name).await?;
    if !phase(&experiment).is_over() {
        return Err(EngineError::Failed(format!(
            "{} is not over yet ({:?}); kubectl chaos wait {name} --for ended",
            title(&experiment),
            phase(&experiment)
        )));
    }
    Ok(gather(&experiment, &cluster.injections(&experiment).await?))
}
