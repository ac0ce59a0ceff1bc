//! The commented configuration that `mirror init` writes.

use crate::config::quoted_yaml;

/// What the file says; an empty text leaves a key out.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) recipe: String,
    pub(super) only: Vec<String>,
    pub(super) url: String,
    pub(super) name: String,
    pub(super) schedule: String,
    pub(super) timezone: String,
    pub(super) data: String,
    pub(super) operator: String,
    pub(super) contact: String,
}

pub(super) fn render(settings: &Settings) -> String {
    let Settings { recipe, only, url, name, schedule, timezone, data, operator, contact } = settings;
    let [recipe, url, name, schedule, timezone, data] =
        [recipe, url, name, schedule, timezone, data].map(|text| quoted_yaml(text));
    let only: Vec<_> = only.iter().map(|source| quoted_yaml(source)).collect();
    let only = match only.is_empty() {
        true => {
            "    # only: [SOURCE, SOURCE]     # only these sources of the recipe; `mirror check` lists them\n"
                .to_owned()
        }
        false => {
            format!("    only: [{}]  # only these sources of the recipe\n", only.join(", "))
        }
    };
    let site = match operator.is_empty() && contact.is_empty() {
        true => "# site:\n#   name: Example Hosting\n#   contact: mirror@example.com\n".to_owned(),
        false => {
            let keys = [("name", operator), ("contact", contact)];
            let keys = keys.iter().filter(|(_, value)| !value.is_empty());
            let keys: String =
                keys.map(|(key, value)| format!("  {key}: {}\n", quoted_yaml(value))).collect();
            format!("site:\n{keys}")
        }
    };
    format!(
        r#"# Configuration of a mirror of Composer packages, written by `mirror init`.
#
# `mirror check` explains it and finds mistakes; `mirror help config` describes every key.
# A running mirror loads this file again within seconds after a change.

# Who runs the mirror; shown on its pages.
{site}
# The folder of the data volume. All of Magento needs 20 GB.
data: {data}

serve:
  listen: "[::]:8080"          # address and port of HTTP; for HTTPS, put a proxy in front, or see serve.tls

repositories:
  - name: {name}
    # The public URL: the beginning of all download URLs. The packages are served below its path.
    url: {url}
    # magento, mage-os, demo, or a recipe file such as ./recipe.yaml
    recipe: {recipe}
{only}    # When to look for new releases: crontab fields (minute, hour, day, month, weekday), or @hourly, @daily, @weekly
    schedule: {schedule}
    timezone: {timezone}
    # users: /etc/mirror/users   # who may read it, made by `htpasswd -B`; default: everybody

# Fetch from a git server of your own instead of GitHub.
# git:
#   rewrite:
#     "https://github.com/mage-os/": "https://git.example.com/mage-os/"

# Call a webhook when something fails or recovers.
# notify:
#   - url: https://hooks.example.com/mirror
"#
    )
}
