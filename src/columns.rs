//! The columns that settings name, as they are called now: by name, by path, in a condition's text.

use std::collections::BTreeMap;

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::Error;
use crate::pg::catalog;
use crate::pg::caught::Mistake;
use crate::pg::condition_text::{in_quotes, quoted, references};
use crate::pg::lookup::{ForeignKey, foreign_keys};
use crate::pg::row::{Attribute, OpenRelation};
use crate::unresolved::Problem;

/// One column of a path.
pub struct Step {
    /// The table it is in.
    pub table: pg_sys::Oid,
    /// Its position there, from zero.
    pub position: usize,
    /// Its name.
    pub label: String,
    /// The foreign key along which the path goes on.
    pub key: Option<ForeignKey>,
}

/// Refuses a column that is named twice; `place` says where.
pub fn check_named_once(place: &str, columns: &[String]) -> Result<(), Error> {
    let Some((_, twice)) = columns.iter().enumerate().find(|(at, column)| columns[..*at].contains(column))
    else {
        return Ok(());
    };
    let message = format!("{place} names column \"{twice}\" twice");
    Err(Error::new(PgSqlErrorCode::ERRCODE_DUPLICATE_COLUMN, message).hint("Name it once."))
}

/// The column called `name`, or else the one with the number that `way` had: its position and its name of now.
pub fn find(
    columns: &[Option<Attribute>],
    name: &str,
    way: &str,
    attnums: &BTreeMap<String, usize>,
) -> Option<(usize, String)> {
    let named = columns.iter().position(|c| c.as_ref().is_some_and(|c| c.label == name));
    let position = named.or_else(|| attnums.get(way)?.checked_sub(1))?;
    Some((position, columns.get(position)?.as_ref()?.label.clone()))
}

/// `condition` with its columns as they are called now. What `find` does not know stays, for the compiler to tell.
pub fn renamed(condition: &str, mut find: impl FnMut(&str) -> Option<String>) -> Result<String, Mistake> {
    let mut text = catalog::from_utf8(condition);
    // From the last one, so that the places of the others stay.
    let mut named = references(&text)?;
    named.sort_by_key(|reference| reference.place.as_ref().map(|place| place.start));
    for reference in named.into_iter().rev() {
        let name = catalog::to_utf8(&reference.name);
        let Some(now) = find(&name).filter(|now| *now != name) else { continue };
        let Some(place) = reference.place else {
            return Err(Mistake::syntax(&format!("column \"{name}\" is called \"{now}\" now")));
        };
        let now = catalog::from_utf8(&now);
        // Where quotes stood, what follows may be the next word: new."a"is null.
        let now = if text[place.start] == b'"' { in_quotes(&now) } else { quoted(&now) };
        text.splice(place, now);
    }
    Ok(catalog::to_utf8(&text))
}

/// The columns that `path` names: one of the table's own, or one after another along foreign keys. `attnums`
/// finds a renamed one, by the path that leads to it.
pub fn resolve(
    table: pg_sys::Oid,
    columns: &[Option<Attribute>],
    path: &str,
    attnums: &BTreeMap<String, usize>,
) -> Result<Vec<Step>, Problem> {
    walk(table, columns, path, attnums, |_| ())
}

/// The same; tells `visit` each table, besides `table`, whose columns and keys it looks at.
pub fn walk(
    table: pg_sys::Oid,
    columns: &[Option<Attribute>],
    path: &str,
    attnums: &BTreeMap<String, usize>,
    mut visit: impl FnMut(pg_sys::Oid),
) -> Result<Vec<Step>, Problem> {
    // A column's name may have dots in it.
    if let Some((position, label)) =
        find(columns, path, path, attnums).filter(|(_, label)| !path.contains('.') || label == path)
    {
        return Ok(vec![Step { table, position, label, key: None }]);
    }
    let mut steps: Vec<Step> = Vec::new();
    let mut end = 0;
    for name in path.split('.') {
        end += name.len();
        let way = &path[..end];
        end += 1;
        let Some(last) = steps.last_mut() else {
            let Some((position, label)) = find(columns, name, way, attnums) else {
                return Err(Problem::NoColumn { table, column: name.to_owned() });
            };
            steps.push(Step { table, position, label, key: None });
            continue;
        };
        // Of several foreign keys the one that leads on.
        let mut keys = foreign_keys(last.table, last.position);
        let next = keys.iter().enumerate().find_map(|(number, key)| {
            visit(key.table);
            let columns = OpenRelation::peek(key.table)?.relation().attributes();
            let (position, label) = find(&columns, name, way, attnums)?;
            Some((number, Step { table: key.table, position, label, key: None }))
        });
        let Some((number, step)) = next else {
            return Err(match keys.first() {
                None => Problem::NoForeignKey { table: last.table, column: last.label.clone() },
                Some(key) => Problem::NoColumn { table: key.table, column: name.to_owned() },
            });
        };
        last.key = Some(keys.swap_remove(number));
        steps.push(step);
    }
    Ok(steps)
}
