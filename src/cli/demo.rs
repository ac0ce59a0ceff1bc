//! `mirror demo`: a trial. In a container, `mirror run` does the same when it finds no configuration.

use std::path::PathBuf;

use crate::config::Trial;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
It publishes three example packages, which are part of the program, and Magento's security packages from one git repository
on GitHub. Nothing is written but below the data folder. `--config` is not used.")]
pub(super) struct Arguments {
    /// Leave out what needs a network
    #[arg(long)]
    offline: bool,
    /// Folder for the data; empty, or that of an earlier trial
    #[arg(long, value_name = "FOLDER", default_value = "/data")]
    data: PathBuf,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080")]
    listen: String,
    /// URL under which clients reach it; another one is needed when the port is published as another one
    #[arg(long, default_value = "http://localhost:8080/")]
    url: String,
}

impl Arguments {
    pub(super) fn trial(self) -> Trial {
        let Self { offline, data, listen, url } = self;
        Trial { url, listen, data, offline }
    }
}
