//! Content codings (RFC 9110 section 8.4.1): the names that HTTP knows, and the compressors behind them.
//!
//! Metadata is small and asked for by everybody, so it is compressed as far as it goes. Archives are many and large:
//! for them a coding must be fast to make, and brotli is not.

use std::io::{self, Read, Write};

/// A coding in which a published file may also exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

/// How much time a variant is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Metadata: as small as can be.
    Thorough,
    /// Archives.
    Fast,
}

impl Coding {
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// The codings that are made with this effort.
    pub fn for_effort(effort: Effort) -> &'static [Self] {
        match effort {
            Effort::Thorough => &Self::ALL,
            Effort::Fast => &[Self::Zstd, Self::Gzip],
        }
    }

    /// Its name in `Accept-Encoding` and `Content-Encoding` (RFC 7932, RFC 8878, RFC 1952).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The usual ending of its files.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zst",
            Self::Gzip => "gz",
        }
    }

    /// Compresses all of `from`, so many bytes, into `to`, and gives `to` back. Known in advance, the size keeps the
    /// compressors' tables small.
    ///
    /// # Errors
    /// Of reading and of writing, and another size.
    pub fn encode<W: Write>(
        self,
        effort: Effort,
        size: u64,
        from: &mut impl Read,
        mut to: W,
    ) -> io::Result<W> {
        let thorough = effort == Effort::Thorough;
        match self {
            Self::Brotli => {
                let parameters = brotli::enc::BrotliEncoderParams {
                    quality: 11,
                    lgwin: brotli_window(size),
                    size_hint: usize::try_from(size).unwrap_or(usize::MAX),
                    ..Default::default()
                };
                brotli::BrotliCompress(from, &mut to, &parameters)?;
                Ok(to)
            }
            Self::Zstd => {
                let mut encoder = zstd::Encoder::new(to, if thorough { 19 } else { 3 })?;
                encoder.set_pledged_src_size(Some(size))?;
                io::copy(from, &mut encoder)?;
                encoder.finish()
            }
            Self::Gzip => {
                let level = flate2::Compression::new(if thorough { 9 } else { 5 });
                let mut encoder = flate2::write::GzEncoder::new(to, level);
                io::copy(from, &mut encoder)?;
                encoder.finish()
            }
        }
    }
}

/// log2 of the window that holds all of it, between what brotli allows and 4 MiB: metadata is hardly larger.
fn brotli_window(size: u64) -> i32 {
    (10..22).find(|bits| size <= 1 << bits).unwrap_or(22)
}
