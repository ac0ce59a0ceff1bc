//! The configuration of a trial, which `mirror run` starts when there is no file, and `mirror demo` always.
//!
//! While it runs, the file [`Trial::RECORD`] on the volume has this configuration, for the other commands. It also tells that the volume
//! is that of a trial.

use std::path::PathBuf;

/// The settings of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The public base URL.
    pub url: String,
    /// The address to listen on.
    pub listen: String,
    /// The folder of the data volume.
    pub data: PathBuf,
    /// Leave out what needs a network.
    pub offline: bool,
}

impl Default for Trial {
    fn default() -> Self {
        Self {
            url: "http://localhost:8080/".to_owned(),
            listen: "[::]:8080".to_owned(),
            data: "/data".into(),
            offline: false,
        }
    }
}

impl Trial {
    /// What the first cycle does, and what it costs.
    pub const FIRST_CYCLE: &str = "The first cycle takes seconds: 3 example packages, which need no network, and 27 packages of Magento from one git repository on GitHub, which is a download of 0.5 MB and takes 11 MB on disk. Where GitHub is out of reach, the examples are published alone.";

    /// What a mirror of Magento costs.
    pub const ALL_OF_MAGENTO: &str = "All of Magento Open Source needs 20 GB of disk and 256 MB of memory. Its first build downloads all git repositories, then publishes within a minute on two processors.";

    /// How to make a mirror of one's own.
    pub const END: &str = "For a mirror of your own, mount a folder with mirror.yaml at /etc/mirror. `docker run --rm docker.io/magece/mirror init > conf/mirror.yaml` writes that file.";

    /// The name of its repository on the volume.
    pub const REPOSITORY: &str = "mirror-demo";

    /// The name of the file with its configuration, in the root of the volume.
    pub const RECORD: &str = "trial.yaml";

    /// The configuration file that has these settings. The network gets little time, because the example waits for it.
    pub fn text(&self) -> String {
        let Self { url, listen, data, offline } = self;
        let [url, listen, data] = [url, listen, &data.display().to_string()].map(|text| quoted(text));
        let only = if *offline { "    only: [example]\n" } else { "" };
        format!(
            "data: {data}\nserve: {{ listen: {listen} }}\nrepositories:\n  - name: {}\n    url: {url}\n    recipe: demo\n{only}git: {{ connect_timeout: 5s, timeout: 10s }}\n",
            Self::REPOSITORY
        )
    }
}

/// A text as a YAML string without references to the environment.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text.replace("${", "$${")).to_string()
}
