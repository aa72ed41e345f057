//! Counts the names in a directory. Scalar parameters come as RUNE_PARAM_<NAME>.
use std::io::Write;
use std::{env, fs, io, process};

/// Writes the answer and ends; an answer that nobody takes is an error of its own.
fn answer(document: &str, code: i32) -> ! {
    let written = writeln!(io::stdout(), "{document}").and_then(|()| io::stdout().flush());
    process::exit(if written.is_ok() { code } else { 100 });
}

fn main() {
    let path = env::var_os("RUNE_PARAM_PATH").unwrap_or_default();
    match fs::read_dir(path) {
        Ok(names) => {
            let entries = names.count();
            answer(
                &format!(r#"{{"payload":{{"result":"success","output_data":{{"entries":{entries}}}}}}}"#),
                0,
            )
        }
        Err(_) => answer(
            r#"{"error":{"code":3,"message":"there is no such directory, or it may not be read"}}"#,
            3,
        ),
    }
}
