//! A request as the pipeline sees it, whichever version of HTTP it came in.

use hyper::{Method, Version};

pub(super) struct Request<'r> {
    pub(super) method: Method,
    /// Of the target, as it came: not decoded.
    pub(super) path: &'r str,
    pub(super) query: Option<&'r str>,
    pub(super) version: Version,
    pub(super) fields: Fields<'r>,
}

/// The fields that decide over an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    AcceptEncoding,
    Authorization,
    Connection,
    ContentLength,
    Expect,
    Host,
    IfMatch,
    IfModifiedSince,
    IfNoneMatch,
    IfRange,
    IfUnmodifiedSince,
    Range,
    TransferEncoding,
}

impl Name {
    const fn as_str(self) -> &'static str {
        match self {
            Self::AcceptEncoding => "accept-encoding",
            Self::Authorization => "authorization",
            Self::Connection => "connection",
            Self::ContentLength => "content-length",
            Self::Expect => "expect",
            Self::Host => "host",
            Self::IfMatch => "if-match",
            Self::IfModifiedSince => "if-modified-since",
            Self::IfNoneMatch => "if-none-match",
            Self::IfRange => "if-range",
            Self::IfUnmodifiedSince => "if-unmodified-since",
            Self::Range => "range",
            Self::TransferEncoding => "transfer-encoding",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// At most two have the same length, so that most of a request's names are compared with one, or none.
    fn of(name: &str) -> Option<Self> {
        let (first, second) = match name.len() {
            4 => (Self::Host, None),
            5 => (Self::Range, None),
            6 => (Self::Expect, None),
            8 => (Self::IfMatch, Some(Self::IfRange)),
            10 => (Self::Connection, None),
            13 => (Self::Authorization, Some(Self::IfNoneMatch)),
            14 => (Self::ContentLength, None),
            15 => (Self::AcceptEncoding, None),
            17 => (Self::IfModifiedSince, Some(Self::TransferEncoding)),
            19 => (Self::IfUnmodifiedSince, None),
            _ => return None,
        };
        let is = |known: &Self| is_spelled(name.as_bytes(), known.as_str().as_bytes());
        Some(first).filter(is).or_else(|| second.filter(is))
    }
}

/// Whether two names of the same length are one but for capitals; `known` has none. Names are tokens: what this bit makes a
/// small letter or a hyphen was one, or a capital.
fn is_spelled(name: &[u8], known: &[u8]) -> bool {
    const SMALL: u8 = 0x20;
    const WORD: usize = size_of::<u64>();
    let ((words, rest), (known_words, known_rest)) = (name.as_chunks::<WORD>(), known.as_chunks::<WORD>());
    let is_word = |(word, known): (&[u8; WORD], &[u8; WORD])| {
        u64::from_ne_bytes(*word) | u64::from_ne_bytes([SMALL; WORD]) == u64::from_ne_bytes(*known)
    };
    words.iter().zip(known_words).all(is_word)
        && rest
            .iter()
            .zip(known_rest)
            .all(|(byte, known)| byte | SMALL == *known)
}

/// A field of its header.
struct Field<'r> {
    known: Option<Name>,
    name: &'r str,
    value: &'r [u8],
}

/// All of them, in the order in which they came.
pub(super) struct Fields<'r> {
    all: Vec<Field<'r>>,
    /// A bit for each name that is there: a request is asked for a dozen of them, and most have three.
    known: u16,
    /// A bit for each that is there more than once.
    repeated: u16,
}

/// From names, which are tokens (RFC 9110 section 5.1), and values.
impl<'r> FromIterator<(&'r str, &'r [u8])> for Fields<'r> {
    fn from_iter<I: IntoIterator<Item = (&'r str, &'r [u8])>>(all: I) -> Self {
        let (mut known, mut repeated) = (0, 0);
        let all = all.into_iter().map(|(name, value)| {
            let field = Field {
                known: Name::of(name),
                name,
                value,
            };
            let bit = field.known.map_or(0, Name::bit);
            repeated |= known & bit;
            known |= bit;
            field
        });
        let all = all.collect();
        Self { all, known, repeated }
    }
}

impl<'r> Fields<'r> {
    fn named(&self, name: Name) -> impl Iterator<Item = &Field<'r>> {
        let all = if self.has(name) { &self.all[..] } else { &[] };
        all.iter().filter(move |field| field.known == Some(name))
    }

    pub(super) fn has(&self, name: Name) -> bool {
        self.known & name.bit() != 0
    }

    /// The values of a field; none for one that is not UTF-8.
    pub(super) fn values(&self, name: Name) -> impl Iterator<Item = Option<&'r str>> {
        self.named(name).map(|field| str::from_utf8(field.value).ok())
    }

    /// All that is listed in a field, however many lines it takes (RFC 9110 section 5.3).
    pub(super) fn list(&self, name: Name) -> impl Iterator<Item = &'r str> {
        let values = self.values(name).flatten();
        values.flat_map(|value| value.split(',')).map(str::trim)
    }

    /// The value of a field that is there exactly once.
    pub(super) fn only(&self, name: Name) -> Option<&'r str> {
        str::from_utf8(self.only_bytes(name)?).ok()
    }

    /// The same, whether it is text or not.
    pub(super) fn only_bytes(&self, name: Name) -> Option<&'r [u8]> {
        if self.known & !self.repeated & name.bit() == 0 {
            return None;
        }
        self.named(name).next().map(|field| field.value)
    }

    /// Whether a field is there exactly once, with this value.
    pub(super) fn is_only(&self, name: Name, value: &str) -> bool {
        self.only_bytes(name) == Some(value.as_bytes())
    }

    /// The first value of a field with any name.
    pub(super) fn first(&self, name: &str) -> Option<&'r str> {
        let field = self
            .all
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))?;
        str::from_utf8(field.value).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_whatever_case_and_number_they_come() {
        let fields = Fields::from_iter([
            ("HOST", &b"x"[..]),
            ("Connection", b"a, b"),
            ("x-other", b"o"),
            ("connection", b"c"),
            ("Range", b"\xe4"),
        ]);
        assert_eq!(fields.only(Name::Host), Some("x"));
        assert_eq!(fields.only(Name::Connection), None);
        assert_eq!(fields.list(Name::Connection).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(fields.first("X-Other"), Some("o"));
        assert_eq!(fields.only_bytes(Name::Range), Some(&b"\xe4"[..]));
        assert_eq!(fields.only(Name::Range), None);
        assert!(fields.has(Name::Range) && !fields.has(Name::IfRange));
        assert!(fields.is_only(Name::Host, "x") && !fields.is_only(Name::Host, "y"));
        assert!(!fields.is_only(Name::Connection, "c"));
    }

    #[test]
    fn every_name_is_known_by_its_length() {
        for name in [
            Name::AcceptEncoding,
            Name::Authorization,
            Name::Connection,
            Name::ContentLength,
            Name::Expect,
            Name::Host,
            Name::IfMatch,
            Name::IfModifiedSince,
            Name::IfNoneMatch,
            Name::IfRange,
            Name::IfUnmodifiedSince,
            Name::Range,
            Name::TransferEncoding,
        ] {
            assert_eq!(Name::of(&name.as_str().to_uppercase()), Some(name));
        }
        assert_eq!(Name::of("hist"), None);
    }
}
