//! Volumes of one mirror, each with more than the one before.

use std::path::{Path, PathBuf};

use mirror::bucket::Bucket;
use mirror::bucket::commit::{GRACE, read_root};
use mirror::bucket::publish::{Published, Publisher};
use mirror::bucket::reader::LoadedState;
use mirror::store::Volume;
use serde_json::Value;

use crate::fixture::{Fixture, Verdict, copy};

/// Each is published without compressed copies, and then with them.
const RELEASES: usize = 6;

/// The release after which a version is withdrawn, so that a state differs from the one before in its snapshot only.
const WITHDRAWAL: usize = 3;

pub struct History {
    /// Owns the folder with the volumes.
    _fixture: Fixture,
    states: Vec<State>,
}

/// A volume and what it publishes.
pub struct State {
    volume: PathBuf,
    pub ledger: Vec<u8>,
    manifest: Value,
}

impl History {
    /// Made by the real program.
    pub fn build(binary: &Path) -> Verdict<Self> {
        let fixture = Fixture::new(binary);
        let (compressed, plain) = ("drain: 1s}", "drain: 1s, compression: none}");
        let mut states = Vec::new();
        let mut save = |fixture: &Fixture| {
            let volume = fixture.path("states").join(states.len().to_string());
            copy(fixture.data(), &volume);
            states.push(State::read(volume));
        };
        for release in 1..=RELEASES {
            fixture.release(&format!("1.{release}.0"));
            fixture.adapt("mirror.yaml", compressed, plain);
            fixture.run(&["build"])?;
            save(&fixture);
            fixture.adapt("mirror.yaml", plain, compressed);
            fixture.run(&["build"])?;
            save(&fixture);
            if release == WITHDRAWAL {
                fixture.run(&["withdraw", "acme/b", "1.1.0", "--reason", "it is wrong"])?;
                fixture.run(&["build"])?;
                save(&fixture);
            }
        }
        Ok(Self { _fixture: fixture, states })
    }

    pub fn len(&self) -> usize {
        self.states.len()
    }

    pub fn state(&self, number: usize) -> &State {
        &self.states[number]
    }

    /// Fails unless what was read is one of the states.
    pub fn require_known(&self, loaded: &LoadedState) -> Verdict {
        let manifest = serde_json::to_value(&loaded.state.snapshot).expect("a manifest");
        let is_same = |state: &State| state.manifest == manifest && state.ledger == loaded.ledger_text()[..];
        match self.states.iter().any(is_same) {
            true => Ok(()),
            false => Err(format!("wrong: snapshot {} was never on a volume", loaded.state.snapshot.number)),
        }
    }
}

impl State {
    fn read(volume: PathBuf) -> Self {
        let repository = volume.join("acme");
        let manifest = std::fs::read(repository.join("current/manifest.json")).expect("a snapshot");
        Self {
            ledger: std::fs::read(repository.join("ledger.jsonl")).expect("a ledger"),
            manifest: serde_json::from_slice(&manifest).expect("a manifest"),
            volume,
        }
    }

    /// Publishes the volume under this id, as one that continues what is published.
    pub fn publish(
        &self,
        bucket: &Bucket,
        id: &str,
        is_conditional: &dyn Fn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<Option<Published>> {
        let store = Volume::open_read_only(&self.volume)?.reader("acme");
        let known = read_root(bucket, "acme")?.map(|current| current.root.sequence);
        let publisher = Publisher {
            bucket,
            repository: "acme",
            is_private: false,
            volume: id,
            known,
            is_conditional,
            grace: GRACE,
            observer: &|_| {},
        };
        publisher.publish(&store)
    }
}
