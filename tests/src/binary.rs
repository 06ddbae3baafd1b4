//! `fasti`, for the tests beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    fasti_node::main()
}
