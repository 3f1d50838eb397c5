//! Constants of the C interface.

/// `constants! { enum tag { NAME = value, ... } }`: each is an `i32`. build.rs gives the enum in it to cbindgen, which
/// makes it the C enum; one called `nameless` has no tag there. With `#[named(ALL)]` before the enum, `ALL` has the
/// constants with their names.
macro_rules! constants {
    ($(#[doc = $about:literal])* $(#[named($all:ident)])? enum $tag:ident {
        $($(#[doc = $doc:literal])* $name:ident = $value:expr,)*
    }) => {
        $($(#[doc = $doc])* pub const $name: i32 = $value;)*
        constants! { @named [$($all)?] $($name)* }
    };
    (@named [] $($name:ident)*) => {};
    (@named [$all:ident] $($name:ident)*) => {
        const $all: &[(&CStr, i32)] = &[$((
            match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            },
            $name,
        )),*];
    };
}

pub(in crate::ffi) use constants;
