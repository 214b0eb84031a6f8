/**
 * Every error that the runtime raises on purpose.
 *
 * Knows nothing about where it is shown: a page prints the message alone, a library user catches the class, or compares
 * the code where two copies of the classes may meet.
 */

/** What kind of error it is; it never changes, and the native runtime's codes have the same names. */
export type ErrorCode =
  | "EDGELORA_ERROR"
  | "EDGELORA_ARTIFACT"
  | "EDGELORA_CONNECTION"
  | "EDGELORA_ADAPTER"
  | "EDGELORA_BACKEND"
  | "EDGELORA_INVALID_INPUT";

/** Something the user can put right; the message says what was found, what was expected and what to do. */
export class EdgeLoraError extends Error {
  override name = "EdgeLoraError";
  readonly code: ErrorCode = "EDGELORA_ERROR";
}

/** The artifact cannot be read: a missing file, a wrong hash, a newer format. */
export class ArtifactError extends EdgeLoraError {
  override name = "ArtifactError";
  override readonly code: ErrorCode = "EDGELORA_ARTIFACT";
}

/** The server could not be reached, or the connection was lost. What was downloaded is kept: loading again goes on. */
export class ConnectionError extends ArtifactError {
  override name = "ConnectionError";
  override readonly code: ErrorCode = "EDGELORA_CONNECTION";
}

/** The adapter does not fit: unknown name, malformed SPEC, wrong modules, wrong shapes, no effect. */
export class AdapterError extends EdgeLoraError {
  override name = "AdapterError";
  override readonly code: ErrorCode = "EDGELORA_ADAPTER";
}

/**
 * Why a device cannot run it, for programs: there is no WebGPU, onnxruntime does not start or cannot open the graph,
 * memory ran out, or the room for files, the GPU is gone, what was computed are no numbers, or the worker does not answer.
 */
export type BackendFault =
  | "no-webgpu"
  | "not-started"
  | "not-opened"
  | "no-memory"
  | "no-room"
  | "device-lost"
  | "no-numbers"
  | "no-worker";

/** This device, browser or backend cannot run it; `fault` says why, and stays what it is. */
export class BackendError extends EdgeLoraError {
  override name = "BackendError";
  override readonly code: ErrorCode = "EDGELORA_BACKEND";
  readonly fault: BackendFault;

  constructor(message: string, fault: BackendFault) {
    super(message);
    this.fault = fault;
  }
}

/** A prompt, a message list or a sampling option cannot be used as given. */
export class InputError extends EdgeLoraError {
  override name = "InputError";
  override readonly code: ErrorCode = "EDGELORA_INVALID_INPUT";
}
