//! A repository in whichever form it is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use url::Url;

use super::address::Address;
use super::changes::Changes;
use super::filter_lists::FilterLists;
use super::packages::{FilterEntry, Packages, PackagesFile};
use super::root::{PhpMap, Root, Sha256Hash};
use super::transport::{Access, Downloaded, Transport};
use super::version::{ArchivePlaces, RemoteVersion, Versions};
use super::weight::weight;
use crate::composer::{NamePattern, PackageName};
use crate::util::digest::{Sha1, Sha256};

/// A Composer repository, opened for one cycle.
pub struct ComposerRepository<'a> {
    transport: Transport<'a>,
    form: Form,
    places: Arc<ArchivePlaces>,
    /// Lists names.
    list: Option<Url>,
    changes: Option<Changes>,
    /// `filter` of packages.json.
    filter: Option<Box<RawValue>>,
}

/// What is listed of a package.
#[derive(Default)]
struct Listed {
    manifests: Vec<Map<String, Value>>,
    filters: Vec<FilterEntry>,
}

enum Form {
    /// All versions are in packages.json and its includes.
    Whole(Packages),
    /// A file for each package.
    Files(PackageFiles),
    /// A file for each package, named by its digest, as for Composer 1.
    Providers { template: String, hashes: BTreeMap<String, Sha256>, inline: Packages },
}

struct PackageFiles {
    template: String,
    /// Whether branches have files of their own.
    has_branch_files: bool,
    /// Packages in packages.json itself, which have no file.
    inline: Packages,
    available: Option<Available>,
}

/// The packages that a repository is limited to.
struct Available {
    names: BTreeSet<String>,
    patterns: Vec<NamePattern>,
}

/// The answer of the URL that lists names.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NameList {
    package_names: Vec<String>,
}

impl<'a> ComposerRepository<'a> {
    /// Opens the repository at this URL, which may be that of a packages.json, or of a folder.
    ///
    /// # Errors
    /// What it sends is no repository, or cannot be had.
    pub fn open(url: &Url, access: Access<'a>) -> anyhow::Result<Self> {
        let limit = access.limits.upstream_metadata;
        let transport = Transport::new(Address::new(url)?, access);
        let root = transport.get(&transport.address.root, |body| {
            let root: Root = serde_json::from_slice(body)?;
            let mut packages = Packages::default();
            match &root.packages {
                Some(listed) => packages.add(listed)?,
                None if root.is_bare() => packages.add_bare(body)?,
                None => {}
            }
            Ok((root, packages, weight(body)))
        })?;
        let (mut root, packages, size) = root.context("it has no packages.json")?;
        let (mirrors, filter) = (root.take_mirrors(), root.filter.take());
        let resolve = |url: Option<&str>| url.map(|url| transport.address.resolve(url)).transpose();
        let (list, feed) = (resolve(root.list_url())?, resolve(root.changes_url())?);
        let form = form(&transport, root, packages, &mut Room { left: limit.saturating_sub(size), limit })?;
        // A copied folder has no feed.
        let changes = feed.filter(|url| matches!(form, Form::Files(_)) && url.scheme() != "file");
        let changes = changes.map(|url| Changes::ask(&transport, &url)).transpose()?;
        let places = Arc::new(ArchivePlaces { address: transport.address.clone(), mirrors });
        Ok(Self { transport, form, places, list, changes, filter })
    }

    /// The names that match one of these patterns. A name without wildcard counts unless the repository says that it does not
    /// have it.
    pub fn names(&self, patterns: &[NamePattern]) -> anyhow::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for pattern in patterns {
            match pattern.exact_name() {
                Some(name) => names.extend(self.may_have(name).then(|| name.to_owned())),
                None => names.extend(self.matching(pattern)?),
            }
        }
        Ok(names)
    }

    fn matching(&self, pattern: &NamePattern) -> anyhow::Result<BTreeSet<String>> {
        let mut names = self.listed();
        match (&self.form, &self.list) {
            (Form::Files(PackageFiles { available: Some(available), .. }), _)
                if available.patterns.is_empty() => {}
            (Form::Files(_), Some(list)) => {
                let mut url = list.clone();
                url.query_pairs_mut().append_pair("filter", pattern.as_str());
                let listed: Option<NameList> =
                    self.transport.get(&url, |body| Ok(serde_json::from_slice(body)?))?;
                let listed = listed.map(|list| list.package_names).unwrap_or_default();
                names.extend(listed.into_iter().map(|name| name.to_ascii_lowercase()));
            }
            (Form::Files(_), None) => {
                bail!(
                    "it does not list its packages, so `{pattern}` cannot be looked up\nhint: name the packages one by one"
                )
            }
            _ => {}
        }
        names.retain(|name| pattern.matches(name));
        Ok(names)
    }

    /// The names in packages.json and its includes.
    fn listed(&self) -> BTreeSet<String> {
        match &self.form {
            Form::Whole(packages) => packages.names(),
            Form::Providers { hashes, inline, .. } => hashes.keys().cloned().chain(inline.names()).collect(),
            Form::Files(files) => {
                let available = files.available.iter().flat_map(|available| &available.names);
                available.cloned().chain(files.inline.names()).collect()
            }
        }
    }

    fn may_have(&self, name: &str) -> bool {
        match &self.form {
            Form::Files(files) => files.may_have(name),
            _ => self.listed().contains(name),
        }
    }

    /// The versions of a package; none if the repository does not have it. Branches are asked for only `with_branches`.
    pub fn versions(&self, name: &str, with_branches: bool) -> anyhow::Result<Versions> {
        name.parse::<PackageName>()?;
        let Listed { manifests, filters } =
            self.listed_of(name, with_branches).with_context(|| format!("the versions of {name}"))?;
        let mut versions = Versions { filters, ..Versions::default() };
        for manifest in manifests {
            match RemoteVersion::new(name, manifest, &self.places) {
                Ok(version) if with_branches || !version.is_branch() => versions.versions.push(version),
                Ok(_) => {}
                Err(unreadable) => versions.unreadable.push(unreadable),
            }
        }
        Ok(versions)
    }

    /// What it flags beside the files of its packages.
    pub fn filter_lists(&self) -> anyhow::Result<FilterLists<'_>> {
        FilterLists::new(&self.transport, self.filter.as_deref())
    }

    fn listed_of(&self, name: &str, with_branches: bool) -> anyhow::Result<Listed> {
        let manifests = match &self.form {
            Form::Whole(packages) => packages.versions(name).unwrap_or_else(|| Ok(Vec::new())),
            Form::Files(files) => match files.inline.versions(name) {
                Some(inline) => inline,
                None if !files.may_have(name) => Ok(Vec::new()),
                None => {
                    let mut listed = self.package_file(files, name, name)?;
                    if with_branches && files.has_branch_files {
                        let branches = self.package_file(files, name, &format!("{name}~dev"))?;
                        listed.manifests.extend(branches.manifests);
                    }
                    return Ok(listed);
                }
            },
            Form::Providers { template, hashes, inline } => match (inline.versions(name), hashes.get(name)) {
                (Some(inline), _) => inline,
                (None, Some(hash)) => self.provider_file(template, name, *hash),
                (None, None) => Ok(Vec::new()),
            },
        };
        Ok(Listed { manifests: manifests?, filters: Vec::new() })
    }

    fn package_file(&self, files: &PackageFiles, name: &str, file: &str) -> anyhow::Result<Listed> {
        let url = self.transport.address.resolve(&files.template.replace("%package%", file))?;
        let read = |body: &[u8]| {
            let file = serde_json::from_slice::<PackagesFile>(body)?;
            let manifests = file.versions_of(name, self.transport.metadata_limit())?;
            Ok(Listed { manifests, filters: file.filters_of(name) })
        };
        if self.changes.as_ref().is_some_and(|changes| changes.is_current(file))
            && let Some(kept) = self.transport.kept(&url, read)?
        {
            return Ok(kept.unwrap_or_default());
        }
        let Some(changes) = &self.changes else {
            return Ok(self.transport.get(&url, read)?.unwrap_or_default());
        };
        let was_there = self.transport.kept(&url, |_| Ok(()))?.flatten().is_some();
        let listed = self.transport.get(&url, read)?;
        match listed {
            Some(_) => changes.set_current(file, self.transport.date_of_kept(&url)),
            None if !was_there => changes.set_missing(file),
            None => {}
        }
        Ok(listed.unwrap_or_default())
    }

    fn provider_file(
        &self,
        template: &str,
        name: &str,
        hash: Sha256,
    ) -> anyhow::Result<Vec<Map<String, Value>>> {
        let url = template.replace("%package%", name).replace("%hash%", &hash.to_string());
        let url = self.transport.address.resolve(&url)?;
        let is_it = |body: &[u8]| Sha256::digest(body) == hash;
        let found = self.transport.get_fixed(&url, is_it, |body| {
            ensure!(is_it(body), "it has SHA-256 {}, not {hash}", Sha256::digest(body));
            serde_json::from_slice::<PackagesFile>(body)?.versions_of(name, self.transport.metadata_limit())
        })?;
        found.with_context(|| format!("`{}` is missing", crate::net::redacted(url.as_str())))
    }

    /// Writes the archive at one of the URLs of a version, at most `limits.archive` bytes of it.
    pub fn download(&self, url: &str, into: &mut dyn Write) -> anyhow::Result<Downloaded> {
        self.transport.download(&self.archive_url(url)?, into)
    }

    /// How many bytes the archive of a version has, if that can be known without downloading it.
    pub fn archive_size(&self, version: &RemoteVersion) -> Option<u64> {
        let url = self.archive_url(version.urls().first()?).ok()?;
        self.transport.size(&url).ok()?
    }

    fn archive_url(&self, url: &str) -> anyhow::Result<Url> {
        let address = &self.transport.address;
        let in_folder = address.folder().and_then(|_| address.in_folder(url).ok());
        let in_folder = in_folder.filter(|file| file.to_file_path().is_ok_and(|path| path.is_file()));
        in_folder.map_or_else(|| address.resolve(url), Ok)
    }

    /// Remembers for the next cycle what is current, and forgets the answers that nobody has asked for.
    pub fn finish(&self) -> anyhow::Result<()> {
        self.changes.iter().try_for_each(|changes| changes.save(&self.transport))?;
        self.transport.cache.remove_unused();
        Ok(())
    }
}

impl PackageFiles {
    fn may_have(&self, name: &str) -> bool {
        let is_available = |available: &Available| {
            available.names.contains(name) || available.patterns.iter().any(|pattern| pattern.matches(name))
        };
        self.inline.versions(name).is_some() || self.available.as_ref().is_none_or(is_available)
    }
}

/// The room that is left for includes, in bytes.
struct Room {
    left: usize,
    limit: usize,
}

impl Room {
    fn take(&mut self, size: usize) -> anyhow::Result<()> {
        let left = self.left.checked_sub(size);
        self.left = left.with_context(|| {
            let limit = self.limit;
            format!("its includes have more than {limit} bytes\nhint: `limits.upstream_metadata` in the configuration")
        })?;
        Ok(())
    }
}

/// As `loadRootServerFile` and `loadDataFromServer` decide.
fn form(
    transport: &Transport<'_>,
    mut root: Root,
    packages: Packages,
    room: &mut Room,
) -> anyhow::Result<Form> {
    // The files of a copied folder are beside each other, whatever they were on the web; an include has all of them.
    let has_includes = !matches!(&root.includes, PhpMap::Map(map) if map.is_empty());
    let is_copy = transport.address.folder().is_some() && has_includes;
    if let Some((template, has_branch_files)) = root.package_template().filter(|_| !is_copy) {
        let template = template.to_owned();
        let (names, patterns) = root.take_available();
        let is_limited = !names.is_empty() || !patterns.is_empty();
        let names = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        let patterns = patterns.iter().map(|pattern| NamePattern::new(pattern)).collect();
        let available = is_limited.then_some(Available { names, patterns });
        return Ok(Form::Files(PackageFiles { template, has_branch_files, inline: packages, available }));
    }
    if let Some(template) = root.providers_template() {
        let template = template.to_owned();
        let mut hashes = BTreeMap::new();
        let (listed, includes) = (root.providers.into_map(), root.provider_includes.into_map());
        add_hashes(listed, &mut hashes);
        add_provider_includes(transport, includes, &mut hashes, room)?;
        return Ok(Form::Providers { template, hashes, inline: packages });
    }
    let mut packages = packages;
    let includes = root.includes.into_map();
    let includes = includes.into_iter().map(|(path, hash)| (path, hash.sha1)).collect();
    add_includes(transport, includes, &mut packages, room)?;
    Ok(Form::Whole(packages))
}

fn add_hashes(listed: BTreeMap<String, Sha256Hash>, to: &mut BTreeMap<String, Sha256>) {
    to.extend(listed.into_iter().map(|(name, hash)| (name.to_ascii_lowercase(), hash.sha256)));
}

fn add_provider_includes(
    transport: &Transport<'_>,
    mut open: BTreeMap<String, Sha256Hash>,
    to: &mut BTreeMap<String, Sha256>,
    room: &mut Room,
) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    while let Some((path, Sha256Hash { sha256 })) = open.pop_first() {
        if !seen.insert((path.clone(), sha256)) {
            continue;
        }
        let url = transport.address.resolve(&path.replace("%hash%", &sha256.to_string()))?;
        let is_it = |body: &[u8]| Sha256::digest(body) == sha256;
        let read = transport.get_fixed(&url, is_it, |body| {
            ensure!(is_it(body), "it has SHA-256 {}, not {sha256}", Sha256::digest(body));
            let root: Root = serde_json::from_slice(body)?;
            Ok((root.providers.into_map(), root.provider_includes.into_map(), weight(body)))
        })?;
        let (listed, includes, size) = read.with_context(|| format!("`{path}` is missing"))?;
        room.take(size)?;
        add_hashes(listed, to);
        open.extend(includes);
    }
    Ok(())
}

/// Composer takes the SHA-1 of an include only to know whether it has it already; there are mirrors that change their includes
/// afterwards. Archives are checked by what the include says of them.
fn add_includes(
    transport: &Transport<'_>,
    mut open: BTreeMap<String, Option<String>>,
    to: &mut Packages,
    room: &mut Room,
) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    while let Some((path, sha1)) = open.pop_first() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let url = transport.address.resolve(&path)?;
        let is_it = |body: &[u8]| sha1.as_ref().is_some_and(|sha1| Sha1::digest(body).to_string() == *sha1);
        let read = transport.get_fixed(&url, is_it, |body| {
            if sha1.is_some() && !is_it(body) {
                tracing::warn!(
                    include = path,
                    "its SHA-1 is not the one in packages.json; Composer does not mind"
                );
            }
            let file: PackagesFile = serde_json::from_slice(body)?;
            let mut packages = Packages::default();
            file.packages.iter().try_for_each(|listed| packages.add(listed))?;
            Ok((packages, file.includes.into_map(), weight(body)))
        })?;
        let (packages, includes, size) = read.with_context(|| format!("the include `{path}` is missing"))?;
        room.take(size)?;
        to.merge(packages);
        open.extend(includes.into_iter().map(|(path, hash)| (path, hash.sha1)));
    }
    Ok(())
}
