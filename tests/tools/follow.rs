//! Installs with the real Composer from a mirror that follows another one, while that one and Packagist are out of reach.

use serde_json::Value;

use crate::composer::ComposerProject;
use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::shop::{PROJECT, SOURCE, configure_repository, shop};
use crate::support::store::read;

#[test]
fn project_is_installed_from_a_follower_alone() {
    for is_private in [false, true] {
        let (origin, origin_port) = (TestEnv::new(), free_port());
        shop(&origin);
        let requirement =
            r#"{"name": "acme/store", "version": "1.0.0", "require": {"acme/shop": "1.0.0-p1"}}"#;
        origin.upstream("store").write("composer.json", requirement).release("1.0.0");
        origin.upstream("parts").write("part.json", r#"{"name": "acme/project"}"#).release("1.0.0");
        origin.configure(origin_port, &format!("{SOURCE}{PROJECT}"));
        let (env, port) = (TestEnv::new(), free_port());
        let url = |port: u16| format!("http://127.0.0.1:{port}/mirror/");
        let (mut users, mut git) = ("", String::new());
        if is_private {
            let user = |password: &str| {
                let digest = mirror::util::digest::Sha256::digest(password.as_bytes());
                format!("ci:sha256:{digest}\n")
            };
            configure_repository(&origin, "users: users");
            origin.write("users", &user("of-the-origin"));
            env.write("users", &user("of-the-follower"));
            env.write("password", "of-the-origin\n");
            users = ", users: users";
            let credential =
                format!("{{url: '{}', username: ci, password_file: password}}", url(origin_port));
            git = format!("git: {{credentials: [{credential}]}}\n");
            let login = r#"{"username": "ci", "password": "of-the-follower"}"#;
            let auth = format!(r#"{{"http-basic": {{"127.0.0.1:{port}": {login}}}}}"#);
            env.write("work/.home/auth.json", &auth);
        }
        origin.build(0);
        let origin_server = origin.serve("serve", origin_port);
        env.write(
            "mirror.yaml",
            &format!(
                "data: {data}\nserve: {{listen: ['127.0.0.1:{port}'], drain: 5s, notice: 0s}}\nrepositories:\n  - {{name: acme, url: '{own}', follow: ['{followed}']{users}}}\n{git}",
                data = env.path("data").display(),
                own = url(port),
                followed = url(origin_port),
            ),
        );
        env.build(0);
        assert_eq!(origin_server.stop(), Some(0));
        let _server = env.serve("serve", port);
        env.write("work/.home/config.json", r#"{"config": {"secure-http": false}}"#);
        let work = env.path("work");
        let repository = format!("--repository-url={}", url(port));
        let said = ComposerProject { folder: &work }.composer(&[
            "create-project",
            "--no-secure-http",
            "-vvv",
            &repository,
            "acme/project",
            "store",
        ]);
        let requests =
            said.lines().filter(|line| line.starts_with("[200]") || line.starts_with("Downloading http"));
        let elsewhere: Vec<_> = requests.filter(|line| !line.contains(&url(port))).collect();
        assert!(elsewhere.is_empty(), "{elsewhere:?}");
        let manifest: Value = serde_json::from_str(&read(&env, "work/store/composer.json")).unwrap();
        assert_eq!(manifest["repositories"][0]["url"], url(port));
        for module in ["catalog", "sales"] {
            let manifest = read(&env, &format!("work/store/vendor/acme/{module}/composer.json"));
            assert_eq!(serde_json::from_str::<Value>(&manifest).unwrap()["version"], "1.0.0-p1");
        }
        let lock: Value = serde_json::from_str(&read(&env, "work/store/composer.lock")).unwrap();
        let packages = lock["packages"].as_array().unwrap();
        let is_ours = |package: &Value| match &package["dist"]["url"] {
            Value::String(dist) => dist.starts_with(&url(port)),
            _ => package["type"] == "metapackage",
        };
        assert!(packages.len() == 3 && packages.iter().all(is_ours), "{lock:#}");
        // Again, from the lock file alone, with an empty cache.
        std::fs::remove_dir_all(env.path("work/store/vendor")).unwrap();
        let store = env.path("work/store");
        if is_private {
            std::fs::create_dir(store.join(".home")).unwrap();
            std::fs::copy(work.join(".home/auth.json"), store.join(".home/auth.json")).unwrap();
        }
        ComposerProject { folder: &store }.composer(&["install"]);
        assert_eq!(read(&env, "work/store/vendor/acme/catalog/Model/Product.php"), "<?php // 1.0.0-p1");
    }
}
