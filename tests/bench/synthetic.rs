//! Upstreams with the shape of Magento for machines without the real ones, made by `git fast-import`.

use crate::support::run;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// How large an upstream is.
#[derive(Clone, Copy)]
pub struct Scale {
    pub modules: usize,
    pub tags: usize,
    /// In each module.
    pub files: usize,
    /// How many of them a tag changes in each module.
    pub changes: usize,
}

impl Scale {
    /// 250 modules, 40 tags, 40,000 files.
    pub const MAGENTO: Self = Self { modules: 250, tags: 40, files: 160, changes: 8 };
    /// 250 modules of a few files.
    pub const SMALL: Self = Self { modules: 250, tags: 10, files: 3, changes: 1 };
}

/// Makes a bare repository with the tags `1.0.0` to `1.<tags - 1>.0`.
pub fn make(folder: &Path, scale: &Scale) {
    run(Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(folder));
    import(folder, |to| {
        let mut random = fastrand::Rng::with_seed(1);
        for tag in 0..scale.tags {
            commit(to, &format!("1.{tag}.0"), None)?;
            for module in 0..scale.modules {
                let changed = if tag == 0 { scale.files } else { scale.changes };
                module_files(to, module, &format!("1.{tag}.0"))?;
                for n in 0..changed {
                    let n = if tag == 0 { n } else { random.usize(0..scale.files) };
                    let text = source(&mut random);
                    file(to, &format!("app/code/Acme/Module{module}/Model/File{n}.php"), text.as_bytes())?;
                }
            }
        }
        Ok(())
    });
    run(Command::new("git").current_dir(folder).args(["repack", "-q", "-a", "-d", "--threads=2"]));
}

/// Adds a tag in which the first `modules` modules have another version.
pub fn tag(folder: &Path, tag: &str, after: &str, modules: usize) {
    import(folder, |to| {
        commit(to, tag, Some(after))?;
        for module in 0..modules {
            module_files(to, module, tag)?;
        }
        Ok(())
    });
}

fn module_files(to: &mut dyn Write, module: usize, version: &str) -> std::io::Result<()> {
    let manifest = format!(
        r#"{{"name": "acme/module-{module}", "version": "{version}", "type": "magento2-module", "require": {{"php": "~8.1.0", "acme/module-{}": "*"}}, "autoload": {{"files": ["registration.php"]}}}}"#,
        module / 2
    );
    file(to, &format!("app/code/Acme/Module{module}/composer.json"), manifest.as_bytes())
}

/// Text that compresses like source code, 1 to 8 kB.
fn source(random: &mut fastrand::Rng) -> String {
    const WORDS: [&str; 12] = [
        "public function ",
        "return $this->",
        "array ",
        "string ",
        "private $",
        "if (",
        ");\n",
        "}\n",
        "{\n",
        " = ",
        "\\Magento\\",
        "// ",
    ];
    let mut text = String::from("<?php\n");
    let length = random.usize(1_000..8_000);
    while text.len() < length {
        text.push_str(WORDS[random.usize(0..WORDS.len())]);
        text.push_str(&format!("{:x}", random.u16(..)));
    }
    text
}

/// Begins a commit with a tag of its own, on `main` or after another tag.
pub fn commit(to: &mut dyn Write, tag: &str, after: Option<&str>) -> std::io::Result<()> {
    writeln!(to, "commit refs/tags/{tag}\ncommitter a <a@b> 1700000000 +0000\ndata {}\n{tag}", tag.len())?;
    let from = match after {
        Some(after) => Some(format!("refs/tags/{after}")),
        None => previous(tag),
    };
    from.map_or(Ok(()), |from| writeln!(to, "from {from}"))
}

/// The tag before, of those that [`make`] makes.
fn previous(tag: &str) -> Option<String> {
    let n: usize = tag.split('.').nth(1)?.parse().ok()?;
    Some(format!("refs/tags/1.{}.0", n.checked_sub(1)?))
}

pub fn file(to: &mut dyn Write, path: &str, text: &[u8]) -> std::io::Result<()> {
    writeln!(to, "M 100644 inline {path}\ndata {}", text.len())?;
    to.write_all(text)?;
    writeln!(to)
}

/// Runs `git fast-import` over what `write` writes.
pub fn import(folder: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) {
    let mut git = Command::new("git")
        .current_dir(folder)
        .args(["fast-import", "--quiet", "--force"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("git starts");
    let mut to = BufWriter::new(git.stdin.take().expect("piped"));
    write(&mut to).and_then(|()| to.flush()).expect("git reads");
    drop(to);
    assert!(git.wait().expect("git ends").success());
}
