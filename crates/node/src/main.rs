//! The binary `fasti`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    fasti_node::main()
}
