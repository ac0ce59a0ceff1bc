//! The kinds of content that a mirror publishes, with media type and cache policy.
//!
//! Content that never changes under its URL is cached for a year. Everything else is revalidated on every use, so that a new
//! release is visible at once. Shared caches may use it for a second: some, such as nginx, would store nothing otherwise, and
//! could not answer conditional requests. No proxy may compress or decompress, which would falsify digests.

const IMMUTABLE: &str = "max-age=31536000, immutable, no-transform";
const REVALIDATED: &str = "max-age=0, s-maxage=1, must-revalidate, no-transform";

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentKind {
    /// `packages.json`, `p2/…`, `mirror.json`: JSON that the next snapshot may change.
    Metadata,
    /// `search.json`, which accepts queries.
    Search,
    /// `list.json`, likewise.
    List,
    /// `include/all$<sha1>.json`: JSON that carries its digest in its name.
    ArchivedMetadata,
    /// A package's zip.
    Archive,
    /// `ledger.jsonl`, which is only appended to.
    Ledger,
    /// An HTML page.
    Page,
    /// What a page loads.
    Style,
    Script,
    /// Plain text, such as `lastupdate`.
    Text,
}

impl ContentKind {
    /// The label of its requests in the metrics.
    pub(super) fn route(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Search => "search",
            Self::List => "list",
            Self::ArchivedMetadata => "include",
            Self::Archive => "archive",
            Self::Ledger => "ledger",
            Self::Page => "page",
            Self::Style | Self::Script => "asset",
            Self::Text => "text",
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Metadata | Self::Search | Self::List | Self::ArchivedMetadata => "application/json",
            Self::Archive => "application/zip",
            Self::Ledger => "application/jsonl",
            Self::Page => "text/html; charset=utf-8",
            Self::Style => "text/css; charset=utf-8",
            Self::Script => "text/javascript; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    pub(super) fn cache_control(self) -> &'static str {
        match self {
            Self::Archive | Self::ArchivedMetadata => IMMUTABLE,
            _ => REVALIDATED,
        }
    }

    /// Whether it is JSON, which scripts of other web sites may read.
    pub(super) fn is_json(self) -> bool {
        matches!(self, Self::Metadata | Self::Search | Self::List | Self::ArchivedMetadata | Self::Ledger)
    }

    /// Whether it is kept in memory, because every Composer run requests it. Pages are as large as all of that together, and
    /// rarely requested.
    pub(super) fn keep_in_memory(self) -> bool {
        matches!(self, Self::Metadata | Self::Search | Self::List | Self::Style | Self::Script | Self::Text)
    }

    /// Whether a file on disk of `found` bytes can be the published one of `published` bytes.
    pub(super) fn size_matches(self, published: u64, found: u64) -> bool {
        match self {
            Self::Ledger => found >= published,
            _ => found == published,
        }
    }
}
