//! Content codings (RFC 9110 section 8.4.1): their names in HTTP, and their compressors.
//!
//! Metadata is small and requested by every client, so it is compressed as far as possible. Archives are many and large,
//! so they need fast compressors, which brotli is not.

use std::io::{self, Read, Write};

/// A content coding of a published file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

/// log2 of the largest window that zstd may have over HTTP, 8 MiB (RFC 9659).
const MAX_WINDOW: u32 = 23;

/// How much time to spend on a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For metadata: as small as possible.
    Thorough,
    /// For archives.
    Fast,
}

impl Coding {
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// The codings that are used with this effort.
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

    /// The usual file name extension.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zst",
            Self::Gzip => "gz",
        }
    }

    /// Compresses `from`, which has `size` bytes, into `to`, and returns `to`. Knowing the size keeps the compressors'
    /// tables small.
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

/// Decompresses zstd, in the memory that HTTP allows for it.
pub fn decode_zstd(from: impl Read) -> io::Result<impl Read> {
    let mut decoder = zstd::Decoder::new(from)?;
    decoder.window_log_max(MAX_WINDOW)?;
    Ok(decoder)
}

/// log2 of the smallest window that contains `size` bytes, from brotli's minimum to 4 MiB, which is enough for metadata.
fn brotli_window(size: u64) -> i32 {
    (10..22).find(|bits| size <= 1 << bits).unwrap_or(22)
}
