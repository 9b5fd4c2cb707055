//! Requests on their way to brokers, in the order in which the plan gave them.
//!
//! The broker's own replicas are told in this process. Each broker has its own queue, so that a slow one delays nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coordinator::cluster::{Request, RequestBody, StopOrder};
use kafka_protocol::messages::{LeaderAndIsrResponse, StopReplicaResponse};
use storage::types::{BrokerId, TopicPartition};
use tokio::sync::mpsc;
use tracing::error;

use super::ReplicaSide;
use crate::cluster::requests::{self, Letterhead};

/// What a broker said.
pub(super) enum Answer {
    LeaderAndIsr(BrokerId, LeaderAndIsrResponse),
    StopReplica(BrokerId, BTreeMap<TopicPartition, StopOrder>, StopReplicaResponse),
}

/// The queues of one term. What is still queued when it ends is not sent.
pub(super) struct Links {
    own: BrokerId,
    /// Unbounded, as in Kafka: the plan must never wait for a broker, and what it says is bounded by the events it gets.
    to_own: mpsc::UnboundedSender<Request>,
    ended: Arc<AtomicBool>,
}

impl Links {
    pub(super) fn open<R: ReplicaSide>(
        head: Letterhead,
        replicas: Arc<R>,
    ) -> (Links, mpsc::UnboundedReceiver<Answer>) {
        let (to_own, requests) = mpsc::unbounded_channel();
        let (answers, answered) = mpsc::unbounded_channel();
        let ended = Arc::new(AtomicBool::new(false));
        let own = head.controller;
        tokio::spawn(tell_own_replicas(head, replicas, requests, answers, Arc::clone(&ended)));
        (Links { own, to_own, ended }, answered)
    }

    pub(super) fn send(&self, request: Request) {
        if request.to == self.own {
            // The receiver lives as long as this sender.
            let _ = self.to_own.send(request);
        } else {
            error!(broker = %request.to, "this version cannot reach other brokers: a request of the controller is lost");
        }
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
                let response =
                    replicas.update_metadata(requests::update_metadata(&head, broker_epoch, &news)).await;
                if response.error_code != 0 {
                    error!(broker = %to, code = response.error_code, "UpdateMetadata was refused");
                }
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
