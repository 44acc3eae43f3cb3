//! Paths to tokens (FHIRPath N1, appendix "Formal specifications").

use super::error::{PathError, PathProblem};
use super::expr::{Literal, LiteralValue};
use crate::decimal::Decimal;
use crate::fhir::schema;
use crate::temporal::Temporal;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A plain identifier; operators and literals spelled as words are among them.
    Word(String),
    /// An identifier between backticks, which is never an operator.
    Delimited(String),
    /// `%name`
    Variable(String),
    /// `$name`
    Special(String),
    Literal(Literal),
    Symbol(&'static str),
    End,
}

pub(super) struct Spanned {
    pub at: usize,
    pub token: Token,
}

/// Cuts a path into tokens; the last one is [`Token::End`].
pub(super) fn lex(path: &str) -> Result<Vec<Spanned>, PathError> {
    let mut lexer = Lexer { path, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank()?;
        let at = lexer.at;
        let token = lexer.token().map_err(|problem| problem.at(at))?;
        let is_end = token == Token::End;
        tokens.push(Spanned { at, token });
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'p> {
    path: &'p str,
    at: usize,
}

/// Longer symbols before those that they begin with.
const SYMBOLS: &[&str] = &[
    "<=", ">=", "!=", "!~", "(", ")", "[", "]", "{", "}", ".", ",", "+", "-", "*", "/", "&", "|",
    "=", "~", "<", ">",
];

impl Lexer<'_> {
    fn token(&mut self) -> Result<Token, PathProblem> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(Token::End);
        };
        match first {
            'A'..='Z' | 'a'..='z' | '_' => Ok(Token::Word(self.word())),
            '`' => Ok(Token::Delimited(self.quoted('`')?)),
            '\'' => {
                let text = self.quoted('\'')?;
                Ok(literal("string", LiteralValue::Text(text.into())))
            }
            '0'..='9' => self.number(),
            '@' => self.date_or_time(),
            '%' => {
                self.at += 1;
                Ok(Token::Variable(match self.rest().chars().next() {
                    Some(quote @ ('`' | '\'')) => self.quoted(quote)?,
                    _ => self.name()?,
                }))
            }
            '$' => {
                self.at += 1;
                Ok(Token::Special(self.name()?))
            }
            _ => {
                let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
                let symbol = symbol.ok_or(syntax("a token of fhirpath"))?;
                self.at += symbol.len();
                Ok(Token::Symbol(symbol))
            }
        }
    }

    fn name(&mut self) -> Result<String, PathProblem> {
        match self.rest().starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            true => Ok(self.word()),
            false => Err(syntax("a name")),
        }
    }

    fn word(&mut self) -> String {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        self.take_while(is_part).to_owned()
    }

    fn number(&mut self) -> Result<Token, PathProblem> {
        let start = self.at;
        self.take_while(|c| c.is_ascii_digit());
        let mut fraction = self.rest().strip_prefix('.').unwrap_or("").chars();
        let is_integer = !fraction.next().is_some_and(|c| c.is_ascii_digit());
        if !is_integer {
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
        let lexeme = self.path.get(start..self.at).unwrap_or("");
        if is_integer {
            let value = lexeme.parse().map_err(|_| syntax("an integer below 2^63"))?;
            return Ok(literal("integer", LiteralValue::Integer(value)));
        }
        let value = Decimal::parse(lexeme).ok_or(syntax("a decimal of at most 38 digits"))?;
        Ok(literal("decimal", LiteralValue::Decimal(value, lexeme.into())))
    }

    /// `@2014-01-25`, `@2014-01-25T14:30:00.5+01:00`, `@T14:30`
    fn date_or_time(&mut self) -> Result<Token, PathProblem> {
        self.at += 1;
        let start = self.at;
        let is_time = self.eat("T");
        if is_time {
            self.eat_clock();
        } else if self.eat("dddd") && self.eat("-dd") {
            self.eat("-dd");
        }
        let is_date_time = !is_time && self.eat("T");
        if is_date_time && self.eat_clock() && !self.eat("Z") && !self.eat("+dd:dd") {
            self.eat("-dd:dd");
        }
        let text = self.path.get(start..self.at).unwrap_or("");
        let (type_name, text, parsed) = match is_time {
            true => {
                let clock = text.get(1..).unwrap_or("");
                ("time", clock, Temporal::parse_time(clock))
            }
            false if is_date_time => ("dateTime", text, Temporal::parse_date_time(text)),
            false => ("date", text, Temporal::parse_date_time(text)),
        };
        let parsed = parsed.ok_or(syntax("a valid date or time after `@`"))?;
        Ok(literal(type_name, LiteralValue::Temporal(parsed, text.into())))
    }

    fn eat_clock(&mut self) -> bool {
        let has_hour = self.eat("dd");
        if has_hour && self.eat(":dd") && self.eat(":dd") && self.eat(".d") {
            self.take_while(|c| c.is_ascii_digit());
        }
        has_hour
    }

    /// Takes what `pattern` describes, `d` being any digit; or nothing.
    fn eat(&mut self, pattern: &str) -> bool {
        let found = self.rest().as_bytes().get(..pattern.len()).unwrap_or(&[]);
        let fits = |(found, wanted): (&u8, u8)| match wanted {
            b'd' => found.is_ascii_digit(),
            _ => *found == wanted,
        };
        let eaten = found.len() == pattern.len() && found.iter().zip(pattern.bytes()).all(fits);
        if eaten {
            self.at += pattern.len();
        }
        eaten
    }

    fn quoted(&mut self, quote: char) -> Result<String, PathProblem> {
        let mut units = Vec::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            let c = match c {
                _ if c == quote => {
                    self.at += at + 1;
                    return String::from_utf16(&units).map_err(|_| syntax("paired surrogates"));
                }
                '\\' => match chars.next().map(|(_, escaped)| escaped) {
                    Some(plain @ ('\'' | '"' | '`' | '\\' | '/')) => plain,
                    Some('r') => '\r',
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('f') => '\u{c}',
                    Some('u') => {
                        let digits = chars.by_ref().take(4).map(|(_, digit)| digit.to_digit(16));
                        let unit = digits.collect::<Option<Vec<u32>>>().filter(|d| d.len() == 4);
                        let unit = unit.ok_or(syntax("four hexadecimal digits after `\\u`"))?;
                        units.push(unit.iter().fold(0, |unit, digit| unit * 16 + *digit as u16));
                        continue;
                    }
                    _ => return Err(syntax("a valid escape")),
                },
                c => c,
            };
            units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
        }
        Err(syntax("the closing quote"))
    }

    fn skip_blank(&mut self) -> Result<(), PathError> {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
            if self.rest().starts_with("//") {
                self.take_while(|c| c != '\n');
            } else if let Some(comment) = self.rest().strip_prefix("/*") {
                let end = comment.find("*/");
                let end = end.ok_or_else(|| syntax("the end of the comment").at(self.at))?;
                self.at += end + 4;
            } else {
                return Ok(());
            }
        }
    }

    fn take_while(&mut self, is_wanted: impl Fn(char) -> bool) -> &str {
        let rest = self.path.get(self.at..).unwrap_or("");
        let end = rest.find(|c| !is_wanted(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or("")
    }

    fn rest(&self) -> &str {
        self.path.get(self.at..).unwrap_or("")
    }
}

fn literal(type_name: &str, value: LiteralValue) -> Token {
    let type_id = schema().find(type_name);
    Token::Literal(Literal { type_id, value })
}

fn syntax(expected: &'static str) -> PathProblem {
    PathProblem::Syntax { expected }
}
