//! Requests that change configs: checked as Kafka checks them, written, announced. What they do comes with the notice.
//!
//! Sentences are Kafka's, word for word.

use std::collections::BTreeSet;

use storage::types::BrokerId;
use tracing::info;

use crate::cluster::entities::{self, ConfigsError, Entity, Stored};
use crate::config::dynamic::{DynamicError, Level};
use crate::config::operations::{self, Alteration, Entries, Operation, OperationError};
use crate::config::properties::Properties;
use crate::config::table;
use crate::config::topic::TopicConfigError;
use crate::house::House;
use crate::telemetry::loggers::{self, LoggerError};

/// Kinds of resources on the wire (`ConfigResource.Type`).
pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
pub(crate) const BROKER_LOGGER: i8 = 8;
pub(crate) const CLIENT_METRICS: i8 = 16;

/// What a request wants of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) name: String,
    /// Number of the operation; see [`Operation::from_wire`].
    pub(crate) operation: i8,
    pub(crate) value: Option<String>,
}

/// Why configs stay as they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AlterError {
    #[error("Each resource must appear at most once.")]
    ResourceTwice,
    #[error("Error due to duplicate config keys")]
    KeyTwice,
    #[error("Null value not supported for : {0}")]
    NullValue(String),
    #[error("Unknown resource type {0}")]
    UnknownKind(i8),
    #[error("AlterConfigs is only supported for topics and brokers, but resource type is CLIENT_METRICS")]
    ClientMetrics,
    #[error("Node id must be an integer, but it is: {0}")]
    NoBrokerId(String),
    #[error("Unexpected broker id, expected {expected}, but received {received}")]
    OtherBroker { expected: BrokerId, received: String },
    #[error("Default topic resources are not allowed.")]
    NoTopic,
    #[error("The topic '{0}' does not exist.")]
    UnknownTopic(String),
    #[error("Unknown operations type {0}")]
    UnknownOperation(i8),
    /// Kafka fails here, without a sentence.
    #[error("unknown operation {0} on a topic")]
    UnknownOperationOnTopic(i8),
    #[error(transparent)]
    Operation(#[from] OperationError),
    #[error("Invalid config value for resource ConfigResource(type=TOPIC, name='{topic}'): {source}")]
    TopicValue { topic: String, source: TopicConfigError },
    #[error(transparent)]
    Topic(TopicConfigError),
    #[error(transparent)]
    Broker(#[from] DynamicError),
    #[error(transparent)]
    Logger(#[from] LoggerError),
    #[error(transparent)]
    Store(#[from] ConfigsError),
}

/// Whether the change is made, or only checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Make,
    Check,
}

/// Changes single keys, one after the other (IncrementalAlterConfigs).
pub(crate) async fn change(
    house: &House,
    kind: i8,
    name: &str,
    wishes: &[Wish],
    mode: Mode,
) -> Result<(), AlterError> {
    check_wishes(wishes, |wish| wish.operation != DELETE)?;
    match kind {
        BROKER_LOGGER => {
            check_broker_id(house, name)?;
            loggers::change(
                wishes.iter().map(|wish| (&*wish.name, wish.operation, wish.value.as_deref())),
                mode == Mode::Make,
            )?;
            Ok(())
        }
        BROKER => change_broker(house, name, wishes, mode).await,
        TOPIC => change_topic(house, name, wishes, mode).await,
        CLIENT_METRICS => Err(AlterError::ClientMetrics),
        kind => Err(AlterError::UnknownKind(kind)),
    }
}

/// Puts what is wished in place of all that was set (AlterConfigs).
pub(crate) async fn replace(
    house: &House,
    kind: i8,
    name: &str,
    wishes: &[Wish],
    mode: Mode,
) -> Result<(), AlterError> {
    check_wishes(wishes, |_| true)?;
    let entries: Entries =
        wishes.iter().map(|wish| (wish.name.clone(), wish.value.clone().unwrap_or_default())).collect();
    let entity = match kind {
        BROKER => {
            let (entity, level) = broker(house, name)?;
            house.live.current().check_change(level, &properties(&entries))?;
            entity
        }
        TOPIC => {
            check_topic_name(name)?;
            check_topic(house, name, &entries)?;
            Entity::Topic(name.to_owned())
        }
        CLIENT_METRICS => return Err(AlterError::ClientMetrics),
        kind => return Err(AlterError::UnknownKind(kind)),
    };
    if mode == Mode::Make {
        told(&entity, wishes);
        entities::overwrite(&house.zookeeper, &entity, &entries).await?;
    }
    Ok(())
}

const DELETE: i8 = 1;

fn check_wishes(wishes: &[Wish], needs_value: impl Fn(&Wish) -> bool) -> Result<(), AlterError> {
    let names: BTreeSet<&str> = wishes.iter().map(|wish| wish.name.as_str()).collect();
    if names.len() < wishes.len() {
        return Err(AlterError::KeyTwice);
    }
    let null = wishes.iter().filter(|wish| needs_value(wish) && wish.value.is_none());
    let null: Vec<&str> = null.map(|wish| wish.name.as_str()).collect();
    if null.is_empty() { Ok(()) } else { Err(AlterError::NullValue(null.join(", "))) }
}

async fn change_topic(house: &House, name: &str, wishes: &[Wish], mode: Mode) -> Result<(), AlterError> {
    check_topic_name(name)?;
    let entity = Entity::Topic(name.to_owned());
    let alterations = alterations(wishes).map_err(AlterError::UnknownOperationOnTopic);
    let alterations = alterations?;
    loop {
        let stored = entities::read(&house.zookeeper, &entity).await?;
        let mut entries = stored.entries.clone();
        operations::apply(&mut entries, &alterations, table::topic::find)?;
        check_topic(house, name, &entries)?;
        if mode == Mode::Check || write(house, &entity, &stored, &entries, wishes).await? {
            return Ok(());
        }
    }
}

async fn change_broker(house: &House, name: &str, wishes: &[Wish], mode: Mode) -> Result<(), AlterError> {
    let (entity, level) = broker(house, name)?;
    let alterations = alterations(wishes).map_err(AlterError::UnknownOperation)?;
    let find =
        |name: &str| table::find(name).filter(|key| key.visibility != crate::config::key::Visibility::Ours);
    loop {
        let stored = entities::read(&house.zookeeper, &entity).await?;
        let config = house.live.current();
        // What cannot be used here stays as it is, and is no reason to refuse something else.
        let usable = config.usable(level, &properties(&stored.entries));
        let mut proposed: Entries =
            stored.entries.iter().filter(|(name, _)| usable.contains_key(name)).cloned().collect();
        operations::apply(&mut proposed, &alterations, find)?;
        config.check_change(level, &properties(&proposed))?;
        let mut entries = stored.entries.clone();
        operations::apply(&mut entries, &alterations, find)?;
        if mode == Mode::Check || write(house, &entity, &stored, &entries, wishes).await? {
            return Ok(());
        }
    }
}

/// `false`: somebody else was faster.
async fn write(
    house: &House,
    entity: &Entity,
    former: &Stored,
    entries: &Entries,
    wishes: &[Wish],
) -> Result<bool, AlterError> {
    told(entity, wishes);
    Ok(entities::replace(&house.zookeeper, entity, former, entries).await?)
}

fn told(entity: &Entity, wishes: &[Wish]) {
    let keys: Vec<&str> = wishes.iter().map(|wish| wish.name.as_str()).collect();
    info!("a client changes configs of {entity:?}: {}", keys.join(", "));
}

fn check_topic_name(name: &str) -> Result<(), AlterError> {
    if name.is_empty() { Err(AlterError::NoTopic) } else { Ok(()) }
}

fn check_topic(house: &House, topic: &str, entries: &Entries) -> Result<(), AlterError> {
    if house.metadata.snapshot().topic(topic).is_none() {
        return Err(AlterError::UnknownTopic(topic.to_owned()));
    }
    match house.live.current().check_topic(&properties(entries)) {
        Ok(_) => Ok(()),
        Err(source @ (TopicConfigError::Invalid(_) | TopicConfigError::NoTieredStorage)) => {
            Err(AlterError::TopicValue { topic: topic.to_owned(), source })
        }
        Err(source) => Err(AlterError::Topic(source)),
    }
}

/// An empty name is every broker; another must be this one's.
fn broker(house: &House, name: &str) -> Result<(Entity, Level), AlterError> {
    if name.is_empty() {
        return Ok((Entity::AllBrokers, Level::Cluster));
    }
    check_broker_id(house, name)?;
    Ok((Entity::Broker(house.me), Level::Broker))
}

fn check_broker_id(house: &House, name: &str) -> Result<(), AlterError> {
    match name.parse() {
        Ok(id) if BrokerId(id) == house.me => Ok(()),
        Ok(_) => Err(AlterError::OtherBroker { expected: house.me, received: name.to_owned() }),
        Err(_) => Err(AlterError::NoBrokerId(name.to_owned())),
    }
}

/// `Err` is the number of an operation there is not.
fn alterations(wishes: &[Wish]) -> Result<Vec<Alteration>, i8> {
    let alteration = |wish: &Wish| {
        let operation = Operation::from_wire(wish.operation).ok_or(wish.operation)?;
        Ok(Alteration { name: wish.name.clone(), operation, value: wish.value.clone().unwrap_or_default() })
    };
    wishes.iter().map(alteration).collect()
}

fn properties(entries: &Entries) -> Properties {
    entries.iter().cloned().collect()
}
