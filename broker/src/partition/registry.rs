//! All partitions of this broker and the log directories they live in.
//!
//! Always true: a partition is in at most one directory (its copy on the way to another does not count), and roles change one request at a time. What the controller
//! asks is in `roles`, what time asks in `upkeep`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use coordinator::replication::Obedience;
use kafka_protocol::error::ResponseError;
use storage::checkpoint::OffsetCheckpoint;
use storage::directory::{self, Folder, FolderKind, LastStop};
use storage::error::StorageError;
use storage::log::{Log, LogOptions};
use storage::producers::ProducerSettings;
use storage::store::Store;
use storage::types::{Offset, TimestampMs, TopicId, TopicPartition};
use tracing::warn;

use crate::clock;
use crate::config::BrokerConfig;
use crate::config::properties::Properties;
use crate::config::topic::TopicConfig;
use crate::metadata::MetadataCache;
use crate::partition::awaited::Awaited;
use crate::partition::directories::{Directories, DirectoryState};
use crate::partition::hosting::{Hosted, Hosting};
use crate::partition::loading::Backlog;
use crate::partition::moving::Moves;
use crate::partition::surroundings::Surroundings;
use crate::partition::{MoveRate, Partition};

/// Topic configurations as far as this broker knows them; a topic without overrides has the broker's defaults.
pub(crate) struct TopicConfigs {
    /// Held for a look-up or a change, never across a log operation.
    state: RwLock<TopicConfigsState>,
}

struct TopicConfigsState {
    broker: Arc<BrokerConfig>,
    defaults: Arc<TopicConfig>,
    overridden: HashMap<Arc<str>, Overridden>,
}

/// Overrides are kept as text, to be laid over other defaults when those change.
struct Overridden {
    overrides: Properties,
    config: Arc<TopicConfig>,
}

impl TopicConfigs {
    pub(crate) fn new(broker: Arc<BrokerConfig>) -> Self {
        let defaults = Arc::new(broker.topics.defaults.clone());
        let state = TopicConfigsState { broker, defaults, overridden: HashMap::new() };
        TopicConfigs { state: RwLock::new(state) }
    }

    pub(crate) fn of(&self, topic: &str) -> Arc<TopicConfig> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(state.overridden.get(topic).map_or(&state.defaults, |one| &one.config))
    }

    /// What a topic without overrides has.
    pub(crate) fn defaults(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner).defaults)
    }

    /// Topics with overrides.
    pub(crate) fn overridden(&self) -> Vec<Arc<str>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.overridden.keys().cloned().collect()
    }

    /// No overrides take the topic back to the defaults. A value that cannot be used is told, and the default stands
    /// in for it.
    pub(crate) fn set(&self, topic: &str, overrides: Properties) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if overrides.is_empty() {
            state.overridden.remove(topic);
            return;
        }
        let (config, invalid) = state.broker.topic(&overrides);
        for why in invalid {
            warn!(topic, "{why}; the broker's default stands in, set the topic's configuration again");
        }
        state.overridden.insert(topic.into(), Overridden { overrides, config: Arc::new(config) });
    }

    /// Other defaults, under the same overrides.
    fn rebase(&self, broker: Arc<BrokerConfig>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        state.defaults = Arc::new(broker.topics.defaults.clone());
        for one in state.overridden.values_mut() {
            one.config = Arc::new(broker.topic(&one.overrides).0);
        }
        state.broker = broker;
    }
}

/// A folder that goes when its time has come.
pub(super) struct Condemned {
    pub(super) directory: usize,
    pub(super) folder: PathBuf,
    pub(super) due: TimestampMs,
}

/// What the logs of this broker have in common.
pub(crate) struct LogSettings {
    pub(crate) producers: ProducerSettings,
    /// Threads that open and check logs at the start. Range: `1..`.
    pub(crate) recovery_threads: usize,
    /// What moves between directories may copy.
    pub(crate) move_rate: MoveRate,
}

pub(crate) struct Partitions {
    pub(super) around: Arc<Surroundings>,
    pub(super) store: Store,
    pub(super) directories: Arc<Directories>,
    pub(super) configs: TopicConfigs,
    /// What new logs get; it may change while the broker runs.
    producers: RwLock<ProducerSettings>,
    /// Held for a look-up or an insertion, never across a log operation.
    pub(super) hosted: RwLock<Hosting>,
    /// Held for a look-up or a change, under `obedience` where that is held too.
    pub(super) awaited: Mutex<Awaited>,
    /// Logs that are being made in each directory.
    coming: Mutex<Vec<usize>>,
    /// The controllers heard so far. Held while roles change, so that they change one request at a time.
    pub(super) obedience: Mutex<Obedience>,
    pub(super) condemned: Mutex<Vec<Condemned>>,
    pub(super) moves: Moves,
    move_rate: MoveRate,
    /// Set under `obedience`.
    pub(super) closing: AtomicBool,
}

/// What `config` says about producers.
pub(crate) fn producer_settings(config: &BrokerConfig) -> ProducerSettings {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    ProducerSettings {
        expiration_ms: ms(config.logs.producer_id_expiration),
        transaction_timeout_max_ms: ms(config.transactions.timeout_max),
        verify_transactions: config.transactions.verification,
    }
}

/// What one directory holds at the start.
pub(super) struct Inventory {
    pub(super) directory: usize,
    pub(super) last_stop: LastStop,
    pub(super) folders: Vec<Folder>,
    pub(super) recovery_points: BTreeMap<TopicPartition, Offset>,
    pub(super) log_starts: BTreeMap<TopicPartition, Offset>,
    pub(super) high_watermarks: BTreeMap<TopicPartition, Offset>,
    pub(super) cleaned: BTreeMap<TopicPartition, Offset>,
}

impl Inventory {
    /// The folders of one partition: its log, and copies on their way.
    pub(super) fn folders_of<'a>(&'a self, id: &TopicPartition) -> impl Iterator<Item = &'a Folder> {
        let name = directory::partition_name(id);
        let name_of = |folder: &Folder| folder.path.file_name().map(|name| name.as_encoded_bytes().to_vec());
        let first = self.folders.partition_point(|folder| name_of(folder) < Some(name.clone().into_bytes()));
        let id = id.clone();
        let same_name = move |folder: &&Folder| {
            let found = folder.path.file_name().unwrap_or_default().as_encoded_bytes();
            found.starts_with(name.as_bytes())
        };
        self.folders.iter().skip(first).take_while(same_name).filter(move |folder| folder.partition == id)
    }

    /// Where the log of a partition is to start.
    ///
    /// After a clean stop no log ends before it starts. Where the checkpoints say so one of them is damaged, and the start is
    /// not believed: all records would go for it.
    pub(super) fn log_start_of(&self, id: &TopicPartition) -> Offset {
        let start = self.log_starts.get(id).copied().unwrap_or(Offset::ZERO);
        match self.recovery_points.get(id) {
            Some(end) if self.last_stop == LastStop::Clean && start > *end => {
                warn!(
                    partition = %id, %start, %end,
                    "log-start-offset-checkpoint or recovery-point-offset-checkpoint is damaged: the log would end before it \
                     starts; it starts with its first segment"
                );
                Offset::ZERO
            }
            _ => start,
        }
    }

    pub(super) fn offsets(&self, checkpoint: OffsetCheckpoint) -> &BTreeMap<TopicPartition, Offset> {
        match checkpoint {
            OffsetCheckpoint::RecoveryPoints => &self.recovery_points,
            OffsetCheckpoint::LogStarts => &self.log_starts,
            OffsetCheckpoint::HighWatermarks => &self.high_watermarks,
            OffsetCheckpoint::Cleaner => &self.cleaned,
        }
    }
}

impl Partitions {
    /// Opens the logs in `directories`, several at a time, and says how it goes. Those whose records have to be checked
    /// first are in the backlog, for [`work_off`](Self::work_off).
    ///
    /// A directory that fails is taken out of service; with none left the error of the last is returned.
    pub(crate) fn open(
        around: Surroundings,
        store: Store,
        directories: Directories,
        configs: TopicConfigs,
        settings: LogSettings,
    ) -> Result<(Partitions, Backlog), StorageError> {
        let partitions = Partitions {
            around: Arc::new(around),
            store,
            directories: Arc::new(directories),
            configs,
            producers: RwLock::new(settings.producers),
            hosted: RwLock::default(),
            awaited: Mutex::default(),
            coming: Mutex::default(),
            obedience: Mutex::default(),
            condemned: Mutex::default(),
            moves: Moves::default(),
            move_rate: settings.move_rate,
            closing: AtomicBool::new(false),
        };
        let (backlog, failure) = partitions.load(settings.recovery_threads);
        partitions.resume_moves();
        match failure {
            Some(error) if partitions.directories.iter().all(DirectoryState::is_offline) => Err(error),
            _ => Ok((partitions, backlog)),
        }
    }

    /// Folders of earlier deletions go after `file.delete.delay.ms`, as they would have without the restart.
    pub(super) fn condemn_leftovers(&self, inventory: &Inventory) {
        let delay = self.configs.defaults().log.file_delete_delay_ms;
        for folder in inventory.folders.iter().filter(|folder| folder.kind == FolderKind::Deleted) {
            self.condemn(inventory.directory, folder.path.clone(), delay);
        }
    }

    /// A folder with the name of a deleted one goes when `delay_ms` have passed.
    pub(super) fn condemn(&self, directory: usize, folder: PathBuf, delay_ms: i64) {
        let due = TimestampMs(clock::wall().0.saturating_add(delay_ms));
        let condemned = Condemned { directory, folder, due };
        self.condemned.lock().unwrap_or_else(PoisonError::into_inner).push(condemned);
    }

    /// A new, empty log in the directory with the fewest partitions.
    pub(super) fn create(
        &self,
        id: &TopicPartition,
        topic_id: Option<TopicId>,
    ) -> Result<Hosted, StorageError> {
        let index = self.choose_directory(id).ok_or(StorageError::NoDirectory)?;
        let folder = self.directories[index].path().join(directory::partition_name(id));
        let opened = self.open_empty(id, folder, topic_id).inspect_err(|error| self.report(index, error));
        let hosted = opened.map(|log| self.host(log, index));
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)[index] -= 1;
        hosted
    }

    fn host(&self, log: Log, index: usize) -> Hosted {
        let id = log.partition().clone();
        let config = self.configs.of(&id.topic);
        let partition = Arc::new(Partition::new(
            Arc::clone(&self.around),
            Arc::clone(&self.directories),
            config,
            log,
            Offset::ZERO,
        ));
        let hosted = Hosted { partition, directory: index };
        self.hosted.write().unwrap_or_else(PoisonError::into_inner).insert(id, hosted.clone());
        self.directories.note_watermark();
        self.resume_move(&hosted);
        hosted
    }

    /// An empty log in a folder of its own.
    pub(super) fn open_empty(
        &self,
        id: &TopicPartition,
        folder: PathBuf,
        topic_id: Option<TopicId>,
    ) -> Result<Log, StorageError> {
        Log::open(
            &self.store,
            LogOptions {
                folder,
                partition: id.clone(),
                config: Arc::clone(&self.configs.of(&id.topic).log),
                recovery_point: Offset::ZERO,
                log_start: Offset::ZERO,
                last_stop: LastStop::Clean,
                topic_id,
                producers: self.producer_settings(),
                now: clock::wall(),
            },
        )
    }

    pub(crate) fn move_rate(&self) -> &MoveRate {
        &self.move_rate
    }

    pub(super) fn awaited(&self) -> MutexGuard<'_, Awaited> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether logs are being closed, so that none is to be opened any more.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn producer_settings(&self) -> ProducerSettings {
        *self.producers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a new log shall lie: where somebody wished it, else where there are fewest. It counts there from now on, among
    /// those to come.
    fn choose_directory(&self, id: &TopicPartition) -> Option<usize> {
        let preferred = self.moves.take_preferred(id).filter(|index| !self.directories[*index].is_offline());
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        coming.resize(self.directories.len(), 0);
        let chosen = preferred.or_else(|| {
            let hosted = self.hosted.read().unwrap_or_else(PoisonError::into_inner);
            let online = (0..self.directories.len()).filter(|index| !self.directories[*index].is_offline());
            let load = |index: &usize| hosted.count_in(*index) + coming[*index] + self.moves.count_in(*index);
            online.min_by_key(load)
        })?;
        coming[chosen] += 1;
        Some(chosen)
    }

    pub(crate) fn get(&self, id: &TopicPartition) -> Option<Arc<Partition>> {
        Some(self.hosted(id)?.partition)
    }

    pub(super) fn hosted(&self, id: &TopicPartition) -> Option<Hosted> {
        self.hosted.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(crate) fn around(&self) -> &Arc<Surroundings> {
        &self.around
    }

    /// The partition, or what Kafka answers about one that is not here.
    pub(crate) fn find(
        &self,
        metadata: &MetadataCache,
        topic: &str,
        partition: i32,
    ) -> Result<Arc<Partition>, ResponseError> {
        self.find_by_id(metadata, &TopicPartition::new(topic, partition))
    }

    /// As [`find`](Self::find), for those who have the topic's name in hand: nothing is allocated.
    pub(crate) fn find_by_id(
        &self,
        metadata: &MetadataCache,
        id: &TopicPartition,
    ) -> Result<Arc<Partition>, ResponseError> {
        match self.hosted(id) {
            Some(hosted) if self.directories[hosted.directory].is_offline() => {
                Err(ResponseError::KafkaStorageError)
            }
            Some(hosted) => Ok(hosted.partition),
            None => Err(match metadata.snapshot().partition(&id.topic, id.partition) {
                // In a directory that was left out of the start, as the controller was told.
                Some(known) if known.offline_replicas.contains(&self.around.me) => {
                    ResponseError::KafkaStorageError
                }
                Some(_) => ResponseError::NotLeaderOrFollower,
                None => ResponseError::UnknownTopicOrPartition,
            }),
        }
    }

    /// Every partition, in no particular order.
    pub(crate) fn all(&self) -> Vec<Arc<Partition>> {
        let hosted = self.hosted.read().unwrap_or_else(PoisonError::into_inner);
        hosted.values().map(|one| Arc::clone(&one.partition)).collect()
    }

    /// Every partition of the directories in service.
    pub(super) fn hosted_online(&self) -> Vec<Hosted> {
        let hosted = self.hosted.read().unwrap_or_else(PoisonError::into_inner);
        let online = hosted.values().filter(|one| !self.directories[one.directory].is_offline());
        online.cloned().collect()
    }

    /// The partitions in one of [`directories`](Self::directories).
    pub(crate) fn in_directory(&self, index: usize) -> Vec<Arc<Partition>> {
        let hosted = self.hosted.read().unwrap_or_else(PoisonError::into_inner);
        let here = hosted.values().filter(|one| one.directory == index);
        here.map(|one| Arc::clone(&one.partition)).collect()
    }

    pub(crate) fn directories(&self) -> &Arc<Directories> {
        &self.directories
    }

    pub(crate) fn configs(&self) -> &TopicConfigs {
        &self.configs
    }

    /// The topic's configuration changed; its partitions here follow.
    pub(crate) fn reconfigure(&self, topic: &str, overrides: Properties) {
        self.configs.set(topic, overrides);
        let config = self.configs.of(topic);
        for partition in self.all().into_iter().filter(|partition| &*partition.id().topic == topic) {
            partition.set_config(Arc::clone(&config));
        }
    }

    /// The broker's configuration changed: the defaults of every topic, and how long producers are remembered.
    pub(crate) fn rebase(&self, broker: &Arc<BrokerConfig>) {
        self.configs.rebase(Arc::clone(broker));
        self.move_rate.set_limit(broker.logs.move_bytes_per_second);
        self.around.configure(broker);
        let producers = producer_settings(broker);
        *self.producers.write().unwrap_or_else(PoisonError::into_inner) = producers;
        for partition in self.all() {
            partition.set_config(self.configs.of(&partition.id().topic));
            partition.set_producer_settings(producers);
        }
    }

    /// See [`Directories::report`].
    pub(super) fn report(&self, index: usize, error: &StorageError) {
        self.directories.report(index, error);
    }

    /// As [`report`](Self::report), of a partition's log.
    pub(crate) fn report_failure(&self, id: &TopicPartition, error: &StorageError) {
        if let Some(hosted) = self.hosted(id) {
            self.report(hosted.directory, error);
        }
    }
}
