//! Requests on their way to brokers, in the order in which the plan gave them.
//!
//! Always true here: each broker has a queue of its own, so that a slow one delays nobody; a request is repeated until
//! the broker answers it or its registration ends, and none overtakes another. The broker's own replicas are told in
//! this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coordinator::cluster::{LiveBroker, Request, RequestBody, StopOrder};
use kafka_protocol::messages::{LeaderAndIsrResponse, StopReplicaResponse, UpdateMetadataResponse};
use storage::types::{BrokerId, TopicPartition};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};

use super::ReplicaSide;
use crate::cluster::requests::{self, Letterhead};
use crate::peers::versions::{Dialect, LEADER_AND_ISR_WITH_RECOVERY};
use crate::peers::{Address, Peer, PeerError, PeerSettings};

/// What a broker said.
pub(super) enum Answer {
    LeaderAndIsr(BrokerId, LeaderAndIsrResponse),
    StopReplica(BrokerId, BTreeMap<TopicPartition, StopOrder>, StopReplicaResponse),
}

/// How other brokers are reached.
#[derive(Clone, Debug)]
pub(crate) struct LinkSettings {
    pub(crate) peer: PeerSettings,
    pub(crate) speaks: Dialect,
    /// `request.timeout.ms`: after this a request counts as lost, and is sent again.
    pub(crate) request_timeout: Duration,
}

/// The queues of one term. What is still queued when it ends is not sent.
pub(super) struct Links {
    head: Letterhead,
    settings: LinkSettings,
    /// Unbounded, as in Kafka: the plan must never wait for a broker, and what it says is bounded by the events it gets.
    to_own: mpsc::UnboundedSender<Request>,
    others: BTreeMap<BrokerId, Link>,
    answers: mpsc::UnboundedSender<Answer>,
    ended: Arc<AtomicBool>,
}

/// One registration of one broker. Dropping it ends the connection, with whatever is under way.
struct Link {
    broker_epoch: i64,
    requests: mpsc::UnboundedSender<Request>,
    _sending: AbortOnDropHandle<()>,
}

impl Links {
    pub(super) fn open<R: ReplicaSide>(
        head: Letterhead,
        settings: LinkSettings,
        replicas: Arc<R>,
    ) -> (Links, mpsc::UnboundedReceiver<Answer>) {
        let (to_own, requests) = mpsc::unbounded_channel();
        let (answers, answered) = mpsc::unbounded_channel();
        let ended = Arc::new(AtomicBool::new(false));
        // Not ended by force: a role that is half taken would have to be untaken.
        tokio::spawn(tell_own_replicas(
            head.clone(),
            replicas,
            requests,
            answers.clone(),
            Arc::clone(&ended),
        ));
        (Links { head, settings, to_own, others: BTreeMap::new(), answers, ended }, answered)
    }

    /// Ends the links to brokers that went, or registered anew: what they were to be told died with their registration.
    pub(super) fn keep(&mut self, registered: &BTreeMap<BrokerId, LiveBroker>) {
        self.others.retain(|id, link| {
            let stays = registered.get(id).is_some_and(|broker| broker.epoch == link.broker_epoch);
            if !stays {
                debug!(broker = %id, "the controller no longer speaks to this registration");
            }
            stays
        });
    }

    /// `registered` is where the addressee is looked up when it is spoken to for the first time.
    pub(super) fn send(&mut self, request: Request, registered: &BTreeMap<BrokerId, LiveBroker>) {
        if request.to == self.head.controller {
            // The receiver lives as long as this sender.
            let _ = self.to_own.send(request);
            return;
        }
        let Some(broker) = registered.get(&request.to).filter(|broker| broker.epoch == request.broker_epoch)
        else {
            debug!(broker = %request.to, "not sent: the broker is gone, or registered anew");
            return;
        };
        let link = self.others.entry(broker.id).or_insert_with(|| {
            let (requests, queue) = mpsc::unbounded_channel();
            let sending = Sending::new(&self.head, &self.settings, broker, queue, self.answers.clone()).run();
            Link {
                broker_epoch: broker.epoch,
                requests,
                _sending: AbortOnDropHandle::new(tokio::spawn(sending)),
            }
        });
        // The task lives as long as this sender.
        let _ = link.requests.send(request);
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

async fn tell_own_replicas<R: ReplicaSide>(
    head: Letterhead,
    replicas: Arc<R>,
    mut requests: mpsc::UnboundedReceiver<Request>,
    answers: mpsc::UnboundedSender<Answer>,
    ended: Arc<AtomicBool>,
) {
    while let Some(Request { to, broker_epoch, body }) = requests.recv().await {
        if ended.load(Ordering::Acquire) {
            return;
        }
        let answer = match body {
            RequestBody::LeaderAndIsr { partitions, topic_ids, leaders } => {
                let request =
                    requests::leader_and_isr(&head, broker_epoch, &partitions, &topic_ids, &leaders);
                Answer::LeaderAndIsr(to, replicas.leader_and_isr(request).await)
            }
            RequestBody::UpdateMetadata(news) => {
                let request = requests::update_metadata(&head, broker_epoch, &news);
                metadata_answered(to, &replicas.update_metadata(request).await);
                continue;
            }
            RequestBody::StopReplica(stops) => {
                let request = requests::stop_replica(&head, broker_epoch, &stops);
                Answer::StopReplica(to, stops, replicas.stop_replica(request).await)
            }
        };
        if answers.send(answer).is_err() {
            return;
        }
    }
}

/// The other end of a [`Link`].
struct Sending {
    head: Letterhead,
    to: BrokerId,
    /// `None` where the broker has no listener for other brokers.
    peer: Option<Peer>,
    speaks: Dialect,
    timeout: Duration,
    queue: mpsc::UnboundedReceiver<Request>,
    answers: mpsc::UnboundedSender<Answer>,
    /// Said already that the broker cannot be reached.
    unreachable: bool,
}

impl Sending {
    fn new(
        head: &Letterhead,
        settings: &LinkSettings,
        broker: &LiveBroker,
        queue: mpsc::UnboundedReceiver<Request>,
        answers: mpsc::UnboundedSender<Answer>,
    ) -> Sending {
        let address = address(broker, &head.listener);
        if address.is_none() {
            error!(
                broker = %broker.id,
                "the controller cannot speak to this broker: it registered no listener {}, which is \
                 inter.broker.listener.name here; name the same listener on all brokers",
                head.listener
            );
        }
        Sending {
            head: head.clone(),
            to: broker.id,
            peer: address.map(|address| Peer::new(address, settings.peer.clone())),
            speaks: settings.speaks,
            timeout: settings.request_timeout,
            queue,
            answers,
            unreachable: false,
        }
    }

    async fn run(mut self) {
        while let Some(request) = self.queue.recv().await {
            let Some(answer) = self.deliver(request).await else { continue };
            if self.answers.send(answer).is_err() {
                return;
            }
        }
    }

    /// Nothing to pass on where the plan does not care for the answer.
    async fn deliver(&mut self, Request { to, broker_epoch, body }: Request) -> Option<Answer> {
        match body {
            RequestBody::LeaderAndIsr { partitions, topic_ids, leaders } => {
                let mut request =
                    requests::leader_and_isr(&self.head, broker_epoch, &partitions, &topic_ids, &leaders);
                let version = self.speaks.leader_and_isr;
                if version < LEADER_AND_ISR_WITH_RECOVERY {
                    requests::leave_recovery_out(&mut request);
                }
                let answer = self.insist(&request, version).await?;
                Some(Answer::LeaderAndIsr(to, answer))
            }
            RequestBody::UpdateMetadata(news) => {
                let request = requests::update_metadata(&self.head, broker_epoch, &news);
                metadata_answered(to, &self.insist(&request, self.speaks.update_metadata).await?);
                None
            }
            RequestBody::StopReplica(stops) => {
                let request = requests::stop_replica(&self.head, broker_epoch, &stops);
                let answer = self.insist(&request, self.speaks.stop_replica).await?;
                Some(Answer::StopReplica(to, stops, answer))
            }
        }
    }

    /// Repeats the request until it is answered. `None` where it can never be.
    async fn insist<Q: kafka_protocol::protocol::Request>(
        &mut self,
        request: &Q,
        version: i16,
    ) -> Option<Q::Response> {
        let peer = self.peer.as_mut()?;
        loop {
            match peer.call(request, version, self.timeout).await {
                Ok(answer) => {
                    if std::mem::take(&mut self.unreachable) {
                        info!(broker = %self.to, "the controller reaches the broker again");
                    }
                    return Some(answer);
                }
                Err(error @ PeerError::Unwritable { .. }) => {
                    error!(broker = %self.to, %error, "a request of the controller is lost");
                    return None;
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.unreachable, true) {
                        warn!(broker = %self.to, %error, "the controller tries until the broker answers or its registration ends");
                    }
                }
            }
        }
    }
}

fn metadata_answered(broker: BrokerId, response: &UpdateMetadataResponse) {
    if response.error_code != 0 {
        error!(%broker, code = response.error_code, "UpdateMetadata was refused");
    }
}

fn address(broker: &LiveBroker, listener: &str) -> Option<Address> {
    let endpoint = broker.endpoints.iter().find(|endpoint| endpoint.listener == listener)?;
    let port = u16::try_from(endpoint.port).ok().filter(|port| *port != 0)?;
    Some(Address { host: endpoint.host.clone(), port })
}

#[cfg(test)]
mod tests;
