//! What a broker has to remember: many groups, producers and transactional ids; and waiting for it after a start.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{DescribeTransactionsRequest, OffsetFetchRequest};
use storage::batch::BatchProducer;
use storage::types::ProducerId;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::broker::{Broker, Client, PARTITIONS, Progress, group_id, topic, transactional_id};
use super::groups::{commit, commit_request};
use super::transactions::{batch, init, produce, produce_request};

/// Connections that bring it.
const CONNECTIONS: usize = 20;
/// Far from those that the broker hands out.
const FIRST_PRODUCER_ID: usize = 1_000_000_000;
/// Between two questions whether a coordinator is there.
const ASK_AGAIN: Duration = Duration::from_millis(1);

fn group_name(number: usize) -> String {
    format!("left-group-{number}")
}

fn transactional_name(number: usize) -> String {
    format!("left-transactional-id-{number}")
}

/// Hands the numbers below `count` to workers with a connection each, until all are done.
async fn each_of<F, W>(broker: &Broker, count: usize, what: &'static str, work: F) -> io::Result<()>
where
    F: Fn(Client, Numbers) -> W,
    W: Future<Output = io::Result<()>> + Send + 'static,
{
    let numbers = Numbers { next: Arc::default(), count, progress: Arc::new(Progress::of(what)) };
    let mut workers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        workers.spawn(work(broker.connect().await?, numbers.clone()));
    }
    while let Some(done) = workers.join_next().await {
        done.map_err(io::Error::other)??;
    }
    Ok(())
}

#[derive(Clone)]
struct Numbers {
    next: Arc<AtomicUsize>,
    count: usize,
    progress: Arc<Progress>,
}

impl Iterator for Numbers {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.count).then(|| {
            self.progress.one_more();
            number
        })
    }
}

pub(crate) async fn leave_groups(broker: &Broker, count: usize, partitions: i32) -> io::Result<()> {
    each_of(broker, count, "groups", |mut client, numbers| async move {
        for number in numbers {
            let request = commit_request(number as i32 % PARTITIONS, partitions, 17)
                .with_group_id(group_id(&group_name(number)))
                .with_generation_id_or_member_epoch(-1);
            commit(&mut client, &request).await?;
        }
        Ok(())
    })
    .await
}

/// One batch of another producer for each partition in a request.
pub(crate) async fn leave_producer_ids(broker: &Broker, count: usize) -> io::Result<()> {
    let partitions = PARTITIONS as usize;
    each_of(
        broker,
        count.div_ceil(partitions),
        "times fifty producer ids",
        move |mut client, numbers| async move {
            for number in numbers {
                let first = FIRST_PRODUCER_ID + number * partitions;
                let mut parts = Vec::with_capacity(partitions);
                for partition in 0..PARTITIONS {
                    let id = ProducerId(first as i64 + i64::from(partition));
                    parts.push((partition, batch(BatchProducer { id, epoch: 0, base_sequence: 0 }, false)?));
                }
                produce(&mut client, &produce_request(parts.into_iter())).await?;
            }
            Ok(())
        },
    )
    .await
}

pub(crate) async fn leave_transactional_ids(broker: &Broker, count: usize) -> io::Result<()> {
    each_of(broker, count, "transactional ids", |mut client, numbers| async move {
        for number in numbers {
            init(&mut client, Some(transactional_id(&transactional_name(number)))).await?;
        }
        Ok(())
    })
    .await
}

pub(crate) async fn await_groups(address: SocketAddr) -> io::Result<()> {
    let mut client = Client::connect(address).await?;
    let topic = OffsetFetchRequestTopic::default().with_name(topic()).with_partition_indexes(vec![0]);
    let request =
        OffsetFetchRequest::default().with_group_id(group_id(&group_name(0))).with_topics(Some(vec![topic]));
    loop {
        let answer = client.call(5, &request).await?;
        let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
        match partition.filter(|it| answer.error_code == 0 && it.error_code == 0) {
            Some(partition) if partition.committed_offset < 0 => {
                return Err(io::Error::other("the coordinator has forgotten its offsets"));
            }
            Some(_) => return Ok(()),
            None => sleep(ASK_AGAIN).await,
        }
    }
}

pub(crate) async fn await_transactional_ids(address: SocketAddr) -> io::Result<()> {
    let mut client = Client::connect(address).await?;
    let ids = vec![transactional_id(&transactional_name(0))];
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    loop {
        let answer = client.call(0, &request).await?;
        match answer.transaction_states.first().map(|state| state.error_code) {
            Some(0) => return Ok(()),
            Some(105) => return Err(io::Error::other("the coordinator has forgotten its transactional ids")),
            _ => sleep(ASK_AGAIN).await,
        }
    }
}
