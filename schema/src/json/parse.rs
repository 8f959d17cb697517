//! From a text that is known to be JSON to its value.
//!
//! `serde_json` gives objects that begin with one of its private names another meaning, and refuses half of a
//! surrogate pair. Anyone may send either, and both are data.

use serde_json::{Map, Number, Value};

/// Deepest nesting that is parsed: what `serde_json` reads back of what it writes.
const MAX_DEPTH: usize = 127;

/// A parsed text.
pub(super) struct Parsed {
    /// What it says.
    pub(super) value: Value,
    /// Nothing had to be replaced.
    pub(super) exact: bool,
}

/// Reads a text that is valid JSON; `None` if it is nested too deep.
pub(super) fn parse(text: &str) -> Option<Parsed> {
    let mut reader = Reader {
        rest: text,
        exact: true,
    };
    let value = reader.value(0)?;
    Some(Parsed {
        value,
        exact: reader.exact,
    })
}

struct Reader<'a> {
    rest: &'a str,
    exact: bool,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.skip_space();
        match self.rest.chars().next()? {
            '{' | '[' if depth == MAX_DEPTH => None,
            '{' => self.object(depth + 1),
            '[' => self.array(depth + 1),
            '"' => self.string().map(Value::String),
            't' => self.word("true", Value::Bool(true)),
            'f' => self.word("false", Value::Bool(false)),
            'n' => self.word("null", Value::Null),
            _ => self.number(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut fields = Map::new();
        self.take('{')?;
        if self.take('}').is_none() {
            loop {
                self.skip_space();
                let key = self.string()?;
                self.take(':')?;
                fields.insert(key, self.value(depth)?);
                if self.take(',').is_none() {
                    break self.take('}')?;
                }
            }
        }
        Some(Value::Object(fields))
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        self.take('[')?;
        if self.take(']').is_none() {
            loop {
                items.push(self.value(depth)?);
                if self.take(',').is_none() {
                    break self.take(']')?;
                }
            }
        }
        Some(Value::Array(items))
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(value)
    }

    fn number(&mut self) -> Option<Value> {
        let end = self
            .rest
            .find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'))
            .unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        text.parse::<Number>().ok().map(Value::Number)
    }

    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        self.rest = self.rest.strip_prefix('"')?;
        loop {
            let (plain, rest) = self.rest.split_at_checked(self.rest.find(['"', '\\'])?)?;
            text.push_str(plain);
            if let Some(rest) = rest.strip_prefix('"') {
                self.rest = rest;
                return Some(text);
            }
            self.rest = rest.strip_prefix('\\')?;
            text.push(self.escaped()?);
        }
    }

    /// The character that an escape stands for; the backslash is already read.
    fn escaped(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let escape = chars.next()?;
        self.rest = chars.as_str();
        Some(match escape {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => self.code_point()?,
            itself => itself,
        })
    }

    fn code_point(&mut self) -> Option<char> {
        let (first, rest) = hex(self.rest)?;
        self.rest = rest;
        if (0xd800..0xdc00).contains(&first)
            && let Some((second, rest)) = self.rest.strip_prefix("\\u").and_then(hex)
            && (0xdc00..0xe000).contains(&second)
        {
            self.rest = rest;
            return char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
        }
        Some(char::from_u32(first).unwrap_or_else(|| {
            self.exact = false;
            char::REPLACEMENT_CHARACTER
        }))
    }

    fn take(&mut self, expected: char) -> Option<()> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }
}

/// Four hexadecimal digits, and what follows them.
fn hex(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    u32::from_str_radix(digits, 16).ok().map(|code| (code, rest))
}
