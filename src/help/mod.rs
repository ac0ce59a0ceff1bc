//! The operator's handbook: one Markdown text for each topic, printed by `mirror help TOPIC` and served below [`PATH`].

/// Where a running mirror serves the topics.
pub const PATH: &str = "/-/help/";

/// One text of the handbook.
pub struct Topic {
    /// The name on the command line and in the URL.
    pub name: &'static str,
    /// What it is about, in a few words.
    pub summary: &'static str,
    /// Markdown that is readable as plain text.
    pub text: &'static str,
}

/// All topics, in the order in which they are listed.
pub const TOPICS: [Topic; 6] = [
    Topic { name: "config", summary: "every key of mirror.yaml", text: include_str!("config.md") },
    Topic {
        name: "recipe",
        summary: "your own recipe: packages, corrections, nightly builds",
        text: include_str!("recipe.md"),
    },
    Topic {
        name: "operate",
        summary: "update, back up, move, repair, monitor; what messages mean",
        text: include_str!("operate.md"),
    },
    Topic {
        name: "network",
        summary: "mirrors and clients without network: export, import, install",
        text: include_str!("network.md"),
    },
    Topic {
        name: "bucket",
        summary: "an object store that has everything that is published, for replicas without a volume",
        text: include_str!("bucket.md"),
    },
    Topic {
        name: "versions",
        summary: "what a new version may change; update and downgrade",
        text: include_str!("versions.md"),
    },
];
