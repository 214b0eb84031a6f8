//! Labels, spans and vectors of a loaded classifier, tagger or embedder.

use crate::error::{call, Result};
use crate::ffi;
use crate::model::Model;
use crate::options::Cancel;
use crate::text::{json_list, take_floats, Kept};
use std::ptr::null_mut;

/// Which adapters answer; `edgelora_encoder_options` of `edgelora.h`.
#[derive(Debug, Clone, Default)]
pub struct EncoderOptions {
    /// SPEC for every text; None: the one that is set.
    pub adapter: Option<String>,
    /// One SPEC for each text, instead of `adapter`; empty: none.
    pub adapters: Vec<String>,
    /// Ends the call from another thread.
    pub cancel: Option<Cancel>,
}

impl EncoderOptions {
    fn lower(&self, kept: &mut Kept) -> Result<ffi::EncoderOptions> {
        let mut found = std::mem::MaybeUninit::<ffi::EncoderOptions>::zeroed();
        // SAFETY: the structure is plain data for which zeros are valid, and C writes the defaults.
        let mut found = unsafe {
            ffi::edgelora_encoder_options_init(found.as_mut_ptr(), std::mem::size_of::<ffi::EncoderOptions>());
            found.assume_init()
        };
        found.adapter = kept.maybe(self.adapter.as_deref())?;
        found.adapters_json = kept.list(&self.adapters)?;
        found.cancel = self.cancel.as_ref().map_or(null_mut(), Cancel::handle);
        Ok(found)
    }
}

/// A vector for each text, and which texts were longer than the model reads and lost their end.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    pub vectors: Vec<Vec<f32>>,
    pub truncated: Vec<bool>,
}

impl Model {
    /// What the head of `spec` answers with, a JSON object, or `null` where the model has no head.
    pub fn labels(&self, spec: Option<&str>) -> Result<String> {
        let mut kept = Kept::default();
        let spec = kept.maybe(spec)?;
        // SAFETY: here and below texts and options live until the call returns, as long as `kept`.
        self.text(|json, n, error| unsafe { ffi::edgelora_labels(self.0, spec, json, n, error) })
    }

    /// Classify texts; a JSON list of answers, as `edgelora_classify` tells them.
    pub fn classify(&self, texts: &[&str], options: &EncoderOptions) -> Result<String> {
        let mut kept = Kept::default();
        let (texts, options) = (kept.text(&json_list(texts))?, options.lower(&mut kept)?);
        self.text(|json, n, error| unsafe { ffi::edgelora_classify(self.0, texts, &options, json, n, error) })
    }

    /// Classify images, one after the other in `pixels`, prepared as the model's own processor does.
    pub fn classify_pixels(&self, pixels: &[f32], options: &EncoderOptions) -> Result<String> {
        let mut kept = Kept::default();
        let options = options.lower(&mut kept)?;
        self.text(|json, n, error| unsafe {
            ffi::edgelora_classify_pixels(self.0, pixels.as_ptr(), pixels.len(), &options, json, n, error)
        })
    }

    /// What each of `options.adapters` says of one text, by SPEC; every adapter that is known where it is empty.
    pub fn classify_each(&self, text: &str, options: &EncoderOptions) -> Result<String> {
        let mut kept = Kept::default();
        let options = options.lower(&mut kept)?;
        self.text(|json, n, error| unsafe {
            ffi::edgelora_classify_each(self.0, text.as_ptr().cast(), text.len(), &options, json, n, error)
        })
    }

    /// The same of one image.
    pub fn classify_each_pixels(&self, pixels: &[f32], options: &EncoderOptions) -> Result<String> {
        let mut kept = Kept::default();
        let options = options.lower(&mut kept)?;
        self.text(|json, n, error| unsafe {
            ffi::edgelora_classify_each_pixels(self.0, pixels.as_ptr(), pixels.len(), &options, json, n, error)
        })
    }

    /// Tag texts; a JSON list of answers, as `edgelora_tag` tells them.
    pub fn tag(&self, texts: &[&str], options: &EncoderOptions) -> Result<String> {
        let mut kept = Kept::default();
        let (texts, options) = (kept.text(&json_list(texts))?, options.lower(&mut kept)?);
        self.text(|json, n, error| unsafe { ffi::edgelora_tag(self.0, texts, &options, json, n, error) })
    }

    /// Vectors of texts.
    pub fn embed(&self, texts: &[&str], options: &EncoderOptions) -> Result<Embeddings> {
        let mut kept = Kept::default();
        let (told, options) = (kept.text(&json_list(texts))?, options.lower(&mut kept)?);
        let mut cut = vec![0i32; texts.len()];
        let flat = floats(|vectors, n, error| unsafe {
            ffi::edgelora_embed(self.0, told, &options, vectors, n, cut.as_mut_ptr(), texts.len(), error)
        })?;
        let vectors = flat.chunks(flat.len() / texts.len()).map(<[f32]>::to_vec).collect();
        Ok(Embeddings { vectors, truncated: cut.iter().map(|&is_cut| is_cut != 0).collect() })
    }

    /// What the graph gives for rows of token ids, special tokens included.
    pub fn outputs(&self, rows: &[Vec<i32>], options: &EncoderOptions) -> Result<Vec<Vec<f32>>> {
        let mut kept = Kept::default();
        let options = options.lower(&mut kept)?;
        let (ids, lengths): (Vec<i32>, Vec<usize>) = (rows.concat(), rows.iter().map(Vec::len).collect());
        let mut counts = vec![0usize; rows.len()];
        let flat = floats(|outputs, n, error| unsafe {
            let n_rows = lengths.len();
            let counts = counts.as_mut_ptr();
            ffi::edgelora_outputs(self.0, ids.as_ptr(), lengths.as_ptr(), n_rows, &options, outputs, n, counts, error)
        })?;
        Ok(split(&flat, &counts))
    }

    /// The same for `n_images` images, as `classify_pixels` takes them.
    pub fn outputs_of_pixels(
        &self, pixels: &[f32], n_images: usize, options: &EncoderOptions,
    ) -> Result<Vec<Vec<f32>>> {
        let mut kept = Kept::default();
        let options = options.lower(&mut kept)?;
        let mut counts = vec![0usize; n_images];
        let flat = floats(|outputs, n, error| unsafe {
            let (at, size, counts) = (pixels.as_ptr(), pixels.len(), counts.as_mut_ptr());
            ffi::edgelora_outputs_of_pixels(self.0, at, size, &options, outputs, n, counts, n_images, error)
        })?;
        Ok(split(&flat, &counts))
    }
}

fn floats(run: impl FnOnce(*mut *mut f32, *mut usize, *mut *mut ffi::Error) -> i32) -> Result<Vec<f32>> {
    let (mut numbers, mut count) = (null_mut(), 0);
    call(|error| run(&mut numbers, &mut count, error))?;
    // SAFETY: the call has succeeded.
    Ok(unsafe { take_floats(numbers, count) })
}

/// Numbers as rows of these lengths.
fn split(numbers: &[f32], counts: &[usize]) -> Vec<Vec<f32>> {
    let mut rest = numbers;
    let mut rows = Vec::with_capacity(counts.len());
    for &count in counts {
        let (row, behind) = rest.split_at(count);
        rows.push(row.to_vec());
        rest = behind;
    }
    rows
}
