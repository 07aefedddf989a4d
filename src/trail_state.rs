//! How the trail is right now, as the catalogues have it: the triggers of tracked tables, the log and its guards, the extension's
//! objects.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::pg_sys;

use crate::pg::catalog::{self, to_utf8};
use crate::pg::query::{self, Found, Parameter};
use crate::pg::trigger_scan;
use crate::tracking::Tracking;

/// A trigger of a tracked table, or a guard of the log.
pub struct Trigger {
    /// Its table.
    pub table: pg_sys::Oid,
    /// The table's qualified name, in the database's encoding.
    pub table_name: Rc<[u8]>,
    /// Its own name.
    pub name: String,
    /// `O`, `A`, `R` or `D`, as `pg_trigger.tgenabled` has it.
    pub enabled: u8,
    /// Whether it guards the log.
    pub is_guard: bool,
    /// Its argument.
    settings: Option<Vec<u8>>,
}

impl Trigger {
    /// Whether it fires for ordinary writes.
    pub fn is_on(&self) -> bool {
        matches!(self.enabled, b'O' | b'A')
    }

    /// The settings that it carries; `None` where it carries none, or they are damaged.
    pub fn tracking(&self) -> Option<Tracking> {
        Tracking::parse(self.settings.as_ref()?).ok()
    }
}

/// A table of the extension, the log and its partitions among them.
pub struct Part {
    /// Its OID.
    pub table: pg_sys::Oid,
    /// Its qualified name, in the database's encoding.
    pub name: Vec<u8>,
    /// Its owner.
    pub owner: pg_sys::Oid,
    /// Whether row-level security is on, and its policies: `f` if it is off and there are none.
    pub shield: String,
    /// Whether it is a partition of the log.
    pub is_partition: bool,
    /// Whether it has a primary key.
    pub has_key: bool,
    /// Its columns' names.
    pub columns: Vec<String>,
}

/// An object of the extension.
pub struct Member {
    /// As PostgreSQL describes it.
    pub name: String,
    /// Of a function what it runs, and how.
    pub state: String,
}

/// The trail.
pub struct State {
    /// Triggers of tracked tables and guards.
    pub triggers: Vec<Trigger>,
    /// The extension's tables and the log's partitions.
    pub parts: Vec<Part>,
    /// The extension's objects, by class and OID.
    pub members: BTreeMap<(u32, u32), Member>,
}

const PARTS: &CStr = c"
    SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
           concat(c.relrowsecurity,
                  (SELECT string_agg(concat_ws(' ', p.polname, p.polcmd, p.polpermissive, p.polroles::text,
                                               md5(p.polqual::text), md5(p.polwithcheck::text)), ',' ORDER BY p.polname)
                   FROM pg_policy p WHERE p.polrelid = c.oid)),
           c.relowner,
           EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = $1 AND i.inhrelid = c.oid),
           EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p'),
           (SELECT string_agg(a.attname, ' ' ORDER BY a.attnum) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = $1
                    UNION
                    SELECT d.objid FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = $2
                      AND d.deptype = 'e')
      AND c.relkind IN ('r', 'p')";

const MEMBERS: &CStr = c"
    SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0),
           md5(concat_ws(' ', p.prosrc, p.probin, p.prolang, p.proconfig::text, p.prosecdef, p.proowner))
    FROM pg_depend d
    LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = $1 AND d.deptype = 'e'";

/// The triggers of tracked tables and guards, by table and name.
fn triggers() -> Vec<Trigger> {
    let guard = catalog::own_function(c"guard", &[]);
    let functions: Vec<_> = catalog::capture_function().into_iter().chain(guard).collect();
    let mut stored = trigger_scan::of_functions(&functions);
    stored.sort_by(|one, other| (one.table.to_u32(), &one.name).cmp(&(other.table.to_u32(), &other.name)));
    let mut triggers: Vec<Trigger> = Vec::with_capacity(stored.len());
    for trigger in stored {
        let before = triggers.last().filter(|before| before.table == trigger.table);
        let table_name = before.map(|before| Rc::clone(&before.table_name));
        triggers.push(Trigger {
            table: trigger.table,
            table_name: table_name
                .unwrap_or_else(|| catalog::name_of(trigger.table).unwrap_or_default().into()),
            name: trigger.name,
            enabled: trigger.enabled,
            is_guard: Some(trigger.function) == guard,
            settings: trigger.argument,
        });
    }
    triggers
}

impl State {
    /// Reads it, with what this transaction has done so far; `None` where the log is not there.
    pub fn read() -> Option<Self> {
        let log = Parameter::Oid(Some(catalog::own_table(c"event")?));
        let extension = catalog::own_extension()?;
        let bytes = |row: &Found, column| row.text(column).map(|text| text.bytes().to_vec());
        let text = |row: &Found, column| bytes(row, column).map_or(String::new(), |text| to_utf8(&text));
        let mut state = Self { triggers: triggers(), parts: Vec::new(), members: BTreeMap::new() };
        query::read_now(PARTS, &[log, Parameter::Oid(Some(extension))], |row| {
            state.parts.push(Part {
                table: row.oid(1),
                name: bytes(&row, 2).unwrap_or_default(),
                shield: text(&row, 3),
                owner: row.oid(4),
                is_partition: row.boolean(5).unwrap_or_default(),
                has_key: row.boolean(6).unwrap_or_default(),
                columns: text(&row, 7).split(' ').map(str::to_owned).collect(),
            });
        });
        query::read_now(MEMBERS, &[Parameter::Oid(Some(extension))], |row| {
            let member = Member { name: text(&row, 3), state: text(&row, 4) };
            state.members.insert((row.oid(1).to_u32(), row.oid(2).to_u32()), member);
        });
        Some(state)
    }

    /// The extension's table or the partition with this OID.
    pub fn part(&self, table: pg_sys::Oid) -> Option<&Part> {
        self.parts.iter().find(|part| part.table == table)
    }

    /// The trigger of the same table and name, with the same function.
    pub fn trigger(&self, other: &Trigger) -> Option<&Trigger> {
        self.triggers.iter().find(|trigger| {
            trigger.table == other.table && trigger.name == other.name && trigger.is_guard == other.is_guard
        })
    }

    /// A table's qualified name, in the database's encoding; `None` if it is gone.
    pub fn name_of(&self, table: pg_sys::Oid) -> Option<Vec<u8>> {
        let known = self.triggers.iter().find(|trigger| trigger.table == table);
        known.map(|trigger| trigger.table_name.to_vec()).or_else(|| catalog::name_of(table))
    }
}
