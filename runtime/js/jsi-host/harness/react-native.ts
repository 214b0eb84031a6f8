/**
 * Stands where an app has react-native: the one module of it that onnxruntime-react-native asks for.
 *
 * The host put `OrtApi` into the engine already, so that nothing is left to install.
 */

export const NativeModules = { Onnxruntime: { install: () => true, ORT_EXTENSIONS_PATH: "" } };
