//! A machine with its log and its clock: what the runner in `broker` does, without tasks or disks.

use coordinator::machine::{AppendFailure, Decision, Machine, Ticket};
use coordinator::time::{Monotonic, Now};
use coordinator::transactions::{Command, Record, Reply, TransactionConfig, Transactions};
use storage::types::{Offset, TimestampMs};

/// Wall-clock time when the monotonic clock shows 0.
pub(crate) const WALL_START_MS: i64 = 1_700_000_000_000;

pub(crate) struct Seat {
    pub(crate) config: TransactionConfig,
    pub(crate) machine: Transactions,
    pub(crate) log: Vec<Record>,
    pub(crate) now_ms: u64,
    /// When set, the log takes nothing.
    pub(crate) jammed: Option<AppendFailure>,
    tickets: u64,
}

/// What a command, or the passing of time, led to.
#[derive(Default)]
pub(crate) struct Happened {
    pub(crate) records: Vec<Record>,
    pub(crate) replies: Vec<Reply>,
}

impl Seat {
    pub(crate) fn new(config: TransactionConfig) -> Seat {
        let machine = Transactions::new(config);
        let mut seat = Seat { config, machine, log: Vec::new(), now_ms: 0, jammed: None, tickets: 0 };
        seat.reload();
        seat
    }

    pub(crate) fn now(&self) -> Now {
        let wall = TimestampMs(WALL_START_MS + i64::try_from(self.now_ms).expect("a test is short"));
        Now { mono: Monotonic(self.now_ms), wall }
    }

    pub(crate) fn play(&mut self, command: Command) -> Happened {
        self.tickets += 1;
        let decision = self.machine.decide(self.now(), Ticket(self.tickets), command);
        let mut happened = Happened::default();
        self.carry_out(decision, &mut happened);
        happened
    }

    /// Lets time pass, stopping at every deadline on the way.
    pub(crate) fn pass(&mut self, ms: u64) -> Happened {
        let end = self.now_ms + ms;
        let mut happened = Happened::default();
        let mut steps = 0;
        while let Some(next) = self.machine.next_deadline().filter(|next| next.0 <= end) {
            steps = if next.0 > self.now_ms { 0 } else { steps + 1 };
            assert!(steps < 10_000, "time stands still: the machine always has something more to do");
            self.now_ms = self.now_ms.max(next.0);
            let decision = self.machine.expire(self.now());
            self.carry_out(decision, &mut happened);
        }
        self.now_ms = end;
        happened
    }

    /// A new leader reads the log.
    pub(crate) fn reload(&mut self) {
        self.machine = self.replayed();
        let decision = self.machine.loaded(self.now());
        self.carry_out(decision, &mut Happened::default());
    }

    /// What another coordinator would know.
    pub(crate) fn replayed(&self) -> Transactions {
        let mut machine = Transactions::new(self.config);
        for (at, record) in (0..).zip(&self.log) {
            machine.apply(Offset(at), &as_read_back(record));
        }
        machine
    }

    fn carry_out(&mut self, decision: Decision<Transactions>, happened: &mut Happened) {
        let mut decision = decision;
        if let Some(failure) = self.jammed.filter(|_| !decision.records.is_empty()) {
            decision = self.machine.refuse(self.now(), decision, failure);
            assert!(decision.records.is_empty(), "what cannot be appended is not tried again");
        }
        for record in &decision.records {
            let at = i64::try_from(self.log.len()).expect("a test is short");
            self.machine.apply(Offset(at), record);
            self.log.push(record.clone());
        }
        for note in decision.notes {
            self.machine.note(note);
        }
        self.machine.check();
        happened.records.extend(decision.records);
        happened.replies.extend(decision.replies.into_iter().map(|(_, reply)| reply));
    }
}

fn as_read_back(record: &Record) -> Record {
    let (key, value) = record.encode();
    let read = Record::decode(&key, value.as_deref()).expect("our own record").expect("our own kind");
    assert_eq!(&read, record, "a record reads back as it was written");
    read
}
