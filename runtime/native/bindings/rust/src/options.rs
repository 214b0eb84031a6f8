//! What a call is asked for, in Rust's own types.

use crate::error::Result;
use crate::ffi;
use crate::text::Kept;
use std::sync::Arc;

/// How an artifact is opened; `edgelora_load_options` of `edgelora.h`.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// 0: the physical cores of the process, at most four.
    pub threads: i32,
    /// Path of the onnxruntime library.
    pub onnxruntime: Option<String>,
    /// A folder where the graph is kept as onnxruntime packed it.
    pub cache: Option<String>,
    /// Path of libedgelora_ops; "" leaves its operators.
    pub operators: Option<String>,
    /// Memory for adapters; 0: no bound.
    pub adapter_bytes: i64,
    /// Check every byte of every file.
    pub hashes: bool,
    /// Hold every adapter to its receipt.
    pub probe: bool,
    /// Keep the graph without slots beside the one with slots.
    pub twin: bool,
}

impl LoadOptions {
    pub(crate) fn lower(&self, kept: &mut Kept) -> Result<ffi::LoadOptions> {
        let mut found = std::mem::MaybeUninit::<ffi::LoadOptions>::zeroed();
        // SAFETY: the structure is plain data for which zeros are valid, and C writes the defaults.
        let mut found = unsafe {
            ffi::edgelora_load_options_init(found.as_mut_ptr(), std::mem::size_of::<ffi::LoadOptions>());
            found.assume_init()
        };
        found.threads = self.threads;
        found.onnxruntime = kept.maybe(self.onnxruntime.as_deref())?;
        found.cache = kept.maybe(self.cache.as_deref())?;
        found.operators = kept.maybe(self.operators.as_deref())?;
        found.adapter_bytes = self.adapter_bytes;
        found.hashes = self.hashes.into();
        found.probe = self.probe.into();
        found.twin = self.twin.into();
        Ok(found)
    }
}

/// How an answer is made; `edgelora_generate_options` of `edgelora.h`.
#[derive(Debug, Clone)]
pub struct Options {
    /// SPEC for every row; None: the one that is set.
    pub adapter: Option<String>,
    /// One SPEC for each row of a batch, instead of `adapter`; empty: none.
    pub adapters: Vec<String>,
    pub max_new_tokens: i32,
    /// 0 takes the likeliest token.
    pub temperature: f64,
    pub top_k: i32,
    pub top_p: f64,
    pub min_p: f64,
    pub repetition_penalty: f64,
    pub seed: Option<u64>,
    /// Texts that end the answer before them.
    pub stop: Vec<String>,
    /// Texts one of which is the answer; empty: any text.
    pub choices: Vec<String>,
    /// Continue the text as it is, without the chat template.
    pub raw: bool,
    /// A JSON object of variables for the chat template.
    pub template_json: Option<String>,
    /// A JSON list of the schemas of functions.
    pub tools_json: Option<String>,
    /// YYYY-MM-DD, the day that a template writes; None: today.
    pub date: Option<String>,
    /// Ends the call from another thread.
    pub cancel: Option<Cancel>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            adapter: None,
            adapters: Vec::new(),
            max_new_tokens: 128,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: None,
            stop: Vec::new(),
            choices: Vec::new(),
            raw: false,
            template_json: None,
            tools_json: None,
            date: None,
            cancel: None,
        }
    }
}

impl Options {
    pub(crate) fn lower(&self, kept: &mut Kept) -> Result<ffi::GenerateOptions> {
        let mut found = std::mem::MaybeUninit::<ffi::GenerateOptions>::zeroed();
        // SAFETY: as for LoadOptions.
        let mut found = unsafe {
            ffi::edgelora_generate_options_init(found.as_mut_ptr(), std::mem::size_of::<ffi::GenerateOptions>());
            found.assume_init()
        };
        found.max_new_tokens = self.max_new_tokens;
        found.temperature = self.temperature;
        found.top_p = self.top_p;
        found.min_p = self.min_p;
        found.repetition_penalty = self.repetition_penalty;
        found.top_k = self.top_k;
        found.has_seed = self.seed.is_some().into();
        found.seed = self.seed.unwrap_or(0);
        found.adapter = kept.maybe(self.adapter.as_deref())?;
        found.adapters_json = kept.list(&self.adapters)?;
        found.stop_json = kept.list(&self.stop)?;
        found.choices_json = kept.list(&self.choices)?;
        found.template_json = kept.maybe(self.template_json.as_deref())?;
        found.tools_json = kept.maybe(self.tools_json.as_deref())?;
        found.date = kept.maybe(self.date.as_deref())?;
        found.raw = self.raw.into();
        found.cancel = self.cancel.as_ref().map_or(std::ptr::null_mut(), Cancel::handle);
        Ok(found)
    }
}

/// A conversation for the chat template.
#[derive(Debug, Clone, Default)]
pub struct Conversation {
    /// A JSON list of messages.
    pub messages_json: String,
    pub tools_json: Option<String>,
    pub template_json: Option<String>,
    pub date: Option<String>,
    /// Leave out what opens the model's answer.
    pub no_generation_prompt: bool,
}

impl Conversation {
    pub(crate) fn lower(&self, kept: &mut Kept) -> Result<ffi::Conversation> {
        Ok(ffi::Conversation {
            struct_size: std::mem::size_of::<ffi::Conversation>() as u32,
            no_generation_prompt: self.no_generation_prompt.into(),
            messages_json: kept.text(&self.messages_json)?,
            tools_json: kept.maybe(self.tools_json.as_deref())?,
            template_json: kept.maybe(self.template_json.as_deref())?,
            date: kept.maybe(self.date.as_deref())?,
        })
    }
}

#[derive(Debug)]
struct CancelHandle(*mut ffi::Cancel);

// SAFETY: the C interface lets every thread set and read a flag.
unsafe impl Send for CancelHandle {}
unsafe impl Sync for CancelHandle {}

impl Drop for CancelHandle {
    fn drop(&mut self) {
        // SAFETY: the last owner lets go of it; calls that use it hold an owner.
        unsafe { ffi::edgelora_cancel_free(self.0) }
    }
}

/// A flag that ends calls from another thread; clones are the same flag.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<CancelHandle>);

impl Cancel {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Cancel {
        // SAFETY: null, where there is no memory, is never passed on as a flag that must be there.
        Cancel(Arc::new(CancelHandle(unsafe { ffi::edgelora_cancel_create() })))
    }

    /// Calls that have the flag end soon, and later ones at once, until it is reset.
    pub fn set(&self) {
        // SAFETY: the handle lives as long as `self`.
        unsafe { ffi::edgelora_cancel_set(self.0 .0) }
    }

    pub fn reset(&self) {
        // SAFETY: as above.
        unsafe { ffi::edgelora_cancel_reset(self.0 .0) }
    }

    pub(crate) fn handle(&self) -> *mut ffi::Cancel {
        self.0 .0
    }
}
