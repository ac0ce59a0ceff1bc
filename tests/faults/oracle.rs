//! Everything that was ever served with 200. It never changes and never shrinks.

use std::collections::BTreeMap;

use mirror::util::digest::{Sha1, Sha256};
use serde_json::Value;

use crate::fixture::Verdict;
use crate::support::http::try_get;

/// The path of the repository in the fixture.
const BASE: &str = "/mirror/";

/// Digests by path below the base, of what must not change: archives, and metadata that is named by its digest.
#[derive(Default, Clone, Debug)]
pub struct Oracle {
    lasting: BTreeMap<String, Sha256>,
}

/// Everything that a repository serves at one moment.
#[derive(Debug, Default)]
pub struct Answers {
    pub lasting: BTreeMap<String, Sha256>,
    /// `packages.json` and the files below `p2/`.
    pub moving: BTreeMap<String, Sha256>,
}

impl Oracle {
    pub fn is_empty(&self) -> bool {
        self.lasting.is_empty()
    }

    pub fn paths(&self) -> impl Iterator<Item = (&str, Sha256)> {
        self.lasting.iter().map(|(path, sha256)| (path.as_str(), *sha256))
    }

    /// Checks that these answers have everything that was ever served, unchanged. Archives that only an old include names count
    /// as well, so the caller of [`Answers::of`] requests them.
    pub fn require(&self, answers: &Answers) -> Verdict {
        for (path, sha256) in &self.lasting {
            match answers.lasting.get(path) {
                Some(now) if now == sha256 => {}
                Some(now) => return Err(format!("changed: {path} was {sha256}, is {now}")),
                None if path.starts_with("include/") => {}
                None => return Err(format!("lost: {path}")),
            }
        }
        Ok(())
    }

    /// Adds new answers.
    pub fn admit(&mut self, answers: &Answers) -> Verdict {
        for (path, sha256) in &answers.lasting {
            let before = self.lasting.insert(path.clone(), *sha256);
            if before.is_some_and(|before| before != *sha256) {
                return Err(format!("changed: {path}"));
            }
        }
        Ok(())
    }
}

impl Answers {
    /// Requests `packages.json` and everything that it refers to, and checks it.
    pub fn of(port: u16) -> Verdict<Self> {
        let mut answers = Self::default();
        let root = answers.moving(port, "packages.json")?;
        if let Some(includes) = root["includes"].as_object() {
            for (path, about) in includes {
                let body = body(port, path)?;
                if about["sha1"].as_str() != Some(&Sha1::digest(&body).to_string()) {
                    return Err(format!("torn: {path} has another SHA-1 than packages.json says"));
                }
                answers.lasting.insert(path.clone(), Sha256::digest(&body));
            }
        }
        let names = root["available-packages"].as_array().cloned().unwrap_or_default();
        for name in names.iter().filter_map(Value::as_str) {
            let file = answers.moving(port, &format!("p2/{name}.json"))?;
            let versions = file["packages"][name].as_array().cloned().unwrap_or_default();
            if versions.is_empty() {
                return Err(format!("torn: p2/{name}.json has no version"));
            }
            // In the minified form a version inherits missing keys from the previous one; each has its own `dist`.
            for version in &versions {
                let dist = &version["dist"];
                let url = dist["url"].as_str().unwrap_or_default();
                let Some((_, path)) = url.split_once(BASE) else {
                    return Err(format!("torn: {name} {version} has no dist here"));
                };
                let body = body(port, path)?;
                if dist["shasum"].as_str() != Some(&Sha1::digest(&body).to_string()) {
                    return Err(format!("wrong bytes: {path} is not what its metadata says"));
                }
                answers.lasting.insert(path.to_owned(), Sha256::digest(&body));
            }
        }
        Ok(answers)
    }

    fn moving(&mut self, port: u16, path: &str) -> Verdict<Value> {
        let body = body(port, path)?;
        self.moving.insert(path.to_owned(), Sha256::digest(&body));
        serde_json::from_slice(&body).map_err(|e| format!("torn: {path}: {e}"))
    }
}

fn body(port: u16, path: &str) -> Verdict<Vec<u8>> {
    match below(port, path) {
        Some((200, body)) => Ok(body),
        Some((status, _)) => Err(format!("the metadata names {path}, which is answered {status}")),
        None => Err(format!("no answer for {path}")),
    }
}

pub fn status(port: u16, path: &str) -> Option<u16> {
    try_get(port, path).map(|response| response.status)
}

/// The response for a path below the base.
pub fn below(port: u16, path: &str) -> Option<(u16, Vec<u8>)> {
    try_get(port, &format!("{BASE}{path}")).map(|response| (response.status, response.body))
}
