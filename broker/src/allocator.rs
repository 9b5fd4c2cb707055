//! The allocator of the whole process.

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// Requests carry array lengths that ask for hundreds of gigabytes. With this allocator such a reservation costs
/// address space only, and the decoding that follows fails cleanly; the system's allocator would abort the process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay`, which the bindings do not name.
const PURGE_DELAY: mi_option_t = 15;

/// How long freed memory is kept for the next who asks. Unit: ms. mimalloc 3 keeps it for a second, 2 did for 10 ms: what
/// large requests took one after the other added up.
const KEPT_MS: std::ffi::c_long = 100;

/// To be called first of all, while there is one thread.
pub(crate) fn give_freed_memory_back_soon() {
    // SAFETY: it is not safe beside other threads that set options, and there are none yet.
    unsafe { mi_option_set(PURGE_DELAY, KEPT_MS) }
}
