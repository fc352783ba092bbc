//! The cluster that is talked to.

use super::error::{Asked, translated};
use crate::api::{Experiment, Injection};
use chaos_outcome::EngineError;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, future::Future, path::PathBuf, time::Duration};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// Most objects of one answer of the API server; more come in further ones.
const PAGE: u32 = 500;

/// Who writes.
pub const MANAGER: &str = "kubectl-chaos";

/// Which cluster, and which namespace of it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A context of the kubeconfig; its current one if absent.
    pub context: Option<String>,
    /// The namespace; the context's if absent.
    pub namespace: Option<String>,
    /// The kubeconfig; the one that kubectl would use if absent.
    pub kubeconfig: Option<PathBuf>,
    /// Whom to impersonate; nobody if absent.
    pub user: Option<String>,
    /// The groups of whom.
    pub groups: Vec<String>,
}

/// A cluster and a namespace of it.
#[derive(Clone)]
pub struct Cluster {
    /// Its API server.
    pub client: Client,
    /// The namespace that was asked for, or else the context's.
    pub namespace: String,
    /// The namespace was asked for.
    pub named: bool,
    server: String,
}

impl Cluster {
    /// Finds it by the kubeconfig, or from within a pod; nothing is sent yet.
    ///
    /// # Errors
    /// `Unsupported` where there is no such configuration, or its credentials cannot be had.
    pub fn of(options: &Options, config: Config) -> Result<Self, EngineError> {
        let mut config = config;
        config.connect_timeout = Some(CONNECT);
        if let Some(user) = &options.user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = Some(options.groups.clone()).filter(|groups| !groups.is_empty());
        }
        let server = config.cluster_url.to_string();
        let namespace = options.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| {
            EngineError::Unsupported(format!("talk to {server}: {error}; see the user of the kubeconfig"))
        })?;
        Ok(Self { client, namespace, named: options.namespace.is_some(), server })
    }

    /// As [`Cluster::of`], with the configuration that kubectl would use.
    ///
    /// # Errors
    /// As [`Cluster::of`].
    pub async fn find(options: &Options) -> Result<Self, EngineError> {
        let wanted = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
        let found = match &options.kubeconfig {
            Some(path) => match Kubeconfig::read_from(path) {
                Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &wanted).await,
                Err(error) => Err(error),
            },
            None => Config::from_kubeconfig(&wanted).await,
        };
        let config = match found {
            Ok(config) => config,
            // A context is one of a kubeconfig; without one it may be a pod that asks.
            Err(error) => match Config::incluster() {
                Ok(config) if options.context.is_none() && options.kubeconfig.is_none() => config,
                _ => {
                    let text =
                        format!("find a cluster: {error}; set KUBECONFIG or --kubeconfig, or see kubectl config view");
                    return Err(EngineError::Unsupported(text));
                }
            },
        };
        Self::of(options, config)
    }

    /// Objects of a namespace; None: of all.
    #[must_use]
    pub fn api<K>(&self, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// Waits for an answer.
    ///
    /// # Errors
    /// What the API server refused, in a user's words; that it does not answer.
    pub async fn call<T>(
        &self,
        asked: Asked<'_>,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, EngineError> {
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(result) => result.map_err(|error| translated(&error, asked, &self.server)),
            Err(_) => Err(EngineError::Failed(format!(
                "{asked}: the API server at {} did not answer within {}",
                self.server,
                humantime::format_duration(ANSWER)
            ))),
        }
    }

    /// An error of a watch, in a user's words.
    #[must_use]
    pub fn translate(&self, error: &kube::Error, asked: Asked<'_>) -> EngineError {
        translated(error, asked, &self.server)
    }

    /// All objects of a kind, page by page.
    ///
    /// # Errors
    /// As [`Cluster::call`].
    pub async fn list<K>(&self, api: &Api<K>, namespace: Option<&str>) -> Result<Vec<K>, EngineError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        self.list_by(api, namespace, None).await
    }

    /// The same of those with some labels, as kubectl writes them.
    ///
    /// # Errors
    /// As [`Cluster::call`].
    pub async fn list_by<K>(
        &self,
        api: &Api<K>,
        namespace: Option<&str>,
        labels: Option<&str>,
    ) -> Result<Vec<K>, EngineError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let resource = K::plural(&());
        let asked = Asked { verb: "list", resource: &resource, namespace };
        let mut all = Vec::new();
        let mut parameters =
            ListParams { label_selector: labels.map(str::to_owned), ..ListParams::default().limit(PAGE) };
        loop {
            let page = self.call(asked, api.list(&parameters)).await?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(all),
            }
        }
    }

    /// One experiment of the namespace.
    ///
    /// # Errors
    /// As [`Cluster::call`]; `Invalid` where it does not exist.
    pub async fn experiment(&self, name: &str) -> Result<Experiment, EngineError> {
        let found = self.find_experiment(name).await?;
        found.ok_or_else(|| {
            let text =
                format!("there is no experiment {name:?} in namespace {}; see kubectl chaos list", self.namespace);
            EngineError::Invalid(vec![text])
        })
    }

    /// One experiment of the namespace, if it exists.
    ///
    /// # Errors
    /// As [`Cluster::call`].
    pub async fn find_experiment(&self, name: &str) -> Result<Option<Experiment>, EngineError> {
        let api: Api<Experiment> = self.api(Some(&self.namespace));
        let asked = Asked { verb: "get", resource: "experiments", namespace: Some(&self.namespace) };
        let found = self.call(asked, async {
            match api.get(name).await {
                Ok(found) => Ok(Some(found)),
                // Without a name in the answer it is the kind that is unknown.
                Err(kube::Error::Api(status))
                    if status.code == 404 && status.details.as_ref().is_some_and(|one| !one.name.is_empty()) =>
                {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        });
        found.await
    }

    /// What the nodes say of an experiment.
    ///
    /// # Errors
    /// As [`Cluster::call`].
    pub async fn injections(&self, experiment: &Experiment) -> Result<Vec<Injection>, EngineError> {
        let namespace = experiment.namespace();
        let asked = Asked { verb: "list", resource: "injections", namespace: namespace.as_deref() };
        let all = crate::controller::reconcile::owned::<Injection>(&self.client, experiment);
        let mut all = self.call(asked, all).await?;
        all.sort_by(|a, b| a.spec.node_name.cmp(&b.spec.node_name));
        Ok(all)
    }

    /// Changes annotations of an experiment.
    ///
    /// # Errors
    /// As [`Cluster::call`].
    pub async fn annotate(&self, experiment: &Experiment, key: &str, value: &str) -> Result<(), EngineError> {
        let namespace = experiment.namespace();
        let api: Api<Experiment> = self.api(namespace.as_deref());
        let asked = Asked { verb: "patch", resource: "experiments", namespace: namespace.as_deref() };
        let body = serde_json::json!({ "metadata": { "annotations": { key: value } } });
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.call(asked, api.patch(&experiment.name_any(), &parameters, &Patch::Merge(&body))).await.map(drop)
    }
}
