//! How the trail is at one moment, as the catalogues have it: the triggers of tracked tables, the log and its guards, the
//! extension's objects.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::catalog::{self, to_utf8};
use crate::pg::ddl_command::Watch;
use crate::pg::query::{self, Found, Parameter};
use crate::pg::scope::as_extension_owner;
use crate::pg::snapshot::Snapshot;
use crate::pg::trigger_scan::{self, Stored};
use crate::tracking::{Kind, Tracking};

/// What the trail is made of.
#[derive(Clone, Copy)]
pub struct Names {
    /// The log.
    pub log: pg_sys::Oid,
    /// The extension.
    pub extension: pg_sys::Oid,
}

/// A trigger of a tracked table, or a guard of the log.
pub struct Trigger {
    stored: Stored,
    /// Whether it guards the log.
    pub is_guard: bool,
}

impl Trigger {
    /// Its table.
    pub fn table(&self) -> pg_sys::Oid {
        self.stored.table
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.stored.name
    }

    /// `O`, `A`, `R` or `D`, as `pg_trigger.tgenabled` has it.
    pub fn enabled(&self) -> u8 {
        self.stored.enabled
    }

    /// Whether it stands on a partition because it stands on the partitioned table.
    pub fn is_clone(&self) -> bool {
        self.stored.is_clone
    }

    /// Whether it fires for ordinary writes.
    pub fn is_on(&self) -> bool {
        matches!(self.stored.enabled, b'O' | b'A')
    }

    /// The settings that it carries; `None` where it carries none, or they are damaged.
    pub fn tracking(&self) -> Option<Tracking> {
        Tracking::parse(self.stored.argument.as_ref()?).ok()
    }

    /// Whether `other`, of the same name, fires for the same.
    pub fn fires_as(&self, other: &Self) -> bool {
        self.stored.shape == other.stored.shape
    }

    /// Whether `other`, of the same name, carries the same settings.
    pub fn carries_as(&self, other: &Self) -> bool {
        self.stored.argument == other.stored.argument
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
    /// Its primary key's columns, by number; nothing without one.
    pub key: String,
    /// Its columns, digested.
    pub columns: String,
    /// What else could change what is written to it, or lead around its guards: others' triggers, rules, checks and the
    /// tables that it belongs to, digested.
    pub extras: String,
}

/// An object of the extension.
pub struct Member {
    /// As PostgreSQL describes it.
    pub name: String,
    /// What it is.
    pub kind: &'static str,
    /// What it says or does, digested; nothing for a table.
    pub state: String,
    /// Whether it is the function of the triggers of tracked tables, or of guards.
    role: String,
}

/// A column that is there or was.
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its number, which it keeps.
    pub number: String,
    /// Its type.
    pub kind: pg_sys::Oid,
    /// The type's name.
    pub kind_name: String,
    /// Its collation.
    collation: pg_sys::Oid,
    /// Whether rows from before it was added have a value in it.
    pub is_filled: bool,
    /// Its place in the primary key, if it is part of it.
    pub place_in_key: Option<u16>,
}

impl Column {
    /// Whether it is the same column, as it was.
    pub fn is(&self, other: &Self) -> bool {
        (&self.name, &self.number, self.kind, self.collation)
            == (&other.name, &other.number, other.kind, other.collation)
    }
}

/// A foreign key that is there or was.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The numbers of its columns.
    columns: String,
    /// The table that it refers to, and the numbers of the columns there.
    to: String,
}

impl Reference {
    /// Whether the column with this number is one of its.
    pub fn has(&self, number: usize) -> bool {
        self.columns.split(' ').any(|column| column == number.to_string())
    }
}

/// Things by the OID of what they belong to.
pub type Rows<Thing> = BTreeMap<u32, Vec<Thing>>;

/// What belongs to one of them.
pub fn of<Thing>(rows: &Rows<Thing>, owner: pg_sys::Oid) -> &[Thing] {
    rows.get(&owner.to_u32()).map_or(&[], Vec::as_slice)
}

/// The trail.
pub struct State<'a> {
    at: &'a Snapshot,
    /// Triggers of tracked tables and guards, by table and name.
    pub triggers: Vec<Trigger>,
    /// The extension's tables and the log's partitions.
    pub parts: Vec<Part>,
    /// The extension's objects, by class and OID.
    pub members: BTreeMap<(u32, u32), Member>,
    /// The tables that inherit from others and are no partitions: parent and child.
    pub children: BTreeSet<(u32, u32)>,
}

const CHILDREN: &CStr = c"
    SELECT i.inhparent, i.inhrelid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent WHERE c.relkind = 'r'";

// A view of a superuser's on the log is no trigger, rule or check of it; each view has a rule of its own.
const PARTS: &CStr = c"
    SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
           concat(c.relrowsecurity,
                  (SELECT string_agg(concat_ws(' ', p.polname, p.polcmd, p.polpermissive, p.polroles::text,
                                               md5(p.polqual::text), md5(p.polwithcheck::text)), ',' ORDER BY p.polname)
                   FROM pg_policy p WHERE p.polrelid = c.oid)),
           c.relowner,
           EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = $1 AND i.inhrelid = c.oid),
           (SELECT k.conkey::text FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p'),
           (SELECT md5(string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.attcollation), ' ' ORDER BY a.attnum))
            FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
           concat_ws(' ',
               (SELECT string_agg(t.oid::text || t.tgenabled::text, ',' ORDER BY t.oid) FROM pg_trigger t
                WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
                  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = t.tgfoid
                                  AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = $2)),
               (SELECT string_agg(r.oid::text || r.ev_enabled::text, ',' ORDER BY r.oid) FROM pg_rewrite r WHERE r.ev_class = c.oid),
               (SELECT string_agg(k.oid::text, ',' ORDER BY k.oid) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('c', 'f', 'u', 'x')),
               (SELECT string_agg(i.inhparent::text, ',') FROM pg_inherits i WHERE i.inhrelid = c.oid AND i.inhparent <> $1))
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = $1
                    UNION
                    SELECT d.objid FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = $2
                      AND d.deptype = 'e')
      AND c.relkind IN ('r', 'p')";

// Of a function everything but who may call it and what it costs.
const MEMBERS: &CStr = c"
    SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0),
           CASE WHEN p.oid IS NOT NULL THEN 'function' WHEN r.oid IS NOT NULL THEN 'view' ELSE 'schema' END,
           md5(concat_ws(' ', p.proname, p.pronamespace, p.proowner, p.prolang, p.prosrc, p.probin, p.prosqlbody::text,
                         p.proconfig::text, p.prosecdef, p.proleakproof, p.proisstrict, p.provolatile, p.proparallel,
                         p.proargtypes::text, p.proargmodes::text, p.proargdefaults::text, p.prosupport::oid,
                         r.ev_action::text, c.relowner, c.reloptions::text, n.nspname, n.nspowner)),
           CASE WHEN p.prosrc = 'audit_capture' OR p.proname = 'capture' THEN 'capture'
                WHEN p.prosrc = 'audit_guard' OR p.proname = 'guard' THEN 'guard' END
    FROM pg_depend d
    LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind = 'v'
    LEFT JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename = '_RETURN'
    LEFT JOIN pg_namespace n ON d.classid = 'pg_namespace'::regclass AND n.oid = d.objid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = $1 AND d.deptype = 'e'";

// Of a partitioned table's column, its partitions have what fills it.
const COLUMNS: &CStr = c"
    SELECT a.attrelid, a.attname::text, a.attnum::text, a.atttypid, format_type(a.atttypid, NULL), a.attcollation,
           a.atthasmissing OR c.relkind = 'p' AND EXISTS (
               WITH RECURSIVE tree (oid) AS (
                   SELECT c.oid UNION ALL SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid)
               SELECT FROM tree t JOIN pg_attribute m ON m.attrelid = t.oid AND m.attname = a.attname AND m.atthasmissing),
           array_position(k.conkey, a.attnum)::text
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'p'
    WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum";

// What refers to a partitioned table refers to each of its partitions, too.
const REFERENCES: &CStr = c"
    SELECT k.conrelid, array_to_string(k.conkey, ' '), concat_ws(' ', k.confrelid, k.confkey)
    FROM pg_constraint k
    WHERE k.conrelid = ANY ($1) AND k.contype = 'f'
      AND NOT EXISTS (SELECT FROM pg_constraint p WHERE p.oid = k.conparentid AND p.conrelid = k.conrelid)";

const VALUES: &CStr =
    c"SELECT e.enumtypid, e.oid::text, e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = ANY ($1)";

const RELATIONS: &CStr =
    c"SELECT c.oid FROM pg_class c WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'c')";

// Types are made of others: arrays, domains, ranges, and composite ones, of which each table is one.
const HOLDING: &CStr = c"
    WITH RECURSIVE type (oid) AS (
        SELECT t FROM unnest($1) t
        UNION
        SELECT c.reltype FROM pg_class c WHERE c.oid = ANY ($2) AND c.reltype <> 0
        UNION
        SELECT CASE WHEN d.classid = 'pg_type'::regclass THEN d.objid ELSE c.reltype END
        FROM type t
        JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = t.oid
        LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND d.objsubid > 0
        WHERE d.classid = 'pg_type'::regclass OR c.reltype <> 0)
    SELECT d.objid, a.attname::text
    FROM type t
    JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = t.oid
                    AND d.classid = 'pg_class'::regclass AND d.objsubid > 0
    JOIN pg_attribute a ON a.attrelid = d.objid AND a.attnum = d.objsubid AND NOT a.attisdropped
    GROUP BY d.objid, a.attnum, a.attname
    ORDER BY d.objid, a.attnum";

const NAME: &CStr = c"
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1";

/// Reads as the extension's owner: others may not be let into all catalogues.
fn read(at: &Snapshot, query: &CStr, parameters: &[Parameter<'_>], take: impl FnMut(Found)) {
    as_extension_owner(|| query::read_at(at, query, parameters, take));
}

fn bytes(row: &Found, column: i32) -> Vec<u8> {
    row.text(column).map_or(Vec::new(), |text| text.bytes().to_vec())
}

fn text(row: &Found, column: i32) -> String {
    to_utf8(&bytes(row, column))
}

impl<'a> State<'a> {
    /// Reads both, before and after: all of it, or triggers of tracked tables alone.
    pub fn read_both(names: &Names, watch: Watch, before: &'a Snapshot, after: &'a Snapshot) -> (Self, Self) {
        if watch == Watch::Rows {
            let captures: Vec<_> = catalog::capture_function().into_iter().collect();
            let state = |at| Self {
                at,
                triggers: triggers(&captures, &[], at),
                parts: Vec::new(),
                members: BTreeMap::new(),
                children: BTreeSet::new(),
            };
            return (state(before), state(after));
        }
        let (old, new) = (members(names, before), members(names, after));
        // The functions may have other names now, or be others.
        let of = |role: &str| -> Vec<pg_sys::Oid> {
            let all = old.iter().chain(&new).filter(|(_, member)| member.role == role);
            all.map(|((_, oid), _)| pg_sys::Oid::from(*oid)).collect()
        };
        let (captures, guards) = (of("capture"), of("guard"));
        let state = |at, members| Self {
            at,
            triggers: triggers(&captures, &guards, at),
            parts: parts(names, at),
            members,
            children: children(at),
        };
        (state(before, old), state(after, new))
    }

    /// The extension's table or the partition with this OID.
    pub fn part(&self, table: pg_sys::Oid) -> Option<&Part> {
        self.parts.iter().find(|part| part.table == table)
    }

    /// The trigger of the same table and name, with the same function.
    pub fn trigger(&self, other: &Trigger) -> Option<&Trigger> {
        self.triggers_of(other.table())
            .find(|trigger| trigger.name() == other.name() && trigger.is_guard == other.is_guard)
    }

    fn triggers_of(&self, table: pg_sys::Oid) -> impl Iterator<Item = &Trigger> {
        let first = self.triggers.partition_point(|trigger| trigger.table().to_u32() < table.to_u32());
        self.triggers[first..].iter().take_while(move |trigger| trigger.table() == table)
    }

    /// The triggers that track a table.
    pub fn tracking_of(&self, table: pg_sys::Oid) -> impl Iterator<Item = &Trigger> {
        self.triggers_of(table).filter(|trigger| !trigger.is_guard)
    }

    /// The settings of a table: its row trigger's, or without one that of TRUNCATE's. `None` where they are damaged.
    pub fn settings_of(&self, table: pg_sys::Oid) -> Option<Tracking> {
        let of = |kind: Kind| self.tracking_of(table).find(|trigger| trigger.name() == kind.name());
        of(Kind::Row).or_else(|| of(Kind::Truncate))?.tracking()
    }

    /// A table's qualified name, in the database's encoding; `None` if it is not there.
    pub fn name_of(&self, table: pg_sys::Oid) -> Option<Vec<u8>> {
        let mut name = None;
        read(self.at, NAME, &[Parameter::Oid(Some(table))], |row| name = Some(bytes(&row, 1)));
        name
    }

    /// The tables that are tracked by a row trigger of their own, in the order of their OIDs.
    pub fn tracked(&self) -> impl Iterator<Item = pg_sys::Oid> {
        let rows = |trigger: &&Trigger| {
            !trigger.is_guard && !trigger.is_clone() && trigger.name() == Kind::Row.name()
        };
        self.triggers.iter().filter(rows).map(Trigger::table)
    }

    /// The columns of tables.
    pub fn columns_of(&self, tables: &[pg_sys::Oid]) -> Rows<Column> {
        let mut columns = Rows::new();
        read(self.at, COLUMNS, &[Parameter::Oids(tables)], |row| {
            columns.entry(row.oid(1).to_u32()).or_default().push(Column {
                name: text(&row, 2),
                number: text(&row, 3),
                kind: row.oid(4),
                kind_name: text(&row, 5),
                collation: row.oid(6),
                is_filled: row.boolean(7).unwrap_or_default(),
                place_in_key: text(&row, 8).parse().ok(),
            });
        });
        columns
    }

    /// The foreign keys of tables, in an order that says nothing.
    pub fn references_of(&self, tables: &[pg_sys::Oid]) -> Rows<Reference> {
        let mut references = Rows::new();
        read(self.at, REFERENCES, &[Parameter::Oids(tables)], |row| {
            let reference = Reference { columns: text(&row, 2), to: text(&row, 3) };
            references.entry(row.oid(1).to_u32()).or_default().push(reference);
        });
        references.values_mut().for_each(|of_one| of_one.sort());
        references
    }

    /// The values of enums, each with what it is known by, in an order that says nothing.
    pub fn values_of(&self, types: &[pg_sys::Oid]) -> Rows<(String, String)> {
        let mut values = Rows::new();
        read(self.at, VALUES, &[Parameter::Oids(types)], |row| {
            values.entry(row.oid(1).to_u32()).or_default().push((text(&row, 2), text(&row, 3)));
        });
        values.values_mut().for_each(|of_one| of_one.sort());
        values
    }

    /// All tables and composite types but PostgreSQL's own.
    pub fn relations(&self) -> Vec<pg_sys::Oid> {
        let mut relations = Vec::new();
        read(self.at, RELATIONS, &[], |row| relations.push(row.oid(1)));
        relations
    }

    /// The columns, by table, that hold values of `types`, or of what the rows of `relations` are, wherever in them.
    pub fn holding(&self, types: &[pg_sys::Oid], relations: &[pg_sys::Oid]) -> Rows<String> {
        let mut holding = Rows::new();
        read(self.at, HOLDING, &[Parameter::Oids(types), Parameter::Oids(relations)], |row| {
            holding.entry(row.oid(1).to_u32()).or_default().push(text(&row, 2));
        });
        holding
    }
}

fn triggers(captures: &[pg_sys::Oid], guards: &[pg_sys::Oid], at: &Snapshot) -> Vec<Trigger> {
    let mut stored = trigger_scan::of_functions(&[captures, guards].concat(), Some(at));
    stored.sort_by(|one, other| (one.table.to_u32(), &one.name).cmp(&(other.table.to_u32(), &other.name)));
    stored.into_iter().map(|stored| Trigger { is_guard: guards.contains(&stored.function), stored }).collect()
}

fn children(at: &Snapshot) -> BTreeSet<(u32, u32)> {
    let mut children = BTreeSet::new();
    read(at, CHILDREN, &[], |row| {
        children.insert((row.oid(1).to_u32(), row.oid(2).to_u32()));
    });
    children
}

fn parts(names: &Names, at: &Snapshot) -> Vec<Part> {
    let mut parts = Vec::new();
    let parameters = [Parameter::Oid(Some(names.log)), Parameter::Oid(Some(names.extension))];
    read(at, PARTS, &parameters, |row| {
        parts.push(Part {
            table: row.oid(1),
            name: bytes(&row, 2),
            shield: text(&row, 3),
            owner: row.oid(4),
            is_partition: row.boolean(5).unwrap_or_default(),
            key: text(&row, 6),
            columns: text(&row, 7),
            extras: text(&row, 8),
        });
    });
    parts
}

fn members(names: &Names, at: &Snapshot) -> BTreeMap<(u32, u32), Member> {
    let mut members = BTreeMap::new();
    read(at, MEMBERS, &[Parameter::Oid(Some(names.extension))], |row| {
        let kind = ["function", "view", "schema"].into_iter().find(|kind| *kind == text(&row, 4));
        let kind = kind.unwrap_or("object");
        let member = Member { name: text(&row, 3), kind, state: text(&row, 5), role: text(&row, 6) };
        members.insert((row.oid(1).to_u32(), row.oid(2).to_u32()), member);
    });
    members
}
