//! Long networks of the shapes that matter to rewriting, at any length. A layer is an operator that
//! ends as one layer on the device: convolutions come with a batch normalization, most of them
//! with an activation.

use qirc::diag::Loc;
use qirc::ir::{Attrs, Graph, ValueId};
use qirc::ops::{Builder, Registry};
use qirc::tensor::{DType, Tensor, TensorType};

/// A network of about so many layers.
pub type Make = fn(&Registry, usize) -> Graph;

pub const NETWORKS: [(&str, Make); 4] =
    [("residual", residual), ("mobilenet", mobilenet), ("unet", unet), ("densenet", densenet)];

const CHANNELS: usize = 4;

struct Net<'a> {
    builder: Builder<'a>,
    count: usize,
}

impl Net<'_> {
    fn constant(&mut self, name: &str, sizes: &[usize], positive: bool) -> ValueId {
        self.count += 1;
        let number = |at: usize| ((at * 7 + self.count * 13) % 64) as f32 / 64.0;
        let elements = (0..sizes.iter().product()).map(|at| number(at) - if positive { -0.25 } else { 0.5 });
        let tensor = Tensor::new(sizes, elements.collect::<Vec<f32>>());
        let name = format!("{name}{}", self.count);
        self.builder.graph.add_const(&name, tensor.expect("as many elements"), Loc::unknown())
    }

    fn op(&mut self, op: &str, attrs: Attrs, operands: &[ValueId]) -> ValueId {
        self.count += 1;
        let name = format!("{op}{}", self.count);
        self.builder.op(op, attrs, operands, &name).expect("a well-typed network")
    }

    /// A convolution and its batch normalization.
    fn conv(&mut self, x: ValueId, kernel: [usize; 4], attrs: Attrs) -> ValueId {
        let w = self.constant("w", &kernel, false);
        let conv = self.op("conv2d", attrs, &[x, w]);
        let [gamma, beta, mean, var] = ["gamma", "beta", "mean", "var"]
            .map(|name| self.constant(name, &kernel[..1], name == "gamma" || name == "var"));
        self.op("batch_norm", Attrs::new(), &[conv, gamma, beta, mean, var])
    }

    fn pointwise(&mut self, x: ValueId, channels: usize) -> ValueId {
        self.conv(x, [CHANNELS, channels, 1, 1], Attrs::new())
    }

    fn relu(&mut self, x: ValueId) -> ValueId {
        self.op("relu", Attrs::new(), &[x])
    }

    fn clip(&mut self, x: ValueId) -> ValueId {
        self.op("clip", Attrs::new().with("min", 0.0).with("max", 6.0), &[x])
    }

    fn layer(&mut self, x: ValueId, channels: usize) -> ValueId {
        let y = self.pointwise(x, channels);
        self.relu(y)
    }
}

fn network(registry: &Registry, body: impl FnOnce(&mut Net, ValueId) -> ValueId) -> Graph {
    let mut graph = Graph::new("long");
    let ty = TensorType::new(DType::F32, qirc::tensor::Shape::fixed(&[1, CHANNELS, 6, 6]));
    let x = graph.add_input("x", ty, Loc::unknown());
    let mut net = Net { builder: Builder { graph: &mut graph, registry, loc: Loc::unknown() }, count: 0 };
    let y = body(&mut net, x);
    graph.add_output("y", y);
    graph
}

/// Blocks of two convolutions with a shortcut each.
fn residual(registry: &Registry, layers: usize) -> Graph {
    network(registry, |net, mut x| {
        for _ in 0..layers / 3 {
            let a = net.layer(x, CHANNELS);
            let b = net.pointwise(a, CHANNELS);
            let sum = net.op("add", Attrs::new(), &[b, x]);
            x = net.relu(sum);
        }
        x
    })
}

/// Blocks of a convolution, a depthwise one, a convolution and a shortcut.
fn mobilenet(registry: &Registry, layers: usize) -> Graph {
    let depthwise = || Attrs::new().with("group", CHANNELS as i64).with("pads", vec![1, 1, 1, 1]);
    network(registry, |net, mut x| {
        for _ in 0..layers / 4 {
            let a = net.pointwise(x, CHANNELS);
            let a = net.clip(a);
            let b = net.conv(a, [CHANNELS, 1, 3, 3], depthwise());
            let b = net.clip(b);
            let c = net.pointwise(b, CHANNELS);
            x = net.op("add", Attrs::new(), &[c, x]);
        }
        x
    })
}

/// A way down, and a way back on which each layer reads the one of the same height as well: what
/// is below a layer is read again further on, from the first layer to the last.
fn unet(registry: &Registry, layers: usize) -> Graph {
    network(registry, |net, x| {
        let mut down = vec![x];
        for _ in 0..layers / 3 {
            let next = net.layer(*down.last().unwrap_or(&x), CHANNELS);
            down.push(next);
        }
        let mut last = down.pop().unwrap_or(x);
        while let Some(beside) = down.pop() {
            let both = net.op("concat", Attrs::new().with("axis", 1), &[last, beside]);
            last = net.layer(both, 2 * CHANNELS);
        }
        last
    })
}

/// Every layer reads the sum of all before it, and the last reads the first as well.
fn densenet(registry: &Registry, layers: usize) -> Graph {
    network(registry, |net, x| {
        let first = net.layer(x, CHANNELS);
        let mut sum = first;
        for _ in 0..layers / 2 {
            let next = net.layer(sum, CHANNELS);
            sum = net.op("add", Attrs::new(), &[sum, next]);
        }
        net.op("add", Attrs::new(), &[sum, first])
    })
}
