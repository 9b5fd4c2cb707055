//! One term of office: the plan, fed with what happens and obeyed in ZooKeeper and at the brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coordinator::cluster::{Controller, Event, Reply, Step, Ticket};
use storage::types::BrokerId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{info, warn};
use zookeeper_client as zk;

use super::links::{Answer, Links};
use super::{Command, ControllerSettings, FeaturesKept, ProducerIdRefusal, Question, ReplicaSide};
use crate::cluster::client::Lifetime;
use crate::cluster::ledger::{Ledger, Lost};
use crate::cluster::loading::fresh_ids;
use crate::cluster::producer_ids;
use crate::cluster::requests::{self, Letterhead};
use crate::cluster::watches::{Signal, Watches};
use crate::cluster::znodes::{FeatureInfo, ProducerIdBlock, paths};

/// When leaders are looked at first, for their balance.
const FIRST_BALANCE: Duration = Duration::from_secs(5);

pub(super) struct Term {
    plan: Controller,
    ledger: Ledger,
    links: Links,
    answers: mpsc::UnboundedReceiver<Answer>,
    watches: Watches,
    signals: mpsc::Receiver<Signal>,
    asking: BTreeMap<Ticket, oneshot::Sender<Reply>>,
    next_ticket: u64,
    balance_interval: Option<Duration>,
    /// czxid of the list of reassignments that was taken up last.
    reassignment_list: Option<i64>,
}

impl Term {
    /// Reads the cluster and brings it in order.
    pub(super) async fn begin<R: ReplicaSide>(
        epoch: i32,
        own: BrokerId,
        settings: &ControllerSettings,
        ledger: Ledger,
        replicas: Arc<R>,
    ) -> Result<Term, Lost> {
        set_up_features(&ledger, settings.feature).await?;
        let started = Instant::now();
        let reading = ledger.load().await?;
        let head =
            Letterhead { controller: own, controller_epoch: epoch, listener: Arc::clone(&settings.listener) };
        let (links, answers) = Links::open(head, settings.links.clone(), replicas);
        let (topics, partitions) = (reading.loaded.topics.len(), reading.loaded.leaderships.len());
        let (plan, step) = Controller::start(epoch, settings.plan.clone(), reading.loaded);
        let (watches, signals) = Watches::begin(Arc::clone(&ledger.zookeeper));
        let mut term = Term {
            plan,
            ledger,
            links,
            answers,
            watches,
            signals,
            asking: BTreeMap::new(),
            next_ticket: 0,
            balance_interval: settings.balance_interval,
            reassignment_list: reading.reassignment_list,
        };
        term.obey(step).await?;
        term.watches.follow_topics(term.plan.image().topics().keys(), &reading.topic_versions);
        term.watches.follow_brokers(term.plan.image().brokers().keys().copied(), &reading.broker_versions);
        info!(epoch, topics, partitions, took = ?started.elapsed(), "in office as controller");
        Ok(term)
    }

    /// Until the term is over.
    pub(super) async fn serve(mut self, commands: &mut mpsc::Receiver<Command>) -> Lost {
        loop {
            if let Err(lost) = self.run(commands).await {
                return lost;
            }
        }
    }

    async fn run(&mut self, commands: &mut mpsc::Receiver<Command>) -> Result<(), Lost> {
        let mut session = self.ledger.zookeeper.session();
        let number = session.borrow_and_update().number;
        if !self.ledger.is_of(number) {
            return Err(Lost::Expired);
        }
        let mut balance = self.balance_interval.map(|_| Instant::now() + FIRST_BALANCE);
        loop {
            let due = async {
                match balance {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = session.changed() => {
                    if changed.is_err() || !self.ledger.is_of(session.borrow().number) {
                        return Err(Lost::Expired);
                    }
                }
                signal = self.signals.recv() => match signal {
                    Some(signal) => self.look(signal).await?,
                    None => return Err(Lost::Broken("the watches ended".to_owned())),
                },
                Some(answer) = self.answers.recv() => self.hear(answer).await?,
                command = commands.recv() => match command {
                    Some(command) => self.answer(command).await?,
                    None => return Err(Lost::Moved),
                },
                () = due => {
                    balance = self.balance_interval.map(|interval| Instant::now() + interval);
                    self.tell(Event::BalanceLeaders).await?;
                }
            }
        }
    }

    async fn tell(&mut self, event: Event) -> Result<(), Lost> {
        let step = self.plan.handle(event);
        self.obey(step).await
    }

    /// Does what the plan says until it has nothing more to say.
    async fn obey(&mut self, mut step: Step) -> Result<(), Lost> {
        loop {
            for note in step.notes {
                warn!("controller: {note}");
            }
            let registered = self.plan.image().brokers();
            self.links.keep(registered);
            for request in step.requests {
                self.links.send(request, registered);
            }
            for (ticket, reply) in step.replies {
                if let Some(asker) = self.asking.remove(&ticket) {
                    // Whoever asked may have gone.
                    let _ = asker.send(reply);
                }
            }
            if !self.plan.is_waiting() {
                return Ok(());
            }
            let outcomes = self.ledger.execute(&step.operations).await?;
            step = self.plan.done(outcomes);
        }
    }

    /// Something changed in ZooKeeper: sees what.
    async fn look(&mut self, signal: Signal) -> Result<(), Lost> {
        match signal {
            Signal::Brokers => {
                let found = self.ledger.brokers().await?;
                let versions = found.iter().map(|(broker, version)| (broker.id, *version)).collect();
                let brokers = found.into_iter().map(|(broker, _)| broker).collect();
                self.tell(Event::Brokers(brokers)).await?;
                self.watches.follow_brokers(self.plan.image().brokers().keys().copied(), &versions);
            }
            Signal::Broker(id) => {
                if let Some((broker, _)) = self.ledger.broker(id).await? {
                    self.tell(Event::BrokerModified(broker)).await?;
                }
            }
            Signal::Topics => self.look_at_topics().await?,
            Signal::Topic(name) => {
                if let Some((record, _)) = self.ledger.topic(&name).await? {
                    self.tell(Event::TopicModified(record)).await?;
                }
            }
            Signal::Deletions => {
                let wanted: BTreeSet<Arc<str>> =
                    self.ledger.names(paths::DELETE_TOPICS).await?.into_iter().collect();
                if wanted.iter().any(|topic| !self.plan.image().is_queued_for_deletion(topic)) {
                    // A topic may be created and deleted before the news of its creation is worked off.
                    self.look_at_topics().await?;
                    self.tell(Event::Deletions(wanted)).await?;
                }
            }
            Signal::LogDirs => {
                let (brokers, notices) = self.ledger.log_dir_notices().await?;
                if !notices.is_empty() {
                    self.tell(Event::LogDirsFailed { brokers, notices }).await?;
                }
            }
            Signal::PreferredElection => {
                if self.ledger.get(paths::PREFERRED_ELECTION).await?.is_some() {
                    let wanted = self.ledger.preferred_elections().await?;
                    self.tell(Event::PreferredElectionRequested(wanted)).await?;
                }
            }
            Signal::IsrChanges => {
                let (states, notices) = self.ledger.isr_notices().await?;
                if !notices.is_empty() {
                    self.tell(Event::IsrChanged { states, notices }).await?;
                }
            }
            Signal::Reassignments => {
                let (list, made) = self.ledger.reassignments().await?;
                // Only a new list is news: this controller shortens it itself as partitions are through.
                if std::mem::replace(&mut self.reassignment_list, made) != made && made.is_some() {
                    self.tell(Event::ReassignmentsRequested(list)).await?;
                }
            }
            Signal::Controller => {
                let holder = self.ledger.get(paths::CONTROLLER).await?;
                let own = self.ledger.zookeeper.session_id();
                if holder.is_none_or(|(_, stat)| stat.ephemeral_owner != own) {
                    return Err(Lost::Moved);
                }
            }
        }
        Ok(())
    }

    async fn look_at_topics(&mut self) -> Result<(), Lost> {
        let names = self.ledger.names(paths::TOPICS).await?;
        let known = self.plan.image().topics();
        let unknown: Vec<Arc<str>> =
            names.iter().filter(|name| !known.contains_key(*name)).cloned().collect();
        let found = self.ledger.topics(&unknown).await?;
        let versions = found.iter().map(|(record, version)| (Arc::clone(&record.name), *version)).collect();
        let new: Vec<_> = found.into_iter().map(|(record, _)| record).collect();
        let without_id = new.iter().filter(|record| record.id.is_none()).count();
        let all = names.into_iter().collect();
        self.tell(Event::Topics { all, new, fresh_ids: fresh_ids(without_id) }).await?;
        self.watches.follow_topics(self.plan.image().topics().keys(), &versions);
        Ok(())
    }

    async fn hear(&mut self, answer: Answer) -> Result<(), Lost> {
        let event = match &answer {
            Answer::LeaderAndIsr(broker, response) => {
                requests::replicas_answered(self.plan.image(), *broker, response)
            }
            Answer::StopReplica(broker, asked, response) => {
                requests::deletion_answered(*broker, asked, response)
            }
        };
        match event {
            Some(event) => self.tell(event).await,
            None => Ok(()),
        }
    }

    async fn answer(&mut self, command: Command) -> Result<(), Lost> {
        match command {
            Command::Tell(event) => self.tell(event).await,
            Command::ProducerIds { broker, broker_epoch, answer } => {
                // Whoever asked may have gone.
                let _ = answer.send(self.allocate(broker, broker_epoch).await);
                Ok(())
            }
            Command::DropFeatures(names, answer) => {
                let _ = answer.send(self.drop_features(&names).await?);
                Ok(())
            }
            Command::Reassignments(partitions, answer) => {
                let _ = answer.send(self.plan.image().reassignments(partitions.as_ref()));
                Ok(())
            }
            Command::TopicNames(ids, answer) => {
                let image = self.plan.image();
                let known = ids.into_iter().filter_map(|id| Some((id, Arc::clone(image.topic_name(id)?))));
                let _ = answer.send(known.collect());
                Ok(())
            }
            Command::Ask(question, asker) => {
                let ticket = Ticket(self.next_ticket);
                self.next_ticket += 1;
                self.asking.insert(ticket, asker);
                self.tell(match question {
                    Question::AlterPartition { broker, broker_epoch, changes } => {
                        Event::AlterPartition { ticket, broker, broker_epoch, changes }
                    }
                    Question::ControlledShutdown { broker, broker_epoch } => {
                        Event::ControlledShutdown { ticket, broker, broker_epoch }
                    }
                    Question::AlterReassignments { wanted } => Event::AlterReassignments { ticket, wanted },
                    Question::ElectLeaders { kind, partitions } => {
                        Event::ElectLeaders { ticket, kind, partitions }
                    }
                })
                .await
            }
        }
    }

    async fn drop_features(&self, names: &BTreeSet<String>) -> Result<Result<(), FeaturesKept>, Lost> {
        let Some((data, stat)) = self.ledger.get(paths::FEATURE).await? else { return Ok(Ok(())) };
        let mut info = FeatureInfo::decode(&data)?;
        info.features.retain(|(name, _)| !names.contains(name));
        let written = self.ledger.zookeeper.set(paths::FEATURE, &info.encode(), Some(stat.version)).await;
        Ok(written.map(drop).map_err(|error| FeaturesKept::Failed(format!("{}: {error}", paths::FEATURE))))
    }

    async fn allocate(
        &self,
        broker: BrokerId,
        broker_epoch: i64,
    ) -> Result<ProducerIdBlock, ProducerIdRefusal> {
        match self.plan.image().brokers().get(&broker) {
            None => Err(ProducerIdRefusal::UnknownBroker(broker)),
            Some(known) if known.epoch != broker_epoch => Err(ProducerIdRefusal::StaleBrokerEpoch),
            Some(_) => Ok(producer_ids::allocate(&self.ledger.zookeeper, broker).await?),
        }
    }
}

/// `/feature`, as the inter-broker protocol wants it: created, switched on or off, its features kept while on.
async fn set_up_features(ledger: &Ledger, (version, enabled): (i32, bool)) -> Result<(), Lost> {
    let broken = |error: zk::Error| Lost::Broken(format!("{}: {error}", paths::FEATURE));
    let zookeeper = &ledger.zookeeper;
    let Some((data, stat)) = ledger.get(paths::FEATURE).await? else {
        let first = FeatureInfo { version, enabled, features: Vec::new() }.encode();
        return match zookeeper.create(paths::FEATURE, &first, Lifetime::Persistent).await {
            Ok(_) | Err(zk::Error::NodeExists) => Ok(()),
            Err(error) => Err(broken(error)),
        };
    };
    let found = FeatureInfo::decode(&data)?;
    let features = if enabled && found.enabled { found.features.clone() } else { Vec::new() };
    let wanted = FeatureInfo { version, enabled, features };
    if wanted != found {
        zookeeper.set(paths::FEATURE, &wanted.encode(), Some(stat.version)).await.map_err(broken)?;
    }
    Ok(())
}
