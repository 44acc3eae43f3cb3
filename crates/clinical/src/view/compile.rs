//! A ViewDefinition to a plan.

use std::collections::BTreeSet;

use super::constant::constants;
use super::error::{ViewError, ViewProblem, ViewWarning};
use super::source::{Object, Source};
use super::types::column_type;
use super::{
    Column, CompiledView, Filter, Iteration, MAX_COLUMNS, MAX_SELECT_DEPTH, MAX_VIEW_BYTES,
    Selection,
};
use crate::fhir::{TypeId, Types, schema};
use crate::fhirpath::{self, CompiledPath, Constants, Expr, PathError, PathWarning};
use crate::json::Arena;

/// Parses and compiles the text of a ViewDefinition.
pub(super) fn compile(text: &[u8]) -> Result<CompiledView, ViewError> {
    if text.len() > MAX_VIEW_BYTES {
        return Err(ViewProblem::TooLong.at(""));
    }
    let mut arena = Arena::new();
    let document = arena.parse(text).map_err(|error| ViewProblem::NotJson(error).at(""))?;
    let view = Source::root(document).object(VIEW_MEMBERS)?;

    if let Some(resource_type) = view.optional("resourceType")
        && resource_type.text()? != "ViewDefinition"
    {
        return Err(ViewProblem::NotAViewDefinition.at(&resource_type.pointer));
    }
    let name = optional_text(&view, "name")?;
    if let (Some(name), Some(source)) = (&name, view.optional("name")) {
        check_name(name, &source.pointer)?;
    }
    let url = optional_text(&view, "url")?;
    let resource = resource(&view)?;
    let mut compiler = Compiler {
        resource,
        constants: constants(&view.array("constant")?)?,
        columns: Vec::new(),
        names: BTreeSet::new(),
        warnings: Vec::new(),
    };

    let focus = Types::one(resource);
    let mut filters = Vec::new();
    for source in view.array("where")? {
        filters.push(compiler.filter(&source, &focus)?);
    }
    let select = view.required("select")?;
    let mut children = Vec::new();
    for source in select.array()? {
        children.push(compiler.selection(&source, &focus, 1)?);
    }
    if compiler.columns.is_empty() {
        return Err(ViewProblem::NoColumns.at(&select.pointer));
    }
    Ok(CompiledView {
        name,
        url,
        resource,
        filters,
        root: Selection {
            iteration: Iteration::Once,
            first_column: 0,
            paths: Vec::new(),
            children,
            width: compiler.columns.len(),
        },
        columns: compiler.columns,
        warnings: compiler.warnings,
    })
}

/// Whether a name matches `^[A-Za-z][A-Za-z0-9_]*$` (SQL on FHIR: `sql-name`) and is
/// not too long.
pub(crate) fn is_column_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Checks the name of a view, constant or column.
pub(super) fn check_name(name: &str, pointer: &str) -> Result<(), ViewError> {
    match is_column_name(name) {
        true => Ok(()),
        false => Err(ViewProblem::IllegalName { name: name.to_owned() }.at(pointer)),
    }
}

struct Compiler {
    resource: TypeId,
    constants: Constants,
    columns: Vec<Column>,
    names: BTreeSet<String>,
    warnings: Vec<ViewWarning>,
}

impl Compiler {
    fn filter(&mut self, source: &Source<'_>, focus: &Types) -> Result<Filter, ViewError> {
        let object = source.object(&["id", "extension", "path", "description"])?;
        let path = object.required("path")?;
        let compiled = self.path(path, focus, fhirpath::compile_condition)?;
        Ok(Filter { condition: compiled.expr, pointer: path.pointer.clone() })
    }

    fn selection(
        &mut self,
        source: &Source<'_>,
        focus: &Types,
        depth: usize,
    ) -> Result<Selection, ViewError> {
        if depth > MAX_SELECT_DEPTH {
            return Err(ViewProblem::TooDeep.at(&source.pointer));
        }
        let object = source.object(SELECT_MEMBERS)?;
        let (iteration, focus) = self.iteration(&object, focus)?;
        let first_column = self.columns.len();
        let mut paths = Vec::new();
        for column in object.array("column")? {
            paths.push(self.column(&column, &focus)?);
        }
        let mut children = Vec::new();
        for child in object.array("select")? {
            children.push(self.selection(&child, &focus, depth + 1)?);
        }
        Ok(Selection {
            iteration,
            first_column,
            paths,
            children,
            width: self.columns.len() - first_column,
        })
    }

    /// What the selection is evaluated on, and the type of that.
    fn iteration(
        &mut self,
        object: &Object<'_>,
        focus: &Types,
    ) -> Result<(Iteration, Types), ViewError> {
        let iterations = ["forEach", "forEachOrNull", "repeat"];
        let found = iterations.iter().filter(|name| object.optional(name).is_some());
        if found.count() > 1 {
            return Err(ViewProblem::TwoIterations.at(&object.pointer));
        }
        for what in ["forEachOrNull", "repeat", "unionAll"] {
            if let Some(source) = object.optional(what) {
                return Err(ViewProblem::NotYetSupported { what }.at(&source.pointer));
            }
        }
        match object.optional("forEach") {
            None => Ok((Iteration::Once, focus.clone())),
            Some(source) => {
                let compiled = self.path(source, focus, fhirpath::compile)?;
                let iteration =
                    Iteration::ForEach { path: compiled.expr, pointer: source.pointer.clone() };
                Ok((iteration, compiled.types))
            }
        }
    }

    fn column(&mut self, source: &Source<'_>, focus: &Types) -> Result<Expr, ViewError> {
        let object = source.object(COLUMN_MEMBERS)?;
        let path = object.required("path")?;
        let compiled = self.path(path, focus, fhirpath::compile)?;
        let name_source = object.required("name")?;
        let name = name_source.text()?;
        check_name(&name, &name_source.pointer)?;
        if let Some(collection) = object.optional("collection")
            && collection.boolean()?
        {
            let what = "a column with `collection`";
            return Err(ViewProblem::NotYetSupported { what }.at(&collection.pointer));
        }
        optional_text(&object, "description")?;
        let declared = optional_text(&object, "type")?;
        let sql_type = sql_type(&object)?;
        let (kind, fhir_type) =
            column_type(declared.as_deref(), sql_type.as_deref(), &compiled.types)
                .map_err(|problem| problem.at(&object.pointer))?;
        if self.columns.len() >= MAX_COLUMNS {
            return Err(ViewProblem::TooManyColumns.at(&object.pointer));
        }
        if !self.names.insert(name.clone()) {
            return Err(ViewProblem::DuplicateColumn { name }.at(&name_source.pointer));
        }
        self.columns.push(Column { name, kind, fhir_type, pointer: object.pointer.clone() });
        Ok(compiled.expr)
    }

    fn path(
        &mut self,
        source: &Source<'_>,
        focus: &Types,
        compile: fn(&str, &Types, TypeId, &Constants) -> Result<CompiledPath, PathError>,
    ) -> Result<CompiledPath, ViewError> {
        let compiled = compile(&source.text()?, focus, self.resource, &self.constants)
            .map_err(|error| ViewProblem::Path(error).at(&source.pointer))?;
        let warnings = compiled.warnings.iter().map(|warning| {
            let (code, message) = match warning {
                PathWarning::UnknownElement { owner, name } => {
                    ("unknown_element", format!("`{owner}` has no element `{name}` in R4"))
                }
                PathWarning::ChoiceKey { owner, name } => (
                    "choice_key",
                    format!("`{name}` of `{owner}` is the key of a choice: use `ofType`"),
                ),
            };
            let pointer = source.pointer.clone();
            ViewWarning { pointer, code, message }
        });
        self.warnings.extend(warnings);
        Ok(compiled)
    }
}

fn resource(view: &Object<'_>) -> Result<TypeId, ViewError> {
    let source = view.required("resource")?;
    let name = source.text()?;
    let found = schema().resource(&name);
    found.ok_or_else(|| ViewProblem::UnknownResource { name }.at(&source.pointer))
}

/// The value of the `ansi/type` tag. One example of the specification writes
/// `tags` for `tag`.
fn sql_type(column: &Object<'_>) -> Result<Option<String>, ViewError> {
    let mut found = None;
    for list in ["tag", "tags"] {
        for source in column.array(list)? {
            let tag = source.object(&["id", "extension", "name", "value"])?;
            let value = tag.required("value")?.text()?;
            if tag.required("name")?.text()? == "ansi/type" {
                found = Some(value);
            }
        }
    }
    Ok(found)
}

fn optional_text(object: &Object<'_>, name: &str) -> Result<Option<String>, ViewError> {
    object.optional(name).map(Source::text).transpose()
}

/// The longest name, in bytes; databases stop at 63 or 128.
const MAX_NAME_BYTES: usize = 255;

const VIEW_MEMBERS: &[&str] = &[
    "resourceType",
    "id",
    "meta",
    "implicitRules",
    "language",
    "text",
    "contained",
    "extension",
    "url",
    "identifier",
    "version",
    "versionAlgorithmString",
    "versionAlgorithmCoding",
    "name",
    "title",
    "status",
    "experimental",
    "date",
    "publisher",
    "contact",
    "description",
    "useContext",
    "jurisdiction",
    "purpose",
    "copyright",
    "copyrightLabel",
    "approvalDate",
    "lastReviewDate",
    "effectivePeriod",
    "topic",
    "author",
    "editor",
    "reviewer",
    "endorser",
    "relatedArtifact",
    "fhirVersion",
    "profile",
    "resource",
    "constant",
    "where",
    "select",
];

const SELECT_MEMBERS: &[&str] =
    &["id", "extension", "column", "select", "forEach", "forEachOrNull", "repeat", "unionAll"];

const COLUMN_MEMBERS: &[&str] =
    &["id", "extension", "path", "name", "description", "collection", "type", "tag", "tags"];
