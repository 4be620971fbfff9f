//! What the command line accepts.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::tensor::DType;

/// A declarative compiler from float neural networks to integer ones.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Quantize a network: ONNX or .qir in, quantized ONNX (and .qir, ranges, report) out.
    Compile(CompileArgs),
    /// Turn a model into .qir text, with its constants beside it.
    Import(ImportArgs),
    /// Run a model on .npy inputs with the interpreter.
    Run(RunArgs),
    /// Say how long a network takes in the interpreter, layer by layer.
    Bench(BenchArgs),
    /// Prepare a network as compile does and write the ranges of its values.
    Calibrate(CalibrateArgs),
    /// Run a pipeline of passes on a model.
    Opt(OptArgs),
    /// Say why a network is quantized as it is: what each operator became, and why some stay float.
    Explain(ExplainArgs),
    /// Verify a model; of a quantized one, also the bounds of its accumulators.
    Check(CheckArgs),
    /// Lay out .qir and .qrules files.
    Fmt(FmtArgs),
    /// Run golden files: `.qir` and `.qrules` files that say what qirc must make of them.
    Test(TestArgs),
    /// Test rule files, or show what is in them.
    #[command(subcommand)]
    Rules(RulesCommand),
}

impl Command {
    pub fn threads(&self) -> Option<NonZeroUsize> {
        match self {
            Command::Compile(args) => args.prepare.threads,
            Command::Calibrate(args) => args.prepare.threads,
            Command::Explain(args) => args.prepare.threads,
            Command::Rules(RulesCommand::Explain(args)) => args.prepare.threads,
            Command::Run(args) => args.threads,
            Command::Bench(args) => args.threads,
            Command::Opt(args) => args.threads,
            Command::Rules(RulesCommand::Check(args)) => args.threads,
            Command::Rules(RulesCommand::List(_))
            | Command::Import(_)
            | Command::Check(_)
            | Command::Fmt(_)
            | Command::Test(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scheme {
    /// Hardware layers of BrainChip Akida, int8.
    Akida,
    /// Layers of QuantizeML on fixed-point numbers, of any bits.
    FixedPoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InputDType {
    Uint8,
    Int8,
}

impl From<InputDType> for DType {
    fn from(dtype: InputDType) -> Self {
        match dtype {
            InputDType::Uint8 => DType::U8,
            InputDType::Int8 => DType::I8,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    Onnx,
    Qir,
    Ranges,
    Config,
    Report,
}

/// A network, and what its file leaves open.
#[derive(Args)]
pub struct ModelArgs {
    /// The network: .onnx, .qir, or of Keras .keras, .h5, .hdf5 or .json.
    pub model: PathBuf,
    /// Shape of an input whose sizes the model leaves open.
    #[arg(long, value_name = "NAME=1,3,224,224", value_parser = input_shape)]
    pub input_shape: Vec<(String, Vec<usize>)>,
    /// Rule files of your own: the network may have the layers that they declare, and where it is
    /// rewritten their rules apply, custom patterns before the built-in ones.
    #[arg(long, value_name = "FILE.qrules")]
    pub rules: Vec<PathBuf>,
}

/// How a network is prepared, observed and quantized.
#[derive(Args)]
pub struct PrepareArgs {
    #[arg(long, value_enum, default_value = "akida")]
    pub scheme: Scheme,
    /// Calibration samples, stacked along the first axis (.npy, or the arrays of an .npz).
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub samples: Vec<PathBuf>,
    /// Use so many samples; without --samples, draw so many random ones [default: all; 1024].
    #[arg(long, value_name = "N")]
    pub num_samples: Option<NonZeroUsize>,
    /// Samples run at once. Of the scheme fixed-point, ranges are moving averages over such batches; no other
    /// result depends on it.
    #[arg(long, value_name = "N", default_value = "1")]
    pub batch_size: NonZeroUsize,
    /// Seed of random samples.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// One range per tensor instead of one per channel.
    #[arg(long)]
    pub per_tensor_activations: bool,
    /// Storage of the quantized input.
    #[arg(long, value_enum, default_value = "uint8")]
    pub input_dtype: InputDType,
    /// Quantize the outputs, too, where the network is quantized to its end.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=32))]
    pub last_output_bits: Option<u32>,
    #[command(flatten)]
    pub numbers: NumberArgs,
    /// Quantize the layer that makes this value, and nothing behind it.
    #[arg(long, value_name = "VALUE")]
    pub quantize_until: Option<String>,
    /// A named pipeline, or passes separated by commas [default: that of the scheme].
    #[arg(long, value_name = "NAME|TEXT")]
    pub pipeline: Option<String>,
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
}

impl PrepareArgs {
    /// The name or text of the pipeline.
    pub fn pipeline(&self) -> &str {
        match (&self.pipeline, self.scheme) {
            (Some(pipeline), _) => pipeline,
            (None, Scheme::Akida) => "akida",
            (None, Scheme::FixedPoint) => "fixed-point",
        }
    }
}

/// Numbers of bits and of calibration: those of the scheme akida are fixed.
#[derive(Args)]
pub struct NumberArgs {
    /// Bits of weights [default: 8].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=16))]
    pub weight_bits: Option<u32>,
    /// Bits of weights up to the first layer that has some [default: --weight-bits].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=16))]
    pub input_weight_bits: Option<u32>,
    /// Bits of the outputs of activations [default: 8].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub activation_bits: Option<u32>,
    /// Bits of the outputs of other layers [default: 8].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=16))]
    pub output_bits: Option<u32>,
    /// Bits of the integers that the scales of outputs become [default: 8; 16 for --last-output-bits from 16 on].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=16))]
    pub scale_bits: Option<u32>,
    /// Bits of the buffers in which layers compute [default: 32].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8..=62))]
    pub buffer_bits: Option<u32>,
    /// How often calibration goes over the samples [default: 1].
    #[arg(long, value_name = "N")]
    pub epochs: Option<NonZeroUsize>,
    /// The share of the old ranges that a batch leaves [default: 0.9].
    #[arg(long, value_name = "X")]
    pub momentum: Option<f64>,
    /// What layers are quantized with, as QuantizeML writes it.
    #[arg(long, value_name = "FILE.json")]
    pub config: Option<PathBuf>,
}

#[derive(Args)]
pub struct RangesArg {
    /// Ranges of the values, instead of samples.
    #[arg(id = "ranges", long, value_name = "FILE.json", conflicts_with_all = ["samples", "num_samples", "seed"])]
    pub file: Option<PathBuf>,
}

#[derive(Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub prepare: PrepareArgs,
    #[command(flatten)]
    pub ranges: RangesArg,
    /// Follow this value of the network, or of the result: where it comes from, what became of it, and
    /// where its scale comes from.
    #[arg(long, value_name = "VALUE")]
    pub value: Option<String>,
}

#[derive(Args)]
pub struct RulesExplainArgs {
    #[arg(value_name = "FILE.qrules")]
    pub file: PathBuf,
    /// The network: .onnx, .qir, or of Keras .keras, .h5, .hdf5 or .json.
    #[arg(long, value_name = "MODEL")]
    pub on: PathBuf,
    /// Shape of an input whose sizes the model leaves open.
    #[arg(long, value_name = "NAME=1,3,224,224", value_parser = input_shape)]
    pub input_shape: Vec<(String, Vec<usize>)>,
    /// Rule files that apply besides, or declare layers that the network has.
    #[arg(long, value_name = "FILE.qrules")]
    pub rules: Vec<PathBuf>,
    #[command(flatten)]
    pub prepare: PrepareArgs,
    #[command(flatten)]
    pub ranges: RangesArg,
}

#[derive(Args)]
pub struct CompileArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub prepare: PrepareArgs,
    /// The quantized model; other emissions are written beside it [default: MODEL.q.onnx in this folder].
    #[arg(short, long, value_name = "OUT.onnx", value_parser = called(&["onnx"]))]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub ranges: RangesArg,
    /// What to write.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "onnx")]
    pub emit: Vec<Emit>,
    /// What the device's tools would not take is an error, and nothing is written.
    #[arg(long)]
    pub strict: bool,
    /// Print how long each pass took.
    #[arg(long)]
    pub timing: bool,
}

#[derive(Args)]
pub struct ImportArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[arg(short, long, value_name = "MODEL.qir", value_parser = called(&["qir"]))]
    pub output: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArithmeticArg {
    /// Integers, as the device computes.
    Exact,
    /// The reference's float32 evaluation of rescales.
    F32,
}

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The tensor of an input.
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = named_file, num_args = 1..)]
    pub input: Vec<(String, PathBuf)>,
    /// Where the outputs go, one .npy each, and values.json.
    #[arg(long, value_name = "DIR")]
    pub output_dir: PathBuf,
    /// Write every value, not only the outputs.
    #[arg(long)]
    pub all_values: bool,
    #[arg(long, value_enum, default_value = "exact")]
    pub arithmetic: ArithmeticArg,
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
}

#[derive(Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The tensor of an input.
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = named_file, num_args = 1..)]
    pub input: Vec<(String, PathBuf)>,
    /// Run so many times, after one that warms up.
    #[arg(long, value_name = "N", default_value = "20")]
    pub repeat: NonZeroUsize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
}

#[derive(Args)]
pub struct CalibrateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub prepare: PrepareArgs,
    #[arg(short, long, value_name = "ranges.json", value_parser = called(&["json"]))]
    pub output: PathBuf,
}

#[derive(Args)]
pub struct OptArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// A named pipeline, or passes separated by commas.
    #[arg(short, long, value_name = "PIPELINE")]
    pub pipeline: String,
    /// Print the graph after every pass, after those that changed it, or after one.
    #[arg(long, value_name = "all|change|PASS")]
    pub print_after: Option<String>,
    /// Print how long each pass took.
    #[arg(long)]
    pub timing: bool,
    /// The result, as text or as ONNX; without it, the text is printed.
    #[arg(short, long, value_name = "OUT.qir|OUT.onnx", value_parser = called(&["qir", "onnx"]))]
    pub output: Option<PathBuf>,
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
}

#[derive(Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// What the device's tools would not take is an error.
    #[arg(long)]
    pub strict: bool,
}

#[derive(Args)]
pub struct FmtArgs {
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Change nothing; fail if a file is not laid out.
    #[arg(long)]
    pub check: bool,
}

#[derive(Args)]
pub struct TestArgs {
    /// Directories with golden files, or golden files.
    #[arg(required = true, value_name = "DIR")]
    pub paths: Vec<PathBuf>,
    /// Write what is printed now into the files as what they expect.
    #[arg(long)]
    pub bless: bool,
}

/// More threads than this help on no machine, and systems fail to start them.
const MOST_THREADS: usize = 1024;

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let threads = text.parse().ok().filter(|threads: &NonZeroUsize| threads.get() <= MOST_THREADS);
    threads.ok_or_else(|| format!("expected 1 to {MOST_THREADS}"))
}

fn instances(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&instances: &usize| instances > 0)
        .ok_or_else(|| "expected 1 or more".to_owned())
}

/// A path of an output, with an extension that says what will be in it.
fn called(extensions: &'static [&'static str]) -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(move |path| {
        if path.extension().is_some_and(|found| extensions.iter().any(|extension| found == *extension)) {
            Ok(path)
        } else {
            Err(format!("the file that is written is called .{}", extensions.join(" or .")))
        }
    })
}

#[derive(Subcommand)]
pub enum RulesCommand {
    /// Test every rule against the contract of its set, on generated instances.
    Check(RulesCheckArgs),
    /// List the sets and rules of files.
    List(RulesListArgs),
    /// Show where rules fire on a model or nearly do, and what is in the way.
    Explain(Box<RulesExplainArgs>),
}

#[derive(Args)]
pub struct RulesCheckArgs {
    #[arg(required = true, value_name = "FILE.qrules")]
    pub files: Vec<PathBuf>,
    /// Only the rules of this name.
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
    /// Instances of each rule; where they are small, more of them are tested.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = instances)]
    pub instances: usize,
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Also write each counter-example, as RULESET.RULE.qir.
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
}

#[derive(Args)]
pub struct RulesListArgs {
    #[arg(required = true, value_name = "FILE.qrules")]
    pub files: Vec<PathBuf>,
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("expected NAME=FILE.npy")?;
    Ok((name.to_owned(), file.into()))
}

fn input_shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let (name, sizes) = text.rsplit_once('=').ok_or("expected NAME=1,3,224,224")?;
    let sizes = sizes.split(',').map(|size| size.trim().parse().map_err(|_| format!("`{size}` is no size")));
    Ok((name.to_owned(), sizes.collect::<Result<_, String>>()?))
}
