//! Statements of one transaction, sent as one where the database can: PostgreSQL takes them as parts of a `WITH`.

use sqlx::{Any, AssertSqlSafe, Transaction};

use super::StoreError;
use super::reader::{Value, bound};

/// Statements that each change another table, and that do not read what the others write.
#[derive(Debug, Default)]
pub(super) struct Together<'v> {
    statements: Vec<(String, Vec<Value<'v>>)>,
}

impl<'v> Together<'v> {
    /// Adds a statement whose parameters are numbered from `$1`.
    pub(super) fn add(&mut self, text: impl Into<String>, values: Vec<Value<'v>>) {
        self.statements.push((text.into(), values));
    }

    /// Sends them.
    pub(super) async fn run(self, transaction: &mut Transaction<'static, Any>) -> Result<(), StoreError> {
        let takes_one = transaction.backend_name() == "PostgreSQL";
        let statements = if takes_one { as_one(self.statements) } else { self.statements };
        for (text, values) in &statements {
            let query = sqlx::query(AssertSqlSafe(text.as_str()));
            bound(query, values).execute(&mut **transaction).await?;
        }
        Ok(())
    }
}

/// One statement: the last one, with those before it as parts of its `WITH`.
fn as_one(statements: Vec<(String, Vec<Value<'_>>)>) -> Vec<(String, Vec<Value<'_>>)> {
    let mut text = String::new();
    let mut values = Vec::new();
    let last = statements.len().saturating_sub(1);
    for (number, (part, more)) in statements.into_iter().enumerate() {
        let part = renumbered(&part, values.len());
        match number {
            0 if last > 0 => text.push_str(&format!("WITH part0 AS ({part})")),
            _ if number < last => text.push_str(&format!(", part{number} AS ({part})")),
            _ => text.push_str(&format!(" {part}")),
        }
        values.extend(more);
    }
    if text.is_empty() { Vec::new() } else { vec![(text, values)] }
}

/// The statement with this much added to the number of each parameter.
fn renumbered(text: &str, more: usize) -> String {
    let mut parts = text.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let (number, rest) = part.split_at(end);
        out.push('$');
        match number.parse::<usize>() {
            Ok(number) => out.push_str(&(number + more).to_string()),
            // No parameter.
            Err(_) => out.push_str(number),
        }
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_become_parts_of_the_last_and_keep_their_values() {
        let one = |word: &'static str| vec![Value::from(word)];
        let statements = vec![
            ("INSERT INTO a VALUES ($1)".to_owned(), one("a")),
            ("UPDATE b SET c = $1 WHERE d = $2".to_owned(), vec![Value::from(1), Value::from(2)]),
            ("INSERT INTO e VALUES ($1)".to_owned(), one("e")),
        ];
        let made = as_one(statements);
        assert_eq!(
            made[0].0,
            "WITH part0 AS (INSERT INTO a VALUES ($1)), part1 AS (UPDATE b SET c = $2 WHERE d = $3) INSERT INTO e VALUES ($4)"
        );
        assert_eq!((made.len(), made[0].1.len()), (1, 4));
        assert_eq!(as_one(vec![("SELECT $1".to_owned(), one("x"))])[0].0, " SELECT $1");
    }
}
