use std::process::ExitCode;

fn main() -> ExitCode {
    qirc::cli::main()
}
