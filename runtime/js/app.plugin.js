/**
 * The config plugin for apps made with Expo: onnxruntime at one version, and artifacts in no backup of Android.
 *
 * `expo prebuild` runs it: "plugins": ["@edgelora/runtime"] in app.json. It applies the plugin of
 * onnxruntime-react-native too, which links the package.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const BINDING = "onnxruntime-react-native";
const FOLDER = "edgelora"; // of `Paths.document`, where an app keeps artifacts for good
const RULES = {
  "android:fullBackupContent": ["edgelora_backup", backupRules], // up to Android 11
  "android:dataExtractionRules": ["edgelora_extraction", extractionRules],
};

/** Throws for options that are none, a binding that is not installed, and backup rules of the app's own. */
export default function withEdgeLoRA(config, options) {
  const { onnxruntime = null, folders = [FOLDER], ...others } = options ?? {};
  if (Object.keys(others).length > 0) {
    throw new Error(`@edgelora/runtime: ${Object.keys(others)} is no option; there are onnxruntime and folders`);
  }
  if (onnxruntime !== null && !/^\d+\.\d+\.\d+$/.test(onnxruntime)) {
    throw new Error(`@edgelora/runtime: onnxruntime is ${JSON.stringify(onnxruntime)}, expected a version as 1.24.3`);
  }
  if (!Array.isArray(folders) || !folders.every((name) => /^[\w-][\w.-]*(\/[\w-][\w.-]*)*$/.test(name))) {
    throw new Error(`@edgelora/runtime: folders is ${JSON.stringify(folders)}, expected names such as ["${FOLDER}"]`);
  }
  const load = createRequire(join(config._internal?.projectRoot ?? process.cwd(), "package.json"));
  let version = onnxruntime;
  try {
    version ??= load(`${BINDING}/package.json`).version;
  } catch {
    throw new Error(`@edgelora/runtime: ${BINDING} is not installed; run: npx expo install ${BINDING}`);
  }
  const expo = load("expo/config-plugins"); // the app's own: whoever packs this package finds no other
  const linked = expo.withPlugins(config, [BINDING]);
  const pinned = withPodVersion(expo, withAndroidVersion(expo, linked, version), version);
  return folders.length === 0 ? pinned : withRuleFiles(expo, withBackupRules(expo, pinned), folders);
}

/** The binding's Gradle file asks for the newest release there is. */
function withAndroidVersion(expo, config, version) {
  return expo.withProjectBuildGradle(config, ({ modResults, ...rest }) => {
    if (modResults.language !== "groovy") {
      throw new Error("@edgelora/runtime: android/build.gradle is not groovy; pin com.microsoft.onnxruntime there");
    }
    const pin = [
      "allprojects {",
      "  configurations.all {",
      "    resolutionStrategy.eachDependency { details ->",
      `      if (details.requested.group == 'com.microsoft.onnxruntime') details.useVersion('${version}')`,
      "    }",
      "  }",
      "}",
    ].join("\n");
    modResults.contents = merge(expo, modResults.contents, pin, "//", /^apply plugin: "expo-root-project"/);
    return { ...rest, modResults };
  });
}

/** The binding's podspec names no version. */
function withPodVersion(expo, config, version) {
  return expo.withPodfile(config, ({ modResults, ...rest }) => {
    modResults.contents = merge(
      expo,
      modResults.contents,
      `  pod 'onnxruntime-c', '${version}'`,
      "  #",
      /^target .+ do$/,
      1,
    );
    return { ...rest, modResults };
  });
}

/** Lines of ours in a generated file, once however often this runs. */
function merge(expo, src, newSrc, comment, anchor, offset = 0) {
  return expo.CodeGenerator.mergeContents({ src, newSrc, tag: "@edgelora/runtime", comment, anchor, offset }).contents;
}

function withBackupRules(expo, config) {
  return expo.withAndroidManifest(config, (given) => {
    const application = expo.AndroidConfig.Manifest.getMainApplicationOrThrow(given.modResults);
    for (const [attribute, [name]] of Object.entries(RULES)) {
      const known = application.$[attribute];
      if (known !== undefined && known !== `@xml/${name}`) {
        throw new Error(
          `@edgelora/runtime: the manifest has ${attribute}="${known}" already; exclude the folders of artifacts there, ` +
            'and give this plugin "folders": []',
        );
      }
      application.$[attribute] = `@xml/${name}`;
    }
    return given;
  });
}

function withRuleFiles(expo, config, folders) {
  return expo.withDangerousMod(config, [
    "android",
    (given) => {
      const folder = join(given.modRequest.platformProjectRoot, "app/src/main/res/xml");
      mkdirSync(folder, { recursive: true });
      for (const [name, write] of Object.values(RULES)) writeFileSync(join(folder, `${name}.xml`), write(folders));
      return given;
    },
  ]);
}

function excluded(folders) {
  return folders.map((name) => `    <exclude domain="file" path="${name}/"/>\n`).join("");
}

function backupRules(folders) {
  return `<?xml version="1.0" encoding="utf-8"?>\n<full-backup-content>\n${excluded(folders)}</full-backup-content>\n`;
}

/** To a cloud and to a new phone alike. */
function extractionRules(folders) {
  const parts = ["cloud-backup", "device-transfer"].map((part) => `  <${part}>\n${excluded(folders)}  </${part}>\n`);
  return `<?xml version="1.0" encoding="utf-8"?>\n<data-extraction-rules>\n${parts.join("")}</data-extraction-rules>\n`;
}
