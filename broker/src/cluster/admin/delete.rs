//! Deleting topics: the wish is written, the controller does the rest.

use kafka_protocol::error::ResponseError;
use zookeeper_client as zk;

use super::{Admin, AdminError, deadline};
use crate::cluster::client::Lifetime;
use crate::cluster::znodes::paths;
use crate::quota::Changes;

impl Admin<'_> {
    /// Wishes topics away and waits until they are gone. The results come in the order of the names.
    pub(crate) async fn delete_topics(
        &self,
        topics: &[String],
        timeout_ms: i32,
        changes: &mut Changes<'_>,
    ) -> Vec<Result<(), AdminError>> {
        let deadline = deadline(timeout_ms);
        let mut results = Vec::with_capacity(topics.len());
        for topic in topics {
            results.push(self.delete_topic(topic, changes).await);
        }
        for (topic, result) in topics.iter().zip(&mut results).filter(|(_, result)| result.is_ok()) {
            let gone = match deadline {
                Some(deadline) => self.see(deadline, |cluster| cluster.topic(topic).is_none()).await,
                None => false,
            };
            if !gone {
                *result = Err(AdminError::timed_out());
            }
        }
        results
    }

    async fn delete_topic(&self, topic: &str, changes: &mut Changes<'_>) -> Result<(), AdminError> {
        changes.record(self.metadata.snapshot().topic(topic).map_or(0, |topic| topic.partitions.len()))?;
        if !self.topic_exists(&paths::topic(topic)).await? {
            // Kafka's answer has no room for its words here.
            return Err(AdminError { error: ResponseError::UnknownTopicOrPartition, message: None });
        }
        tracing::info!(topic, "deleting");
        match self.zookeeper.create(&paths::deletion(topic), b"", Lifetime::Persistent).await {
            // Somebody else's wish is as good.
            Ok(_) | Err(zk::Error::NodeExists) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
