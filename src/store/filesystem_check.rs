//! What the volume's file system can do, tried where a writer works before anything depends on it.
//!
//! Without hard links, exclusive names and syncs the promises of the store cannot be kept, so a writer refuses the
//! volume. What is only doubtful is a warning: memory, network file systems, a container's own layer, little space.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context as _, bail};

use super::durable_fs;

/// File systems that keep less than one on a local disk, by the magic number of statfs(2): what to say of them.
const DOUBTFUL: &[(u64, &str, &str)] = &[
    (0x0102_1994, "tmpfs", "it is gone after a restart"),
    (0x8584_58f6, "ramfs", "it is gone after a restart"),
    (
        0x794c_7630,
        "overlayfs",
        "this looks like the container's own layer: mount a volume there",
    ),
    (
        0x6969,
        "NFS",
        "let one instance build, mount it `hard`, and without `nolock`",
    ),
    (
        0xff53_4d42,
        "CIFS",
        "network shares may lose what was written when the server restarts",
    ),
    (
        0xfe53_4d42,
        "SMB2",
        "network shares may lose what was written when the server restarts",
    ),
    (
        0x6573_5546,
        "FUSE",
        "whether what was written survives a crash depends on its driver",
    ),
    (
        0x0102_1997,
        "9p",
        "whether what was written survives a crash depends on the host",
    ),
];

/// Below these a warning is due: a cycle of a whole mirror writes more.
const LITTLE_SPACE: u64 = 1 << 30;
const FEW_INODES: u64 = 20_000;

/// How much room a volume has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this user may still write.
    pub free: u64,
    /// Bytes.
    pub total: u64,
    /// Files that may still be created; `None` where the file system does not limit them.
    pub free_inodes: Option<u64>,
}

/// The room on the volume of `root`.
///
/// # Errors
/// Of the file system.
pub fn space(root: &Path) -> anyhow::Result<Space> {
    let found = rustix::fs::statvfs(root)
        .with_context(|| format!("failed to ask for the space on `{}`", root.display()))?;
    Ok(Space {
        free: found.f_bavail * found.f_frsize,
        total: found.f_blocks * found.f_frsize,
        free_inodes: (found.f_files > 0).then_some(found.f_favail),
    })
}

/// What an operator should know of the volume of `root`, each a sentence.
///
/// # Errors
/// Of the file system.
pub fn warnings(root: &Path) -> anyhow::Result<Vec<String>> {
    let found = rustix::fs::statfs(root)
        .with_context(|| format!("failed to ask for the file system of `{}`", root.display()))?;
    // The field's type and sign differ between architectures; the numbers have 32 bits.
    let magic = found.f_type as u64 & 0xffff_ffff;
    let mut doubts: Vec<_> = DOUBTFUL
        .iter()
        .filter(|(number, ..)| *number == magic)
        .map(|(_, name, why)| format!("`{}` is on {name}: {why}", root.display()))
        .collect();
    let space = space(root)?;
    if space.free < LITTLE_SPACE {
        doubts.push(format!("`{}` has {} MiB left", root.display(), space.free >> 20));
    }
    if let Some(inodes) = space.free_inodes.filter(|inodes| *inodes < FEW_INODES) {
        doubts.push(format!("`{}` has {inodes} inodes left", root.display()));
    }
    Ok(doubts)
}

/// Tries in `folder` what a publication needs, and leaves it as it was.
///
/// # Errors
/// The file system cannot do it, with what it lacks.
pub fn check(folder: &Path) -> anyhow::Result<()> {
    let (file, link) = (folder.join("probe-a"), folder.join("probe-b"));
    durable_fs::write_new(&file, b"probe")?;
    let unable = |what: &str| {
        format!(
            "`{}` is on a file system that {what}\nhint: use a local disk with ext4, xfs or btrfs",
            folder.display()
        )
    };
    fs::hard_link(&file, &link).with_context(|| unable("cannot make hard links"))?;
    if !matches!(fs::hard_link(&file, &link), Err(error) if error.kind() == ErrorKind::AlreadyExists) {
        bail!(unable("lets a hard link replace a file"));
    }
    if fs::symlink_metadata(folder.join("PROBE-A")).is_ok() {
        bail!(unable("does not tell upper from lower case"));
    }
    let (one, other) = (folder.join("probe-c"), folder.join("probe-d"));
    for folder in [&one, &other] {
        fs::create_dir(folder).with_context(|| unable("cannot create folders"))?;
    }
    fs::rename(&link, other.join("entry")).with_context(|| unable("cannot move files"))?;
    if durable_fs::rename_new(&one, &other).is_ok() {
        bail!(unable("lets a folder replace another one"));
    }
    durable_fs::sync_directory(folder).with_context(|| unable("cannot sync folders"))?;
    let cleared = || -> io::Result<()> {
        fs::remove_dir_all(&other)?;
        fs::remove_dir(&one)?;
        fs::remove_file(&file)
    };
    cleared().with_context(|| format!("failed to remove the probes in `{}`", folder.display()))
}
