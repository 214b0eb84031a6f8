// libedgelora, its Java and Kotlin classes, and onnxruntime, as one Android library.
plugins {
    id("com.android.library")
    id("org.jetbrains.kotlin.android")
}

val onnxruntime = "com.microsoft.onnxruntime:onnxruntime-android:1.24.3"
val headers = layout.buildDirectory.dir("onnxruntime")
val archive: Configuration by configurations.creating { isTransitive = false }

dependencies {
    archive("$onnxruntime@aar")
    implementation(onnxruntime)
}

// The library is opened by name when a model is loaded; its headers alone are needed to build.
val unpackHeaders by tasks.registering(Copy::class) {
    from({ zipTree(archive.singleFile) }) { include("headers/**") }
    into(headers)
}
tasks.matching { it.name.startsWith("configureCMake") }.configureEach { dependsOn(unpackHeaders) }

android {
    namespace = "dev.edgelora"
    compileSdk = 35
    ndkVersion = "27.2.12479018"

    defaultConfig {
        minSdk = 24
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
        externalNativeBuild {
            cmake {
                val include = headers.get().dir("headers").asFile.path
                arguments += listOf(
                    "-DEDGELORA_ORT_INCLUDE=$include",
                    "-DANDROID_STL=c++_shared",
                    "-DANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES=ON",
                )
                targets += listOf("edgelora", "edgelora_jni", "edgelora_ops")
            }
        }
        consumerProguardFiles("keep.pro")
    }
    externalNativeBuild { cmake { path = file("src/main/cpp/CMakeLists.txt") } }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
    kotlinOptions { jvmTarget = "11" }
    sourceSets["main"].java.srcDirs("../../java/src", "../../kotlin/src")
}
