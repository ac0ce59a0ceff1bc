//! Builds one package version: walks its tree, rewrites its manifest, writes its archive into a sink.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context as _;
use serde_json::Value;

use super::archive::{Entry, Kind, Writer, layout};
use super::plan::{Build, join};
use crate::composer::{Manifest, to_js_string};
use crate::recipe::Source;
use crate::source::{BareClone, EntryKind, ObjectId};

/// Left out of every package: the manifest is added rewritten (the prefix is the reference's: at the root of a
/// repository it also hits `composer.json.dist`).
const ALWAYS_EXCLUDED: [&str; 2] = ["composer.json", ".git/"];

/// The manifest as it will stand in the archive, checked for what would break Composer's clients.
///
/// # Errors
/// What Composer would refuse, or what git could not read.
pub fn manifest(build: &Build, source: &Source, clone: &BareClone) -> anyhow::Result<Manifest> {
    let mut manifest = Manifest::parse(&clone.blob(build.manifest)?)?;
    let pinned: Option<&BTreeMap<_, _>> = source.versions.get(&build.release.tag);
    let (name, version) = (build.name.to_string(), build.version.to_string());
    super::manifest::rewrite(&mut manifest.0, &name, &version, pinned, &source.corrections);
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
    let mut items = vec![Entry {
        name: "composer.json".to_owned(),
        kind: Kind::File,
        of: None,
    }];
    if !build.only_manifest {
        collect(clone, build, build.tree, &build.dir, &mut items)?;
    }
    let mut writer = Writer::new(sink);
    for entry in layout(items) {
        match (entry.of, entry.kind) {
            (Some(blob), kind) => writer.add(&entry.name, kind, &clone.blob(blob)?)?,
            (None, Kind::File) => writer.add(&entry.name, Kind::File, manifest.as_bytes())?,
            (None, kind) => writer.add(&entry.name, kind, b"")?,
        }
    }
    Ok(writer.finish()?)
}

/// Lists the regular files below a tree; symbolic links and submodules are no files of a package.
fn collect(
    clone: &BareClone,
    build: &Build,
    tree: ObjectId,
    path: &str,
    items: &mut Vec<Entry<Option<ObjectId>>>,
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
                    collect(clone, build, entry.id, &path, items)?;
                }
                continue;
            }
            EntryKind::File => Kind::File,
            EntryKind::Executable => Kind::Executable,
            EntryKind::Symlink | EntryKind::Submodule => continue,
        };
        let name = if build.dir.is_empty() {
            path.as_str()
        } else {
            &path[build.dir.len() + 1..]
        };
        let skip = build.exclude.iter().any(|p| excluded(p)) || ALWAYS_EXCLUDED.iter().any(|p| excluded(p));
        if !skip && name != "composer.json" {
            items.push(Entry {
                name: name.to_owned(),
                kind,
                of: Some(entry.id),
            });
        }
    }
    Ok(())
}
