//! EdgeLoRA for Rust: a quantized language model with LoRA adapters that are swapped while it runs.
//!
//! ```no_run
//! use edgelora::{LoadOptions, Model, Options};
//! let model = Model::load("artifact", &LoadOptions::default())?;
//! let answer = model.generate("Hello", &Options { adapter: Some("polite:0.7+short:0.3".into()), ..Options::default() })?;
//! println!("{}", answer.text);
//! # Ok::<(), edgelora::Error>(())
//! ```
//!
//! A thin layer over `edgelora.h`, which says what each call does in every detail. Needs libedgelora to link with
//! (`EDGELORA_LIBRARY_DIR`) and onnxruntime at run time (`LoadOptions::onnxruntime` or `EDGELORA_ONNXRUNTIME`).

mod encoder;
mod error;
mod ffi;
mod model;
mod options;
mod text;

pub use encoder::{Embeddings, EncoderOptions};
pub use error::{Code, Error, Result};
pub use model::{check_file, match_module, random, render_template, sample, version, Answer, Model};
pub use options::{Cancel, Conversation, LoadOptions, Options};
