//! Builds one package version: walks its tree, rewrites its manifest, and writes its archive into a sink.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::checkout_differences::{ATTRIBUTES_FILE, CheckoutDifferences};
use super::limits;
use super::manifest::rewrite;
use super::path_checks;
use super::plan::{Build, Folder, ManifestSource, join};
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
enum FileContents {
    #[default]
    Nothing,
    Blob(ObjectId),
    Bytes(Arc<[u8]>),
}

/// The manifest in the archive, validated: a broken one would break Composer's clients.
pub fn manifest(
    build: &Build,
    source: &Source,
    clone: &BareClone,
    limits: &Limits,
) -> anyhow::Result<Manifest> {
    let manifest = unchecked_manifest(build, source, clone, limits)?;
    manifest.validate().context("its manifest would break Composer's clients")?;
    Ok(manifest)
}

/// The same without the validation, which takes longest.
pub fn unchecked_manifest(
    build: &Build,
    source: &Source,
    clone: &BareClone,
    limits: &Limits,
) -> anyhow::Result<Manifest> {
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
    Ok(Manifest(map))
}

/// Writes the archive of `build` and returns the sink. In what the archive differs from a checkout is added to `differences`.
pub fn archive<W: Write>(
    build: &Build,
    source: &Source,
    clone: &BareClone,
    limits: &Limits,
    differences: &mut CheckoutDifferences,
    sink: W,
) -> anyhow::Result<W> {
    let (mut writer, mut left) = (ZipWriter::new(sink), limits.package as u64);
    let folder = build.folder.as_ref().map(|folder| folder.path.as_str()).unwrap_or_default();
    for ZipEntry { name, kind, content } in entries(build, source, clone, limits, differences)? {
        let mut add = |bytes: &[u8]| {
            left = limits::spend(limits, left, bytes.len() as u64)?;
            anyhow::Ok(writer.add(&name, kind, bytes)?)
        };
        match content {
            FileContents::Nothing => add(b"")?,
            FileContents::Blob(blob) => {
                let check_size = |size| limits::check_file_size(limits, &name, size);
                let bytes = clone.blob_within(blob, check_size)?;
                differences.inspect(&join(folder, &name), &bytes);
                add(&bytes)?;
            }
            FileContents::Bytes(bytes) => add(&bytes)?,
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
    differences: &mut CheckoutDifferences,
) -> anyhow::Result<Vec<ZipEntry<FileContents>>> {
    let manifest = to_js_string(&Value::Object(manifest(build, source, clone, limits)?.0));
    let mut entries = vec![ZipEntry {
        name: "composer.json".to_owned(),
        kind: EntryType::File,
        content: FileContents::Bytes(manifest.as_bytes().into()),
    }];
    let Some(folder) = &build.folder else {
        // The reference generator does not sort these; the manifest comes first.
        entries.extend(build.files.iter().map(|(path, contents)| ZipEntry {
            name: path.clone(),
            kind: EntryType::File,
            content: FileContents::Bytes(contents.clone()),
        }));
        return Ok(entries);
    };
    let tree = Tree { clone, limits, exclude: &build.exclude, root: &folder.path };
    let mut listing = Listing { files: entries, ..Listing::default() };
    tree.collect(folder.tree, &folder.path, &mut listing)?;
    let Listing { files: mut entries, submodules, attributes, .. } = listing;
    submodules.iter().for_each(|path| differences.add_submodule(path));
    differences.read_attributes(build, clone, attributes)?;
    let names = || entries.iter().map(|entry| entry.name.as_str());
    path_checks::check(names())?;
    path_checks::warn_of_unportable(&build.name, &build.version, names());
    for (path, contents) in &build.files {
        let Some(entry) = entries.iter_mut().find(|entry| entry.name == *path) else {
            bail!("the recipe replaces `{path}`, which this version does not have");
        };
        entry.content = FileContents::Bytes(contents.clone());
    }
    entries.extend(build.empty_dirs.iter().map(|path| ZipEntry {
        name: path.clone(),
        kind: EntryType::EmptyFolder,
        content: FileContents::Nothing,
    }));
    Ok(order_entries(entries))
}

/// Whether the files that are packaged of `folder` are those of another `tree` in its place. If one cannot be read, they are not.
pub(super) fn has_same_files(clone: &BareClone, folder: &Folder, tree: ObjectId, exclude: &[String]) -> bool {
    let limits = Limits::default();
    let walk = Tree { clone, limits: &limits, exclude, root: &folder.path };
    let files = |tree| {
        let mut listing = Listing::default();
        let manifest = clone.find(tree, "composer.json").ok()?;
        walk.collect(tree, &folder.path, &mut listing).ok()?;
        let blob = |file: ZipEntry<FileContents>| match file.content {
            FileContents::Blob(id) => Some((file.name, file.kind, id)),
            _ => None,
        };
        Some((manifest, listing.files.into_iter().map(blob).collect::<Vec<_>>()))
    };
    files(tree).is_some_and(|first| files(folder.tree) == Some(first))
}

/// The folder of a source that a package is made from.
struct Tree<'a> {
    clone: &'a BareClone,
    limits: &'a Limits,
    exclude: &'a [String],
    /// Its path in the source.
    root: &'a str,
}

/// What a walk through a folder has found.
#[derive(Default)]
struct Listing {
    /// The number of entries.
    seen: usize,
    files: Vec<ZipEntry<FileContents>>,
    /// Their paths in the source.
    submodules: Vec<String>,
    /// The attributes files, also those that are not packaged, each with the path of its folder.
    attributes: Vec<(String, ObjectId)>,
}

impl Tree<'_> {
    /// Lists the regular files below `tree`, which is at `path`. Symbolic links and submodules are not packaged.
    fn collect(&self, tree: ObjectId, path: &str, found: &mut Listing) -> anyhow::Result<()> {
        let entries = self.clone.tree(tree).with_context(|| format!("failed to read `{path}/`"))?;
        found.seen += entries.len();
        limits::check_entries(self.limits, found.seen)?;
        let dir = path;
        for entry in entries {
            let path = join(dir, &entry.name);
            let excluded = |prefix: &str| path.starts_with(prefix);
            let kind = match entry.kind {
                EntryKind::Tree => {
                    // Everything in a folder that matches a prefix matches it, too.
                    if !self.exclude.iter().any(|prefix| excluded(prefix)) {
                        limits::check_depth(self.limits, &path)?;
                        self.collect(entry.id, &path, found)?;
                    }
                    continue;
                }
                EntryKind::File => EntryType::File,
                EntryKind::Executable => EntryType::Executable,
                EntryKind::Submodule if !self.exclude.iter().any(|prefix| excluded(prefix)) => {
                    found.submodules.push(path);
                    continue;
                }
                EntryKind::Symlink | EntryKind::Submodule => continue,
            };
            if entry.name == ATTRIBUTES_FILE {
                found.attributes.push((dir.to_owned(), entry.id));
            }
            let name = if self.root.is_empty() { path.as_str() } else { &path[self.root.len() + 1..] };
            let skip =
                self.exclude.iter().any(|p| excluded(p)) || ALWAYS_EXCLUDED.iter().any(|p| excluded(p));
            if !skip && name != "composer.json" {
                found.files.push(ZipEntry {
                    name: name.to_owned(),
                    kind,
                    content: FileContents::Blob(entry.id),
                });
            }
        }
        Ok(())
    }
}
