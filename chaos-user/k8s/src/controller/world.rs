//! What the API server says of the cluster, as far as selectors need it.

use crate::{
    api::Lenient,
    lists::{Lists, serves},
};
use futures::StreamExt;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::ReplicaSet,
        core::v1::{Node, Pod, PodSpec, Service},
        discovery::v1::EndpointSlice,
    },
};
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt,
        reflector::{self, Store},
        watcher::{self, watcher},
    },
};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, hash::Hash, sync::Arc};
use tokio::sync::mpsc::Sender;

/// The cluster at one moment.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The namespace that an installation for one of them watches.
    pub only: Option<String>,
    /// All pods.
    pub pods: Vec<Arc<Pod>>,
    /// All nodes; empty where only one namespace is watched.
    pub nodes: Vec<Arc<Node>>,
    /// All Services.
    pub services: Vec<Arc<Service>>,
    /// Their endpoints.
    pub slices: Vec<Arc<EndpointSlice>>,
    /// Whose pods belong to a Deployment.
    pub replica_sets: Vec<Arc<ReplicaSet>>,
}

/// Keeps up with the cluster.
#[derive(Clone, Debug)]
pub struct Watched {
    only: Option<String>,
    pods: Store<Pod>,
    nodes: Option<Store<Node>>,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    replica_sets: Store<ReplicaSet>,
}

impl Watched {
    /// Begins to watch; each change is told through `changed`, where it can say that all experiments want a look.
    #[must_use]
    pub fn start(client: &Client, namespace: Option<&str>, changed: &Sender<()>, lists: &Lists) -> Self {
        let to = || (changed.clone(), lists.clone());
        let nodes = namespace.is_none().then(|| follow(Api::all(client.clone()), to(), slim_node));
        Self {
            only: namespace.map(str::to_owned),
            pods: follow(api(client, namespace), to(), slim_pod),
            nodes,
            services: follow(api(client, namespace), to(), |_| ()),
            slices: follow(api(client, namespace), to(), |_| ()),
            replica_sets: follow(api(client, namespace), to(), slim_set),
        }
    }

    /// Waits until every kind has been listed once.
    pub async fn ready(&self) {
        if let Some(nodes) = &self.nodes {
            let _writer_lives = nodes.wait_until_ready().await;
        }
        let _writer_lives = self.pods.wait_until_ready().await;
        let _writer_lives = self.services.wait_until_ready().await;
        let _writer_lives = self.slices.wait_until_ready().await;
        let _writer_lives = self.replica_sets.wait_until_ready().await;
    }

    /// The cluster now.
    #[must_use]
    pub fn now(&self) -> World {
        World {
            only: self.only.clone(),
            pods: self.pods.state(),
            nodes: self.nodes.as_ref().map(Store::state).unwrap_or_default(),
            services: self.services.state(),
            slices: self.slices.state(),
            replica_sets: self.replica_sets.state(),
        }
    }
}

/// Of one namespace, or of all.
#[must_use]
pub fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// What nobody asks for is not kept: of ten thousand pods it is most of the memory.
fn slim_pod(pod: &mut Pod) {
    if let Some(spec) = &mut pod.spec {
        *spec = PodSpec { node_name: spec.node_name.take(), host_network: spec.host_network, ..PodSpec::default() };
    }
    if let Some(status) = &mut pod.status {
        (status.container_statuses, status.init_container_statuses) = (None, None);
        status.ephemeral_container_statuses = None;
    }
}

fn slim_node(node: &mut Node) {
    if let Some(status) = &mut node.status {
        (status.images, status.volumes_in_use, status.volumes_attached) = (None, None, None);
    }
}

/// Only whose they are is asked for.
fn slim_set(set: &mut ReplicaSet) {
    (set.spec, set.status) = (None, None);
}

fn follow<K>(api: Api<Lenient<K>>, (changed, lists): (Sender<()>, Lists), slim: fn(&mut K)) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Default + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let (store, writer) = reflector::store();
    tokio::spawn(async move {
        let events = watcher(api, watcher::Config::default()).map(|event| event.map(whole));
        let slim = events.modify(move |one: &mut K| {
            one.meta_mut().managed_fields = None;
            slim(one);
        });
        let kind = K::kind(&());
        let mut stream = Box::pin(slim.default_backoff().reflect(writer));
        while let Some(event) = stream.next().await {
            match event {
                Ok(event) => {
                    if serves(&event) {
                        lists.served(&kind);
                    }
                    // A full channel has a look in it already.
                    let _full = changed.try_send(());
                }
                Err(error) => lists.failed(&kind, &error),
            }
        }
    });
    store
}

fn whole<K>(event: watcher::Event<Lenient<K>>) -> watcher::Event<K> {
    match event {
        watcher::Event::Apply(one) => watcher::Event::Apply(one.0),
        watcher::Event::Delete(one) => watcher::Event::Delete(one.0),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitApply(one) => watcher::Event::InitApply(one.0),
        watcher::Event::InitDone => watcher::Event::InitDone,
    }
}
