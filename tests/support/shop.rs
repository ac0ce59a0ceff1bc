//! An upstream with modules and a metapackage, as Magento has them.

use super::env::TestEnv;
use super::git::WorkTree;

pub const SOURCE: &str = "  - name: modules\n    git: https://git.example/modules\n    tags: {from: 1.0.0}\n    packages:\n      - {each: '', exclude: [_metapackage/, dev/]}\n      - {metapackage: _metapackage}\n";

/// A project of another source that contains the base URL, and what it provides.
pub const PROJECT: &str = "  - name: store\n    git: https://git.example/store\n    packages:\n      - derive:\n          package: acme/project\n          part: [{resource: parts, path: part.json}]\n          set: {version: '{tag}', type: project, repositories: [{type: composer, url: '{base_url}'}, {packagist.org: false}], config: {secure-http: false}, provide: {other/virtual: 1.0.0}}\n          require: [root]\nresources: {parts: {git: 'https://git.example/parts'}}\n";

/// Two modules and a metapackage that requires them, in two releases.
pub fn shop(env: &TestEnv) -> WorkTree {
    let upstream = env.upstream("modules");
    for version in ["1.0.0", "1.0.0-p1"] {
        let module = |name: &str, require: &str| {
            format!(
                r#"{{"name": "acme/{name}", "type": "magento2-module", "require": {{{require}}}, "version": "{version}", "autoload": {{"psr-4": {{"Acme\\{name}\\": ""}}}}}}"#
            )
        };
        upstream.write("Catalog/composer.json", &module("catalog", r#""php": ">=7""#));
        upstream.write("Catalog/Model/Product.php", &format!("<?php // {version}"));
        upstream.write("Sales/composer.json", &module("sales", &format!(r#""acme/catalog": "{version}""#)));
        upstream.write("dev/composer.json", &module("dev", ""));
        let all = format!(
            r#"{{"name": "acme/shop", "type": "metapackage", "require": {{"acme/sales": "{version}", "acme/catalog": "{version}"}}}}"#
        );
        upstream.write("_metapackage/composer.json", &all);
        upstream.release(version);
    }
    upstream
}

/// Adds keys to the repository of the configuration.
pub fn configure_repository(env: &TestEnv, keys: &str) {
    let config = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    let recipe = "recipe: ./recipe.yaml";
    env.write("mirror.yaml", &config.replace(recipe, &format!("{recipe}, {keys}")));
}
