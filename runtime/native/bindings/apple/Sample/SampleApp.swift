import SwiftUI

@main
struct SampleApp: App {
    @StateObject private var talk = Talk()

    var body: some Scene {
        WindowGroup { ConversationView(talk: talk) }
    }
}
