import EdgeLora
import SwiftUI

struct ConversationView: View {
    @ObservedObject var talk: Talk
    @State private var text = ""

    var body: some View {
        VStack(spacing: 12) {
            Text(talk.state).font(.caption)
            HStack {
                choose("First", $talk.first)
                choose("Second", $talk.second)
            }
            Slider(value: $talk.share, in: 0...1, step: 0.1) { Text("Blend") }
                .disabled(talk.second == "none")
            ScrollView {
                ForEach(Array(talk.messages.enumerated()), id: \.offset) { _, message in
                    Text(message.content)
                        .frame(maxWidth: .infinity, alignment: message.role == "user" ? .trailing : .leading)
                }
            }
            HStack {
                TextField("Say something", text: $text)
                Button("Send") {
                    talk.say(text)
                    text = ""
                }
                .disabled(text.isEmpty || talk.answering)
            }
        }
        .padding()
        .disabled(talk.adapters.isEmpty && talk.state == "Loading")
    }

    private func choose(_ title: String, _ chosen: Binding<String>) -> some View {
        Picker(title, selection: chosen) {
            ForEach(["none"] + talk.adapters, id: \.self) { Text($0) }
        }
    }
}
