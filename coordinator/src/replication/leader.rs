//! The leader's rules: what it knows of its followers, the high watermark that follows from it, and who is in sync.
//!
//! Always true: the high watermark never goes back within a leadership and never passes the leader's log end; a record
//! below it is on every replica that is in the in-sync set or may be.

use std::collections::{BTreeMap, BTreeSet};

use storage::types::{BrokerId, LeaderEpoch, Offset};

use super::in_sync::{InSync, InSyncMember, Proposal, Verdict};
use super::progress::{NO_BROKER_EPOCH, Progress};
use crate::time::Monotonic;

/// What the controller decided about a partition (LeaderAndIsr, `/brokers/topics/T/partitions/P/state`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub leader_epoch: LeaderEpoch,
    /// Version of the partition's state znode.
    pub partition_epoch: i32,
    pub replicas: Vec<BrokerId>,
    pub isr: BTreeSet<BrokerId>,
}

/// Settings that the rules depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderSettings {
    /// How long a follower may lag before it leaves the in-sync set: `replica.lag.time.max.ms`. Unit: ms.
    pub lag_max_ms: u64,
    /// `min.insync.replicas` of the topic. Range: `1..`. Clipped to the number of replicas.
    pub min_in_sync: usize,
}

/// The moment at which a leader is asked: the time, and which brokers are known to be registered.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    pub now: Monotonic,
    pub is_alive: &'a dyn Fn(BrokerId) -> bool,
}

/// A follower's fetch, as far as the leader's rules care.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    pub follower: BrokerId,
    /// The czxid of its registration; `-1` where the request does not tell (before Fetch 15).
    pub broker_epoch: i64,
    /// It has everything before.
    pub offset: Offset,
    /// Where its log starts.
    pub log_start: Offset,
    /// The leader's log end before the fetch was read: appends since then do not make the follower late.
    pub leader_end: Offset,
}

/// The fetch comes from an earlier life of the follower, or from a broker that is no replica. It must not be noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fetch is not of a replica that this leader knows")]
pub struct StaleFetch;

/// What followed from a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub high_watermark: Offset,
    /// The follower's log starts elsewhere than it did, so the low watermark may have moved.
    pub log_start_moved: bool,
    /// To be sent to the controller: the follower has caught up.
    pub proposal: Option<Proposal>,
}

/// What to do after the controller's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterVerdict {
    /// The high watermark may have moved.
    Settled(Offset),
    /// Ask again.
    Again(Proposal),
}

/// The leader's view of one partition.
#[derive(Clone, Debug)]
pub struct Leader {
    me: BrokerId,
    settings: LeaderSettings,
    standing: Standing,
    in_sync: InSync,
    /// The epoch in which this broker began to lead; it has led since without a break.
    since: LeaderEpoch,
    /// Where this leader epoch began.
    epoch_start: Offset,
    log_end: Offset,
    high_watermark: Offset,
    /// Every replica but this one.
    followers: BTreeMap<BrokerId, Progress>,
}

impl Leader {
    /// Leadership begins with the log as it is; `high_watermark` is the last one known here.
    pub fn new(
        me: BrokerId,
        standing: Standing,
        settings: LeaderSettings,
        log_end: Offset,
        high_watermark: Offset,
        moment: Moment<'_>,
    ) -> Leader {
        let mut leader = Leader {
            me,
            settings,
            since: standing.leader_epoch,
            standing,
            in_sync: InSync::settled(),
            epoch_start: log_end,
            log_end,
            high_watermark: high_watermark.min(log_end),
            followers: BTreeMap::new(),
        };
        leader.meet_replicas(moment.now);
        leader.settle(moment);
        leader
    }

    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Everything before it is on all in-sync replicas. Exclusive end.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The epoch in which this broker began to lead. It has led since without a break, though in later epochs perhaps:
    /// what was appended then is still there.
    pub fn since(&self) -> LeaderEpoch {
        self.since
    }

    /// Where this leader epoch began.
    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// True after an election until the followers have confirmed what the former leader had: the end that consumers
    /// may see is not yet known to be the latest (KIP-207).
    pub fn watermark_lags(&self) -> bool {
        self.epoch_start > self.high_watermark
    }

    /// The controller's word while this broker leads already, in this epoch or a later one: a change that was under way
    /// is void. A word older than what AlterPartition told before is ignored.
    pub fn update(&mut self, standing: Standing, moment: Moment<'_>) -> Offset {
        assert!(standing.leader_epoch >= self.standing.leader_epoch, "an older epoch is refused before");
        if standing.partition_epoch < self.standing.partition_epoch {
            return self.high_watermark;
        }
        let renewed = standing.leader_epoch > self.standing.leader_epoch;
        self.standing = standing;
        self.in_sync = InSync::settled();
        self.meet_replicas(moment.now);
        if renewed {
            self.epoch_start = self.log_end;
            for (id, progress) in &mut self.followers {
                progress.renew(self.standing.isr.contains(id), self.log_end, moment.now);
            }
        }
        self.settle(moment)
    }

    pub fn configure(&mut self, settings: LeaderSettings, moment: Moment<'_>) -> Offset {
        self.settings = settings;
        self.settle(moment)
    }

    /// The leader's log grew; returns the high watermark that follows.
    pub fn on_append(&mut self, log_end: Offset, moment: Moment<'_>) -> Offset {
        assert!(log_end >= self.log_end, "the log never shrinks under a leader");
        self.log_end = log_end;
        self.settle(moment)
    }

    /// A follower asked for records, so it has everything before them.
    ///
    /// # Errors
    ///
    /// `StaleFetch`: nothing is noted, the follower has to ask again.
    pub fn on_fetch(&mut self, fetch: &Fetch, moment: Moment<'_>) -> Result<Moved, StaleFetch> {
        let progress = self.followers.get_mut(&fetch.follower).ok_or(StaleFetch)?;
        if fetch.broker_epoch != NO_BROKER_EPOCH {
            if fetch.broker_epoch < progress.broker_epoch {
                return Err(StaleFetch);
            }
            progress.broker_epoch = fetch.broker_epoch;
        }
        let log_start_moved = progress.log_start != fetch.log_start;
        progress.on_fetch(fetch.offset, fetch.log_start, fetch.leader_end, moment.now);
        let log_end = progress.log_end;
        let proposal = self
            .may_join(fetch.follower, log_end, moment)
            .then(|| self.propose(self.standing.isr.iter().copied().chain([fetch.follower]).collect()));
        if let Some(proposal) = &proposal {
            self.in_sync.begin(proposal.clone(), Some(fetch.follower));
        }
        Ok(Moved { high_watermark: self.settle(moment), log_start_moved, proposal })
    }

    /// Whether `follower` may fetch from this leader.
    pub fn is_replica(&self, follower: BrokerId) -> bool {
        self.followers.contains_key(&follower)
    }

    /// Who has not kept up leaves. Asked at least every half `lag_max_ms`.
    pub fn shrink(&mut self, moment: Moment<'_>) -> Option<Proposal> {
        let late = |id: &BrokerId| {
            *id != self.me
                && self.followers.get(id).is_none_or(|progress| {
                    !progress.is_caught_up(self.log_end, moment.now, self.settings.lag_max_ms)
                })
        };
        if self.in_sync.pending.is_some() || !self.standing.isr.iter().any(late) {
            return None;
        }
        let proposal = self.propose(self.standing.isr.iter().copied().filter(|id| !late(id)).collect());
        self.in_sync.begin(proposal.clone(), None);
        Some(proposal)
    }

    /// Whether the controller's word on this very proposal is still waited for.
    pub fn awaits(&self, proposal: &Proposal) -> bool {
        self.in_sync.awaits(proposal)
    }

    /// The controller answered. An answer to anything but what is waited for changes nothing.
    pub fn on_verdict(&mut self, proposal: &Proposal, verdict: Verdict, moment: Moment<'_>) -> AfterVerdict {
        if !self.in_sync.awaits(proposal) {
            return AfterVerdict::Settled(self.high_watermark);
        }
        match verdict {
            Verdict::Altered { leader_epoch, partition_epoch, isr }
                if leader_epoch == self.standing.leader_epoch
                    && partition_epoch >= self.standing.partition_epoch =>
            {
                self.standing.isr = isr;
                self.standing.partition_epoch = partition_epoch;
                self.in_sync = InSync::settled();
            }
            // The controller's next word settles it; until then the stricter set counts.
            Verdict::Altered { .. } | Verdict::Outdated => {}
            Verdict::NotApplied => self.in_sync = InSync::settled(),
            Verdict::Unclear => return AfterVerdict::Again(proposal.clone()),
        }
        AfterVerdict::Settled(self.settle(moment))
    }

    /// Whether a write with acks=all may be taken at all.
    pub fn has_enough_in_sync(&self) -> bool {
        self.standing.isr.len() >= self.min_in_sync()
    }

    /// Whether a write with acks=all that is committed is on enough replicas. One that is about to join counts.
    pub fn has_committed_to_enough(&self) -> bool {
        self.in_sync.size(&self.standing.isr) >= self.min_in_sync()
    }

    /// Below it no replica has records any more: the lowest log start of this log and of the followers alive.
    /// `Offset::NONE` while one of them has not told.
    pub fn low_watermark(&self, log_start: Offset, moment: Moment<'_>) -> Offset {
        let alive = self.followers.iter().filter(|(id, _)| (moment.is_alive)(**id));
        alive.map(|(_, progress)| progress.log_start).fold(log_start, Offset::min)
    }

    /// The replica in sync that a reader of `offset` is best sent to among those `is_near`; `None`: the leader itself, or
    /// nobody is near (KIP-392).
    pub fn nearest(&self, offset: Offset, is_near: impl Fn(BrokerId) -> bool) -> Option<BrokerId> {
        if is_near(self.me) {
            return None;
        }
        let can_serve = |progress: &Progress| progress.log_end >= offset && progress.log_start <= offset;
        let near = self
            .followers
            .iter()
            .filter(|(id, progress)| self.standing.isr.contains(id) && can_serve(progress) && is_near(**id));
        near.max_by_key(|(id, progress)| (progress.log_end, progress.caught_up(), **id)).map(|(id, _)| *id)
    }

    /// How far each follower is behind the log's end. Unit: records. `None`: it has not fetched yet.
    pub fn lags(&self) -> impl Iterator<Item = (BrokerId, Option<i64>)> {
        self.followers.iter().map(|(id, progress)| {
            let known = progress.log_end != Offset::NONE;
            (*id, known.then(|| (self.log_end - progress.log_end).max(0)))
        })
    }

    fn min_in_sync(&self) -> usize {
        self.settings.min_in_sync.min(self.followers.len() + 1)
    }

    /// A follower that has all that is committed, and all that this leader found when it began: what lay above the
    /// high watermark then may be committed already.
    fn may_join(&self, id: BrokerId, log_end: Offset, moment: Moment<'_>) -> bool {
        self.in_sync.pending.is_none()
            && !self.standing.isr.contains(&id)
            && log_end >= self.high_watermark
            && log_end >= self.epoch_start
            && (moment.is_alive)(id)
    }

    fn propose(&self, members: BTreeSet<BrokerId>) -> Proposal {
        let member = |broker: BrokerId| InSyncMember {
            broker,
            broker_epoch: self.followers.get(&broker).map_or(NO_BROKER_EPOCH, |one| one.broker_epoch),
        };
        Proposal {
            leader_epoch: self.standing.leader_epoch,
            partition_epoch: self.standing.partition_epoch,
            isr: members.into_iter().map(member).collect(),
        }
    }

    fn meet_replicas(&mut self, now: Monotonic) {
        let Standing { replicas, isr, .. } = &self.standing;
        self.followers.retain(|id, _| replicas.contains(id));
        for id in replicas.iter().filter(|id| **id != self.me) {
            self.followers.entry(*id).or_insert_with(|| Progress::unknown(isr.contains(id), now));
        }
    }

    /// The slowest replica counts that is in sync, may be, or is about to be: waiting for one that has caught up lets it
    /// join, where it would else run behind the watermark for ever. Below `min.insync.replicas` nothing is committed.
    fn settle(&mut self, moment: Moment<'_>) -> Offset {
        if !self.has_enough_in_sync() {
            return self.high_watermark;
        }
        let waits_for = |id: BrokerId, progress: &Progress| {
            self.in_sync.counts(&self.standing.isr, id)
                || (progress.is_caught_up(self.log_end, moment.now, self.settings.lag_max_ms)
                    && (moment.is_alive)(id))
        };
        let slowest = self.followers.iter().fold(self.log_end, |slowest, (id, progress)| {
            match progress.log_end < slowest && waits_for(*id, progress) {
                true => progress.log_end,
                false => slowest,
            }
        });
        self.high_watermark = self.high_watermark.max(slowest);
        self.high_watermark
    }
}
