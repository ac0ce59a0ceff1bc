//! git's smart protocol as a client, in the versions 0 and 2: the refs of a remote, and packs of its objects
//! (gitprotocol-pack(5), gitprotocol-v2(5)).
//!
//! Version 2 is asked for, because its servers list only the refs that the client names. What is fetched is known from the
//! start, so there is no negotiation: one request names what is wanted and what the clone has.

mod greeting;
mod packets;
#[cfg(test)]
mod tests;

use gix_packetline::{BandRef, PacketLineRef};

use greeting::{Capabilities, Greeting, not_git, object_id, read_refs};
use packets::{Packets, Request};

use super::error::FetchErrorKind;
use super::object_id::{ObjectId, Ref};
use super::ref_diff::RefFilter;
use super::transport::{RemoteStream, SmartTransport, Version};
use crate::util::cancel::CancelFlag;

/// The size limit of a list of refs is this many bytes for each ref that `limits.refs` allows.
const BYTES_PER_REF: usize = 256;

/// It is at least this, because servers of version 0 also list refs that are not wanted, such as those of pull requests.
const MIN_LISTING: usize = 64 << 20;

/// How many lines may come before a pack. Each names a commit whose parents are left out, or one that both sides have.
const MAX_LINES: usize = 1 << 20;

/// Features of packs that are used. Without `thin-pack`, a server would send files again that a shallow clone has.
const PACK_CAPABILITIES: [&str; 2] = ["thin-pack", "ofs-delta"];

/// A conversation with the `git-upload-pack` of a remote.
pub struct Session<'a> {
    stream: Box<dyn RemoteStream>,
    host: String,
    cancel: &'a CancelFlag,
    version: Version,
    capabilities: Capabilities,
    /// The refs that the filter admits.
    pub refs: Vec<Ref>,
    /// The commits whose parents the remote itself lacks, as far as it has said.
    shallow: Vec<ObjectId>,
    /// Whether the remote waits for another request.
    is_waiting: bool,
}

/// What to fetch.
#[derive(Debug, Default)]
pub struct FetchRequest {
    pub wants: Vec<ObjectId>,
    /// Commits that the clone has.
    pub haves: Vec<ObjectId>,
    /// Commits of the clone that lack their parents there.
    pub shallow: Vec<ObjectId>,
    /// Without the history of what is wanted.
    pub without_history: bool,
}

/// A part of the answer to a [`FetchRequest`].
pub enum Received<'a> {
    /// Commits whose parents will be missing, and commits whose parents will not be missing any more. Comes once, before the
    /// pack.
    Boundary { shallow: &'a [ObjectId], unshallow: &'a [ObjectId] },
    /// The next bytes of the pack.
    Pack(&'a [u8]),
}

impl<'a> Session<'a> {
    /// Connects, and lists the refs that `filter` admits; at most `max_refs`.
    pub fn open(
        transport: &dyn SmartTransport,
        filter: &RefFilter,
        max_refs: usize,
        cancel: &'a CancelFlag,
    ) -> Result<Self, FetchErrorKind> {
        let max_bytes = max_refs.saturating_mul(BYTES_PER_REF).max(MIN_LISTING);
        Self::open_within(transport, filter, max_refs, max_bytes, cancel)
    }

    /// The same with this size limit of a list of refs.
    fn open_within(
        transport: &dyn SmartTransport,
        filter: &RefFilter,
        max_refs: usize,
        max_bytes: usize,
        cancel: &'a CancelFlag,
    ) -> Result<Self, FetchErrorKind> {
        let host = transport.host();
        let mut stream = transport.open()?;
        let mut packets = Packets::with_limit(&mut *stream, &host, cancel, max_bytes);
        let Greeting { version, capabilities, refs, shallow } =
            Greeting::read(&mut packets, filter, max_refs)?;
        let refs = match version {
            Version::V0 => refs.within(max_refs)?,
            Version::V2 => {
                stream.write(list_request(filter).bytes(), version)?;
                let mut packets = Packets::with_limit(&mut *stream, &host, cancel, max_bytes);
                read_refs(&mut packets, filter, max_refs)?
            }
        };
        let is_waiting = !transport.is_stateless();
        Ok(Self { stream, host, cancel, version, capabilities, refs, shallow, is_waiting })
    }

    /// Whether the remote can leave out the history of commits.
    pub fn can_be_shallow(&self) -> bool {
        self.capabilities.has("shallow")
    }

    /// Downloads one pack with all that is wanted and all that it needs, but for what the clone has.
    pub fn fetch(
        &mut self,
        request: &FetchRequest,
        mut receive: impl FnMut(Received<'_>) -> Result<(), FetchErrorKind>,
    ) -> Result<(), FetchErrorKind> {
        let bytes = match self.version {
            Version::V0 => self.request_v0(request)?,
            Version::V2 => request_v2(request),
        };
        self.stream.write(bytes.bytes(), self.version)?;
        self.is_waiting &= self.version == Version::V2;
        let mut preamble = Preamble::default();
        // What a request does not ask to cut off is cut off where the remote's own history ends.
        if !request.without_history {
            preamble.shallow.clone_from(&self.shallow);
        }
        let mut packets = Packets::new(&mut *self.stream, &self.host, self.cancel);
        let mut has_begun = false;
        loop {
            let packet = packets.next()?;
            let line = match packet {
                PacketLineRef::Data(line) => line,
                // Before the pack, it ends the list of shallow commits.
                PacketLineRef::Flush if has_begun => return Ok(()),
                _ => continue,
            };
            // The numbers of side bands; other lines are text.
            if !line.first().is_some_and(|byte| (1..=3).contains(byte)) {
                preamble.add(line.trim_ascii_end())?;
                continue;
            }
            if !std::mem::replace(&mut has_begun, true) {
                let Preamble { shallow, unshallow, .. } = &preamble;
                receive(Received::Boundary { shallow, unshallow })?;
            }
            match packet.decode_band() {
                Ok(BandRef::Data(bytes)) => receive(Received::Pack(bytes))?,
                Ok(BandRef::Error(message)) => {
                    let message = String::from_utf8_lossy(message).trim().to_owned();
                    return Err(FetchErrorKind::Remote { message });
                }
                Ok(BandRef::Progress(_)) => {}
                Err(_) => return Err(not_git(line)),
            }
        }
    }

    /// The wanted objects with the capabilities to use, and in the same request what the clone has.
    fn request_v0(&self, fetch: &FetchRequest) -> Result<Request, FetchErrorKind> {
        let band = ["side-band-64k", "side-band"].into_iter().find(|name| self.capabilities.has(name));
        let Some(band) = band else {
            return Err(FetchErrorKind::NotGit { reason: "the server lacks `side-band-64k`".into() });
        };
        let mut capabilities = band.to_owned();
        for name in PACK_CAPABILITIES.into_iter().filter(|name| self.capabilities.has(name)) {
            capabilities.extend([" ", name]);
        }
        let mut request = Request::default();
        for (index, want) in fetch.wants.iter().enumerate() {
            match index {
                0 => request.line(&format!("want {want} {capabilities}")),
                _ => request.line(&format!("want {want}")),
            };
        }
        add_shallow(&mut request, fetch);
        request.flush();
        add_haves(&mut request, fetch);
        Ok(request)
    }

    /// Ends the conversation, so that the remote's git does not complain that somebody hung up.
    pub fn end(mut self) {
        if self.is_waiting {
            // All that was asked for has arrived.
            let _ = self.stream.write(Request::default().flush().bytes(), self.version);
        }
    }
}

fn list_request(filter: &RefFilter) -> Request {
    let mut request = Request::default();
    request.line("command=ls-refs").delimiter();
    for prefix in filter.prefixes() {
        request.line(&format!("ref-prefix {prefix}"));
    }
    request.flush();
    request
}

fn request_v2(fetch: &FetchRequest) -> Request {
    let mut request = Request::default();
    request.line("command=fetch").delimiter();
    for name in PACK_CAPABILITIES {
        request.line(name);
    }
    for want in &fetch.wants {
        request.line(&format!("want {want}"));
    }
    add_shallow(&mut request, fetch);
    add_haves(&mut request, fetch);
    request.flush();
    request
}

fn add_shallow(request: &mut Request, fetch: &FetchRequest) {
    for commit in &fetch.shallow {
        request.line(&format!("shallow {commit}"));
    }
    if fetch.without_history {
        request.line("deepen 1");
    }
}

fn add_haves(request: &mut Request, fetch: &FetchRequest) {
    for commit in &fetch.haves {
        request.line(&format!("have {commit}"));
    }
    request.line("done");
}

/// What is said before a pack.
#[derive(Debug, Default)]
struct Preamble {
    shallow: Vec<ObjectId>,
    unshallow: Vec<ObjectId>,
    lines: usize,
}

impl Preamble {
    fn add(&mut self, line: &[u8]) -> Result<(), FetchErrorKind> {
        self.lines += 1;
        if self.lines > MAX_LINES {
            return Err(FetchErrorKind::NotGit { reason: "its lines before the pack do not end".into() });
        }
        if let Some(id) = line.strip_prefix(b"shallow ") {
            self.shallow.push(object_id(id)?);
        } else if let Some(id) = line.strip_prefix(b"unshallow ") {
            self.unshallow.push(object_id(id)?);
        } else if !is_expected(line) {
            return Err(not_git(line));
        }
        Ok(())
    }
}

/// Whether a line belongs before a pack: acknowledgements and the names of sections.
fn is_expected(line: &[u8]) -> bool {
    let sections = [&b"acknowledgments"[..], b"ready", b"shallow-info", b"packfile"];
    line.starts_with(b"ACK ") || line == b"NAK" || sections.contains(&line)
}
