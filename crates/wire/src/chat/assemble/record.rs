//! Objects that come in pieces: how each member takes in what comes for it, and how much may come.
//!
//! Which member follows which rule is for the callers to say.

use std::borrow::Cow;

use super::AssembleError;
use crate::json::{Cursor, quote, unescape};

/// Most members of one object.
const MEMBERS_MAX: usize = 64;
/// What a member counts for beside its bytes: about what it takes in memory.
const MEMBER_COST_BYTES: usize = 64;

/// What a member does with a value when it has one. `null` never takes the place of another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Keeps the first that is neither `null` nor `""`.
    First,
    /// Keeps the last.
    Last,
    /// Joins strings.
    Text,
    /// Joins arrays.
    List,
}

/// How many bytes may still be collected.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    left: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, left: limit }
    }

    pub(super) fn spent(&self) -> usize {
        self.limit - self.left
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<(), AssembleError> {
        let too_large = AssembleError::TooLarge { what: "bytes", limit: self.limit };
        self.left = self.left.checked_sub(bytes).ok_or(too_large)?;
        Ok(())
    }
}

/// One object.
#[derive(Debug, Default)]
pub(super) struct Record {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    /// Raw JSON; of one that is joined, without the last byte.
    value: String,
    close: Option<char>,
}

impl Record {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether there is such a member and it is not `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.name == name && member.value != "null")
    }

    /// Takes in the next value of a member.
    pub(super) fn fold(&mut self, name: &str, raw: &str, rule: Rule, budget: &mut Budget) -> Result<(), AssembleError> {
        let place = self.members.iter().position(|member| member.name == name);
        if let Some(member) = place.and_then(|place| self.members.get_mut(place)) {
            return if raw == "null" { Ok(()) } else { member.take_in(raw, rule, budget) };
        }
        if self.members.len() == MEMBERS_MAX {
            return Err(AssembleError::TooLarge { what: "members", limit: MEMBERS_MAX });
        }
        budget.take(name.len() + MEMBER_COST_BYTES)?;
        let mut member = Member { name: name.to_owned(), value: "null".to_owned(), close: None };
        if raw != "null" {
            member.take_in(raw, rule, budget)?;
        }
        self.members.push(member);
        Ok(())
    }

    /// Writes the members, without braces. A value that `instead` writes (it answers true then) is not written here.
    pub(super) fn write(&self, out: &mut String, instead: impl Fn(&mut String, &str) -> bool) {
        for (place, member) in self.members.iter().enumerate() {
            if place > 0 {
                out.push(',');
            }
            out.push_str(&quote(&member.name));
            out.push(':');
            if !instead(out, &member.name) {
                out.push_str(&member.value);
                out.extend(member.close);
            }
        }
    }
}

impl Member {
    fn take_in(&mut self, raw: &str, rule: Rule, budget: &mut Budget) -> Result<(), AssembleError> {
        match rule {
            Rule::First if !matches!(&*self.value, "null" | "\"\"") => Ok(()),
            Rule::First | Rule::Last => {
                budget.take(raw.len().saturating_sub(self.value.len()))?;
                self.value.clear();
                self.value.push_str(raw);
                Ok(())
            }
            Rule::Text => self.join(raw, ('"', '"'), budget),
            Rule::List => self.join(raw, ('[', ']'), budget),
        }
    }

    fn join(&mut self, raw: &str, (open, close): (char, char), budget: &mut Budget) -> Result<(), AssembleError> {
        let reason = "a text is no string, or a list no array";
        let inner = raw.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        let inner = inner.ok_or(AssembleError::Malformed { reason })?;
        let inner = if close == ']' { inner.trim_ascii() } else { inner };
        budget.take(inner.len() + 1)?;
        if self.close.is_none() {
            self.value.clear();
            self.value.push(open);
            self.close = Some(close);
        } else if close == ']' && self.value.len() > 1 && !inner.is_empty() {
            self.value.push(',');
        }
        self.value.push_str(inner);
        Ok(())
    }
}

/// The members of a raw object, names unescaped.
pub(in crate::chat) fn members(raw: &str) -> Result<Vec<(Cow<'_, str>, &str)>, AssembleError> {
    let mut cursor = Cursor::new(raw);
    if cursor.peek() != Some(b'{') {
        return Err(AssembleError::Malformed { reason: "something is no object" });
    }
    let mut members = Vec::new();
    cursor.object(|cursor, key| {
        if members.len() == MEMBERS_MAX {
            return Err(AssembleError::TooLarge { what: "members", limit: MEMBERS_MAX });
        }
        let name = unescape(cursor.text(key));
        let name = name.ok_or(AssembleError::Malformed { reason: "a name holds an invalid escape" })?;
        members.push((name, cursor.skip()?));
        Ok(())
    })?;
    Ok(members)
}

/// The elements of a raw array; none of `null`.
pub(in crate::chat) fn elements(raw: &str) -> Result<Vec<&str>, AssembleError> {
    let mut elements = Vec::new();
    if raw == "null" {
        return Ok(elements);
    }
    let mut cursor = Cursor::new(raw);
    if cursor.peek() != Some(b'[') {
        return Err(AssembleError::Malformed { reason: "something is no array" });
    }
    cursor.array(|cursor| {
        elements.push(cursor.skip()?);
        Ok::<_, AssembleError>(())
    })?;
    Ok(elements)
}

/// The value of `index`, where there is one.
pub(super) fn index(members: &[(Cow<'_, str>, &str)]) -> Result<Option<u64>, AssembleError> {
    let given = members.iter().find(|(name, value)| name == "index" && *value != "null");
    let parse = |value: &str| value.parse().map_err(|_| AssembleError::Malformed { reason: "an index is no number" });
    given.map(|(_, value)| parse(value)).transpose()
}

/// Writes an array.
pub(super) fn write_list<T>(out: &mut String, items: &[T], write: impl Fn(&T, &mut String)) {
    out.push('[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(']');
}
