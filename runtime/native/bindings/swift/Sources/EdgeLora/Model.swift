import CEdgeLora
import Foundation

/// One message of a conversation; `role` is "system", "user" or "assistant".
public struct Message: Codable, Sendable {
    public var role: String
    public var content: String

    public init(role: String, content: String) {
        self.role = role
        self.content = content
    }
}

/// A loaded artifact, for any number of threads: it answers one call at a time, and the others wait. Calls take as long
/// as the model needs; `pieces` and `answer` leave the caller's thread free. What cannot be used is refused with a
/// `Refusal`.
public final class Model: @unchecked Sendable {
    let handle: OpaquePointer
    private let queue = DispatchQueue(label: "edgelora", qos: .userInitiated)

    /// Open the artifact in the folder `path`.
    public init(path: String, options: LoadOptions = LoadOptions()) throws {
        let kept = Kept()
        var lowered = try options.lower(kept)
        let folder = try kept.text(path)
        var found: OpaquePointer?
        try withExtendedLifetime(kept) { try check { edgelora_load(folder, &lowered, &found, $0) } }
        handle = found!
    }

    deinit { edgelora_model_free(handle) }

    /// Token ids go from 0 to this - 1.
    public var vocabSize: Int { Int(edgelora_vocab_size(handle)) }

    /// Tokens that a row holds at most.
    public var contextLength: Int { Int(edgelora_context_length(handle)) }

    /// What is loaded, as a JSON object.
    public func info() throws -> String { try text { edgelora_model_info(handle, $0, $1, $2) } }

    /// The names that a SPEC can use now.
    public func adapters() throws -> [String] {
        let found = try JSONSerialization.jsonObject(with: Data(info().utf8)) as? [String: Any]
        return found?["adapters"] as? [String] ?? []
    }

    /// Use `spec` where a call gives none.
    public func setAdapter(_ spec: String) throws { try check { edgelora_set_adapter(handle, spec, $0) } }

    /// Make a PEFT folder known as `name`; `trust` leaves its receipt unread.
    public func loadAdapter(_ name: String, folder: String, trust: Bool = false) throws {
        try check { edgelora_load_adapter(handle, name, folder, trust ? 1 : 0, $0) }
    }

    /// Forget an adapter and give its memory back.
    public func unloadAdapter(_ name: String) throws { try check { edgelora_unload_adapter(handle, name, $0) } }

    /// Hold an adapter to its receipt; a JSON object of what was found, or "null".
    public func probe(_ name: String) throws -> String { try text { edgelora_probe(handle, name, $0, $1, $2) } }

    /// Answer a prompt. `take` gets each piece; the answer ends when it returns false. It must not ask this model.
    public func generate(_ prompt: String, options: Options = Options(), take: ((String) -> Bool)? = nil) throws -> Answer {
        let bytes = Array(prompt.utf8CString)
        return try answers(options, take) {
            edgelora_generate(handle, bytes, bytes.count - 1, $0, $1, $2)
        }[0]
    }

    /// Answer a conversation.
    public func chat(_ messages: [Message], options: Options = Options(), take: ((String) -> Bool)? = nil) throws -> Answer {
        let told = String(decoding: try JSONEncoder().encode(messages), as: UTF8.self)
        return try answers(options, take) { edgelora_chat(handle, told, $0, $1, $2) }[0]
    }

    /// Answer several prompts together, each with its own adapter where `Options.adapters` says so.
    public func generateBatch(_ prompts: [String], options: Options = Options()) throws -> [Answer] {
        let told = String(decoding: try JSONEncoder().encode(prompts), as: UTF8.self)
        return try answers(options, nil) { edgelora_generate_batch(handle, told, $0, $1, $2) }
    }

    /// The pieces of an answer while it is made, in a thread of the model's own. Leaving the loop ends the answer.
    public func pieces(_ messages: [Message], options: Options = Options()) -> AsyncThrowingStream<String, Error> {
        AsyncThrowingStream { continuation in
            queue.async {
                do {
                    _ = try self.chat(messages, options: options) { piece in
                        if case .terminated = continuation.yield(piece) { return false }
                        return true
                    }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
        }
    }

    /// Token ids of a text; `special` adds the tokenizer's own special tokens.
    public func encode(_ text: String, special: Bool = false) throws -> [Int32] {
        let bytes = Array(text.utf8CString)
        var (ids, count): (UnsafeMutablePointer<Int32>?, Int) = (nil, 0)
        try check { edgelora_encode(handle, bytes, bytes.count - 1, special ? 1 : 0, &ids, &count, $0) }
        defer { edgelora_free(ids) }
        return Array(UnsafeBufferPointer(start: ids, count: count))
    }

    /// The text of token ids; `special` writes special tokens too.
    public func decode(_ ids: [Int32], special: Bool = false) throws -> String {
        try text { edgelora_decode(handle, ids, ids.count, special ? 1 : 0, $0, $1, $2) }
    }

    typealias TextPlace = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
    typealias SizePlace = UnsafeMutablePointer<Int>
    private typealias OptionsPlace = UnsafePointer<edgelora_generate_options>
    private typealias GenerationPlace = UnsafeMutablePointer<OpaquePointer?>

    func text(_ ask: (TextPlace, SizePlace, ErrorPlace) -> edgelora_status) throws -> String {
        var (found, bytes): (UnsafeMutablePointer<CChar>?, Int) = (nil, 0)
        try check { ask(&found, &bytes, $0) }
        defer { edgelora_free(found) }
        return read(found, bytes)
    }

    /// What C gives back with every piece.
    private final class Listener {
        let take: (String) -> Bool

        init(_ take: @escaping (String) -> Bool) { self.take = take }
    }

    private func answers(
        _ options: Options, _ take: ((String) -> Bool)?,
        _ ask: (OptionsPlace, GenerationPlace, ErrorPlace) -> edgelora_status
    ) throws -> [Answer] {
        let kept = Kept()
        let listener = take.map(Listener.init)
        var lowered = try options.lower(kept)
        if let listener {
            lowered.user_data = Unmanaged.passUnretained(listener).toOpaque()
            lowered.on_text = { given, _, text, bytes in
                Unmanaged<Listener>.fromOpaque(given!).takeUnretainedValue().take(read(text, bytes)) ? 0 : 1
            }
        }
        var generation: OpaquePointer?
        try withExtendedLifetime((kept, listener, options)) {
            try check { ask(&lowered, &generation, $0) }
        }
        defer { edgelora_generation_free(generation) }
        return (0..<edgelora_generation_rows(generation)).map { Answer(generation!, row: $0) }
    }
}
