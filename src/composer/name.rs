//! Package names by Composer's rule (`ValidatingArrayLoader::hasPackageNamingError`).

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use regex::Regex;

use crate::util::text::quoted;

#[expect(clippy::expect_used, reason = "a constant pattern, which the tests compile")]
static NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[a-z0-9]([_.-]?[a-z0-9]+)*/[a-z0-9](([_.]|-{1,2})?[a-z0-9]+)*$").expect("a valid pattern")
});

/// `vendor/name` in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackageName(Arc<str>);

/// Names that Windows reserves for devices.
const RESERVED: [&str; 4] = ["nul", "con", "prn", "aux"];

/// A text that is not a package name.
#[derive(Debug, thiserror::Error)]
pub enum InvalidName {
    #[error(
        "`{}` is not a package name: Composer requires `vendor/name` in lower-case letters, digits, `-`, `.` and `_`", quoted(.0)
    )]
    Malformed(String),
    #[error(
        "Composer rejects the package name `{}`: Windows reserves `nul`, `con`, `prn`, `aux`, `com1` to `com9` and `lpt1` to `lpt9`", quoted(.0)
    )]
    Reserved(String),
    #[error("Composer rejects the package name `{}`, because it ends in `.json`", quoted(.0))]
    Json(String),
}

impl FromStr for PackageName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !NAME.is_match(text) {
            return Err(InvalidName::Malformed(text.to_owned()));
        }
        if text.split('/').any(is_reserved) {
            return Err(InvalidName::Reserved(text.to_owned()));
        }
        if text.ends_with(".json") {
            return Err(InvalidName::Json(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

fn is_reserved(part: &str) -> bool {
    let port = part.strip_prefix("com").or(part.strip_prefix("lpt"));
    RESERVED.contains(&part) || port.is_some_and(|number| matches!(number.as_bytes(), [b'1'..=b'9']))
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_composers_rule() {
        for good in [
            "magento/module-catalog",
            "a/b",
            "mage-os/theme_x.y",
            "magento/zendframework1",
            "a.b/c--d",
            "a/com10",
        ] {
            assert_eq!(good.parse::<PackageName>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "magento",
            "a/b/c",
            "../x",
            "a/..",
            "Magento/x",
            "a/b ",
            "-a/b",
            "a/b-",
            "a//b",
            "a/b\n",
            "a/\0",
            "con/x",
            "a/lpt9",
            "a/b.json",
        ] {
            assert!(bad.parse::<PackageName>().is_err(), "{bad:?}");
        }
    }
}
