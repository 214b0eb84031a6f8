import CEdgeLora
import Foundation

/// How an artifact is opened; `edgelora_load_options` of `edgelora.h`.
public struct LoadOptions: Sendable {
    /// For one matrix product; 0: the physical cores of the process, at most four.
    public var threads: Int32 = 0
    /// Path of the onnxruntime library; nil: the one that is linked, or that the system has.
    public var onnxruntime: String?
    /// A folder where the graph is kept as onnxruntime packed it.
    public var cache: String?
    /// Path of libedgelora_ops; "" leaves its operators.
    public var operators: String?
    /// Memory for adapters; 0: no bound.
    public var adapterBytes: Int64 = 0
    /// Check every byte of every file.
    public var hashes = false
    /// Hold every adapter to its receipt.
    public var probe = false
    /// Keep the graph without slots beside the one with slots.
    public var twin = false

    public init() {}

    func lower(_ kept: Kept) throws -> edgelora_load_options {
        var found = edgelora_load_options()
        edgelora_load_options_init(&found, MemoryLayout<edgelora_load_options>.size)
        found.threads = threads
        found.onnxruntime = try kept.text(onnxruntime)
        found.cache = try kept.text(cache)
        found.operators = try kept.text(operators)
        found.adapter_bytes = adapterBytes
        found.hashes = hashes ? 1 : 0
        found.probe = probe ? 1 : 0
        found.twin = twin ? 1 : 0
        return found
    }
}

/// How an answer is made; `edgelora_generate_options` of `edgelora.h`.
public struct Options: Sendable {
    /// SPEC for every row: "none", "NAME", "NAME:0.5", "A:0.7+B:0.3"; nil: the one that is set.
    public var adapter: String?
    /// One SPEC for each row of a batch, instead of `adapter`.
    public var adapters: [String]?
    public var maxNewTokens: Int32 = 128
    /// 0 takes the likeliest token.
    public var temperature = 0.0
    public var topK: Int32 = 0
    public var topP = 1.0
    public var minP = 0.0
    public var repetitionPenalty = 1.0
    /// The same seed gives the same answer on every device; nil: from chance.
    public var seed: UInt64?
    /// Texts that end the answer before them.
    public var stop: [String]?
    /// Texts one of which is the answer: the likeliest.
    public var choices: [String]?
    /// Continue the text as it is, without the chat template.
    public var raw = false
    /// A JSON object of variables for the chat template.
    public var templateJSON: String?
    /// A JSON list of the schemas of functions.
    public var toolsJSON: String?
    /// YYYY-MM-DD, the day that a template writes; nil: today.
    public var date: String?
    /// Ends the call from another thread.
    public var cancel: Cancel?

    public init() {}

    func lower(_ kept: Kept) throws -> edgelora_generate_options {
        var found = edgelora_generate_options()
        edgelora_generate_options_init(&found, MemoryLayout<edgelora_generate_options>.size)
        found.max_new_tokens = maxNewTokens
        found.temperature = temperature
        found.top_p = topP
        found.min_p = minP
        found.repetition_penalty = repetitionPenalty
        found.top_k = topK
        found.has_seed = seed == nil ? 0 : 1
        found.seed = seed ?? 0
        found.adapter = try kept.text(adapter)
        found.adapters_json = try kept.list(adapters)
        found.stop_json = try kept.list(stop)
        found.choices_json = try kept.list(choices)
        found.template_json = try kept.text(templateJSON)
        found.tools_json = try kept.text(toolsJSON)
        found.date = try kept.text(date)
        found.raw = raw ? 1 : 0
        found.cancel = cancel?.handle
        return found
    }
}

/// A flag that ends calls from another thread; one may serve any number of calls.
public final class Cancel: @unchecked Sendable {
    let handle = edgelora_cancel_create()

    public init() {}

    deinit { edgelora_cancel_free(handle) }

    /// Calls that have the flag end soon, and later ones at once, until it is reset.
    public func set() { edgelora_cancel_set(handle) }

    public func reset() { edgelora_cancel_reset(handle) }
}

/// Texts with a zero byte behind them, kept while C reads them.
final class Kept {
    private var texts: [UnsafeMutablePointer<CChar>] = []

    deinit { texts.forEach { free($0) } }

    func text(_ text: String?) throws -> UnsafePointer<CChar>? {
        guard let text else { return nil }
        guard !text.utf8.contains(0) else {
            throw Refusal(code: .invalidInput, message: "a text holds a zero byte; take it out")
        }
        guard let copy = strdup(text) else { throw Refusal(code: .memory, message: "no memory for a text") }
        texts.append(copy)
        return UnsafePointer(copy)
    }

    /// A list as JSON; nil where it is nil.
    func list(_ texts: [String]?) throws -> UnsafePointer<CChar>? {
        guard let texts else { return nil }
        return try text(String(decoding: JSONEncoder().encode(texts), as: UTF8.self))
    }
}
