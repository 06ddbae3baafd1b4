//! The binary `fasti`: see the library.

use std::process::ExitCode;

/// Automerge makes and drops many small columns: half the time goes by with this allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fasti_node::main()
}
