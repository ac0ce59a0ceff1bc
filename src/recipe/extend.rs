//! A recipe document laid over the recipe that it extends.
//!
//! Additions come last: sources of the document are built after the extended ones, and its corrections override them.
//! Nothing can be removed from the extended recipe; `only` in the configuration selects sources.

use super::document::{Amendment, Document, Recipe, Source};

impl Document {
    /// The document over the recipe that it extends, if any.
    pub(super) fn over(self, base: Option<Recipe>) -> Recipe {
        let mut recipe = base.unwrap_or_default();
        for source in &mut recipe.sources {
            if let Some(amendment) = self.amend.get(&source.name) {
                amendment.clone().apply(source);
            }
        }
        recipe.resources.extend(self.resources);
        recipe.archives.extend(self.archives);
        recipe.sources.extend(self.sources);
        recipe.composer.extend(self.composer);
        recipe.aliases = self.aliases.or(recipe.aliases);
        recipe.retention = self.retention.or(recipe.retention);
        recipe.products.extend(self.products);
        recipe.public_urls.extend(self.public_urls);
        recipe.notes.extend(self.notes);
        recipe.external_packages.extend(self.external_packages);
        recipe.publish_incomplete.extend(self.publish_incomplete);
        recipe
    }
}

impl Amendment {
    fn apply(self, source: &mut Source) {
        if let Some(git) = self.git {
            source.git = git;
        }
        source.tags.exclude.extend(self.exclude_tags);
        source.extra_refs.extend(self.extra_refs);
        source.fixtures.extend(self.fixtures);
        source.packages.extend(self.packages);
        for (tag, versions) in self.versions {
            source.versions.entry(tag).or_default().extend(versions);
        }
        source.corrections.extend(self.corrections);
        source.replacements.extend(self.replacements);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_come_after_the_extended_recipe() {
        let text = "
extends: magento
sources:
  - { name: shop, git: https://git.example/shop.git, packages: [{ one: '' }] }
amend:
  inventory:
    exclude_tags: [1.2.0]
    versions: { 1.2.1: { magento/module-inventory: 1.2.1 } }
    corrections:
      - { package: magento/module-inventory, versions: [1.2.1], reason: ours, set: { require: { php: '*' } } }
";
        let base = Recipe::built_in("magento").unwrap().unwrap();
        let recipe = Recipe::parse("shop.yaml", text).unwrap();
        assert_eq!(recipe.sources.len(), base.sources.len() + 1);
        assert_eq!(recipe.sources.last().unwrap().name, "shop");
        assert_eq!(recipe.resources.len(), base.resources.len());
        let inventory = recipe.sources.iter().find(|s| s.name == "inventory").unwrap();
        assert_eq!(inventory.tags.exclude, ["1.2.0"]);
        assert_eq!(inventory.corrections.last().unwrap().reason, "ours");
        assert!(inventory.versions.contains_key("1.2.1"));
    }

    #[test]
    fn mistakes_in_an_extension_have_places() {
        for (text, expected) in [
            (
                "extends: magneto\n",
                "r.yaml:1:10: extends: expected a name that the built-in recipes have, found `magneto`\n  hint: did you mean `magento`?",
            ),
            (
                "extends: magento\namend:\n  inventry: {}\n",
                "r.yaml:3:13: amend.inventry: expected a name that the built-in recipes have, found `inventry`\n  hint: did you mean `inventory`?",
            ),
            (
                "extends: magento\nsources:\n- {name: inventory, git: 'https://git.example/x.git', packages: [{one: ''}]}\n",
                "r.yaml:3:10: sources[0].name: names of sources must be unique, found `inventory`\n  hint: `amend` adds to a source of the extended recipe",
            ),
            (
                "extends: magento\namend:\n  inventory:\n    corrections: [{package: a/b, reason: r}]\n",
                "r.yaml:4:19: amend.inventory.corrections[0]: expected either `versions` or `range`",
            ),
            (
                "extends: magento\nnotes: [{package: a/b, note: n, see: 'javascript:alert(1)'}]\n",
                "r.yaml:2:38: notes[0].see: expected the URL of a page, `https://…`",
            ),
            (
                "extends: magento\nproducts: [{name: '', package: Shop}]\npublic_urls: [git.example]\n",
                "r.yaml:2:19: products[0].name: expected a name for people, such as `Magento Open Source`\n\
                 r.yaml:2:32: products[0].package: expected a package name, `vendor/name` in lower case, found `Shop`\n\
                 r.yaml:3:15: public_urls[0]: expected the beginning of URLs, such as `https://github.com/acme/`, found `git.example`",
            ),
            (
                "sources: [{name: a, git: 'https://git.example/x.git', packages: []}]\n",
                "r.yaml:1:65: sources[0].packages: a source requires at least one rule",
            ),
            (
                "sources: [{name: a, git: 'https://git.example/x.git', packages: [{one: ''}]}]\namend: {a: {}, b: {}}\n",
                "r.yaml:2:8: amend: `amend` requires `extends`\n  hint: it adds to sources of a built-in recipe; change this recipe's own sources in place",
            ),
            (
                "extends: magento\ncomposer: [{name: a, url: 'https://u:p@packages.example/', packages: {}, stands_in_for: magneto2}]\n",
                "r.yaml:2:27: composer[0].url: a URL must not contain a password or token\n  hint: use `git.credentials`\n\
                 r.yaml:2:70: composer[0].packages: expected the packages to take\n  hint: such as `{acme/shop: ^2.0}`, or `{\"acme/*\": \"*\"}`\n\
                 r.yaml:2:89: composer[0].stands_in_for: expected the name of a git source, found `magneto2`\n  hint: did you mean `magento2`?",
            ),
            ("resources: {}\n", "r.yaml:1:1: expected `sources`, `archives`, `composer` or `extends`"),
            (
                "composer: [{name: a, url: 'https://packages.example/', packages: {Acme/*: ^1}}]\n",
                "r.yaml:1:75: composer[0].packages[\"Acme/*\"]: expected a package name or a pattern such as `vendor/*`, in lower case, found `Acme/*`",
            ),
            (
                "composer: [{name: a, url: 'https://packages.example/', packages: {acme/*: newest}}]\n",
                "r.yaml:1:75: composer[0].packages[\"acme/*\"]: expected a version constraint that Composer can read, found `newest`\n  hint: all versions are `\"*\"`",
            ),
        ] {
            assert_eq!(Recipe::parse("r.yaml", text).unwrap_err().to_string(), expected, "{text}");
        }
    }
}
