//! The rules of followers, played against models of logs and of leaders.

use proptest::prelude::*;
use storage::types::{LeaderEpoch, Offset};

use super::*;
use crate::time::Monotonic;

const T0: Monotonic = Monotonic(5_000);
const MODERN: FollowerSettings =
    FollowerSettings { truncates_on_fetch: true, asks_for_epochs: true, backoff_ms: 1000 };
const BEFORE_2_7: FollowerSettings = FollowerSettings { truncates_on_fetch: false, ..MODERN };
const BEFORE_0_11: FollowerSettings = FollowerSettings { asks_for_epochs: false, ..BEFORE_2_7 };

/// A log by the epoch of each record, from `start` on.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    start: i64,
    epochs: Vec<i32>,
    high_watermark: i64,
}

fn log(epochs: &[i32]) -> Model {
    Model { start: 0, epochs: epochs.to_vec(), high_watermark: 0 }
}

impl Model {
    fn end(&self) -> i64 {
        self.start + i64::try_from(self.epochs.len()).expect("short")
    }

    fn at(&self, offset: i64) -> Option<i32> {
        self.epochs.get(usize::try_from(offset - self.start).ok()?).copied()
    }

    fn truncate(&mut self, end: i64) {
        self.epochs.truncate(usize::try_from(end - self.start).unwrap_or(0));
        self.high_watermark = self.high_watermark.min(self.end());
    }
}

impl History for Model {
    fn log_start(&self) -> Offset {
        Offset(self.start)
    }

    fn log_end(&self) -> Offset {
        Offset(self.end())
    }

    fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark)
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.last().copied().map(LeaderEpoch)
    }

    fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        if self.latest_epoch() == Some(epoch) {
            return Some((epoch, self.log_end()));
        }
        let higher = self.epochs.iter().position(|one| *one > epoch.0)?;
        let floor = self.epochs[..higher].last().copied().map_or(epoch, LeaderEpoch);
        Some((floor, Offset(self.start + i64::try_from(higher).expect("short"))))
    }
}

/// Where `epoch` ends with a leader whose own epoch, above all others, begins at the end of `log`.
fn leaders_end_of(log: &Model, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
    match log.latest_epoch() {
        Some(latest) if epoch >= latest => (latest, log.log_end()),
        Some(_) => log.end_offset_for(epoch).expect("not above the latest"),
        None => (epoch, log.log_end()),
    }
}

/// What a leader with `log` answers, as Kafka's does.
fn answer(log: &Model, question: &Question) -> LeaderAnswer {
    match *question {
        Question::LogEnd { .. } => LeaderAnswer::Offset(log.log_end()),
        Question::LogStart { .. } => LeaderAnswer::Offset(log.log_start()),
        Question::EpochEnd { epoch, .. } => {
            let (epoch, end) = leaders_end_of(log, epoch);
            LeaderAnswer::EpochEnd(EpochEnd { epoch, end })
        }
        Question::Records { offset, last_fetched_epoch: last, .. } => {
            let out_of_range = LeaderAnswer::Error(LeaderError::OutOfRange);
            if offset < log.log_start() {
                return out_of_range;
            }
            let (epoch, end) = leaders_end_of(log, last);
            if last != LeaderEpoch::NONE && (epoch < last || end < offset) {
                return LeaderAnswer::Diverging(EpochEnd { epoch, end });
            }
            if offset > log.log_end() { out_of_range } else { LeaderAnswer::Records }
        }
    }
}

/// Plays follower and leader until the follower has all the leader has; yields the lowest offset it was cut to.
fn replicate(settings: FollowerSettings, leader: &Model, log: &mut Model) -> i64 {
    let mut follower = Follower::begin(LeaderEpoch(99), settings, log);
    let mut lowest = log.end();
    for _ in 0..1000 {
        let order = match follower.next(T0, log) {
            Step::Ask(question) => follower.on_answer(&question, answer(leader, &question), T0, log),
            Step::Carry(order) => order,
            other => panic!("unexpected {other:?}"),
        };
        match order {
            Order::Nothing => {}
            Order::Append => {
                let next = log.end();
                let Some(epoch) = leader.at(next) else { return lowest };
                log.epochs.push(epoch);
                follower.appended(Some(LeaderEpoch(epoch)), leader.log_end(), log);
            }
            Order::TruncateTo(truncation) => {
                log.truncate(truncation.offset.0);
                lowest = lowest.min(log.end());
                follower.cut(order, log);
            }
            Order::StartOver { offset, .. } => {
                *log = Model { start: offset.0, epochs: Vec::new(), high_watermark: offset.0 };
                lowest = log.end();
                follower.cut(order, log);
            }
        }
    }
    panic!("no end in sight: {follower:?}")
}

#[test]
fn an_empty_log_fetches_from_the_start() {
    let mut mine = log(&[]);
    replicate(MODERN, &log(&[0, 0, 1]), &mut mine);
    assert_eq!(mine.epochs, [0, 0, 1]);
}

#[test]
fn a_log_that_is_a_prefix_of_the_leaders_is_not_cut() {
    for settings in [MODERN, BEFORE_2_7] {
        let mut mine = log(&[0, 0, 1]);
        assert_eq!(replicate(settings, &log(&[0, 0, 1, 1, 3]), &mut mine), 3);
    }
}

#[test]
fn records_above_the_high_watermark_survive_where_the_leader_has_them() {
    // KIP-101, first scenario: cutting to the high watermark would lose them if the leader failed now.
    let mut mine = Model { high_watermark: 1, ..log(&[0, 0]) };
    assert_eq!(replicate(MODERN, &log(&[0, 0]), &mut mine), 2);
    let mut mine = Model { high_watermark: 1, ..log(&[0, 0]) };
    assert_eq!(replicate(BEFORE_0_11, &log(&[0, 0]), &mut mine), 1);
}

#[test]
fn one_offset_never_keeps_two_values() {
    // KIP-101, second scenario: both logs are as long, their second records differ.
    for settings in [MODERN, BEFORE_2_7] {
        let mut mine = Model { high_watermark: 2, ..log(&[0, 0]) };
        replicate(settings, &log(&[0, 1]), &mut mine);
        assert_eq!(mine.epochs, [0, 1]);
    }
}

#[test]
fn logs_that_diverge_over_several_epochs_are_cut_step_by_step() {
    // KIP-279: the leader has epochs the follower never saw, and the other way round.
    for settings in [MODERN, BEFORE_2_7] {
        let mut mine = log(&[0, 0, 1, 1, 4, 4]);
        let leaders = log(&[0, 0, 2, 2, 3, 3, 5]);
        assert_eq!(replicate(settings, &leaders, &mut mine), 2);
        assert_eq!(mine.epochs, leaders.epochs);
    }
}

#[test]
fn a_log_longer_than_that_of_an_unclean_leader_is_cut_to_it() {
    let mut mine = log(&[0, 0, 3, 3]);
    replicate(MODERN, &log(&[0]), &mut mine);
    assert_eq!(mine.epochs, [0]);
}

#[test]
fn a_log_that_ends_before_the_leaders_starts_is_started_over() {
    let leaders = Model { start: 10, ..log(&[4, 4, 5]) };
    for settings in [MODERN, BEFORE_2_7] {
        let mut mine = log(&[0, 0]);
        replicate(settings, &leaders, &mut mine);
        assert_eq!(mine.start, 10);
        assert_eq!(mine.epochs, leaders.epochs);
    }
}

#[test]
fn a_log_whose_epochs_the_leader_has_deleted_goes_on_where_the_offsets_meet() {
    let leaders = Model { start: 2, ..log(&[4, 4, 5]) };
    let mut mine = log(&[0, 0]);
    replicate(MODERN, &leaders, &mut mine);
    assert_eq!(mine.epochs, [0, 0, 4, 4, 5]);
}

fn ask(follower: &Follower, log: &Model) -> Question {
    match follower.next(T0, log) {
        Step::Ask(question) => question,
        other => panic!("{other:?} instead of a question"),
    }
}

#[test]
fn after_an_error_there_is_a_pause() {
    let mine = log(&[0]);
    let mut follower = Follower::begin(LeaderEpoch(1), MODERN, &mine);
    let question = ask(&follower, &mine);
    follower.on_answer(&question, LeaderAnswer::Error(LeaderError::Other), T0, &mine);
    assert_eq!(follower.next(T0, &mine), Step::Wait(T0.after_ms(1000)));
    // An answer that comes during the pause is not used, and does not prolong it.
    let late = T0.after_ms(500);
    assert_eq!(follower.on_answer(&question, LeaderAnswer::Records, late, &mine), Order::Nothing);
    follower.delay(late);
    assert_eq!(follower.next(T0.after_ms(1000), &mine), Step::Ask(question));
}

#[test]
fn a_leader_in_a_later_epoch_is_left_alone_until_the_controller_speaks() {
    let mine = log(&[0]);
    let mut follower = Follower::begin(LeaderEpoch(1), MODERN, &mine);
    let question = ask(&follower, &mine);
    follower.on_answer(&question, LeaderAnswer::Error(LeaderError::Fenced), T0, &mine);
    assert_eq!(follower.next(T0.after_ms(100_000), &mine), Step::Rest);
}

#[test]
fn an_answer_to_an_earlier_question_changes_nothing() {
    let mut mine = log(&[0, 0, 0]);
    let earlier = ask(&Follower::begin(LeaderEpoch(1), MODERN, &mine), &mine);
    let mut follower = Follower::begin(LeaderEpoch(2), MODERN, &mine);
    assert_eq!(follower.on_answer(&earlier, LeaderAnswer::Records, T0, &mine), Order::Nothing);
    let before = ask(&follower, &mine);
    mine.epochs.push(1);
    follower.appended(Some(LeaderEpoch(1)), Offset(4), &mine);
    assert_eq!(follower.on_answer(&before, LeaderAnswer::Records, T0, &mine), Order::Nothing);
}

#[test]
fn an_answer_counts_though_the_log_start_has_moved_meanwhile() {
    let mut mine = log(&[0, 0, 0]);
    let mut follower = Follower::begin(LeaderEpoch(1), MODERN, &mine);
    let question = ask(&follower, &mine);
    mine.start = 1;
    mine.epochs.remove(0);
    assert_eq!(follower.on_answer(&question, LeaderAnswer::Records, T0, &mine), Order::Append);
}

#[test]
fn the_lag_is_known_after_the_first_fetch() {
    let mine = log(&[0, 0, 0]);
    let mut follower = Follower::begin(LeaderEpoch(1), MODERN, &mine);
    assert!(!follower.is_in_sync());
    follower.appended(None, Offset(5), &mine);
    assert_eq!((follower.lag(), follower.is_in_sync()), (Some(2), false));
    follower.appended(None, Offset(2), &mine);
    assert_eq!((follower.lag(), follower.is_in_sync()), (Some(0), true));
}

#[test]
fn watermark_and_start_stay_within_the_followers_log() {
    let mine = Model { start: 2, epochs: vec![0, 0, 0], high_watermark: 3 };
    assert_eq!(replicated_high_watermark(Offset(9), &mine), Offset(5));
    assert_eq!(replicated_high_watermark(Offset(4), &mine), Offset(4));
    assert_eq!(replicated_high_watermark(Offset(1), &mine), Offset(2));
    assert_eq!(replicated_log_start(Offset(9), &mine), Offset(3));
    assert_eq!(replicated_log_start(Offset(1), &mine), Offset(2));
}

/// Two logs as histories of leaders make them: a shared beginning, then stretches of epochs that only one of them has.
fn histories() -> impl Strategy<Value = (Vec<i32>, Vec<i32>, usize)> {
    let stretches = || prop::collection::vec(0..4_usize, 0..6);
    (stretches(), stretches(), stretches()).prop_map(|(shared, leaders, followers)| {
        let fill = |stretches: &[usize], log: &mut Vec<i32>, epoch: &dyn Fn(i32) -> i32| {
            for (index, length) in stretches.iter().enumerate() {
                let epoch = epoch(i32::try_from(index).expect("few"));
                log.extend(std::iter::repeat_n(epoch, *length));
            }
        };
        let mut leader = Vec::new();
        fill(&shared, &mut leader, &|index| index);
        let common = leader.len();
        let mut follower = leader.clone();
        fill(&leaders, &mut leader, &|index| 10 + 2 * index);
        fill(&followers, &mut follower, &|index| 11 + 2 * index);
        (leader, follower, common)
    })
}

proptest! {
    #[test]
    fn a_follower_ends_with_the_leaders_log_and_keeps_all_they_share(
        (leader, follower, common) in histories(),
        high_watermark in 0..20_usize,
        modern in any::<bool>(),
    ) {
        let leader = log(&leader);
        let mut mine = log(&follower);
        mine.high_watermark = i64::try_from(high_watermark.min(common)).expect("short");
        let settings = if modern { MODERN } else { BEFORE_2_7 };
        let lowest = replicate(settings, &leader, &mut mine);
        prop_assert_eq!(&mine.epochs, &leader.epochs);
        prop_assert!(lowest >= i64::try_from(common).expect("short"), "cut to {lowest}, shared are {common}");
    }
}
