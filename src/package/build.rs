//! Builds one package version: walks its tree, rewrites its manifest, writes its archive into a sink.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::limits::Limits;
use super::manifest::rewrite;
use super::path_checks;
use super::plan::{Build, ManifestSource, join};
use super::zip_writer::{Entry, EntryType, Writer, order_entries};
use crate::composer::{Manifest, to_js_string};
use crate::git::{BareClone, EntryKind, ObjectId};
use crate::recipe::Source;

/// Left out of every package: the manifest is added rewritten (the prefix is the reference's: at the root of a
/// repository it also hits `composer.json.dist`).
const ALWAYS_EXCLUDED: [&str; 2] = ["composer.json", ".git/"];

/// Where an entry's contents come from.
#[derive(Clone, Default)]
enum Contents {
    #[default]
    Nothing,
    Blob(ObjectId),
    Given(Arc<[u8]>),
}

/// The manifest as it will stand in the archive, checked for what would break Composer's clients.
///
/// # Errors
/// What Composer would refuse, or what git could not read.
pub fn manifest(
    build: &Build,
    source: &Source,
    clone: &BareClone,
    limits: &Limits,
) -> anyhow::Result<Manifest> {
    let text = match &build.manifest {
        ManifestSource::Blob(blob) => Manifest::parse(&limits.manifest(clone, *blob)?)?,
        ManifestSource::Resource(text) => Manifest::parse(text)?,
        ManifestSource::Derived(manifest) => Manifest::clone(manifest),
    };
    let Manifest(mut map) = text;
    if !matches!(build.manifest, ManifestSource::Derived(_)) {
        rewrite(
            &mut map,
            &build.name.to_string(),
            build.version.as_str(),
            &build.release.pins,
            &source.corrections,
        );
    }
    let manifest = Manifest(map);
    manifest
        .validate()
        .context("its manifest would break Composer's clients")?;
    Ok(manifest)
}

/// Writes the archive of `build` and hands the sink back.
///
/// # Errors
/// Of the manifest, of the limits, of git, and of the sink.
pub fn archive<W: Write>(
    build: &Build,
    source: &Source,
    clone: &BareClone,
    limits: &Limits,
    sink: W,
) -> anyhow::Result<W> {
    let manifest = to_js_string(&Value::Object(manifest(build, source, clone, limits)?.0));
    let given = |bytes: &[u8]| Contents::Given(bytes.into());
    let mut items = vec![Entry {
        name: "composer.json".to_owned(),
        kind: EntryType::File,
        content: given(manifest.as_bytes()),
    }];
    let entries = match &build.folder {
        Some(folder) => {
            let tree = Tree {
                clone,
                limits,
                exclude: &build.exclude,
                root: &folder.path,
            };
            tree.collect(folder.tree, &folder.path, &mut 0, &mut items)?;
            path_checks::check(items.iter().map(|item| item.name.as_str()))?;
            for (path, contents) in &build.files {
                let Some(item) = items.iter_mut().find(|item| item.name == *path) else {
                    bail!("the recipe replaces `{path}`, which this version does not have");
                };
                item.content = Contents::Given(contents.clone());
            }
            let empty = |path: &String| Entry {
                name: path.clone(),
                kind: EntryType::EmptyFolder,
                content: Contents::Nothing,
            };
            items.extend(build.empty_dirs.iter().map(empty));
            order_entries(items)
        }
        // The reference does not sort these: the manifest comes first.
        None => {
            let file = |(path, contents): (&String, &Arc<[u8]>)| Entry {
                name: path.clone(),
                kind: EntryType::File,
                content: Contents::Given(contents.clone()),
            };
            items.extend(build.files.iter().map(file));
            items
        }
    };
    let (mut writer, mut left) = (Writer::new(sink), limits.package);
    for Entry { name, kind, content } in entries {
        let mut add = |bytes: &[u8]| {
            left = limits.spend(left, bytes.len() as u64)?;
            anyhow::Ok(writer.add(&name, kind, bytes)?)
        };
        match content {
            Contents::Nothing => add(b"")?,
            Contents::Blob(blob) => add(&clone.blob_within(blob, |size| limits.allow_file(&name, size))?)?,
            Contents::Given(bytes) => add(&bytes)?,
        }
    }
    Ok(writer.finish()?)
}

/// A folder of a source of which a package is made.
struct Tree<'a> {
    clone: &'a BareClone,
    limits: &'a Limits,
    exclude: &'a [String],
    /// Its path in the source.
    root: &'a str,
}

impl Tree<'_> {
    /// Lists the regular files below `tree`, which lies at `path`; symbolic links and submodules are no files of a package.
    fn collect(
        &self,
        tree: ObjectId,
        path: &str,
        seen: &mut u64,
        items: &mut Vec<Entry<Contents>>,
    ) -> anyhow::Result<()> {
        let entries = self
            .clone
            .tree(tree)
            .with_context(|| format!("failed to read `{path}/`"))?;
        *seen += entries.len() as u64;
        self.limits.allow_entries(*seen)?;
        for entry in entries {
            let path = join(path, &entry.name);
            let excluded = |prefix: &str| path.starts_with(prefix);
            let kind = match entry.kind {
                EntryKind::Tree => {
                    // A folder whose own path begins with a prefix has no file that does not.
                    if !self.exclude.iter().any(|prefix| excluded(prefix)) {
                        self.limits.allow_depth(&path)?;
                        self.collect(entry.id, &path, seen, items)?;
                    }
                    continue;
                }
                EntryKind::File => EntryType::File,
                EntryKind::Executable => EntryType::Executable,
                EntryKind::Symlink | EntryKind::Submodule => continue,
            };
            let name = if self.root.is_empty() {
                path.as_str()
            } else {
                &path[self.root.len() + 1..]
            };
            let skip =
                self.exclude.iter().any(|p| excluded(p)) || ALWAYS_EXCLUDED.iter().any(|p| excluded(p));
            if !skip && name != "composer.json" {
                items.push(Entry {
                    name: name.to_owned(),
                    kind,
                    content: Contents::Blob(entry.id),
                });
            }
        }
        Ok(())
    }
}
