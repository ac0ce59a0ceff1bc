//! Checks beyond the types: unique names, well-formed tags and package names, references to existing resources.

use std::collections::BTreeMap;

use super::composer_source::ComposerSource;
use super::document::{ArchiveFolder, Correction, Document, Recipe, Replacement, Resource, Source};
use super::note::Note;
use super::product::Product;
use super::range::AffectedVersions;
use super::rule::{PackageRule, ResourceFile};
use super::tag_version::TagVersion;
use url::Url;

use crate::composer::PackageName;
use crate::yaml::{Issue, Path, Report};

/// Checks a document; names may refer to its own resources and to those of the extended recipe.
pub(super) struct Validator<'a> {
    resources: &'a BTreeMap<String, Resource>,
    base: Option<&'a Recipe>,
}

impl<'a> Validator<'a> {
    /// A checker for a document with these resources of its own, which adds to `base`.
    pub(super) fn new(resources: &'a BTreeMap<String, Resource>, base: Option<&'a Recipe>) -> Self {
        Self { resources, base }
    }

    pub(super) fn document(&self, document: &Document, report: &mut Report) {
        let root = Path::default();
        let (archives_at, sources_at) = (root.key("archives"), root.key("sources"));
        let archives = document.archives.iter().map(|archive| &archive.name).enumerate();
        let sources = document.sources.iter().map(|source| &source.name).enumerate();
        let composer_at = root.key("composer");
        let composer = document.composer.iter().map(|source| &source.name).enumerate();
        let names = archives
            .map(|(i, name)| (archives_at.index(i), name))
            .chain(sources.map(|(i, name)| (sources_at.index(i), name)))
            .chain(composer.map(|(i, name)| (composer_at.index(i), name)));
        let mut seen: Vec<&str> = self.base.map(|base| base.source_names().collect()).unwrap_or_default();
        for (at, name) in names {
            check_name(name, &at.key("name"), report);
            if seen.contains(&name.as_str()) {
                let rule = "names of sources must be unique";
                let issue = Issue::new(rule).found(format!("`{name}`"));
                report.add(
                    &at.key("name"),
                    match self.base {
                        Some(_) => issue.hint("`amend` adds to a source of the extended recipe"),
                        None => issue,
                    },
                );
            }
            seen.push(name);
        }
        for (i, archive) in document.archives.iter().enumerate() {
            self.archive(archive, &archives_at.index(i), report);
        }
        for (i, source) in document.sources.iter().enumerate() {
            let at = sources_at.index(i);
            check_tags(source, &at, report);
            if source.packages.is_empty() {
                let rule = "a source requires at least one rule";
                report.add(&at.key("packages"), Issue::new(rule));
            }
            self.rules(&source.packages, &source.corrections, &source.replacements, &at, report);
        }
        let of_base = self.base.into_iter().flat_map(|base| &base.sources);
        let git_sources: Vec<_> =
            of_base.chain(&document.sources).map(|source| source.name.as_str()).collect();
        ComposerSource::check_all(&document.composer, &git_sources, &composer_at, report);
        check_page_content(document, &root, report);
        for (i, package) in document.external_packages.iter().enumerate() {
            check_package_or_vendor(package, &root.key("external_packages").index(i), report);
        }
        for (i, released) in document.publish_incomplete.iter().enumerate() {
            check_affected(&released.affects, &root.key("publish_incomplete").index(i), report);
        }
        for (name, amendment) in &document.amend {
            let at = root.key("amend").key(name);
            self.rules(&amendment.packages, &amendment.corrections, &amendment.replacements, &at, report);
        }
    }

    fn archive(&self, archive: &ArchiveFolder, at: &Path, report: &mut Report) {
        self.resource(&archive.resource, &at.key("resource"), report);
        check_folder(&archive.path, &at.key("path"), report);
        if archive.path.is_empty() {
            report.add(&at.key("path"), Issue::new("expected a folder below the root of the repository"));
        }
    }

    fn rules(
        &self,
        packages: &[PackageRule],
        corrections: &[Correction],
        replacements: &[Replacement],
        at: &Path,
        report: &mut Report,
    ) {
        for (i, rule) in packages.iter().enumerate() {
            let at = at.key("packages").index(i);
            if rule.kind().is_none() {
                let rule = "a rule requires exactly one of `each`, `one`, `metapackage` and `derive`";
                report.add(&at, Issue::new(rule));
            }
            let folders = [("each", &rule.each), ("one", &rule.one), ("metapackage", &rule.metapackage)];
            for (key, folder) in folders {
                check_folder(folder.as_deref().unwrap_or_default(), &at.key(key), report);
            }
            self.files(&rule.manifest, &at.key("manifest"), report);
            if let Some(derive) = &rule.derive {
                check_package(&derive.package, &at.key("derive").key("package"), report);
                self.files(&derive.part, &at.key("derive").key("part"), report);
            }
        }
        for (i, correction) in corrections.iter().enumerate() {
            let at = at.key("corrections").index(i);
            check_affected(&correction.affects, &at, report);
        }
        for (i, replacement) in replacements.iter().enumerate() {
            let at = at.key("replacements").index(i);
            check_package(&replacement.package, &at.key("package"), report);
            for (path, file) in &replacement.files {
                self.resource(&file.resource, &at.key("files").key(path).key("resource"), report);
            }
        }
    }

    fn files(&self, files: &[ResourceFile], at: &Path, report: &mut Report) {
        for (i, file) in files.iter().enumerate() {
            self.resource(&file.resource, &at.index(i).key("resource"), report);
        }
    }

    fn resource(&self, name: &str, at: &Path, report: &mut Report) {
        let of_base = self.base.into_iter().flat_map(|base| base.resources.keys());
        let known: Vec<&str> = self.resources.keys().chain(of_base).map(String::as_str).collect();
        if known.contains(&name) {
            return;
        }
        let issue = Issue::new("expected a name under `resources`").found(format!("`{name}`"));
        report.add(at, issue.hint_nearest(name, known));
    }
}

fn check_tags(source: &Source, at: &Path, report: &mut Report) {
    if let Some(from) = &source.tags.from {
        check_version(from, &at.key("tags").key("from"), report);
    }
    let releases_tags =
        source.tags.from.is_some() || !source.tags.exclude.is_empty() || !source.extra_refs.is_empty();
    if source.nightly.is_some() && releases_tags {
        let issue = Issue::new("a source releases either tags or a branch");
        report.add(&at.key("nightly"), issue.hint("add another source for the branch"));
    }
}

fn check_version(version: &str, at: &Path, report: &mut Report) {
    if TagVersion::parse(version).is_none() {
        let issue = Issue::new("expected a version such as 2.4.4-p1").found(format!("`{version}`"));
        report.add(at, issue);
    }
}

fn check_name(name: &str, at: &Path, report: &mut Report) {
    let safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(safe) {
        let issue = Issue::new("expected a name of letters, digits, `.`, `_` and `-`");
        report.add(at, issue.found(format!("`{name}`")));
    }
}

/// Git trees have no entries `.` and `..`.
fn check_folder(folder: &str, at: &Path, report: &mut Report) {
    if folder.split('/').any(|name| matches!(name, "." | "..")) {
        let issue = Issue::new("expected the path of a folder from the root of the repository");
        report.add(at, issue.found(format!("`{folder}`")).hint("the root itself is `''`"));
    }
}

fn check_package(name: &str, at: &Path, report: &mut Report) {
    if name.parse::<PackageName>().is_err() {
        let issue = Issue::new("expected a package name, `vendor/name` in lower case");
        report.add(at, issue.found(format!("`{name}`")));
    }
}

/// `vendor/name` or `vendor/*`.
fn check_package_or_vendor(name: &str, at: &Path, report: &mut Report) {
    let package = name.strip_suffix("/*").map_or_else(|| name.to_owned(), |vendor| format!("{vendor}/x"));
    if package.parse::<PackageName>().is_err() {
        let issue = Issue::new("expected a package name or `vendor/*`, in lower case");
        report.add(at, issue.found(format!("`{name}`")));
    }
}

fn check_affected(affected: &AffectedVersions, at: &Path, report: &mut Report) {
    check_package(&affected.package, &at.key("package"), report);
    if affected.versions.is_empty() == affected.range.is_none() {
        report.add(at, Issue::new("expected either `versions` or `range`"));
    }
    if let Some(range) = &affected.range {
        check_version(&range.from, &at.key("range").key("from"), report);
    }
}

/// What only the pages show.
fn check_page_content(document: &Document, root: &Path, report: &mut Report) {
    for (i, product) in document.products.iter().enumerate() {
        check_product(product, &root.key("products").index(i), report);
    }
    for (i, url) in document.public_urls.iter().enumerate() {
        if !is_page(url) {
            let issue = Issue::new("expected the beginning of URLs, such as `https://github.com/acme/`");
            report.add(&root.key("public_urls").index(i), issue.found(format!("`{url}`")));
        }
    }
    for (i, note) in document.notes.iter().enumerate() {
        check_note(note, &root.key("notes").index(i), report);
    }
}

fn check_product(product: &Product, at: &Path, report: &mut Report) {
    if product.name.trim().is_empty() {
        report.add(&at.key("name"), Issue::new("expected a name for people, such as `Magento Open Source`"));
    }
    check_package(&product.package, &at.key("package"), report);
    if let Some(project) = &product.project {
        check_package(project, &at.key("project"), report);
    }
}

fn check_note(note: &Note, at: &Path, report: &mut Report) {
    match note.affects.is_unrestricted() {
        true => check_package(&note.affects.package, &at.key("package"), report),
        false => check_affected(&note.affects, at, report),
    }
    if note.see.as_ref().is_some_and(|url| !is_page(url)) {
        report.add(&at.key("see"), Issue::new("expected the URL of a page, `https://…`"));
    }
}

/// Whether it can become a link.
fn is_page(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}
