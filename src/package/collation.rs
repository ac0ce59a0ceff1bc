//! ICU's root collation, the order of JavaScript's `localeCompare`. The tailorings of languages are left out: they are not
//! needed and are most of the crate's data.

use std::cmp::Ordering;
use std::sync::LazyLock;

use icu_collator::Collator;
use icu_collator::options::CollatorOptions;
use icu_collator::provider::{
    Baked, CollationDiacriticsV1, CollationJamoV1, CollationMetadataV1, CollationReorderingV1,
    CollationRootV1, CollationSpecialPrimariesV1, CollationTailoringV1,
};
use icu_normalizer::provider::{Baked as Normalization, NormalizerNfdDataV1, NormalizerNfdTablesV1};
use icu_provider::{DataError, DataErrorKind, DataMarker as _, DataProvider, DataRequest, DataResponse};

/// Compares two strings by the root collation.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    ROOT.as_borrowed().compare(a, b)
}

static ROOT: LazyLock<Collator> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the data is compiled in, and a test compares with it")]
    Collator::try_new_unstable(&RootData, Default::default(), CollatorOptions::default())
        .expect("the root collation is built in")
});

struct RootData;

/// Loads these kinds of data from a crate's compiled-in data.
macro_rules! load_from {
    ($from:ident: $($kind:ident),+) => {$(
        impl DataProvider<$kind> for RootData {
            fn load(&self, request: DataRequest<'_>) -> Result<DataResponse<$kind>, DataError> {
                $from.load(request)
            }
        }
    )+};
}

load_from!(Baked: CollationRootV1, CollationDiacriticsV1, CollationJamoV1, CollationMetadataV1, CollationReorderingV1, CollationSpecialPrimariesV1);
load_from!(Normalization: NormalizerNfdDataV1, NormalizerNfdTablesV1);

impl DataProvider<CollationTailoringV1> for RootData {
    fn load(&self, request: DataRequest<'_>) -> Result<DataResponse<CollationTailoringV1>, DataError> {
        Err(DataErrorKind::IdentifierNotFound.with_req(CollationTailoringV1::INFO, request))
    }
}

#[cfg(test)]
mod tests {
    use icu_collator::CollatorBorrowed;

    use super::*;

    #[test]
    fn order_equals_that_of_the_full_data() {
        let all = CollatorBorrowed::try_new(Default::default(), CollatorOptions::default()).unwrap();
        let names = [
            "", "a", "A", "ä", "a\u{308}", "z", "Å", "o\u{338}", "ß", "_", "-", "10", "9", "a/b", "a-b",
            "a.b", "я", "ば", "は", "가", "각", "ก", "แก", "ཀ", "中", "\u{0}", "👍", "\u{fdfa}",
        ];
        for a in names {
            for b in names {
                assert_eq!(compare(a, b), all.compare(a, b), "{a:?} {b:?}");
            }
        }
    }
}
