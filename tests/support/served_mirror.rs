//! A running mirror with one package.

use super::env::{MirrorProcess, TestEnv};
use super::free_port;
use super::http::get;
const SOURCE: &str = "  - name: modules\n    git: https://git.example/modules\n    packages: [{each: ''}]\n";

pub struct ServedMirror {
    pub _env: TestEnv,
    pub port: u16,
    pub _running: MirrorProcess,
}

impl ServedMirror {
    pub fn start() -> Self {
        let (env, port) = Self::built();
        let running = env.serve("serve", port);
        Self { _env: env, port, _running: running }
    }

    pub fn built() -> (TestEnv, u16) {
        let (env, port) = (TestEnv::new(), free_port());
        let upstream = env.upstream("modules");
        upstream.write("a/composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#);
        upstream.write("a/Code.php", &"<?php // a\n".repeat(400)).release("1.0.0");
        env.configure(port, SOURCE);
        env.build(0);
        (env, port)
    }

    /// The path of `include/all$….json`, as packages.json names it.
    pub fn include(&self) -> String {
        let root: serde_json::Value =
            serde_json::from_slice(&get(self.port, "/mirror/packages.json").body).unwrap();
        let (path, _) = root["includes"].as_object().unwrap().iter().next().unwrap();
        format!("/mirror/{}", path.replace('$', "%24"))
    }
}
