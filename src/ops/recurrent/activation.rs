//! The functions that gates of recurrent layers are made of, by the names that ONNX gives them there.

use crate::ops::function::{self, Function};
use crate::ops::number::Real;

/// `f32` or `f64`, in which every operator of one number is defined.
pub trait Scalar: Real {
    fn value(function: &Function, x: Self, parameters: [f32; 2]) -> Self;
    fn tanh(self) -> Self;
}

impl Scalar for f32 {
    fn value(function: &Function, x: Self, parameters: [f32; 2]) -> Self {
        function.value(x, parameters)
    }

    fn tanh(self) -> Self {
        libm::tanhf(self)
    }
}

impl Scalar for f64 {
    fn value(function: &Function, x: Self, parameters: [f32; 2]) -> Self {
        function.wide_value(x, parameters)
    }

    fn tanh(self) -> Self {
        libm::tanh(self)
    }
}

/// A parameter of a function.
#[derive(Clone, Copy, PartialEq)]
enum Parameter {
    None,
    Required,
    Default(f32),
}

/// A function, without its parameters.
#[derive(Clone, Copy, PartialEq)]
pub struct Named {
    pub name: &'static str,
    /// `alpha` and `beta`.
    parameters: [Parameter; 2],
}

const fn named(name: &'static str, alpha: Parameter, beta: Parameter) -> Named {
    Named { name, parameters: [alpha, beta] }
}

const NAMED: [Named; 11] = [
    named("Affine", Parameter::Required, Parameter::Required),
    named("Elu", Parameter::Default(1.0), Parameter::None),
    named("HardSigmoid", Parameter::Default(0.2), Parameter::Default(0.5)),
    named("LeakyRelu", Parameter::Default(0.01), Parameter::None),
    named("Relu", Parameter::None, Parameter::None),
    named("ScaledTanh", Parameter::Required, Parameter::Required),
    named("Sigmoid", Parameter::None, Parameter::None),
    named("Softplus", Parameter::None, Parameter::None),
    named("Softsign", Parameter::None, Parameter::None),
    named("Tanh", Parameter::None, Parameter::None),
    named("ThresholdedRelu", Parameter::Default(1.0), Parameter::None),
];

/// A function with its `alpha` and `beta`; 0 where it has none.
#[derive(Clone, Copy)]
pub struct Activation {
    pub named: Named,
    pub parameters: [f32; 2],
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    Affine,
    Relu,
    ScaledTanh,
    ThresholdedRelu,
    /// That of an operator.
    Operator(&'static Function),
}

impl PartialEq for Activation {
    fn eq(&self, other: &Self) -> bool {
        (self.named, self.parameters) == (other.named, other.parameters)
    }
}

impl Named {
    /// The function of that name, in small or large letters.
    pub fn of(name: &str) -> Option<Self> {
        NAMED.into_iter().find(|named| named.name.eq_ignore_ascii_case(name))
    }

    /// Whether it takes `alpha`, and `beta`.
    pub fn takes(&self) -> [bool; 2] {
        self.parameters.map(|parameter| parameter != Parameter::None)
    }
}

impl Activation {
    fn new(named: Named, parameters: [f32; 2]) -> Option<Self> {
        let form = match named.name {
            "Affine" => Form::Affine,
            "Relu" => Form::Relu,
            "ScaledTanh" => Form::ScaledTanh,
            "ThresholdedRelu" => Form::ThresholdedRelu,
            name => Form::Operator(function::of_onnx(name)?),
        };
        Some(Self { named, parameters, form })
    }

    pub fn apply<T: Scalar>(&self, x: T) -> T {
        let [alpha, beta] = self.parameters.map(T::from);
        let zero = T::default();
        let y = match self.form {
            Form::Affine => alpha * x + beta,
            Form::Relu if x < zero => zero,
            Form::Relu => x,
            Form::ScaledTanh => alpha * (beta * x).tanh(),
            // Not the operator, which is 0 at the threshold itself.
            Form::ThresholdedRelu if x < alpha => zero,
            Form::ThresholdedRelu => x,
            Form::Operator(function) => T::value(function, x, self.parameters),
        };
        y.canonical()
    }
}

/// The functions of these names, which take `alphas` and `betas` in their order: each that has a
/// parameter the next entry, or its default where there are no more.
///
/// # Errors
/// What is wrong, in words.
pub fn functions(names: &[&str], alphas: &[f32], betas: &[f32]) -> Result<Vec<Activation>, String> {
    let lists = [alphas, betas];
    let mut next = [0; 2];
    let mut functions = Vec::new();
    for &name in names {
        let unknown = || {
            let known: Vec<&str> = NAMED.iter().map(|named| named.name).collect();
            format!("`{name}` is no function of a gate: those are {}", known.join(", "))
        };
        let named = Named::of(name).ok_or_else(unknown)?;
        let mut parameters = [0.0; 2];
        for (at, parameter) in named.parameters.into_iter().enumerate() {
            let default = match parameter {
                Parameter::None => continue,
                Parameter::Required => None,
                Parameter::Default(value) => Some(value),
            };
            let given = lists[at].get(next[at]).copied();
            next[at] += 1;
            let value = given.or(default).filter(|value| !value.is_nan());
            let word = ["an alpha", "a beta"][at];
            parameters[at] = value.ok_or_else(|| format!("{name} needs {word}"))?;
        }
        functions.push(Activation::new(named, parameters).ok_or_else(unknown)?);
    }
    for (at, word) in ["alpha", "beta"].into_iter().enumerate() {
        let (found, taken) = (lists[at].len(), next[at]);
        if found > taken {
            return Err(format!("there are {found} entries of {word}, and functions take {taken}"));
        }
    }
    Ok(functions)
}

/// The entries of `alpha` (0) or `beta` (1) that functions of these names take, where a writer gave every function
/// one: the list itself, unless both readings of it say the same.
pub fn taken(names: &[&str], at: usize, list: &[f32]) -> Vec<f32> {
    let takes = |name: &str| Named::of(name).is_some_and(|named| named.takes()[at]);
    let own = list.iter().zip(names).filter(|(_, name)| takes(name));
    let own: Vec<f32> = own.map(|(value, _)| *value).collect();
    if list.len() == names.len() && list.starts_with(&own) { own } else { list.to_vec() }
}
