//! What an operator is told of without having asked: a mirror that got worse or well again, and versions that diverge.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{State, StatusInput};
use crate::config::Event;

/// As much of a repository's state as events are told from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertState {
    state: State,
    /// The last cycle failed.
    failing: bool,
    /// What fails, whatever the reason is today.
    failed: BTreeSet<String>,
    diverged: usize,
}

impl AlertState {
    pub fn new(input: &StatusInput<'_>) -> Self {
        Self {
            state: input.state(),
            failing: input.last_failed(),
            failed: input.failures().into_iter().map(|(name, _)| name).collect(),
            diverged: input.count(|source| source.diverged.len()),
        }
    }

    /// Before anything is known: what is published already is no news then, but that nothing can be is.
    pub fn unknown(now: &Self) -> Self {
        Self {
            failing: now.failing && now.state != State::Empty,
            ..now.clone()
        }
    }

    /// What happened between `self` and `now`.
    pub fn events_until(&self, now: &Self) -> Vec<Event> {
        let was_well = self.state == State::Empty && !self.failing;
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
        let fails_at_all = was_well && now.state == State::Empty && now.failing;
        let fails_also = !was_well && !now.failed.is_subset(&self.failed);
        if (fails_at_all || fails_also) && !events.contains(&Event::Failure) {
            events.push(Event::Failure);
        }
        if now.diverged > self.diverged {
            events.push(Event::Divergence);
        }
        events
    }
}

/// The JSON that is sent: `text` for people, as Slack's, Mattermost's and Teams' webhooks show it, and the rest for programs.
pub fn notification(event: Event, input: &StatusInput<'_>) -> Value {
    let failures: Vec<_> = input.failures().into_iter().map(|(_, line)| line).collect();
    let diverged = input.count(|source| source.diverged.len());
    let page = format!("{}status.html", input.base_url);
    let what = match event {
        Event::Failure => failure(input, &failures),
        Event::Recovery => "everything is well again".to_owned(),
        Event::Divergence => format!("upstream would change {}", plural(diverged, "published version")),
        Event::Stale => match input.checked() {
            Some(checked) => format!("no run since {checked}"),
            None => "no run yet".to_owned(),
        },
    };
    json!({
        "text": format!("Mirror {} ({}): {what}. {page}", input.name, input.state()),
        "event": event,
        "repository": input.name,
        "url": input.base_url,
        "status": page,
        "state": input.state().to_string(),
        "time": input.now.to_string(),
        "failures": failures.iter().take(MOST).collect::<Vec<_>>(),
        "failed": failures.len(),
        "diverged": diverged,
    })
}

fn failure(input: &StatusInput<'_>, failures: &[String]) -> String {
    match (failures, input.rollback_target()) {
        ([], Some(held)) => format!("a rollback holds the content of snapshot {held}"),
        ([], None) => "the last cycle was not complete".to_owned(),
        ([only], _) => format!("failed: {only}"),
        ([first, ..], _) => format!("{} failed, first {first}", plural(failures.len(), "thing")),
    }
}

/// How many failures are named in full.
const MOST: usize = 20;

/// A number of things, in English.
pub fn plural(number: usize, word: &str) -> String {
    match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_follows_from_two_conditions() {
        let at = |state, diverged| AlertState {
            state,
            failing: false,
            failed: BTreeSet::new(),
            diverged,
        };
        let fresh = at(State::Fresh, 0);
        let until = |from: &AlertState, to: &AlertState| from.events_until(to);
        assert_eq!(until(&fresh, &fresh), []);
        assert_eq!(until(&fresh, &at(State::Incomplete, 0)), [Event::Failure]);
        assert_eq!(
            until(&at(State::Empty, 0), &at(State::Incomplete, 0)),
            [Event::Failure]
        );
        assert_eq!(until(&at(State::Incomplete, 0), &fresh), [Event::Recovery]);
        assert_eq!(until(&at(State::Empty, 0), &fresh), []);
        let failing = AlertState {
            failing: true,
            ..at(State::Empty, 0)
        };
        assert_eq!(until(&at(State::Empty, 0), &failing), [Event::Failure]);
        assert_eq!(until(&AlertState::unknown(&failing), &failing), [Event::Failure]);
        assert_eq!(until(&AlertState::unknown(&fresh), &fresh), []);
        assert_eq!(until(&failing, &failing), []);
        assert_eq!(until(&failing, &fresh), [Event::Recovery]);
        assert_eq!(until(&at(State::Unknown, 0), &fresh), []);
        assert_eq!(
            until(&at(State::Incomplete, 0), &at(State::Stale, 0)),
            [Event::Stale]
        );
        let with = |failed: &[&str]| AlertState {
            failed: failed.iter().map(|&name| name.to_owned()).collect(),
            ..at(State::Incomplete, 0)
        };
        assert_eq!(until(&fresh, &with(&["a"])), [Event::Failure]);
        assert_eq!(until(&with(&["a"]), &with(&["a", "b"])), [Event::Failure]);
        assert_eq!(until(&with(&["a", "b"]), &with(&["b"])), []);
        assert_eq!(until(&AlertState::unknown(&with(&["a"])), &with(&["a"])), []);
        assert_eq!(until(&with(&["a"]), &fresh), [Event::Recovery]);
        assert_eq!(until(&fresh, &at(State::Fresh, 2)), [Event::Divergence]);
        assert_eq!(until(&at(State::Fresh, 2), &at(State::Fresh, 2)), []);
    }
}
