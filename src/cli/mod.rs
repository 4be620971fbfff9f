//! The command line: arguments, progress, exit codes.
//!
//! Exit codes: 0 done; 1 the input is at fault; 2 wrong usage; 3 a bug in qirc.

mod args;
mod bench;
mod commands;
mod explain;
mod files;
mod golden;
mod options;
mod rules;
mod session;
mod values;

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::Parser;

use crate::diag::{Diagnostic, Diagnostics, printable};
use crate::kernels::{self, Isa};
use args::{Cli, Command, RulesCommand};
use files::io_fault;
use session::{End, Session, complain};

/// Runs the program on the arguments of the process.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        complain(&format!("qirc has a bug, please report it with the command line: {panic}\n"));
    }));
    kernels::keep_freed();
    // Files that were begun are removed on the way out.
    std::panic::catch_unwind(run).unwrap_or(ExitCode::from(3))
}

fn run() -> ExitCode {
    let mut session = Session::new();
    let end = match Cli::try_parse() {
        Ok(cli) => start_threads(cli.command.threads()).and_then(|()| command(&mut session, cli.command)),
        // Wrong usage, or a wish for help or the version.
        Err(usage) => match usage.print() {
            Err(error) if !usage.use_stderr() && error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(io_fault("standard output".as_ref(), error).into())
            }
            _ => return ExitCode::from(if usage.use_stderr() { 2 } else { 0 }),
        },
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Input(found)) => {
            session.report(&found);
            ExitCode::from(1)
        }
        Err(End::Usage(message)) => {
            complain(&format!("error: {}\n\nFor more information, try '--help'.\n", printable(&message)));
            ExitCode::from(2)
        }
        Err(End::Bug(found)) => {
            session.report(&found);
            ExitCode::from(3)
        }
    }
}

fn start_threads(threads: Option<NonZeroUsize>) -> Result<(), End> {
    Isa::forced().map_err(|error| End::Usage(error.to_string()))?;
    // 0 stands for as many as there are processors.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.map_or(0, NonZeroUsize::get));
    pool.build_global().map_err(|error| {
        let message = format!("threads cannot be started: {error}");
        Diagnostics::from(Diagnostic::error("Q0814", message).note("fewer may do: --threads N")).into()
    })
}

fn command(session: &mut Session, command: Command) -> Result<(), End> {
    match command {
        Command::Compile(args) => commands::compile(session, &args),
        Command::Import(args) => commands::import(session, &args),
        Command::Run(args) => commands::run(session, &args),
        Command::Bench(args) => bench::bench(session, &args),
        Command::Calibrate(args) => commands::calibrate(session, &args),
        Command::Opt(args) => commands::opt(session, &args),
        Command::Check(args) => commands::check(session, &args),
        Command::Fmt(args) => commands::fmt(session, &args),
        Command::Test(args) => commands::test(&args),
        Command::Rules(RulesCommand::Check(args)) => rules::check(session, &args),
        Command::Explain(args) => explain::explain(session, &args),
        Command::Rules(RulesCommand::Explain(args)) => explain::explain_file(session, &args),
        Command::Rules(RulesCommand::List(args)) => rules::list(session, &args),
    }
}
