//! Which URLs of a recipe everybody may see. The others may be internal.

use super::document::Recipe;

impl Recipe {
    /// The URL of a git source for people, if the recipe says that it is public.
    pub fn public_page(&self, source: &str) -> Option<&str> {
        let source = self.sources.iter().find(|known| known.name == source)?;
        self.is_public(&source.git).then(|| source.git.trim_end_matches(".git"))
    }

    /// The URLs that the recipe does not call public.
    pub fn internal_urls(&self) -> impl Iterator<Item = &str> {
        self.urls().filter(|url| !self.is_public(url))
    }

    fn is_public(&self, url: &str) -> bool {
        self.public_urls.iter().any(|prefix| url.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_public_by_prefix() {
        let recipe = Recipe::parse(
            "r.yaml",
            "public_urls: ['https://forge.example/acme/']
sources:
  - { name: open, git: 'https://forge.example/acme/open.git', packages: [{ one: '' }] }
  - { name: closed, git: 'https://forge.example/other/closed.git', packages: [{ one: '' }] }
",
        )
        .unwrap();
        assert_eq!(recipe.public_page("open"), Some("https://forge.example/acme/open"));
        assert_eq!(recipe.public_page("closed"), None);
        assert!(recipe.internal_urls().eq(["https://forge.example/other/closed.git"]));
    }
}
