//! Latent attention: a matrix for each head, and keys that are the values, too.

use super::super::reference::{Rows, attention, layer, linear, tensor};
use super::super::{HEAD_DIM, HEADS, KV_HEADS, WIDTH};
use super::{Case, case, full, plain, usual, weight};
use crate::graph::{Attention, Linear};
use crate::kernels::Rotation;

/// Values of a latent, and those that are rotated: as the last of the rotations has them.
const LATENT: usize = 10;
const ROTATED: usize = HEAD_DIM - LATENT;
/// What a head becomes.
const OUT: usize = 7;

pub(super) fn latents() -> Vec<Case> {
    let refused = "a matrix for each head";
    vec![heads(false).refused(refused), heads(true).refused(refused), attending().refused("attention to latents")]
}

/// The first values of each head through rows of one tensor, as they lie or transposed.
fn heads(transposed: bool) -> Case {
    let (name, shape) =
        if transposed { ("columns for each head", [LATENT, OUT]) } else { ("rows for each head", [OUT, LATENT]) };
    case(
        name,
        move |g, x| {
            let all = weight("heads.weight", [HEADS * shape[0], shape[1]]);
            let head = |head: usize| {
                let rows = all.rows(head * shape[0]..(head + 1) * shape[0]);
                Linear { weight: if transposed { rows.transposed() } else { rows }, bias: None }
            };
            let y = g.project_heads(x, (0..HEADS).map(head).collect());
            g.linear(y, plain("back", HEADS * (OUT + ROTATED), WIDTH))
        },
        move |x| {
            let all = tensor(&full("heads.weight"), HEADS * OUT * LATENT);
            let of = |(head, row): (usize, &[f64])| {
                let stored = &all[head * OUT * LATENT..][..OUT * LATENT];
                let at = |out: usize, input: usize| {
                    if transposed { stored[input * OUT + out] } else { stored[out * LATENT + input] }
                };
                let matrix: Vec<f64> = (0..OUT * LATENT).map(|i| at(i / LATENT, i % LATENT)).collect();
                [linear(&vec![row[..LATENT].to_vec()], &matrix, None).remove(0), row[LATENT..].to_vec()].concat()
            };
            let y: Rows = x.iter().map(|row| row.chunks(HEAD_DIM).enumerate().flat_map(of).collect()).collect();
            layer(&y, &full("back"), WIDTH)
        },
    )
}

fn attending() -> Case {
    let own = |name: &str, out| plain(name, WIDTH, out);
    case(
        "attention to latents",
        move |g, x| {
            let qkv = g.qkv(x, [own("q", WIDTH), own("latent", LATENT), own("rotated", ROTATED)]);
            let mut attention = turned();
            (attention.shape.kv_heads, attention.shape.latent) = (1, Some(LATENT));
            let y = g.attention(qkv, attention);
            g.linear(y, plain("back", HEADS * LATENT, WIDTH))
        },
        // The same with all that is rotated in front, and with a copy of keys and values for each head that has some.
        |x| {
            let [q, latent, rotated] =
                [("q", WIDTH), ("latent", LATENT), ("rotated", ROTATED)].map(|(part, out)| layer(x, &full(part), out));
            let front = |head: &[f64]| [&head[LATENT..], &head[..LATENT]].concat();
            let q = q.iter().map(|row| row.chunks(HEAD_DIM).flat_map(front).collect()).collect();
            let pairs = || latent.iter().zip(&rotated);
            let k = pairs().map(|(latent, rotated)| [&rotated[..], latent].concat().repeat(KV_HEADS)).collect();
            let v = pairs().map(|(latent, rotated)| [&latent[..], rotated].concat().repeat(KV_HEADS)).collect();
            let y = attention([&q, &k, &v], &turned());
            let cut = |row: &Vec<f64>| row.chunks(HEAD_DIM).flat_map(|head| head[..LATENT].to_vec()).collect();
            layer(&y.iter().map(cut).collect(), &full("back"), WIDTH)
        },
    )
}

/// With the rotation of three pairs.
fn turned() -> Attention {
    let mut attention = usual(1);
    (attention.rope, attention.shape.rotary_pairs, attention.shape.rotation) = (2, ROTATED / 2, Rotation::Interleaved);
    attention
}
