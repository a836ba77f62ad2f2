//! A checked condition: typed, with facts resolved and regular expressions built.

use std::sync::Arc;

use regex::Regex;

use super::Fact;

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Compare {
    pub(super) fn holds<T: PartialOrd + ?Sized>(self, a: &T, b: &T) -> bool {
        match self {
            Self::Equal => a == b,
            Self::NotEqual => a != b,
            Self::Less => a < b,
            Self::LessEqual => a <= b,
            Self::Greater => a > b,
            Self::GreaterEqual => a >= b,
        }
    }
}

/// What is asked of a text.
#[derive(Debug)]
pub(super) enum TextTest {
    StartsWith(Text),
    EndsWith(Text),
    Contains(Text),
    Matches(Regex),
}

/// True or false.
#[derive(Debug)]
pub(super) enum Node {
    Literal(bool),
    Fact(&'static Fact),
    Has(&'static Fact),
    Not(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    If(Box<[Node; 3]>),
    CompareBool(bool, Box<[Node; 2]>),
    CompareNumber(Compare, Box<[Number; 2]>),
    CompareText(Compare, Box<[Text; 2]>),
    NumberIn(Number, Vec<f64>),
    TextIn(Text, Words),
    TextTest(Text, Box<TextTest>),
    /// Whether the predicate holds for one of the words; the word is the innermost loop variable.
    Exists(Words, Box<Node>),
    /// Whether it holds for all of them.
    All(Words, Box<Node>),
}

/// An arithmetic operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// Of whole numbers, which cuts off the fraction.
    DivideWhole,
    Remainder,
}

/// A number. Whole numbers are exact up to 2^53, far beyond any count of tokens.
#[derive(Debug)]
pub(super) enum Number {
    Literal(f64),
    Fact(&'static Fact),
    Negate(Box<Number>),
    Arithmetic(Arithmetic, Box<[Number; 2]>),
    Length(Text),
    Count(Words),
    If(Box<(Node, Number, Number)>),
}

/// A text.
#[derive(Debug)]
pub(super) enum Text {
    Literal(Arc<str>),
    Fact(&'static Fact),
    /// The loop variable so many loops out; 0 is the innermost.
    Variable(usize),
    If(Box<(Node, Text, Text)>),
}

/// A list of texts.
#[derive(Debug)]
pub(super) enum Words {
    Literal(Vec<String>),
    Fact(&'static Fact),
}
