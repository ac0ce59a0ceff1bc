//! Unix sockets to listen on, and the permissions of their files.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tokio::net::{UnixListener, UnixSocket};

use crate::config::UnixAddress;

/// Connections that wait to be accepted, as for TCP.
const BACKLOG: u32 = 1024;

/// The groups of the machine, in group(5). The C library's look-up needs modules that a static binary cannot load.
const GROUPS: &str = "/etc/group";

/// Replaces a socket that a killed process left behind, but nothing else.
pub(super) fn bind(address: &UnixAddress) -> Result<UnixListener> {
    let path = &address.path;
    let context = || format!("failed to listen on `{address}`");
    if let Ok(found) = fs::symlink_metadata(path) {
        ensure!(
            found.file_type().is_socket(),
            "failed to listen on `{address}`: the file exists and is not a socket\nhint: choose another path, or remove `{}`",
            path.display()
        );
        ensure!(
            UnixStream::connect(path).is_err(),
            "failed to listen on `{address}`: another process is listening there"
        );
        fs::remove_file(path).with_context(context)?;
    }
    let socket = UnixSocket::new_stream().with_context(context)?;
    socket.bind(path).with_context(context)?;
    // Before it listens, so that nobody connects who may not.
    let listener = set_access(address).and_then(|()| Ok(socket.listen(BACKLOG)?));
    listener.with_context(context).inspect_err(|_| remove(path))
}

/// Removes the file of a socket.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(%error, socket = %path.display(), "failed to remove the socket");
    }
}

fn set_access(address: &UnixAddress) -> Result<()> {
    let group = address.group.as_deref().map(group_id).transpose()?;
    if let (Some(id), Some(name)) = (group, &address.group) {
        chown(&address.path, None, Some(id)).with_context(|| {
            format!("failed to give it to the group `{name}`\nhint: is the user of the mirror in this group?")
        })?;
    }
    fs::set_permissions(&address.path, fs::Permissions::from_mode(address.mode))
        .context("failed to set its mode")?;
    if let Some(folder) = closed_folder(address, group) {
        let folder = folder.display();
        tracing::warn!(
            "a proxy that runs as another user cannot connect to `{address}`: it may not enter the folder `{folder}`\nhint: `chmod o+x {folder}`, or choose another folder; with `,mode=0600` it is for the mirror's own user"
        );
    }
    Ok(())
}

fn group_id(name: &str) -> Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let groups = fs::read_to_string(GROUPS).unwrap_or_default();
    let id = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    id.with_context(|| format!("`{GROUPS}` has no group `{name}`\nhint: a number is taken, too: group=33"))
}

/// The folder that keeps out users to whom the socket itself is open.
fn closed_folder(address: &UnixAddress, group: Option<u32>) -> Option<&Path> {
    let is_for_all = address.mode & 0o002 != 0;
    let group = group.filter(|_| address.mode & 0o020 != 0);
    if !is_for_all && group.is_none() {
        return None;
    }
    address.path.ancestors().skip(1).find(|folder| {
        let Ok(folder) = folder.metadata() else { return false };
        let is_open_to_group = !is_for_all && group == Some(folder.gid()) && folder.mode() & 0o010 != 0;
        folder.mode() & 0o001 == 0 && !is_open_to_group
    })
}
