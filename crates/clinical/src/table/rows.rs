//! One resource to rows: SQL on FHIR v2, "Processing algorithm".

use super::MAX_CELLS_PER_RECORD;
use super::cell::{Cell, Losses, cell};
use super::error::RowProblem;
use crate::fhirpath::{Element, Env, EvalError, Item, Scope, collection, condition};
use crate::view::{Column, CompiledView, Iteration, Selection};

/// The rows of a selection, one after the other.
#[derive(Default)]
pub(crate) struct Rows<'a> {
    pub cells: Vec<Cell<'a>>,
    /// How many rows; not always told by the cells, since a selection may iterate
    /// and have no columns.
    pub count: usize,
}

/// The rows of a resource, or `None` if a `where` of the view excludes it.
pub(super) fn of_resource<'a>(
    view: &'a CompiledView,
    env: &Env<'a>,
    losses: &mut Losses,
) -> Result<Option<Rows<'a>>, RowProblem> {
    let root = Item::Node(Element::of(env.document.root(), Some(view.resource)));
    let mut work = Work { env, columns: &view.columns, losses };
    let scope = work.scope(&root, 0);
    for filter in &view.filters {
        let kept = condition(&filter.condition, scope);
        if kept.map_err(|error| at(&filter.pointer, error))? != Some(true) {
            return Ok(None);
        }
    }
    let mut rows = Rows::default();
    work.selection(&view.root, &root, 0, &mut rows)?;
    Ok(Some(rows))
}

struct Work<'w, 'a> {
    env: &'w Env<'a>,
    columns: &'w [Column],
    losses: &'w mut Losses,
}

impl<'w, 'a> Work<'w, 'a> {
    /// Steps 1 and 2: the foci of a selection, and the rows of each.
    fn selection(
        &mut self,
        selection: &'a Selection,
        focus: &Item<'a>,
        row_index: i64,
        rows: &mut Rows<'a>,
    ) -> Result<(), RowProblem> {
        match &selection.iteration {
            Iteration::Once => self.product(selection, focus, row_index, rows),
            Iteration::ForEach { path, pointer } => {
                let foci = collection(path, self.scope(focus, row_index));
                let foci = foci.map_err(|error| at(pointer, error))?;
                for (row_index, focus) in foci.as_slice().iter().enumerate() {
                    self.product(selection, focus, row_index as i64, rows)?;
                }
                Ok(())
            }
        }
    }

    /// The Cartesian product of the parts of a selection on one focus: its own
    /// columns are a single row, each child gives a part of its own.
    fn product(
        &mut self,
        selection: &'a Selection,
        focus: &Item<'a>,
        row_index: i64,
        rows: &mut Rows<'a>,
    ) -> Result<(), RowProblem> {
        let start = rows.cells.len();
        self.own_columns(selection, focus, row_index, &mut rows.cells)?;
        let mut parts = Vec::with_capacity(selection.children.len());
        let mut count = 1_usize;
        for child in &selection.children {
            let mut part = Rows::default();
            self.selection(child, focus, row_index, &mut part)?;
            count = count.saturating_mul(part.count);
            parts.push((part, child.width));
        }
        let cells = count.saturating_mul(selection.width.max(1));
        if rows.cells.len().max(rows.count).saturating_add(cells) > MAX_CELLS_PER_RECORD {
            return Err(RowProblem::TooManyRows);
        }
        rows.count += count;
        match count {
            0 => rows.cells.truncate(start),
            1 => rows.cells.extend(parts.into_iter().flat_map(|(part, _)| part.cells)),
            _ => {
                let own: Vec<Cell<'a>> = rows.cells.drain(start..).collect();
                for combination in 0..count {
                    rows.cells.extend_from_slice(&own);
                    // The last part turns fastest, as nested loops would.
                    let mut later = count;
                    for (part, width) in &parts {
                        later /= part.count;
                        let row = combination / later % part.count;
                        let cells = part.cells.get(row * width..(row + 1) * width);
                        rows.cells.extend_from_slice(cells.unwrap_or(&[]));
                    }
                }
            }
        }
        Ok(())
    }

    fn own_columns(
        &mut self,
        selection: &'a Selection,
        focus: &Item<'a>,
        row_index: i64,
        cells: &mut Vec<Cell<'a>>,
    ) -> Result<(), RowProblem> {
        let columns = self.columns.iter().skip(selection.first_column);
        for (path, column) in selection.paths.iter().zip(columns) {
            let yielded = collection(path, self.scope(focus, row_index));
            let yielded = yielded.map_err(|error| at(&column.pointer, error))?;
            cells.push(cell(column, yielded.as_slice(), self.env, self.losses)?);
        }
        Ok(())
    }

    fn scope<'s>(&self, this: &'s Item<'a>, row_index: i64) -> Scope<'s, 'a>
    where
        'w: 's,
    {
        Scope { env: self.env, this, index: 0, row_index }
    }
}

fn at(pointer: &str, error: EvalError) -> RowProblem {
    RowProblem::Path { pointer: pointer.to_owned(), error }
}
