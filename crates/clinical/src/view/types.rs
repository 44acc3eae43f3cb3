//! From FHIR types and SQL tags to columns.

use arrow::datatypes::{DataType, TimeUnit};

use super::error::ViewProblem;
use crate::fhir::{Primitive, TypeId, Types, schema};
use crate::fhirpath::describe;

/// How the values of a column are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// `boolean`
    Boolean,
    /// `integer`, `positiveInt`, `unsignedInt`; tag `INTEGER`
    Int32,
    /// `integer64`; tag `BIGINT`
    Int64,
    /// Tag `DOUBLE PRECISION`
    Float64,
    /// Tag `DECIMAL(p, s)`: values are rounded to `scale`, and that is counted.
    Decimal {
        /// All digits, at most 38.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// Everything else, as FHIR writes it: `1.50` and `2014-01` stay what they are.
    Text,
    /// `base64Binary`, decoded
    Binary,
    /// Tag `DATE`: dates that do not reach the day are null, and that is counted.
    Date,
    /// `instant`; tag `TIMESTAMP WITH TIME ZONE`: microseconds in UTC
    Timestamp,
}

impl ColumnKind {
    /// The Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            ColumnKind::Boolean => DataType::Boolean,
            ColumnKind::Int32 => DataType::Int32,
            ColumnKind::Int64 => DataType::Int64,
            ColumnKind::Float64 => DataType::Float64,
            ColumnKind::Decimal { precision, scale } => {
                DataType::Decimal128(precision, scale as i8)
            }
            ColumnKind::Text => DataType::Utf8,
            ColumnKind::Binary => DataType::Binary,
            ColumnKind::Date => DataType::Date32,
            ColumnKind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }

    /// Reads an SQL type, such as `DECIMAL(18, 2)`; `None` if tables do not have it.
    pub fn from_sql(text: &str) -> Option<ColumnKind> {
        let upper = text.trim().to_ascii_uppercase();
        let (name, arguments) = match upper.split_once('(') {
            Some((name, rest)) => (name, Some(rest.strip_suffix(')')?)),
            None => (upper.as_str(), None),
        };
        let name: Vec<&str> = name.split_whitespace().collect();
        let arguments = arguments.into_iter().flat_map(|arguments| arguments.split(','));
        let arguments = arguments.map(|argument| argument.trim().parse::<u8>().ok());
        let arguments: Vec<u8> = arguments.collect::<Option<_>>()?;
        Some(match (name.as_slice(), arguments.as_slice()) {
            (["BOOLEAN"], []) => ColumnKind::Boolean,
            (["INTEGER" | "INT"], []) => ColumnKind::Int32,
            (["BIGINT"], []) => ColumnKind::Int64,
            (["DOUBLE"] | ["DOUBLE", "PRECISION"], []) => ColumnKind::Float64,
            (["DECIMAL" | "NUMERIC" | "DEC"], &[precision @ 1..=38, scale])
                if scale <= precision =>
            {
                ColumnKind::Decimal { precision, scale }
            }
            (["DECIMAL" | "NUMERIC" | "DEC"], &[precision @ 1..=38]) => {
                let scale = 0;
                ColumnKind::Decimal { precision, scale }
            }
            (["CHARACTER", "VARYING"] | ["VARCHAR" | "TEXT"], []) => ColumnKind::Text,
            (["DATE"], []) => ColumnKind::Date,
            (["TIMESTAMP", "WITH", "TIME", "ZONE"], []) => ColumnKind::Timestamp,
            _ => return None,
        })
    }

    /// The SQL type.
    pub fn to_sql(self) -> String {
        match self {
            ColumnKind::Boolean => "BOOLEAN".to_owned(),
            ColumnKind::Int32 => "INTEGER".to_owned(),
            ColumnKind::Int64 => "BIGINT".to_owned(),
            ColumnKind::Float64 => "DOUBLE PRECISION".to_owned(),
            ColumnKind::Decimal { precision, scale } => format!("DECIMAL({precision}, {scale})"),
            ColumnKind::Text => "CHARACTER VARYING".to_owned(),
            ColumnKind::Binary => "BINARY".to_owned(),
            ColumnKind::Date => "DATE".to_owned(),
            ColumnKind::Timestamp => "TIMESTAMP WITH TIME ZONE".to_owned(),
        }
    }

    /// Whether a value of a FHIR primitive can be stored so.
    fn takes(self, primitive: Primitive) -> bool {
        let is_number = matches!(primitive, Primitive::Integer | Primitive::Decimal);
        let is_text = !is_number && primitive != Primitive::Boolean;
        match self {
            ColumnKind::Boolean => primitive == Primitive::Boolean,
            // Whether a decimal is whole shows when it is read.
            ColumnKind::Int32 | ColumnKind::Int64 => is_number,
            ColumnKind::Float64 | ColumnKind::Decimal { .. } => is_number,
            ColumnKind::Text => true,
            ColumnKind::Binary | ColumnKind::Date | ColumnKind::Timestamp => is_text,
        }
    }
}

/// Chooses how a column is stored, from its declared type, its SQL tag, and what
/// its path yields.
pub(super) fn column_type(
    declared: Option<&str>,
    sql_type: Option<&str>,
    yielded: &Types,
) -> Result<(ColumnKind, Option<&'static str>), ViewProblem> {
    let declared = declared.map(declared_type).transpose()?;
    if let (Some(declared), Types::Of(yielded)) = (declared, yielded) {
        check_declared(declared, yielded)?;
    }
    let type_id = declared.or(only_type(yielded)?);
    let kind = match (sql_type, type_id) {
        (Some(sql_type), _) => {
            let unsupported = || ViewProblem::UnsupportedSqlType { name: sql_type.to_owned() };
            ColumnKind::from_sql(sql_type).ok_or_else(unsupported)?
        }
        (None, Some(type_id)) => default_kind(type_id),
        (None, None) => ColumnKind::Text,
    };
    let fhir_type = type_id.map(|id| schema().name(id));
    match type_id.and_then(|id| schema().primitive(id)) {
        Some(primitive) if !kind.takes(primitive) => Err(ViewProblem::TypeConflict {
            declared: sql_type.unwrap_or("?").to_owned(),
            found: fhir_type.unwrap_or("?").to_owned(),
        }),
        _ => Ok((kind, fhir_type)),
    }
}

/// A column's `type`: a name, or the URI of a StructureDefinition.
fn declared_type(name: &str) -> Result<TypeId, ViewProblem> {
    let bare = name
        .strip_prefix("http://hl7.org/fhir/StructureDefinition/")
        .or(name.strip_prefix("http://hl7.org/fhirpath/"))
        .unwrap_or(name);
    let type_id =
        schema().find(bare).ok_or_else(|| ViewProblem::UnknownType { name: name.to_owned() })?;
    match schema().primitive(type_id) {
        Some(_) => Ok(type_id),
        None => Err(ViewProblem::NotPrimitive { found: schema().name(type_id).to_owned() }),
    }
}

/// Refuses a declared type that the path can never yield.
fn check_declared(declared: TypeId, yielded: &[TypeId]) -> Result<(), ViewProblem> {
    let group = |id: &TypeId| match schema().primitive(*id)? {
        Primitive::Boolean => Some(0),
        Primitive::Integer => Some(1),
        Primitive::Decimal => Some(2),
        Primitive::Text | Primitive::Binary | Primitive::DateTime | Primitive::Time => Some(3),
    };
    let wanted = group(&declared);
    let integer_as_decimal = |id: &TypeId| wanted == Some(2) && group(id) == Some(1);
    let fits = |id: &TypeId| group(id) == wanted || integer_as_decimal(id);
    if yielded.is_empty() || yielded.iter().any(fits) {
        return Ok(());
    }
    let found = describe(yielded);
    match yielded.iter().all(|id| group(id).is_none()) {
        true => Err(ViewProblem::NotPrimitive { found }),
        false => {
            Err(ViewProblem::TypeConflict { declared: schema().name(declared).to_owned(), found })
        }
    }
}

/// The primitive that a path yields, if it can only be one kind; an error if it
/// can only be objects.
fn only_type(yielded: &Types) -> Result<Option<TypeId>, ViewProblem> {
    let Types::Of(yielded) = yielded else {
        return Ok(None);
    };
    let primitives = yielded.iter().filter(|id| schema().primitive(**id).is_some());
    match (yielded.as_slice(), primitives.count()) {
        ([], _) => Ok(None),
        (_, 0) => Err(ViewProblem::NotPrimitive { found: describe(yielded) }),
        ([only], _) => Ok(Some(*only)),
        _ => Ok(None),
    }
}

fn default_kind(type_id: TypeId) -> ColumnKind {
    match schema().name(type_id) {
        "boolean" => ColumnKind::Boolean,
        "integer" | "positiveInt" | "unsignedInt" => ColumnKind::Int32,
        "integer64" => ColumnKind::Int64,
        "base64Binary" => ColumnKind::Binary,
        "instant" => ColumnKind::Timestamp,
        _ => ColumnKind::Text,
    }
}
