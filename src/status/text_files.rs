//! The small text files of a mirror: `lastupdate`, `lastsync` and the trace file, as Debian's mirrors have them.

use super::StatusInput;

impl StatusInput<'_> {
    /// `lastupdate`: when the metadata last changed, in Unix seconds.
    pub fn last_update(&self) -> Option<String> {
        self.changed().map(|time| format!("{}\n", time.as_second()))
    }

    /// `lastsync`: when the last cycle without a failure began, in Unix seconds.
    pub fn last_sync(&self) -> Option<String> {
        let succeeded = self.history.succeeded;
        succeeded.map(|time| format!("{}\n", time.as_second()))
    }

    /// The trace file: the date of the last check, then `Key: value` lines.
    pub fn trace(&self) -> Option<String> {
        let last = self.history.last()?;
        let date = last.ended.strftime("%a, %d %b %Y %H:%M:%S +0000");
        let mut text = format!(
            "{date}\nDate: {date}\nDate-Started: {}\nUsing: mirror {}\nUpstream-Complete: {}\n",
            last.began.strftime("%a, %d %b %Y %H:%M:%S +0000"),
            env!("CARGO_PKG_VERSION"),
            if last.complete { "yes" } else { "no" },
        );
        for (key, value) in [("Maintainer", &self.site.name), ("Contact", &self.site.contact)] {
            if let Some(value) = value {
                // A line break in the value would start another key.
                let words: Vec<_> = value.split_whitespace().collect();
                text += &format!("{key}: {}\n", words.join(" "));
            }
        }
        if let Some(snapshot) = self.snapshot {
            text += &format!("Ledger-Head: {}\n", snapshot.manifest.ledger_head);
        }
        Some(text)
    }
}
