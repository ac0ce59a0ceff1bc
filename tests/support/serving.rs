//! A running mirror with one package.

use super::lab::{Lab, Running, free_port, get};

const SOURCE: &str = "  - name: modules\n    git: https://git.example/modules\n    packages: [{each: ''}]\n";

pub struct Mirror {
    pub _lab: Lab,
    pub port: u16,
    pub _running: Running,
}

impl Mirror {
    pub fn start() -> Self {
        let (lab, port) = Self::built();
        let running = lab.serve("serve", port);
        Self {
            _lab: lab,
            port,
            _running: running,
        }
    }

    pub fn built() -> (Lab, u16) {
        let (lab, port) = (Lab::new(), free_port());
        let upstream = lab.upstream("modules");
        upstream.write("a/composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#);
        upstream
            .write("a/Code.php", &"<?php // a\n".repeat(400))
            .release("1.0.0");
        lab.configure(port, SOURCE);
        lab.build(0);
        (lab, port)
    }

    /// The path of `include/all$….json`, as packages.json names it.
    pub fn include(&self) -> String {
        let root: serde_json::Value =
            serde_json::from_slice(&get(self.port, "/mirror/packages.json").body).unwrap();
        let (path, _) = root["includes"].as_object().unwrap().iter().next().unwrap();
        format!("/mirror/{}", path.replace('$', "%24"))
    }
}
