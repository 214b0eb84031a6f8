/** Options of the config plugin for apps made with Expo. */
export interface ExpoPluginOptions {
  /** The version of onnxruntime's native libraries; that of onnxruntime-react-native where it is left out. */
  readonly onnxruntime?: string;
  /**
   * Folders of `Paths.document` that hold artifacts, `["edgelora"]` where it is left out: Android's backups leave them out.
   * None where an app has rules of its own.
   */
  readonly folders?: readonly string[];
}

/** Pins onnxruntime, keeps artifacts out of Android's backups, and links onnxruntime-react-native. */
export default function withEdgeLoRA<Config>(config: Config, options?: ExpoPluginOptions): Config;
