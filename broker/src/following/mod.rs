//! What a changed config or quota does here, once ZooKeeper tells of it: also of changes by tools that speak to ZooKeeper.

mod quotas;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use quotas::load as load_quotas;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tracing::{debug, info, warn};

use crate::clock;
use crate::cluster::config_changes::Changed;
use crate::cluster::controller::ControllerHandle;
use crate::cluster::entities::{self, ConfigsError, DEFAULT_ENTITY, Entity};
use crate::cluster::presence::{self, Presence};
use crate::cluster::znodes::paths;
use crate::config::BrokerConfig;
use crate::config::properties::Properties;
use crate::house::House;
use crate::live::properties;
use crate::net::front::Front;
use crate::reconfiguration::quotas::stored::Subject;

/// Pause before ZooKeeper is asked again after it failed to answer.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

const UNCLEAN_ELECTION: &str = "unclean.leader.election.enable";

/// What a change may reach.
pub(crate) struct Running {
    pub(crate) house: Arc<House>,
    pub(crate) controller: ControllerHandle,
    pub(crate) front: Arc<Front>,
    pub(crate) presence: Arc<Presence>,
}

/// Runs until `changes` end.
pub(crate) async fn follow(running: Running, mut changes: mpsc::Receiver<Changed>) {
    let Running { house, controller, .. } = &running;
    while let Some(changed) = changes.recv().await {
        match changed {
            Changed::One(change) => match change.entity_type.as_str() {
                "topics" => topic(house, controller, &change.entity).await,
                "brokers" if concerns(house, &change.entity) => broker(&running).await,
                _ => match Subject::at(&change.entity_type, &change.entity) {
                    Some(subject) => quotas::follow(&running, &subject).await,
                    // Other brokers have their own.
                    None => debug!(path = change.path(), "configs of no effect here were changed"),
                },
            },
            Changed::Everything => {
                info!("notices of changed configs were missed; all configs are read again");
                everything(&running).await;
            }
        }
    }
}

fn concerns(house: &House, broker: &str) -> bool {
    broker == DEFAULT_ENTITY || broker.trim().parse() == Ok(house.me.0)
}

async fn topic(house: &House, controller: &ControllerHandle, topic: &str) {
    let _loading = house.live.loading().await;
    let Some(overrides) = persistently(house, topic).await else { return };
    let (partitions, name) = (Arc::clone(&house.partitions), topic.to_owned());
    let shown = show(&overrides);
    if overrides.get(UNCLEAN_ELECTION).is_some_and(|text| text.trim().eq_ignore_ascii_case("true")) {
        controller.unclean_election_enabled(topic.into()).await;
    }
    if spawn_blocking(move || partitions.reconfigure(&name, overrides)).await.is_ok() {
        info!(topic, "configs of the topic are now: {shown}");
    }
}

/// The overrides of `topic`; `None` where what is there cannot be read, and the former ones hold.
async fn persistently(house: &House, topic: &str) -> Option<Properties> {
    loop {
        match entities::read(&house.zookeeper, &Entity::Topic(topic.to_owned())).await {
            Ok(stored) => return Some(properties(stored)),
            Err(why @ (ConfigsError::Unreadable(_) | ConfigsError::NoController)) => {
                warn!(topic, "the topic keeps its former configs; set them again: {why}");
                return None;
            }
            Err(ConfigsError::ZooKeeper(zookeeper_client::Error::ClientClosed)) => return None,
            Err(ConfigsError::ZooKeeper(_)) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

async fn broker(running: &Running) {
    let Running { house, controller, .. } = running;
    let former = house.live.current();
    let next = loop {
        match house.live.stored(&house.zookeeper, house.me).await {
            Ok(next) => break Arc::new(next),
            Err(why @ (ConfigsError::Unreadable(_) | ConfigsError::NoController)) => {
                warn!("this broker keeps its former dynamic configs; set them again: {why}");
                return;
            }
            Err(ConfigsError::ZooKeeper(zookeeper_client::Error::ClientClosed)) => return,
            Err(ConfigsError::ZooKeeper(_)) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    };
    let changed = former.difference(&next);
    if changed.is_empty() {
        return;
    }
    let unclean = |config: &BrokerConfig| config.topics.defaults.unclean_leader_election;
    if unclean(&next) != unclean(&former) {
        controller.unclean_election_by_default(unclean(&next)).await;
    }
    let (partitions, config) = (Arc::clone(&house.partitions), Arc::clone(&next));
    house.fetchers.resize(next.replication.fetchers);
    if spawn_blocking(move || partitions.rebase(&config)).await.is_ok() {
        listeners(running, &next).await;
        info!("changed while running: {}", changed.join(", "));
        for news in next.warnings.iter().filter(|warning| !former.warnings.contains(warning)) {
            warn!("{news}");
        }
        house.live.replace(next);
    }
}

/// Opens and closes listeners, takes over limits of connections, and tells the cluster where this broker is now.
async fn listeners(running: &Running, next: &Arc<BrokerConfig>) {
    let (front, house, config) = (Arc::clone(&running.front), Arc::clone(&running.house), Arc::clone(next));
    // Host names are resolved.
    let followed = spawn_blocking(move || {
        front.follow(&config.network, &house);
        front.bound()
    });
    let Ok(bound) = followed.await else { return };
    let Some(broker) = running.presence.advertise(presence::advertised(next, &bound)) else { return };
    // Where the session is lost meanwhile, it is registered again with the new entry.
    let (path, data) = (paths::broker(broker.id), broker.encode(clock::wall()));
    match running.house.zookeeper.set(&path, &data, None).await {
        Ok(_) => info!("told the cluster the changed advertised.listeners"),
        Err(why) => warn!("the cluster does not know the changed advertised.listeners yet: {why}"),
    }
}

async fn everything(running: &Running) {
    let Running { house, controller, .. } = running;
    broker(running).await;
    let hosted = house.partitions.all().into_iter().map(|partition| partition.id().topic.to_string());
    let overridden = house.partitions.configs().overridden().into_iter().map(|topic| topic.to_string());
    for name in hosted.chain(overridden).collect::<BTreeSet<String>>() {
        topic(house, controller, &name).await;
    }
    quotas::follow_all(running).await;
}

fn show(overrides: &Properties) -> String {
    let all: Vec<String> = overrides.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if all.is_empty() { "the broker's defaults".to_owned() } else { all.join(", ") }
}
