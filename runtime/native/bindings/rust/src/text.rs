//! Texts on their way into C and back.

use crate::error::{Error, Result};
use crate::ffi;
use std::ffi::{c_char, c_void, CString};

/// Texts with a zero byte behind them, kept while C reads them.
#[derive(Default)]
pub(crate) struct Kept(Vec<CString>);

impl Kept {
    pub fn text(&mut self, text: &str) -> Result<*const c_char> {
        let kept = CString::new(text).map_err(|_| Error::input("a text holds a zero byte; take it out"))?;
        self.0.push(kept);
        Ok(self.0[self.0.len() - 1].as_ptr())
    }

    pub fn maybe(&mut self, text: Option<&str>) -> Result<*const c_char> {
        text.map_or(Ok(std::ptr::null()), |text| self.text(text))
    }

    /// A list as JSON; None where it is empty.
    pub fn list(&mut self, texts: &[String]) -> Result<*const c_char> {
        if texts.is_empty() { Ok(std::ptr::null()) } else { self.text(&json_list(texts)) }
    }
}

/// A JSON list of texts.
pub(crate) fn json_list<T: AsRef<str>>(texts: &[T]) -> String {
    let items: Vec<String> = texts.iter().map(|text| json_text(text.as_ref())).collect();
    format!("[{}]", items.join(","))
}

fn json_text(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            letter if (letter as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", letter as u32)),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// Copy a text that C has given, and give it back.
///
/// # Safety
/// `text` comes from a call of the C interface that has succeeded and has `n_bytes` bytes.
pub(crate) unsafe fn take_text(text: *mut c_char, n_bytes: usize) -> String {
    let found = String::from_utf8_lossy(std::slice::from_raw_parts(text.cast::<u8>(), n_bytes)).into_owned();
    ffi::edgelora_free(text.cast::<c_void>());
    found
}

/// Copy token ids that C has given, and give them back.
///
/// # Safety
/// As for `take_text`.
pub(crate) unsafe fn take_ids(ids: *mut i32, n_ids: usize) -> Vec<i32> {
    let found = copy(ids, n_ids);
    ffi::edgelora_free(ids.cast::<c_void>());
    found
}

/// Copy numbers that C has given, and give them back.
///
/// # Safety
/// As for `take_text`.
pub(crate) unsafe fn take_floats(numbers: *mut f32, count: usize) -> Vec<f32> {
    let found = copy(numbers, count);
    ffi::edgelora_free(numbers.cast::<c_void>());
    found
}

/// What lies at a pointer, which may be null where there is nothing.
///
/// # Safety
/// `from` is null or points to `count` values.
pub(crate) unsafe fn copy<T: Copy>(from: *const T, count: usize) -> Vec<T> {
    if from.is_null() || count == 0 { Vec::new() } else { std::slice::from_raw_parts(from, count).to_vec() }
}

#[cfg(test)]
mod tests {
    use super::json_list;

    #[test]
    fn a_list_is_written_as_json() {
        assert_eq!(json_list(&["a\"b\\", "\n\u{1}ü"]), "[\"a\\\"b\\\\\",\"\\u000a\\u0001ü\"]");
        assert_eq!(json_list::<&str>(&[]), "[]");
    }
}
