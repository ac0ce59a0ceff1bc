//! What a git server answers, in either version of the protocol: no more refs are kept than may be, none that nobody wants,
//! and no pack comes before its boundary.
//!
//! The first byte of the input has the options, the rest are the answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror::git::{
    FetchErrorKind, FetchRequest, Received, RefFilter, RemoteStream, Session, SmartTransport, Version,
};
use mirror::util::cancel::CancelFlag;

/// What stands between two answers.
const NEXT: &[u8] = b"\n--\n";

/// A server that has its answers ready.
struct Server {
    is_stateless: bool,
    /// How many bytes of an answer arrive at once.
    piece: usize,
    answers: Vec<Vec<u8>>,
}

struct Answers {
    piece: usize,
    unread: Vec<u8>,
    next: std::vec::IntoIter<Vec<u8>>,
}

impl SmartTransport for Server {
    fn is_stateless(&self) -> bool {
        self.is_stateless
    }

    fn host(&self) -> String {
        "git.example".to_owned()
    }

    fn open(&self) -> Result<Box<dyn RemoteStream>, FetchErrorKind> {
        let mut next = self.answers.clone().into_iter();
        let unread = next.next().unwrap_or_default();
        Ok(Box::new(Answers { piece: self.piece, unread, next }))
    }
}

impl RemoteStream for Answers {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, FetchErrorKind> {
        let count = into.len().min(self.piece).min(self.unread.len());
        into[..count].copy_from_slice(&self.unread[..count]);
        self.unread.drain(..count);
        Ok(count)
    }

    fn write(&mut self, _: &[u8], _: Version) -> Result<(), FetchErrorKind> {
        self.unread = self.next.next().unwrap_or_default();
        Ok(())
    }
}

fn answers(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    while let Some(end) = bytes.windows(NEXT.len()).position(|window| window == NEXT) {
        answers.push(bytes[..end].to_vec());
        bytes = &bytes[end + NEXT.len()..];
    }
    answers.push(bytes.to_vec());
    answers
}

fuzz_target!(|input: &[u8]| {
    let Some((options, bytes)) = input.split_first() else { return };
    let max_refs = usize::from(options >> 1 & 7);
    let server = Server {
        is_stateless: options & 1 == 1,
        piece: 1 + usize::from(options >> 4) * 100,
        answers: answers(bytes),
    };
    let filter = RefFilter::new(&["main".to_owned()], &Default::default());
    let cancel = CancelFlag::default();
    let Ok(mut session) = Session::open(&server, &filter, max_refs, &cancel) else { return };
    assert!(session.refs.len() <= max_refs);
    assert!(session.refs.iter().all(|found| filter.admits(&found.name, found.id)));
    let mut boundaries = 0;
    let wants: Vec<_> = session.refs.iter().map(|found| found.id).collect();
    let request = FetchRequest { wants, without_history: session.can_be_shallow(), ..Default::default() };
    let fetched = session.fetch(&request, |part| {
        match part {
            Received::Boundary { shallow, unshallow } => {
                boundaries += 1;
                assert!((shallow.len() + unshallow.len()) * 48 <= bytes.len());
            }
            Received::Pack(part) => assert!(boundaries == 1 && part.len() <= bytes.len()),
        }
        Ok(())
    });
    assert!(boundaries <= 1 && (boundaries == 1 || fetched.is_err()));
    session.end();
});
