//! Generates the parsers from `grammar/`.

fn main() {
    println!("cargo:rerun-if-changed=grammar");
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    lalrpop::Configuration::new()
        .set_in_dir("grammar")
        .set_out_dir(out)
        .process()
        .expect("a grammar in grammar/ is not LALR(1), or not readable");
}
