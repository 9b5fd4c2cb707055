//! The states of a transactional id.

use std::fmt;

/// Where the last transaction of a transactional id is.
///
/// `Dead` and `PrepareEpochFence` name what Kafka's coordinator is about to do; neither is written to a log by
/// either coordinator, but both have a number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The producer has its id; no transaction yet.
    Empty,
    Ongoing,
    /// Decided, but not all partitions have their marker.
    PrepareCommit,
    /// Like `PrepareCommit`.
    PrepareAbort,
    /// Over, as every partition knows.
    CompleteCommit,
    CompleteAbort,
    Dead,
    PrepareEpochFence,
}

impl State {
    /// All, in the order of their numbers.
    pub const ALL: [State; 8] = [
        State::Empty,
        State::Ongoing,
        State::PrepareCommit,
        State::PrepareAbort,
        State::CompleteCommit,
        State::CompleteAbort,
        State::Dead,
        State::PrepareEpochFence,
    ];

    pub fn from_id(id: i8) -> Option<State> {
        State::ALL.into_iter().find(|state| state.id() == id)
    }

    /// The number in the log.
    pub fn id(self) -> i8 {
        match self {
            State::Empty => 0,
            State::Ongoing => 1,
            State::PrepareCommit => 2,
            State::PrepareAbort => 3,
            State::CompleteCommit => 4,
            State::CompleteAbort => 5,
            State::Dead => 6,
            State::PrepareEpochFence => 7,
        }
    }

    /// As DescribeTransactions and ListTransactions call it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Ongoing => "Ongoing",
            State::PrepareCommit => "PrepareCommit",
            State::PrepareAbort => "PrepareAbort",
            State::CompleteCommit => "CompleteCommit",
            State::CompleteAbort => "CompleteAbort",
            State::Dead => "Dead",
            State::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// The outcome is decided, and markers are on their way.
    pub fn is_ending(self) -> bool {
        matches!(self, State::PrepareCommit | State::PrepareAbort)
    }

    /// A transactional id in this state may expire.
    pub fn is_idle(self) -> bool {
        matches!(self, State::Empty | State::CompleteCommit | State::CompleteAbort)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Commit,
    Abort,
}

impl Outcome {
    pub(super) fn prepared(self) -> State {
        match self {
            Outcome::Commit => State::PrepareCommit,
            Outcome::Abort => State::PrepareAbort,
        }
    }

    pub(super) fn completed(self) -> State {
        match self {
            Outcome::Commit => State::CompleteCommit,
            Outcome::Abort => State::CompleteAbort,
        }
    }
}
