//! Requirements of exactly one version: what a metapackage is made of.

use serde_json::Value;

use super::manifest::Manifest;
use super::version::Version;

impl Manifest {
    /// Whether Composer installs nothing for the package but what it requires.
    pub fn is_metapackage(&self) -> bool {
        self.0.get("type").and_then(Value::as_str) == Some("metapackage")
    }

    /// The required packages whose constraint allows exactly one version, such as `1.2.0`, `=1.2.0`, `1.2.0@beta` or
    /// `self.version`. Platform packages have no slash and are left out.
    pub fn exact_requirements(&self) -> impl Iterator<Item = (&str, Version)> {
        let links = self.0.get("require").and_then(Value::as_object);
        let own = self.version().ok().flatten();
        links.into_iter().flatten().filter_map(move |(name, constraint)| {
            let constraint = match constraint.as_str()?.trim() {
                "self.version" => own?,
                text => exact(text),
            };
            Some((name.as_str(), constraint.parse().ok()?)).filter(|_| name.contains('/'))
        })
    }
}

/// A constraint without `=` or `==` in front and without a stability at the end, which change nothing for one version.
fn exact(constraint: &str) -> &str {
    let version = constraint.trim_start_matches('=').trim_start();
    version.split_once('@').map_or(version, |(version, _)| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_requirements_are_found_in_every_spelling() {
        let manifest = Manifest::parse(
            br#"{"version": "2.0", "require": {"a/a": "1.0", "a/b": "=1.1", "a/c": "== 1.2", "a/d": "1.3@beta",
                "a/e": "self.version", "a/f": "^1", "a/g": "1.*", "a/h": ">=1.0", "a/i": "*", "php": "8.1.0", "ext-x": "1.0"}}"#,
        )
        .unwrap();
        let found: Vec<_> = manifest.exact_requirements().map(|(name, v)| format!("{name} {v}")).collect();
        assert_eq!(found, ["a/a 1.0", "a/b 1.1", "a/c 1.2", "a/d 1.3", "a/e 2.0"]);
    }
}
