//! However the layers are cut into shards and the tokens into calls, the bits are the same. (In stock operators,
//! which other devices run, so are those of the shards; calls differ in the last bits.)

use crate::common::{Model, assert_same, assert_same_in_pieces};
use ortshard::{Engine, EngineOptions, ErrorKind, Logits, RequestOptions, ShardSpec};

#[test]
fn every_cut_in_two_and_single_layers_give_the_same_bits() {
    for model in Model::all() {
        let mut whole = model.whole();
        let prefill = whole.run(&model.prompt, Logits::All);
        let decode = whole.run(&model.greedy[..1], Logits::Last);
        let all = model.cuts();
        let cuts = all.iter().map(|cut| vec![*cut]).chain([all.clone()]);
        for cuts in cuts {
            let what = format!("{} cut after {cuts:?}", model.name);
            let mut shards = model.pipeline(&cuts);
            assert_same(&what, shards.run(&model.prompt, Logits::All).view(), prefill.view());
            assert_same(&what, shards.run(&model.greedy[..1], Logits::Last).view(), decode.view());
        }
    }
}

#[test]
fn chunks_tokens_and_one_shot_give_the_same_bits() {
    for model in Model::all() {
        let whole = model.whole().run(&model.prompt, Logits::All);
        for prefill_chunk in [1, 3, 7] {
            let options = RequestOptions { prefill_chunk, ..RequestOptions::default() };
            let chunked = model.pipeline_with(&[], options).run(&model.prompt, Logits::All);
            assert_same_in_pieces(
                &format!("{} in chunks of {prefill_chunk}", model.name),
                chunked.view(),
                whole.view(),
            );
            let last = model.pipeline_with(&model.first_cut(), options).run(&model.prompt, Logits::Last);
            let row = whole.slice(ndarray::s![-1.., ..]);
            assert_same_in_pieces(&format!("{} last of chunks of {prefill_chunk}", model.name), last.view(), row);
        }
        let mut request = model.whole();
        for (i, id) in model.prompt.iter().enumerate() {
            let logits = request.run(&[*id], Logits::Last);
            let row = whole.slice(ndarray::s![i..=i, ..]);
            assert_same_in_pieces(&format!("{} token {i}", model.name), logits.view(), row);
        }
    }
}

#[test]
fn truncating_goes_back_in_time() {
    for model in Model::all() {
        let mut request = model.whole();
        request.run(&model.prompt, Logits::None);
        let first = request.run(&[1], Logits::Last);
        request.run(&[2, 3], Logits::None);
        request.requests[0].truncate(model.prompt.len()).unwrap();
        assert_same(&model.name, request.run(&[1], Logits::Last).view(), first.view());
    }
}

/// A layer that reads the keys and values of an earlier one is in that one's shard.
#[test]
fn layers_that_share_keys_and_values_stay_together() {
    let model = Model::open("gemma4_shared");
    assert_eq!(model.cuts(), [0]);
    let engine = Engine::new(EngineOptions::default()).unwrap();
    for (first, last, words) in [
        (
            0,
            1,
            "last_layer 1: the model cannot be cut behind layer 1, since layer 3 reads the keys and values of layer 1; the nearest \
             cuts are behind layer 0",
        ),
        (
            3,
            4,
            "first_layer 3: the model cannot be cut behind layer 2, since layer 3 reads the keys and values of layer 1",
        ),
    ] {
        let spec = ShardSpec::layers(model.path.to_str().unwrap(), first, last);
        let error = engine.ensure_shard(&spec, None).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.chain().contains(words), "{}", error.chain());
    }
}
