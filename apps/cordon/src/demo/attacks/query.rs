//! What a researcher can ask for. The researcher here skips `cordon study propose`, which would
//! refuse at once, and signs agreements by hand; people of three hospitals even approve them.

use anyhow::Result;
use cordon_crypto::dsse::Signed;

use super::must_end_with;
use crate::demo::stage::{Seen, Stage};
use crate::demo::study::{QUERY, agree, approve, complete, draft, start, submit};
use crate::demo::work::Done;

pub async fn attacks(stage: &mut Stage, done: &Done) {
    stage
        .attack(
            "a query uses a column that was not agreed",
            "the guard plans again before it asks for any key: column_not_agreed",
            other_column(done),
        )
        .await;
    stage
        .attack(
            "a query asks for the patients of every day of birth",
            "no group has 11 patients, so nothing leaves: gate_small_cells",
            small_cells(done),
        )
        .await;
    stage
        .attack(
            "a constant is dressed up as a count",
            "only allow-listed aggregates over bare columns: shape_refused",
            disguised(done, "constant", "4711"),
        )
        .await;
    stage
        .attack(
            "SUM(CASE WHEN patient = …) singles somebody out",
            "no aggregate over an expression, no condition on the patient: shape_refused",
            disguised(done, "case-when", "SUM(CASE WHEN subject = 'p' THEN 1 ELSE 0 END)"),
        )
        .await;
}

async fn other_column(done: &Done) -> Result<Seen> {
    let query = QUERY.replace("c.code = $code", "c.code = $code AND p.state = 'CA'");
    must_be_refused(done, "one-more-column", QUERY, &query, "column_not_agreed").await
}

async fn disguised(done: &Done, study: &str, aggregate: &str) -> Result<Seen> {
    let query = HONEST.replace("COUNT(DISTINCT subject)", aggregate);
    must_be_refused(done, study, HONEST, &query, "shape_refused").await
}

/// Lets everybody approve an agreement that was completed for one query and holds another.
async fn must_be_refused(
    done: &Done,
    study: &str,
    honest: &str,
    query: &str,
    code: &str,
) -> Result<Seen> {
    let place = &done.place;
    let agreement = complete(place, &draft(place, study, honest)?).await?;
    let mut agreement = agreement.into_value();
    agreement.program.query = query.to_owned();
    let agreement = Signed::sign(agreement, &place.researcher.signing)?;
    submit(place, &agreement).await?;
    approve(place, &agreement).await?;
    let started = start(place, &agreement).await?;
    must_end_with(place, &started, code).await
}

async fn small_cells(done: &Done) -> Result<Seen> {
    let query = "SELECT birth_date, COUNT(DISTINCT subject) AS patients\n\
        FROM patient GROUP BY birth_date";
    let agreement = agree(&done.place, &draft(&done.place, "small-cells", query)?).await?;
    let started = start(&done.place, &agreement).await?;
    must_end_with(&done.place, &started, "gate_small_cells").await
}

const HONEST: &str = "SELECT birth_decade, COUNT(DISTINCT subject) AS patients\n\
    FROM patient GROUP BY birth_decade";
