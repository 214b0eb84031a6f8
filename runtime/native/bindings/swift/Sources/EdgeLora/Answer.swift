import CEdgeLora

/// One answer.
public struct Answer: Sendable {
    /// Without stop strings and special tokens; empty where token ids were asked.
    public let text: String
    /// Without the end token.
    public let tokenIDs: [Int32]
    /// "stop", "length", "choice", or "cancelled" where a listener ended the row.
    public let finishReason: String
    /// Tokens of the prompt as the model got it.
    public let promptTokens: Int
    /// With choices: the log-probability of each, in their order; else empty.
    public let scores: [Double]

    init(_ generation: OpaquePointer, row: Int) {
        var (bytes, ids, scored) = (0, 0, 0)
        let text = edgelora_generation_text(generation, row, &bytes)
        let tokens = edgelora_generation_ids(generation, row, &ids)
        let scores = edgelora_generation_scores(generation, row, &scored)
        self.text = read(text, bytes)
        tokenIDs = Array(UnsafeBufferPointer(start: tokens, count: ids))
        finishReason = String(cString: edgelora_generation_finish_reason(generation, row))
        promptTokens = edgelora_generation_prompt_tokens(generation, row)
        self.scores = Array(UnsafeBufferPointer(start: scores, count: scored))
    }
}

/// A text of C that has a length.
func read(_ text: UnsafePointer<CChar>?, _ bytes: Int) -> String {
    let raw = UnsafeRawBufferPointer(start: text, count: bytes)
    return String(decoding: raw, as: UTF8.self)
}
