//! A disk in memory that records writes and flushes.
//!
//! It is one file of a FUSE file system; a loop device makes a block device of it. The loop driver turns a flush of the
//! device into an fsync of the file, and direct I/O keeps the page cache out of the way, so that the record is the order
//! in which a real disk would have got the writes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, WriteFlags,
};

const SECTOR: usize = 512;
const PAGE: usize = 4096;
const FILE: INodeNo = INodeNo(2);

#[derive(Clone)]
pub enum Event {
    Write(usize, Vec<u8>),
    Flush,
}

/// The contents. While `overlay` is set, writes go into it and `base` does not change.
pub struct Contents {
    pub base: Vec<u8>,
    pub overlay: Option<HashMap<usize, Box<[u8; PAGE]>>>,
    pub log: Vec<Event>,
}

#[derive(Clone)]
pub struct Disk(Arc<Mutex<Contents>>);

impl Disk {
    pub fn new(size: usize) -> Self {
        Self(Arc::new(Mutex::new(Contents { base: vec![0; size], overlay: None, log: Vec::new() })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Mounts a file system with this disk as its only file, `disk`.
    pub fn mount(&self, at: &Path) -> std::io::Result<BackgroundSession> {
        fuser::spawn_mount(Server(self.clone()), at, &Config::default())
    }
}

impl Contents {
    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        let Some(overlay) = &mut self.overlay else {
            self.base[at..at + bytes.len()].copy_from_slice(bytes);
            return;
        };
        let (mut at, mut rest) = (at, bytes);
        while !rest.is_empty() {
            let (page, within) = (at / PAGE, at % PAGE);
            let n = rest.len().min(PAGE - within);
            let base = &self.base;
            let held = overlay.entry(page).or_insert_with(|| {
                let mut copy = Box::new([0; PAGE]);
                copy.copy_from_slice(&base[page * PAGE..(page + 1) * PAGE]);
                copy
            });
            held[within..within + n].copy_from_slice(&rest[..n]);
            (at, rest) = (at + n, &rest[n..]);
        }
    }

    fn read(&self, at: usize, size: usize) -> Vec<u8> {
        let end = (at + size).min(self.base.len());
        let mut bytes = self.base[at.min(end)..end].to_vec();
        let Some(overlay) = &self.overlay else {
            return bytes;
        };
        for page in at / PAGE..end.div_ceil(PAGE) {
            if let Some(held) = overlay.get(&page) {
                let (from, to) = ((page * PAGE).max(at), ((page + 1) * PAGE).min(end));
                bytes[from - at..to - at].copy_from_slice(&held[from - page * PAGE..to - page * PAGE]);
            }
        }
        bytes
    }

    fn record(&mut self, event: Event) {
        // Writes of the recovery are not recorded.
        if self.overlay.is_none() {
            self.log.push(event);
        }
    }
}

/// The part of a write that reached the disk before the power loss: whole sectors.
pub fn torn(bytes: &[u8], sectors: usize) -> &[u8] {
    &bytes[..(sectors * SECTOR).min(bytes.len())]
}

struct Server(Disk);

impl Server {
    fn attributes(&self, ino: INodeNo) -> FileAttr {
        let is_file = ino == FILE;
        let size = if is_file { self.0.lock().base.len() as u64 } else { 0 };
        FileAttr {
            ino,
            size,
            blocks: size / SECTOR as u64,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: PAGE as u32,
            flags: 0,
        }
    }
}

const FOR_EVER: Duration = Duration::from_secs(1 << 20);

impl Filesystem for Server {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == "disk" {
            reply.entry(&FOR_EVER, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOR_EVER, &self.attributes(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        reply.data(&self.0.lock().read(offset as usize, size as usize));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut contents = self.0.lock();
        contents.write(offset as usize, data);
        contents.record(Event::Write(offset as usize, data.to_vec()));
        reply.written(data.len() as u32);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.0.lock().record(Event::Flush);
        reply.ok();
    }
}
