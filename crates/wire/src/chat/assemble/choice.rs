//! One choice of an answer: its message with its tool calls, its log probabilities, why it ended.
//!
//! The members that come in pieces are named here.

use std::borrow::Cow;

use super::record::{self, Budget, Record, Rule, elements, members};
use super::{AssembleError, TOOL_CALLS_MAX};

/// What a choice or a tool call counts for: about what it takes in memory.
pub(super) const ITEM_COST_BYTES: usize = 256;

/// A choice as far as it has come.
#[derive(Debug)]
pub(super) struct Choice {
    index: u64,
    /// All but what is below.
    record: Record,
    message: Record,
    tool_calls: Vec<ToolCall>,
    function_call: Record,
    logprobs: Record,
}

#[derive(Debug)]
struct ToolCall {
    index: Option<u64>,
    record: Record,
    function: Record,
}

impl Choice {
    pub(super) fn new(index: u64) -> Self {
        Self {
            index,
            record: Record::default(),
            message: Record::default(),
            tool_calls: Vec::new(),
            function_call: Record::default(),
            logprobs: Record::default(),
        }
    }

    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// Takes in what a chunk holds of this choice.
    pub(super) fn push(&mut self, raw: Vec<(Cow<'_, str>, &str)>, budget: &mut Budget) -> Result<(), AssembleError> {
        for (name, value) in raw {
            match &*name {
                "index" => {}
                // Some targets send whole messages as chunks.
                "delta" | "message" if value == "null" => {}
                "delta" | "message" => self.push_delta(value, budget)?,
                // A piece of another dialect, which would be lost: a message has no place for it.
                "text" if !matches!(value, "null" | r#""""#) => {
                    return Err(AssembleError::Malformed { reason: "a choice has a `text` and no message" });
                }
                // Some targets send an empty one in every chunk.
                "finish_reason" if value == r#""""# => self.record.fold(&name, "null", Rule::Last, budget)?,
                "logprobs" if value != "null" => {
                    self.record.fold(&name, "null", Rule::Last, budget)?;
                    for (name, value) in members(value)? {
                        let rule = if matches!(&*name, "content" | "refusal") { Rule::List } else { Rule::Last };
                        self.logprobs.fold(&name, value, rule, budget)?;
                    }
                }
                _ => self.record.fold(&name, value, Rule::Last, budget)?,
            }
        }
        // Every message has one.
        self.message.fold("content", "null", Rule::Text, budget)
    }

    fn push_delta(&mut self, raw: &str, budget: &mut Budget) -> Result<(), AssembleError> {
        for (name, value) in members(raw)? {
            let rule = match &*name {
                "role" => Rule::First,
                "content" | "reasoning_content" | "reasoning" | "refusal" => Rule::Text,
                "tool_calls" => {
                    for call in elements(value)? {
                        self.message.fold(&name, "null", Rule::Last, budget)?;
                        self.push_tool_call(call, budget)?;
                    }
                    continue;
                }
                "function_call" if value == "null" => continue,
                "function_call" => {
                    self.message.fold(&name, "null", Rule::Last, budget)?;
                    push_function(&mut self.function_call, value, budget)?;
                    continue;
                }
                _ => Rule::Last,
            };
            self.message.fold(&name, value, rule, budget)?;
        }
        Ok(())
    }

    fn push_tool_call(&mut self, raw: &str, budget: &mut Budget) -> Result<(), AssembleError> {
        let members = members(raw)?;
        let index = record::index(&members)?;
        // Targets that give no index send each call in one piece.
        let known = self.tool_calls.iter().position(|call| index.is_some() && call.index == index);
        let place = known.unwrap_or(self.tool_calls.len());
        if place == TOOL_CALLS_MAX {
            return Err(AssembleError::TooLarge { what: "tool calls", limit: TOOL_CALLS_MAX });
        }
        if known.is_none() {
            budget.take(ITEM_COST_BYTES)?;
            self.tool_calls.push(ToolCall { index, record: Record::default(), function: Record::default() });
        }
        self.tool_calls.get_mut(place).map_or(Ok(()), |call| call.push(members, budget))
    }

    /// Writes the choice.
    pub(super) fn write(&self, out: &mut String) {
        out.push_str(r#"{"index":"#);
        out.push_str(&self.index.to_string());
        out.push_str(r#","message":{"#);
        self.write_message(out);
        out.push_str("},");
        // Not empty: it has a finish reason.
        self.record.write(out, |out, name| {
            let is_here = name == "logprobs" && !self.logprobs.is_empty();
            if is_here {
                write_object(out, &self.logprobs);
            }
            is_here
        });
        out.push('}');
    }

    /// A message without text: `null` where it says something else, as OpenAI does it, else `""`, as everybody does.
    fn write_message(&self, out: &mut String) {
        let says_otherwise =
            !self.tool_calls.is_empty() || !self.function_call.is_empty() || self.message.has("refusal");
        self.message.write(out, |out, name| {
            match name {
                "content" if !self.message.has(name) => out.push_str(if says_otherwise { "null" } else { "\"\"" }),
                "tool_calls" => {
                    let mut calls: Vec<_> = self.tool_calls.iter().collect();
                    calls.sort_by_key(|call| call.index);
                    record::write_list(out, &calls, |call, out| call.write(out));
                }
                "function_call" => write_object(out, &self.function_call),
                _ => return false,
            }
            true
        });
    }
}

impl ToolCall {
    fn push(&mut self, raw: Vec<(Cow<'_, str>, &str)>, budget: &mut Budget) -> Result<(), AssembleError> {
        for (name, value) in raw {
            match &*name {
                "index" => {}
                "id" | "type" => self.record.fold(&name, value, Rule::First, budget)?,
                "function" if value != "null" => {
                    // Keeps its place; the value is written at the end.
                    self.record.fold(&name, "null", Rule::Last, budget)?;
                    push_function(&mut self.function, value, budget)?;
                }
                _ => self.record.fold(&name, value, Rule::Last, budget)?,
            }
        }
        Ok(())
    }

    fn write(&self, out: &mut String) {
        out.push('{');
        self.record.write(out, |out, name| {
            let is_here = name == "function" && !self.function.is_empty();
            if is_here {
                write_object(out, &self.function);
            }
            is_here
        });
        out.push('}');
    }
}

fn push_function(function: &mut Record, raw: &str, budget: &mut Budget) -> Result<(), AssembleError> {
    for (name, value) in members(raw)? {
        let rule = match &*name {
            "name" => Rule::First,
            "arguments" => Rule::Text,
            _ => Rule::Last,
        };
        function.fold(&name, value, rule, budget)?;
    }
    Ok(())
}

fn write_object(out: &mut String, record: &Record) {
    out.push('{');
    record.write(out, |_, _| false);
    out.push('}');
}
