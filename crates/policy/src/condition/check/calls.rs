//! Operators and functions.

use cel::common::ast::{CallExpr, IdedExpr, operators};
use regex::RegexBuilder;

use super::super::tree::{Arithmetic, Compare, Node, Number, Text, TextTest, Words};
use super::{Checker, Typed};
use crate::tag::{TAG_FORM, is_tag};

/// Largest compiled regular expression in bytes.
const REGEX_BYTES_MAX: usize = 256 << 10;

impl Checker<'_> {
    pub(super) fn call(&mut self, expr: &IdedExpr, call: &CallExpr) -> Option<Typed> {
        let args = call.args.as_slice();
        if let Some(target) = &call.target {
            return self.member(expr, target, &call.func_name, args);
        }
        match (call.func_name.as_str(), args) {
            (operators::LOGICAL_NOT, [a]) => Some(Typed::Bool(Node::Not(Box::new(self.bool(a)?)))),
            (operators::LOGICAL_AND, [a, b]) => {
                let (a, b) = (self.bool(a), self.bool(b));
                Some(Typed::Bool(Node::And(Box::new([a?, b?]))))
            }
            (operators::LOGICAL_OR, [a, b]) => {
                let (a, b) = (self.bool(a), self.bool(b));
                Some(Typed::Bool(Node::Or(Box::new([a?, b?]))))
            }
            (operators::CONDITIONAL, [test, a, b]) => self.conditional(expr, test, a, b),
            (operators::EQUALS, [a, b]) => self.compare(expr, Compare::Equal, a, b),
            (operators::NOT_EQUALS, [a, b]) => self.compare(expr, Compare::NotEqual, a, b),
            (operators::LESS, [a, b]) => self.compare(expr, Compare::Less, a, b),
            (operators::LESS_EQUALS, [a, b]) => self.compare(expr, Compare::LessEqual, a, b),
            (operators::GREATER, [a, b]) => self.compare(expr, Compare::Greater, a, b),
            (operators::GREATER_EQUALS, [a, b]) => self.compare(expr, Compare::GreaterEqual, a, b),
            (operators::IN, [a, b]) => self.is_in(expr, a, b),
            (operators::NEGATE, [a]) => {
                let (number, whole) = self.number(a)?;
                Some(Typed::Number(Number::Negate(Box::new(number)), whole))
            }
            (operators::ADD, [a, b]) => self.arithmetic(Arithmetic::Add, a, b),
            (operators::SUBSTRACT, [a, b]) => self.arithmetic(Arithmetic::Subtract, a, b),
            (operators::MULTIPLY, [a, b]) => self.arithmetic(Arithmetic::Multiply, a, b),
            (operators::DIVIDE, [a, b]) => self.arithmetic(Arithmetic::Divide, a, b),
            (operators::MODULO, [a, b]) => self.arithmetic(Arithmetic::Remainder, a, b),
            ("size", [a]) => self.size(a),
            ("matches", [a, pattern]) => self.text_test(expr, a, "matches", std::slice::from_ref(pattern)),
            (name, _) => {
                self.unknown_function(expr, name);
                None
            }
        }
    }

    fn unknown_function(&mut self, expr: &IdedExpr, name: &str) {
        const KNOWN: &str = "size, startsWith, endsWith, contains, matches, exists, all and has";
        self.error(expr, format!("{name} is not supported here, or not with these arguments; there are {KNOWN}"));
    }

    fn member(&mut self, expr: &IdedExpr, target: &IdedExpr, name: &str, args: &[IdedExpr]) -> Option<Typed> {
        match name {
            "size" if args.is_empty() => self.size(target),
            "startsWith" | "endsWith" | "contains" | "matches" => self.text_test(expr, target, name, args),
            _ => {
                self.unknown_function(expr, name);
                None
            }
        }
    }

    fn text_test(&mut self, expr: &IdedExpr, target: &IdedExpr, name: &str, args: &[IdedExpr]) -> Option<Typed> {
        let [argument] = args else {
            self.error(expr, format!("{name} takes one argument"));
            return None;
        };
        let (target, text) = (self.text(target), self.text(argument));
        let (target, text) = (target?, text?);
        let test = match name {
            "startsWith" => TextTest::StartsWith(text),
            "endsWith" => TextTest::EndsWith(text),
            "contains" => TextTest::Contains(text),
            _ => {
                let Text::Literal(pattern) = text else {
                    self.error(
                        argument,
                        "has to be a literal: regular expressions are built when the policy is loaded",
                    );
                    return None;
                };
                match RegexBuilder::new(&pattern).size_limit(REGEX_BYTES_MAX).build() {
                    Ok(regex) => TextTest::Matches(regex),
                    Err(error) => {
                        let text = error.to_string();
                        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                        self.error(argument, format!("is no regular expression: {reason}"));
                        return None;
                    }
                }
            }
        };
        Some(Typed::Bool(Node::TextTest(target, Box::new(test))))
    }

    fn size(&mut self, of: &IdedExpr) -> Option<Typed> {
        match self.typed(of)? {
            Typed::Text(text, _) => Some(Typed::Number(Number::Length(text), true)),
            Typed::Words(words) => Some(Typed::Number(Number::Count(words), true)),
            other => {
                self.error(of, format!("is a {}; size is of a string or a list of strings", other.name()));
                None
            }
        }
    }

    fn number(&mut self, expr: &IdedExpr) -> Option<(Number, bool)> {
        match self.typed(expr)? {
            Typed::Number(number, whole) => Some((number, whole)),
            other => {
                self.error(expr, format!("is a {}, where a number is needed", other.name()));
                None
            }
        }
    }

    fn arithmetic(&mut self, operator: Arithmetic, a: &IdedExpr, b: &IdedExpr) -> Option<Typed> {
        let (left, right) = (self.number(a), self.number(b));
        let ((left, a_whole), (right, b_whole)) = (left?, right?);
        let whole = a_whole && b_whole;
        let operator = match operator {
            Arithmetic::Divide if whole => Arithmetic::DivideWhole,
            Arithmetic::Remainder if !whole => {
                self.error(b, "% is for whole numbers");
                return None;
            }
            other => other,
        };
        Some(Typed::Number(Number::Arithmetic(operator, Box::new([left, right])), whole))
    }

    fn conditional(&mut self, expr: &IdedExpr, test: &IdedExpr, a: &IdedExpr, b: &IdedExpr) -> Option<Typed> {
        let (test, a, b) = (self.bool(test), self.typed(a), self.typed(b));
        match (test?, a?, b?) {
            (test, Typed::Bool(a), Typed::Bool(b)) => Some(Typed::Bool(Node::If(Box::new([test, a, b])))),
            (test, Typed::Number(a, a_whole), Typed::Number(b, b_whole)) => {
                Some(Typed::Number(Number::If(Box::new((test, a, b))), a_whole && b_whole))
            }
            (test, Typed::Text(a, _), Typed::Text(b, _)) => Some(Typed::Text(Text::If(Box::new((test, a, b))), None)),
            (_, a, b) => {
                self.error(expr, format!("gives a {} or a {}; both have to be of one type", a.name(), b.name()));
                None
            }
        }
    }

    fn compare(&mut self, expr: &IdedExpr, compare: Compare, a: &IdedExpr, b: &IdedExpr) -> Option<Typed> {
        let (left, right) = (self.typed(a), self.typed(b));
        match (left?, right?) {
            (Typed::Number(left, _), Typed::Number(right, _)) => {
                Some(Typed::Bool(Node::CompareNumber(compare, Box::new([left, right]))))
            }
            (Typed::Text(left, left_words), Typed::Text(right, right_words)) => {
                let ordered = !matches!(compare, Compare::Equal | Compare::NotEqual);
                if ordered && left_words.or(right_words).is_some() {
                    let hint = "compared by the alphabet these words mean nothing; use == or in (request.privacy_level is ordered)";
                    self.error(expr, hint);
                    return None;
                }
                let fits = self.is_word(b, &right, left_words) & self.is_word(a, &left, right_words);
                fits.then(|| Typed::Bool(Node::CompareText(compare, Box::new([left, right]))))
            }
            (Typed::Bool(left), Typed::Bool(right)) if matches!(compare, Compare::Equal | Compare::NotEqual) => {
                Some(Typed::Bool(Node::CompareBool(compare == Compare::Equal, Box::new([left, right]))))
            }
            (Typed::Words(_), Typed::Text(..)) | (Typed::Text(..), Typed::Words(_)) => {
                self.error(expr, "compares a list with a string; write \"x\" in list");
                None
            }
            (left, right) => {
                self.error(expr, format!("compares a {} with a {}", left.name(), right.name()));
                None
            }
        }
    }

    /// Whether a literal is one of the only words that the other side can be.
    fn is_word(&mut self, at: &IdedExpr, text: &Text, words: Option<&'static [&'static str]>) -> bool {
        match (text, words) {
            (Text::Literal(word), Some(words)) if !words.contains(&&**word) => {
                self.error(at, format!("is never what this fact says; that is one of {}", words.join(", ")));
                false
            }
            _ => true,
        }
    }

    fn is_in(&mut self, expr: &IdedExpr, a: &IdedExpr, b: &IdedExpr) -> Option<Typed> {
        let (value, list) = (self.typed(a), self.typed(b));
        match (value?, list?) {
            (Typed::Text(value, words), Typed::Words(list)) => {
                let allowed = words.unwrap_or_default();
                if let (Words::Literal(given), Some(_)) = (&list, words)
                    && let Some(odd) = given.iter().find(|word| !allowed.contains(&word.as_str()))
                {
                    let message =
                        format!("holds {odd:?}, which this fact never says; that is one of {}", allowed.join(", "));
                    self.error(b, message);
                    return None;
                }
                if let (Text::Literal(word), Words::Fact(fact)) = (&value, &list)
                    && fact.name.ends_with(".tags")
                    && !is_tag(word)
                {
                    self.error(a, format!("is no tag, so it is never in {}; {TAG_FORM}", fact.name));
                    return None;
                }
                Some(Typed::Bool(Node::TextIn(value, list)))
            }
            (Typed::Number(value, _), Typed::Numbers(list)) => Some(Typed::Bool(Node::NumberIn(value, list))),
            (value, list) => {
                self.error(expr, format!("looks for a {} in a {}", value.name(), list.name()));
                None
            }
        }
    }
}
