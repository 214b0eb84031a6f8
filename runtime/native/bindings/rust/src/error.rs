//! What the library refuses: a code and one line.

use crate::ffi;
use std::ffi::CStr;
use std::fmt;

/// What kind of thing was wrong; the numbers are those of `edgelora.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    InvalidInput,
    Artifact,
    Adapter,
    Cancelled,
    Unsupported,
    Memory,
    Internal,
}

impl Code {
    /// The number of `edgelora.h`.
    pub fn number(self) -> i32 {
        self as i32 + 1
    }

    fn of(number: i32) -> Code {
        match number {
            1 => Code::InvalidInput,
            2 => Code::Artifact,
            3 => Code::Adapter,
            4 => Code::Cancelled,
            5 => Code::Unsupported,
            6 => Code::Memory,
            _ => Code::Internal,
        }
    }
}

/// A refusal: `message` says what was found, what was expected and what to do.
#[derive(Debug, Clone)]
pub struct Error {
    pub code: Code,
    pub message: String,
}

pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl Error {
    pub(crate) fn input(message: impl Into<String>) -> Error {
        Error { code: Code::InvalidInput, message: message.into() }
    }
}

/// Run a call of the C interface and turn its error into ours.
pub(crate) fn call(run: impl FnOnce(*mut *mut ffi::Error) -> i32) -> Result<()> {
    let mut error: *mut ffi::Error = std::ptr::null_mut();
    if run(&mut error) == 0 {
        return Ok(());
    }
    // SAFETY: a call that failed has put an error there, whose message lives until it is freed.
    unsafe {
        let code = Code::of(ffi::edgelora_error_code(error));
        let message = CStr::from_ptr(ffi::edgelora_error_message(error)).to_string_lossy().into_owned();
        ffi::edgelora_error_free(error);
        Err(Error { code, message })
    }
}
