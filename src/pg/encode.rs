//! One value as JSONB, as `to_jsonb` gives it.

use std::ffi::CString;

use audit_core::jsonb::{Builder, Container, TooLarge, key_order};
use pgrx::pg_catalog::pg_proc::PgProc;
use pgrx::pg_sys;

use super::output::{Function, Output, PlanMemory, with_json_datetime};
use super::row::{Row, attributes};
use super::value::{Value, varlena_bytes};

/// How the values of one type become JSONB.
pub struct Encoder(Kind);

enum Kind {
    Boolean,
    Int16,
    Int32,
    Int64,
    /// A number by its text: float4, float8.
    Decimal(Output),
    Numeric,
    /// date, timestamp, timestamptz.
    DateTime(pg_sys::Oid),
    Json,
    Jsonb,
    Array {
        element: Box<Encoder>,
        element_type: pg_sys::Oid,
        length: i16,
        by_value: bool,
        alignment: std::ffi::c_char,
    },
    Composite,
    /// A type outside the core with a cast to json that is trusted.
    Cast(Function),
    String(Output),
}

/// The first OID that a user's object can have (`access/transam.h`).
const FIRST_NORMAL_OBJECT_ID: u32 = 16384;

impl Encoder {
    /// The encoder of `type_oid`, by the rules of `to_jsonb` (`jsonb_categorize_type` in
    /// `src/backend/utils/adt/jsonb.c`): domains are looked through; numbers, booleans, dates, JSON, arrays
    /// and composites are themselves; a type outside the core may bring a cast to json; the rest is a string. Other than
    /// there, the cast has to be [`is_trusted`]. What is inside arrays and composites is encoded here, too: PostgreSQL's own
    /// `to_jsonb` would call any cast.
    pub fn of_type(memory: &PlanMemory, type_oid: pg_sys::Oid) -> Self {
        // SAFETY: catalogue look-ups by OID, with valid out parameters.
        unsafe {
            let base = pg_sys::getBaseType(type_oid);
            Self(match base {
                pg_sys::BOOLOID => Kind::Boolean,
                pg_sys::INT2OID => Kind::Int16,
                pg_sys::INT4OID => Kind::Int32,
                pg_sys::INT8OID => Kind::Int64,
                pg_sys::FLOAT4OID | pg_sys::FLOAT8OID => Kind::Decimal(Output::of_type(memory, base)),
                pg_sys::NUMERICOID => Kind::Numeric,
                pg_sys::DATEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID => Kind::DateTime(base),
                pg_sys::JSONOID => Kind::Json,
                pg_sys::JSONBOID => Kind::Jsonb,
                _ => {
                    let element_type = pg_sys::get_element_type(base);
                    if element_type != pg_sys::InvalidOid {
                        let (mut length, mut by_value, mut alignment) = (0, false, 0);
                        pg_sys::get_typlenbyvalalign(
                            element_type,
                            &mut length,
                            &mut by_value,
                            &mut alignment,
                        );
                        let element = Box::new(Self::of_type(memory, element_type));
                        Kind::Array { element, element_type, length, by_value, alignment }
                    } else if pg_sys::type_is_rowtype(base) {
                        Kind::Composite
                    } else {
                        Self::cast_or_string(memory, base)
                    }
                }
            })
        }
    }

    fn cast_or_string(memory: &PlanMemory, base: pg_sys::Oid) -> Kind {
        if base.to_u32() >= FIRST_NORMAL_OBJECT_ID {
            let mut function = pg_sys::InvalidOid;
            // SAFETY: a catalogue look-up with a valid out parameter.
            let path = unsafe {
                pg_sys::find_coercion_pathway(
                    pg_sys::JSONOID,
                    base,
                    pg_sys::CoercionContext::COERCION_EXPLICIT,
                    &mut function,
                )
            };
            if path == pg_sys::CoercionPathType::COERCION_PATH_FUNC && is_trusted(function) {
                return Kind::Cast(Function::new(memory, function));
            }
        }
        Kind::String(Output::of_type(memory, base))
    }

    /// Appends `value`, or null, to `container`.
    pub fn push(
        &self,
        builder: &mut Builder<'_>,
        container: &mut Container,
        value: Option<Value<'_>>,
    ) -> Result<(), TooLarge> {
        let Some(value) = value else {
            return builder.null(container);
        };
        let datum = value.datum();
        match &self.0 {
            Kind::Boolean => builder.boolean(container, datum.value() as u8 != 0),
            Kind::Int16 => builder.integer(container, i64::from(datum.value() as i16)),
            Kind::Int32 => builder.integer(container, i64::from(datum.value() as i32)),
            Kind::Int64 => builder.integer(container, datum.value() as i64),
            Kind::Decimal(output) => output.with_text(value, |text| builder.decimal(container, text)),
            // SAFETY: the value is a numeric.
            Kind::Numeric => push_numeric(builder, container, unsafe { varlena_bytes(datum) }),
            Kind::DateTime(type_oid) => {
                with_json_datetime(*type_oid, value, |text| builder.string(container, text))
            }
            // SAFETY: the value is a json, which is stored as text.
            Kind::Json => push_json(builder, container, unsafe { varlena_bytes(datum) }),
            // SAFETY: the value is a jsonb.
            Kind::Jsonb => builder.jsonb(container, unsafe { varlena_bytes(datum) }),
            Kind::Array { .. } => self.push_array(builder, container, value),
            Kind::Composite => push_composite(builder, container, value),
            Kind::Cast(function) => match function.cast(value) {
                // SAFETY: the cast returns a json.
                Some(json) => push_json(builder, container, unsafe { varlena_bytes(json.datum()) }),
                None => builder.null(container),
            },
            Kind::String(output) => output.with_text(value, |text| builder.string(container, text)),
        }
    }

    fn push_array(
        &self,
        builder: &mut Builder<'_>,
        container: &mut Container,
        value: Value<'_>,
    ) -> Result<(), TooLarge> {
        let Kind::Array { element, element_type, length, by_value, alignment } = &self.0 else {
            unreachable!("only called for arrays");
        };
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        // SAFETY: the value is an array of the element type given; deconstruct_array allocates `count`
        // values and nulls, and the array holds ndim dimensions after its header.
        let (dimensions, elements) = unsafe {
            let array: *mut pg_sys::ArrayType = pg_sys::pg_detoast_datum(value.datum().cast_mut_ptr()).cast();
            pg_sys::deconstruct_array(
                array,
                *element_type,
                i32::from(*length),
                *by_value,
                *alignment,
                &mut values,
                &mut nulls,
                &mut count,
            );
            let dimensions =
                std::slice::from_raw_parts(array.add(1).cast::<i32>().cast_const(), (*array).ndim as usize);
            let row = if count == 0 {
                Row::of(&[], &[])
            } else {
                Row::of(
                    std::slice::from_raw_parts(values, count as usize),
                    std::slice::from_raw_parts(nulls, count as usize),
                )
            };
            (dimensions, row)
        };
        let mut next = 0;
        push_dimension(builder, container, element, dimensions, elements, &mut next)
    }
}

/// Whether a cast's function may run with the rights of whoever writes, and say what a value is: a superuser's. A type's owner
/// makes casts without any right on the tables that have the type. One that takes any type is somebody's choice from what
/// superusers made for something else, and could not be told which type it is called with.
fn is_trusted(function: pg_sys::Oid) -> bool {
    PgProc::new(function).is_some_and(|function| {
        // SAFETY: catalogue look-ups by OID.
        unsafe {
            pg_sys::superuser_arg(function.proowner())
                && function
                    .proargtypes()
                    .first()
                    .is_some_and(|taken| pg_sys::get_typtype(*taken) as u8 != pg_sys::TYPTYPE_PSEUDO)
        }
    })
}

/// Appends the elements of one dimension; an array of none is `[]`.
fn push_dimension(
    builder: &mut Builder<'_>,
    container: &mut Container,
    element: &Encoder,
    dimensions: &[i32],
    elements: Row<'_>,
    next: &mut usize,
) -> Result<(), TooLarge> {
    let (count, inner) = match dimensions {
        [] => (0, &[][..]),
        [count, inner @ ..] => (*count as usize, inner),
    };
    let mut array = builder.array(count)?;
    for _ in 0..count {
        if inner.is_empty() {
            element.push(builder, &mut array, elements.get(*next))?;
            *next += 1;
        } else {
            push_dimension(builder, &mut array, element, inner, elements, next)?;
        }
    }
    builder.close(container, array)
}

fn push_composite(
    builder: &mut Builder<'_>,
    container: &mut Container,
    value: Value<'_>,
) -> Result<(), TooLarge> {
    // SAFETY: the value is a composite, whose header says its row type; values and nulls have room for all
    // its columns, and the descriptor is released after its last use.
    unsafe {
        let header: pg_sys::HeapTupleHeader = pg_sys::pg_detoast_datum(value.datum().cast_mut_ptr()).cast();
        let datum_fields = &(*header).t_choice.t_datum;
        let descriptor = pg_sys::lookup_rowtype_tupdesc(datum_fields.datum_typeid, datum_fields.datum_typmod);
        let columns = attributes(descriptor);
        let mut values = vec![pg_sys::Datum::null(); columns.len()];
        let mut nulls = vec![true; columns.len()];
        let mut tuple = pg_sys::HeapTupleData {
            t_len: pgrx::varlena::varsize_any(header.cast()) as u32,
            t_data: header,
            ..Default::default()
        };
        pg_sys::heap_deform_tuple(&mut tuple, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
        if (*descriptor).tdrefcount >= 0 {
            pg_sys::DecrTupleDescRefCount(descriptor);
        }

        let memory = PlanMemory::create();
        let row = Row::of(&values, &nulls);
        let mut fields: Vec<_> = columns
            .iter()
            .enumerate()
            .filter_map(|(position, column)| column.as_ref().map(|column| (position, column)))
            .collect();
        fields.sort_by(|a, b| key_order(&a.1.name, &b.1.name));
        let mut object = builder.object(fields.len())?;
        for (_, column) in &fields {
            builder.key(&mut object, &column.name)?;
        }
        for (position, column) in &fields {
            Encoder::of_type(&memory, column.type_oid).push(builder, &mut object, row.get(*position))?;
        }
        builder.close(container, object)
    }
}

/// NaN and the infinities have no JSON number: they are strings.
fn push_numeric(builder: &mut Builder<'_>, container: &mut Container, body: &[u8]) -> Result<(), TooLarge> {
    match u16::from_ne_bytes([body[0], body[1]]) & 0xf000 {
        0xc000 => builder.string(container, b"NaN"),
        0xd000 => builder.string(container, b"Infinity"),
        0xf000 => builder.string(container, b"-Infinity"),
        _ => builder.numeric(container, body),
    }
}

/// What JSONB cannot hold (`\u0000`, a lone surrogate, a number out of range) is kept as a string: auditing
/// never refuses a legal write.
fn push_json(builder: &mut Builder<'_>, container: &mut Container, text: &[u8]) -> Result<(), TooLarge> {
    match parse_json(text) {
        // SAFETY: it is a jsonb.
        Some(jsonb) => builder.jsonb(container, unsafe { varlena_bytes(jsonb) }),
        None => builder.string(container, text),
    }
}

/// The jsonb of a JSON text in the database's encoding, `None` for what JSONB cannot hold.
pub(super) fn parse_json(text: &[u8]) -> Option<pg_sys::Datum> {
    let json = CString::new(text).ok()?;
    // SAFETY: the current memory context is put back if the parser fails half-way; the parser holds nothing but
    // memory.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        pgrx::PgTryBuilder::new(|| {
            pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(json.as_ptr().into())])
        })
        .catch_when(pgrx::PgSqlErrorCode::ERRCODE_UNTRANSLATABLE_CHARACTER, |_| None)
        .catch_when(pgrx::PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION, |_| None)
        .catch_when(pgrx::PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, |_| None)
        .catch_when(pgrx::PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, |_| None)
        .catch_when(pgrx::PgSqlErrorCode::ERRCODE_STATEMENT_TOO_COMPLEX, |_| None)
        .catch_when(pgrx::PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, |_| None)
        .finally(|| pg_sys::CurrentMemoryContext = context)
        .execute()
    }
}
