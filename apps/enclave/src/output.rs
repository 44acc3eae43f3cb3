//! Step 6: what the worker made, checked for form, then judged by the gate.

use cordon_protocol::agreement::{Agreement, Gate};
use cordon_protocol::release::GateVerdict;
use cordon_protocol::table::{RawTable, ResultTable};

use crate::failure::Code;

/// A table that the gate has passed. Only [`check`] makes one.
pub(crate) struct Passed {
    /// What may leave.
    pub table: ResultTable,
    /// What the gate did.
    pub verdicts: Vec<GateVerdict>,
}

#[cfg(test)]
impl Passed {
    /// A table whose gate is not what a test is about.
    pub fn for_tests(table: ResultTable) -> Self {
        Self { table, verdicts: Vec::new() }
    }
}

/// Checks that the table is of the agreed form, and lets the agreement's gate judge it.
pub(crate) fn check(agreement: &Agreement, table: &RawTable) -> Result<Passed, Code> {
    check_form(agreement, table)?;
    let Gate::Table(gate) = &agreement.output.gate;
    let (table, verdicts) =
        cordon_egress::apply(gate, table).map_err(|refusal| Code::Gate(refusal.code()))?;
    Ok(Passed { table, verdicts })
}

fn check_form(agreement: &Agreement, table: &RawTable) -> Result<(), Code> {
    let agreed = &agreement.program.result;
    let columns_fit = table.columns.len() == agreed.len()
        && table
            .columns
            .iter()
            .zip(agreed)
            .all(|(found, agreed)| found.name == agreed.name && found.kind == agreed.kind);
    let rows_fit = table.rows.iter().all(|row| row.len() == agreed.len());
    // The gate protects each holder from the others by its place in the support.
    let support_fits = table.support.len() == table.rows.len()
        && table.support.iter().all(|support| support.len() == agreement.holders.len());
    if !columns_fit || !rows_fit || !support_fits {
        return Err(Code::OutputMalformed);
    }
    let most = usize::try_from(agreement.output.max_rows).unwrap_or(usize::MAX);
    if table.rows.len() > most {
        return Err(Code::OutputTooLarge);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cordon_protocol::agreement::ResultKind;
    use cordon_protocol::table::{Cell, Column, Share, Support};

    use super::*;
    use crate::testing;

    /// Patients who count once each.
    fn support(patients: u64) -> Support {
        Support { patients, shares: vec![Share { patients, total: patients, largest: 1 }] }
    }

    /// Two rows over the three holders of the test agreement.
    fn table() -> RawTable {
        let row = |key: &str, count| vec![Cell::Text(key.to_owned()), Cell::Integer(count)];
        RawTable {
            columns: vec![
                Column { name: "sex".parse().expect("a name"), kind: ResultKind::Key },
                Column { name: "patients".parse().expect("a name"), kind: ResultKind::Count },
            ],
            rows: vec![row("female", 60), row("male", 63)],
            support: [20, 21].map(|patients| vec![support(patients); 3]).to_vec(),
        }
    }

    fn refused(change: impl FnOnce(&mut Agreement, &mut RawTable)) -> Code {
        let (mut agreement, mut table) = (testing::agreement(), table());
        change(&mut agreement, &mut table);
        check(&agreement, &table).err().expect("must be refused")
    }

    #[test]
    fn a_table_of_the_agreed_form_passes() {
        let passed = check(&testing::agreement(), &table()).expect("passes");
        assert_eq!(passed.table.rows, table().rows);
    }

    #[test]
    fn other_columns_are_refused() {
        assert_eq!(refused(|_, table| table.columns.swap(0, 1)), Code::OutputMalformed);
        let kind = refused(|_, table| table.columns[1].kind = ResultKind::Sum);
        assert_eq!(kind, Code::OutputMalformed);
        let fewer = refused(|_, table| {
            table.columns.pop();
            table.rows.iter_mut().for_each(|row| row.truncate(1));
        });
        assert_eq!(fewer, Code::OutputMalformed);
    }

    #[test]
    fn short_rows_and_supports_are_refused() {
        assert_eq!(refused(|_, table| drop(table.rows[0].pop())), Code::OutputMalformed);
        assert_eq!(refused(|_, table| drop(table.support.pop())), Code::OutputMalformed);
        // One holder fewer in every row: the gate alone would not see it.
        let holders = refused(|_, table| table.support.iter_mut().for_each(|s| s.truncate(2)));
        assert_eq!(holders, Code::OutputMalformed);
    }

    #[test]
    fn more_rows_than_agreed_are_refused() {
        let code = refused(|agreement, _| agreement.output.max_rows = 1);
        assert_eq!(code, Code::OutputTooLarge);
    }

    #[test]
    fn what_the_gate_refuses_does_not_leave() {
        let code = refused(|agreement, _| {
            let Gate::Table(gate) = &mut agreement.output.gate;
            gate.min_cell = 1000;
        });
        assert_eq!(code, Code::Gate("gate_small_cells"));
    }
}
