//! Transactional producers.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProduceRequest, ProducerId,
    TransactionalId,
};
use storage::batch::{BatchBuilder, BatchOptions, BatchProducer};
use storage::types::TimestampMs;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Span;
use super::broker::{
    Broker, Client, PARTITIONS, RETRY, figure, is_passing, percentile, topic, transactional_id, unexpected,
};
use super::groups::Recorder;

const CONCURRENT_TRANSACTIONS: i16 = 51;
/// How long the Java client waits where its last transaction is still being ended.
const ENDING: Duration = Duration::from_millis(20);
/// Bytes of the one record that goes to each partition of a transaction.
const VALUE: [u8; 100] = [b'v'; 100];

pub(crate) async fn transactions(
    broker: &Broker,
    span: &Span,
    producers: usize,
    partitions: i32,
) -> io::Result<()> {
    let recorder = Recorder::of("transactions");
    let mut workers = JoinSet::new();
    for number in 0..producers {
        let mut client = broker.connect().await?;
        let name = format!("load-{}-{number}", std::process::id());
        let partitions = (0..partitions.min(PARTITIONS))
            .map(|partition| (partition + number as i32) % PARTITIONS)
            .collect();
        let producer = Producer::init(&mut client, &name, partitions).await?;
        workers.spawn(keep_transacting(producer, client, recorder.clone()));
    }
    let mut measured = recorder.measure(broker, span, workers).await?;
    let count = measured.times.len() as f64;
    figure("transactions", count / measured.seconds, "1/s");
    figure("CPU per transaction", measured.cpu_seconds / count * 1e6, "us");
    figure("transaction 50th", percentile(&mut measured.times, 0.5), "ms");
    figure("transaction 99th", percentile(&mut measured.times, 0.99), "ms");
    Ok(())
}

async fn keep_transacting(mut producer: Producer, mut client: Client, recorder: Recorder) -> io::Result<()> {
    loop {
        let begun = Instant::now();
        producer.add_partitions(&mut client).await?;
        producer.produce(&mut client).await?;
        producer.commit(&mut client).await?;
        recorder.record(begun.elapsed());
    }
}

struct Producer {
    id: TransactionalId,
    producer: BatchProducer,
    partitions: Vec<i32>,
}

impl Producer {
    async fn init(client: &mut Client, name: &str, partitions: Vec<i32>) -> io::Result<Producer> {
        let id = transactional_id(name);
        let producer = init(client, Some(id.clone())).await?;
        Ok(Producer { id, producer, partitions })
    }

    async fn add_partitions(&self, client: &mut Client) -> io::Result<()> {
        let topics =
            AddPartitionsToTxnTopic::default().with_name(topic()).with_partitions(self.partitions.clone());
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.id.clone())
            .with_v3_and_below_producer_id(ProducerId(self.producer.id.0))
            .with_v3_and_below_producer_epoch(self.producer.epoch)
            .with_v3_and_below_topics(vec![topics]);
        loop {
            let answer = client.call(3, &request).await?;
            let results = answer.results_by_topic_v3_and_below.iter();
            let mut errors =
                results.flat_map(|topic| &topic.results_by_partition).map(|it| it.partition_error_code);
            match errors.find(|error| *error != 0) {
                None => return Ok(()),
                Some(CONCURRENT_TRANSACTIONS) => sleep(ENDING).await,
                Some(error) if is_passing(error) => sleep(RETRY).await,
                Some(error) => return Err(unexpected("AddPartitionsToTxn", error)),
            }
        }
    }

    async fn produce(&mut self, client: &mut Client) -> io::Result<()> {
        let batch = batch(self.producer, true)?;
        self.producer.base_sequence += 1;
        let parts = self.partitions.iter().map(|partition| (*partition, batch.clone()));
        let request = produce_request(parts).with_transactional_id(Some(self.id.clone()));
        produce(client, &request).await
    }

    async fn commit(&self, client: &mut Client) -> io::Result<()> {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.id.clone())
            .with_producer_id(ProducerId(self.producer.id.0))
            .with_producer_epoch(self.producer.epoch)
            .with_committed(true);
        match client.call(3, &request).await?.error_code {
            0 => Ok(()),
            error => Err(unexpected("EndTxn", error)),
        }
    }
}

/// A producer's id and epoch, with nothing written yet.
pub(crate) async fn init(client: &mut Client, id: Option<TransactionalId>) -> io::Result<BatchProducer> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(id)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    loop {
        let answer = client.call(4, &request).await?;
        match answer.error_code {
            0 => {
                let id = storage::types::ProducerId(answer.producer_id.0);
                return Ok(BatchProducer { id, epoch: answer.producer_epoch, base_sequence: 0 });
            }
            error if is_passing(error) || error == CONCURRENT_TRANSACTIONS => sleep(RETRY).await,
            error => return Err(unexpected("InitProducerId", error)),
        }
    }
}

/// One record of `producer`.
pub(crate) fn batch(producer: BatchProducer, is_transactional: bool) -> io::Result<Bytes> {
    let options = BatchOptions { producer, is_transactional, ..BatchOptions::default() };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_err(io::Error::other)?;
    let now = TimestampMs(i64::try_from(now.as_millis()).map_err(io::Error::other)?);
    let mut builder = BatchBuilder::new(options).map_err(io::Error::other)?;
    builder.append(now, None, Some(&VALUE), &[]).map_err(io::Error::other)?;
    builder.build().map_err(io::Error::other)
}

/// A batch for each of some partitions, acks=all.
pub(crate) fn produce_request(parts: impl Iterator<Item = (i32, Bytes)>) -> ProduceRequest {
    let parts = parts.map(|(partition, batch)| {
        PartitionProduceData::default().with_index(partition).with_records(Some(batch))
    });
    let topic = TopicProduceData::default().with_name(topic()).with_partition_data(parts.collect());
    ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

pub(crate) async fn produce(client: &mut Client, request: &ProduceRequest) -> io::Result<()> {
    let answer = client.call(9, request).await?;
    let mut errors =
        answer.responses.iter().flat_map(|topic| &topic.partition_responses).map(|it| it.error_code);
    errors.find(|error| *error != 0).map_or(Ok(()), |error| Err(unexpected("Produce", error)))
}
