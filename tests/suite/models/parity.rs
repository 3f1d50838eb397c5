//! Every model family gives transformers' logits and greedy ids. `tools/goldens/make_goldens.py` makes the answers.

use crate::common::{Model, Passed, assert_close, assert_within, device};
use ortshard::{Input, Logits, Request, RequestOptions};

#[test]
fn logits_of_every_position() {
    for model in Model::all() {
        let logits = model.whole().run(&model.prompt, Logits::All);
        assert_close(&model.name, logits.view(), model.golden("logits").view());
    }
}

/// Where the device computes in the checkpoint's own type, that one's roundings are allowed; a float32 checkpoint is computed in
/// bfloat16 there.
#[test]
fn logits_in_the_type_that_is_stored() {
    for model in Model::all().iter().map(|model| Model::as_stored(&model.name)) {
        let logits = model.whole().run(&model.prompt, Logits::All);
        let computed = match (device::own_dtype(), &*model.dtype) {
            (false, _) => "float32",
            (true, "float32") => "bfloat16",
            (true, own) => own,
        };
        let tolerance = device::tolerance_in(computed);
        assert_within(tolerance, &model.name, logits.view(), model.golden("logits").view());
    }
}

#[test]
fn hidden_states_after_every_layer() {
    for model in Model::all() {
        for end in model.cuts() {
            let mut request = Request::new(&model.shard(0, end), RequestOptions::default()).unwrap();
            let ours = Passed::from(&mut request, Input::Ids(&model.prompt), Logits::Last).values();
            let theirs = model.golden(&format!("hidden.{end}"));
            assert_close(&format!("{} layer {end}", model.name), ours.view(), theirs.view());
        }
    }
}

#[test]
fn greedy_ids() {
    for model in Model::all() {
        let ids = model.whole().greedy(&model.prompt, model.greedy.len());
        assert_eq!(ids, model.greedy, "{}", model.name);
    }
}
