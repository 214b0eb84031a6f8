//! Links libedgelora: from EDGELORA_LIBRARY_DIR, else from where the linker looks anyway.

fn main() {
    println!("cargo:rerun-if-env-changed=EDGELORA_LIBRARY_DIR");
    if let Ok(folder) = std::env::var("EDGELORA_LIBRARY_DIR") {
        println!("cargo:rustc-link-search=native={folder}");
    }
    println!("cargo:rustc-link-lib=dylib=edgelora");
}
