//! Builds one package version: walks its tree, rewrites its manifest, and writes its archive into a sink.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::limits;
use super::manifest::rewrite;
use super::path_checks;
use super::plan::{Build, ManifestSource, join};
use super::zip_writer::{EntryType, ZipEntry, ZipWriter, order_entries};
use crate::composer::{Manifest, to_js_string};
use crate::config::Limits;
use crate::git::{BareClone, EntryKind, ObjectId};
use crate::recipe::Source;

/// Path prefixes that no package includes. The manifest is added rewritten; as in the reference generator, the prefix also
/// matches `composer.json.dist` at the root of a repository.
const ALWAYS_EXCLUDED: [&str; 2] = ["composer.json", ".git/"];

/// Where the contents of an entry come from.
#[derive(Clone, Default)]
enum Contents {
    #[default]
    Nothing,
    Blob(ObjectId),
    Bytes(Arc<[u8]>),
}

/// The manifest in the archive, validated: a broken one would break Composer's clients.
fn manifest(build: &Build, source: &Source, clone: &BareClone, limits: &Limits) -> anyhow::Result<Manifest> {
    let text = match &build.manifest {
        ManifestSource::Blob(blob) => Manifest::parse(&limits::read_manifest(limits, clone, *blob)?)?,
        ManifestSource::Resource(text) => Manifest::parse(text)?,
        ManifestSource::Derived(manifest) => Manifest::clone(manifest),
    };
    let Manifest(mut map) = text;
    if !matches!(build.manifest, ManifestSource::Derived(_)) {
        rewrite(
            &mut map,
            &build.name.to_string(),
            build.version.as_str(),
            &build.git_ref.pins,
            &source.corrections,
        );
    }
    let manifest = Manifest(map);
    manifest.validate().context("its manifest would break Composer's clients")?;
    Ok(manifest)
}

/// Writes the archive of `build` and returns the sink.
pub fn archive<W: Write>(
    build: &Build,
    source: &Source,
    clone: &BareClone,
    limits: &Limits,
    sink: W,
) -> anyhow::Result<W> {
    let (mut writer, mut left) = (ZipWriter::new(sink), limits.package as u64);
    for ZipEntry { name, kind, content } in entries(build, source, clone, limits)? {
        let mut add = |bytes: &[u8]| {
            left = limits::spend(limits, left, bytes.len() as u64)?;
            anyhow::Ok(writer.add(&name, kind, bytes)?)
        };
        match content {
            Contents::Nothing => add(b"")?,
            Contents::Blob(blob) => {
                let check_size = |size| limits::check_file_size(limits, &name, size);
                add(&clone.blob_within(blob, check_size)?)?;
            }
            Contents::Bytes(bytes) => add(&bytes)?,
        }
    }
    Ok(writer.finish()?)
}

/// The entries of the archive, in their order.
fn entries(
    build: &Build,
    source: &Source,
    clone: &BareClone,
    limits: &Limits,
) -> anyhow::Result<Vec<ZipEntry<Contents>>> {
    let manifest = to_js_string(&Value::Object(manifest(build, source, clone, limits)?.0));
    let mut entries = vec![ZipEntry {
        name: "composer.json".to_owned(),
        kind: EntryType::File,
        content: Contents::Bytes(manifest.as_bytes().into()),
    }];
    let Some(folder) = &build.folder else {
        // The reference generator does not sort these; the manifest comes first.
        entries.extend(build.files.iter().map(|(path, contents)| ZipEntry {
            name: path.clone(),
            kind: EntryType::File,
            content: Contents::Bytes(contents.clone()),
        }));
        return Ok(entries);
    };
    let tree = Tree { clone, limits, exclude: &build.exclude, root: &folder.path };
    tree.collect(folder.tree, &folder.path, &mut 0, &mut entries)?;
    let names = || entries.iter().map(|entry| entry.name.as_str());
    path_checks::check(names())?;
    path_checks::warn_of_unportable(&build.name, &build.version, names());
    for (path, contents) in &build.files {
        let Some(entry) = entries.iter_mut().find(|entry| entry.name == *path) else {
            bail!("the recipe replaces `{path}`, which this version does not have");
        };
        entry.content = Contents::Bytes(contents.clone());
    }
    entries.extend(build.empty_dirs.iter().map(|path| ZipEntry {
        name: path.clone(),
        kind: EntryType::EmptyFolder,
        content: Contents::Nothing,
    }));
    Ok(order_entries(entries))
}

/// The folder of a source that a package is made from.
struct Tree<'a> {
    clone: &'a BareClone,
    limits: &'a Limits,
    exclude: &'a [String],
    /// Its path in the source.
    root: &'a str,
}

impl Tree<'_> {
    /// Lists the regular files below `tree`, which is at `path`. Symbolic links and submodules are not packaged.
    fn collect(
        &self,
        tree: ObjectId,
        path: &str,
        seen: &mut usize,
        files: &mut Vec<ZipEntry<Contents>>,
    ) -> anyhow::Result<()> {
        let entries = self.clone.tree(tree).with_context(|| format!("failed to read `{path}/`"))?;
        *seen += entries.len();
        limits::check_entries(self.limits, *seen)?;
        for entry in entries {
            let path = join(path, &entry.name);
            let excluded = |prefix: &str| path.starts_with(prefix);
            let kind = match entry.kind {
                EntryKind::Tree => {
                    // Everything in a folder that matches a prefix matches it, too.
                    if !self.exclude.iter().any(|prefix| excluded(prefix)) {
                        limits::check_depth(self.limits, &path)?;
                        self.collect(entry.id, &path, seen, files)?;
                    }
                    continue;
                }
                EntryKind::File => EntryType::File,
                EntryKind::Executable => EntryType::Executable,
                EntryKind::Symlink | EntryKind::Submodule => continue,
            };
            let name = if self.root.is_empty() { path.as_str() } else { &path[self.root.len() + 1..] };
            let skip =
                self.exclude.iter().any(|p| excluded(p)) || ALWAYS_EXCLUDED.iter().any(|p| excluded(p));
            if !skip && name != "composer.json" {
                files.push(ZipEntry { name: name.to_owned(), kind, content: Contents::Blob(entry.id) });
            }
        }
        Ok(())
    }
}
