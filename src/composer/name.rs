//! Package names by Composer's rule (`ValidatingArrayLoader::hasPackageNamingError`).

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use regex::Regex;

#[expect(clippy::expect_used, reason = "a constant pattern, which the tests compile")]
static NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[a-z0-9]([_.-]?[a-z0-9]+)*/[a-z0-9](([_.]|-{1,2})?[a-z0-9]+)*$").expect("a valid pattern")
});

/// `vendor/name` in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackageName(Arc<str>);

/// A text that is not a package name.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a package name: Composer requires `vendor/name` in lower-case letters, digits, `-`, `.` and `_`"
)]
pub struct InvalidName(String);

impl FromStr for PackageName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if NAME.is_match(text) { Ok(Self(text.into())) } else { Err(InvalidName(text.to_owned())) }
    }
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
    fn package_names_follow_the_rule_of_composer() {
        for good in
            ["magento/module-catalog", "a/b", "mage-os/theme_x.y", "magento/zendframework1", "a.b/c--d"]
        {
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
        ] {
            assert!(bad.parse::<PackageName>().is_err(), "{bad:?}");
        }
    }
}
