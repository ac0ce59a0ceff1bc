//! The real Composer client, in a project folder with a home of its own.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::missing;

pub struct ComposerProject<'a> {
    pub folder: &'a Path,
}

impl ComposerProject<'_> {
    /// Runs Composer, which must succeed, and returns what it printed.
    pub fn composer(&self, arguments: &[&str]) -> String {
        let output = self.try_composer(arguments);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "composer {arguments:?}\n{text}");
        text
    }

    pub fn try_composer(&self, arguments: &[&str]) -> Output {
        Command::new("composer")
            .current_dir(self.folder)
            .args(arguments)
            .args(["--no-interaction", "--no-ansi"])
            .env("COMPOSER_HOME", self.folder.join(".home"))
            .env("COMPOSER_ALLOW_SUPERUSER", "1")
            .output()
            .unwrap_or_else(|error| panic!("{}", missing("composer", &error)))
    }
}
