// What bindgen makes of the header as it is, in MADE_BY_BINDGEN, compiles and calls the library. Its own layout tests come along.
#![allow(non_camel_case_types, non_upper_case_globals, non_snake_case, dead_code, unused)]
include!(env!("MADE_BY_BINDGEN"));

fn main() {
    let mut options = std::mem::MaybeUninit::<ortshard_sampler_options>::uninit();
    let size = std::mem::size_of::<ortshard_sampler_options>();
    // SAFETY: the place is as large as it says.
    let options = unsafe {
        assert_eq!(ortshard_sampler_options_init(options.as_mut_ptr(), size as _), ORTSHARD_OK as ortshard_status);
        options.assume_init()
    };
    assert_eq!((options.top_k, options.seed), (35, 1234));
    // SAFETY: takes nothing.
    assert_eq!(unsafe { ortshard_abi_version() }, ORTSHARD_ABI_VERSION);
    assert_eq!(ORTSHARD_DTYPE_BF16, 5);
}
