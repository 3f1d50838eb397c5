//! The cases: what a model file would say, and the same in f64.

mod experts;
mod latents;
mod parts;
mod streams;

use super::reference::{Rows, activation, attention, both, each, gated, layer, linear, norm, sigmoid, tensor};
use super::{HEAD_DIM, HEADS, KV_HEADS, WIDTH, exact};
use crate::graph::{Attention, Builder, Linear, Temperature, Value, Weight};
use crate::kernels::{Activation, AttentionShape, Gate, Norm, Rotation, Window};
pub(super) use parts::parts;

type Build = dyn Fn(&mut Builder, Value) -> Value;

/// A small graph from `[tokens, WIDTH]` to the same, and what it gives.
pub(super) struct Case {
    pub name: String,
    pub build: Box<Build>,
    pub reference: Box<dyn Fn(&Rows) -> Rows>,
    /// What the error names if stock ONNX Runtime's operators cannot compute it.
    pub refused: Option<&'static str>,
}

fn case(
    name: impl Into<String>,
    build: impl Fn(&mut Builder, Value) -> Value + 'static,
    reference: impl Fn(&Rows) -> Rows + 'static,
) -> Case {
    Case { name: name.into(), build: Box::new(build), reference: Box::new(reference), refused: None }
}

impl Case {
    fn refused(self, what: &'static str) -> Self {
        Self { refused: Some(what), ..self }
    }
}

/// The full name of a tensor or module.
pub(super) fn full(part: &str) -> String {
    format!("model.layers.1.{part}")
}

fn weight(part: &str, shape: impl Into<Vec<usize>>) -> Weight {
    Weight::new(full(part), shape)
}

fn plain(part: &str, input: usize, out: usize) -> Linear {
    Linear::new(&full(part), input, out, false)
}

const INNER: usize = 48;
const ACTIVATIONS: [Activation; 6] = [
    Activation::Silu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Relu,
    Activation::Relu2,
    Activation::ClampedSwiglu { alpha: 1.702, limit: 0.75 },
];

/// Every case.
pub(super) fn all() -> Vec<Case> {
    let scale = case("scale", |g, x| g.scale(x, -0.375), |x| each(x, |x| -0.375 * x));
    let more = [vec![scale, columns()], streams::streams()];
    [elementwise(), norms(), attentions(), latents::latents(), experts::layers_of_experts(), parts()]
        .into_iter()
        .chain(more)
        .flatten()
        .collect()
}

fn elementwise() -> Vec<Case> {
    let alone =
        |kind| case(format!("{kind:?}"), move |g, x| g.activate(x, kind), move |x| each(x, |x| activation(kind, x)));
    let before_product = |kind| {
        case(
            format!("gated {kind:?}"),
            move |g, x| {
                let y = g.gated(x, plain("gate", WIDTH, INNER), plain("up", WIDTH, INNER), kind);
                g.linear(y, plain("down", INNER, WIDTH))
            },
            move |x| {
                let [gate, up] = ["gate", "up"].map(|part| layer(x, &full(part), INNER));
                layer(&both(&gate, &up, |gate, up| gated(kind, gate, up)), &full("down"), WIDTH)
            },
        )
    };
    let refuse = |case: Case| if case.name.contains("Clamped") { case.refused("clamped SwiGLU") } else { case };
    let activations = ACTIVATIONS.into_iter().flat_map(|kind| [alone(kind), before_product(kind)]).map(refuse);
    let others = [
        case(
            "add with a factor",
            |g, x| {
                let y = g.linear(x, plain("y", WIDTH, WIDTH));
                g.add(x, y, -1.75)
            },
            |x| both(x, &layer(x, &full("y"), WIDTH), |x, y| x - 1.75 * y),
        ),
        case(
            "parts of heads",
            |g, x| {
                let fused = g.linear(x, plain("parts", WIDTH, 2 * WIDTH));
                let parts = [HEAD_DIM / 2, HEAD_DIM / 2, HEAD_DIM];
                let [first, second] = g.split_in_two(fused, HEADS, &parts, 2, ["first", "second"]);
                g.add(first, second, 0.5)
            },
            |x| {
                let heads = |row: &Vec<f64>| {
                    let part = |from: usize, width: usize| {
                        row.chunks(2 * HEAD_DIM).flat_map(move |head| head[from..from + width].to_vec())
                    };
                    let half = HEAD_DIM / 2;
                    let first = part(0, half).chain(part(half, half));
                    first.zip(part(HEAD_DIM, HEAD_DIM)).map(|(a, b)| a + 0.5 * b).collect()
                };
                layer(x, &full("parts"), 2 * WIDTH).iter().map(heads).collect()
            },
        ),
        case(
            "gate of each value",
            |g, x| {
                let gates = g.linear(x, plain("gates", WIDTH, WIDTH));
                let once = g.multiply(x, gates, Gate::Sigmoid);
                let twice = g.multiply(once, gates, Gate::Silu);
                g.multiply(twice, gates, Gate::Plain)
            },
            |x| {
                let gates = layer(x, &full("gates"), WIDTH);
                both(x, &gates, |x, gate| x * sigmoid(gate) * gate * sigmoid(gate) * gate)
            },
        ),
        case(
            "queries, keys and values head by head",
            |g, x| {
                let fused = g.linear(x, plain("fused", WIDTH, 3 * WIDTH));
                let [query, key, value] = g.split_heads(fused, HEADS);
                let sum = g.add(query, key, -2.0);
                g.add(sum, value, 0.5)
            },
            |x| {
                let heads = |row: &Vec<f64>| {
                    let head = |h: &[f64]| -> Vec<f64> {
                        let parts = h[..HEAD_DIM].iter().zip(&h[HEAD_DIM..]).zip(&h[2 * HEAD_DIM..]);
                        parts.map(|((q, k), v)| q - 2.0 * k + 0.5 * v).collect()
                    };
                    row.chunks(3 * HEAD_DIM).flat_map(head).collect()
                };
                layer(x, &full("fused"), 3 * WIDTH).iter().map(heads).collect()
            },
        ),
        case(
            "gate of each row",
            |g, x| {
                let gate = g.linear(x, exact(&full("gate"), 1));
                g.sigmoid_gate(x, gate)
            },
            |x| {
                let gates = layer(x, &full("gate"), 1);
                x.iter().zip(&gates).map(|(x, gate)| x.iter().map(|x| x * sigmoid(gate[0])).collect()).collect()
            },
        ),
        case("soft cap", |g, x| g.soft_cap(x, 0.5), |x| each(x, |x| 0.5 * (x / 0.5).tanh())),
        case(
            "linear with bias onto the residual stream",
            |g, x| g.linear_onto(x, x, Linear::new(&full("y"), WIDTH, WIDTH, true)),
            |x| {
                let (weight, bias) = (tensor(&full("y.weight"), WIDTH * WIDTH), tensor(&full("y.bias"), WIDTH));
                both(x, &linear(x, &weight, Some(&bias)), |x, y| x + y)
            },
        ),
    ];
    activations.chain(others).collect()
}

fn columns() -> Case {
    case(
        "scale columns",
        |g, x| g.scale_parts(x, vec![(WIDTH - 7, -0.375), (7, 2.0)]),
        |x| {
            let factor = |column| if column < WIDTH - 7 { -0.375 } else { 2.0 };
            x.iter().map(|row| row.iter().enumerate().map(|(column, x)| factor(column) * x).collect()).collect()
        },
    )
    .refused("a factor for each column")
}

fn norms() -> Vec<Case> {
    let row = |name: &str, kind: Norm, weighted: bool, biased: bool| {
        case(
            name,
            move |g, x| {
                let vector = |part: &str| weight(part, [WIDTH]);
                g.norm(x, kind, weighted.then(|| vector("norm.weight")), biased.then(|| vector("norm.bias")))
            },
            move |x| {
                let [scale, shift] = ["norm.weight", "norm.bias"].map(|part| tensor(&full(part), WIDTH));
                norm(x, kind, WIDTH, weighted.then_some(&scale), biased.then_some(&shift))
            },
        )
    };
    let heads = |name: &str, kind: Norm, weighted: bool| {
        case(
            name,
            move |g, x| {
                // Two of one value, since a model may normalise it for two ends.
                let twice = [0, 1].map(|_| {
                    let scale = weighted.then(|| weight("head.weight", [HEAD_DIM]));
                    g.head_norm(x, kind, scale, None, HEAD_DIM)
                });
                g.add(twice[0], twice[1], 0.5)
            },
            move |x| {
                let scale = tensor(&full("head.weight"), HEAD_DIM);
                each(&norm(x, kind, HEAD_DIM, weighted.then_some(&scale), None), |x| 1.5 * x)
            },
        )
    };
    let biased_heads = case(
        "layer norm of heads with bias",
        |g, x| {
            let [scale, shift] = ["head.weight", "head.bias"].map(|part| Some(weight(part, [HEAD_DIM])));
            g.head_norm(x, Norm::layer(1e-5), scale, shift, HEAD_DIM)
        },
        |x| {
            let [scale, shift] = ["head.weight", "head.bias"].map(|part| tensor(&full(part), HEAD_DIM));
            norm(x, Norm::layer(1e-5), HEAD_DIM, Some(&scale), Some(&shift))
        },
    );
    let own_weights = |name: &str, kind: Norm| {
        case(
            name,
            move |g, x| {
                let scales = weight("heads.weight", [HEADS, HEAD_DIM]).exact();
                g.head_norm(x, kind, Some(scales), None, HEAD_DIM)
            },
            move |x| {
                let scales = tensor(&full("heads.weight"), WIDTH);
                let scaled =
                    |row: &Vec<f64>| row.iter().zip(&scales).map(|(x, w)| x * (w + f64::from(kind.offset))).collect();
                norm(x, Norm { offset: 0.0, ..kind }, HEAD_DIM, None, None).iter().map(scaled).collect()
            },
        )
    };
    let two_widths = case(
        "norms of as many narrower heads beside wider ones",
        |g, x| {
            let narrow = g.linear(x, plain("narrow", WIDTH, WIDTH / 2));
            let narrow = g.head_norm(narrow, Norm::rms(1e-5), None, None, HEAD_DIM / 2);
            let wide = g.head_norm(x, Norm::rms(1e-5), None, None, HEAD_DIM);
            g.linear_onto(wide, narrow, plain("wide", WIDTH / 2, WIDTH))
        },
        |x| {
            let narrow = norm(&layer(x, &full("narrow"), WIDTH / 2), Norm::rms(1e-5), HEAD_DIM / 2, None, None);
            let wide = norm(x, Norm::rms(1e-5), HEAD_DIM, None, None);
            both(&wide, &layer(&narrow, &full("wide"), WIDTH), |a, b| a + b)
        },
    );
    let (rms, layer) = (Norm::rms(1e-5), Norm::layer(1e-5));
    let off = |kind: Norm| Norm { offset: 1.0, ..kind };
    vec![
        row("norm", rms, true, false),
        row("norm with an offset", off(rms), true, false),
        row("norm without weight", rms, false, false),
        row("norm with bias", rms, true, true),
        row("layer norm", layer, true, false),
        row("layer norm with bias", layer, true, true),
        row("layer norm with bias and offset", off(layer), true, true),
        row("layer norm with bias alone", layer, false, true),
        row("layer norm without either", layer, false, false),
        heads("norm of heads", rms, true),
        heads("norm of heads with an offset", off(rms), true),
        heads("norm of heads without weight", rms, false),
        heads("layer norm of heads", layer, true),
        biased_heads,
        own_weights("norm of heads with a weight for each", rms),
        own_weights("layer norm of heads with a weight for each and an offset", off(layer)),
        two_widths,
    ]
}

/// The attention that most models have, the `at`th of the shard.
pub(super) fn usual(at: usize) -> Attention {
    let shape = AttentionShape {
        heads: HEADS,
        kv_heads: KV_HEADS,
        head_dim: HEAD_DIM,
        rotary_pairs: HEAD_DIM / 2,
        rotation: Rotation::Halves,
        latent: None,
        scale: 0.25,
        window: None,
        soft_cap: None,
        head_norm: None,
        norm_after_rotation: false,
    };
    let (query_norm, key_norm, sinks, temperature) = (None, None, None, None);
    Attention { layer: 1 + at, shape, rope: 0, border: None, query_norm, key_norm, sinks, temperature }
}

/// One attention after the other, each with projections of its own.
fn attending<const N: usize>(name: &str, change: impl Fn(usize, &mut Attention) + Copy + 'static) -> Case {
    let of = move |at: usize| {
        let mut attention = usual(1 + at);
        change(at, &mut attention);
        attention
    };
    let widths = [("q", WIDTH), ("k", KV_HEADS * HEAD_DIM), ("v", KV_HEADS * HEAD_DIM)];
    case(
        name,
        move |g, mut x| {
            for at in 0..N {
                let qkv = g.qkv(x, widths.map(|(part, out)| plain(&format!("{part}{at}"), WIDTH, out)));
                x = g.attention(qkv, of(at));
            }
            x
        },
        move |x| {
            let mut x = x.clone();
            for at in 0..N {
                let [q, k, v] = widths.map(|(part, out)| layer(&x, &full(&format!("{part}{at}")), out));
                x = attention([&q, &k, &v], &of(at));
            }
            x
        },
    )
}

fn attentions() -> Vec<Case> {
    let head_norms = |a: &mut Attention, kind: Norm| {
        a.shape.head_norm = Some(kind);
        a.query_norm = Some(weight("q_norm.weight", [HEAD_DIM]));
        a.key_norm = Some(weight("k_norm.weight", [HEAD_DIM]));
    };
    vec![
        attending::<1>("attention", |_, _| {}),
        attending::<1>("window", |_, a| a.shape.window = Some(Window::Sliding(3))),
        attending::<1>("chunks", |_, a| a.shape.window = Some(Window::Chunked(3))).refused("in chunks of a text"),
        attending::<1>("scores with a soft cap", |_, a| a.shape.soft_cap = Some(0.75)),
        attending::<1>("norms of queries and keys", move |_, a| head_norms(a, Norm::rms(1e-5))),
        attending::<1>("their offset", move |_, a| head_norms(a, Norm { offset: 1.0, ..Norm::rms(1e-5) })),
        attending::<1>("norms without weight", |_, a| a.shape.head_norm = Some(Norm::rms(1e-5))),
        attending::<1>("norms after the rotation", move |_, a| {
            head_norms(a, Norm::rms(1e-5));
            a.shape.norm_after_rotation = true;
        })
        .refused("norms after the rotation"),
        attending::<2>("two rotations", |at, a| a.rope = at),
        attending::<1>("interleaved rotation", |_, a| a.shape.rotation = Rotation::Interleaved),
        attending::<1>("partial rotation", |_, a| (a.rope, a.shape.rotary_pairs) = (2, 3)).refused("no multiple of 16"),
        attending::<1>("partial interleaved rotation", |_, a| {
            (a.rope, a.shape.rotary_pairs, a.shape.rotation) = (2, 3, Rotation::Interleaved);
        })
        .refused("no multiple of 16"),
        attending::<2>("no rotation beside one", |at, a| {
            if at == 1 {
                a.shape.rotary_pairs = 0;
            }
        }),
        attending::<1>("sinks", |_, a| a.sinks = Some(weight("sinks", [HEADS]))).refused("sinks"),
        attending::<1>("temperature", |_, a| {
            a.temperature = Some(Temperature { beta: 0.5, period: 2.0, shift: 1.0 });
        })
        .refused("temperature"),
        shared("keys and values of another layer", |_| {}),
        shared("keys and values of another layer in a window, with norms", move |a| {
            head_norms(a, Norm::rms(1e-5));
            a.shape.window = Some(Window::Sliding(3));
        }),
        attending::<2>("all of it", move |at, a| {
            head_norms(a, Norm::layer(1e-5));
            (a.shape.window, a.shape.soft_cap, a.shape.scale) = (Some(Window::Sliding(2 + at)), Some(0.75), 0.5);
            (a.shape.rotation, a.rope) = (Rotation::Interleaved, 1);
            a.sinks = Some(weight("sinks", [HEADS]));
            a.temperature = Some(Temperature { beta: 0.25, period: 3.0, shift: 0.0 });
        })
        .refused("sinks"),
    ]
}

/// The second reads the keys and values of the first.
fn shared(name: &str, change: impl Fn(&mut Attention) + Copy + 'static) -> Case {
    let of = move |at: usize| {
        let mut attention = usual(1 + at);
        change(&mut attention);
        attention
    };
    let widths = [("q", WIDTH), ("k", KV_HEADS * HEAD_DIM), ("v", KV_HEADS * HEAD_DIM)];
    case(
        name,
        move |g, x| {
            let qkv = g.qkv(x, widths.map(|(part, out)| plain(part, WIDTH, out)));
            let x = g.attention(qkv, of(0));
            let queries = g.linear(x, plain("others", WIDTH, WIDTH));
            g.attention_to(queries, of(0).layer, Attention { key_norm: None, ..of(1) })
        },
        move |x| {
            let [q, k, v] = widths.map(|(part, out)| layer(x, &full(part), out));
            let x = attention([&q, &k, &v], &of(0));
            attention([&layer(&x, &full("others"), WIDTH), &k, &v], &of(1))
        },
    )
    .refused("keys and values of an earlier layer")
}
