// swift-tools-version:5.9
// The sample's sources as a package: an Xcode app takes EdgeLora and onnxruntime from here and the files of Sample.
import PackageDescription

let package = Package(
    name: "EdgeLoraSample",
    platforms: [.iOS(.v15)],
    products: [.library(name: "EdgeLoraSample", targets: ["EdgeLoraSample"])],
    dependencies: [
        .package(path: "../swift"),
        // onnxruntime 1.24.2
        .package(
            url: "https://github.com/microsoft/onnxruntime-swift-package-manager",
            revision: "b7fb7f7dea8a2469e6335d95a61b8f36d0dc83b2"
        ),
    ],
    targets: [
        .target(
            name: "EdgeLoraSample",
            dependencies: [
                .product(name: "EdgeLora", package: "swift"),
                .product(name: "onnxruntime", package: "onnxruntime-swift-package-manager"),
            ],
            path: "Sample"
        )
    ]
)
