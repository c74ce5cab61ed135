//! `pattern` as an API server reads it: RE2 as Go has it. Most of it means the same to the `regex` crate. What doesn't is
//! said in other words here (`\d` is ten digits, not those of every script) or refused: a value that we let through and an
//! API server doesn't would be a database that fails for ever.

use std::iter::Peekable;

use regex::{Regex, RegexBuilder};

/// A regular expression, and how its author wrote it.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    source: String,
    regex: Regex,
}

/// RE2 counts no further.
const MOST_REPETITIONS: u32 = 1000;

/// What a hostile pattern such as `(.{999}){999}` may cost.
const MOST_BYTES: usize = 1 << 20;

impl Pattern {
    pub fn parse(source: &str) -> Result<Self, String> {
        let translated = Translator::translate(source)?;
        let regex = RegexBuilder::new(&translated).size_limit(MOST_BYTES).build().map_err(|error| {
            let reason = error.to_string();
            reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })?;
        Ok(Self { source: source.to_owned(), regex })
    }

    pub fn as_str(&self) -> &str {
        &self.source
    }

    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// From Go's words to ours. What is wrong in both is left to be found by the `regex` crate.
struct Translator<I: Iterator<Item = char>> {
    rest: Peekable<I>,
    out: String,
    in_class: bool,
}

impl<I: Iterator<Item = char>> Translator<I> {
    fn run(mut self) -> Result<String, String> {
        while let Some(c) = self.rest.next() {
            match c {
                '\\' => self.escape()?,
                '[' if self.in_class => self.bracket_in_class()?,
                '[' => self.class(),
                ']' => {
                    self.in_class = false;
                    self.out.push(']');
                }
                // Set operations to us, characters to Go.
                '&' | '~' if self.in_class => self.out.extend(['\\', c]),
                '-' if self.in_class && self.rest.peek() == Some(&'-') => {
                    return Err("`--` between brackets: write `\\-`".into());
                }
                '(' if !self.in_class => self.group()?,
                '{' if !self.in_class => self.repetition()?,
                c => self.out.push(c),
            }
        }
        Ok(self.out)
    }

    fn escape(&mut self) -> Result<(), String> {
        let Some(c) = self.rest.next() else {
            self.out.push('\\');
            return Ok(());
        };
        let ascii = match c.to_ascii_lowercase() {
            'd' => "0-9",
            'w' => "0-9A-Za-z_",
            's' => r"\t\n\f\r ",
            _ => "",
        };
        match c {
            'd' | 'w' | 's' if self.in_class => self.out.push_str(ascii),
            'd' | 'w' | 's' => self.out.extend(["[", ascii, "]"]),
            'D' | 'W' | 'S' => self.out.extend(["[^", ascii, "]"]),
            'b' if !self.in_class && self.rest.peek() != Some(&'{') => self.out.push_str(r"(?-u:\b)"),
            'b' | 'B' | 'Q' | 'E' | 'C' | 'u' | 'U' | '<' | '>' => {
                return Err(format!("`\\{c}` is not the same everywhere: write it without"));
            }
            c => self.out.extend(['\\', c]),
        }
        Ok(())
    }

    /// With what may stand at its start only.
    fn class(&mut self) {
        self.in_class = true;
        self.out.push('[');
        if let Some(not) = self.rest.next_if_eq(&'^') {
            self.out.push(not);
        }
        if self.rest.next_if_eq(&']').is_some() {
            self.out.push_str(r"\]");
        }
    }

    /// `[:alpha:]`, or the character itself, which to us would be a class in a class.
    fn bracket_in_class(&mut self) -> Result<(), String> {
        if self.rest.next_if_eq(&':').is_none() {
            self.out.push_str(r"\[");
            return Ok(());
        }
        self.out.push_str("[:");
        while let Some(c) = self.rest.next() {
            self.out.push(c);
            if c == ':' && self.rest.next_if_eq(&']').is_some() {
                self.out.push(']');
                return Ok(());
            }
        }
        Err("`[:` has no `:]`".into())
    }

    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if let Some(mark) = self.rest.next_if_eq(&'?') {
            self.out.push(mark);
            while let Some(flag) = self.rest.next_if(|c| c.is_ascii_alphabetic() || *c == '-') {
                if matches!(flag, 'x' | 'u' | 'R') {
                    return Err(format!("the flag `{flag}` is not known everywhere: write it without"));
                }
                self.out.push(flag);
                if flag == 'P' {
                    break;
                }
            }
        }
        Ok(())
    }

    fn repetition(&mut self) -> Result<(), String> {
        self.out.push('{');
        let mut number = 0_u32;
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_digit() || *c == ',') {
            number = match c.to_digit(10) {
                Some(digit) => number.saturating_mul(10).saturating_add(digit),
                None => 0,
            };
            if number > MOST_REPETITIONS {
                return Err(format!("nothing can be repeated more than {MOST_REPETITIONS} times"));
            }
            self.out.push(c);
        }
        Ok(())
    }
}

impl Translator<std::iter::Empty<char>> {
    fn translate(source: &str) -> Result<String, String> {
        Translator { rest: source.chars().peekable(), out: String::new(), in_class: false }.run()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_pattern_matches_what_go_matches() {
        let check = |pattern: &str, matching: &[&str], others: &[&str]| {
            let parsed = Pattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(parsed.as_str(), pattern);
            for text in matching {
                assert!(parsed.is_match(text), "{pattern} should match {text:?}");
            }
            for text in others {
                assert!(!parsed.is_match(text), "{pattern} should not match {text:?}");
            }
        };
        check(r"^\d+$", &["0", "42"], &["٣", "४", "x"]);
        check(r"^[\d.]+$", &["1.2"], &["١"]);
        check(r"^\w+$", &["a_Z9"], &["é", "a-b"]);
        check(r"^[^\s]$", &["é", "\u{a0}", "\u{b}"], &[" ", "\t"]);
        check(r"^\D$", &["x", "٣"], &["3"]);
        check(r"^[\D]$", &["x", "٣"], &["3"]);
        check(r"\bfoo\b", &["a foo", "éfoo"], &["xfoo"]);
        check(r"^[a&&b]$", &["a", "&", "b"], &["&&", "c"]);
        check(r"^[a[b]$", &["a", "[", "b"], &["]"]);
        check(r"^[]a]$", &["]", "a"], &["["]);
        check(r"^[^]a]$", &["b", "["], &["]", "a"]);
        check(r"^[[:alpha:]~~]$", &["x", "~"], &["1"]);
        check(r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", &["a", "a-b"], &["a-", "A"]);
        check(r"^(?P<major>[78])\.(?:[0-9]{1,2})$", &["8.10"], &["8.100"]);
        check(r"^\{x\}\\d$", &[r"{x}\d"], &["x"]);
    }

    #[test]
    fn what_is_read_differently_is_refused() {
        for pattern in [
            r"\u{41}",
            r"a\B",
            r"\Qa\E",
            r"\b{start}x",
            r"\<x",
            "(?x) a",
            "(?i-u)a",
            "a{1001}",
            "a{0,2000}",
            "[a--b]",
            "[[:alpha]",
            "(",
            r"(a)\1",
            "(?=a)",
            "(.{999}){999}",
            "\\",
        ] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
