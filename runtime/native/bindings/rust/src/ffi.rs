//! `edgelora.h` in Rust, declaration by declaration; the header says what each does and who owns what.

use std::ffi::{c_char, c_double, c_float, c_int, c_void};

macro_rules! opaque {
    ($($name:ident),*) => { $(#[repr(C)] pub struct $name { _private: [u8; 0] })* };
}
opaque!(Error, Cancel, Model, Generation);

#[repr(C)]
pub struct LoadOptions {
    pub struct_size: u32,
    pub threads: i32,
    pub onnxruntime: *const c_char,
    pub cache: *const c_char,
    pub operators: *const c_char,
    pub adapter_bytes: i64,
    pub hashes: i32,
    pub probe: i32,
    pub twin: i32,
    pub reserved: i32,
}

pub type OnText = unsafe extern "C" fn(*mut c_void, usize, *const c_char, usize) -> i32;
pub type OnToken = unsafe extern "C" fn(*mut c_void, usize, i32) -> i32;

#[repr(C)]
pub struct GenerateOptions {
    pub struct_size: u32,
    pub max_new_tokens: i32,
    pub temperature: c_double,
    pub top_p: c_double,
    pub min_p: c_double,
    pub repetition_penalty: c_double,
    pub top_k: i32,
    pub has_seed: i32,
    pub seed: u64,
    pub adapter: *const c_char,
    pub adapters_json: *const c_char,
    pub stop_json: *const c_char,
    pub choices_json: *const c_char,
    pub template_json: *const c_char,
    pub tools_json: *const c_char,
    pub date: *const c_char,
    pub raw: i32,
    pub reserved: i32,
    pub cancel: *mut Cancel,
    pub on_text: Option<OnText>,
    pub on_token: Option<OnToken>,
    pub user_data: *mut c_void,
}

#[repr(C)]
pub struct EncoderOptions {
    pub struct_size: u32,
    pub reserved: i32,
    pub adapter: *const c_char,
    pub adapters_json: *const c_char,
    pub cancel: *mut Cancel,
}

#[repr(C)]
pub struct Conversation {
    pub struct_size: u32,
    pub no_generation_prompt: i32,
    pub messages_json: *const c_char,
    pub tools_json: *const c_char,
    pub template_json: *const c_char,
    pub date: *const c_char,
}

type Text = *const c_char;
type Failure = *mut *mut Error;

extern "C" {
    pub fn edgelora_version() -> Text;
    pub fn edgelora_error_code(error: *const Error) -> i32;
    pub fn edgelora_error_message(error: *const Error) -> Text;
    pub fn edgelora_error_free(error: *mut Error);
    pub fn edgelora_free(memory: *mut c_void);
    pub fn edgelora_cancel_create() -> *mut Cancel;
    pub fn edgelora_cancel_free(cancel: *mut Cancel);
    pub fn edgelora_cancel_set(cancel: *mut Cancel);
    pub fn edgelora_cancel_reset(cancel: *mut Cancel);
    pub fn edgelora_load_options_init(options: *mut LoadOptions, struct_size: usize);
    pub fn edgelora_load(path: Text, options: *const LoadOptions, model: *mut *mut Model, error: Failure) -> c_int;
    pub fn edgelora_model_free(model: *mut Model);
    pub fn edgelora_vocab_size(model: *const Model) -> i32;
    pub fn edgelora_context_length(model: *const Model) -> i32;
    pub fn edgelora_model_info(model: *mut Model, json: *mut *mut c_char, n: *mut usize, error: Failure) -> c_int;
    pub fn edgelora_set_adapter(model: *mut Model, spec: Text, error: Failure) -> c_int;
    pub fn edgelora_load_adapter(model: *mut Model, name: Text, folder: Text, trust: i32, error: Failure) -> c_int;
    pub fn edgelora_load_adapter_with_labels(
        model: *mut Model, name: Text, folder: Text, labels_json: Text, trust: i32, error: Failure,
    ) -> c_int;
    pub fn edgelora_unload_adapter(model: *mut Model, name: Text, error: Failure) -> c_int;
    pub fn edgelora_probe(
        model: *mut Model, name: Text, json: *mut *mut c_char, n: *mut usize, error: Failure,
    ) -> c_int;
    pub fn edgelora_generate_options_init(options: *mut GenerateOptions, struct_size: usize);
    pub fn edgelora_generate(
        model: *mut Model, prompt: Text, n_bytes: usize, options: *const GenerateOptions,
        generation: *mut *mut Generation, error: Failure,
    ) -> c_int;
    pub fn edgelora_chat(
        model: *mut Model, messages_json: Text, options: *const GenerateOptions, generation: *mut *mut Generation,
        error: Failure,
    ) -> c_int;
    pub fn edgelora_generate_batch(
        model: *mut Model, prompts_json: Text, options: *const GenerateOptions, generation: *mut *mut Generation,
        error: Failure,
    ) -> c_int;
    pub fn edgelora_generate_ids(
        model: *mut Model, ids: *const i32, lengths: *const usize, n_rows: usize, options: *const GenerateOptions,
        generation: *mut *mut Generation, error: Failure,
    ) -> c_int;
    pub fn edgelora_logits(
        model: *mut Model, ids: *const i32, n_ids: usize, adapter: Text, positions: *const usize, n_positions: usize,
        cancel: *mut Cancel, logits: *mut c_float, n_logits: usize, error: Failure,
    ) -> c_int;
    pub fn edgelora_generation_rows(generation: *const Generation) -> usize;
    pub fn edgelora_generation_text(generation: *const Generation, row: usize, n: *mut usize) -> Text;
    pub fn edgelora_generation_ids(generation: *const Generation, row: usize, n: *mut usize) -> *const i32;
    pub fn edgelora_generation_finish_reason(generation: *const Generation, row: usize) -> Text;
    pub fn edgelora_generation_prompt_tokens(generation: *const Generation, row: usize) -> usize;
    pub fn edgelora_generation_scores(generation: *const Generation, row: usize, n: *mut usize) -> *const c_double;
    pub fn edgelora_generation_free(generation: *mut Generation);
    pub fn edgelora_encoder_options_init(options: *mut EncoderOptions, struct_size: usize);
    pub fn edgelora_labels(
        model: *mut Model, spec: Text, json: *mut *mut c_char, n: *mut usize, error: Failure,
    ) -> c_int;
    pub fn edgelora_classify(
        model: *mut Model, texts_json: Text, options: *const EncoderOptions, json: *mut *mut c_char, n: *mut usize,
        error: Failure,
    ) -> c_int;
    pub fn edgelora_classify_pixels(
        model: *mut Model, pixels: *const c_float, n_pixels: usize, options: *const EncoderOptions,
        json: *mut *mut c_char, n: *mut usize, error: Failure,
    ) -> c_int;
    pub fn edgelora_classify_each(
        model: *mut Model, text: Text, n_bytes: usize, options: *const EncoderOptions, json: *mut *mut c_char,
        n: *mut usize, error: Failure,
    ) -> c_int;
    pub fn edgelora_classify_each_pixels(
        model: *mut Model, pixels: *const c_float, n_pixels: usize, options: *const EncoderOptions,
        json: *mut *mut c_char, n: *mut usize, error: Failure,
    ) -> c_int;
    pub fn edgelora_tag(
        model: *mut Model, texts_json: Text, options: *const EncoderOptions, json: *mut *mut c_char, n: *mut usize,
        error: Failure,
    ) -> c_int;
    pub fn edgelora_embed(
        model: *mut Model, texts_json: Text, options: *const EncoderOptions, vectors: *mut *mut c_float,
        n: *mut usize, truncated: *mut i32, n_truncated: usize, error: Failure,
    ) -> c_int;
    pub fn edgelora_outputs(
        model: *mut Model, ids: *const i32, lengths: *const usize, n_rows: usize, options: *const EncoderOptions,
        outputs: *mut *mut c_float, n: *mut usize, n_of_row: *mut usize, error: Failure,
    ) -> c_int;
    pub fn edgelora_outputs_of_pixels(
        model: *mut Model, pixels: *const c_float, n_pixels: usize, options: *const EncoderOptions,
        outputs: *mut *mut c_float, n: *mut usize, n_of_row: *mut usize, n_rows: usize, error: Failure,
    ) -> c_int;
    pub fn edgelora_encode(
        model: *mut Model, text: Text, n_bytes: usize, special: i32, ids: *mut *mut i32, n: *mut usize, error: Failure,
    ) -> c_int;
    pub fn edgelora_decode(
        model: *mut Model, ids: *const i32, n_ids: usize, special: i32, text: *mut *mut c_char, n: *mut usize,
        error: Failure,
    ) -> c_int;
    pub fn edgelora_render(
        model: *mut Model, told: *const Conversation, text: *mut *mut c_char, n: *mut usize, error: Failure,
    ) -> c_int;
    pub fn edgelora_render_template(
        source: Text, n_source_bytes: usize, told: *const Conversation, text: *mut *mut c_char, n: *mut usize,
        error: Failure,
    ) -> c_int;
    pub fn edgelora_encode_after(
        model: *mut Model, prompt: Text, n_prompt_bytes: usize, text: Text, n_bytes: usize, special: i32,
        ids: *mut *mut i32, n: *mut usize, error: Failure,
    ) -> c_int;
    pub fn edgelora_encode_answer(
        model: *mut Model, told: *const Conversation, answer: Text, n_bytes: usize, ids: *mut *mut i32, n: *mut usize,
        error: Failure,
    ) -> c_int;
    pub fn edgelora_check_file(kind: Text, bytes: *const c_void, n_bytes: usize, error: Failure) -> c_int;
    pub fn edgelora_match_module(
        field: Text, pattern: Text, module: Text, matches: *mut i32, error: Failure,
    ) -> c_int;
    pub fn edgelora_random(seed: u64, stream: u64, numbers: *mut u32, n_numbers: usize);
    pub fn edgelora_sample(
        logits: *const c_float, n_steps: usize, n_logits: usize, prompt_ids: *const i32, n_prompt_ids: usize,
        row: usize, options: *const GenerateOptions, ids: *mut i32, error: Failure,
    ) -> c_int;
}
