import CEdgeLora
import Foundation

/// Which adapters answer; `edgelora_encoder_options` of `edgelora.h`.
public struct EncoderOptions: Sendable {
    /// SPEC for every text; nil: the one that is set.
    public var adapter: String?
    /// One SPEC for each text, instead of `adapter`.
    public var adapters: [String]?
    /// Ends the call from another thread.
    public var cancel: Cancel?

    public init(adapter: String? = nil, adapters: [String]? = nil) {
        self.adapter = adapter
        self.adapters = adapters
    }

    func lower(_ kept: Kept) throws -> edgelora_encoder_options {
        var found = edgelora_encoder_options()
        edgelora_encoder_options_init(&found, MemoryLayout<edgelora_encoder_options>.size)
        found.adapter = try kept.text(adapter)
        found.adapters_json = try kept.list(adapters)
        found.cancel = cancel?.handle
        return found
    }
}

/// What a text was classified as; `scores` are those of all labels, `labels` those that hold.
public struct Classification: Decodable, Sendable {
    public let label: String
    public let score: Double
    public let scores: [String: Double]
    public let labels: [String]
    /// Whether the text was longer than the model reads, and lost its end.
    public let truncated: Bool
}

/// Code points `start` to `end` of a text.
public struct TagSpan: Decodable, Sendable {
    public let start: Int
    public let end: Int
    public let label: String
    public let score: Double
    public let text: String
}

/// The spans of a text, and in how many windows it was read.
public struct Tagging: Decodable, Sendable {
    public let spans: [TagSpan]
    public let windows: Int
}

/// A vector for each text, and which texts were longer than the model reads and lost their end.
public struct Embeddings: Sendable {
    public let vectors: [[Float]]
    public let truncated: [Bool]
}

/// For artifacts of classifiers, taggers and embedders.
extension Model {
    /// The same as `loadAdapter`, with the labels of the adapter's head where no receipt has them.
    public func loadAdapter(_ name: String, folder: String, labels: [String], trust: Bool = false) throws {
        let told = String(decoding: try JSONEncoder().encode(labels), as: UTF8.self)
        try check { edgelora_load_adapter_with_labels(handle, name, folder, told, trust ? 1 : 0, $0) }
    }

    /// Classify texts.
    public func classify(_ texts: [String], options: EncoderOptions = EncoderOptions()) throws -> [Classification] {
        let told = String(decoding: try JSONEncoder().encode(texts), as: UTF8.self)
        return try encoded(options) { edgelora_classify(handle, told, $0, $1, $2, $3) }
    }

    /// What each of `options.adapters` says of one text, by SPEC; every adapter that is known where it is nil.
    public func classifyEach(_ text: String, options: EncoderOptions = EncoderOptions()) throws -> [String: Classification] {
        let bytes = Array(text.utf8CString)
        return try encoded(options) { edgelora_classify_each(handle, bytes, bytes.count - 1, $0, $1, $2, $3) }
    }

    /// Classify images, one after the other in `pixels`, prepared as the model's own processor does.
    public func classify(pixels: [Float], options: EncoderOptions = EncoderOptions()) throws -> [Classification] {
        try encoded(options) { edgelora_classify_pixels(handle, pixels, pixels.count, $0, $1, $2, $3) }
    }

    /// Spans of texts.
    public func tag(_ texts: [String], options: EncoderOptions = EncoderOptions()) throws -> [Tagging] {
        let told = String(decoding: try JSONEncoder().encode(texts), as: UTF8.self)
        return try encoded(options) { edgelora_tag(handle, told, $0, $1, $2, $3) }
    }

    /// Vectors of texts.
    public func embed(_ texts: [String], options: EncoderOptions = EncoderOptions()) throws -> Embeddings {
        let kept = Kept()
        var lowered = try options.lower(kept)
        let told = String(decoding: try JSONEncoder().encode(texts), as: UTF8.self)
        var cut = [Int32](repeating: 0, count: texts.count)
        var (vectors, count): (UnsafeMutablePointer<Float>?, Int) = (nil, 0)
        try withExtendedLifetime((kept, options)) {
            try check { edgelora_embed(handle, told, &lowered, &vectors, &count, &cut, cut.count, $0) }
        }
        defer { edgelora_free(vectors) }
        let (flat, size) = (UnsafeBufferPointer(start: vectors, count: count), count / max(1, texts.count))
        let rows = texts.indices.map { Array(flat[$0 * size..<($0 + 1) * size]) }
        return Embeddings(vectors: rows, truncated: cut.map { $0 != 0 })
    }

    private typealias EncoderOptionsPlace = UnsafePointer<edgelora_encoder_options>

    private func encoded<Found: Decodable>(
        _ options: EncoderOptions, _ ask: (EncoderOptionsPlace, TextPlace, SizePlace, ErrorPlace) -> edgelora_status
    ) throws -> Found {
        let kept = Kept()
        var lowered = try options.lower(kept)
        let found = try withExtendedLifetime((kept, options)) { try text { ask(&lowered, $0, $1, $2) } }
        return try JSONDecoder().decode(Found.self, from: Data(found.utf8))
    }
}
