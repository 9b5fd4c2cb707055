//! Reads partitions within one request's budget, and waits until there is enough to answer.
//!
//! Always true: the first batch of an answer is whole however large it is (KIP-74), and while a fetch waits it holds no
//! records, so that no mapping of a segment is kept alive by an idle consumer.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use storage::disk::FileBytes;
use storage::types::{BrokerId, Offset};
use tokio::time::{Instant, timeout_at};

use super::asked::Asked;
use crate::partition::reading::{Isolation, Read, Replica, Seen};
use crate::partition::waiters::{Registration, Waiter};

/// Up to this version a batch that does not fit is cut instead of left out, and nothing is returned in spite of a limit.
const HARD_LIMIT_UPTO: i16 = 2;

/// From this version on consumers may read from followers (KIP-392).
const FOLLOWERS_SERVE_SINCE: i16 = 11;

/// `FutureLocalReplicaId`: a replica that moves between directories; it reads like a follower, but is none.
const FUTURE_REPLICA: i32 = -3;

/// How a request wants its partitions read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchParams {
    pub(crate) version: i16,
    /// Negative for consumers.
    pub(crate) replica: i32,
    /// The life of the follower's broker; `-1` where the request does not tell.
    pub(crate) replica_epoch: i64,
    pub(crate) read_committed: bool,
    /// Unit: bytes.
    pub(crate) min_bytes: usize,
    /// Unit: bytes.
    pub(crate) max_bytes: usize,
    pub(crate) max_wait: Duration,
}

impl FetchParams {
    pub(crate) fn is_follower(&self) -> bool {
        self.replica >= 0
    }

    pub(crate) fn is_consumer(&self) -> bool {
        !self.is_follower() && self.replica != FUTURE_REPLICA
    }

    /// No more than `max` bytes in all.
    pub(crate) fn limit(&mut self, max: usize) {
        self.max_bytes = self.max_bytes.min(max);
        self.min_bytes = self.min_bytes.min(self.max_bytes);
    }

    fn isolation(&self) -> Isolation {
        if self.is_follower() || self.replica == FUTURE_REPLICA {
            Isolation::LogEnd
        } else if self.read_committed {
            Isolation::ReadCommitted
        } else {
            Isolation::ReadUncommitted
        }
    }

    fn leader_only(&self) -> bool {
        self.is_follower() || (self.replica != FUTURE_REPLICA && self.version < FOLLOWERS_SERVE_SINCE)
    }
}

/// Where partitions are read from.
pub(crate) trait Source {
    fn read(&self, asked: &Asked, read: &Read) -> Result<Seen, ResponseError>;

    /// The follower of `params` would take more of it than its share.
    fn is_held_back(&self, asked: &Asked, follower: BrokerId) -> bool;

    /// `None` where the partition is not here.
    fn register(&self, asked: &Asked, isolation: Isolation, waiter: &Arc<Waiter>) -> Option<Registration>;
}

/// Reads `asked` in order; where that gives too little, again at every move, for `max_wait` at most.
pub(crate) async fn fetch<S: Source>(
    source: &S,
    params: &FetchParams,
    asked: &[Asked],
) -> Vec<Result<Seen, ResponseError>> {
    let first = Round::read(source, params, asked, Visit::First);
    if params.max_wait.is_zero() || first.is_enough(params) {
        return first.seen;
    }
    drop(first);
    let deadline = Instant::now() + params.max_wait;
    let waiter = Waiter::new();
    let _registrations: Vec<Registration> =
        asked.iter().filter_map(|asked| source.register(asked, params.isolation(), &waiter)).collect();
    loop {
        let mut round = Round::read(source, params, asked, Visit::Again);
        if round.is_enough(params) || round.is_stale(params, asked) {
            return round.seen;
        }
        let holds_records = round.bytes > 0;
        if holds_records {
            round.seen.clear();
        }
        match timeout_at(deadline, waiter.woken()).await {
            Ok(()) => {}
            Err(_) if holds_records => return Round::read(source, params, asked, Visit::Again).seen,
            Err(_) => return round.seen,
        }
    }
}

/// A follower's progress is noted at its first visit only; when it is looked for again it has not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visit {
    First,
    Again,
}

/// All partitions, read once.
struct Round {
    seen: Vec<Result<Seen, ResponseError>>,
    /// Of records. Unit: bytes.
    bytes: usize,
    /// Something has to be told at once.
    urgent: bool,
}

impl Round {
    fn read<S: Source>(source: &S, params: &FetchParams, asked: &[Asked], visit: Visit) -> Round {
        let hard_limit = params.version <= HARD_LIMIT_UPTO;
        let mut round = Round { seen: Vec::with_capacity(asked.len()), bytes: 0, urgent: false };
        for asked in asked {
            let wanted = &asked.wanted;
            let left = params.max_bytes.saturating_sub(round.bytes);
            let read = Read {
                offset: wanted.offset,
                max_bytes: usize::try_from(wanted.max_bytes).unwrap_or(0).min(left),
                isolation: params.isolation(),
                current_leader_epoch: wanted.current_leader_epoch,
                last_fetched_epoch: wanted.last_fetched_epoch,
                leader_only: params.leader_only(),
                at_least_one: !hard_limit && round.bytes == 0,
                follower: params.is_follower().then_some(Replica {
                    id: BrokerId(params.replica),
                    broker_epoch: params.replica_epoch,
                    log_start: wanted.log_start,
                    noted: visit == Visit::First,
                }),
            };
            let mut seen = source.read(asked, &read);
            match &mut seen {
                Ok(seen) => {
                    let held_back = read.follower.is_some_and(|follower| {
                        !seen.records.is_empty() && source.is_held_back(asked, follower.id)
                    });
                    if held_back || (seen.first_incomplete && !hard_limit) {
                        seen.records = FileBytes::default();
                    }
                    seen.older_segment &= !held_back;
                    round.bytes += seen.records.len();
                    round.urgent |= seen.diverging.is_some() || seen.preferred.is_some();
                }
                Err(_) => round.urgent = true,
            }
            round.seen.push(seen);
        }
        round
    }

    fn is_enough(&self, params: &FetchParams) -> bool {
        self.urgent || self.bytes >= params.min_bytes
    }

    /// Whether waiting would not help: a reader beyond what it may see, or one that is at the end of an older segment and
    /// finds the rest of it in the next one.
    fn is_stale(&self, params: &FetchParams, asked: &[Asked]) -> bool {
        let isolation = params.isolation();
        asked.iter().zip(&self.seen).any(|(asked, seen)| match seen {
            Ok(seen) => seen.older_segment || asked.wanted.offset > limit(isolation, seen),
            Err(_) => false,
        })
    }
}

/// What `isolation` may read up to.
fn limit(isolation: Isolation, seen: &Seen) -> Offset {
    match isolation {
        Isolation::ReadUncommitted => seen.high_watermark,
        Isolation::ReadCommitted => seen.last_stable_offset,
        Isolation::LogEnd => seen.log_end,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use coordinator::fetching::{TopicRef, Wanted};
    use storage::types::{LeaderEpoch, TopicId};

    use super::*;
    use crate::partition::waiters::Waiters;

    /// Partitions by index, each so many bytes long; offsets count bytes. A batch is 10 bytes.
    #[derive(Default)]
    struct Shelf {
        ends: Mutex<Vec<Result<i64, ResponseError>>>,
        waiters: Arc<Waiters>,
        reads: Mutex<Vec<Read>>,
        held_back: bool,
    }

    impl Shelf {
        fn with(ends: &[i64]) -> Shelf {
            Shelf { ends: Mutex::new(ends.iter().copied().map(Ok).collect()), ..Shelf::default() }
        }

        fn set(&self, partition: usize, end: Result<i64, ResponseError>) {
            self.ends.lock().expect("ends")[partition] = end;
            self.waiters.wake_all();
        }

        fn reads(&self) -> usize {
            self.reads.lock().expect("reads").len()
        }
    }

    impl Source for Shelf {
        fn read(&self, asked: &Asked, read: &Read) -> Result<Seen, ResponseError> {
            self.reads.lock().expect("reads").push(*read);
            let index = usize::try_from(asked.partition).expect("index");
            let end = self.ends.lock().expect("ends")[index]?;
            let there = usize::try_from(end - read.offset.0).unwrap_or(0);
            let first_incomplete = there > 0 && read.max_bytes < 10;
            let length = match first_incomplete {
                true if read.at_least_one => 10,
                true => read.max_bytes,
                false => there.min(read.max_bytes / 10 * 10),
            };
            let end = Offset(end);
            Ok(Seen {
                records: Bytes::from(vec![0; length]).into(),
                first_incomplete: first_incomplete && !read.at_least_one,
                older_segment: false,
                high_watermark: end,
                last_stable_offset: end,
                log_start: Offset(0),
                log_end: end,
                aborted: None,
                diverging: None,
                preferred: None,
            })
        }

        fn is_held_back(&self, _: &Asked, _: BrokerId) -> bool {
            self.held_back
        }

        fn register(&self, _: &Asked, _: Isolation, waiter: &Arc<Waiter>) -> Option<Registration> {
            Some(self.waiters.register(waiter))
        }
    }

    fn asked(partitions: &[(i64, i32)]) -> Vec<Asked> {
        let asked = |(index, (offset, max_bytes)): (usize, &(i64, i32))| Asked {
            slot: None,
            topic: TopicRef { name: Some("t".into()), id: TopicId::ZERO },
            partition: i32::try_from(index).expect("index"),
            wanted: Wanted {
                offset: Offset(*offset),
                log_start: Offset::NONE,
                max_bytes: *max_bytes,
                current_leader_epoch: LeaderEpoch::NONE,
                last_fetched_epoch: LeaderEpoch::NONE,
            },
        };
        partitions.iter().enumerate().map(asked).collect()
    }

    fn params(min_bytes: usize, max_bytes: usize) -> FetchParams {
        FetchParams {
            version: 12,
            replica: -1,
            replica_epoch: -1,
            read_committed: false,
            min_bytes,
            max_bytes,
            max_wait: Duration::from_millis(500),
        }
    }

    fn sizes(seen: &[Result<Seen, ResponseError>]) -> Vec<usize> {
        seen.iter().map(|seen| seen.as_ref().map_or(0, |seen| seen.records.len())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_of_the_request_is_spent_in_order() {
        let shelf = Shelf::with(&[100, 100, 100]);
        let seen = fetch(&shelf, &params(1, 70), &asked(&[(0, 50), (0, 50), (0, 50)])).await;
        assert_eq!(sizes(&seen), [50, 20, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_batch_is_whole_however_small_the_budget() {
        let shelf = Shelf::with(&[0, 100, 100]);
        let seen = fetch(&shelf, &params(1, 3), &asked(&[(0, 5), (0, 5), (0, 5)])).await;
        assert_eq!(sizes(&seen), [0, 10, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_before_version_3_get_a_batch_cut_at_the_limit() {
        let shelf = Shelf::with(&[100]);
        let params = FetchParams { version: 2, ..params(1, 3) };
        let seen = fetch(&shelf, &params, &asked(&[(0, 5)])).await;
        assert_eq!(sizes(&seen), [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_fetch_reads_twice_and_ends_when_its_time_is_over() {
        let shelf = Shelf::with(&[30]);
        let start = Instant::now();
        let seen = fetch(&shelf, &params(1, 100), &asked(&[(30, 50)])).await;
        assert_eq!(start.elapsed(), Duration::from_millis(500));
        assert_eq!(sizes(&seen), [0]);
        assert_eq!(seen[0].as_ref().expect("answered").high_watermark, Offset(30));
        assert_eq!(shelf.reads(), 2);
        assert_eq!(shelf.waiters.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_does_not_wait_reads_once() {
        let shelf = Shelf::with(&[30]);
        let params = FetchParams { max_wait: Duration::ZERO, ..params(1, 100) };
        fetch(&shelf, &params, &asked(&[(30, 50)])).await;
        assert_eq!(shelf.reads(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn new_records_wake_a_waiting_fetch() {
        let shelf = Arc::new(Shelf::with(&[30, 30]));
        let start = Instant::now();
        let waiting = tokio::spawn({
            let shelf = Arc::clone(&shelf);
            async move { fetch(&*shelf, &params(1, 100), &asked(&[(30, 50), (30, 50)])).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        shelf.set(1, Ok(50));
        assert_eq!(sizes(&waiting.await.expect("fetched")), [0, 20]);
        assert_eq!(start.elapsed(), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn too_few_bytes_are_waited_on_and_answered_at_the_end() {
        let shelf = Arc::new(Shelf::with(&[30]));
        let start = Instant::now();
        let waiting = tokio::spawn({
            let shelf = Arc::clone(&shelf);
            async move { fetch(&*shelf, &params(40, 100), &asked(&[(30, 50)])).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        shelf.set(0, Ok(50));
        assert_eq!(sizes(&waiting.await.expect("fetched")), [20]);
        assert_eq!(start.elapsed(), Duration::from_millis(500));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_ends_the_wait() {
        let shelf = Arc::new(Shelf::with(&[30]));
        let start = Instant::now();
        let waiting = tokio::spawn({
            let shelf = Arc::clone(&shelf);
            async move { fetch(&*shelf, &params(1, 100), &asked(&[(30, 50)])).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        shelf.set(0, Err(ResponseError::NotLeaderOrFollower));
        let seen = waiting.await.expect("fetched");
        assert_eq!(seen[0].as_ref().err(), Some(&ResponseError::NotLeaderOrFollower));
        assert_eq!(start.elapsed(), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_beyond_the_high_watermark_is_not_kept_waiting() {
        let shelf = Shelf::with(&[30]);
        let start = Instant::now();
        fetch(&shelf, &params(1, 100), &asked(&[(31, 50)])).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_followers_progress_is_noted_once() {
        let shelf = Shelf::with(&[30]);
        let params = FetchParams { replica: 2, ..params(1, 100) };
        fetch(&shelf, &params, &asked(&[(30, 50)])).await;
        let reads = shelf.reads.lock().expect("reads");
        let noted: Vec<_> =
            reads.iter().filter_map(|read| read.follower).map(|one| (one.id, one.noted)).collect();
        assert_eq!(noted, [(BrokerId(2), true), (BrokerId(2), false)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_that_is_held_back_gets_nothing_and_is_kept_waiting() {
        let shelf = Shelf { held_back: true, ..Shelf::with(&[30]) };
        let start = Instant::now();
        let follower = FetchParams { replica: 2, ..params(1, 100) };
        let seen = fetch(&shelf, &follower, &asked(&[(0, 50)])).await;
        assert_eq!((sizes(&seen), start.elapsed()), (vec![0], Duration::from_millis(500)));
        assert_eq!(sizes(&fetch(&shelf, &params(1, 100), &asked(&[(0, 50)])).await), [30]);
    }

    #[test]
    fn who_reads_up_to_where() {
        let reader = |replica, version, read_committed| {
            let params = FetchParams { replica, version, read_committed, ..params(1, 1) };
            (params.isolation(), params.leader_only())
        };
        assert_eq!(reader(-1, 12, false), (Isolation::ReadUncommitted, false));
        assert_eq!(reader(-1, 10, true), (Isolation::ReadCommitted, true));
        assert_eq!(reader(-3, 10, true), (Isolation::LogEnd, false));
        assert_eq!(reader(2, 12, false), (Isolation::LogEnd, true));
    }
}
