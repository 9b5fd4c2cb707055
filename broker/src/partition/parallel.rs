//! The same work on many partitions, several at a time, on threads that end with it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// At most so many threads wait for the disk at a time: their syncs become one of the file system's commits.
const WAITING_MAX: usize = 32;

/// Jobs that one thread waits for before another is worth its memory.
const JOBS_A_THREAD: usize = 8;

/// Threads for `jobs` that wait for the disk more than they compute.
pub(super) fn waiting_for_disk(jobs: usize) -> usize {
    jobs.div_ceil(JOBS_A_THREAD).min(WAITING_MAX)
}

/// Does `work` for each of `jobs`, in their order, `threads` at a time. A single job is done on this thread.
pub(super) fn each<T: Sync>(threads: usize, jobs: &[T], work: impl Fn(&T) + Sync) {
    let threads = threads.min(jobs.len());
    if threads <= 1 {
        return jobs.iter().for_each(work);
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(job);
                }
            });
        }
    });
}

/// The same; yields the results in the order of the jobs.
pub(super) fn map<T: Sync, R: Send>(threads: usize, jobs: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let numbered: Vec<(usize, &T)> = jobs.iter().enumerate().collect();
    let results = Mutex::new(Vec::with_capacity(jobs.len()));
    each(threads, &numbered, |(number, job)| {
        let result = work(job);
        results.lock().unwrap_or_else(PoisonError::into_inner).push((*number, result));
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let jobs: Vec<usize> = (0..1000).collect();
        for threads in [0, 1, 7, 2000] {
            assert_eq!(
                map(threads, &jobs, |job| job * 2),
                jobs.iter().map(|job| job * 2).collect::<Vec<_>>()
            );
        }
        assert!(map(4, &[] as &[usize], |job| *job).is_empty());
    }
}
