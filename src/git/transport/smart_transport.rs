//! What git's smart protocol needs of a transport.

use super::super::error::FetchErrorKind;

/// Carries git's smart protocol to one repository.
pub trait SmartTransport {
    /// Whether each request is independent (http), instead of a part of one stream (ssh).
    fn is_stateless(&self) -> bool;
    /// The host, for messages.
    fn host(&self) -> String;
    /// Connects to `git-upload-pack`, with version 2 of the protocol if the server supports it. The first bytes to read are its
    /// greeting.
    fn open(&self) -> Result<Box<dyn RemoteStream>, FetchErrorKind>;
}

/// A conversation with a remote's `git-upload-pack`. Unlike those of `io::Read`, its errors are typed.
pub trait RemoteStream {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, FetchErrorKind>;
    /// Sends a whole request in the version of the server's greeting; the next bytes to read are the response.
    fn write(&mut self, request: &[u8], version: Version) -> Result<(), FetchErrorKind>;
}

/// A version of git's protocol. Version 1 is version 0 after one more line (gitprotocol-pack(5)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    #[default]
    V0,
    V2,
}
