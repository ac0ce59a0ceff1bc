//! Where a repository is, and what the URLs in its files mean (`getPackagesJsonUrl`, `canonicalizeUrl`).

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use url::Url;

use crate::net::file_path;

/// The most folders that the end of a path may have which is looked for.
const MAX_DEPTH: usize = 20;

/// The URL of a repository; a folder has a `file` URL.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// Its packages.json.
    pub(super) root: Url,
    /// The folder of that, with a slash at the end.
    base: Url,
}

impl Address {
    /// A URL with `.json` in its path is that of the file.
    pub(super) fn new(url: &Url) -> anyhow::Result<Self> {
        let mut base = url.clone();
        base.set_query(None);
        base.set_fragment(None);
        let mut segments = base.path_segments_mut().ok().context("a repository's URL has to have a path")?;
        segments.pop_if_empty();
        let is_file = url.path().contains(".json");
        if is_file {
            segments.pop();
        }
        segments.push("");
        drop(segments);
        let root = if is_file { url.clone() } else { base.join("packages.json")? };
        Ok(Self { root, base })
    }

    /// A URL that a file of the repository names. What begins with a slash starts at the host, as Composer has it; other relative
    /// ones at the folder of packages.json.
    pub(super) fn resolve(&self, reference: &str) -> anyhow::Result<Url> {
        // Proxies choke on it (`ComposerRepository::fetchFile`).
        let reference = reference.replace('$', "%24");
        let is_whole = reference.contains("://");
        let url = if self.base.scheme() == "file" && (!is_whole || reference.starts_with("file:")) {
            Ok(self.in_folder(&reference)?)
        } else if is_whole {
            Url::parse(&reference)
        } else if reference.starts_with('/') {
            Url::parse(&format!("{}{reference}", self.base.origin().ascii_serialization()))
        } else {
            self.base.join(&reference)
        };
        let url = url.with_context(|| format!("`{}` is not a url", reference.escape_debug()))?;
        match url.scheme() {
            "http" | "https" => Ok(url),
            "file" if self.base.scheme() == "file" => Ok(url),
            scheme => bail!("a url with the scheme `{}` is not followed", scheme.escape_debug()),
        }
    }

    /// The file of a folder that a path on its former host, or a whole URL, means: the longest end of the path that exists.
    pub(super) fn in_folder(&self, reference: &str) -> anyhow::Result<Url> {
        let path = Url::parse(reference).map_or_else(|_| reference.to_owned(), |url| url.path().to_owned());
        let decoded = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().into_owned();
        let segments: Vec<_> = decoded.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        if segments.contains(&"..") {
            bail!("`{}` leads out of the folder", reference.escape_debug());
        }
        let folder = self.folder().context("the repository is no folder")?;
        let longest = segments.len().saturating_sub(MAX_DEPTH);
        let mut ends = (longest..segments.len()).map(|at| folder.join(segments[at..].join("/")));
        let found = ends.find(|file| file.is_file());
        let file = found.unwrap_or_else(|| folder.join(segments.join("/")));
        Url::from_file_path(&file).ok().with_context(|| format!("`{}` is not a path", file.display()))
    }

    /// The folder, if it is one of this machine.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        file_path(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Address {
        Address::new(&Url::parse(url).unwrap()).unwrap()
    }

    #[test]
    fn packages_json_is_found_below_a_url_or_is_the_url() {
        for (url, root) in [
            ("https://h.example", "https://h.example/packages.json"),
            ("https://h.example/sub/", "https://h.example/sub/packages.json"),
            ("https://h.example/sub", "https://h.example/sub/packages.json"),
            ("https://h.example/sub/all.json", "https://h.example/sub/all.json"),
            ("https://h.example/sub?token=x", "https://h.example/sub/packages.json"),
        ] {
            assert_eq!(address(url).root.as_str(), root, "{url}");
        }
    }

    #[test]
    fn references_are_resolved_as_composer_does() {
        let address = address("https://u:p@h.example:8443/sub/all.json");
        let resolve = |reference: &str| address.resolve(reference).map(|url| url.to_string());
        assert_eq!(resolve("/p2/a/b.json").unwrap(), "https://h.example:8443/p2/a/b.json");
        assert_eq!(resolve("//evil.example/x").unwrap(), "https://h.example:8443//evil.example/x");
        assert_eq!(
            resolve("include/all$1.json").unwrap(),
            "https://u:p@h.example:8443/sub/include/all%241.json"
        );
        assert_eq!(resolve("https://cdn.example/x.zip").unwrap(), "https://cdn.example/x.zip");
        for bad in ["file:///etc/passwd", "ftp://h.example/x"] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn folder_has_the_files_of_its_former_host() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("dist/acme")).unwrap();
        std::fs::write(folder.path().join("dist/acme/a.zip"), "").unwrap();
        let address = address(&format!("file://{}/", folder.path().display()));
        let file = format!("file://{}/dist/acme/a.zip", folder.path().display());
        for reference in
            ["dist/acme/a.zip", "/satis/dist/acme/a.zip", "https://old.example/x/dist/acme/a.zip"]
        {
            assert_eq!(address.in_folder(reference).unwrap().as_str(), file, "{reference}");
        }
        // Nothing outside of it is a file of the repository.
        let resolve = |reference: &str| address.resolve(reference).map(|url| url.to_string());
        assert_eq!(resolve("file:///old/dist/acme/a.zip").unwrap(), file);
        assert_eq!(
            resolve("file:///etc/passwd").unwrap(),
            format!("file://{}/etc/passwd", folder.path().display())
        );
        assert!(address.in_folder("/../../etc/passwd").is_err());
        assert!(address.in_folder("/%2e%2e/x").is_err());
    }
}
