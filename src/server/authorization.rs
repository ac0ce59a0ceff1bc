//! Which users may read which path, and the credentials of a request: Basic (RFC 7617) or Bearer (RFC 6750).

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};

use super::header_fields::single_text;
use super::url_path::is_below;
use super::users::{AuthOutcome, Users};

/// Who may read a repository.
#[derive(Clone)]
pub struct AccessRule {
    /// The name of the repository.
    pub name: String,
    /// The path of its base URL, with both slashes.
    pub base: String,
    /// `None` for a public repository.
    pub users: Option<Arc<Users>>,
}

/// Who may read which repository. Clones share the users.
#[derive(Clone, Default)]
pub struct AccessRules {
    /// Of the configured repositories, the longest base first.
    configured: Vec<AccessRule>,
    /// Of repositories that were configured before, and may still be served.
    previous: Vec<AccessRule>,
}

impl AccessRules {
    /// The rules of all repositories.
    pub fn new(mut configured: Vec<AccessRule>) -> Self {
        configured.sort_by_key(|rule| Reverse(rule.base.len()));
        Self { configured, previous: Vec::new() }
    }

    /// Adds the rules of `previous` for repositories that have other names.
    pub(super) fn with_previous(self, previous: &Self) -> Self {
        let is_gone = |rule: &&AccessRule| self.configured.iter().all(|known| known.name != rule.name);
        let rules = previous.configured.iter().chain(&previous.previous);
        let previous = rules.filter(is_gone).cloned().collect();
        Self { previous, ..self }
    }

    pub(super) fn has_private(&self) -> bool {
        self.configured.iter().any(|rule| rule.users.is_some())
    }

    /// The users who may read a decoded path: those of the repository that is configured there, and those of `owner`, the
    /// repository that is served there. It is another one until the new configuration is published.
    pub(super) fn users_of(&self, path: &str, owner: Option<&str>) -> impl Iterator<Item = &Arc<Users>> {
        let configured = self.configured.iter().find(|rule| is_below(&rule.base, path));
        let is_other = configured.is_none_or(|rule| Some(&*rule.name) != owner);
        let served = self
            .configured
            .iter()
            .chain(&self.previous)
            .filter(move |_| is_other)
            .find(|rule| Some(&*rule.name) == owner);
        let rules = configured.into_iter().chain(served);
        rules.filter_map(|rule| rule.users.as_ref())
    }
}

/// Checks the credentials of a request from `client`.
pub(super) async fn authenticate(users: &Users, headers: &HeaderMap, client: Option<IpAddr>) -> AuthOutcome {
    let value = single_text(headers, AUTHORIZATION);
    let Some((scheme, credentials)) = value.and_then(|value| value.split_once(' ')) else {
        return AuthOutcome::Denied;
    };
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return users.check_token(credentials);
    }
    match basic(credentials).filter(|_| scheme.eq_ignore_ascii_case("basic")) {
        Some((user, password)) => users.check_password(&user, password, client).await,
        None => AuthOutcome::Denied,
    }
}

/// The user name ends at the first colon.
fn basic(credentials: &str) -> Option<(String, String)> {
    let pair = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::util::digest::Sha256;

    fn outcome(users: &Users, authorization: &str) -> AuthOutcome {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let value = HeaderValue::from_str(authorization).unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        runtime.block_on(authenticate(users, &headers, None))
    }

    #[test]
    fn credentials_are_checked_repeatedly_with_the_same_result() {
        let hash = bcrypt::hash("right", 4).unwrap();
        let token = Sha256::digest(b"long-and-random");
        let users = Users::parse(&format!("# comment\n\nana:{hash}\nci:sha256:{token}\n")).unwrap();
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for _ in 0..2 {
            for (authorization, is_granted) in [
                (basic("ana:right"), true),
                (basic("ana:wrong"), false),
                (basic("ana:"), false),
                (basic("bob:right"), false),
                (basic("ci:long-and-random"), true),
                (basic("ana:long-and-random"), false),
                (basic("ci:right"), false),
                (basic("ana"), false),
                (format!("bAsIc  {}", STANDARD.encode("ana:right")), true),
                ("Basic !".to_owned(), false),
                ("Bearer long-and-random".to_owned(), true),
                ("Bearer right".to_owned(), false),
                ("Digest right".to_owned(), false),
                ("Basic".to_owned(), false),
            ] {
                let expected = if is_granted { AuthOutcome::Granted } else { AuthOutcome::Denied };
                assert_eq!(outcome(&users, &authorization), expected, "{authorization}");
            }
        }
        assert_eq!(outcome(&Users::none(), &basic("ana:right")), AuthOutcome::Denied);
    }

    #[test]
    fn rule_of_longest_base_applies() {
        let private = || Some(Arc::new(Users::none()));
        let rule = |name: &str, base: &str, users: Option<Arc<Users>>| AccessRule {
            name: name.to_owned(),
            base: base.to_owned(),
            users,
        };
        let rules = AccessRules::new(vec![
            rule("a", "/", private()),
            rule("b", "/open/", None),
            rule("c", "/open/shut/", private()),
        ]);
        for (path, is_private) in [
            ("/", true),
            ("/packages.json", true),
            ("/open", false),
            ("/open/x", false),
            ("/openly", true),
            ("/open/shut", true),
            ("/open/shut/x", true),
        ] {
            assert_eq!(rules.users_of(path, None).count(), usize::from(is_private), "{path}");
        }
        // Another configuration swaps two repositories, and replaces the third by a public one.
        let changed = AccessRules::new(vec![
            rule("a", "/open/", private()),
            rule("b", "/", None),
            rule("d", "/open/shut/", None),
        ]);
        let changed = changed.with_previous(&rules);
        for (path, owner, count) in [
            ("/x", "a", 1),
            ("/x", "b", 0),
            ("/open/x", "b", 1),
            ("/open/x", "a", 1),
            ("/open/shut/x", "c", 1),
            ("/open/shut/x", "d", 0),
        ] {
            let found = changed.users_of(path, Some(owner)).count();
            assert_eq!(found, count, "{path} of {owner}");
        }
    }
}
