//! What all logs of a broker share: the disk and a bounded number of open record files.
//!
//! A record file is opened and mapped when somebody needs it and let go when others are needed more, so that tens of
//! thousands of partitions fit into the default limits of descriptors and mappings (`vm.max_map_count` is 65,530).
//! Slices that were handed out keep their mapping and their descriptor alive beyond that, until their answer is sent.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use bytes::Bytes;

use crate::disk::{Disk, DiskFile, FileBytes, Mapping, Open};
use crate::error::StorageError;
use crate::segment::files::{FileKind, Files};

/// Record files kept open at most when nobody says otherwise: one descriptor and at most one mapping each.
const OPEN_FILES_MAX: u64 = 16_384;

/// How many record files are kept open at most where the process may have `descriptors` open: half of them.
#[must_use]
pub fn open_files_max(descriptors: u64) -> u64 {
    (descriptors / 2).min(OPEN_FILES_MAX)
}

/// What one mapping may serve before its pages are let go of. Bounds the resident memory of a file. Unit: bytes.
const SERVED_MAX: u64 = 4 << 20;

/// The disk and the open files of one broker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    disk: Arc<dyn Disk>,
    open: Arc<OpenFiles>,
    /// Unit: bytes.
    checked: Arc<AtomicU64>,
}

impl Store {
    /// Takes half of the descriptors the process may have at this moment, so raise the limit before.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Store {
        let limit = open_files_max(disk.open_files_max());
        Store::with_open_files(disk, usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// `limit`: how many record files may be open at a time, at least 16. Descriptors for index and checkpoint files
    /// are needed for moments only.
    #[must_use]
    pub fn with_open_files(disk: Arc<dyn Disk>, limit: usize) -> Store {
        let limit = limit.max(16);
        let open = OpenFiles { limit, clock: AtomicU64::new(0), handles: Mutex::new(Vec::new()) };
        Store { disk, open: Arc::new(open), checked: Arc::default() }
    }

    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// What recovery has checked so far, in all logs. Unit: bytes.
    #[must_use]
    pub fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    pub(crate) fn count_checked(&self, bytes: u64) {
        self.checked.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn handle(&self, files: Arc<Files>) -> Arc<Handle> {
        Arc::new(Handle {
            files,
            open: self.open.clone(),
            used: AtomicU64::new(0),
            served: AtomicU64::new(0),
            state: RwLock::new(Opened::default()),
        })
    }
}

#[derive(Debug)]
struct OpenFiles {
    limit: usize,
    /// Counts uses; a handle remembers its last.
    clock: AtomicU64,
    handles: Mutex<Vec<Weak<Handle>>>,
}

impl OpenFiles {
    /// Remembers a file that was just opened; lets go of those unused for longest when there are too many.
    fn opened(&self, handle: &Arc<Handle>) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.push(Arc::downgrade(handle));
        if handles.len() <= self.limit {
            return;
        }
        let mut alive: Vec<Arc<Handle>> = handles.iter().filter_map(Weak::upgrade).collect();
        // A file that was closed and opened again is listed twice.
        alive.sort_by_key(Arc::as_ptr);
        alive.dedup_by_key(|handle| Arc::as_ptr(handle));
        alive.retain(|handle| handle.may_be_open());
        alive.sort_by_key(|handle| handle.used.load(Ordering::Relaxed));
        // An eighth at once, so that the sorting is paid for by many opens.
        let surplus = alive.len().saturating_sub(self.limit - self.limit / 8);
        let (old, young) = alive.split_at(surplus);
        let busy = old.iter().filter(|handle| !handle.try_close());
        *handles = busy.chain(young).map(Arc::downgrade).collect();
    }
}

/// The record file of one segment, open or not.
#[derive(Debug)]
pub(crate) struct Handle {
    files: Arc<Files>,
    open: Arc<OpenFiles>,
    used: AtomicU64,
    /// Served from the mapping since its pages were last let go of. Unit: bytes.
    served: AtomicU64,
    state: RwLock<Opened>,
}

#[derive(Debug, Default)]
pub(crate) struct Opened {
    file: Option<Arc<dyn DiskFile>>,
    view: Option<View>,
    /// Mappings let go of while slices of them were alive.
    retired: Vec<Weak<Mapping>>,
}

#[derive(Debug)]
struct View {
    mapping: Arc<Mapping>,
    /// The whole mapping; only parts below the segment's size are ever handed out.
    bytes: Bytes,
}

/// Lets `Bytes` own a mapping that truncation can still reach.
struct Owner(Arc<Mapping>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_ref()
    }
}

impl Handle {
    /// The open file, for reading and writing.
    pub(crate) fn file(self: &Arc<Self>) -> Result<Arc<dyn DiskFile>, StorageError> {
        self.touch();
        if let Some(file) = &self.read().file {
            return Ok(file.clone());
        }
        let mut state = self.write();
        self.open_in(&mut state)
    }

    fn open_in(self: &Arc<Self>, state: &mut Opened) -> Result<Arc<dyn DiskFile>, StorageError> {
        if let Some(file) = &state.file {
            return Ok(file.clone());
        }
        let path = self.files.path(FileKind::Records);
        let file =
            self.files.open(FileKind::Records, Open::Write).map_err(StorageError::io("open", &path))?;
        state.file = Some(file.clone());
        self.open.opened(self);
        Ok(file)
    }

    /// Bytes `from..upto` of the file, not copied. The caller makes sure that the file reaches `upto`, and that nothing
    /// is cut meanwhile.
    ///
    /// A new mapping is made for at least `reserve` bytes, so that a growing file needs only one.
    pub(crate) fn slice(
        self: &Arc<Self>,
        from: usize,
        upto: usize,
        reserve: u64,
    ) -> Result<FileBytes, StorageError> {
        self.touch();
        if let Opened { view: Some(view), file: Some(file), .. } = &*self.read()
            && view.bytes.len() >= upto
        {
            self.release_after(view, (upto - from) as u64);
            return Ok(FileBytes::new(view.bytes.slice(from..upto), file.clone(), from as u64));
        }
        let mut state = self.write();
        let file = self.open_in(&mut state)?;
        let path = || self.files.path(FileKind::Records);
        let mapping =
            file.map(reserve.max(upto as u64)).map_err(|error| StorageError::io("map", &path())(error))?;
        let mapping = Arc::new(mapping);
        let bytes = Bytes::from_owner(Owner(mapping.clone()));
        let slice = FileBytes::new(bytes.slice(from..upto), file, from as u64);
        state.retire();
        state.view = Some(View { mapping, bytes });
        Ok(slice)
    }

    /// The view is current, so its pages were never kept; the caller's lock keeps it so.
    fn release_after(&self, view: &View, serving: u64) {
        if self.served.fetch_add(serving, Ordering::Relaxed) < SERVED_MAX {
            return;
        }
        self.served.store(0, Ordering::Relaxed);
        if let Err(error) = view.mapping.release() {
            tracing::debug!(%error, "pages of a record file stay resident");
        }
    }

    /// Keeps everybody else out, for cutting the file.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Opened> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Opened> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of descriptor and mapping; the next use brings them back.
    pub(crate) fn close(&self) {
        let mut state = self.write();
        state.retire();
        state.file = None;
    }

    fn may_be_open(&self) -> bool {
        self.state.try_read().map_or(true, |state| state.file.is_some())
    }

    /// False where somebody is using it right now.
    fn try_close(&self) -> bool {
        let Ok(mut state) = self.state.try_write() else { return false };
        state.retire();
        state.file = None;
        true
    }

    fn touch(&self) {
        self.used.store(self.open.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Opened {
    /// Makes sure that slices handed out of `from..upto` survive the file being cut to `from`.
    ///
    /// This is the rule of truncation: nobody waits for slices on their way to a socket; what they show is detached
    /// from the file first. On `Err` nothing may be cut.
    pub(crate) fn detach(&mut self, from: usize, upto: usize) -> io::Result<()> {
        self.retire();
        for mapping in self.retired.iter().filter_map(Weak::upgrade) {
            mapping.keep(from, upto)?;
        }
        Ok(())
    }

    fn retire(&mut self) {
        self.retired.retain(|mapping| mapping.strong_count() > 0);
        if let Some(view) = self.view.take() {
            let mapping = Arc::downgrade(&view.mapping);
            drop(view);
            if mapping.strong_count() > 0 {
                self.retired.push(mapping);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;
    use crate::segment::files::{Home, Stage};
    use crate::types::Offset;

    #[test]
    fn files_unused_for_longest_are_let_go_and_come_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::with_open_files(Arc::new(OsDisk), 16);
        let home = Home::new(store.disk().clone(), folder.path().to_path_buf());
        let handle = |base: i64| {
            let files = Files::new(home.clone(), Offset(base), Stage::Present);
            std::fs::write(files.path(FileKind::Records), base.to_string().repeat(3)).expect("written");
            store.handle(files)
        };
        let handles: Vec<Arc<Handle>> = (100..200).map(handle).collect();
        let open = || handles.iter().filter(|handle| handle.may_be_open()).count();

        let slices: Vec<FileBytes> =
            handles.iter().map(|handle| handle.slice(3, 6, 0).expect("a slice")).collect();
        assert!(open() <= 16, "{}", open());
        for (base, slice) in (100..200).zip(&slices) {
            assert_eq!(slice.bytes(), base.to_string().as_bytes(), "slices outlive their file");
        }

        for handle in handles.iter().chain(&handles) {
            handle.file().expect("comes back");
            assert!(open() <= 16);
            handle.close();
        }
        let first = handles.first().expect("one");
        first.file().expect("open");
        for handle in handles.iter().skip(1).take(40) {
            handle.file().expect("open");
            first.touch();
        }
        assert!(first.may_be_open(), "what is used stays");
    }
}
