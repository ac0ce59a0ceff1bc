//! Builds one package version: walks its tree, rewrites its manifest, writes its archive into a sink.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::archive::{Entry, Kind, Writer, layout};
use super::manifest::rewrite;
use super::plan::{Build, Folder, ManifestText, join};
use crate::composer::{Manifest, to_js_string};
use crate::recipe::Source;
use crate::source::{BareClone, EntryKind, ObjectId};

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
pub fn manifest(build: &Build, source: &Source, clone: &BareClone) -> anyhow::Result<Manifest> {
    let text = match &build.manifest {
        ManifestText::Blob(blob) => Manifest::parse(&clone.blob(*blob)?)?,
        ManifestText::Given(text) => Manifest::parse(text)?,
        ManifestText::Finished(manifest) => Manifest::clone(manifest),
    };
    let Manifest(mut map) = text;
    if !matches!(build.manifest, ManifestText::Finished(_)) {
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
/// Of the manifest, of git, and of the sink.
pub fn archive<W: Write>(build: &Build, source: &Source, clone: &BareClone, sink: W) -> anyhow::Result<W> {
    let manifest = to_js_string(&Value::Object(manifest(build, source, clone)?.0));
    let given = |bytes: &[u8]| Contents::Given(bytes.into());
    let mut items = vec![Entry {
        name: "composer.json".to_owned(),
        kind: Kind::File,
        of: given(manifest.as_bytes()),
    }];
    let entries = match &build.folder {
        Some(folder) => {
            collect(clone, build, folder, folder.tree, &folder.path, &mut items)?;
            for (path, contents) in &build.files {
                let Some(item) = items.iter_mut().find(|item| item.name == *path) else {
                    bail!("the recipe replaces `{path}`, which this version does not have");
                };
                item.of = Contents::Given(contents.clone());
            }
            let empty = |path: &String| Entry {
                name: path.clone(),
                kind: Kind::EmptyFolder,
                of: Contents::Nothing,
            };
            items.extend(build.empty_dirs.iter().map(empty));
            layout(items)
        }
        // The reference does not sort these: the manifest comes first.
        None => {
            let file = |(path, contents): (&String, &Arc<[u8]>)| Entry {
                name: path.clone(),
                kind: Kind::File,
                of: Contents::Given(contents.clone()),
            };
            items.extend(build.files.iter().map(file));
            items
        }
    };
    let mut writer = Writer::new(sink);
    for entry in entries {
        match entry.of {
            Contents::Nothing => writer.add(&entry.name, entry.kind, b"")?,
            Contents::Blob(blob) => writer.add(&entry.name, entry.kind, &clone.blob(blob)?)?,
            Contents::Given(bytes) => writer.add(&entry.name, entry.kind, &bytes)?,
        }
    }
    Ok(writer.finish()?)
}

/// Lists the regular files below a tree; symbolic links and submodules are no files of a package.
fn collect(
    clone: &BareClone,
    build: &Build,
    folder: &Folder,
    tree: ObjectId,
    path: &str,
    items: &mut Vec<Entry<Contents>>,
) -> anyhow::Result<()> {
    for entry in clone
        .tree(tree)
        .with_context(|| format!("failed to read `{path}/`"))?
    {
        let path = join(path, &entry.name);
        let excluded = |prefix: &str| path.starts_with(prefix);
        let kind = match entry.kind {
            EntryKind::Tree => {
                // A folder whose own path begins with a prefix has no file that does not.
                if !build.exclude.iter().any(|prefix| excluded(prefix)) {
                    collect(clone, build, folder, entry.id, &path, items)?;
                }
                continue;
            }
            EntryKind::File => Kind::File,
            EntryKind::Executable => Kind::Executable,
            EntryKind::Symlink | EntryKind::Submodule => continue,
        };
        let name = if folder.path.is_empty() {
            path.as_str()
        } else {
            &path[folder.path.len() + 1..]
        };
        let skip = build.exclude.iter().any(|p| excluded(p)) || ALWAYS_EXCLUDED.iter().any(|p| excluded(p));
        if !skip && name != "composer.json" {
            items.push(Entry {
                name: name.to_owned(),
                kind,
                of: Contents::Blob(entry.id),
            });
        }
    }
    Ok(())
}
