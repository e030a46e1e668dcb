//! The ledger service: arguments → library → exit code.

/// Small answers by the thousand: glibc's allocator spends more time, and keeps more memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ffe_deploy::host::startup::prepare();
    ffe_deploy::ledger::main()
}
