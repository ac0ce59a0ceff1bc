//! What git's smart protocol needs of a transport.

use super::super::error::FetchErrorKind;

/// Carries git's smart protocol to one repository.
pub trait SmartTransport: Send + Sync + 'static {
    /// Whether each request is one of its own (http), instead of all going through one stream (ssh).
    fn is_stateless(&self) -> bool;
    /// The host, for messages.
    fn host(&self) -> String;
    /// Asks for `git-upload-pack`, in version 2 of the protocol if the server knows it. What is read first is its greeting.
    fn open(&self) -> Result<Box<dyn RemoteStream>, FetchErrorKind>;
}

/// A conversation with a remote's `git-upload-pack`. Unlike those of `io::Read`, its errors are typed.
pub trait RemoteStream: Send {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, FetchErrorKind>;
    /// Sends a whole request in the version that the server greeted with; what is read next is its answer.
    fn write(&mut self, request: &[u8], version: Version) -> Result<(), FetchErrorKind>;
}

/// A version of git's protocol. Version 1 is 0 with a line before it (gitprotocol-pack(5)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    #[default]
    V0,
    V2,
}
