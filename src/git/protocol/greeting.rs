//! Parses the greeting of a server and its list of refs (gitprotocol-pack(5), gitprotocol-v2(5)). Only refs that are wanted are
//! kept: some hosts list one for each pull request.

use std::collections::BTreeSet;

use gix_packetline::PacketLineRef;

use super::super::error::{FetchErrorKind, RepositoryFormat};
use super::super::object_id::{ObjectId, Ref};
use super::super::ref_diff::RefFilter;
use super::super::transport::Version;
use super::packets::Packets;

/// The capabilities that matter here; all others are dropped as they arrive. In version 2 `shallow` is one of `fetch`.
const KNOWN: [&str; 5] = ["shallow", "side-band-64k", "side-band", "thin-pack", "ofs-delta"];

/// What a server offers.
#[derive(Debug, Default)]
pub(super) struct Capabilities {
    names: BTreeSet<&'static str>,
    /// The first one that is named is that of the list of refs (gitprotocol-capabilities(5)).
    object_format: Option<String>,
}

impl Capabilities {
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// `NAME` or `NAME=VALUE`.
    fn add(&mut self, capability: &str) {
        match capability.split_once('=') {
            None => self.names.extend(known(capability)),
            Some(("fetch", features)) => self.names.extend(features.split(' ').find_map(known)),
            Some(("object-format", format)) => {
                self.object_format.get_or_insert_with(|| format.to_owned());
            }
            Some(_) => {}
        }
    }

    fn check_format(&self) -> Result<(), FetchErrorKind> {
        match self.object_format.as_deref() {
            None | Some("sha1") => Ok(()),
            Some("sha256") => Err(FetchErrorKind::Unsupported(RepositoryFormat::Sha256)),
            Some(other) => Err(FetchErrorKind::Unsupported(RepositoryFormat::Extension(other.to_owned()))),
        }
    }
}

fn known(name: &str) -> Option<&'static str> {
    KNOWN.into_iter().find(|known| *known == name)
}

/// The refs that are kept of a list, and how many there are.
#[derive(Debug, Default)]
pub(super) struct RefList {
    refs: Vec<Ref>,
    found: usize,
}

impl RefList {
    /// Adds the ref of a line `ID NAME`, perhaps with attributes after them; names that are not UTF-8 cannot be wanted.
    fn add(&mut self, line: &[u8], filter: &RefFilter, limit: usize) -> Result<(), FetchErrorKind> {
        let mut words = line.split(|byte| *byte == b' ').map(str::from_utf8);
        let id = words.next().and_then(Result::ok).and_then(|id| id.parse::<ObjectId>().ok());
        let Some(id) = id else {
            return Err(not_git(line));
        };
        let Some(Ok(name)) = words.next() else { return Ok(()) };
        // Among those that are not refs are `HEAD` and, for what an annotated tag points to, `refs/tags/NAME^{}`.
        if filter.admits(name, id) && name.starts_with("refs/") && git2::Reference::is_valid_name(name) {
            self.found += 1;
            if self.found <= limit {
                self.refs.push(Ref { name: name.to_owned(), id });
            }
        }
        Ok(())
    }

    /// The refs, if they are not more than `limit`.
    pub(super) fn within(self, limit: usize) -> Result<Vec<Ref>, FetchErrorKind> {
        match self.found <= limit {
            true => Ok(self.refs),
            false => Err(FetchErrorKind::TooManyRefs { refs: self.found, limit }),
        }
    }
}

/// The first answer of a server.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    pub version: Version,
    pub capabilities: Capabilities,
    /// In version 0 only; version 2 waits to be asked.
    pub refs: RefList,
    /// The commits whose parents the server itself lacks; in version 0 only.
    pub shallow: Vec<ObjectId>,
}

impl Greeting {
    pub(super) fn read(
        packets: &mut Packets<'_>,
        filter: &RefFilter,
        limit: usize,
    ) -> Result<Self, FetchErrorKind> {
        let mut greeting = Self::default();
        while let PacketLineRef::Data(line) = packets.next()? {
            let line = line.trim_ascii_end();
            if line.starts_with(b"# service=") {
                // Only over http, and before a flush packet of its own.
                packets.next()?;
            } else if line == b"version 2" {
                greeting.version = Version::V2;
            } else if greeting.version == Version::V2 {
                greeting.capabilities.add(&String::from_utf8_lossy(line));
            } else if let Some(id) = line.strip_prefix(b"shallow ") {
                greeting.shallow.push(object_id(id)?);
            } else if line != b"version 1" {
                greeting.add_first_or_other(line, filter, limit)?;
            }
        }
        greeting.capabilities.check_format()?;
        Ok(greeting)
    }

    /// In version 0 the capabilities follow the first ref, after a zero byte.
    fn add_first_or_other(
        &mut self,
        line: &[u8],
        filter: &RefFilter,
        limit: usize,
    ) -> Result<(), FetchErrorKind> {
        let mut parts = line.splitn(2, |byte| *byte == 0);
        let line = parts.next().unwrap_or_default();
        if let Some(capabilities) = parts.next() {
            let capabilities = String::from_utf8_lossy(capabilities);
            capabilities.split_ascii_whitespace().for_each(|capability| self.capabilities.add(capability));
            // Ids in another format would not be ids to us.
            self.capabilities.check_format()?;
        }
        self.refs.add(line, filter, limit)
    }
}

/// The answer to `ls-refs`.
pub(super) fn read_refs(
    packets: &mut Packets<'_>,
    filter: &RefFilter,
    limit: usize,
) -> Result<Vec<Ref>, FetchErrorKind> {
    let mut list = RefList::default();
    while let PacketLineRef::Data(line) = packets.next()? {
        list.add(line.trim_ascii_end(), filter, limit)?;
    }
    list.within(limit)
}

pub(super) fn object_id(text: &[u8]) -> Result<ObjectId, FetchErrorKind> {
    let id = str::from_utf8(text).ok().and_then(|id| id.trim_ascii().parse().ok());
    id.ok_or_else(|| not_git(text))
}

pub(super) fn not_git(line: &[u8]) -> FetchErrorKind {
    let start = String::from_utf8_lossy(&line[..line.len().min(80)]);
    FetchErrorKind::NotGit { reason: format!("it has the line `{start}`") }
}
