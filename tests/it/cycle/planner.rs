//! Which folder of a ref is which package version.

use crate::support::env::TestEnv;
use crate::support::free_port;

#[test]
fn package_version_in_two_folders_is_ambiguous() {
    let env = TestEnv::new();
    let upstream = env.upstream("good");
    let manifest = r#"{"name": "acme/good", "version": "1.0.0"}"#;
    upstream.write("a/composer.json", manifest).write("b/composer.json", manifest).release("1.0.0");
    env.configure(free_port(), "  - {name: good, git: https://git.example/good, packages: [{each: ''}]}\n");
    // Versions that are equal in both folders are accepted.
    env.build(0);
    upstream.write("b/text", "and more").release("1.0.1");
    for _ in 0..2 {
        let log = env.build(1);
        assert!(
            log.contains("`a/composer.json` is the same version of the package with other contents"),
            "{log}"
        );
    }
}
