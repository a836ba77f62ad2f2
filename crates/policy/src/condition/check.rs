//! From what `cel` parsed to a typed tree: every fact known, every type fitting. Goes on after an error, so that all come in
//! one run.

use cel::Program;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};

use super::tree::{Node, Number, Text, Words};
use super::{CONDITION_BYTES_MAX, ConditionError, FACTS, Fact, FactKind, Scope};

mod calls;

/// Brackets within each other at most.
const NESTING_MAX: usize = 24;
/// Characters of operators in one condition at most.
const OPERATORS_MAX: usize = 200;

/// A part of a condition with its type.
pub(super) enum Typed {
    Bool(Node),
    /// With whether it is whole.
    Number(Number, bool),
    /// With the only words it can be, when they are known.
    Text(Text, Option<&'static [&'static str]>),
    Words(Words),
    /// A list of numbers, which only `in` takes.
    Numbers(Vec<f64>),
}

impl Typed {
    fn name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Number(_, true) => "int",
            Self::Number(_, false) => "double",
            Self::Text(..) => "string",
            Self::Words(_) => "list of strings",
            Self::Numbers(_) => "list of numbers",
        }
    }
}

/// Parses and checks a condition.
///
/// # Errors
/// Everything wrong with it.
pub(super) fn check(source: &str, scope: Scope) -> Result<(Node, Vec<&'static Fact>), Vec<ConditionError>> {
    let whole = |message: String| vec![ConditionError { start: 0, end: source.len(), message }];
    if source.len() > CONDITION_BYTES_MAX {
        return Err(whole(format!("has {} bytes; the limit is {CONDITION_BYTES_MAX}", source.len())));
    }
    if source.trim().is_empty() {
        return Err(whole("is empty".to_owned()));
    }
    if let Some(what) = too_complex(source) {
        return Err(whole(what));
    }
    let program = Program::compile(source).map_err(|errors| syntax_errors(source, &errors))?;
    let info = program.source_info();
    let mut checker = Checker { source, info, scope, errors: Vec::new(), facts: Vec::new(), variables: Vec::new() };
    let root = program.expression();
    let node = match checker.typed(root) {
        Some(Typed::Bool(node)) => Some(node),
        Some(other) => {
            checker.error(root, format!("is a {}; a condition is a bool", other.name()));
            None
        }
        None => None,
    };
    match node {
        Some(node) if checker.errors.is_empty() => Ok((node, checker.facts)),
        _ => Err(checker.errors),
    }
}

/// The parser and everything behind it recurse with the depth of the text, so that is limited before it is parsed: brackets
/// within brackets, and operators, of which a chain is as deep as it is long. Texts are counted as if they were code.
fn too_complex(source: &str) -> Option<String> {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    let signs = source.bytes().filter(|byte| b"!-+*/%&|?<>=.[".contains(byte)).count();
    let operators = signs + source.matches("in").count();
    if deepest > NESTING_MAX {
        return Some(format!("has {deepest} brackets within each other; the limit is {NESTING_MAX}"));
    }
    (operators > OPERATORS_MAX).then(|| format!("has {operators} operators; the limit is {OPERATORS_MAX}"))
}

fn syntax_errors(source: &str, errors: &cel::ParseErrors) -> Vec<ConditionError> {
    let of = |error: &cel::ParseError| {
        let (line, column) = (usize::try_from(error.pos.0).unwrap_or(1), usize::try_from(error.pos.1).unwrap_or(1));
        let line_start: usize = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let in_line = source[line_start..].char_indices().nth(column.saturating_sub(1));
        let start = in_line.map_or(source.len(), |(at, _)| line_start + at);
        let message = error.msg.lines().next().unwrap_or("cannot be parsed");
        let hint = if source.contains('=') && !source.contains("==") { " (to compare, write ==)" } else { "" };
        ConditionError { start, end: (start + 1).min(source.len()), message: format!("{message}{hint}") }
    };
    errors.errors.iter().map(of).collect()
}

pub(super) struct Checker<'a> {
    source: &'a str,
    info: &'a SourceInfo,
    scope: Scope,
    errors: Vec<ConditionError>,
    facts: Vec<&'static Fact>,
    /// Loop variables, the innermost last.
    variables: Vec<String>,
}

impl Checker<'_> {
    pub(super) fn error(&mut self, at: &IdedExpr, message: impl Into<String>) {
        let (start, end) = self.range(at);
        self.errors.push(ConditionError { start, end, message: message.into() });
    }

    /// Where an expression stands, with everything in it. The parser counts bytes; of a selection it gives the dot.
    fn range(&self, at: &IdedExpr) -> (usize, usize) {
        let mut range: Option<(usize, usize)> = None;
        each(at, &mut |expr| {
            if let Some((start, stop)) = self.info.offset_for(expr.id) {
                let field = if let Expr::Select(select) = &expr.expr { select.field.len() } else { 0 };
                let (start, end) = (start as usize, stop as usize + 1 + field);
                let (from, to) = range.unwrap_or((start, end));
                range = Some((from.min(start), to.max(end)));
            }
        });
        let (start, end) = range.unwrap_or((0, self.source.len()));
        (start.min(self.source.len()), end.min(self.source.len()))
    }

    pub(super) fn typed(&mut self, expr: &IdedExpr) -> Option<Typed> {
        match &expr.expr {
            Expr::Literal(literal) => self.literal(expr, literal),
            Expr::Ident(name) => self.variable(expr, name),
            Expr::Select(select) => {
                let Expr::Ident(root) = &select.operand.expr else {
                    self.error(expr, "is no fact");
                    return None;
                };
                if self.variables.contains(root) {
                    self.error(expr, format!("{root} is a word of a list here and has no fields"));
                    return None;
                }
                let fact = self.fact(expr, &format!("{root}.{}", select.field))?;
                Some(if select.test { Typed::Bool(Node::Has(fact)) } else { of_fact(fact) })
            }
            Expr::List(list) => self.list(expr, &list.elements),
            Expr::Call(call) => self.call(expr, call),
            Expr::Comprehension(comprehension) => self.comprehension(expr, comprehension),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                self.error(expr, "is not supported in conditions");
                None
            }
        }
    }

    fn literal(&mut self, expr: &IdedExpr, literal: &LiteralValue) -> Option<Typed> {
        Some(match literal {
            LiteralValue::Boolean(value) => Typed::Bool(Node::Literal(*value.inner())),
            LiteralValue::Int(value) => Typed::Number(Number::Literal(*value.inner() as f64), true),
            LiteralValue::UInt(value) => Typed::Number(Number::Literal(*value.inner() as f64), true),
            LiteralValue::Double(value) => Typed::Number(Number::Literal(*value.inner()), false),
            LiteralValue::String(value) => Typed::Text(Text::Literal(value.inner().into()), None),
            LiteralValue::Bytes(_) | LiteralValue::Null => {
                self.error(expr, "is not supported in conditions; has(fact) tells whether a fact is there");
                return None;
            }
        })
    }

    fn variable(&mut self, expr: &IdedExpr, name: &str) -> Option<Typed> {
        if let Some(out) = self.variables.iter().rev().position(|variable| variable == name) {
            return Some(Typed::Text(Text::Variable(out), None));
        }
        let known = name == "request" || FACTS.iter().any(|fact| fact.name.split('.').next() == Some(name));
        let message = if known {
            format!("{name} is a group of facts; name one of them, such as {}", example(name))
        } else {
            format!("{name} is no fact{}", nearest(name))
        };
        self.error(expr, message);
        None
    }

    fn fact(&mut self, expr: &IdedExpr, name: &str) -> Option<&'static Fact> {
        let Some(fact) = Fact::named(name) else {
            self.error(expr, format!("{name} is no fact{}", nearest(name)));
            return None;
        };
        if fact.is_of_target() && self.scope != Scope::Target {
            self.error(expr, format!("{name} is known of each target, not of the request; it belongs into require"));
            return None;
        }
        if !self.facts.contains(&fact) {
            self.facts.push(fact);
        }
        Some(fact)
    }

    fn list(&mut self, expr: &IdedExpr, elements: &[IdedExpr]) -> Option<Typed> {
        let (mut words, mut numbers) = (Vec::new(), Vec::new());
        for element in elements {
            match self.typed(element)? {
                Typed::Text(Text::Literal(word), _) => words.push(word.to_string()),
                Typed::Number(Number::Literal(number), _) => numbers.push(number),
                Typed::Number(Number::Negate(inner), _) if matches!(*inner, Number::Literal(_)) => {
                    if let Number::Literal(number) = *inner {
                        numbers.push(-number);
                    }
                }
                _ => {
                    self.error(element, "has to be a literal; a list holds texts or numbers as they are written");
                    return None;
                }
            }
        }
        match (words.is_empty(), numbers.is_empty()) {
            (_, true) => Some(Typed::Words(Words::Literal(words))),
            (true, false) => Some(Typed::Numbers(numbers)),
            (false, false) => {
                self.error(expr, "mixes texts and numbers");
                None
            }
        }
    }

    /// `exists` and `all` over a list of texts; the other macros are not supported.
    fn comprehension(&mut self, expr: &IdedExpr, loop_: &ComprehensionExpr) -> Option<Typed> {
        let step = match &loop_.loop_step.expr {
            Expr::Call(step) if loop_.iter_var2.is_none() && step.args.len() == 2 => Some(step),
            _ => None,
        };
        let accumulates = |call: &CallExpr| matches!(&call.args[0].expr, Expr::Ident(name) if *name == loop_.accu_var);
        let is_exists = match step.filter(|step| accumulates(step)).map(|step| step.func_name.as_str()) {
            Some(operators::LOGICAL_OR) => true,
            Some(operators::LOGICAL_AND) => false,
            _ => {
                self.error(expr, "is not supported in conditions; of the macros there are has, exists and all");
                return None;
            }
        };
        let list = match self.typed(&loop_.iter_range)? {
            Typed::Words(list) => list,
            other => {
                self.error(
                    &loop_.iter_range,
                    format!("is a {}; exists and all go over a list of strings", other.name()),
                );
                return None;
            }
        };
        self.variables.push(loop_.iter_var.clone());
        let predicate = step.and_then(|step| self.bool(&step.args[1]));
        self.variables.pop();
        let predicate = Box::new(predicate?);
        Some(Typed::Bool(if is_exists { Node::Exists(list, predicate) } else { Node::All(list, predicate) }))
    }

    pub(super) fn bool(&mut self, expr: &IdedExpr) -> Option<Node> {
        match self.typed(expr)? {
            Typed::Bool(node) => Some(node),
            other => {
                self.error(expr, format!("is a {}, where a bool is needed", other.name()));
                None
            }
        }
    }

    pub(super) fn text(&mut self, expr: &IdedExpr) -> Option<Text> {
        match self.typed(expr)? {
            Typed::Text(text, _) => Some(text),
            other => {
                self.error(expr, format!("is a {}, where a string is needed", other.name()));
                None
            }
        }
    }
}

fn of_fact(fact: &'static Fact) -> Typed {
    match fact.kind {
        FactKind::Bool => Typed::Bool(Node::Fact(fact)),
        FactKind::Int => Typed::Number(Number::Fact(fact), true),
        FactKind::Double => Typed::Number(Number::Fact(fact), false),
        FactKind::Text => Typed::Text(Text::Fact(fact), None),
        FactKind::Word(words) => Typed::Text(Text::Fact(fact), Some(words)),
        FactKind::Words => Typed::Words(Words::Fact(fact)),
    }
}

/// Calls `visit` for an expression and everything in it.
fn each(expr: &IdedExpr, visit: &mut impl FnMut(&IdedExpr)) {
    visit(expr);
    match &expr.expr {
        Expr::Call(call) => call.target.iter().map(|target| &**target).chain(&call.args).for_each(|e| each(e, visit)),
        Expr::Select(select) => each(&select.operand, visit),
        Expr::List(list) => list.elements.iter().for_each(|e| each(e, visit)),
        Expr::Comprehension(c) => {
            each(&c.iter_range, visit);
            each(&c.loop_step, visit);
        }
        _ => {}
    }
}

fn example(group: &str) -> &'static str {
    FACTS.iter().map(|fact| fact.name).find(|name| name.split('.').next() == Some(group)).unwrap_or_default()
}

/// The fact that somebody most likely meant.
fn nearest(name: &str) -> String {
    let distance = |fact: &&Fact| edit_distance(name, fact.name);
    match FACTS.iter().min_by_key(distance) {
        Some(fact) if distance(&fact) <= 3 => format!("; did you mean {}?", fact.name),
        _ => "; policies/README.md lists them".to_owned(),
    }
}

/// Levenshtein's distance in bytes, enough to suggest a name.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
