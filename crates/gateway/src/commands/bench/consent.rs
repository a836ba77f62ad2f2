//! Says what measuring may cost, and asks.

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Write as _};

use anyhow::bail;

use super::plan::{Expense, Plan};
use crate::commands::UsageError;

/// Returns when nothing may cost money, or somebody said yes.
///
/// # Errors
/// [`UsageError`] where nobody can be asked and `yes` was not given; when the answer is no.
pub(super) fn ask(plan: &Plan, yes: bool) -> anyhow::Result<()> {
    let expenses: Vec<_> = plan.expenses().map(|(target, expense)| (target.id().as_str(), expense)).collect();
    if expenses.is_empty() {
        return Ok(());
    }
    let told = describe(&expenses);
    if yes {
        eprintln!("{told}");
        return Ok(());
    }
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(UsageError(format!("{told}\nnothing was sent; --yes says that it may cost this")).into());
    }
    eprint!("{told}\nGo on? [y/N] ");
    // Nothing can be done about a closed standard error.
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match is_yes(&answer) {
        true => Ok(()),
        false => bail!("nothing was sent"),
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// What each target is sent and what that costs at most.
fn describe(expenses: &[(&str, Expense)]) -> String {
    let mut text = "this sends requests to targets that may cost money:".to_owned();
    for (id, expense) in expenses {
        let Expense { requests, prompt_tokens, answer_tokens, usd } = expense;
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n  {id}: {requests} requests, at most {prompt_tokens} tokens of prompts and {answer_tokens} of answers: "
        );
        let _ = match (usd, expense.usd_with_repeats()) {
            (Some(usd), Some(repeated)) => {
                write!(text, "at most ${} (${} if every one had to be sent again)", dollars(*usd), dollars(repeated))
            }
            _ => write!(text, "its price is not known (`price` of the target says it)"),
        };
    }
    if expenses.len() > 1 {
        let known: f64 = expenses.iter().filter_map(|(_, expense)| expense.usd).sum();
        let unknown = expenses.iter().filter(|(_, expense)| expense.usd.is_none()).count();
        let more = if unknown > 0 { format!(", and {unknown} of unknown price") } else { String::new() };
        let _ = write!(text, "\n  in all at most ${}{more}", dollars(known));
    }
    text
}

/// Rounded up, so that it stays a bound.
fn dollars(usd: f64) -> String {
    let unit = if usd < 1.0 { 1e4 } else { 1e2 };
    format!("{:.*}", if usd < 1.0 { 4 } else { 2 }, (usd * unit).ceil() / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_a_bound_and_names_what_is_not_known() {
        let known = Expense { requests: 44, prompt_tokens: 1000, answer_tokens: 2816, usd: Some(0.001_23) };
        let unknown = Expense { usd: None, ..known };
        let told = describe(&[("cloud/a", known), ("cloud/b", unknown)]);
        for part in [
            "cloud/a: 44 requests, at most 1000 tokens of prompts and 2816 of answers: at most $0.0013 ($0.0025 if every one",
            "cloud/b: 44 requests, at most 1000 tokens of prompts and 2816 of answers: its price is not known",
            "in all at most $0.0013, and 1 of unknown price",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert_eq!(dollars(12.341), "12.35");
    }

    #[test]
    fn only_yes_is_yes() {
        for (answer, expected) in
            [("y\n", true), ("YES\n", true), ("\n", false), ("no\n", false), ("yep\n", false), ("", false)]
        {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }
}
