//! Normalisation of each row, or of each head in a row.

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::names::Name;
use crate::graph::onnx::{Attribute, Node};
use crate::graph::stock::{Content, Form, Writer};
use crate::graph::{Value, Weight};
use crate::kernels::{self, NormKind};

/// `out = x / rms(x) * weight` (Zhang and Sennrich, 2019), or `(x - mean(x)) / deviation(x) * weight + bias` (Ba et al., 2016).
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    pub x: Value,
    /// How, and its epsilon.
    pub kind: kernels::Norm,
    /// Values that are normalised together: the whole row, or one head of it.
    pub width: usize,
    /// `[width]`, or `[heads, width]` if each head has its own; `None`: ones.
    pub weight: Option<Weight>,
    /// `[width]`, beside one weight for all heads; `None`: zeros.
    pub bias: Option<Weight>,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"Norm"), inputs: &[Type::F32], outputs: 1 };

impl Operation for Norm {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Value(self.x)]
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn weights(&self) -> Vec<&Weight> {
        self.weight.iter().chain(&self.bias).collect()
    }

    fn stock(&self, w: &mut Writer) -> Result<()> {
        let (x, out) = (w.name(self.x), w.name(self.out));
        if self.width == self.x.width {
            w.norm(x, self.kind, self.width, self.weight.as_ref(), self.bias.as_ref(), out);
            return Ok(());
        }
        let weights = [self.weight.as_ref(), self.bias.as_ref()];
        w.head_norm(x, self.kind, weights, self.x.width / self.width, self.width, &out);
        Ok(())
    }
}

impl Writer<'_> {
    /// The norm of the last axis of `x`, which is `width` wide.
    pub(super) fn norm(
        &mut self,
        x: String,
        norm: kernels::Norm,
        width: usize,
        weight: Option<&Weight>,
        bias: Option<&Weight>,
        out: String,
    ) {
        let weight = match weight {
            None => self.ones(width),
            Some(weight) => self.scale_of(norm, weight),
        };
        let bias = bias.map(|bias| self.weight(bias));
        // The norm by the root mean square takes no bias.
        let (kind, inner, outer) = match norm.kind {
            NormKind::Rms => ("SimplifiedLayerNormalization", None, bias),
            NormKind::Layer => ("LayerNormalization", bias, None),
        };
        let normed = if outer.is_some() { format!("{out}.unshifted") } else { out.clone() };
        let node = Node::new("", kind, [x, weight].into_iter().chain(inner).collect(), vec![normed.clone()])
            .with(Attribute::int("axis", -1))
            .with(Attribute::float("epsilon", norm.eps))
            .with(Attribute::int("stash_type", 1));
        self.push(node);
        if let Some(bias) = outer {
            self.push(Node::new("", "Add", vec![normed, bias], vec![out]));
        }
    }

    /// What `norm` multiplies by: its weight, with its offset.
    fn scale_of(&mut self, norm: kernels::Norm, weight: &Weight) -> String {
        if norm.offset == 0.0 {
            return self.weight(weight);
        }
        let name = format!("{} + {}", weight.name, norm.offset);
        let content = Content::Plus(weight.name.clone(), norm.offset.to_bits());
        self.external(&name, self.style.element, &weight.shape, content)
    }

    /// Norm of each head: `[.., heads * dim]` seen as `[.., heads, dim]`. The weight is `[dim]`, or, where there is
    /// no bias, may be `[heads, dim]`.
    pub(super) fn head_norm(
        &mut self,
        x: String,
        norm: kernels::Norm,
        [weight, bias]: [Option<&Weight>; 2],
        heads: usize,
        head_dim: usize,
        out: &str,
    ) {
        let part = |name: &str| format!("{out}.{name}");
        // A zero keeps the dimension that is there.
        let rows: &[i64] = if self.style.form == Form::File { &[0, 0] } else { &[0] };
        let split =
            self.constant(&format!("split.{heads}.{head_dim}"), &[rows, &[heads as i64, head_dim as i64]].concat());
        let join = self.constant(&format!("join.{}", heads * head_dim), &[rows, &[(heads * head_dim) as i64]].concat());
        self.push(Node::new("", "Reshape", vec![x, split], vec![part("heads")]));
        match weight.filter(|weight| weight.shape.len() > 1) {
            None => self.norm(part("heads"), norm, head_dim, weight, bias, part("normed")),
            // The operators multiply all heads by one weight.
            Some(weight) => {
                self.norm(part("heads"), norm, head_dim, None, None, part("plain"));
                let scale = self.scale_of(norm, weight);
                self.push(Node::new("", "Mul", vec![part("plain"), scale], vec![part("normed")]));
            }
        }
        self.push(Node::new("", "Reshape", vec![part("normed"), join], vec![out.to_owned()]));
    }
}
