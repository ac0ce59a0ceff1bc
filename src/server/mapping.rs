//! A published file in the address space, kept from request to request: opening and mapping it, and bringing its pages
//! in, costs more than sending it.
//!
//! Files are mapped because that takes a quarter of the processor time of copying them through buffers. What may wait
//! for a disk is for a blocking thread; [`Mapping::is_ready`] tells whether that is necessary, and asks the file system
//! only for what it has in memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use memmap2::{Advice, Mmap};
use rustix::fs::{Stat, fstat, stat};

use super::content_kind::ContentKind;
use super::integrity::{PIECE, pieces};
use super::room::{KEPT_FILES, Open};

/// For how long bytes that were compared count as compared, while they stay in memory.
pub(super) const FRESH: Duration = Duration::from_secs(10);

/// A file that has changed this recently may change again without a new time: clocks of file systems are coarse.
const COARSE: Duration = Duration::from_secs(1);

/// Bytes that are read at once, to be compared.
const BLOCK: usize = 64 << 10;

/// In bytes; a larger page only makes the answer of the kernel shorter.
const PAGE: usize = 4096;

pub(super) struct Mapping {
    map: Mmap,
    /// The file, while there is room to keep it open.
    file: Option<Open>,
    /// The length of what is published of the file.
    len: usize,
    stamp: Stamp,
    /// When the file was mapped.
    since: Instant,
    /// When each piece was last compared, in milliseconds since then; zero if never, or if that cannot count.
    compared: Box<[AtomicU64]>,
}

/// What is wrong with a file that has fewer bytes than were published.
pub(super) fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it was cut short")
}

/// What the file system says of a file; another one for another file, and for the same one after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether the next change will show.
    fn is_settled(&self) -> bool {
        let changed = UNIX_EPOCH + Duration::from_secs(self.changed.0.unsigned_abs());
        SystemTime::now()
            .duration_since(changed)
            .is_ok_and(|age| age > 2 * COARSE)
    }
}

impl Mapping {
    /// Maps a file; blocks on the disk.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, or is not the one that was published with `size` bytes.
    pub(super) fn open(path: &Path, kind: ContentKind, size: u64) -> Result<(Self, Arc<File>)> {
        let named = || format!("failed to open `{}`", path.display());
        let file = Arc::new(File::open(path).with_context(named)?);
        let stamp = Stamp::of(&fstat(file.as_fd()).with_context(named)?);
        ensure!(
            kind.fits(size, stamp.size),
            "failed to serve `{}`: it has {} bytes on disk, not the {size} that were published",
            path.display(),
            stamp.size
        );
        // SAFETY: published files are replaced by rename and never written in place, so the mapped bytes do not
        // change; a ledger grows behind the part that is mapped here. Whoever writes into one all the same, or cuts it short, changes also what
        // the kernel has taken by reference and the client has not acknowledged.
        let map =
            unsafe { Mmap::map(&*file) }.with_context(|| format!("failed to map `{}`", path.display()))?;
        let len = usize::try_from(size)?;
        let mapping = Self {
            map,
            file: Open::keep(&file, &KEPT_FILES),
            len,
            stamp,
            since: Instant::now(),
            compared: (0..len.div_ceil(PIECE)).map(|_| AtomicU64::new(0)).collect(),
        };
        Ok((mapping, file))
    }

    /// The published bytes. Whoever looks at them while somebody cuts the file short, or the disk fails, dies of a SIGBUS:
    /// they are for the kernel to send, which has an error for that, and [`Mapping::read`] is for looking at them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.map[..self.len]
    }

    /// The file, where it is kept open.
    pub(super) fn file(&self) -> Option<&Arc<File>> {
        self.file.as_ref().map(|open| &open.file)
    }

    /// The number of published bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The file that is mapped, opened again at its `path`; none when another one is there, or it cannot be opened. Blocks
    /// on the disk.
    pub(super) fn reopen(&self, path: &Path) -> Option<File> {
        let file = File::open(path).ok()?;
        let stamp = Stamp::of(&fstat(file.as_fd()).ok()?);
        ((stamp.device, stamp.inode) == (self.stamp.device, self.stamp.inode)).then_some(file)
    }

    /// What the file system said of the file when it was mapped.
    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What the file system says now of the file that is mapped.
    ///
    /// # Errors
    ///
    /// When it is shorter than it was.
    pub(super) fn whole(&self, file: &File) -> io::Result<Stamp> {
        let stamp = Stamp::of(&fstat(file.as_fd())?);
        match stamp.size < self.stamp.size {
            true => Err(cut_short()),
            false => Ok(stamp),
        }
    }

    /// Hands the bytes of `range` to `take`, block by block; of `file` where there is one. Where there is none, mostly nobody
    /// can cut it short by its name any more. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub(super) fn read(
        &self,
        file: Option<&File>,
        range: Range<usize>,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let Some(file) = file else {
            self.populate(range.clone())?;
            take(&self.bytes()[range]);
            return Ok(());
        };
        let mut block = vec![0; BLOCK];
        for start in range.clone().step_by(BLOCK) {
            let block = &mut block[..BLOCK.min(range.end - start)];
            file.read_exact_at(block, start as u64)?;
            take(block);
        }
        Ok(())
    }

    /// A copy of the bytes of `range`, from where [`Mapping::read`] has them. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub(super) fn copy(&self, file: Option<&File>, range: Range<usize>) -> io::Result<Vec<u8>> {
        let Some(file) = file else {
            self.populate(range.clone())?;
            return Ok(self.bytes()[range].to_vec());
        };
        let mut bytes = vec![0; range.len()];
        file.read_exact_at(&mut bytes, range.start as u64)?;
        Ok(bytes)
    }

    /// Whether the file at `path` is still this one, unchanged.
    pub(super) fn is_current(&self, path: &Path) -> bool {
        stat(path).is_ok_and(|stat| Stamp::of(&stat) == self.stamp)
    }

    /// Whether `part` can be sent without waiting: it was compared lately, the file is unchanged, and it is in memory.
    pub(super) fn is_ready(&self, path: &Path, part: &Range<usize>) -> bool {
        let now = self.since.elapsed();
        let is_fresh = |piece: Range<usize>| {
            let compared = self.compared.get(piece.start / PIECE);
            let compared = compared.map_or(0, |at| at.load(Ordering::Relaxed));
            compared > 0 && now.saturating_sub(Duration::from_millis(compared)) < FRESH
        };
        pieces(self.len, part).all(is_fresh) && self.is_current(path) && self.is_resident(part)
    }

    /// Notes that the pieces of `part` have just been compared.
    pub(super) fn note_compared(&self, part: &Range<usize>) {
        if self.stamp.is_settled() {
            let now = u64::try_from(self.since.elapsed().as_millis())
                .unwrap_or(u64::MAX)
                .max(1);
            for piece in pieces(self.len, part) {
                if let Some(at) = self.compared.get(piece.start / PIECE) {
                    at.store(now, Ordering::Relaxed);
                }
            }
        }
    }

    /// Brings pages into memory, or says why that cannot be: a bad sector or a file cut short under our feet is an
    /// error here, and would be a SIGBUS where the pages are touched.
    pub(super) fn populate(&self, range: Range<usize>) -> io::Result<()> {
        match self
            .map
            .advise_range(Advice::PopulateRead, range.start, range.len())
        {
            // Linux before 5.14 does not know the advice; there the pages come when they are touched.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether all pages of `part` are in memory; also where the kernel does not tell whom the file does not belong to.
    fn is_resident(&self, part: &Range<usize>) -> bool {
        let start = part.start - part.start % PAGE;
        let mut pages = vec![0_u8; (part.end - start).div_ceil(PAGE)];
        // SAFETY: the range lies within the mapping, whose start is a page's, and there is a byte for each page.
        let told = unsafe {
            let address = self.map.as_ptr().add(start).cast_mut();
            libc::mincore(address.cast(), part.end - start, pages.as_mut_ptr())
        };
        told == 0 && pages.iter().all(|page| page & 1 == 1)
    }
}
