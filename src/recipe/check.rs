//! What the types of a recipe cannot say: unique names, well-formed tags and package names, references that lead somewhere.

use std::collections::BTreeMap;

use super::{Recipe, ResourceFile, Source, tag};
use crate::composer::PackageName;
use crate::yaml::{Complaint, Path, Report, nearest};

impl Recipe {
    pub(super) fn check(&self, report: &mut Report) {
        let root = Path::default();
        let mut seen = BTreeMap::new();
        let archives = self
            .archives
            .iter()
            .enumerate()
            .map(|(i, a)| (root.key("archives").index(i), &a.name));
        let sources = self
            .sources
            .iter()
            .enumerate()
            .map(|(i, s)| (root.key("sources").index(i), &s.name));
        for (at, name) in archives.chain(sources) {
            check_name(name, &at.key("name"), report);
            if seen.insert(name, ()).is_some() {
                let complaint = Complaint::new("a source's name is its own, another one has it already");
                report.add(&at.key("name"), complaint.found(format!("`{name}`")));
            }
        }
        for (i, archive) in self.archives.iter().enumerate() {
            self.check_resource(
                &archive.resource,
                &root.key("archives").index(i).key("resource"),
                report,
            );
        }
        for (i, source) in self.sources.iter().enumerate() {
            self.check_source(source, &root.key("sources").index(i), report);
        }
    }

    fn check_source(&self, source: &Source, at: &Path, report: &mut Report) {
        if let Some(from) = &source.tags.from
            && tag::TagVersion::parse(from).is_none()
        {
            let complaint = Complaint::new("expected a version such as 2.4.4-p1").found(format!("`{from}`"));
            report.add(&at.key("tags").key("from"), complaint);
        }
        for (i, rule) in source.packages.iter().enumerate() {
            let at = at.key("packages").index(i);
            if rule.kind().is_none() {
                let rule = "a rule has exactly one of `each`, `one`, `metapackage` and `derive`";
                report.add(&at, Complaint::new(rule));
            }
            self.check_files(&rule.manifest, &at.key("manifest"), report);
            if let Some(derive) = &rule.derive {
                check_package(&derive.package, &at.key("derive").key("package"), report);
                self.check_files(&derive.part, &at.key("derive").key("part"), report);
            }
        }
        for (i, correction) in source.corrections.iter().enumerate() {
            let at = at.key("corrections").index(i);
            check_package(&correction.package, &at.key("package"), report);
            if correction.versions.is_empty() == correction.range.is_none() {
                report.add(
                    &at,
                    Complaint::new("a correction has either `versions` or a `range`"),
                );
            }
        }
        for (i, replacement) in source.replacements.iter().enumerate() {
            let at = at.key("replacements").index(i);
            check_package(&replacement.package, &at.key("package"), report);
            for (path, file) in &replacement.files {
                self.check_resource(&file.resource, &at.key("files").key(path).key("resource"), report);
            }
        }
    }

    fn check_files(&self, files: &[ResourceFile], at: &Path, report: &mut Report) {
        for (i, file) in files.iter().enumerate() {
            self.check_resource(&file.resource, &at.index(i).key("resource"), report);
        }
    }

    fn check_resource(&self, name: &str, at: &Path, report: &mut Report) {
        if self.resources.contains_key(name) {
            return;
        }
        let complaint = Complaint::new("expected a name under `resources`").found(format!("`{name}`"));
        report.add(
            at,
            match nearest(name, self.resources.keys().map(String::as_str)) {
                Some(near) => complaint.hint(format!("did you mean `{near}`?")),
                None => complaint,
            },
        );
    }
}

fn check_name(name: &str, at: &Path, report: &mut Report) {
    let safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(safe) {
        let complaint = Complaint::new("expected a name of letters, digits, `.`, `_` and `-`");
        report.add(at, complaint.found(format!("`{name}`")));
    }
}

fn check_package(name: &str, at: &Path, report: &mut Report) {
    if name.parse::<PackageName>().is_err() {
        let complaint = Complaint::new("expected a package name, `vendor/name` in lower case");
        report.add(at, complaint.found(format!("`{name}`")));
    }
}
