//! `rules`: the clinical lead's bench.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use carepost_daemon::exit;
use carepost_domain::care::bench::{MAX_CASE_BYTES, evaluate_line};
use carepost_domain::care::rule_set::RuleSet;

use crate::rules;

use super::RulesCommand;

pub(super) fn main(command: &RulesCommand) -> anyhow::Result<ExitCode> {
    match command {
        RulesCommand::Check { file } => {
            let rules = rules::read(file)?;
            let reference = rules.reference;
            carepost_daemon::cli::print(&format!("{} {} is a valid rule set\n", reference.id, reference.version))?;
            Ok(exit::code(exit::OK))
        }
        RulesCommand::Evaluate { rules, cases } => {
            let rules = rules::read(rules)?;
            let out = BufWriter::new(io::stdout().lock());
            let all_read = if cases == Path::new("-") {
                evaluate(&rules, io::stdin().lock(), out)
            } else {
                let file =
                    File::open(cases).with_context(|| format!("cannot read the cases of {}", cases.display()))?;
                evaluate(&rules, BufReader::new(file), out)
            }?;
            Ok(exit::code(if all_read { exit::OK } else { exit::FAILURE }))
        }
    }
}

/// Evaluates every line; says whether all of them could be read. A bad one does not stop the others.
fn evaluate(rules: &RuleSet, mut cases: impl BufRead, mut out: impl io::Write) -> anyhow::Result<bool> {
    let mut all_read = true;
    let mut number = 0_usize;
    loop {
        let line = match next_line(&mut cases).context("cannot read the cases")? {
            Line::End => break,
            line => line,
        };
        number += 1;
        let complaint = match line {
            Line::End => break,
            Line::Text(text) if text.trim().is_empty() => continue,
            Line::Text(text) => match evaluate_line(rules, number, &text) {
                Ok(findings) => {
                    if let Err(error) = writeln!(out, "{findings}") {
                        return end_of_output(error).map(|()| all_read);
                    }
                    continue;
                }
                Err(error) => crate::telemetry::chain(&error),
            },
            Line::TooLong => format!("line {number}: the case is longer than {MAX_CASE_BYTES} bytes"),
            Line::NotText => format!("line {number}: the case is not UTF-8"),
        };
        all_read = false;
        eprintln!("error: {complaint}");
    }
    match out.flush() {
        Ok(()) => Ok(all_read),
        Err(error) => end_of_output(error).map(|()| all_read),
    }
}

/// A reader that went away, as `head` does, is not an error.
fn end_of_output(error: io::Error) -> anyhow::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Ok(())
    } else {
        Err(error).context("cannot write the findings")
    }
}

enum Line {
    End,
    Text(String),
    TooLong,
    NotText,
}

/// The next line without its end; one that is too long is passed over without being kept.
fn next_line(cases: &mut impl BufRead) -> io::Result<Line> {
    let mut bytes = Vec::new();
    let most = MAX_CASE_BYTES as u64 + 1;
    cases.by_ref().take(most).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(Line::End);
    }
    if bytes.last() != Some(&b'\n') && bytes.len() as u64 == most {
        loop {
            bytes.clear();
            cases.by_ref().take(most).read_until(b'\n', &mut bytes)?;
            if bytes.is_empty() || bytes.last() == Some(&b'\n') {
                return Ok(Line::TooLong);
            }
        }
    }
    Ok(String::from_utf8(bytes).map_or(Line::NotText, Line::Text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(input: &[u8]) -> (bool, usize) {
        let mut out = Vec::new();
        let all_read = evaluate(&RuleSet::cn_2024(), input, &mut out).unwrap();
        (all_read, String::from_utf8(out).unwrap().lines().count())
    }

    #[test]
    fn a_bad_line_does_not_stop_the_others() {
        let good = r#"{"id":"a","now":"2026-01-01T00:00:00Z","profile":{},"readings":[]}"#;
        assert_eq!(run(good.as_bytes()), (true, 1));
        assert_eq!(run(format!("{good}\n\nnonsense\n{good}\n").as_bytes()), (false, 2));
        assert_eq!(run(b""), (true, 0));
        let mut not_text = b"\xff\xfe\n".to_vec();
        not_text.extend_from_slice(good.as_bytes());
        assert_eq!(run(&not_text), (false, 1));
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let mut input = vec![b'x'; 2 * MAX_CASE_BYTES + 10];
        input.push(b'\n');
        input.extend_from_slice(br#"{"id":"a","now":"2026-01-01T00:00:00Z","profile":{},"readings":[]}"#);
        assert_eq!(run(&input), (false, 1));
    }
}
