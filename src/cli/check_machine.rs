//! What `mirror check` finds on this machine that would keep the mirror from starting: a folder that cannot be written, a port that is
//! taken. These are warnings, because the configuration may be meant for another machine or user.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use crate::app::local_socket;
use crate::config::{Address, Config};
use crate::util::text::without_error_numbers;

/// `path` is where the configuration was searched.
pub(super) fn warnings(config: &Config, path: Option<&Path>) -> Vec<String> {
    let is_running = local_socket(path).connect().is_ok();
    let with_tls = config.serve.tls.iter().flat_map(|tls| &tls.listen);
    let addresses = config.serve.listen.iter().chain(with_tls).chain(&config.serve.admin);
    let ports = addresses.filter_map(|address| match address {
        Address::Tcp(address) => taken(*address, is_running),
        Address::Unix(_) => None,
    });
    unwritable(&config.data).into_iter().chain(ports).collect()
}

/// The data folder, or the existing folder in which it would be created, if this user may not write there.
fn unwritable(data: &Path) -> Option<String> {
    let existing = data.ancestors().find(|folder| folder.exists())?;
    access(existing, Access::WRITE_OK | Access::EXEC_OK).err()?;
    let (user, existing, data) = (geteuid().as_raw(), existing.display(), data.display());
    Some(format!(
        "user {user}, who runs this command, may not write to `{existing}`, which `data` ({data}) needs: give the user of the mirror write access"
    ))
}

/// Why the address cannot be listened on. The running mirror itself has its ports.
fn taken(address: SocketAddr, is_running: bool) -> Option<String> {
    let error = TcpListener::bind(address).err()?;
    let is_own = is_running && error.kind() == ErrorKind::AddrInUse;
    let reason = without_error_numbers(&error.to_string());
    (!is_own).then(|| format!("listening on `{address}` fails here: {reason}"))
}
