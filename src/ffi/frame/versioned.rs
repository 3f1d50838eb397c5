//! Structs that may grow: each begins with `struct_size`, the size its caller was compiled with.
//!
//! Fields are only ever appended, so an older struct is a prefix of a newer one. All sizes are multiples of a
//! pointer's alignment, so a prefix never ends within a field. A field added later must not lie in what is tail
//! padding now: older callers leave that uninitialised.

use std::ptr::{copy_nonoverlapping, write_bytes};

use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ORTSHARD_ERROR_VERSION_MISMATCH;

/// No struct will come near this: what is larger was never initialised.
const LARGEST: usize = 4096;
const STEP: usize = align_of::<usize>();

/// A `#[repr(C)]` struct of plain data that begins with `struct_size: usize`.
///
/// # Safety
/// All zero is a value of it.
pub(in crate::ffi) unsafe trait Versioned: Copy {
    const NAME: &'static str;
    /// What its `_init` function and its `_INIT` macro make of it: what NULL means, and what fields have that an older caller
    /// does not know.
    const INITIAL: Self;
}

/// `initial!(ortshard_x, ortshard_x_init; field = value; ...)`: the struct's [`Versioned::INITIAL`] and its function. What is
/// not named is zero. build.rs reads the same line and makes the macro `ORTSHARD_X_INIT` of it.
macro_rules! initial {
    ($name:ident, $function:ident $(; $field:ident = $value:expr)* $(;)?) => {
        // SAFETY: integers, floats, arrays of them, and pointers and callbacks that may be NULL.
        unsafe impl crate::ffi::frame::versioned::Versioned for $name {
            const NAME: &'static str = stringify!($name);
            const INITIAL: Self = {
                // SAFETY: as above.
                let mut initial: Self = unsafe { std::mem::zeroed() };
                initial.struct_size = size_of::<Self>();
                $(initial.$field = $value as _;)*
                initial
            };
        }

        /// What the macro `_INIT` does, for languages without macros.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $function(
            what: *mut $name,
            struct_size: usize,
        ) -> crate::ffi::frame::status::ortshard_status {
            // SAFETY: the header's contract.
            crate::ffi::frame::guard::guard(|| unsafe { crate::ffi::frame::versioned::init(what, struct_size) })
        }
    };
}

pub(in crate::ffi) use initial;

/// # Safety
/// `options` is NULL or points to `struct_size` readable bytes.
pub(in crate::ffi) unsafe fn read<T: Versioned>(options: *const T) -> Result<T, Failure> {
    if options.is_null() {
        return Ok(T::INITIAL);
    }
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_struct(options) }?;
    let mut known = T::INITIAL;
    // SAFETY: both sides have that many bytes, and all of T's fields may have any bytes.
    unsafe { copy_nonoverlapping(options.cast::<u8>(), (&raw mut known).cast(), size.min(size_of::<T>())) };
    for offset in size_of::<T>()..size {
        // SAFETY: within `struct_size`.
        if unsafe { options.cast::<u8>().add(offset).read() } != 0 {
            return Err(Failure::new(
                ORTSHARD_ERROR_VERSION_MISMATCH,
                format!(
                    "{}: byte {offset} is set, and ortshard {} knows only the first {} bytes: the library is older \
                     than the header the program was compiled with",
                    T::NAME,
                    env!("CARGO_PKG_VERSION"),
                    size_of::<T>()
                ),
            ));
        }
    }
    Ok(known)
}

/// Writes the fields that the caller knows; those it knows and we do not become zero.
///
/// # Safety
/// `out` points to `struct_size` writable bytes.
pub(in crate::ffi) unsafe fn write<T: Versioned>(out: &Out<T>, value: T) -> Result<(), Failure> {
    const HEAD: usize = size_of::<usize>();
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_struct(out.as_ptr()) }?;
    let known = size.min(size_of::<T>());
    // SAFETY: both sides have that many bytes; the caller's `struct_size` stays.
    unsafe {
        copy_nonoverlapping(
            (&raw const value).cast::<u8>().add(HEAD),
            out.as_ptr().cast::<u8>().add(HEAD),
            known - HEAD,
        );
        write_bytes(out.as_ptr().cast::<u8>().add(known), 0, size - known);
    }
    Ok(())
}

/// The size of a struct that is yet to be written: whoever cannot do its work twice checks it before.
///
/// # Safety
/// `out` points to at least a `struct_size`.
pub(in crate::ffi) unsafe fn size<T: Versioned>(out: &Out<T>) -> Result<usize, Failure> {
    // SAFETY: the caller's promise.
    unsafe { size_of_struct(out.as_ptr()) }
}

/// Fills a struct that its caller has only just declared.
///
/// # Safety
/// `what` is NULL or points to `size` writable bytes.
pub(in crate::ffi) unsafe fn init<T: Versioned>(what: *mut T, size: usize) -> Result<(), Failure> {
    let parameter = T::NAME.rsplit('_').next().unwrap_or(T::NAME);
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(what, parameter) }?;
    check_size(size, T::NAME)?;
    // SAFETY: as above; `struct_size` is the first field.
    unsafe { out.as_ptr().cast::<usize>().write_unaligned(size) };
    // SAFETY: as above.
    unsafe { write(&out, T::INITIAL) }
}

/// # Safety
/// `pointer` points to at least a `struct_size`.
unsafe fn size_of_struct<T: Versioned>(pointer: *const T) -> Result<usize, Failure> {
    // SAFETY: the caller's promise.
    let size = unsafe { pointer.cast::<usize>().read_unaligned() };
    check_size(size, T::NAME)?;
    Ok(size)
}

fn check_size(size: usize, name: &str) -> Result<(), Failure> {
    if (STEP..=LARGEST).contains(&size) && size.is_multiple_of(STEP) {
        return Ok(());
    }
    Err(Failure::invalid(format!("{name}: struct_size is {size}; set it to sizeof({name})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::frame::status::ORTSHARD_ERROR_INVALID_ARGUMENT;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Newer {
        struct_size: usize,
        old: u64,
        new: u64,
        newest: u64,
    }
    const FILLED: Newer = Newer { struct_size: size_of::<Newer>(), old: 1, new: 2, newest: 3 };

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Known {
        struct_size: usize,
        old: u64,
        new: u64,
    }
    // SAFETY: integers.
    unsafe impl Versioned for Known {
        const NAME: &'static str = "known";
        const INITIAL: Self = Self { struct_size: size_of::<Self>(), old: 10, new: 20 };
    }

    fn read_sized(options: Newer) -> Result<Known, Failure> {
        // SAFETY: points to a larger struct than any size tested, except those that are refused unread.
        unsafe { read((&raw const options).cast::<Known>()) }
    }

    #[test]
    fn older_callers_get_defaults_and_newer_ones_are_heard_out() {
        assert_eq!(
            read_sized(Newer { struct_size: 16, ..FILLED }).unwrap(),
            Known { struct_size: 16, old: 1, new: 20 }
        );
        assert_eq!(read_sized(Newer { struct_size: 24, ..FILLED }).unwrap(), Known { struct_size: 24, old: 1, new: 2 });
        assert!(read_sized(Newer { newest: 0, ..FILLED }).is_ok());
        assert_eq!(read_sized(FILLED).unwrap_err().status, ORTSHARD_ERROR_VERSION_MISMATCH);
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { read::<Known>(std::ptr::null()) }.unwrap(), Known::INITIAL);
    }

    #[test]
    fn nonsense_sizes_are_refused_by_name() {
        for struct_size in [0, 1, 7, 12, 17, LARGEST + 8, usize::MAX] {
            let failure = read_sized(Newer { struct_size, ..FILLED }).unwrap_err();
            assert_eq!(failure.status, ORTSHARD_ERROR_INVALID_ARGUMENT);
            assert!(failure.message.starts_with("known: struct_size is"), "{}", failure.message);
        }
    }

    #[test]
    fn answers_fill_what_the_caller_knows() {
        let answer = Known { struct_size: 0, old: 8, new: 9 };
        for (struct_size, expected) in [(16, (8, 2, 3)), (24, (8, 9, 3)), (32, (8, 9, 0))] {
            let mut place = Newer { struct_size, ..FILLED };
            // SAFETY: the place is as large as any size tested.
            let out = unsafe { Out::new((&raw mut place).cast::<Known>(), "out") }.unwrap();
            // SAFETY: as above.
            unsafe { write(&out, answer) }.unwrap();
            assert_eq!((place.struct_size, (place.old, place.new, place.newest)), (struct_size, expected));
        }
    }
}
