//! The rules for the layout of `src`: imports go down only, rooms of one floor use each other without a circle, files are short.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The floors, from the top. A room is a folder or a file in `src`; `main.rs` and `lib.rs` stand above all.
const FLOORS: [&[&str]; 8] = [
    &["cli"],
    &["daemon"],
    &["app"],
    &["server"],
    &["acme", "status", "telemetry", "cycle"],
    &["metadata", "package", "store", "git", "composer_repository", "bucket"],
    &["config", "recipe", "net", "schedule", "webhook"],
    &["composer", "ledger", "yaml", "util", "help"],
];

/// Lines of a file without its tests.
const MAX_LINES: usize = 400;

#[test]
fn imports_go_down_only() {
    let mut errors = Vec::new();
    let mut neighbours = BTreeSet::new();
    for (path, text) in sources() {
        let Some((room, floor)) = room(&path) else {
            continue;
        };
        for (number, line) in production(&text) {
            let code = line.split("//").next().unwrap();
            for word in code.split("crate::").skip(1) {
                let target: String = word.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                match FLOORS.iter().position(|rooms| rooms.contains(&&*target)) {
                    Some(other) if other < floor => {
                        errors.push(format!(
                            "{}:{number}: {room} imports {target}, which is above it",
                            path.display()
                        ));
                    }
                    Some(other) if other == floor && target != room => {
                        neighbours.insert((room.clone(), target));
                    }
                    Some(_) => {}
                    None => errors.push(format!("{}:{number}: `crate::{target}` is no room", path.display())),
                }
            }
        }
    }
    for (from, to) in &neighbours {
        if is_reachable(&neighbours, to, from) {
            errors.push(format!("{from} imports {to}, which imports {from}, perhaps by others of its floor"));
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn files_are_short() {
    for (path, text) in sources() {
        let lines = production(&text).count();
        assert!(lines <= MAX_LINES, "{}: {lines} lines, more than {MAX_LINES}", path.display());
    }
}

/// Whether the edges lead from one room to another.
fn is_reachable(edges: &BTreeSet<(String, String)>, from: &str, to: &str) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(room) = open.pop() {
        if seen.insert(room) {
            open.extend(edges.iter().filter(|(start, _)| start == room).map(|(_, end)| &**end));
        }
    }
    seen.contains(to)
}

/// The room of a file and its floor.
fn room(path: &Path) -> Option<(String, usize)> {
    let name = path.iter().nth(1).unwrap().to_str().unwrap();
    let room = name.strip_suffix(".rs").unwrap_or(name);
    let floor = FLOORS.iter().position(|rooms| rooms.contains(&room));
    assert!(floor.is_some() || ["lib", "main", "docs"].contains(&room), "the room `{room}` has no floor");
    floor.map(|floor| (room.to_owned(), floor))
}

/// The numbered lines before the tests of a file.
fn production(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().take_while(|line| *line != "mod tests {");
    lines.enumerate().map(|(index, line)| (index + 1, line))
}

/// The Rust files in `src` but for those of tests, relative to the package.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut sources) = (vec![root.join("src")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                sources.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    sources
}
