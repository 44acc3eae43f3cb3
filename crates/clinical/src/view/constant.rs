//! Constants of a view: typed literals.

use super::compile::check_name;
use super::error::{ViewError, ViewProblem};
use super::source::Source;
use crate::decimal::Decimal;
use crate::fhir::schema;
use crate::fhirpath::{Constants, Literal, LiteralValue};
use crate::json::Kind;
use crate::temporal::Temporal;

/// Reads the elements of `constant`.
pub(super) fn constants(sources: &[Source<'_>]) -> Result<Constants, ViewError> {
    let mut constants = Constants::new();
    for source in sources {
        let object = source.any_object()?;
        let name_source = object.required("name")?;
        let name = name_source.text()?;
        check_name(&name, &name_source.pointer)?;
        if RESERVED.contains(&name.as_str()) {
            return Err(ViewProblem::ReservedConstant { name }.at(&name_source.pointer));
        }
        let mut values = Vec::new();
        for (member, value) in &object.members {
            match VALUES.iter().find(|(known, _)| known == member) {
                Some((_, type_name)) => values.push((*type_name, value)),
                None if ["name", "id", "extension"].contains(&member.as_str()) => {}
                None => {
                    let name = member.clone();
                    return Err(ViewProblem::UnknownMember { name }.at(&value.pointer));
                }
            }
        }
        let (type_name, value) = match values.as_slice() {
            [only] => *only,
            several => {
                let found = several.len();
                return Err(ViewProblem::ConstantValue { found }.at(&object.pointer));
            }
        };
        let wrong = || ViewProblem::ConstantType { type_name }.at(&value.pointer);
        let literal = Literal {
            type_id: schema().find(type_name),
            value: literal(type_name, value).ok_or_else(wrong)?,
        };
        if constants.insert(name.clone(), literal).is_some() {
            return Err(ViewProblem::DuplicateConstant { name }.at(&name_source.pointer));
        }
    }
    Ok(constants)
}

fn literal(type_name: &str, value: &Source<'_>) -> Option<LiteralValue> {
    let text = value.text().ok();
    match type_name {
        "boolean" => value.boolean().ok().map(LiteralValue::Boolean),
        "integer64" => {
            // R5 writes it as a string.
            let lexeme = text.as_deref().unwrap_or(value.lexeme());
            lexeme.parse().ok().map(LiteralValue::Integer)
        }
        "integer" | "positiveInt" | "unsignedInt" => {
            let lexeme = Some(value.lexeme()).filter(|_| value.kind() == Kind::Number)?;
            let least = match type_name {
                "integer" => i32::MIN,
                "positiveInt" => 1,
                _ => 0,
            };
            let integer = lexeme.parse::<i32>().ok().filter(|integer| *integer >= least)?;
            Some(LiteralValue::Integer(integer.into()))
        }
        "decimal" => {
            let lexeme = Some(value.lexeme()).filter(|_| value.kind() == Kind::Number)?;
            Some(LiteralValue::Decimal(Decimal::parse(lexeme)?, lexeme.into()))
        }
        "date" | "dateTime" | "instant" => {
            let text = text?;
            let parsed = Temporal::parse_date_time(&text)?;
            let fits = match type_name {
                "date" => parsed.is_date() && !text.ends_with('T'),
                "instant" => parsed.micros().is_some(),
                _ => true,
            };
            fits.then(|| LiteralValue::Temporal(parsed, text.into()))
        }
        "time" => {
            let text = text?;
            let parsed = Temporal::parse_time(&text)?;
            Some(LiteralValue::Temporal(parsed, text.into()))
        }
        _ => text.filter(|text| !text.is_empty()).map(|text| LiteralValue::Text(text.into())),
    }
}

/// Names that the language gives a meaning.
const RESERVED: &[&str] =
    &["rowIndex", "resource", "context", "rootResource", "sct", "loinc", "ucum"];

const VALUES: &[(&str, &str)] = &[
    ("valueBase64Binary", "base64Binary"),
    ("valueBoolean", "boolean"),
    ("valueCanonical", "canonical"),
    ("valueCode", "code"),
    ("valueDate", "date"),
    ("valueDateTime", "dateTime"),
    ("valueDecimal", "decimal"),
    ("valueId", "id"),
    ("valueInstant", "instant"),
    ("valueInteger", "integer"),
    ("valueInteger64", "integer64"),
    ("valueOid", "oid"),
    ("valueString", "string"),
    ("valuePositiveInt", "positiveInt"),
    ("valueTime", "time"),
    ("valueUnsignedInt", "unsignedInt"),
    ("valueUri", "uri"),
    ("valueUrl", "url"),
    ("valueUuid", "uuid"),
];
