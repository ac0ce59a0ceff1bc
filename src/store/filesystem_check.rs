//! Tests the volume's file system before a writer depends on it.
//!
//! A writer refuses a file system without hard links, exclusive names and syncs, which the store requires. Memory,
//! network file systems, a container's own layer and low space are warnings.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context as _, bail};

use super::durable_fs;

/// File systems that are less reliable than a local disk, by their magic number in statfs(2), with the warning.
const UNRELIABLE: &[(u64, &str, &str)] = &[
    (0x0102_1994, "tmpfs", "its contents are lost on restart"),
    (0x8584_58f6, "ramfs", "its contents are lost on restart"),
    (0x794c_7630, "overlayfs", "this is probably the container's own layer: mount a volume there"),
    (0x6969, "NFS", "let only one instance build, and mount it with `hard` and without `nolock`"),
    (0xff53_4d42, "CIFS", "network shares may lose written data when the server restarts"),
    (0xfe53_4d42, "SMB2", "network shares may lose written data when the server restarts"),
    (0x6573_5546, "FUSE", "whether written data survives a crash depends on its driver"),
    (0x0102_1997, "9p", "whether written data survives a crash depends on the host"),
];

/// Warning thresholds: a cycle of a complete mirror writes more.
const LOW_SPACE: u64 = 1 << 30;
const LOW_INODES: u64 = 20_000;

/// The space on a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this user may still write.
    pub free: u64,
    /// Bytes.
    pub total: u64,
    /// Files that may still be created; `None` if the file system does not limit them.
    pub free_inodes: Option<u64>,
}

/// The space on the volume of `root`.
pub(super) fn space(root: &Path) -> anyhow::Result<Space> {
    let found = rustix::fs::statvfs(root)
        .with_context(|| format!("failed to read the free space on `{}`", root.display()))?;
    Ok(Space {
        free: found.f_bavail * found.f_frsize,
        total: found.f_blocks * found.f_frsize,
        free_inodes: (found.f_files > 0).then_some(found.f_favail),
    })
}

/// Warnings about the file system of `root` for its operator.
pub(super) fn warnings(root: &Path) -> anyhow::Result<Vec<String>> {
    let found = rustix::fs::statfs(root)
        .with_context(|| format!("failed to read the file system of `{}`", root.display()))?;
    // The type and sign of the field differ between architectures; the numbers have 32 bits.
    let magic = found.f_type as u64 & 0xffff_ffff;
    let mut warnings: Vec<_> = UNRELIABLE
        .iter()
        .filter(|(number, ..)| *number == magic)
        .map(|(_, name, why)| format!("`{}` is on {name}: {why}", root.display()))
        .collect();
    let space = space(root)?;
    if space.free < LOW_SPACE {
        warnings.push(format!("`{}` has only {} MiB left", root.display(), space.free >> 20));
    }
    if let Some(inodes) = space.free_inodes.filter(|inodes| *inodes < LOW_INODES) {
        warnings.push(format!("`{}` has only {inodes} inodes left", root.display()));
    }
    Ok(warnings)
}

/// Tries the operations of a publication in `folder`, and cleans up.
pub(super) fn check(folder: &Path) -> anyhow::Result<()> {
    let (file, link) = (folder.join("probe-a"), folder.join("probe-b"));
    durable_fs::write_new(&file, b"probe")?;
    let unsuitable = |reason: &str| {
        format!(
            "`{}` is on a file system that {reason}\nhint: use a local disk with ext4, xfs or btrfs",
            folder.display()
        )
    };
    fs::hard_link(&file, &link).with_context(|| unsuitable("cannot make hard links"))?;
    if !matches!(fs::hard_link(&file, &link), Err(error) if error.kind() == ErrorKind::AlreadyExists) {
        bail!(unsuitable("lets a hard link replace a file"));
    }
    if fs::symlink_metadata(folder.join("PROBE-A")).is_ok() {
        bail!(unsuitable("ignores the case of names"));
    }
    let (one, other) = (folder.join("probe-c"), folder.join("probe-d"));
    for folder in [&one, &other] {
        fs::create_dir(folder).with_context(|| unsuitable("cannot create folders"))?;
    }
    fs::rename(&link, other.join("entry")).with_context(|| unsuitable("cannot move files"))?;
    if durable_fs::rename_new(&one, &other).is_ok() {
        bail!(unsuitable("lets a folder replace another one"));
    }
    durable_fs::sync_directory(folder).with_context(|| unsuitable("cannot sync folders"))?;
    let clean_up = || -> io::Result<()> {
        fs::remove_dir_all(&other)?;
        fs::remove_dir(&one)?;
        fs::remove_file(&file)
    };
    clean_up().with_context(|| format!("failed to remove the probes in `{}`", folder.display()))
}
