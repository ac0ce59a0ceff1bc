//! What the pages of a trial say: what it is, what it costs, and how to make a mirror of one's own.

use maud::{Markup, html};

use super::layout::copyable;
use crate::config::Trial;

const OWN: &str = "mkdir -p conf
docker run --rm docker.io/magece/mirror init > conf/mirror.yaml
docker run -d --name mirror -p 8080:8080 \\
  -v \"$PWD/conf:/etc/mirror:ro\" -v mirror-data:/data docker.io/magece/mirror";

/// The block at the top of a trial's pages.
pub fn trial() -> Markup {
    html! {
        section aria-labelledby="trial" {
            h2 #trial { "This is a trial" }
            p { "This mirror runs without a configuration and publishes example packages. " (Trial::FIRST_CYCLE) }
            p { (Trial::ALL_OF_MAGENTO) }
            p { "For a mirror of your own, stop this one, write a configuration, and start the mirror with it:" }
            (copyable(OWN))
            p { "In Kubernetes, mount a ConfigMap with " code { "mirror.yaml" } " at " code { "/etc/mirror" } "." }
        }
    }
}
