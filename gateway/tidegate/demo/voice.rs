//! How the demo speaks: lines for a person, with colour and progress on a terminal, or one JSON object a line.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;
use tokio::time::Instant;

/// Columns of a line before it is broken: what a terminal has at least.
const WIDTH: usize = 80;
/// Columns before a line's text.
const INDENT: usize = 9;

/// What kind of news a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// The demo does something.
    Act,
    /// A machine gets a fault.
    Fault,
    /// An alert that asks for someone now.
    Critical,
    /// An alert that someone should look at.
    Warning,
    /// As it should be.
    Good,
    /// As it should not be.
    Bad,
    /// Less important.
    Quiet,
}

impl Tone {
    /// SGR codes of ECMA-48.
    fn colour(self) -> &'static str {
        match self {
            Tone::Act => "1;36",
            Tone::Fault => "35",
            Tone::Critical => "1;31",
            Tone::Warning => "33",
            Tone::Good => "1;32",
            Tone::Bad => "1;31",
            Tone::Quiet => "2",
        }
    }
}

/// The one way to standard output.
#[derive(Debug)]
pub struct Voice {
    json: bool,
    colour: bool,
    bar: ProgressBar,
    began: Instant,
}

impl Voice {
    /// For a run of this length.
    pub fn new(json: bool, run: Duration) -> Self {
        let terminal = !json && std::io::stdout().is_terminal();
        // https://no-color.org
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(u64::try_from(run.as_millis()).ok(), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg}") {
            bar.set_style(style);
        }
        Self { json, colour, bar, began: Instant::now() }
    }

    /// How long the demo had run at a moment, in ms.
    pub fn ms_at(&self, moment: Instant) -> i64 {
        i64::try_from(moment.saturating_duration_since(self.began).as_millis()).unwrap_or(i64::MAX)
    }

    /// Tells what happens, and why it matters; `fields` are for programs.
    pub fn tell(&self, tone: Tone, event: &str, text: &str, why: &str, fields: Value) {
        let seconds = self.began.elapsed().as_secs_f64();
        if self.json {
            let mut line = json!({"event": event, "at_s": (seconds * 1e3).round() / 1e3, "text": text});
            if !why.is_empty() {
                line["why"] = why.into();
            }
            if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
                line.extend(fields);
            }
            self.print(&line.to_string());
            return;
        }
        let mut first = format!("{seconds:6.1} s ");
        let mut lines = Vec::new();
        for line in wrapped(text) {
            lines.push(format!("{first}{}", self.painted(tone.colour(), &line)));
            first = " ".repeat(INDENT);
        }
        lines.extend(wrapped(why).iter().map(|line| format!("{:INDENT$}{}", "", self.painted(Tone::Quiet.colour(), line))));
        self.print(&lines.join("\n"));
    }

    /// The final word: an object for programs, a text of many lines for a person, its last line in `tone`.
    pub fn conclude(&self, result: &Value, text: &str, tone: Tone) {
        self.bar.finish_and_clear();
        if self.json {
            self.print(&result.to_string());
            return;
        }
        let (body, last) = text.trim_end().rsplit_once('\n').unwrap_or(("", text));
        self.print(&body.split('\n').flat_map(hung).collect::<Vec<_>>().join("\n"));
        self.print(&self.painted(tone.colour(), last));
    }

    /// Where the run is, for the bar.
    pub fn progress(&self, at: Duration, message: String) {
        self.bar.set_position(u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
        self.bar.set_message(message);
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn print(&self, text: &str) {
        self.bar.suspend(|| {
            let mut out = std::io::stdout().lock();
            // Whoever has stopped reading has seen enough; the comparison, and with it the exit code, goes on.
            drop(writeln!(out, "{text}").and_then(|()| out.flush()));
        });
    }
}

/// A line, and where it is longer than [`WIDTH`] its rest below, a little further in.
fn hung(line: &str) -> Vec<String> {
    if line.chars().count() <= WIDTH {
        return vec![line.to_owned()];
    }
    let indent = line.chars().take_while(|c| *c == ' ').count();
    let lines = wrapped_to(line, WIDTH - indent - 2).into_iter().enumerate();
    lines.map(|(n, text)| format!("{:width$}{text}", "", width = indent + if n == 0 { 0 } else { 2 })).collect()
}

/// A text in lines of at most [`WIDTH`] columns; none for an empty text.
fn wrapped(text: &str) -> Vec<String> {
    wrapped_to(text, WIDTH - INDENT)
}

fn wrapped_to(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_nothing_is_lost() {
        let text = "word ".repeat(60);
        let lines = wrapped(&text);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= WIDTH - INDENT));
        assert_eq!(lines.join(" "), text.trim());
        assert!(wrapped("").is_empty());
        assert_eq!(wrapped(&"x".repeat(500)).len(), 1);
        let long = format!("  plant-a  {text}");
        let lines = hung(&long);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
        assert!(lines[0].starts_with("  plant-a word") && lines[1].starts_with("    word"));
        assert_eq!(hung("  a   table's   row"), ["  a   table's   row"]);
    }
}
