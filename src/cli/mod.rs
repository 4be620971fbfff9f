//! The command line: arguments, progress, exit codes.
//!
//! Exit codes: 0 done; 1 the input is at fault; 2 wrong usage; 3 a bug in qirc.

mod args;
mod commands;
mod files;
mod golden;
mod session;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use session::{End, Session};

/// Runs the program on the arguments of the process.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("qirc has a bug, please report it with the command line: {panic}");
        std::process::exit(3);
    }));
    // Wrong usage ends here, with exit code 2.
    let cli = Cli::parse();
    if let Some(threads) = cli.command.threads() {
        // Fails only if the pool exists already, and nothing has used it yet.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global();
    }
    let mut session = Session::new();
    let end = match cli.command {
        Command::Compile(args) => commands::compile(&mut session, &args),
        Command::Import(args) => commands::import(&mut session, &args),
        Command::Run(args) => commands::run(&mut session, &args),
        Command::Calibrate(args) => commands::calibrate(&mut session, &args),
        Command::Opt(args) => commands::opt(&mut session, &args),
        Command::Check(args) => commands::check(&mut session, &args),
        Command::Fmt(args) => commands::fmt(&mut session, &args),
        Command::Test(args) => commands::test(&args),
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Input(found)) => {
            session.report(&found);
            ExitCode::from(1)
        }
        Err(End::Usage(message)) => {
            eprintln!("error: {message}\n\nFor more information, try '--help'.");
            ExitCode::from(2)
        }
        Err(End::Bug(found)) => {
            session.report(&found);
            ExitCode::from(3)
        }
    }
}
