//! Where the log ends, and where its last appends ended.
//!
//! Most reads begin and end at a place that was the end of the log moments ago: those need neither index nor disk.

use std::collections::VecDeque;

use crate::types::Offset;

/// Ends of appends remembered. A partition that is not written keeps none.
const RECENT: usize = 64;

/// A batch boundary. `position` is in bytes within the segment that begins at `segment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    pub offset: Offset,
    pub segment: Offset,
    pub position: u64,
}

#[derive(Debug)]
pub(super) struct Tail {
    end: Boundary,
    /// Boundaries of the active segment, oldest first; the last is `end`.
    recent: VecDeque<Boundary>,
}

impl Tail {
    pub(super) fn new(end: Boundary) -> Tail {
        Tail { end, recent: VecDeque::new() }
    }

    pub(super) fn end(&self) -> Boundary {
        self.end
    }

    /// After an append.
    pub(super) fn advance(&mut self, end: Boundary) {
        if self.recent.is_empty() {
            self.recent.push_back(self.end);
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(end);
        self.end = end;
    }

    /// After a roll or a truncation.
    pub(super) fn reset(&mut self, end: Boundary) {
        self.recent.clear();
        self.end = end;
    }

    /// The boundary at exactly `offset`, if it is remembered, and the one behind it.
    pub(super) fn find(&self, offset: Offset) -> Option<(Boundary, Option<Boundary>)> {
        if offset == self.end.offset {
            return Some((self.end, None));
        }
        let index = self.recent.binary_search_by_key(&offset, |boundary| boundary.offset).ok()?;
        Some((*self.recent.get(index)?, self.recent.get(index + 1).copied()))
    }
}
