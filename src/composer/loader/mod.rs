//! Which manifests every Composer from 2.0 on can load, install and validate.
//!
//! One version with a value of which `ArrayLoader` dies ends every update that asks for any version of the package, so such a
//! version is rejected, and so is what `ValidatingArrayLoader` calls an error. Where neither what Composer installs nor how it
//! resolves depends on the field, the metadata leaves out the field instead, and the archive keeps it. `null` counts as absent.

mod autoload;
mod check;
mod links;
mod omitted;
mod php_extension;
mod project;

pub use check::FieldProblem;

use serde_json::{Map, Value};

use super::php;
use check::Check;

/// The fields because of which the version is rejected.
pub(super) fn fatal_problems(manifest: &Map<String, Value>) -> Vec<FieldProblem> {
    let mut check = Check::new(manifest);
    for field in ["type", "target-dir"] {
        check.field(field, Value::is_string, "must be a string");
    }
    bin(&mut check);
    links::check(&mut check);
    autoload::check(&mut check);
    branch_aliases(&mut check);
    if php_extension::is_extension(&check) {
        php_extension::check(&mut check);
    }
    let mut problems = check.problems;
    if project::is_project(manifest) {
        // `composer create-project` reads the whole manifest of the archive, and validates it by a schema.
        problems.extend(project::problems(manifest));
        problems.extend(omitted::problems(manifest));
    }
    problems
}

/// The fields that the metadata leaves out.
pub(super) fn omitted_fields(manifest: &Map<String, Value>) -> Vec<FieldProblem> {
    let mut problems = omitted::problems(manifest);
    if !project::is_project(manifest) {
        problems.extend(project::problems(manifest));
    }
    problems
}

/// `bin` is a path or an array of paths, none of which leaves the package (GHSA-gjfg-22fp-rrxx).
fn bin(check: &mut Check<'_>) {
    let Some(bin) = check.get("bin") else { return };
    for path in php::to_list(bin) {
        match path {
            Value::String(path) if path.split(['/', '\\']).any(|part| part == "..") => {
                check.reject("bin", format!("`{path}` leaves the package"));
            }
            Value::String(_) => {}
            _ => return check.reject("bin", "must be a string or a list of strings"),
        }
    }
}

/// The alias that Composer reads of a development version is fatal; of another version it is left out.
fn branch_aliases(check: &mut Check<'_>) {
    if is_development(check) && !has_valid_aliases(check) {
        check.reject("extra.branch-alias", "must be a map of branches to versions");
    }
}

fn has_valid_aliases(check: &Check<'_>) -> bool {
    let aliases = check.get("extra").and_then(|extra| extra.get("branch-alias"));
    let is_valid = |aliases: &Value| php::is_array(aliases) && php::values(aliases).all(Value::is_string);
    aliases.is_none_or(|aliases| aliases.is_null() || is_valid(aliases))
}

/// Whether `ArrayLoader` looks for an alias of the version.
fn is_development(check: &Check<'_>) -> bool {
    let version = check.get("version").and_then(Value::as_str).unwrap_or_default();
    version.starts_with("dev-") || version.ends_with("-dev")
}

#[cfg(test)]
mod tests {
    use crate::composer::Manifest;

    /// The manifests of the tests of Composer's loaders, with the verdict of Composer 2.11.
    const CASES: &str = include_str!("cases.tsv");

    #[test]
    fn manifests_of_composers_own_tests_are_refused_or_loaded_as_by_it() {
        for (verdict, text) in CASES.lines().filter_map(|line| line.split_once('\t')) {
            let manifest = Manifest::parse(text.as_bytes()).unwrap();
            let problems = (manifest.validate().err(), manifest.omitted_fields());
            // Composer leaves a license out that is no text, with a warning.
            let is_loaded = matches!(&problems, (None, fields) if fields.iter().all(|problem| problem.field == "license"));
            assert_eq!(is_loaded, verdict == "loaded", "{text}: {problems:?}");
        }
    }
}
