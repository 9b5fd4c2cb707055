//! What the decisions of transactions ask to be done: markers for every partition of a transaction that has ended,
//! and the question whether a partition belongs to one.
//!
//! Always true: a marker goes out only when the outcome is committed to `__transaction_state`, and the end of the
//! transaction is written down only when every partition has its marker or is gone. The rules are in `coordinator`;
//! which broker leads what is in the metadata.

mod ending;
pub(crate) mod marking;
pub(crate) mod verification;

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::house::House;
use crate::machines::partition_journal::PartitionJournal;
use crate::machines::transaction_room::{TRANSACTION_TOPIC, TakenSeats};

/// Looks after every seat that this broker takes; runs until the seats are given up for good.
pub(crate) async fn attend(house: Arc<House>, mut taken: TakenSeats<PartitionJournal>) {
    let mut attendants = JoinSet::new();
    loop {
        tokio::select! {
            seat = taken.recv() => match seat {
                Some(seat) => {
                    attendants.spawn(ending::attend(Arc::clone(&house), seat));
                }
                None => return,
            },
            Some(_) = attendants.join_next() => {}
        }
    }
}

/// How many partitions the transaction topic has, or will have.
pub(crate) fn topic_partitions(house: &House) -> i32 {
    let existing = house.metadata.snapshot().topic(TRANSACTION_TOPIC).map(|topic| topic.partitions.len());
    let existing = existing.and_then(|count| i32::try_from(count).ok());
    existing.unwrap_or(house.config.transactions.topic_partitions)
}
