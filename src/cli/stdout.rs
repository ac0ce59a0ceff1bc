//! The standard output of commands. Readers may stop early: `mirror plan | head -1` is not an error. Control characters from
//! upstream are escaped, because the reader may be a terminal.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

use crate::util::text::{inert, inert_lines, without_error_numbers};

/// Ignores a broken pipe. The text of one `write!` is printed as one line and its hint; `write_all` keeps all line breaks.
pub(super) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = inert_lines(&without_error_numbers(&String::from_utf8_lossy(bytes)));
        ignore_broken_pipe(io::stdout().write_all(text.as_bytes()))?;
        Ok(bytes.len())
    }

    fn write_fmt(&mut self, arguments: Arguments<'_>) -> io::Result<()> {
        let text = arguments.to_string();
        match text.strip_suffix('\n') {
            Some(line) => self.write_all(format!("{}\n", inert(line)).as_bytes()),
            None => self.write_all(inert(&text).as_bytes()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        ignore_broken_pipe(io::stdout().flush())
    }
}

fn ignore_broken_pipe(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
