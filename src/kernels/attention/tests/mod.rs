mod case;

use super::super::testing::{Stored, Threads, bits};
use super::super::{Norm, Serial};
use super::attend::CHUNK;
use super::*;

use case::*;

#[test]
fn every_shape_agrees_with_f64() {
    for (isa, kind) in everywhere() {
        for head_dim in [2, 6, 10, 18, 24, 40, 64, 80, 96, 128] {
            for (heads, kv_heads) in [(1, 1), (4, 4), (7, 1), (8, 2), (6, 3)] {
                Case::new(heads, kv_heads, head_dim, 70, head_dim as u64).kept_as(kind).check(isa);
            }
            Case::new(6, 2, head_dim, 30, 5).with_norms().kept_as(kind).check(isa);
            Case::new(3, 3, head_dim, 30, 6).with_rotary_pairs(head_dim / 4).kept_as(kind).check(isa);
            for window in [1, 2, 5, 64, 65] {
                Case::new(4, 2, head_dim, 140, 7).with_window(window).kept_as(kind).check(isa);
                Case::new(4, 2, head_dim, 140, 7).in_chunks(window).kept_as(kind).check(isa);
            }
        }
    }
}

#[test]
fn every_option_agrees_with_f64() {
    for (isa, kind) in everywhere() {
        for head_dim in [6, 10, 40, 64] {
            let case = || Case::new(6, 2, head_dim, 70, 21).kept_as(kind);
            let offset = Norm { offset: 1.0, ..Norm::rms(1e-6) };
            case().with_norms().with_norm(offset).check(isa);
            case().with_norm(Norm::rms(1e-6)).check(isa);
            case().with_norms().normed_after_rotation().check(isa);
            case().with_all(33).normed_after_rotation().check(isa);
            case().interleaved().check(isa);
            case().interleaved().with_rotary_pairs(head_dim / 4).check(isa);
            case().with_rotary_pairs(0).with_temperature().check(isa);
            case().with_soft_cap(2.0).check(isa);
            case().with_sinks().check(isa);
            case().with_all(33).check(isa);
        }
        Case::new(2, 1, 16, CHUNK + 100, 8).kept_as(kind).with_all(CHUNK).check(isa);
        Case::new(2, 1, 16, CHUNK + 100, 8).kept_as(kind).with_all(CHUNK).in_chunks(CHUNK - 30).check(isa);
    }
}

#[test]
fn latents_agree_with_f64() {
    for (isa, kind) in everywhere() {
        for (latent, behind) in [(20, 6), (32, 16), (33, 2), (5, 10), (64, 8)] {
            for (heads, kv_heads) in [(1, 1), (7, 1), (40, 1), (6, 2)] {
                let case = || Case::new(heads, kv_heads, latent + behind, 70, 31).with_latent(latent).kept_as(kind);
                case().check(isa);
                case().interleaved().with_temperature().check(isa);
            }
        }
        Case::new(3, 1, 22, CHUNK + 100, 32).with_latent(16).interleaved().kept_as(kind).check(isa);
    }
}

/// A sink far above all scores takes nearly everything, one far below nothing.
#[test]
fn sinks_may_be_far_from_the_scores() {
    for isa in Isa::available() {
        let mut case = Case::new(1, 1, 8, 5, 22);
        let without = case.whole(isa);
        for (sink, expected) in [(1e4, 0.0), (-1e4, 1.0)] {
            case.sinks = Some(Stored::of(1, 1, &[sink]));
            for (with, without) in case.whole(isa).iter().zip(&without) {
                assert!((with - expected * without).abs() < 1e-6, "{isa:?}: {with} of {without}");
            }
        }
    }
}

#[test]
fn tokens_that_no_row_sees_may_be_let_go_of() {
    for (isa, kind) in everywhere() {
        for (case, from) in [
            (Case::new(4, 2, 24, 200, 23).with_norms().with_window(70), 131),
            (Case::new(6, 2, 10, 200, 24).with_all(33), 100),
            (Case::new(3, 1, 8, CHUNK + 150, 25).with_sinks().with_window(100), CHUNK + 40),
            (Case::new(3, 1, 8, CHUNK + 150, 26).with_window(CHUNK), CHUNK + 90),
            (Case::new(4, 2, 24, 200, 23).with_norms().in_chunks(70), 150),
            (Case::new(3, 1, 8, CHUNK + 150, 25).in_chunks(100), CHUNK + 76),
        ] {
            let case = case.kept_as(kind);
            let mut cache = case.cache();
            case.step(isa, &Threads(2), &mut cache, from);
            for tokens in [1, 7, case.tokens - from] {
                let expected = case.step(isa, &Serial, &mut case.rest(&cache, 0, tokens), tokens);
                let needed = case.shape.window.map_or(0, |window| window.first(from));
                for first in [needed, needed - 1, needed / 64 * 64, needed.saturating_sub(64).max(1)] {
                    for threads in [1, 3] {
                        let mut rest = case.rest(&cache, first, tokens);
                        let out = case.step(isa, &Threads2(threads), &mut rest, tokens);
                        assert_eq!(bits(&out), bits(&expected), "{isa:?} {kind:?} {tokens} tokens, rows from {first}");
                    }
                }
            }
        }
    }
}

/// Layers share keys and values: the queries of another one see those that are there.
#[test]
fn rows_that_the_caches_have_are_not_written_again() {
    for (isa, kind) in everywhere() {
        let case = Case::new(6, 2, 24, 70, 9).with_norms().with_window(33).kept_as(kind);
        let mut cache = case.cache();
        let expected = case.step(isa, &Serial, &mut cache, case.tokens);
        let kept = (cache.keys.clone(), cache.values.clone());
        cache.position = 0;
        let reading = Case { k: Vec::new(), v: Vec::new(), ..case };
        let out = reading.step(isa, &Threads(2), &mut cache, reading.tokens);
        assert_eq!(bits(&out), bits(&expected), "{isa:?} {kind:?}");
        assert_eq!((cache.keys, cache.values), kept, "{isa:?} {kind:?}");
    }
}

#[test]
fn a_context_of_several_chunks_agrees_with_f64() {
    for (isa, kind) in everywhere() {
        for window in [None, Some(Window::Sliding(700)), Some(Window::Sliding(1500)), Some(Window::Chunked(700))] {
            let mut case = Case::new(2, 1, 16, 2 * CHUNK + 100, 8).kept_as(kind);
            case.shape.window = window;
            case.check(isa);
        }
    }
}

#[test]
fn the_way_a_prompt_is_cut_leaves_the_bits() {
    for (isa, kind) in everywhere() {
        let cases = [
            Case::new(7, 1, 64, 200, 9),
            Case::new(14, 2, 24, 150, 10).with_norms(),
            Case::new(4, 4, 10, 140, 11).with_window(33),
            Case::new(4, 2, 80, 140, 11).with_window(3),
            Case::new(3, 1, 8, CHUNK + 130, 12),
            Case::new(3, 1, 8, CHUNK + 130, 13).with_window(100),
            Case::new(4, 2, 24, CHUNK + 130, 14).with_all(CHUNK),
            Case::new(4, 4, 10, 140, 11).in_chunks(33),
            Case::new(4, 2, 24, CHUNK + 130, 14).with_all(1).in_chunks(100),
            Case::new(40, 1, 26, 140, 27).with_latent(20),
            Case::new(4, 1, 12, CHUNK + 130, 28).with_latent(8).interleaved(),
            // Heads enough for tasks of their own.
            Case::new(72, 1, 80, 200, 29).with_latent(64),
        ];
        for case in cases {
            let case = case.kept_as(kind);
            let whole = case.whole(isa);
            for (pieces, threads) in
                [(vec![1], 1), (vec![1], 3), (vec![3, 1, 50], 2), (vec![64], 4), (vec![63, 65], 2), (vec![1000], 3)]
            {
                let mut cache = case.cache();
                let mut out = Vec::new();
                for piece in pieces.iter().cycle() {
                    let tokens = (*piece).min(case.tokens - cache.position);
                    if tokens == 0 {
                        break;
                    }
                    // Starting threads for every token of the long cases would take most of the time.
                    let threads = if *piece == 1 && cache.position % 97 != 0 { 1 } else { threads };
                    out.extend(case.step(isa, &Threads2(threads), &mut cache, tokens));
                }
                assert_eq!(bits(&out), bits(&whole), "{isa:?} {:?} in pieces of {pieces:?}", case.shape);
            }
        }
    }
}

/// One thread is the calling one.
struct Threads2(usize);

impl Parallel for Threads2 {
    fn incomplete(&self) {
        unreachable!("a result without a place");
    }

    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.0 == 1 { Serial.run(tasks, task) } else { Threads(self.0).run(tasks, task) }
    }
}

#[test]
fn sequences_in_one_call_have_the_bits_of_each_alone() {
    for (isa, kind) in everywhere() {
        for (latent, threads) in [(false, 1), (false, 3), (true, 1), (true, 3)] {
            let cases = [(40, 14), (1, 15), (CHUNK + 20, 16), (7, 17)].map(|(tokens, seed)| {
                let case = Case::new(6, 2, 32, tokens, seed).kept_as(kind);
                if latent { case.with_latent(20) } else { case }
            });
            let alone = cases.each_ref().map(|case| case.whole(isa));
            let mut caches = cases.each_ref().map(Case::cache);
            let mut outs = vec![Vec::new(); cases.len()];
            // All but the last token of each, then the last: a mixed prompt and a pure decode step.
            for last in [false, true] {
                let mut parts: Vec<_> = cases
                    .iter()
                    .zip(&mut caches)
                    .map(|(case, cache)| (case, cache, if last { 1 } else { case.tokens - 1 }))
                    .collect();
                for (out, new) in outs.iter_mut().zip(run_batch(isa, &Threads(threads), &mut parts)) {
                    out.extend(new);
                }
            }
            for (out, alone) in outs.iter().zip(&alone) {
                assert_eq!(bits(out), bits(alone), "{isa:?}");
            }
        }
    }
}

#[test]
fn a_bad_value_reaches_no_earlier_token() {
    for (isa, kind) in everywhere() {
        let mut case = Case::new(4, 2, 18, 90, 18).kept_as(kind);
        let good = case.whole(isa);
        let width = 2 * 18;
        case.v[71 * width] = f32::NAN;
        case.k[80 * width..][..width].fill(f32::INFINITY);
        let bad = case.whole(isa);
        let unharmed = 71 * 4 * 18;
        assert_eq!(bits(&bad[..unharmed]), bits(&good[..unharmed]), "{isa:?}");
        assert!(bad[unharmed].is_nan(), "{isa:?}");

        let mut case = Case::new(4, 1, 18, 90, 18).with_latent(12).kept_as(kind);
        let good = case.whole(isa);
        case.k[71 * 12] = f32::NAN;
        case.v[80 * 6] = f32::NAN;
        let (bad, unharmed) = (case.whole(isa), 71 * 4 * 12);
        assert_eq!(bits(&bad[..unharmed]), bits(&good[..unharmed]), "{isa:?}");
        assert!(bad[unharmed..].iter().all(|x| x.is_nan()), "{isa:?}");
    }
}

#[test]
fn rows_may_lie_at_any_address() {
    for (isa, kind) in everywhere() {
        for case in [Case::new(4, 2, 18, 90, 20), Case::new(4, 2, 18, 90, 20).with_latent(12)] {
            let case = case.kept_as(kind);
            let mut cache = Cache { from: 1, ..case.cache() };
            assert_eq!(bits(&case.step(isa, &Serial, &mut cache, 90)), bits(&case.whole(isa)), "{isa:?} {kind:?}");
        }
    }
}

#[test]
fn nothing_to_do_is_fine() {
    let case = Case::new(2, 1, 8, 4, 19);
    assert!(case.step(Isa::detect(), &Serial, &mut case.cache(), 0).is_empty());
}
