//! Alerts: which events follow from a change of state, and the notification that a webhook receives.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::input::{Failure, StatusInput};
use super::mirror_json::diverged_version;
use super::state::State;
use crate::config::Event;
use crate::util::text::inert;

/// Failures, and diverged versions, that a notification lists; it counts the rest.
const MAX_LISTED: usize = 20;

/// The part of a repository's status that events are derived from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertState {
    state: State,
    /// Whether the last cycle failed.
    failing: bool,
    /// The names of the failures. A failure whose reason changes is not reported again.
    failed: BTreeSet<String>,
    /// The diverged versions, each with upstream's commit.
    diverged: BTreeSet<String>,
}

impl AlertState {
    pub fn new(input: &StatusInput<'_>) -> Self {
        Self {
            state: input.state(),
            failing: input.last_failed(),
            failed: input.failures().into_iter().map(|failure| failure.name).collect(),
            diverged: input.report.diverged().map(ToString::to_string).collect(),
        }
    }

    /// The state that the first observation is compared with. Only the failure of a mirror's very first cycle is an event then.
    pub fn unknown(now: &Self) -> Self {
        Self { failing: now.failing && now.state != State::Empty, ..now.clone() }
    }

    /// The events between `self` and `now`.
    pub fn events_until(&self, now: &Self) -> Vec<Event> {
        let was_new = self.state == State::Empty && !self.failing;
        let was_bad = match self.state {
            State::Empty | State::Unknown => self.failing || !self.failed.is_empty(),
            _ => true,
        };
        let mut events = Vec::new();
        if self.state != now.state {
            events.extend(match now.state {
                State::Incomplete => Some(Event::Failure),
                State::Stale => Some(Event::Stale),
                State::Fresh if was_bad => Some(Event::Recovery),
                _ => None,
            });
        }
        let first_cycle_failed = was_new && now.state == State::Empty && now.failing;
        let has_new_failure = !was_new && !now.failed.is_subset(&self.failed);
        if (first_cycle_failed || has_new_failure) && !events.contains(&Event::Failure) {
            events.push(Event::Failure);
        }
        if !now.diverged.is_subset(&self.diverged) {
            events.push(Event::Divergence);
        }
        events
    }
}

/// The JSON of a notification: `text` for people, which Slack, Mattermost and Teams display, and the rest for programs.
pub fn notification(event: Event, input: &StatusInput<'_>) -> Value {
    let failures = input.failures();
    let diverged: Vec<_> = input.report.diverged().collect();
    let page = format!("{}status.html", input.base_url);
    let message = match event {
        Event::Failure => failure_message(input, &failures),
        Event::Recovery => "recovered, nothing fails any more".to_owned(),
        Event::Divergence => match diverged.as_slice() {
            [] => "no published version differs upstream any more".to_owned(),
            [only] => format!("1 published version differs upstream now: {only}"),
            [first, ..] => {
                format!("{} published versions differ upstream now. First: {first}", diverged.len())
            }
        },
        Event::Release => "something new is published".to_owned(),
        Event::Stale => match input.checked() {
            Some(checked) => format!("no run since {checked}"),
            None => "no run yet".to_owned(),
        },
    };
    let lines = failures.iter().map(|failure| &failure.line);
    json!({
        "text": format!("Mirror {} ({}): {}. {page}", input.name, input.state(), without_markup(&message)),
        "event": event,
        "repository": input.name,
        "url": input.base_url,
        "status": page,
        "state": input.state().to_string(),
        "time": input.now.to_string(),
        "failures": lines.take(MAX_LISTED).collect::<Vec<_>>(),
        "failed": failures.len(),
        "diverged": diverged.len(),
        "diverged_versions": diverged.iter().take(MAX_LISTED).map(|one| diverged_version(one)).collect::<Vec<_>>(),
    })
}

/// The text without markup, because parts of it come from upstream. Slack's entities escape HTML and mentions in other chats,
/// too; a zero-width character keeps `@all` from being a mention and Markdown's `[text](url)` from being a link.
fn without_markup(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut previous = ' ';
    for character in inert(text).chars() {
        match character {
            '&' => plain.push_str("&amp;"),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '(' if previous == ']' => plain.push_str("\u{2060}("),
            '@' if !previous.is_alphanumeric() => plain.push_str("@\u{2060}"),
            _ => plain.push(character),
        }
        previous = character;
    }
    plain
}

fn failure_message(input: &StatusInput<'_>, failures: &[Failure]) -> String {
    match (failures, input.rollback_target()) {
        ([], Some(snapshot)) => format!("a rollback to snapshot {snapshot} is active"),
        ([], None) if input.has_ended_rollback() => {
            "a rollback has ended, the next cycle publishes current metadata".to_owned()
        }
        ([], None) => "the last cycle was incomplete".to_owned(),
        ([only], _) => format!("failed: {}", only.line),
        ([first, ..], _) => format!("{} failures. First: {}", failures.len(), first.line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_of_chats_is_escaped() {
        let text =
            "failed: <!channel> @all <https://e.example|x> [x](https://e.example) git@host a&b \u{1b}\nx";
        assert_eq!(
            without_markup(text),
            "failed: &lt;!channel&gt; @\u{2060}all &lt;https://e.example|x&gt; [x]\u{2060}(https://e.example) git@host a&amp;b \\u001b\\nx"
        );
    }

    #[test]
    fn events_follow_from_two_states() {
        let at = |state, diverged: usize| {
            let diverged = (0..diverged).map(|i| i.to_string()).collect();
            AlertState { state, failing: false, failed: BTreeSet::new(), diverged }
        };
        let fresh = at(State::Fresh, 0);
        let events = |from: &AlertState, to: &AlertState| from.events_until(to);
        assert_eq!(events(&fresh, &fresh), []);
        assert_eq!(events(&fresh, &at(State::Incomplete, 0)), [Event::Failure]);
        assert_eq!(events(&at(State::Empty, 0), &at(State::Incomplete, 0)), [Event::Failure]);
        assert_eq!(events(&at(State::Incomplete, 0), &fresh), [Event::Recovery]);
        assert_eq!(events(&at(State::Empty, 0), &fresh), []);
        let failing = AlertState { failing: true, ..at(State::Empty, 0) };
        assert_eq!(events(&at(State::Empty, 0), &failing), [Event::Failure]);
        assert_eq!(events(&AlertState::unknown(&failing), &failing), [Event::Failure]);
        assert_eq!(events(&AlertState::unknown(&fresh), &fresh), []);
        assert_eq!(events(&failing, &failing), []);
        assert_eq!(events(&failing, &fresh), [Event::Recovery]);
        assert_eq!(events(&at(State::Unknown, 0), &fresh), []);
        assert_eq!(events(&at(State::Incomplete, 0), &at(State::Stale, 0)), [Event::Stale]);
        let with = |failed: &[&str]| AlertState {
            failed: failed.iter().map(|&name| name.to_owned()).collect(),
            ..at(State::Incomplete, 0)
        };
        assert_eq!(events(&fresh, &with(&["a"])), [Event::Failure]);
        assert_eq!(events(&with(&["a"]), &with(&["a", "b"])), [Event::Failure]);
        assert_eq!(events(&with(&["a", "b"]), &with(&["b"])), []);
        assert_eq!(events(&AlertState::unknown(&with(&["a"])), &with(&["a"])), []);
        assert_eq!(events(&with(&["a"]), &fresh), [Event::Recovery]);
        assert_eq!(events(&fresh, &at(State::Fresh, 2)), [Event::Divergence]);
        assert_eq!(events(&at(State::Fresh, 2), &at(State::Fresh, 2)), []);
    }
}
