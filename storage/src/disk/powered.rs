//! A disk whose power fails: what was not synced is there in part, in whole or not at all, as the seed decides.
//!
//! Works on real files, and remembers what of them is durable: the content of a file since its last sync, the names of a
//! folder, those of its folders too, since the last sync of that. What it did not make itself has been there for ever.
//! Stricter than the file systems we know: a synced file without a synced name is lost,
//! and writes reach the disk in any order.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, Entry, Lock, Mapping, Open, OsDisk, Space};
use crate::types::TimestampMs;

/// Numbers that follow from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// `0..sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        (self.draw() % sides.max(1) as u64) as usize
    }
}

/// A first seed, another one in every run; printed, so that one that fails can be given a name.
///
/// # Panics
/// Where the clock stands before 1970.
#[must_use]
pub fn first_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let first = now.as_secs() << 20;
    println!("seeds from {first}");
    first
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// What a name stands for, by its place in the world.
#[derive(Clone, Copy, Debug)]
enum Node {
    File(usize),
    Folder(usize),
}

#[derive(Clone, Debug)]
enum Naming {
    Link(String, Node),
    Unlink(String),
    Rename(String, String),
}

#[derive(Debug, Default)]
struct Names {
    live: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<Naming>,
}

#[derive(Debug, Default)]
struct World {
    inodes: Vec<Inode>,
    folders: Vec<Names>,
    /// Where each folder is now.
    places: BTreeMap<PathBuf, usize>,
    /// Changes until the power fails; `None`: never.
    left: Option<usize>,
}

impl World {
    /// The folder at `path`; one that is met for the first time was always there.
    fn folder(&mut self, path: &Path) -> usize {
        if let Some(known) = self.places.get(path) {
            return *known;
        }
        self.folders.push(Names::default());
        self.places.insert(path.to_path_buf(), self.folders.len() - 1);
        self.folders.len() - 1
    }

    fn look_up(&mut self, path: &Path) -> Option<Node> {
        let (folder, name) = split(path);
        let folder = self.folder(&folder);
        self.folders[folder].live.get(&name).copied()
    }

    /// Folders below `from` are found below `to`, or nowhere.
    fn move_places(&mut self, from: &Path, to: Option<&Path>) {
        let moved: Vec<PathBuf> = self.places.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in moved {
            let folder = self.places.remove(&path).expect("listed");
            if let (Some(to), Ok(rest)) = (to, path.strip_prefix(from)) {
                // Joining nothing would add a slash.
                let place = if rest.as_os_str().is_empty() { to.to_path_buf() } else { to.join(rest) };
                self.places.insert(place, folder);
            }
        }
    }

    fn salvage(&self, folder: usize, to: &Path, dice: &mut Dice) {
        let names = &self.folders[folder];
        let mut found = names.durable.clone();
        let kept = some_of(names.pending.len(), dice);
        for naming in names.pending.iter().take(kept) {
            apply_naming(&mut found, naming);
        }
        for (name, node) in found {
            let to = to.join(name);
            match node {
                Node::File(inode) => {
                    std::fs::write(to, salvaged(&self.inodes[inode], dice)).expect("written");
                }
                Node::Folder(folder) => {
                    std::fs::create_dir(&to).expect("created");
                    self.salvage(folder, &to, dice);
                }
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct PoweredDisk {
    world: Arc<Mutex<World>>,
}

impl PoweredDisk {
    /// After `changes` more, nothing works any more.
    pub fn fail_after(&self, changes: usize) {
        self.world().left = Some(changes);
    }

    pub fn has_failed(&self) -> bool {
        self.world().left == Some(0)
    }

    /// What is found when the power is back, of all that lies in `from`, put into the empty folder `to`.
    pub fn salvage(&self, from: &Path, to: &Path, dice: &mut Dice) {
        let world = self.world();
        if let Some(folder) = world.places.get(from) {
            world.salvage(*folder, to, dice);
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(world: &mut World) -> io::Result<()> {
        match &mut world.left {
            Some(0) => Err(io::Error::from_raw_os_error(libc::EIO)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A file that was there before is on the disk, name and content. `None` where there is none.
    fn adopt(&self, path: &Path) -> io::Result<Option<Node>> {
        if !OsDisk.exists(path)? {
            return Ok(None);
        }
        let durable = std::fs::read(path)?;
        let mut world = self.world();
        world.inodes.push(Inode { durable, pending: Vec::new() });
        let node = Node::File(world.inodes.len() - 1);
        let (folder, name) = split(path);
        let folder = world.folder(&folder);
        let names = &mut world.folders[folder];
        names.live.insert(name.clone(), node);
        names.durable.insert(name, node);
        Ok(Some(node))
    }

    fn name(&self, path: &Path, naming: impl FnOnce(&mut World, &str) -> Naming) -> io::Result<()> {
        let mut world = self.world();
        PoweredDisk::tick(&mut world)?;
        let (folder, name) = split(path);
        let folder = world.folder(&folder);
        let naming = naming(&mut world, &name);
        let names = &mut world.folders[folder];
        apply_naming(&mut names.live, &naming);
        names.pending.push(naming);
        Ok(())
    }
}

fn split(path: &Path) -> (PathBuf, String) {
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    (path.parent().expect("a folder").to_path_buf(), name)
}

/// None, all, or anything between.
fn some_of(count: usize, dice: &mut Dice) -> usize {
    match dice.roll(4) {
        0 => 0,
        1 => count,
        _ => dice.roll(count + 1),
    }
}

fn apply_naming(names: &mut BTreeMap<String, Node>, naming: &Naming) {
    match naming {
        Naming::Link(name, node) => drop(names.insert(name.clone(), *node)),
        Naming::Unlink(name) => drop(names.remove(name)),
        Naming::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => content.resize(*length as usize, 0),
        Change::Write(position, bytes) => {
            let (from, upto) = (*position as usize, *position as usize + bytes.len());
            content.resize(content.len().max(upto), 0);
            content[from..upto].copy_from_slice(bytes);
        }
    }
}

fn salvaged(inode: &Inode, dice: &mut Dice) -> Vec<u8> {
    let mut content = inode.durable.clone();
    let in_order = dice.roll(3) > 0;
    let kept = some_of(inode.pending.len(), dice);
    for (index, change) in inode.pending.iter().enumerate() {
        let reached = if in_order { index < kept } else { dice.roll(2) == 0 };
        match change {
            _ if reached => apply(&mut content, change),
            // The one that was under way is torn.
            Change::Write(position, bytes) if in_order && index == kept => {
                let torn = dice.roll(bytes.len() + 1);
                apply(&mut content, &Change::Write(*position, bytes[..torn].to_vec()));
            }
            _ => {}
        }
    }
    if dice.roll(3) == 0 {
        // The length reached the disk and the data did not.
        let mut whole = inode.durable.clone();
        inode.pending.iter().for_each(|change| apply(&mut whole, change));
        content.resize(content.len().max(whole.len()), 0);
    }
    content
}

impl Disk for PoweredDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let known = self.world().look_up(path);
        let known = if known.is_none() { self.adopt(path)? } else { known };
        let inode = match known {
            Some(Node::File(inode)) if how == Open::Replace => {
                let mut world = self.world();
                PoweredDisk::tick(&mut world)?;
                world.inodes[inode].pending.push(Change::Length(0));
                inode
            }
            Some(Node::File(inode)) => inode,
            Some(Node::Folder(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            None if matches!(how, Open::Create | Open::Replace) => {
                self.name(path, |world, name| {
                    world.inodes.push(Inode::default());
                    Naming::Link(name.to_string(), Node::File(world.inodes.len() - 1))
                })?;
                self.world().inodes.len() - 1
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let file = OsDisk.open(path, how)?;
        Ok(Arc::new(PoweredFile { file, inode, disk: self.clone() }))
    }

    fn list(&self, path: &Path, measured: &dyn Fn(&str) -> bool) -> io::Result<Vec<Entry>> {
        OsDisk.list(path, measured)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        OsDisk.exists(path)
    }

    fn create_directories(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            self.name(folder, |world, name| {
                let made = world.folder(folder);
                Naming::Link(name.to_string(), Node::Folder(made))
            })?;
            OsDisk.create_directories(folder)?;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if !OsDisk.exists(from)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (folder, new_name) = split(to);
        assert_eq!(Some(folder.as_path()), from.parent(), "nothing is renamed into another folder");
        self.name(from, |_, name| Naming::Rename(name.to_string(), new_name))?;
        self.world().move_places(from, Some(to));
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if !OsDisk.exists(path)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.name(path, |_, name| Naming::Unlink(name.to_string()))?;
        OsDisk.remove(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        for entry in OsDisk.list(path, &|_| false)? {
            let inside = path.join(entry.name);
            if entry.is_directory { self.remove_directory(&inside)? } else { self.remove(&inside)? }
        }
        self.name(path, |_, name| Naming::Unlink(name.to_string()))?;
        self.world().move_places(path, None);
        OsDisk.remove_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        PoweredDisk::tick(&mut world)?;
        let folder = world.folder(path);
        let names = &mut world.folders[folder];
        names.durable = names.live.clone();
        names.pending.clear();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.open(path, Open::Create)?;
        OsDisk.lock(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        OsDisk.space(path)
    }

    fn open_files_max(&self) -> u64 {
        OsDisk.open_files_max()
    }

    fn cache_identity(&self, _: &Path) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn fingerprint(&self, path: &Path) -> io::Result<String> {
        OsDisk.fingerprint(path)
    }
}

#[derive(Debug)]
struct PoweredFile {
    file: Arc<dyn DiskFile>,
    inode: usize,
    disk: PoweredDisk,
}

impl DiskFile for PoweredFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn modified(&self) -> io::Result<TimestampMs> {
        self.file.modified()
    }

    fn set_modified(&self, modified: TimestampMs) -> io::Result<()> {
        self.file.set_modified(modified)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let mut world = self.disk.world();
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        // The write during which the power fails may have reached the disk too.
        let powered = PoweredDisk::tick(&mut world);
        world.inodes[self.inode].pending.push(Change::Write(position, bytes));
        powered?;
        super::write_all(self.file.as_ref(), &mut slices.to_vec(), position)?;
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        PoweredDisk::tick(&mut world)?;
        world.inodes[self.inode].pending.push(Change::Length(length));
        self.file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.world();
        PoweredDisk::tick(&mut world)?;
        let inode = &mut world.inodes[self.inode];
        for change in std::mem::take(&mut inode.pending) {
            apply(&mut inode.durable, &change);
        }
        Ok(())
    }

    fn reread(&self) -> io::Result<()> {
        self.sync()
    }

    fn map(&self, length: u64) -> io::Result<Mapping> {
        self.file.map(length)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.file.descriptor()
    }
}
