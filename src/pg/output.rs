//! Values as text, independent of what the client set.

use std::ffi::{CStr, c_char, c_int};

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

use super::naming::{PlainMoney, PlainQuotes, QualifiedNames};
use super::scope::with_settings;
use super::value::{Value, varlena_bytes};

unsafe extern "C" {
    /// `src/include/utils/bytea.h`, which pgrx does not bind.
    static mut bytea_output: c_int;
}
const BYTEA_OUTPUT_HEX: c_int = 1;

/// Memory that lives as long as a cached plan: what PostgreSQL's functions keep between calls.
pub struct PlanMemory(pub(super) pg_sys::MemoryContext);

impl PlanMemory {
    /// A new, empty context.
    pub fn create() -> Self {
        // SAFETY: CacheMemoryContext exists in every backend; the name is a static C string.
        Self(unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CacheMemoryContext,
                c"audit plan".as_ptr(),
                pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
                pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
                pg_sys::ALLOCSET_SMALL_MAXSIZE as usize,
            )
        })
    }

    /// `function`, ready to be called as long as this memory lives.
    fn function(&self, function: pg_sys::Oid) -> *mut pg_sys::FmgrInfo {
        // SAFETY: the allocation is as large as what fmgr_info_cxt fills in.
        unsafe {
            let info = pg_sys::MemoryContextAllocZero(self.0, size_of::<pg_sys::FmgrInfo>()).cast();
            pg_sys::fmgr_info_cxt(function, info, self.0);
            info
        }
    }
}

impl Drop for PlanMemory {
    fn drop(&mut self) {
        // SAFETY: the context is ours and nobody else's.
        unsafe { pg_sys::MemoryContextDelete(self.0) }
    }
}

/// A cast's or an output function, kept ready. It belongs to the plan whose [`PlanMemory`] it was made in, and is
/// only called while that plan lives.
pub struct Function(*mut pg_sys::FmgrInfo);

impl Function {
    /// Looks `function` up.
    pub fn new(memory: &PlanMemory, function: pg_sys::Oid) -> Self {
        Self(memory.function(function))
    }

    /// Calls it as the cast of `value`, whose type it takes, under [`FixedSettings`]; `None` where it returns NULL. A user's
    /// function may have settings of its own, whose end puts the client's in force.
    pub fn cast<'a>(&self, value: Value<'a>) -> Option<Value<'a>> {
        // Some casts take the type modifier, and whether the cast is explicit.
        let arguments = [value.datum(), pg_sys::Datum::from(-1i32), pg_sys::Datum::from(true)];
        // SAFETY: who holds this function chose it for the value's type. The frame has room for the arguments, of which it is
        // given as many as it takes; it and the result are in the current memory context, which is reset only after the row is
        // done. The guard turns an error inside the function into a panic, which frees what Rust holds.
        let result = unsafe {
            let arguments = &arguments[..(*self.0).fn_nargs as usize];
            let size = size_of::<pg_sys::FunctionCallInfoBaseData>() + size_of_val(arguments) * 2;
            let frame: pg_sys::FunctionCallInfo = pg_sys::palloc0(size).cast();
            (*frame).flinfo = self.0;
            (*frame).nargs = arguments.len() as i16;
            for (slot, value) in (*frame).args.as_mut_slice(arguments.len()).iter_mut().zip(arguments) {
                slot.value = *value;
            }
            let function = (*self.0).fn_addr.expect("fmgr_info fills it in");
            let result = pg_guard_ffi_boundary(|| function(frame));
            (!(*frame).isnull).then(|| Value::new(result))
        };
        FixedSettings::enforce();
        result
    }

    /// The same of a cast that anybody made: what it sets is taken back.
    pub fn foreign_cast<'a>(&self, value: Value<'a>) -> Option<Value<'a>> {
        let result = with_settings(&[], || self.cast(value));
        FixedSettings::enforce();
        result
    }

    /// Calls it as the output function of the value's type.
    fn output(&self, value: Value<'_>) -> &CStr {
        // SAFETY: as for `cast`; an output function returns a C string in the current memory context,
        // which is reset only after the row is done.
        unsafe { CStr::from_ptr(pg_sys::OutputFunctionCall(self.0, value.datum())) }
    }
}

/// How a type writes its values as text.
pub enum Output {
    /// text, varchar and bpchar: the bytes themselves.
    Plain,
    /// bpchar as a cast to text has it, without the padding.
    Trimmed,
    /// uuid, without a call.
    Uuid,
    /// What names objects or is money, by its output function: what it looks at costs too much to be put aside for every row.
    Named(Function),
    /// Everything else by its output function.
    Function(Function),
}

impl Output {
    /// The way of `type_oid`, domains looked through.
    pub fn of_type(memory: &PlanMemory, type_oid: pg_sys::Oid) -> Self {
        // SAFETY: catalogue look-ups by OID.
        let base = unsafe { pg_sys::getBaseType(type_oid) };
        match base {
            pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => Self::Plain,
            pg_sys::UUIDOID => Self::Uuid,
            _ => {
                let mut function = pg_sys::InvalidOid;
                let mut is_varlena = false;
                // SAFETY: both out parameters are valid.
                unsafe { pg_sys::getTypeOutputInfo(base, &mut function, &mut is_varlena) };
                let function = Function::new(memory, function);
                if is_named(base) { Self::Named(function) } else { Self::Function(function) }
            }
        }
    }

    /// The way of `type_oid` as a cast to text has it: what identifies a resource or scope.
    pub fn of_identifier(memory: &PlanMemory, type_oid: pg_sys::Oid) -> Self {
        // SAFETY: a catalogue look-up by OID.
        if unsafe { pg_sys::getBaseType(type_oid) } == pg_sys::BPCHAROID {
            return Self::Trimmed;
        }
        Self::of_type(memory, type_oid)
    }

    /// Hands the text of `value` to `take`.
    pub fn with_text<R>(&self, value: Value<'_>, take: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            // SAFETY: the type is a varlena.
            Self::Plain => take(unsafe { varlena_bytes(value.datum()) }),
            Self::Trimmed => {
                // SAFETY: the type is a varlena.
                let text = unsafe { varlena_bytes(value.datum()) };
                let length = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
                take(&text[..length])
            }
            Self::Uuid => {
                // SAFETY: a uuid is 16 bytes.
                let bytes = unsafe { std::slice::from_raw_parts(value.datum().cast_mut_ptr::<u8>(), 16) };
                take(&uuid_text(bytes))
            }
            Self::Named(function) => {
                let text = {
                    let _pinned = (QualifiedNames::begin(), PlainMoney::begin());
                    function.output(value)
                };
                take(text.to_bytes())
            }
            Self::Function(function) => take(function.output(value).to_bytes()),
        }
    }
}

/// Whether values of a type are written by `search_path` or `lc_monetary`: those of a users' range by what it is of.
fn is_named(base: pg_sys::Oid) -> bool {
    match base {
        pg_sys::REGPROCOID
        | pg_sys::REGPROCEDUREOID
        | pg_sys::REGOPEROID
        | pg_sys::REGOPERATOROID
        | pg_sys::REGCLASSOID
        | pg_sys::REGTYPEOID
        | pg_sys::REGCOLLATIONOID
        | pg_sys::REGCONFIGOID
        | pg_sys::REGDICTIONARYOID
        | pg_sys::MONEYOID => true,
        _ => {
            // SAFETY: catalogue look-ups by OID.
            let is_range = || unsafe { pg_sys::type_is_range(base) || pg_sys::type_is_multirange(base) };
            base.to_u32() >= pg_sys::FirstNormalObjectId && is_range()
        }
    }
}

fn uuid_text(bytes: &[u8]) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in bytes.iter().enumerate() {
        at += usize::from(matches!(index, 4 | 6 | 8 | 10));
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    text
}

/// A date or timestamp as JSON writes it (ISO 8601), under [`FixedSettings`].
pub fn with_json_datetime<R>(type_oid: pg_sys::Oid, value: Value<'_>, take: impl FnOnce(&[u8]) -> R) -> R {
    let mut buffer: [c_char; 129] = [0; 129];
    // SAFETY: the buffer holds MAXDATELEN + 1 characters, and the value is of the type given.
    let text = unsafe {
        pg_sys::JsonEncodeDateTime(buffer.as_mut_ptr(), value.datum(), type_oid, std::ptr::null());
        CStr::from_ptr(buffer.as_ptr())
    };
    take(text.to_bytes())
}

/// While this lives, output functions write as under `TimeZone` UTC, `DateStyle` ISO, `IntervalStyle` postgres,
/// `bytea_output` hex, `extra_float_digits` 1 and `quote_all_identifiers` off, whatever the client set.
///
/// It sets what the settings' assign hooks set, not the settings: a few stores per row instead of six
/// look-ups by name. Dropping it, also on an error, puts everything back.
pub struct FixedSettings {
    timezone: *mut pg_sys::pg_tz,
    date_style: c_int,
    date_order: c_int,
    interval_style: c_int,
    bytea: c_int,
    float_digits: c_int,
    _quotes: PlainQuotes,
}

impl FixedSettings {
    /// Begins.
    pub fn begin() -> Self {
        // SAFETY: a backend has one thread.
        unsafe {
            let saved = Self {
                timezone: pg_sys::session_timezone,
                date_style: pg_sys::DateStyle,
                date_order: pg_sys::DateOrder,
                interval_style: pg_sys::IntervalStyle,
                bytea: bytea_output,
                float_digits: pg_sys::extra_float_digits,
                _quotes: PlainQuotes::begin(),
            };
            Self::enforce();
            saved
        }
    }

    /// Puts them in force.
    fn enforce() {
        // SAFETY: a backend has one thread; pg_tzset returns a time zone that lives as long as the backend,
        // and UTC is built in.
        unsafe {
            pg_sys::session_timezone = pg_sys::pg_tzset(c"UTC".as_ptr());
            pg_sys::DateStyle = pg_sys::USE_ISO_DATES as c_int;
            pg_sys::DateOrder = pg_sys::DATEORDER_YMD as c_int;
            pg_sys::IntervalStyle = pg_sys::INTSTYLE_POSTGRES as c_int;
            bytea_output = BYTEA_OUTPUT_HEX;
            pg_sys::extra_float_digits = 1;
        }
        PlainQuotes::enforce();
    }
}

impl Drop for FixedSettings {
    fn drop(&mut self) {
        // SAFETY: a backend has one thread.
        unsafe {
            pg_sys::session_timezone = self.timezone;
            pg_sys::DateStyle = self.date_style;
            pg_sys::DateOrder = self.date_order;
            pg_sys::IntervalStyle = self.interval_style;
            bytea_output = self.bytea;
            pg_sys::extra_float_digits = self.float_digits;
        }
    }
}
