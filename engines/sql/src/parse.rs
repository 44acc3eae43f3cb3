use std::ops::ControlFlow;

use cordon_protocol::worker::FailureCode;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, Select, SetExpr, Statement as SqlStatement, TableFactor, Visit,
    Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;

use crate::expression::MAX_DEPTH;
use crate::failure::Failure;
use crate::session::is_allowed_function;

/// Parses exactly one query. What is no query, or names a function that is off, is refused
/// here, before a planner sees it.
pub(crate) fn parse(query: &str) -> Result<Statement, Failure> {
    let mut statements = DFParserBuilder::new(query)
        .with_dialect(&GenericDialect {})
        .with_recursion_limit(RECURSION_LIMIT)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| Failure::planning(&error))?;
    let statement = match (statements.pop_front(), statements.pop_front()) {
        (Some(statement), None) => statement,
        (None, _) => return Err(Failure::invalid("expected one query, found none")),
        (Some(_), Some(_)) => return Err(forbidden("expected one query, found several")),
    };
    let Statement::Statement(parsed) = &statement else { return Err(no_query()) };
    let SqlStatement::Query(parsed) = parsed.as_ref() else { return Err(no_query()) };
    match Visit::visit(parsed.as_ref(), &mut AllowList::default()) {
        ControlFlow::Continue(()) => Ok(statement),
        ControlFlow::Break(failure) => Err(failure),
    }
}

fn no_query() -> Failure {
    forbidden("expected a SELECT: statements that define, change, explain or set are off")
}

fn forbidden(detail: &str) -> Failure {
    Failure::new(FailureCode::QueryForbidden, detail)
}

/// Nesting that the parser follows.
const RECURSION_LIMIT: usize = 50;

/// How often a query may read tables. A name may stand for a query with two names in it, and so
/// on, and the planner writes all of them out.
const MAX_READS: usize = 64;

#[derive(Default)]
struct AllowList {
    depth: usize,
    /// Of each query that is being visited.
    scopes: Vec<Scope>,
    /// Names that stand for queries, and how often these read tables.
    names: Vec<(String, usize)>,
}

struct Scope {
    reads: usize,
    /// How many names the queries around it have.
    names_around: usize,
    /// The queries that it names, and how.
    named: Vec<(*const Query, String)>,
}

impl AllowList {
    fn read(&mut self, reads: usize) -> ControlFlow<Failure> {
        let Some(scope) = self.scopes.last_mut() else { return ControlFlow::Continue(()) };
        scope.reads += reads;
        if scope.reads > MAX_READS {
            return ControlFlow::Break(Failure::invalid(format!(
                "the query, with all that it names written out, reads tables more than {MAX_READS} times"
            )));
        }
        ControlFlow::Continue(())
    }
}

impl Visitor for AllowList {
    type Break = Failure;

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Failure> {
        let Some(scope) = self.scopes.pop() else { return ControlFlow::Continue(()) };
        self.names.truncate(scope.names_around);
        let named = self.scopes.last().and_then(|outer| {
            outer.named.iter().find(|(named, _)| std::ptr::eq(*named, query)).cloned()
        });
        match named {
            // It is read where its name stands.
            Some((_, name)) => {
                self.names.push((name, scope.reads));
                ControlFlow::Continue(())
            }
            None => self.read(scope.reads),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Failure> {
        let named = query.with.iter().flat_map(|with| &with.cte_tables);
        let named = named.map(|cte| (&raw const *cte.query, cte.alias.name.value.clone()));
        let names_around = self.names.len();
        self.scopes.push(Scope { reads: 0, names_around, named: named.collect() });
        if query.limit_clause.is_some() || query.fetch.is_some() {
            return ControlFlow::Break(Failure::shape(
                "LIMIT and OFFSET are off: which rows are left out would say something of them",
            ));
        }
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            return ControlFlow::Break(Failure::shape("recursive queries are off"));
        }
        let plain = query.locks.is_empty()
            && query.for_clause.is_none()
            && query.settings.is_none()
            && query.format_clause.is_none()
            && query.pipe_operators.is_empty();
        if !plain {
            return ControlFlow::Break(forbidden("only plain SELECT queries are on"));
        }
        match query.body.as_ref() {
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::SetOperation { .. } => {
                ControlFlow::Continue(())
            }
            SetExpr::Values(_) => ControlFlow::Break(Failure::shape("VALUES are off")),
            SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_) => ControlFlow::Break(no_query()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Failure> {
        if select.into.is_some() {
            return ControlFlow::Break(no_query());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &SqlStatement) -> ControlFlow<Failure> {
        match statement {
            SqlStatement::Query(_) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(no_query()),
        }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Failure> {
        let name = relation.0.last().and_then(|part| part.as_ident()).map(|name| &name.value);
        let known = self.names.iter().rev().find(|(known, _)| Some(known) == name);
        self.read(known.map_or(1, |(_, reads)| *reads))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Failure> {
        let plain = match factor {
            TableFactor::Table { args, version, partitions, json_path, sample, .. } => {
                args.is_none()
                    && version.is_none()
                    && partitions.is_empty()
                    && json_path.is_none()
                    && sample.is_none()
            }
            TableFactor::Derived { lateral, sample, .. } => !lateral && sample.is_none(),
            TableFactor::NestedJoin { .. } => true,
            _ => false,
        };
        if plain {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(forbidden(
                "only tables of the program and sub-queries may stand in FROM",
            ))
        }
    }

    fn post_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<Failure> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Failure> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return ControlFlow::Break(Failure::invalid(format!(
                "an expression is more than {MAX_DEPTH} deep: use IN for long lists"
            )));
        }
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        if function.over.is_some() {
            return ControlFlow::Break(Failure::shape("window functions are off"));
        }
        let name = function.name.to_string();
        if is_allowed_function(&name.to_ascii_lowercase()) {
            ControlFlow::Continue(())
        } else {
            let name: String = name.chars().take(64).collect();
            ControlFlow::Break(forbidden(&format!("function `{name}` is off")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_query_of_known_functions_parses() {
        for query in [
            "SELECT sex, COUNT(*) AS n FROM visit GROUP BY sex",
            "WITH v AS (SELECT * FROM visit) SELECT count(*) AS n FROM v;",
            "SELECT COUNT(*) AS n FROM a JOIN b ON a.p = b.p WHERE EXTRACT(YEAR FROM day) = $y",
        ] {
            assert!(parse(query).is_ok(), "{query}");
        }
    }

    #[test]
    fn what_is_no_query_is_forbidden() {
        for query in [
            "CREATE TABLE t AS SELECT 1",
            "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/etc'",
            "COPY visit TO '/tmp/x.parquet'",
            "COPY (SELECT 1) TO '/tmp/x.csv'",
            "INSERT INTO visit SELECT * FROM visit",
            "DELETE FROM visit",
            "UPDATE visit SET sex = 'x'",
            "DROP TABLE visit",
            "EXPLAIN SELECT COUNT(*) AS n FROM visit",
            "EXPLAIN ANALYZE SELECT COUNT(*) AS n FROM visit",
            "DESCRIBE visit",
            "SHOW TABLES",
            "SET datafusion.execution.batch_size = 1",
            "RESET datafusion.execution.batch_size",
            "PREPARE p AS SELECT 1",
            "BEGIN",
            "SELECT COUNT(*) AS n FROM visit; SELECT COUNT(*) AS n FROM visit",
            "SELECT * INTO copy FROM visit",
            "SELECT COUNT(*) AS n FROM generate_series(1, 5)",
            "SELECT COUNT(*) AS n FROM visit TABLESAMPLE BERNOULLI (10)",
            "SELECT COUNT(*) AS n FROM visit, LATERAL (SELECT 1) x",
            "SELECT COUNT(*) AS n FROM unnest(ARRAY[1]) u",
            "SELECT COUNT(*) AS n FROM visit WHERE random() < 0.5",
            "SELECT COUNT(*) AS n FROM visit WHERE day < NOW()",
            "SELECT COUNT(*) AS n FROM visit WHERE day < CURRENT_DATE",
            "SELECT COUNT(*) AS n FROM visit WHERE version() = '1'",
            "SELECT MIN(age) AS n FROM visit",
            "SELECT MAX(age) AS n FROM visit",
            "SELECT MEDIAN(age) AS n FROM visit",
            "SELECT ARRAY_AGG(age) AS n FROM visit",
            "SELECT STRING_AGG(sex, ',') AS n FROM visit",
            "SELECT uuid() AS n, COUNT(*) AS m FROM visit",
        ] {
            let code = parse(query).unwrap_err().code();
            assert_eq!(code, FailureCode::QueryForbidden, "{query}");
        }
    }

    #[test]
    fn shapes_that_the_text_shows_are_refused_there() {
        for query in [
            "SELECT COUNT(*) AS n FROM visit LIMIT 1",
            "SELECT COUNT(*) AS n FROM visit OFFSET 1",
            "SELECT COUNT(*) AS n FROM visit FETCH FIRST 1 ROW ONLY",
            "SELECT COUNT(*) AS n FROM (SELECT * FROM visit LIMIT 5) v",
            "VALUES (1)",
            "SELECT COUNT(*) AS n FROM (VALUES (1)) v",
            "SELECT COUNT(*) OVER () AS n FROM visit",
            "WITH RECURSIVE r AS (SELECT * FROM visit) SELECT COUNT(*) AS n FROM r",
        ] {
            assert_eq!(parse(query).unwrap_err().code(), FailureCode::ShapeRefused, "{query}");
        }
    }

    #[test]
    fn nonsense_is_invalid_and_deep_nesting_no_crash() {
        let deep = format!("SELECT {}1{}", "(".repeat(9_000), ")".repeat(9_000));
        let long = format!("SELECT 1 FROM visit WHERE {}true", "true OR ".repeat(4_000));
        for query in ["", ";", "SELEC 1", "TABLE visit", "SELECT FROM", "\0", &deep, &long] {
            assert_eq!(parse(query).unwrap_err().code(), FailureCode::QueryInvalid, "{query}");
        }
    }
}
