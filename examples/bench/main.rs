//! Measures Fasti.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
mod in_process;
fn main() -> anyhow::Result<()> {
    let figures = in_process::run(&[1_000, 10_000, 100_000])?;
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}
