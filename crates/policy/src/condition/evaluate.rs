//! Evaluates a checked condition. `Err` is "not known": `&&` and `||` take it only where the other side does not decide.

use super::tree::{Arithmetic, Node, Number, Text, TextTest, Words};
use super::{Fact, FactRef, Unknown, Values};

/// The word that a loop is at, and the loops around it.
#[derive(Clone, Copy)]
pub(super) struct Loop<'a> {
    word: &'a str,
    outer: Option<&'a Loop<'a>>,
}

type Around<'a> = Option<&'a Loop<'a>>;

pub(super) fn truth(node: &Node, values: &Values<'_>, around: Around<'_>) -> Result<bool, Unknown> {
    let truth = |node: &Node| self::truth(node, values, around);
    match node {
        Node::Literal(value) => Ok(*value),
        Node::Fact(fact) => match values.get(fact) {
            FactRef::Bool(value) => Ok(value),
            _ => Err(Unknown::Absent(fact.name)),
        },
        Node::Has(fact) => Ok(!matches!(values.get(fact), FactRef::Absent)),
        Node::Not(inner) => truth(inner).map(|value| !value),
        Node::And(pair) => absorb(truth(&pair[0]), || truth(&pair[1]), false),
        Node::Or(pair) => absorb(truth(&pair[0]), || truth(&pair[1]), true),
        Node::If(parts) => truth(if truth(&parts[0])? { &parts[1] } else { &parts[2] }),
        Node::CompareBool(equal, pair) => Ok((truth(&pair[0])? == truth(&pair[1])?) == *equal),
        Node::CompareNumber(compare, pair) => {
            Ok(compare.holds(&number(&pair[0], values, around)?, &number(&pair[1], values, around)?))
        }
        Node::CompareText(compare, pair) => {
            Ok(compare.holds(text(&pair[0], values, around)?, text(&pair[1], values, around)?))
        }
        Node::NumberIn(value, list) => Ok(list.contains(&number(value, values, around)?)),
        Node::TextIn(value, list) => {
            let value = text(value, values, around)?;
            words(list, values).map(|words| words.iter().any(|word| word == value))
        }
        Node::TextTest(value, test) => {
            let value = text(value, values, around)?;
            Ok(match &**test {
                TextTest::StartsWith(part) => value.starts_with(text(part, values, around)?),
                TextTest::EndsWith(part) => value.ends_with(text(part, values, around)?),
                TextTest::Contains(part) => value.contains(text(part, values, around)?),
                TextTest::Matches(pattern) => pattern.is_match(value),
            })
        }
        Node::Exists(list, predicate) => over(list, predicate, values, around, true),
        Node::All(list, predicate) => over(list, predicate, values, around, false),
    }
}

/// `decisive` on either side decides; otherwise both have to be known.
fn absorb(
    left: Result<bool, Unknown>,
    right: impl FnOnce() -> Result<bool, Unknown>,
    decisive: bool,
) -> Result<bool, Unknown> {
    if left == Ok(decisive) {
        return Ok(decisive);
    }
    match right() {
        Ok(right) if right == decisive => Ok(decisive),
        right => left.and(right),
    }
}

/// `exists` (`decisive` true) and `all` (`decisive` false).
fn over(
    list: &Words,
    predicate: &Node,
    values: &Values<'_>,
    around: Around<'_>,
    decisive: bool,
) -> Result<bool, Unknown> {
    let mut result = Ok(!decisive);
    for word in words(list, values)? {
        let inner = Loop { word, outer: around };
        result = absorb(result, || truth(predicate, values, Some(&inner)), decisive);
        if result == Ok(decisive) {
            break;
        }
    }
    result
}

fn number(node: &Number, values: &Values<'_>, around: Around<'_>) -> Result<f64, Unknown> {
    match node {
        Number::Literal(value) => Ok(*value),
        Number::Fact(fact) => match values.get(fact) {
            FactRef::Number(value) => Ok(value),
            _ => Err(Unknown::Absent(fact.name)),
        },
        Number::Negate(inner) => number(inner, values, around).map(|value| -value),
        Number::Arithmetic(operator, pair) => {
            let (a, b) = (number(&pair[0], values, around)?, number(&pair[1], values, around)?);
            Ok(match operator {
                Arithmetic::Add => a + b,
                Arithmetic::Subtract => a - b,
                Arithmetic::Multiply => a * b,
                Arithmetic::Divide => a / b,
                Arithmetic::DivideWhole | Arithmetic::Remainder if b == 0.0 => return Err(Unknown::DivisionByZero),
                Arithmetic::DivideWhole => (a / b).trunc(),
                Arithmetic::Remainder => a % b,
            })
        }
        Number::Length(value) => Ok(text(value, values, around)?.chars().count() as f64),
        Number::Count(list) => Ok(words(list, values)?.len() as f64),
        Number::If(parts) => {
            let chosen = if truth(&parts.0, values, around)? { &parts.1 } else { &parts.2 };
            number(chosen, values, around)
        }
    }
}

fn text<'a>(node: &'a Text, values: &Values<'a>, around: Around<'a>) -> Result<&'a str, Unknown> {
    match node {
        Text::Literal(value) => Ok(value),
        Text::Fact(fact) => match values.get(fact) {
            FactRef::Text(value) => Ok(value),
            _ => Err(Unknown::Absent(fact.name)),
        },
        Text::Variable(out) => {
            let mut at = around;
            for _ in 0..*out {
                at = at.and_then(|inner| inner.outer);
            }
            Ok(at.map_or("", |found| found.word))
        }
        Text::If(parts) => {
            let chosen = if truth(&parts.0, values, around)? { &parts.1 } else { &parts.2 };
            text(chosen, values, around)
        }
    }
}

fn words<'a>(list: &'a Words, values: &Values<'a>) -> Result<&'a [String], Unknown> {
    match list {
        Words::Literal(words) => Ok(words),
        Words::Fact(fact) => from_fact(fact, values),
    }
}

fn from_fact<'a>(fact: &'static Fact, values: &Values<'a>) -> Result<&'a [String], Unknown> {
    match values.get(fact) {
        FactRef::Words(words) => Ok(words),
        _ => Err(Unknown::Absent(fact.name)),
    }
}
