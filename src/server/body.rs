//! The body of a response: bytes in memory, or a published file or object that is sent in pieces.
//!
//! HTTP/1.1 without TLS sends files from a memory map: the kernel copies the bytes from the page cache to the socket. Otherwise
//! each chunk is read into a buffer, verified, and sent from that buffer.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use memmap2::{Mmap, MmapOptions};
use rustix::io::Errno;
use tokio::task::{JoinHandle, spawn_blocking};

use super::connection_limits::{DownloadLimiter, DownloadPermit};
use super::content_kind::ContentKind;
use super::integrity::{CHUNK, Integrity, Verified};
use super::stored_object::{ObjectBody, StoredObject};

/// How much of a memory map is handed out at a time.
const MAPPED_PIECE: u64 = 1 << 20;

pub(super) enum Body {
    Memory(Bytes),
    File(Box<FileBody>),
    Object(Box<ObjectBody>),
}

/// How the files of one connection are sent.
pub(super) struct FileAccess {
    pub(super) is_mapped: bool,
    pub(super) downloads: DownloadLimiter,
}

/// Why a file cannot be sent.
pub(super) enum OpenError {
    TooManyDownloads,
    /// It is missing, or is not the published one.
    Damaged(anyhow::Error),
    /// The bucket that has it gives no answer.
    Unreachable(anyhow::Error),
}

/// A part of a published file that is being sent.
pub(super) struct FileBody {
    file: Arc<OpenFile>,
    left: Range<u64>,
    verified: Option<Verified>,
    /// The next piece, while a blocking thread reads it.
    loading: Option<JoinHandle<io::Result<Bytes>>>,
    _permit: DownloadPermit,
}

struct OpenFile {
    file: File,
    map: Option<Mmap>,
    /// Where the map begins in the file.
    map_start: u64,
    integrity: Integrity,
}

impl Body {
    pub(super) const EMPTY: Self = Self::Memory(Bytes::new());

    /// Begins to read `part` of an object.
    pub(super) async fn open_object(
        object: &StoredObject,
        integrity: &Integrity,
        part: Range<u64>,
        access: &FileAccess,
    ) -> Result<Self, OpenError> {
        let permit = access.downloads.acquire().await;
        let body = object.open(integrity, part, permit.ok_or(OpenError::TooManyDownloads)?).await?;
        Ok(Self::Object(Box::new(body)))
    }

    /// Opens the file at `path` and compares `part` of it with what was published.
    pub(super) async fn open(
        path: &Arc<Path>,
        kind: ContentKind,
        integrity: &Integrity,
        part: Range<u64>,
        access: &FileAccess,
    ) -> Result<Self, OpenError> {
        let permit = access.downloads.acquire().await;
        let permit = permit.ok_or(OpenError::TooManyDownloads)?;
        let (path, integrity, is_mapped) = (Arc::clone(path), integrity.clone(), access.is_mapped);
        let opened = spawn_blocking(move || {
            let opened = OpenFile::open(&path, kind, integrity);
            let opened = opened.and_then(|mut file| {
                let verified = file.integrity.verify(&file.file, &part)?;
                if is_mapped {
                    file.map(&part)?;
                }
                Ok(FileBody { file: Arc::new(file), left: part, verified, loading: None, _permit: permit })
            });
            opened.with_context(|| format!("failed to serve `{}`", path.display()))
        });
        let opened = opened.await.map_err(anyhow::Error::from).flatten();
        opened.map(|body| Self::File(Box::new(body))).map_err(|error| {
            let number = error.root_cause().downcast_ref().and_then(io::Error::raw_os_error);
            match number.map(Errno::from_raw_os_error) {
                // The process, or the system, has no file descriptor left; the file may be intact.
                Some(Errno::MFILE | Errno::NFILE) => OpenError::TooManyDownloads,
                _ => OpenError::Damaged(error),
            }
        })
    }
}

impl OpenFile {
    fn open(path: &Path, kind: ContentKind, integrity: Integrity) -> anyhow::Result<Self> {
        let file = File::open(path)?;
        let (found, published) = (file.metadata()?.len(), integrity.size());
        ensure!(
            kind.size_matches(published, found),
            "it has {found} bytes, not the {published} that were published"
        );
        Ok(Self { file, map: None, map_start: 0, integrity })
    }

    /// Maps `part`, and brings its pages into memory, which may block on the disk.
    fn map(&mut self, part: &Range<u64>) -> io::Result<()> {
        let mut options = MmapOptions::new();
        options.offset(part.start).len((part.end - part.start) as usize).populate();
        // SAFETY: this program only replaces published files by rename, and appends to a ledger. If another
        // process truncates one, no code here touches the mapped bytes: the kernel copies them to a socket, and reports EFAULT.
        self.map = Some(unsafe { options.map(&self.file)? });
        self.map_start = part.start;
        Ok(())
    }

    /// Reads the rest of the chunk that `left` begins in, and compares it; blocks on the disk.
    fn read(&self, left: &Range<u64>) -> io::Result<Bytes> {
        let (start, skip) = (left.start - left.start % CHUNK, (left.start % CHUNK) as usize);
        let mut chunk = Vec::new();
        self.integrity.read_chunk(&self.file, start, &mut chunk)?;
        let end = chunk.len().min((left.end - start) as usize);
        Ok(Bytes::from(chunk).slice(skip..end))
    }
}

/// A piece of a mapped file.
struct MappedPiece {
    file: Arc<OpenFile>,
    range: Range<usize>,
}

impl AsRef<[u8]> for MappedPiece {
    fn as_ref(&self) -> &[u8] {
        let map = self.file.map.as_deref();
        map.and_then(|map| map.get(self.range.clone())).unwrap_or_default()
    }
}

impl FileBody {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let end = self.left.end.min(self.left.start + MAPPED_PIECE);
        let piece = self.left.start..end;
        let is_verified = || self.verified.is_some_and(|verified| verified.is_current(&self.file.file));
        if self.loading.is_none() && self.file.map.is_some() && is_verified() {
            return Poll::Ready(Ok(self.mapped(piece)));
        }
        let loading = self.loading.get_or_insert_with(|| {
            let (file, piece) = (Arc::clone(&self.file), piece.clone());
            spawn_blocking(move || match file.map {
                Some(_) => file.integrity.compare(&file.file, &piece).map(|()| Bytes::new()),
                None => file.read(&piece),
            })
        });
        let loaded = ready!(Pin::new(loading).poll(cx));
        self.loading = None;
        let loaded = loaded.map_err(io::Error::other).flatten()?;
        Poll::Ready(Ok(match self.file.map {
            Some(_) => self.mapped(piece),
            None => loaded,
        }))
    }

    fn mapped(&self, piece: Range<u64>) -> Bytes {
        let start = self.file.map_start;
        Bytes::from_owner(MappedPiece {
            file: Arc::clone(&self.file),
            range: (piece.start - start) as usize..(piece.end - start) as usize,
        })
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match self.get_mut() {
            Self::Memory(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Self::Memory(bytes) => Ok(std::mem::take(bytes)),
            Self::File(file) if file.left.is_empty() => return Poll::Ready(None),
            Self::File(file) => {
                let piece = ready!(file.poll_piece(cx));
                match &piece {
                    Ok(piece) => file.left.start += piece.len() as u64,
                    Err(error) => {
                        tracing::error!(%error, "failed to read a published file during a download");
                        file.left.start = file.left.end;
                    }
                }
                piece
            }
            Self::Object(object) if object.left == 0 => return Poll::Ready(None),
            Self::Object(object) => {
                let piece = ready!(object.poll_piece(cx));
                match &piece {
                    Ok(piece) => object.left -= piece.len() as u64,
                    Err(error) => {
                        tracing::error!(%error, "failed to read an archive from the bucket during a download");
                        object.left = 0;
                    }
                }
                piece
            }
        };
        Poll::Ready(Some(piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(file) => file.left.end - file.left.start,
            Self::Object(object) => object.left,
        })
    }
}
