//! A loaded artifact and its answers.

use crate::error::{call, Error, Result};
use crate::ffi;
use crate::options::{Conversation, LoadOptions, Options};
use crate::text::{copy, json_list, take_ids, take_text, Kept};
use std::any::Any;
use std::ffi::{c_char, c_void, CStr};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::ptr::null_mut;

/// One answer; `token_ids` leaves out the end token, `scores` are those of the choices.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub text: String,
    pub token_ids: Vec<i32>,
    pub finish_reason: String,
    pub prompt_tokens: usize,
    pub scores: Vec<f64>,
}

/// A loaded artifact, for any number of threads: it answers one call at a time, and the others wait.
pub struct Model(pub(crate) *mut ffi::Model);

// SAFETY: the C interface lets any thread call any function of one model.
unsafe impl Send for Model {}
unsafe impl Sync for Model {}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: nobody borrows the model any more.
        unsafe { ffi::edgelora_model_free(self.0) }
    }
}

/// The version of the library.
pub fn version() -> String {
    // SAFETY: a text that is never freed.
    unsafe { CStr::from_ptr(ffi::edgelora_version()) }.to_string_lossy().into_owned()
}

struct Stream<'a> {
    take: &'a mut dyn FnMut(usize, &str) -> bool,
    panic: Option<Box<dyn Any + Send>>,
}

/// No panic may cross C: it is kept, ends the row, and goes on when the call has returned.
unsafe extern "C" fn take_piece(stream: *mut c_void, row: usize, text: *const c_char, n_bytes: usize) -> i32 {
    let stream = &mut *stream.cast::<Stream>();
    let piece = String::from_utf8_lossy(std::slice::from_raw_parts(text.cast::<u8>(), n_bytes));
    match catch_unwind(AssertUnwindSafe(|| (stream.take)(row, &piece))) {
        Ok(goes_on) => i32::from(!goes_on),
        Err(panic) => {
            stream.panic = Some(panic);
            1
        }
    }
}

impl Model {
    /// Open the artifact in the folder `path`.
    pub fn load(path: &str, options: &LoadOptions) -> Result<Model> {
        let mut kept = Kept::default();
        let (path, options) = (kept.text(path)?, options.lower(&mut kept)?);
        let mut model = null_mut();
        // SAFETY: texts and options live until the call returns.
        call(|error| unsafe { ffi::edgelora_load(path, &options, &mut model, error) })?;
        Ok(Model(model))
    }

    /// Token ids go from 0 to this - 1.
    pub fn vocab_size(&self) -> usize {
        // SAFETY: the handle lives as long as `self`, here and below.
        unsafe { ffi::edgelora_vocab_size(self.0) as usize }
    }

    /// Tokens that a row holds at most.
    pub fn context_length(&self) -> usize {
        unsafe { ffi::edgelora_context_length(self.0) as usize }
    }

    /// What is loaded, as a JSON object.
    pub fn info(&self) -> Result<String> {
        self.text(|text, n, error| unsafe { ffi::edgelora_model_info(self.0, text, n, error) })
    }

    /// Use `spec` where a call gives none.
    pub fn set_adapter(&self, spec: &str) -> Result<()> {
        let mut kept = Kept::default();
        let spec = kept.text(spec)?;
        call(|error| unsafe { ffi::edgelora_set_adapter(self.0, spec, error) })
    }

    /// Make a PEFT folder known as `name`; `trust` leaves its receipt unread.
    pub fn load_adapter(&self, name: &str, folder: &str, trust: bool) -> Result<()> {
        let mut kept = Kept::default();
        let (name, folder) = (kept.text(name)?, kept.text(folder)?);
        call(|error| unsafe { ffi::edgelora_load_adapter(self.0, name, folder, trust.into(), error) })
    }

    /// The same with the labels of the adapter's head, in the order of its rows, where no receipt has them.
    pub fn load_adapter_with_labels(&self, name: &str, folder: &str, labels: &[&str], trust: bool) -> Result<()> {
        let mut kept = Kept::default();
        let (name, folder, labels) = (kept.text(name)?, kept.text(folder)?, kept.text(&json_list(labels))?);
        call(|error| unsafe {
            ffi::edgelora_load_adapter_with_labels(self.0, name, folder, labels, trust.into(), error)
        })
    }

    /// Forget an adapter and give its memory back.
    pub fn unload_adapter(&self, name: &str) -> Result<()> {
        let mut kept = Kept::default();
        let name = kept.text(name)?;
        call(|error| unsafe { ffi::edgelora_unload_adapter(self.0, name, error) })
    }

    /// Hold an adapter to its receipt; a JSON object of what was found, or `null`.
    pub fn probe(&self, name: &str) -> Result<String> {
        let mut kept = Kept::default();
        let name = kept.text(name)?;
        self.text(|text, n, error| unsafe { ffi::edgelora_probe(self.0, name, text, n, error) })
    }

    /// Answer a prompt.
    pub fn generate(&self, prompt: &str, options: &Options) -> Result<Answer> {
        self.one(options, None, |options, found, error| unsafe {
            ffi::edgelora_generate(self.0, prompt.as_ptr().cast(), prompt.len(), options, found, error)
        })
    }

    /// Answer a prompt piece by piece; the answer ends when `take` returns false.
    pub fn stream(&self, prompt: &str, options: &Options, mut take: impl FnMut(&str) -> bool) -> Result<Answer> {
        let mut take = |_: usize, piece: &str| take(piece);
        self.one(options, Some(&mut take), |options, found, error| unsafe {
            ffi::edgelora_generate(self.0, prompt.as_ptr().cast(), prompt.len(), options, found, error)
        })
    }

    /// Answer a conversation, a JSON list of messages.
    pub fn chat(&self, messages_json: &str, options: &Options) -> Result<Answer> {
        let mut kept = Kept::default();
        let messages = kept.text(messages_json)?;
        self.one(options, None, |options, found, error| unsafe {
            ffi::edgelora_chat(self.0, messages, options, found, error)
        })
    }

    /// Answer several prompts together, each with its own adapter where `Options::adapters` says so.
    pub fn generate_batch(&self, prompts: &[&str], options: &Options) -> Result<Vec<Answer>> {
        let mut kept = Kept::default();
        let prompts = kept.text(&json_list(prompts))?;
        self.answers(options, None, |options, found, error| unsafe {
            ffi::edgelora_generate_batch(self.0, prompts, options, found, error)
        })
    }

    /// Continue rows of token ids.
    pub fn generate_ids(&self, rows: &[Vec<i32>], options: &Options) -> Result<Vec<Answer>> {
        let (ids, lengths): (Vec<i32>, Vec<usize>) = (rows.concat(), rows.iter().map(Vec::len).collect());
        self.answers(options, None, |options, found, error| unsafe {
            ffi::edgelora_generate_ids(self.0, ids.as_ptr(), lengths.as_ptr(), lengths.len(), options, found, error)
        })
    }

    /// Logits after the tokens at `positions`, one row of the vocabulary's size for each.
    pub fn logits(&self, ids: &[i32], adapter: Option<&str>, positions: &[usize]) -> Result<Vec<Vec<f32>>> {
        let mut kept = Kept::default();
        let adapter = kept.maybe(adapter)?;
        let mut flat = vec![0f32; positions.len() * self.vocab_size()];
        call(|error| unsafe {
            ffi::edgelora_logits(
                self.0, ids.as_ptr(), ids.len(), adapter, positions.as_ptr(), positions.len(), null_mut(),
                flat.as_mut_ptr(), flat.len(), error,
            )
        })?;
        Ok(flat.chunks(self.vocab_size()).map(<[f32]>::to_vec).collect())
    }

    /// Token ids of a text; `special` adds the tokenizer's own special tokens.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<i32>> {
        self.ids(|ids, n, error| unsafe {
            ffi::edgelora_encode(self.0, text.as_ptr().cast(), text.len(), special.into(), ids, n, error)
        })
    }

    /// The text of token ids; `special` writes special tokens too.
    pub fn decode(&self, ids: &[i32], special: bool) -> Result<String> {
        self.text(|text, n, error| unsafe {
            ffi::edgelora_decode(self.0, ids.as_ptr(), ids.len(), special.into(), text, n, error)
        })
    }

    /// The text of a conversation, to be encoded without special tokens.
    pub fn render(&self, conversation: &Conversation) -> Result<String> {
        let mut kept = Kept::default();
        let told = conversation.lower(&mut kept)?;
        self.text(|text, n, error| unsafe { ffi::edgelora_render(self.0, &told, text, n, error) })
    }

    /// Token ids of `text` where it stands behind the raw text `prompt`.
    pub fn encode_after(&self, prompt: &str, text: &str, special: bool) -> Result<Vec<i32>> {
        self.ids(|ids, n, error| unsafe {
            let (prompt_at, text_at) = (prompt.as_ptr().cast(), text.as_ptr().cast());
            ffi::edgelora_encode_after(
                self.0, prompt_at, prompt.len(), text_at, text.len(), special.into(), ids, n, error,
            )
        })
    }

    /// Token ids of `answer` behind a conversation.
    pub fn encode_answer(&self, conversation: &Conversation, answer: &str) -> Result<Vec<i32>> {
        let mut kept = Kept::default();
        let told = conversation.lower(&mut kept)?;
        self.ids(|ids, n, error| unsafe {
            ffi::edgelora_encode_answer(self.0, &told, answer.as_ptr().cast(), answer.len(), ids, n, error)
        })
    }

    fn one(
        &self, options: &Options, take: Option<&mut dyn FnMut(usize, &str) -> bool>,
        run: impl FnOnce(*const ffi::GenerateOptions, *mut *mut ffi::Generation, *mut *mut ffi::Error) -> i32,
    ) -> Result<Answer> {
        self.answers(options, take, run)?.pop().ok_or_else(|| Error::input("the call gave no answer"))
    }

    fn answers(
        &self, options: &Options, take: Option<&mut dyn FnMut(usize, &str) -> bool>,
        run: impl FnOnce(*const ffi::GenerateOptions, *mut *mut ffi::Generation, *mut *mut ffi::Error) -> i32,
    ) -> Result<Vec<Answer>> {
        let mut kept = Kept::default();
        let mut lowered = options.lower(&mut kept)?;
        let mut stream = take.map(|take| Stream { take, panic: None });
        if let Some(stream) = &mut stream {
            lowered.on_text = Some(take_piece);
            lowered.user_data = std::ptr::from_mut(stream).cast();
        }
        let mut generation = null_mut();
        let done = call(|error| run(&lowered, &mut generation, error));
        if let Some(panic) = stream.and_then(|stream| stream.panic) {
            unsafe { ffi::edgelora_generation_free(generation) };
            resume_unwind(panic);
        }
        done?;
        // SAFETY: the call has succeeded, and the generation is freed once.
        unsafe {
            let rows = ffi::edgelora_generation_rows(generation);
            let found = (0..rows).map(|row| answer(generation, row)).collect();
            ffi::edgelora_generation_free(generation);
            Ok(found)
        }
    }

    pub(crate) fn text(&self, run: impl FnOnce(*mut *mut c_char, *mut usize, *mut *mut ffi::Error) -> i32) -> Result<String> {
        text_of(run)
    }

    fn ids(&self, run: impl FnOnce(*mut *mut i32, *mut usize, *mut *mut ffi::Error) -> i32) -> Result<Vec<i32>> {
        let (mut ids, mut n_ids) = (null_mut(), 0);
        call(|error| run(&mut ids, &mut n_ids, error))?;
        // SAFETY: the call has succeeded.
        Ok(unsafe { take_ids(ids, n_ids) })
    }
}

fn text_of(run: impl FnOnce(*mut *mut c_char, *mut usize, *mut *mut ffi::Error) -> i32) -> Result<String> {
    let (mut text, mut n_bytes) = (null_mut(), 0);
    call(|error| run(&mut text, &mut n_bytes, error))?;
    // SAFETY: the call has succeeded.
    Ok(unsafe { take_text(text, n_bytes) })
}

unsafe fn answer(generation: *const ffi::Generation, row: usize) -> Answer {
    let (mut n_bytes, mut n_ids, mut n_scores) = (0, 0, 0);
    let text = ffi::edgelora_generation_text(generation, row, &mut n_bytes);
    let ids = ffi::edgelora_generation_ids(generation, row, &mut n_ids);
    let scores = ffi::edgelora_generation_scores(generation, row, &mut n_scores);
    let reason = ffi::edgelora_generation_finish_reason(generation, row);
    Answer {
        text: String::from_utf8_lossy(&copy(text.cast::<u8>(), n_bytes)).into_owned(),
        token_ids: copy(ids, n_ids),
        finish_reason: CStr::from_ptr(reason).to_string_lossy().into_owned(),
        prompt_tokens: ffi::edgelora_generation_prompt_tokens(generation, row),
        scores: copy(scores, n_scores),
    }
}

/// The text of a conversation with a chat template of the caller's.
pub fn render_template(source: &str, conversation: &Conversation) -> Result<String> {
    let mut kept = Kept::default();
    let told = conversation.lower(&mut kept)?;
    text_of(|text, n, error| unsafe {
        ffi::edgelora_render_template(source.as_ptr().cast(), source.len(), &told, text, n, error)
    })
}

/// Hold the content of a file to the format: a "manifest", "receipt", "adapter_config" or "safetensors" file.
pub fn check_file(kind: &str, content: &[u8]) -> Result<()> {
    let mut kept = Kept::default();
    let kind = kept.text(kind)?;
    call(|error| unsafe { ffi::edgelora_check_file(kind, content.as_ptr().cast(), content.len(), error) })
}

/// Whether PEFT's `field` ("target_modules" or "rank_pattern") with `pattern` names `module`.
pub fn match_module(field: &str, pattern: &str, module: &str) -> Result<bool> {
    let mut kept = Kept::default();
    let (field, pattern, module) = (kept.text(field)?, kept.text(pattern)?, kept.text(module)?);
    let mut matches = 0;
    call(|error| unsafe { ffi::edgelora_match_module(field, pattern, module, &mut matches, error) })?;
    Ok(matches == 1)
}

/// The first numbers of the generator that seeded draws use.
pub fn random(seed: u64, stream: u64, count: usize) -> Vec<u32> {
    let mut numbers = vec![0; count];
    // SAFETY: there is room for `count` numbers.
    unsafe { ffi::edgelora_random(seed, stream, numbers.as_mut_ptr(), count) };
    numbers
}

/// Choose a token for each row of logits, in order, as row `row` of a batch with this prompt would.
pub fn sample(logits: &[Vec<f32>], prompt_ids: &[i32], row: usize, options: &Options) -> Result<Vec<i32>> {
    let mut kept = Kept::default();
    let lowered = options.lower(&mut kept)?;
    let width = logits.first().map_or(0, Vec::len);
    if logits.iter().any(|row| row.len() != width) {
        return Err(Error::input("rows of logits differ in length; give each the vocabulary's size"));
    }
    let (flat, mut ids) = (logits.concat(), vec![0; logits.len()]);
    call(|error| unsafe {
        ffi::edgelora_sample(
            flat.as_ptr(), logits.len(), width, prompt_ids.as_ptr(), prompt_ids.len(), row, &lowered,
            ids.as_mut_ptr(), error,
        )
    })?;
    Ok(ids)
}
