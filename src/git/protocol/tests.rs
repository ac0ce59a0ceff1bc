//! Whatever a server sends, only what is wanted is kept, and what does not end is not read to its end.

use std::io::{Cursor, Read, empty};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const ID: &str = "d670460b4b4aece5915caf5c68d12f560a9fe3e4";
const V2: &str = "version 2\n";
const CAPABILITIES: &str = "shallow side-band-64k thin-pack ofs-delta";

/// What reading in pieces may take beyond a limit.
const BUFFER: usize = 64 << 10;

/// The bytes of one answer.
type Answer = Box<dyn Read + Send>;

/// The same bytes again and again.
struct Cycle(Cursor<Vec<u8>>);

impl Read for Cycle {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.0.position() == self.0.get_ref().len() as u64 {
            self.0.set_position(0);
        }
        self.0.read(into)
    }
}

/// A server with an answer to each request, perhaps an endless one.
struct Server<A> {
    answers: A,
    sent: Arc<AtomicUsize>,
}

struct Answers {
    current: Answer,
    next: std::vec::IntoIter<Answer>,
    sent: Arc<AtomicUsize>,
}

impl<A: Fn() -> Vec<Answer> + Send + Sync + 'static> SmartTransport for Server<A> {
    fn is_stateless(&self) -> bool {
        true
    }

    fn host(&self) -> String {
        "git.example".to_owned()
    }

    fn open(&self) -> Result<Box<dyn RemoteStream>, FetchErrorKind> {
        let mut next = (self.answers)().into_iter();
        let current = next.next().unwrap();
        Ok(Box::new(Answers { current, next, sent: Arc::clone(&self.sent) }))
    }
}

impl RemoteStream for Answers {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, FetchErrorKind> {
        let count = self.current.read(into).unwrap();
        self.sent.fetch_add(count, Ordering::Relaxed);
        Ok(count)
    }

    fn write(&mut self, _: &[u8], _: Version) -> Result<(), FetchErrorKind> {
        self.current = self.next.next().unwrap_or_else(|| Box::new(empty()));
        self.sent.store(0, Ordering::Relaxed);
        Ok(())
    }
}

fn packet(line: impl AsRef<[u8]>) -> Vec<u8> {
    let line = line.as_ref();
    [format!("{:04x}", line.len() + 4).as_bytes(), line].concat()
}

/// These lines, and a flush packet.
fn lines(lines: &[&str]) -> Answer {
    let bytes: Vec<u8> = lines.iter().flat_map(packet).chain(*b"0000").collect();
    Box::new(Cursor::new(bytes))
}

/// These lines, and then one again and again.
fn endless(first: &[&str], again: String) -> Answer {
    let first: Vec<u8> = first.iter().flat_map(packet).collect();
    Box::new(Cursor::new(first).chain(Cycle(Cursor::new(packet(again)))))
}

/// Lists the refs of a server, of which there may be three, and fetches. Returns the names of the refs, the error, and how
/// many bytes of the last answer were read.
fn converse(
    answers: impl Fn() -> Vec<Answer> + Send + Sync + 'static,
) -> (Vec<String>, Option<FetchErrorKind>, usize) {
    converse_within(MIN_LISTING, answers)
}

/// The same with a size limit of a list of refs.
fn converse_within(
    max_bytes: usize,
    answers: impl Fn() -> Vec<Answer> + Send + Sync + 'static,
) -> (Vec<String>, Option<FetchErrorKind>, usize) {
    let sent = Arc::new(AtomicUsize::new(0));
    let server = Server { answers, sent: Arc::clone(&sent) };
    let (filter, cancel) = (RefFilter::default(), CancelFlag::default());
    let (refs, error) = match Session::open_within(&server, &filter, 3, max_bytes, &cancel) {
        Err(error) => (Vec::new(), Some(error)),
        Ok(mut session) => {
            let fetched = session.fetch(&FetchRequest::default(), |_| Ok(()));
            (session.refs.into_iter().map(|found| found.name).collect(), fetched.err())
        }
    };
    (refs, error, sent.load(Ordering::Relaxed))
}

#[test]
fn endless_lists_of_refs_and_capabilities_end_at_the_limit() {
    // Large enough for many packets, and small enough to be read ten times.
    const LIMIT: usize = 1 << 20;
    let long = "x".repeat(60_000);
    let unwanted = format!("{ID} refs/pull/{long}\n");
    let wanted = format!("{ID} refs/tags/1.0\n");
    for (first, again) in [
        (&[][..], unwanted.clone()),
        (&[], wanted.repeat(1000)),
        (&[&*wanted], unwanted.clone()),
        (&[], format!("{ID} HEAD\0{long}\n")),
        (&[], format!("{ID} HEAD\0{}\n", "x ".repeat(30_000))),
        (&[V2], long.clone()),
        (&[V2], format!("fetch={long}")),
        (&[V2], format!("object-format=sha1 {long}")),
    ] {
        let first: Vec<_> = first.iter().map(|&line| line.to_owned()).collect();
        let answers =
            move || vec![endless(&first.iter().map(|line| &**line).collect::<Vec<_>>(), again.clone())];
        let (_, error, sent) = converse_within(LIMIT, answers);
        assert!(matches!(error, Some(FetchErrorKind::RefsTooLong { limit: LIMIT })), "{error:?}");
        assert!((LIMIT..=LIMIT + BUFFER).contains(&sent), "{sent}");
    }
    // An answer to `ls-refs`.
    let list = unwanted.clone();
    let (_, error, sent) =
        converse_within(LIMIT, move || vec![lines(&[V2, "ls-refs"]), endless(&[], list.clone())]);
    assert!(matches!(error, Some(FetchErrorKind::RefsTooLong { limit: LIMIT })), "{error:?}");
    assert!((LIMIT..=LIMIT + BUFFER).contains(&sent), "{sent}");

    let sent = Arc::new(AtomicUsize::new(0));
    let server = Server { answers: move || vec![endless(&[], unwanted.clone())], sent: Arc::clone(&sent) };
    let error = Session::open(&server, &RefFilter::default(), 3, &CancelFlag::default()).err();
    assert!(matches!(error, Some(FetchErrorKind::RefsTooLong { limit: MIN_LISTING })), "{error:?}");
    let sent = sent.load(Ordering::Relaxed);
    assert!((MIN_LISTING..=MIN_LISTING + BUFFER).contains(&sent), "{sent}");
}

#[test]
fn refs_beyond_the_limit_are_counted_and_not_kept() {
    let wanted: Vec<_> = (0..5).map(|n| format!("{ID} refs/tags/{n}\n")).collect();
    for version in [Version::V0, Version::V2] {
        for count in [3, 5] {
            let wanted = wanted.clone();
            let (refs, error, _) = converse(move || {
                let list: Vec<_> = wanted.iter().take(count).map(String::as_str).collect();
                match version {
                    Version::V0 => vec![lines(&list)],
                    Version::V2 => vec![lines(&[V2]), lines(&list)],
                }
            });
            match count {
                3 => assert_eq!(refs, ["refs/tags/0", "refs/tags/1", "refs/tags/2"]),
                _ => assert!(
                    matches!(error, Some(FetchErrorKind::TooManyRefs { refs: 5, limit: 3 })),
                    "{error:?}"
                ),
            }
        }
    }
}

#[test]
fn lines_before_a_pack_end() {
    for line in ["shallow", "unshallow", "ACK", "NAK"] {
        let line = if line == "NAK" { line.to_owned() } else { format!("{line} {ID}") };
        let greeting = format!("{ID} HEAD\0{CAPABILITIES}\n");
        let (_, error, sent) = converse(move || vec![lines(&[&greeting]), endless(&[], line.clone())]);
        assert!(matches!(error, Some(FetchErrorKind::NotGit { .. })), "{error:?}");
        assert!(sent <= MAX_LINES * 54 + BUFFER, "{sent}");
    }
}

#[test]
fn any_sequence_of_lines_ends_with_refs_that_are_wanted_or_an_error() {
    let mut random = fastrand::Rng::with_seed(22);
    let pieces: Vec<Vec<u8>> = [
        "# service=git-upload-pack\n",
        "version 1\n",
        V2,
        "object-format=sha1",
        "fetch=shallow filter",
        "NAK\n",
        "packfile\n",
        "shallow-info\n",
        "acknowledgments\n",
        "ready\n",
        "\u{1}PACK",
        "\u{2}counting\n",
        "\u{4}",
        "\u{e9}\0\0",
    ]
    .iter()
    .map(|text| packet(*text))
    .chain(["0000", "0001", "0002", "0003", "0004", "zzzz", "ffff"].map(Into::into))
    .chain(
        ["HEAD", "refs/heads/main", "refs/tags/1.0", "refs/tags/..", "refs/tags/1.0^{}", ""]
            .map(|name| packet(format!("{ID} {name}\n"))),
    )
    .chain([packet(format!("{ID} refs/tags/1.1\0{CAPABILITIES}"))])
    .chain(["shallow", "unshallow", "ACK"].map(|word| packet(format!("{word} {ID}\n"))))
    .chain([packet("shallow x"), packet(b"\xff\xfe refs/tags/x")])
    .collect();
    let (mut complete, mut with_refs) = (0, 0);
    for round in 0..20_000 {
        // Most begin well.
        let mut answers: Vec<Vec<u8>> = match round % 3 {
            0 => vec![packet(format!("{ID} refs/tags/1.1\0{CAPABILITIES}"))],
            1 => vec![packet(V2), Vec::new()],
            _ => vec![Vec::new()],
        };
        answers.push(Vec::new());
        for answer in &mut answers {
            for _ in 0..random.usize(0..5) {
                answer.extend(&pieces[random.usize(0..pieces.len())]);
            }
            answer.extend(b"0000");
        }
        let given = answers.clone();
        let (refs, error, _) = converse(move || {
            given.iter().map(|bytes| Box::new(Cursor::new(bytes.clone())) as Answer).collect()
        });
        complete += usize::from(error.is_none());
        with_refs += usize::from(!refs.is_empty());
        let is_wanted = |name: &String| ["refs/tags/1.0", "refs/tags/1.1"].contains(&&**name);
        assert!(refs.len() <= 3 && refs.iter().all(is_wanted), "{refs:?} of {answers:?}");
    }
    assert!(complete > 100 && with_refs > 1000, "{complete} and {with_refs}");
}
