import EdgeLora
import Foundation

/// A conversation with one model: which adapters act, what was said, how long a swap took.
@MainActor
final class Talk: ObservableObject {
    @Published private(set) var messages: [Message] = []
    @Published private(set) var adapters: [String] = []
    @Published private(set) var state = "Loading"
    @Published private(set) var answering = false
    @Published var first = "none" { didSet { swap() } }
    @Published var second = "none" { didSet { swap() } }
    /// The weight of the second adapter; the first has the rest.
    @Published var share = 0.0 { didSet { swap() } }

    private var model: Model?

    /// The artifact is the folder "artifact" of the app's documents.
    init() {
        let documents = FileManager.default.urls(for: .documentDirectory, in: .userDomainMask)[0]
        let folder = documents.appendingPathComponent("artifact").path
        let cache = FileManager.default.urls(for: .cachesDirectory, in: .userDomainMask)[0].path
        Task.detached {
            do {
                var options = LoadOptions()
                options.cache = cache
                let model = try Model(path: folder, options: options)
                let names = try model.adapters()
                await self.show(model, names)
            } catch {
                await self.show("\(error)")
            }
        }
    }

    /// The SPEC of what is chosen.
    var spec: String {
        if second == "none" || share == 0 { return first }
        if first == "none" || share == 1 { return "\(second):\(share)" }
        return "\(first):\(1 - share)+\(second):\(share)"
    }

    func say(_ text: String) {
        guard let model, !answering else { return }
        messages.append(Message(role: "user", content: text))
        let asked = messages
        messages.append(Message(role: "assistant", content: ""))
        answering = true
        Task {
            do {
                for try await piece in model.pieces(asked) {
                    messages[messages.count - 1].content += piece
                }
            } catch {
                state = "\(error)"
            }
            answering = false
        }
    }

    private func swap() {
        guard let model else { return }
        let spec = self.spec
        Task.detached {
            let start = DispatchTime.now().uptimeNanoseconds
            do {
                try model.setAdapter(spec)
                let milliseconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e6
                await self.show("\(spec) in \(String(format: "%.1f", milliseconds)) ms")
            } catch {
                await self.show("\(error)")
            }
        }
    }

    private func show(_ model: Model, _ names: [String]) {
        (self.model, adapters, state) = (model, names, "Ready")
    }

    private func show(_ text: String) { state = text }
}
