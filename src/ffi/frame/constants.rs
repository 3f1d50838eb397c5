//! Constants of the C interface: build/source.rs reads the same lines and makes C enums of them.

/// `constants! { enum tag { NAME = value, ... } }`: each is an `i32`. With `enum tag as ALL`, `ALL` has them with their names.
macro_rules! constants {
    ($(#[doc = $about:literal])* enum $($tag:ident $(as $all:ident)?)? {
        $($(#[doc = $doc:literal])* $name:ident = $value:expr,)*
    }) => {
        $($(#[doc = $doc])* pub const $name: i32 = $value;)*
        constants! { @named [$($($all)?)?] $($name)* }
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
