//! The job: arguments → library → exit code.

fn main() -> std::process::ExitCode {
    ffe_deploy::host::startup::prepare();
    ffe_deploy::cli::main()
}
