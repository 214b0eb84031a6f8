import CEdgeLora

/// What the library refuses: a code, and one line of what was found, what was expected and what to do.
public struct Refusal: Error, CustomStringConvertible, Sendable {
    /// The numbers are those of `edgelora.h`.
    public enum Code: Int32, Sendable {
        case invalidInput = 1, artifact, adapter, cancelled, unsupported, memory, `internal`
    }

    public let code: Code
    public let message: String

    public var description: String { message }
}

typealias ErrorPlace = UnsafeMutablePointer<OpaquePointer?>

/// Run a call of the C interface and throw what it refuses.
func check(_ call: (ErrorPlace) -> edgelora_status) throws {
    var error: OpaquePointer?
    if call(&error) == 0 {
        return
    }
    defer { edgelora_error_free(error) }
    let code = Refusal.Code(rawValue: edgelora_error_code(error)) ?? .internal
    throw Refusal(code: code, message: String(cString: edgelora_error_message(error)))
}
