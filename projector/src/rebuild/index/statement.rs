//! keys.sql, statement by statement.

/// A statement of keys.sql.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    /// A table's primary key.
    PrimaryKey {
        table: String,
        /// What is between the parentheses.
        columns: String,
    },
    /// The default partition of a history.
    Attach { partition: String, text: String },
    /// An index.
    Index {
        name: String,
        table: String,
        /// What follows the table's name.
        of: String,
        text: String,
    },
}

/// Reads statements, each of which ends a line with `;`. One of another form is named.
pub(super) fn read(script: &str) -> Result<Vec<Statement>, String> {
    let mut statements = Vec::new();
    let mut text = String::new();
    for line in script.lines().filter(|line| !line.trim_start().starts_with("--")) {
        text.push_str(line.trim());
        if let Some(whole) = text.strip_suffix(';') {
            statements.push(statement(whole).ok_or_else(|| text.clone())?);
            text.clear();
        } else if !text.is_empty() {
            text.push(' ');
        }
    }
    if text.is_empty() {
        Ok(statements)
    } else {
        Err(text)
    }
}

fn statement(text: &str) -> Option<Statement> {
    let words: Vec<_> = text.split_whitespace().collect();
    match words.as_slice() {
        ["ALTER", "TABLE", table, "ADD", "PRIMARY", "KEY", ..] => {
            let (_, columns) = text.split_once('(')?;
            Some(Statement::PrimaryKey {
                table: (*table).to_owned(),
                columns: columns.strip_suffix(')')?.to_owned(),
            })
        }
        ["ALTER", "TABLE", _, "ATTACH", "PARTITION", partition, "DEFAULT"] => Some(Statement::Attach {
            partition: (*partition).to_owned(),
            text: text.to_owned(),
        }),
        ["CREATE", "INDEX", name, "ON", table, ..] => {
            let (_, of) = text.split_once(&format!(" ON {table} "))?;
            Some(Statement::Index {
                name: (*name).to_owned(),
                table: (*table).to_owned(),
                of: of.to_owned(),
                text: text.to_owned(),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generations::KEYS;

    #[test]
    fn every_statement_of_the_script_is_understood() {
        let statements = read(KEYS).expect("all are");
        let n_ends = KEYS.lines().filter(|line| line.trim_end().ends_with(';')).count();
        assert_eq!(statements.len(), n_ends);
        assert!(statements.contains(&Statement::PrimaryKey {
            table: "listening".to_owned(),
            columns: "integration, partition".to_owned(),
        }));
        assert!(statements.contains(&Statement::Attach {
            partition: "logs_default".to_owned(),
            text: "ALTER TABLE logs ATTACH PARTITION logs_default DEFAULT".to_owned(),
        }));
    }

    #[test]
    fn a_statement_may_take_several_lines_and_another_form_is_refused() {
        let script = "-- why; not\nCREATE INDEX a_b\n    ON a (b)\n -- inside\n WHERE c <> '';\n";
        let text = "CREATE INDEX a_b ON a (b) WHERE c <> ''".to_owned();
        let name = "a_b".to_owned();
        let index = Statement::Index {
            name,
            table: "a".to_owned(),
            of: "(b) WHERE c <> ''".to_owned(),
            text,
        };
        assert_eq!(read(script), Ok(vec![index]));
        for other in ["DROP TABLE a;", "CREATE UNIQUE INDEX a ON b (c);", "SELECT 1"] {
            assert!(read(other).is_err(), "{other}");
        }
    }
}
