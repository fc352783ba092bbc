//! What the API server tells becomes what the worker hears.

use super::{
    again::{Again, read},
    input::{Input, Kind},
    pods::PodFacts,
};
use chaos_k8s::{
    api::{Halt, Injection, Lenient, PeerSet},
    lists::{Lists, serves},
};
use chaos_spec::plan::PeerAddress;
use futures::StreamExt;
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use std::{collections::BTreeSet, fmt::Debug, sync::mpsc::Sender, time::Duration};

/// After an error; a node's agents do not all come back at one moment.
const PAUSE: Duration = Duration::from_millis(300);

/// What is watched.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The node.
    pub node: String,
    /// Only this namespace; None: all.
    pub namespace: Option<String>,
}

impl Scope {
    fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        }
    }

    fn of_node(&self) -> watcher::Config {
        watcher::Config::default().fields(&format!("spec.nodeName={}", self.node))
    }
}

/// Watches everything until the worker is gone.
pub async fn watch(client: Client, scope: Scope, to: Sender<Input>, lists: &Lists) {
    let to = To { worker: to, lists };
    let of_uid = |name: &Option<String>| name.clone().unwrap_or_default();
    let (orders, peers) = (scope.api::<Injection>(&client), scope.api::<PeerSet>(&client));
    let (mut orders_again, mut peers_again) = (Again::default(), Again::default());
    let injections = follow(
        orders.clone(),
        scope.of_node(),
        Kind::Injection,
        &to,
        move |one: &Injection| of_uid(&one.metadata.uid),
        async |one| {
            let whole = orders_again.whole(one, async |one| read(&of_its_namespace(&client, one), one).await).await;
            Some(Input::Injection(Box::new(whole)))
        },
    );
    let pods = follow(
        scope.api::<Lenient<Pod>>(&client),
        scope.of_node(),
        Kind::Pod,
        &to,
        move |one: &Lenient<Pod>| of_uid(&one.0.metadata.uid),
        async |one: Lenient<Pod>| {
            let mut facts = PodFacts::of(one.0, &scope.node)?;
            if scope.namespace.is_some() {
                // Of one namespace alone, nobody can contradict a pod that claims another one's cgroup.
                facts.place.mirrored = None;
            }
            Some(Input::Pod(Box::new(facts)))
        },
    );
    let sets = follow(
        peers.clone(),
        watcher::Config::default(),
        Kind::PeerSet,
        &to,
        |one: &PeerSet| format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any()),
        async |one| {
            Some(peer_set(&peers_again.whole(one, async |one| read(&of_its_namespace(&client, one), one).await).await))
        },
    );
    let halts = follow(
        Api::<Halt>::all(client.clone()),
        watcher::Config::default(),
        Kind::Halt,
        &to,
        |one: &Halt| one.name_any(),
        async |one: Halt| Some(Input::Halt(one.name_any(), one.spec.reason.clone())),
    );
    tokio::join!(injections, pods, sets, halts);
}

/// For a list of one object: with its namespace the API server looks it up, without it goes through all.
fn of_its_namespace<K>(client: &Client, one: &K) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), &one.namespace().unwrap_or_default())
}

fn peer_set(set: &PeerSet) -> Input {
    let addresses = set.spec.addresses.iter().map(|one| PeerAddress { cidr: one.cidr, port: one.port });
    let name = (set.namespace().unwrap_or_default(), set.name_any());
    Input::PeerSet(name, set.unread.as_ref().map_or_else(|| Ok(addresses.collect()), |why| Err(why.to_string())))
}

/// Who is told.
struct To<'a> {
    worker: Sender<Input>,
    lists: &'a Lists,
}

/// Follows one kind. An error changes nothing of what is known; only a list that succeeded, a deletion, and a kind that the API server does
/// not know (any more) do.
async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    kind: Kind,
    to: &To<'_>,
    name: impl Fn(&K) -> String,
    mut input: impl AsyncFnMut(K) -> Option<Input>,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Clone,
{
    let mut stream = Box::pin(watcher(api, config));
    let mut listed = BTreeSet::new();
    let named = format!("{kind:?}");
    while let Some(event) = stream.next().await {
        if event.as_ref().is_ok_and(serves) {
            to.lists.served(&named);
        }
        let heard = match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(one)) => {
                listed.insert(name(&one));
                input(one).await
            }
            Ok(Event::InitDone) => Some(Input::All(kind, std::mem::take(&mut listed))),
            Ok(Event::Apply(one)) => input(one).await,
            Ok(Event::Delete(one)) => Some(Input::Gone(kind, name(&one))),
            Err(error) => {
                to.lists.failed(&named, &error);
                tokio::time::sleep(PAUSE).await;
                is_unknown(&error).then(|| Input::All(kind, BTreeSet::new()))
            }
        };
        if heard.is_some_and(|heard| to.worker.send(heard).is_err()) {
            return;
        }
    }
}

/// The API server has no such kind: the definitions were deleted.
fn is_unknown(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    let (InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error)) = error else { return false };
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
