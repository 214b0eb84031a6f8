// swift-tools-version:5.9
// CEdgeLora is the framework that ../apple/build_framework.sh makes, where it is there, else the system's libedgelora.
import Foundation
import PackageDescription

let framework = "CEdgeLora.xcframework"
let hasFramework = FileManager.default.fileExists(atPath: Context.packageDirectory + "/" + framework)
let interface: Target =
    hasFramework ? .binaryTarget(name: "CEdgeLora", path: framework) : .systemLibrary(name: "CEdgeLora")

let package = Package(
    name: "EdgeLora",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [.library(name: "EdgeLora", targets: ["EdgeLora"])],
    targets: [interface, .target(name: "EdgeLora", dependencies: ["CEdgeLora"], linkerSettings: [.linkedLibrary("c++")])]
)
