//! packages.json: which packages there are, how they are asked for, and what its operator says. Pure.

use serde_json::{Map, Value, json};

use super::{BaseUrl, catalog, hints};
use crate::config::Hints;
use crate::digest::Sha1;

/// What packages.json is made from.
pub(super) struct Root<'a> {
    pub base: &'a BaseUrl,
    pub hints: &'a Hints,
    pub names: &'a [String],
    /// The path of the include, and its digest.
    pub include: (&'a str, Sha1),
    /// Whether any package provides another.
    pub has_providers: bool,
}

impl Root<'_> {
    pub fn render(&self) -> serde_json::Result<Vec<u8>> {
        let (path, sha1) = self.include;
        let mut root = Map::from_iter([
            ("packages".to_owned(), json!([])),
            ("includes".to_owned(), json!({ path: { "sha1": sha1 } })),
            (
                "metadata-url".to_owned(),
                self.base.from_host("p2/%package%.json").into(),
            ),
            ("available-packages".to_owned(), self.names.into()),
        ]);
        root.extend(told(self.base, self.hints));
        if self.has_providers {
            root.insert("providers-api".into(), catalog::providers_api(self.base).into());
        }
        serde_json::to_vec_pretty(&root)
    }
}

/// What it says whatever the packages are.
fn told(base: &BaseUrl, hints: &Hints) -> Map<String, Value> {
    let addresses = catalog::addresses(base);
    let addresses = addresses
        .into_iter()
        .map(|(key, url)| (key.to_owned(), url.into()));
    addresses.chain(hints::of(hints)).collect()
}

/// Whether a packages.json is as this program makes it for these hints, whatever packages it names.
pub fn is_current(root: &[u8], base: &BaseUrl, hints: &Hints) -> bool {
    let Ok(Value::Object(mut root)) = serde_json::from_slice(root) else {
        return false;
    };
    let told = told(base, hints);
    root.retain(|key, _| told.contains_key(key) || hints::KEYS.contains(&key.as_str()));
    root == told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Message;

    #[test]
    fn a_root_is_current_until_what_it_tells_is_another() {
        let base = BaseUrl::new("https://mirror.example.com/m/".parse().unwrap());
        let hints = Hints {
            infos: vec![Message {
                message: "hello".into(),
                versions: "*".into(),
            }],
            ..Hints::default()
        };
        let root = Root {
            base: &base,
            hints: &hints,
            names: &["acme/a".to_owned()],
            include: ("include/x.json", Sha1::of(b"x")),
            has_providers: true,
        };
        let bytes = root.render().unwrap();
        assert!(is_current(&bytes, &base, &hints));
        assert!(!is_current(&bytes, &base, &Hints::default()));
        let other = BaseUrl::new("https://mirror.example.com/n/".parse().unwrap());
        assert!(!is_current(&bytes, &other, &hints));
        for key in ["search", "list", "infos"] {
            let mut older: Map<String, Value> = serde_json::from_slice(&bytes).unwrap();
            older.remove(key);
            let older = serde_json::to_vec(&older).unwrap();
            assert!(!is_current(&older, &base, &hints), "without {key}");
        }
        assert!(!is_current(b"[]", &base, &hints));
    }
}
