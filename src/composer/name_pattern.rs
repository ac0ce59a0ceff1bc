//! Patterns of package names (`BasePackage::packageNameToRegexp`): `*` stands for any text, and case does not count.

use std::fmt;
use std::str::FromStr;

use super::name::{InvalidName, PackageName};

/// `vendor/name`, or a pattern such as `vendor/*` or `vendor/module-*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamePattern(String);

impl NamePattern {
    /// As other repositories write them: any text is a pattern.
    pub fn new(text: &str) -> Self {
        Self(text.to_ascii_lowercase())
    }

    /// The name, if it is the pattern of one name only.
    pub fn exact_name(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(self.0.as_str())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches a name in lower case.
    pub fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut left) = name.strip_prefix(first) else { return false };
        let mut parts: Vec<_> = rest.split('*').collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            match left.find(part) {
                Some(at) => left = &left[at + part.len()..],
                None => return false,
            }
        }
        left.ends_with(last)
    }
}

impl FromStr for NamePattern {
    type Err = InvalidName;

    /// With letters for its wildcards it has to be a package name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.replace('*', "x").parse::<PackageName>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(InvalidName::Malformed(text.to_owned())),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_any_text() {
        for (pattern, matching, others) in [
            ("acme/shop", "acme/shop", "acme/shop2 acme/sho"),
            ("acme/*", "acme/a acme/a-b", "acme2/a other/acme"),
            ("acme/mod-*", "acme/mod-a", "acme/mod acme/a-mod-b"),
            ("*/mod-*-x", "a/mod-b-x b/mod-c-d-x", "a/mod-x a/mod-b-xy"),
            ("a*a/a*a", "aa/aa aba/aca", "a/a a/aa"),
        ] {
            let pattern: NamePattern = pattern.parse().unwrap();
            assert!(matching.split(' ').all(|name| pattern.matches(name)), "{pattern}");
            assert!(!others.split(' ').any(|name| pattern.matches(name)), "{pattern}");
        }
        assert!("acme".parse::<NamePattern>().is_err() && "Acme/*".parse::<NamePattern>().is_err());
        assert!(NamePattern::new("Acme/*").matches("acme/a"));
    }
}
